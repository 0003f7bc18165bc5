package cms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// identity is a self-signed certificate with its key, made for one run of the tests.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var signingTime = time.Date(2026, 9, 29, 10, 30, 0, 0, time.UTC)

var rsaIdentity = sync.OnceValue(func() identity {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return selfSigned(key)
})

var ecdsaIdentity = sync.OnceValue(func() identity {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return selfSigned(key)
})

func selfSigned(key crypto.Signer) identity {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x27182818284),
		Subject:      pkix.Name{CommonName: "Praxis Dr. Übung", Country: []string{"DE"}, Organization: []string{"Erfunden, NOT-VALID"}},
		NotBefore:    signingTime.AddDate(-1, 0, 0),
		NotAfter:     signingTime.AddDate(3, 0, 0),
		KeyUsage:     x509.KeyUsageContentCommitment | x509.KeyUsageDigitalSignature,
		SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return identity{cert, key}
}

func identities() map[string]identity {
	return map[string]identity{"RSA-PSS": rsaIdentity(), "ECDSA P-256": ecdsaIdentity()}
}

// openssl runs the foreign program in dir. It is required under CI=true.
func openssl(t testing.TB, dir string, args ...string) ([]byte, error) {
	t.Helper()
	bin, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is missing")
		}
		t.Skip("openssl is missing")
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

func mustOpenssl(t testing.TB, dir string, args ...string) {
	t.Helper()
	if out, err := openssl(t, dir, args...); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

func writeFile(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
