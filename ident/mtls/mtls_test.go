package mtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

const insurer = querschott.IK("109500969")

var start = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: start} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate, signed by itself without an issuer.
func issue(t testing.TB, name string, by *identity, change ...func(*x509.Certificate)) *identity {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Partner"}},
		NotBefore: start.Add(-time.Hour), NotAfter: start.Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, fn := range change {
		fn(template)
	}
	key := newKey(t)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
}

// rawSubject makes a subject with an organization and these common names.
func rawSubject(t testing.TB, names ...string) func(*x509.Certificate) {
	t.Helper()
	seq := pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Partner"}}}
	for _, n := range names {
		seq = append(seq, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n}})
	}
	der, err := asn1.Marshal(seq)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) { c.RawSubject = der }
}

func (i *identity) state(chain ...*identity) *tls.ConnectionState {
	s := &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{i.cert}}
	for _, c := range chain {
		s.PeerCertificates = append(s.PeerCertificates, c.cert)
	}
	return s
}

func pool(of ...*identity) *x509.CertPool {
	p := x509.NewCertPool()
	for _, i := range of {
		p.AddCert(i.cert)
	}
	return p
}

func pinned(name string, of ...*identity) Machine {
	m := Machine{Name: name, Role: querschott.RolePartner, Insurer: insurer, Services: []querschott.Service{querschott.VSDM}}
	for _, i := range of {
		m.Pins = append(m.Pins, PinOf(i.cert))
	}
	return m
}

func open(t testing.TB, now func() time.Time, list ...Machine) *Machines {
	t.Helper()
	m, err := New(list, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func refused(t *testing.T, why string, m *Machines, s *tls.ConnectionState) {
	t.Helper()
	if id, err := m.Identify(s); querschott.CodeOf(err) != querschott.CodeUnauthorized || id != nil {
		t.Errorf("%s: %+v, %v, want unauthorized", why, id, err)
	}
	if m.Guard(s) {
		t.Errorf("%s: taken for a guard", why)
	}
}

func TestPinnedMachine(t *testing.T) {
	clk := newClock()
	present, next, stranger := issue(t, "a", nil), issue(t, "a", nil), issue(t, "a", nil)
	m := open(t, clk.now, pinned("lab-1", present, next))
	for _, i := range []*identity{present, next} {
		id, err := m.Identify(i.state())
		if err != nil {
			t.Fatal(err)
		}
		pin := PinOf(i.cert).String()
		actor := querschott.Actor("machine:lab-1")
		want := &ident.Identity{
			Credential: querschott.Credential{ID: querschott.CredentialID("cert/" + pin[:16]), Actor: actor, Role: querschott.RolePartner},
			Caller:     querschott.Caller{Actor: actor, Role: querschott.RolePartner, Name: "lab-1", Insurer: insurer},
			Binding:    pin, Issued: i.cert.NotBefore, Expires: i.cert.NotAfter,
			Facts: ident.Facts{Subject: "lab-1", Key: pin}, Services: []querschott.Service{querschott.VSDM},
		}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Error(diff)
		}
		if id.MayCall(querschott.VSDM) != nil || querschott.CodeOf(id.MayCall(querschott.EPA)) != querschott.CodeForbidden {
			t.Error("may call what it must not, or not what it may")
		}
	}
	if m.Guard(present.state()) {
		t.Error("a partner passes for a guard")
	}
	refused(t, "a stranger of the same name", m, stranger.state())
	refused(t, "a stranger who shows the machine's certificate second", m, stranger.state(present))
	refused(t, "no TLS", m, nil)
	refused(t, "no certificate", m, &tls.ConnectionState{HandshakeComplete: true})
	unfinished := present.state()
	unfinished.HandshakeComplete = false
	refused(t, "before the handshake is complete", m, unfinished)
	refused(t, "after the pin was taken away", open(t, clk.now, pinned("lab-1", next)), present.state())
}

func TestDates(t *testing.T) {
	clk := newClock()
	ca := issue(t, "CA", nil, authority)
	pin, ours := issue(t, "pin", nil), issue(t, "ours", ca)
	m := open(t, clk.now, pinned("pin", pin), Machine{Name: "ca", CA: pool(ca), Subject: "CN=ours,O=Partner", Role: querschott.RolePartner, Services: []querschott.Service{querschott.VSDM}})
	for name, i := range map[string]*identity{"pin": pin, "authority": ours} {
		for at, valid := range map[time.Time]bool{
			i.cert.NotBefore: true, i.cert.NotBefore.Add(-time.Second): false, i.cert.NotAfter: true, i.cert.NotAfter.Add(time.Second): false, start: true,
		} {
			clk.set(at)
			if _, err := m.Identify(i.state()); (err == nil) != valid {
				t.Errorf("%s at %v: %v, want valid = %v", name, at, err, valid)
			}
		}
	}
	// Within the minute for which the authority's signature is remembered.
	clk.set(ours.cert.NotAfter)
	if _, err := m.Identify(ours.state()); err != nil {
		t.Fatal(err)
	}
	clk.set(ours.cert.NotAfter.Add(time.Second))
	refused(t, "a certificate that ended a second ago", m, ours.state())
}

func TestAuthorityAndSubject(t *testing.T) {
	clk := newClock()
	ca, other := issue(t, "CA", nil, authority), issue(t, "CA", nil, authority)
	middle := issue(t, "Middle", ca, authority)
	m := open(t, clk.now, Machine{Name: "hospital", CA: pool(ca), Subject: "CN=ours,O=Partner", Role: querschott.RolePractice, Services: []querschott.Service{querschott.EPA}})
	for name, s := range map[string]*tls.ConnectionState{
		"issued": issue(t, "ours", ca).state(), "by an authority in between": issue(t, "ours", middle).state(middle),
		"subject written by hand": issue(t, "x", ca, rawSubject(t, "ours")).state(),
	} {
		for range 2 { // the second time it is remembered
			if id, err := m.Identify(s); err != nil || id.Caller.Role != querschott.RolePractice || id.Caller.Insurer != "" {
				t.Errorf("%s: %+v, %v", name, id, err)
			}
		}
	}
	var many []*identity
	for range maxChain {
		many = append(many, middle)
	}
	leaf := issue(t, "leaf", ca)
	for name, s := range map[string]*tls.ConnectionState{
		"another subject":           issue(t, "theirs", ca).state(),
		"subject in capitals":       issue(t, "Ours", ca).state(),
		"subject with a space":      issue(t, "ours ", ca).state(),
		"subject with a zero":       issue(t, "ours\x00", ca).state(),
		"subject inside a name":     issue(t, "ours,O=Partner", ca).state(),
		"more subject":              issue(t, "ours", ca, func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"x"} }).state(),
		"two common names":          issue(t, "x", ca, rawSubject(t, "theirs", "ours")).state(),
		"two common names, first":   issue(t, "x", ca, rawSubject(t, "ours", "theirs")).state(),
		"another authority":         issue(t, "ours", other).state(other),
		"signed by itself":          issue(t, "ours", nil).state(),
		"signed by a leaf":          issue(t, "ours", leaf).state(leaf),
		"authority in between lost": issue(t, "ours", middle).state(),
		"endless chain":             issue(t, "ours", middle).state(many...),
		"for servers":               issue(t, "ours", ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).state(),
		"between others":            leaf.state(issue(t, "ours", ca)),
	} {
		refused(t, name, m, s)
	}
}

