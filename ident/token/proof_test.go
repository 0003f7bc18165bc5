package token

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/wire/zeta"
)

// The official table for proofs, and what it leaves out.
func TestProofTable(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	h := w.proofHeader(t)
	now := w.clock.now().Unix()
	jwk := jwkOf(t, w.client.key)
	stranger := newSigner(t, "")
	claims := func() object { return w.proofClaims(token) }
	sign := w.client.sign
	for _, tc := range []struct {
		name   string
		proof  string
		status int
		reason zeta.Reason
	}{
		{"right", sign(t, h, claims()), 200, ""},
		{"alg in the jwk", sign(t, h.with("jwk", jwk.with("alg", "ES256").with("use", "sig")), claims()), 200, ""},
		{"nonce nobody asked for", sign(t, h, claims().with("nonce", "x")), 200, ""},
		{"target with default port", sign(t, h, claims().with("htu", "HTTPS://vsdm.Example:443/vsdservice/v1/vsdmbundle")), 200, ""},
		{"target of a WebSocket", sign(t, h, claims().with("htu", "wss://vsdm.example/vsdservice/v1/vsdmbundle")), 200, ""},
		{"oldest", sign(t, h, claims().with("iat", now-150)), 200, ""},
		{"youngest", sign(t, h, claims().with("iat", now+30)), 200, ""},
		{"typ JWT", sign(t, h.with("typ", "JWT"), claims()), 401, zeta.ReasonProofForm},
		{"no typ", sign(t, h.with("typ", nil), claims()), 401, zeta.ReasonProofForm},
		{"alg RS999", sign(t, h.with("alg", "RS999"), claims()), 401, zeta.ReasonProofAlgorithm},
		{"alg none", sign(t, h.with("alg", "none"), claims()), 401, zeta.ReasonProofAlgorithm},
		{"alg none, no signature", cut(sign(t, h.with("alg", "none"), claims())), 401, zeta.ReasonProofAlgorithm},
		{"alg HS256", sign(t, h.with("alg", "HS256"), claims()), 401, zeta.ReasonProofAlgorithm},
		{"alg RS256", sign(t, h.with("alg", "RS256"), claims()), 401, zeta.ReasonProofAlgorithm},
		{"no signature", cut(sign(t, h, claims())), 401, zeta.ReasonProofSignature},
		{"no jwk", sign(t, h.with("jwk", nil), claims()), 401, zeta.ReasonProofKey},
		{"private jwk", sign(t, h.with("jwk", jwk.with("d", jwk["x"])), claims()), 401, zeta.ReasonProofForm},
		{"symmetric jwk", sign(t, h.with("jwk", object{"kty": "oct", "k": "AA"}), claims()), 401, zeta.ReasonProofForm},
		{"x of 31 octets", sign(t, h.with("jwk", jwk.with("x", strings.Repeat("A", 42))), claims()), 401, zeta.ReasonProofForm},
		{"y of 33 octets", sign(t, h.with("jwk", jwk.with("y", strings.Repeat("A", 44))), claims()), 401, zeta.ReasonProofForm},
		{"off the curve", sign(t, h.with("jwk", jwk.with("y", jwk["x"])), claims()), 401, zeta.ReasonProofForm},
		{"foreign key", stranger.sign(t, h.with("jwk", jwkOf(t, stranger.key)), claims()), 401, zeta.ReasonProofBinding},
		{"foreign key, jwk of the client", stranger.sign(t, h, claims()), 401, zeta.ReasonProofSignature},
		{"no ath", sign(t, h, claims().with("ath", nil)), 401, zeta.ReasonProofToken},
		{"wrong ath", sign(t, h, claims().with("ath", strings.Repeat("A", 43))), 401, zeta.ReasonProofToken},
		{"ath of another token", sign(t, h, w.proofClaims(w.access(t))), 401, zeta.ReasonProofToken},
		{"iat of 2020", sign(t, h, claims().with("iat", 1600000000)), 401, zeta.ReasonProofTime},
		{"too old", sign(t, h, claims().with("iat", now-151)), 401, zeta.ReasonProofTime},
		{"from the future", sign(t, h, claims().with("iat", now+31)), 401, zeta.ReasonProofTime},
		{"no iat", sign(t, h, claims().with("iat", nil)), 401, zeta.ReasonProofForm},
		{"htm POST", sign(t, h, claims().with("htm", "POST")), 401, zeta.ReasonProofMethod},
		{"htm get", sign(t, h, claims().with("htm", "get")), 401, zeta.ReasonProofMethod},
		{"foreign htu", sign(t, h, claims().with("htu", "https://other.example/vsdservice/v1/vsdmbundle")), 401, zeta.ReasonProofTarget},
		{"htu of another path", sign(t, h, claims().with("htu", "https://vsdm.example/vsdservice/v1/other")), 401, zeta.ReasonProofTarget},
		{"htu without TLS", sign(t, h, claims().with("htu", "http://vsdm.example/vsdservice/v1/vsdmbundle")), 401, zeta.ReasonProofTarget},
		{"htu with query", sign(t, h, claims().with("htu", ours+"?profileVersion=1.0")), 401, zeta.ReasonProofTarget},
		{"no jti", sign(t, h, claims().with("jti", nil)), 401, zeta.ReasonProofForm},
		{"jti is a number", sign(t, h, claims().with("jti", 1)), 401, zeta.ReasonProofForm},
		{"oversize", sign(t, h, claims().with("a", strings.Repeat("x", maxProof))), 401, zeta.ReasonProofForm},
		{"no JWS", "x", 401, zeta.ReasonProofForm},
		{"the access token again", token, 401, zeta.ReasonProofForm},
	} {
		r := w.request(t, token)
		r.Header["Dpop"] = []string{tc.proof}
		w.want(t, tc.name, r, tc.status, zeta.InvalidProof, tc.reason)
	}
	r := w.request(t, token)
	r.Header.Del("DPoP")
	w.want(t, "no proof", r, 401, zeta.InvalidProof, zeta.ReasonNoProof)
	r.Header["Dpop"] = []string{w.proof(t, token), w.proof(t, token)}
	w.want(t, "two proofs", r, 401, zeta.InvalidProof, zeta.ReasonProofForm)
	r.Header["Dpop"] = []string{w.proof(t, token) + "," + w.proof(t, token)}
	w.want(t, "two proofs in one header", r, 401, zeta.InvalidProof, zeta.ReasonProofForm)
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	r := w.request(t, token)
	w.want(t, "first", r, 200, "", "")
	w.want(t, "second", r, 401, zeta.InvalidProof, zeta.ReasonReplay)

	claims := w.proofClaims(token)
	r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), claims)}
	w.want(t, "a jti", r, 200, "", "")
	r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), claims.with("iat", w.clock.now().Unix()-25))}
	w.want(t, "the same jti in another proof", r, 401, zeta.InvalidProof, zeta.ReasonReplay)

	other := newSigner(t, "")
	token = w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("cnf", object{"jkt": other.key.Thumbprint()}))
	r = w.request(t, token)
	r.Header["Dpop"] = []string{other.sign(t, w.proofHeader(t).with("jwk", jwkOf(t, other.key)), w.proofClaims(token).with("jti", claims["jti"]))}
	w.want(t, "the same jti of another key", r, 200, "", "")
}

