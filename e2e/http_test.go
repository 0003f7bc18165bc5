//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/vsd"
)

// entrance is an installation that checks cards. The issuers whose tokens it believes are the test's own; the node reads
// their keys from files, as it would a real issuer's.
type entrance struct {
	*installation
	base   string // of the HTTP entrance
	issuer *issuer.Issuer
}

// unlimited are settings without which one address and one practice could not ask so much.
var unlimited = map[string]string{
	"http.rate": "100000", "http.burst": "100000", "http.network_rate": "100000", "http.per_address": "4000",
	"http.persons_minute": "1000000", "http.persons_quarter_hour": "1000000", "http.persons_day": "1000000",
}

// installHTTP makes an installation whose insurers check cards. more are further settings.
func installHTTP(t testing.TB, insurers int, more map[string]string) *entrance {
	t.Helper()
	i := found(t, insurers)
	at := freeAddress(t)
	e := &entrance{installation: i, base: "https://" + at}
	e.makeIssuer(t)
	settings := map[string]string{
		"http.listen": at, "http.url": e.base,
		"http.access_issuers":   e.believe(t, "access", e.issuer.AccessKeys()),
		"http.presence_issuers": e.believe(t, "presence", e.issuer.PresenceKeys()),
	}
	for key, value := range more {
		settings[key] = value
	}
	i.set(t, settings)
	var list []node.Insurer
	for _, in := range i.world.Insurers() {
		list = append(list, node.Insurer{
			IK: in.IK, Name: in.Name, Insured: in.Insured, Services: []querschott.Service{querschott.VSDM, querschott.EPA}, Addresses: []string{string(in.Address)},
		})
	}
	if err := node.SaveInsurers(i.load(t).Insurers, list); err != nil {
		t.Fatal(err)
	}
	return e
}

// makeIssuer makes the issuers of tokens for the entrance.
func (e *entrance) makeIssuer(t testing.TB) {
	t.Helper()
	var err error
	e.issuer, err = issuer.New(time.Now, "https://issuer.dev.invalid", issuer.Options{ForTestsOnly: true, Audience: []string{e.base}})
	if err != nil {
		t.Fatal(err)
	}
}

// freeAddress is a loopback address that nobody listens on, and none of those that the system gives out: whoever leaves it
// for a moment finds it free again.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+mathrand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close() // it has served its purpose
			return address
		}
	}
}

// believe writes an issuer's keys into a file and returns what the configuration says of the issuer.
func (e *entrance) believe(t testing.TB, name string, keys jose.KeySet) string {
	t.Helper()
	data, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(e.dir, name+".jwks")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[{issuer: %q, keys: %q}]", e.issuer.Name(), file)
}

// deliver brings the master data of each insurer's first persons into the cells of the running node.
func (e *entrance) deliver(t testing.TB, persons int) {
	t.Helper()
	client := e.client(t)
	for _, in := range e.world.Insurers() {
		var files []node.ImportedFile
		for k := range persons {
			files = append(files, e.bundle(t, e.person(in, k)))
		}
		e.imported(t, client, files)
	}
}

func (e *entrance) imported(t testing.TB, client *node.Client, files []node.ImportedFile) {
	t.Helper()
	done, err := client.Import(t.Context(), files)
	if err != nil || done.Added+done.Replaced != len(files) {
		t.Fatalf("of %d bundles %d were taken in, %v refused: %v", len(files), done.Added+done.Replaced, done.Refused, err)
	}
}

// bundle is a person's master data as an insurer delivers them.
func (e *entrance) bundle(t testing.TB, p drill.Person) node.ImportedFile {
	t.Helper()
	now := time.Now()
	data, err := vsd.Render(e.world.MasterData(p), vsd.V11, vsd.JSON, vsd.Envelope{
		ID: vsd.NewID(now, [10]byte{byte(p.Index), byte(p.Index >> 8)}), Created: vsd.InstantOf(now),
	})
	if err != nil {
		t.Fatal(err)
	}
	return node.ImportedFile{Name: fmt.Sprint(p.Index), Data: data}
}

// person is the k-th of an insurer's.
func (e *entrance) person(in *drill.Insurer, k int) drill.Person {
	first, _ := in.Persons()
	return e.world.Person(first + k)
}

// practice is a practice with a key of its own and a connection of its own.
type practice struct {
	e      *entrance
	actor  querschott.Actor
	key    *ecdsa.PrivateKey
	client *http.Client
	access string
	nonce  string // that the entrance gave last; used by whoever makes proofs himself
}

// practice makes the n-th practice of the world ready to check cards.
func (e *entrance) practice(t testing.TB, n int) *practice {
	t.Helper()
	p := &practice{e: e, actor: e.world.Practices()[n].TelematikID(), key: newKey(t), client: e.https(t)}
	p.access = e.token(t, p.actor, p.key, time.Hour)
	return p
}

func (e *entrance) https(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.ca.Pool(), MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// token is an access token that is bound to a key.
func (e *entrance) token(t testing.TB, actor querschott.Actor, key *ecdsa.PrivateKey, life time.Duration) string {
	t.Helper()
	public, err := jose.KeyOf(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	token, err := e.issuer.AccessToken(issuer.Grant{
		Practice: issuer.Practice{Subject: string(actor)}, Client: "e2e", Lifetime: life, Binding: public.Thumbprint(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// presence is the proof that a person's card is in a practice, as a card of the insurer would give it.
func (p *practice) presence(number querschott.KVNR, ik querschott.IK) (string, error) {
	return p.e.issuer.PresenceToken(issuer.Card{Patient: number.Reveal(), Insurer: string(ik), Actor: string(p.actor)})
}

// check asks for a person's master data; change may spoil the request.
func (p *practice) check(ctx context.Context, number querschott.KVNR, ik querschott.IK, change ...func(*drill.CardCheck)) (*drill.CardAnswer, error) {
	shown, err := p.presence(number, ik)
	if err != nil {
		return nil, err
	}
	c := drill.CardCheck{URL: p.e.base, Access: p.access, Key: p.key, Presence: shown, Version: "1.0"}
	for _, fn := range change {
		fn(&c)
	}
	return c.Do(ctx, p.client, time.Now())
}

// entries returns the entries about accesses and attempts in all logs of the running node, by the request that they name.
func entries(t testing.TB, client *node.Client) map[string][]node.LedgerEntry {
	t.Helper()
	found := map[string][]node.LedgerEntry{}
	origins, err := client.LedgerOrigins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const page = 5000
	for _, o := range origins {
		if strings.Contains(o.Origin, "commits") {
			continue
		}
		for from := uint64(0); ; from += page {
			list, err := client.LedgerShow(t.Context(), o.Origin, from, from+page)
			if err != nil {
				t.Fatalf("%s: %v", o.Origin, err)
			}
			for _, e := range list {
				if (e.Kind == "access" || e.Kind == "attempt") && e.RequestID != "" {
					found[e.RequestID] = append(found[e.RequestID], e)
				}
			}
			if len(list) < page {
				break
			}
		}
	}
	return found
}
