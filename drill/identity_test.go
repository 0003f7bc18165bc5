package drill

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var demoDay = time.Date(2026, 10, 5, 9, 30, 0, 0, time.UTC)

func newCA(t testing.TB) *CA {
	t.Helper()
	ca, err := NewCA(demoDay)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestServerCertificatesAreForTestNamesOnly(t *testing.T) {
	ca := newCA(t)
	for _, host := range []string{"localhost", "node.localhost", "127.0.0.1", "127.8.9.10", "::1", "mail.kim.telematik-test"} {
		id, err := ca.Server(host)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if err := id.Certificate.VerifyHostname(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"example.com", "kim.telematik", "aok.kim.telematik", "192.0.2.1", "10.0.0.1", "::2", "localhost.example.com"} {
		if _, err := ca.Server(host); err == nil {
			t.Errorf("the CA has vouched for %s", host)
		}
	}
	if _, err := ca.Server(); err == nil {
		t.Error("the CA has made a certificate for nobody")
	}
}

// Whoever got hold of the CA's key would still not be believed.
func TestStolenCAIsHarmless(t *testing.T) {
	ca := newCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template, err := ca.template("example.com")
	if err != nil {
		t.Fatal(err)
	}
	template.DNSNames = []string{"example.com"}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	id, err := ca.sign(template, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Certificate.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: demoDay, DNSName: "example.com"}); err == nil {
		t.Error("a certificate for example.com is believed")
	}
	template.DNSNames, template.EmailAddresses, template.ExtKeyUsage = nil, []string{"someone@example.com"}, nil
	if id, err = ca.sign(template, key); err != nil {
		t.Fatal(err)
	}
	if _, err := id.Certificate.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: demoDay, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("a certificate for a mail address elsewhere is believed")
	}
}

func TestCAIsNamedAndShortLived(t *testing.T) {
	ca := newCA(t)
	server, err := ca.Server("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if got := ca.Certificate().Subject.CommonName; got != "Querschott Demo CA - not for real use" {
		t.Errorf("the CA is called %q", got)
	}
	for _, c := range []*x509.Certificate{ca.Certificate(), server.Certificate} {
		if years := c.NotAfter.Sub(demoDay); years != 365*24*time.Hour || !c.NotBefore.Before(demoDay) {
			t.Errorf("%s is valid from %v to %v", c.Subject, c.NotBefore, c.NotAfter)
		}
	}
	if !ca.Certificate().PermittedDNSDomainsCritical || !ca.Certificate().MaxPathLenZero {
		t.Error("the CA may have sub-CAs, or its constraints may be ignored")
	}
}

func TestIdentitiesOnDisk(t *testing.T) {
	ca := newCA(t)
	id, err := ca.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tls")
	if err := ca.WriteCertificate(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	if err := id.Write(dir, "gate"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "gate.crt"), filepath.Join(dir, "gate.key"))
	if err != nil {
		t.Fatal(err)
	}
	if !id.Key.Equal(pair.PrivateKey) {
		t.Error("another key was written")
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if perm := info.Mode().Perm(); perm != 0o600 {
			t.Errorf("%s has mode %o", f.Name(), perm)
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(data); block == nil || strings.Contains(block.Type, "PRIVATE") != (f.Name() == "gate.key") {
			t.Errorf("%s holds the wrong thing", f.Name())
		}
	}
	if len(files) != 3 {
		t.Errorf("%d files, want ca.crt, gate.crt and gate.key", len(files))
	}
}

func TestWritingIdentitiesFails(t *testing.T) {
	ca := newCA(t)
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteCertificate(blocked, "ca"); err == nil {
		t.Error("a file was taken for a directory")
	}
}