// A proof cannot be used again at any moment until it is too old, and then it is forgotten.
func TestReplayIsNoticedUntilTheEnd(t *testing.T) {
	w := newWorld(t)
	token := w.pdp.sign(t, w.accessHeader(), w.accessClaims().with("exp", w.clock.now().Unix()+3600))
	r := w.request(t, token)
	r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(token).with("iat", w.clock.now().Unix()+30))}
	w.want(t, "first", r, 200, "", "")
	for range 180 {
		w.want(t, "again", r, 401, zeta.InvalidProof, zeta.ReasonReplay)
		w.clock.advance(time.Second)
	}
	w.want(t, "last second", r, 401, zeta.InvalidProof, zeta.ReasonReplay)
	w.clock.advance(time.Second)
	w.want(t, "too old", r, 401, zeta.InvalidProof, zeta.ReasonProofTime)
	now := w.clock.now().Unix() + bucketSpan
	for i := range proofShards { // every part of the memory looks for what is over when it is used
		w.v.proofs.accept(proofKey{byte(i)}, now, now)
	}
	if _, _, n := w.v.Remembered(); n != proofShards {
		t.Errorf("%d proofs are remembered, want %d", n, proofShards)
	}
}

func TestRefusedProofsAreNotRemembered(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	good := w.proof(t, token)
	r := w.request(t, token)
	r.Header["Dpop"] = []string{good}
	r.Method = "POST"
	w.want(t, "wrong method", r, 401, zeta.InvalidProof, zeta.ReasonProofMethod)
	if _, _, n := w.v.Remembered(); n != 0 {
		t.Errorf("%d proofs are remembered, want 0", n)
	}
	r.Method = "GET"
	w.want(t, "right method", r, 200, "", "")
}

