package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/internal/disk"
)

// linkYears is how long a certificate of the link is valid that this program makes. It is known by its pin, so its dates say
// little; that it ends is found by 'doctor' two weeks before.
const linkYears = 10

// BookKeys are the public keys that a gate verifies orders with.
type BookKeys struct {
	Domain     string     `yaml:"domain" json:"domain"`
	Machine    string     `yaml:"machine" json:"machine"`
	BreakGlass string     `yaml:"break_glass,omitempty" json:"break_glass,omitempty"`
	Operators  []Operator `yaml:"operators" json:"operators"`
}

// LoadBookKeys reads the file that 'querschott door gates add' has written.
func LoadBookKeys(file string) (k BookKeys, err error) {
	if err := loadYAML(file, &k); err != nil {
		return k, err
	}
	if len(k.Operators) == 0 {
		return k, fmt.Errorf("%s names no operator", file)
	}
	_, err = k.verifiers()
	return k, err
}

// SaveBookKeys writes it.
func SaveBookKeys(file string, k BookKeys) error {
	return saveYAML(file, "# Public keys of the node that keeps the book of doors. Whoever can write this file can open doors at this gate.\n", k)
}

func (k *BookKeys) verifiers() (*door.Keys, error) {
	machine, err := note.NewVerifier(k.Machine)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key of the platform: %w", err)
	}
	var operators []door.Operator
	for _, op := range k.Operators {
		operators = append(operators, door.Operator(op))
	}
	return door.NewKeys(operators, machine, k.BreakGlass)
}

// NewLinkCertificate makes a key and a certificate for one side of the link between a book and a gate, and returns its pin.
// What is there already is left as it is.
func NewLinkCertificate(certificate, key, name string, now time.Time) (pin string, err error) {
	if _, err := os.Stat(certificate); err == nil {
		return linkPin(certificate, key)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(linkYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return "", fmt.Errorf("couldn't make the certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("couldn't encode the key of %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(certificate), 0o700); err != nil {
		return "", err
	}
	err = disk.WriteFile(disk.OS{}, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	if err == nil {
		err = disk.WriteFile(disk.OS{}, certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if err != nil {
		return "", fmt.Errorf("couldn't write the certificate of %s: %w", name, err)
	}
	return linkPin(certificate, key)
}

func linkPin(certificate, key string) (string, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return "", err
	}
	return mtls.PinOf(pair.Leaf).String(), nil
}

// linkTLS is one side's configuration. It shows its certificate and asks for the other side's, whom judge knows by its pin.
func linkTLS(certificate, key string, judge func(*x509.Certificate) error) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("couldn't load the certificate of the link: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // the pin is the check, below: no authority stands between the two
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the other side shows no certificate")
			}
			return judge(s.PeerCertificates[0])
		},
	}, nil
}

// inDates refuses a certificate that is not valid at this time.
func inDates(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("its certificate is valid from %s to %s only", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// parsePins reads pins that have been checked.
func parsePins(list []string) (pins []mtls.Pin) {
	for _, p := range list {
		if pin, err := mtls.ParsePin(p); err == nil && !slices.Contains(pins, pin) {
			pins = append(pins, pin)
		}
	}
	return pins
}
