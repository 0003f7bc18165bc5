package token

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/wire/zeta"
)

// Whatever stands in the headers, only the three right tokens together are accepted.
func FuzzIdentify(f *testing.F) {
	w := newWorld(f)
	token, popp := w.access(f), w.presence(f)
	proof := w.proof(f, token)
	f.Add("DPoP "+token, proof, popp)
	f.Add("Bearer "+token, proof, "")
	f.Add("DPoP "+cut(token), cut(proof), cut(popp))
	f.Add("DPoP eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJub25lIn0.e30.", "..")
	f.Fuzz(func(t *testing.T, authorization, dpop, presence string) {
		id, err := w.v.Identify(t.Context(), &Request{
			Method: "GET", URL: ours, Audience: []string{aud}, Presence: PresenceRequired,
			Header: http.Header{"Authorization": {authorization}, "Dpop": {dpop}, "Popp": {presence}},
		})
		if err == nil {
			if dpop != proof || presence != popp || !strings.HasSuffix(authorization, token) || id.Presence == nil {
				t.Fatalf("accepted: %q %q %q", authorization, dpop, presence)
			}
			return
		}
		if refusal, ok := errors.AsType[*zeta.Error](err); !ok || refusal.Status < 400 || id != nil {
			t.Fatalf("%v, %v", id, err)
		}
	})
}

// Everything at the same time: requests, revocations, dropped issuers, reloads of keys.
func TestManyThingsAtOnce(t *testing.T) {
	s := newServer(t)
	key := newSigner(t, "1")
	s.metadata(t, file{etag: `"a"`}, key)
	var issuer *Issuer
	w := newWorld(t, func(c *Config) {
		c.Remember = 16
		issuer = newIssuer(t, IssuerConfig{Issuer: s.URL, Source: Metadata, Client: s.Client(), Now: c.Now, MinReload: time.Nanosecond})
		c.Access = append(c.Access, issuer)
	})
	requests := make([]*Request, 120)
	for i := range requests {
		requests[i] = w.asks(t, key.sign(t, w.accessHeader().with("kid", "1"), w.accessClaims().with("iss", s.URL).with("jti", "t")), w.presence(t))
	}
	deny := ident.Revocation{Dimension: ident.ByToken, Value: "t", Reason: "test", Actors: []querschott.Actor{"a"}}
	var work, disturb sync.WaitGroup
	stop := make(chan struct{})
	for _, act := range []func(on bool){
		issuer.Drop, issuer.Freeze, w.v.Tighten, w.cfg.Presence[0].Drop,
		func(bool) { _, _ = issuer.Find(t.Context(), "unknown"); w.clock.advance(time.Millisecond) },
		func(bool) { w.v.Issuers(); w.v.Remembered(); w.v.Nonce() },
		func(on bool) {
			if on {
				_ = w.revoked.Add(deny)
			} else {
				_ = w.revoked.Remove(w.revoked.List()...)
			}
		},
	} {
		disturb.Go(func() {
			for on := true; ; on = !on {
				select {
				case <-stop:
					act(false)
					return
				default:
					act(on)
				}
			}
		})
	}
	var mu sync.Mutex
	accepted := map[*Request]int{}
	for worker := range 4 {
		work.Go(func() {
			for i := range 2 * len(requests) {
				r := requests[(i*7+worker)%len(requests)]
				if _, err := w.v.Identify(t.Context(), r); err == nil {
					mu.Lock()
					accepted[r]++
					mu.Unlock()
				}
			}
		})
	}
	work.Wait()
	close(stop)
	disturb.Wait()
	for _, n := range accepted {
		if n != 1 {
			t.Errorf("a request is accepted %d times", n)
		}
	}
	w.clock.advance(time.Second)
	w.want(t, "afterwards", w.asks(t, key.sign(t, w.accessHeader().with("kid", "1"), w.accessClaims().with("iss", s.URL)), w.presence(t)), 200, "", "")
}