func TestFullMemoryRefuses(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxProofs = 1 })
	token := w.access(t)
	refused := 0
	for range 60 {
		if _, err := w.v.Identify(t.Context(), w.request(t, token)); err != nil {
			refused++
			if want := "503 temporarily_unavailable"; !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("%v, want %s", err, want)
			}
		}
	}
	if _, _, n := w.v.Remembered(); n > proofShards || refused < 60-proofShards {
		t.Errorf("%d proofs are remembered, %d refused", n, refused)
	}
}

// changed returns a nonce whose MAC differs in one bit: 32 characters are 24 bytes, so that the last one has no bits to spare.
func changed(nonce string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(nonce) - 1
	return nonce[:last] + string(alphabet[strings.IndexByte(alphabet, nonce[last])^1])
}

func TestNonce(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	r := w.request(t, token)
	r.Nonce = true
	_, err := w.v.Identify(t.Context(), r)
	refusal, ok := err.(*zeta.Error) //nolint:errorlint // the very error is wanted
	if !ok || refusal.Status != 401 || refusal.Code != zeta.UseNonce || refusal.Nonce == "" {
		t.Fatalf("without a nonce: %v", err)
	}
	with := func(nonce any) *Request {
		r := w.request(t, token)
		r.Nonce = true
		r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(token).with("nonce", nonce))}
		return r
	}
	w.want(t, "with it", with(refusal.Nonce), 200, "", "")
	w.want(t, "with it, again", with(refusal.Nonce), 200, "", "")
	w.want(t, "with that of an answer", with(w.v.Nonce()), 200, "", "")
	w.want(t, "with another process's", with(newVerifier(t, w.cfg).Nonce()), 401, zeta.UseNonce, zeta.ReasonNonce)
	w.want(t, "with nonsense", with(strings.Repeat("A", 32)), 401, zeta.UseNonce, zeta.ReasonNonce)
	w.want(t, "with a changed one", with(changed(refusal.Nonce)), 401, zeta.UseNonce, zeta.ReasonNonce)
	w.want(t, "with a longer one", with(refusal.Nonce+"A"), 401, zeta.UseNonce, zeta.ReasonNonce)
	replayed := with(refusal.Nonce)
	w.want(t, "a proof with it", replayed, 200, "", "")
	w.want(t, "the same proof", replayed, 401, zeta.InvalidProof, zeta.ReasonReplay)
	w.clock.advance(300 * time.Second)
	w.want(t, "old", with(refusal.Nonce), 200, "", "")
	w.clock.advance(time.Second)
	w.want(t, "too old", with(refusal.Nonce), 401, zeta.UseNonce, zeta.ReasonNonce)
}

