package node

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/wire/zeta"
)

// clientCertificate makes a certificate that nobody vouches for.
func clientCertificate(t *testing.T) (tls.Certificate, mtls.Pin) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "guard"}, NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, mtls.PinOf(leaf)
}

// ZETA-* headers are believed over the pinned guard's connection only, and must not contradict a token.
func TestGuardInFront(t *testing.T) {
	guard, pin := clientCertificate(t)
	stranger, _ := clientCertificate(t)
	h, m := newVSDMHouse(t, 1, func(c *Config) {
		c.HTTP.Machines = []Machine{{Name: "guard", Pins: []string{pin.String()}, Role: "partner", Services: []string{"vsdm"}, Guard: true}}
	})
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	user, err := zeta.UserInfo{Identifier: string(x.practice.TelematikID()), ProfessionOID: "1.2.276.0.76.4.50", CommonName: "Praxis"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	presence := func(actor string) string {
		now := time.Now().Unix()
		return `{"version":"1.0.0","iss":"` + presenceIssuer + `","iat":` + itoa(now) + `,"patientProofTime":` + itoa(now) + `,"proofMethod":"healthid","patientId":"` +
			who.Number.Reveal() + `","insurerId":"` + string(who.Insurer.IK) + `","actorId":"` + actor + `","actorProfessionOid":"1.2.276.0.76.4.50"}`
	}
	ask := func(cert *tls.Certificate, raw bool, actor string) int {
		t.Helper()
		tc := h.clientTLS()
		if cert != nil {
			tc.Certificates = []tls.Certificate{*cert}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: tc}}
		defer client.CloseIdleConnections()
		content, err := zeta.EncodePresence([]byte(presence(actor)))
		if err != nil {
			t.Fatal(err)
		}
		client.Transport = &headers{client.Transport, http.Header{zeta.HeaderUserInfo: {user}, zeta.HeaderPresence: {content}}, raw}
		now, base := time.Now(), n.Addresses().HTTP
		check := drill.CardCheck{URL: base, Key: x.key, Access: "none", Version: "1.0"}
		if raw {
			check.Access = m.access(x.practice, x.key, base, now)
			check.Presence = m.presence(x.practice, who.Number, who.Insurer.IK, now)
		}
		answer, err := check.Do(t.Context(), client, now)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status
	}
	own := string(x.practice.TelematikID())
	for _, tc := range []struct {
		name  string
		cert  *tls.Certificate
		raw   bool
		actor string
		want  int
	}{
		{"the guard's word alone", &guard, false, own, http.StatusOK},
		{"nobody's word", nil, false, own, http.StatusUnauthorized},
		{"a stranger's word", &stranger, false, own, http.StatusUnauthorized},
		{"the presence of another practice", &guard, false, "1-2999999999", http.StatusForbidden},
		{"tokens, and a stranger's word that is taken away", &stranger, true, "1-2999999999", http.StatusOK},
		{"tokens that the guard contradicts", &guard, true, "1-2999999999", http.StatusForbidden},
	} {
		if got := ask(tc.cert, tc.raw, tc.actor); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func itoa(n int64) string { return big.NewInt(n).String() }

// headers adds headers, and takes the tokens away unless they shall stay.
type headers struct {
	next http.RoundTripper
	add  http.Header
	raw  bool
}

func (h *headers) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range h.add {
		r.Header[name] = values
	}
	if !h.raw {
		r.Header.Del("Authorization")
		r.Header.Del("DPoP")
		r.Header.Del("PoPP")
	}
	return h.next.RoundTrip(r)
}
