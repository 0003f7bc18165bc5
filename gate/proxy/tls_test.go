package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pair writes a certificate that signs itself, and its key.
func pair(t *testing.T, dir, name string) (cert, key string, parsed *x509.Certificate, with tls.Certificate) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: bytes}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, parsed, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func TestTLSToTheService(t *testing.T) {
	dir := t.TempDir()
	ca, _, _, server := pair(t, dir, "fhir.internal")
	cert, key, client, _ := pair(t, dir, "gate")
	otherCert, otherKey, _, _ := pair(t, dir, "other")
	up := httptest.NewUnstartedServer(newFHIRForTests(t, 1))
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	up.TLS.ClientCAs.AddCert(client)
	up.StartTLS()
	t.Cleanup(up.Close)
	for name, tc := range map[string]struct {
		settings TLSSettings
		ok       bool
	}{
		"right":                        {TLSSettings{CA: ca, Certificate: cert, Key: key}, true},
		"right, by another name":       {TLSSettings{CA: ca, Certificate: cert, Key: key, Name: "fhir.internal"}, true},
		"a service of another name":    {TLSSettings{CA: ca, Certificate: cert, Key: key, Name: "fhir.example"}, false},
		"a service that nobody signed": {TLSSettings{Certificate: cert, Key: key}, false},
		"another CA":                   {TLSSettings{CA: cert, Certificate: cert, Key: key}, false},
		"no certificate":               {TLSSettings{CA: ca}, false},
		"a certificate of another":     {TLSSettings{CA: ca, Certificate: otherCert, Key: otherKey}, false},
	} {
		w := newWorldAt(t, up.URL+"/fhir", func(s *Settings) { s.TLS = tc.settings })
		if _, err := w.ask(request("GET", "/fhir/metadata", "")); tc.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := Default(up.URL)
	s.TLS = TLSSettings{Certificate: cert, Key: otherKey}
	if _, err := New(Config{Settings: s}); err == nil {
		t.Error("a key of another certificate was taken")
	}
	s.TLS = TLSSettings{CA: key}
	if _, err := New(Config{Settings: s}); err == nil {
		t.Error("a CA file without certificates was taken")
	}
}