func TestTighten(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	w.v.Tighten(true)
	w.want(t, "no nonce", w.request(t, token), 401, zeta.UseNonce, zeta.ReasonNonce)
	nonce := w.v.Nonce()
	for age, status := range map[int64]int{60: 200, 61: 401} {
		r := w.request(t, token)
		r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(token).with("nonce", nonce).with("iat", w.clock.now().Unix()-age))}
		w.want(t, fmt.Sprint(age, " seconds old"), r, status, zeta.InvalidProof, zeta.ReasonProofTime)
	}
	w.v.Tighten(false)
	w.want(t, "lifted", w.request(t, token), 200, "", "")
}

// restart stops a verifier, with or without a farewell, and starts the next one.
func (w *world) restart(t *testing.T, save bool) {
	t.Helper()
	if save {
		if err := w.v.SaveProofs(); err != nil {
			t.Fatal(err)
		}
		w.want(t, "after the farewell", w.request(t, w.access(t)), 500, zeta.ServerError, zeta.ReasonInternal)
	}
	w.v = newVerifier(t, w.cfg)
}

func TestReplayAcrossCrash(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.FS, c.ProofsFile = crashdisk.New(), "proofs" })
	token := w.access(t)
	var used []*Request
	for _, ahead := range []int64{-100, 0, 30} {
		r := w.request(t, token)
		r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(token).with("iat", w.clock.now().Unix()+ahead))}
		w.want(t, "first", r, 200, "", "")
		used = append(used, r)
	}
	w.restart(t, false)
	for range 30 {
		for _, r := range used {
			if id, err := w.v.Identify(t.Context(), r); err == nil {
				t.Fatalf("a used proof is accepted after a crash: %+v", id)
			}
		}
		w.clock.advance(time.Second)
	}
	w.want(t, "a new proof of the doubtful time", w.request(t, token), 401, zeta.UseNonce, zeta.ReasonNonce)
	r := w.request(t, token)
	r.Header["Dpop"] = []string{w.client.sign(t, w.proofHeader(t), w.proofClaims(token).with("nonce", w.v.Nonce()))}
	w.want(t, "with a nonce", r, 200, "", "")
	w.clock.advance(time.Second)
	w.want(t, "a new proof afterwards", w.request(t, token), 200, "", "")
}

func TestReplayAcrossRestart(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.FS, c.ProofsFile = crashdisk.New(), "proofs" })
	token := w.access(t)
	r := w.request(t, token)
	w.want(t, "first", r, 200, "", "")
	w.restart(t, false)
	w.restart(t, true)
	w.want(t, "used, after a crash and a restart", r, 401, zeta.UseNonce, zeta.ReasonNonce)
	w.clock.advance(31 * time.Second)
	r = w.request(t, token)
	w.want(t, "first, without a doubt", r, 200, "", "")
	w.restart(t, true)
	w.want(t, "used", r, 401, zeta.InvalidProof, zeta.ReasonReplay)
	w.want(t, "new", w.request(t, token), 200, "", "")
	w.restart(t, false)
	w.want(t, "used, after a crash", r, 401, zeta.UseNonce, zeta.ReasonNonce)
}

func TestProofsFileIsUsedOnce(t *testing.T) {
	fs := crashdisk.New()
	w := newWorld(t, func(c *Config) { c.FS, c.ProofsFile = fs, "proofs" })
	if err := w.v.SaveProofs(); err != nil {
		t.Fatal(err)
	}
	if list, err := fs.List("."); err != nil || len(list) != 1 {
		t.Fatalf("files %q, %v", list, err)
	}
	newVerifier(t, w.cfg)
	if list, err := fs.List("."); err != nil || len(list) != 0 {
		t.Fatalf("files %q, %v", list, err)
	}
}