func TestRememberedSignaturesAreBounded(t *testing.T) {
	clk := newClock()
	ca := issue(t, "CA", nil, authority)
	m := open(t, clk.now, Machine{Name: "a", CA: pool(ca), Subject: "CN=ours,O=Partner", Role: querschott.RolePartner, Services: []querschott.Service{querschott.VSDM}})
	for i := range maxKnown {
		m.verified[[32]byte{byte(i), byte(i >> 8)}] = verified{}
	}
	if _, err := m.Identify(issue(t, "ours", ca).state()); err != nil || len(m.verified) > maxKnown {
		t.Errorf("%d remembered, %v", len(m.verified), err)
	}
	stranger := issue(t, "theirs", ca)
	refused(t, "a stranger", m, stranger.state())
	if len(m.verified) > 1 {
		t.Error("strangers are remembered")
	}
}

func TestCertificatesForServersOnly(t *testing.T) {
	server := issue(t, "a", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	odd := issue(t, "a", nil, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
	})
	silent := issue(t, "a", nil, func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	m := open(t, newClock().now, pinned("server", server), pinned("odd", odd), pinned("silent", silent))
	refused(t, "for servers", m, server.state())
	refused(t, "for something else", m, odd.state())
	if _, err := m.Identify(silent.state()); err != nil {
		t.Error(err)
	}
}

func TestListThatMakesNoSense(t *testing.T) {
	one, two, three, ca := issue(t, "a", nil), issue(t, "b", nil), issue(t, "c", nil), issue(t, "CA", nil, authority)
	good := pinned("a", one)
	change := func(fn func(*Machine)) []Machine {
		m := good
		fn(&m)
		return []Machine{m}
	}
	for name, list := range map[string][]Machine{
		"no name":              change(func(m *Machine) { m.Name = "" }),
		"name in capitals":     change(func(m *Machine) { m.Name = "Lab" }),
		"name with a colon":    change(func(m *Machine) { m.Name = "a:b" }),
		"nobody":               change(func(m *Machine) { m.Pins = nil }),
		"empty pin":            change(func(m *Machine) { m.Pins = []Pin{{}} }),
		"three pins":           {pinned("a", one, two, three)},
		"authority alone":      change(func(m *Machine) { m.Pins, m.CA = nil, pool(ca) }),
		"authority and pin":    change(func(m *Machine) { m.CA, m.Subject = pool(ca), "CN=a" }),
		"subject alone":        change(func(m *Machine) { m.Subject = "CN=a" }),
		"guard by authority":   change(func(m *Machine) { m.Pins, m.CA, m.Subject, m.Guard = nil, pool(ca), "CN=a", true }),
		"operator":             change(func(m *Machine) { m.Role = querschott.RoleOperator }),
		"staff":                change(func(m *Machine) { m.Role = querschott.RoleStaff }),
		"no role":              change(func(m *Machine) { m.Role = "" }),
		"no service":           change(func(m *Machine) { m.Services = nil }),
		"unknown service":      change(func(m *Machine) { m.Services = []querschott.Service{"x"} }),
		"insurer not an IK":    change(func(m *Machine) { m.Insurer = "1" }),
		"one name twice":       {good, pinned("a", two)},
		"one pin twice":        {good, pinned("b", one)},
		"one pin twice in one": {pinned("a", one, one)},
	} {
		if _, err := New(list, time.Now); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := New([]Machine{good, pinned("b", two, three)}, time.Now); err != nil {
		t.Error(err)
	}
}

func TestParsePin(t *testing.T) {
	pin := PinOf(issue(t, "a", nil).cert)
	hex := pin.String()
	var colons []string
	for i := 0; i < len(hex); i += 2 {
		colons = append(colons, strings.ToUpper(hex[i:i+2]))
	}
	for _, s := range []string{hex, strings.Join(colons, ":"), "sha256/" + base64.StdEncoding.EncodeToString(pin[:])} {
		if got, err := ParsePin(s); err != nil || got != pin {
			t.Errorf("ParsePin(%s) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", hex[:62], hex + "00", "x" + hex[1:], "sha256/" + hex, "sha256/", "sha1/" + hex, strings.Repeat("0", 1<<16)} {
		if _, err := ParsePin(s); err == nil {
			t.Errorf("ParsePin(%.20q) is accepted", s)
		}
	}
}

// TestOverTLS shows certificates to a real server, resumes sessions, and shows a certificate without its key.
func TestOverTLS(t *testing.T) {
	known, stranger := issue(t, "a", nil), issue(t, "a", nil)
	m := open(t, newClock().now, pinned("lab-1", known))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := m.Identify(r.TLS)
		if err != nil {
			_, _ = io.WriteString(w, "nobody")
			return
		}
		_, _ = io.WriteString(w, string(id.Caller.Actor))
	}))
	server.TLS = Ask(&tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.NoClientCert})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that must fail
	server.StartTLS()
	defer server.Close()
	get := func(c *tls.Certificate, cache tls.ClientSessionCache) (string, error) {
		config := &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ClientSessionCache: cache}
		if c != nil {
			config.Certificates = []tls.Certificate{*c}
		}
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		r, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		return string(body), err
	}
	own := &tls.Certificate{Certificate: [][]byte{known.cert.Raw}, PrivateKey: known.key}
	cache := tls.NewLRUClientSessionCache(1)
	for range 2 { // the second time the session is resumed
		if got, err := get(own, cache); err != nil || got != "machine:lab-1" {
			t.Errorf("the machine is %q, %v", got, err)
		}
	}
	if got, err := get(nil, nil); err != nil || got != "nobody" {
		t.Errorf("without a certificate: %q, %v", got, err)
	}
	if got, err := get(&tls.Certificate{Certificate: [][]byte{stranger.cert.Raw, known.cert.Raw}, PrivateKey: stranger.key}, nil); err != nil || got != "nobody" {
		t.Errorf("a stranger: %q, %v", got, err)
	}
	if got, err := get(&tls.Certificate{Certificate: [][]byte{known.cert.Raw}, PrivateKey: stranger.key}, nil); err == nil {
		t.Errorf("the machine's certificate without its key: %q", got)
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	f.Add(strings.Repeat("ab:", 31) + "ab")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePin(s)
		if err != nil {
			return
		}
		if again, err := ParsePin(p.String()); err != nil || again != p {
			t.Errorf("%q became %s and then %s, %v", s, p, again, err)
		}
	})
}