func TestSnapshotOfAnotherWindow(t *testing.T) {
	p := newProofs(100)
	p.accept(proofKey{1}, 2000, 1000)
	b := p.snapshot(150, 7, 1000)
	if p.accept(proofKey{2}, 2000, 1000) != proofNoRoom {
		t.Error("a proof is accepted after the snapshot")
	}
	for _, tc := range []struct {
		name   string
		b      []byte
		window int64
		now    int64
		want   error
	}{
		{"same", b, 150, 1000, nil},
		{"other window", b, 151, 1000, errSnapshot},
		{"clock went back", b, 150, 999, errSnapshot},
		{"short", b[:len(b)-1], 150, 1000, errSnapshot},
		{"empty", nil, 150, 1000, errSnapshot},
		{"other version", append([]byte{1}, b[1:]...), 150, 1000, errSnapshot},
	} {
		next := newProofs(100)
		fence, err := next.restore(tc.b, tc.window, tc.now)
		if err != tc.want { //nolint:errorlint // the very error is wanted
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if err == nil && (fence != 7 || next.accept(proofKey{1}, 2000, 1000) != proofSeen || next.accept(proofKey{2}, 2000, 1000) != proofNew) {
			t.Errorf("%s: not all is remembered", tc.name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	p := newProofs(100)
	p.accept(proofKey{1}, 2000, 1000)
	f.Add(p.snapshot(150, 7, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newProofs(64)
		if _, err := p.restore(b, 150, 1000); err == nil && p.len() > len(b)/snapshotEntry {
			t.Fatalf("%d proofs out of %d octets", p.len(), len(b))
		}
	})
}

// The memory against a model: whatever comes in whatever order, nothing that could still be accepted is accepted twice.
func TestProofsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, model := newProofs(1_000_000), map[proofKey]int64{}
		now := int64(1_000_000)
		t.Repeat(map[string]func(*rapid.T){
			"accept": func(t *rapid.T) {
				key := proofKey{rapid.Byte().Draw(t, "shard") % 3, rapid.Byte().Draw(t, "key") % 8}
				expires := now + rapid.Int64Range(0, 180).Draw(t, "for")
				end, known := model[key]
				switch got := p.accept(key, expires, now); {
				case known && now <= end && got != proofSeen:
					t.Fatalf("a proof is accepted twice, %d seconds before its end", end-now)
				case !known && got != proofNew:
					t.Fatalf("a new proof is not accepted: %d", got)
				case got == proofNew:
					model[key] = expires
				}
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(0, 60).Draw(t, "seconds") },
			"restart": func(t *rapid.T) {
				b := p.snapshot(180, 0, now)
				p = newProofs(1_000_000)
				if _, err := p.restore(b, 180, now); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// 100,000 replayed proofs: none accepted.
func TestManyReplays(t *testing.T) {
	p := newProofs(1_000_000)
	const n = 100_000
	var accepted atomic.Int64
	key := func(i int) (k proofKey) {
		binary.LittleEndian.PutUint64(k[:], uint64(i))
		return k
	}
	for i := range n {
		if p.accept(key(i), 1150, 1000) != proofNew {
			t.Fatalf("proof %d is not accepted", i)
		}
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n; i += 4 {
				if p.accept(key(i), 1150, 1000+int64(i)%150) == proofNew {
					accepted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 0 {
		t.Errorf("%d of %d replays are accepted", accepted.Load(), n)
	}
	if p.accept(key(0), 3000, 2000); p.len() > n {
		t.Errorf("%d proofs are remembered", p.len())
	}
}

// Of many requests with one proof at the same time one is accepted.
func TestReplayRace(t *testing.T) {
	w := newWorld(t)
	token := w.access(t)
	for range 20 {
		r := w.request(t, token)
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := w.v.Identify(t.Context(), r); err == nil {
					accepted.Add(1)
				}
			})
		}
		wg.Wait()
		if accepted.Load() != 1 {
			t.Fatalf("%d of 8 are accepted, want 1", accepted.Load())
		}
	}
}
