package drill

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/querschott/querschott/internal/disk"
)

const (
	caName      = "Querschott Demo CA - not for real use"
	identityAge = 365 * 24 * time.Hour
	clockError  = time.Hour // certificates begin a little earlier than the clock here says
)

// CA is the certificate authority of one demonstration. Its certificate carries critical name constraints: whoever trusts
// it trusts it for localhost, .localhost, .kim.telematik-test, addresses of the loopback networks and mail addresses of
// the test domain only, and for one year. There is no way to get its private key out of it.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

// NewCA makes an authority with a fresh ECDSA key on P-256.
func NewCA(now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the key of the demo CA: %w", err)
	}
	ca := &CA{key: key, now: now}
	template, err := ca.template(caName)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains = []string{"localhost", testDomain[1:]}
	template.PermittedIPRanges = []*net.IPNet{
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
	template.PermittedEmailAddresses = []string{testDomain}
	template.PermittedURIDomains = []string{"localhost"}
	ca.cert = template
	id, err := ca.sign(template, key)
	if err != nil {
		return nil, err
	}
	ca.cert = id.Certificate
	return ca, nil
}

// Certificate returns the authority's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pool returns a pool that trusts this authority and nobody else.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// WriteCertificate writes the certificate, never the key, to <dir>/<name>.crt in PEM form.
func (ca *CA) WriteCertificate(dir, name string) error {
	return writePEM(dir, name+".crt", "CERTIFICATE", ca.cert.Raw)
}

// Identity is a certificate of the demo CA with its private key.
type Identity struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
}

// Server returns an identity for a TLS server under the given names and addresses. Names outside the CA's constraints are
// an error here rather than at every client.
func (ca *CA) Server(hosts ...string) (*Identity, error) {
	if len(hosts) == 0 {
		return nil, fmt.Errorf("couldn't make a server certificate: it needs at least one name or address")
	}
	template, err := ca.template("Querschott demo server - not for real use")
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	id, err := ca.issue(template)
	if err != nil {
		return nil, err
	}
	if _, err := id.Certificate.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: ca.now}); err != nil {
		return nil, fmt.Errorf("couldn't make a server certificate: %w", err)
	}
	return id, nil
}

// Practice returns an identity with which a practice signs its documents.
func (ca *CA) Practice(p *Practice) (*Identity, error) {
	template, err := ca.template(p.Office.Name)
	if err != nil {
		return nil, err
	}
	template.Subject.SerialNumber = p.Office.Number
	template.EmailAddresses = []string{string(p.KIM)}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	return ca.issue(template)
}

// Client returns an identity with which a machine shows who it is.
func (ca *CA) Client(name string) (*Identity, error) {
	template, err := ca.template(name)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.issue(template)
}

// Enrol gives every practice an identity of this CA. It must return before the practices write their first mail.
func (w *World) Enrol(ca *CA) error {
	for _, p := range w.practices {
		id, err := ca.Practice(p)
		if err != nil {
			return err
		}
		p.signer = id
	}
	return nil
}

func (ca *CA) template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("couldn't draw a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{Organization: []string{"Querschott demo, invented"}, CommonName: name},
		NotBefore:    ca.now.Add(-clockError), NotAfter: ca.now.Add(identityAge),
	}, nil
}

// issue makes a key and signs the template.
func (ca *CA) issue(template *x509.Certificate) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key for %q: %w", template.Subject.CommonName, err)
	}
	return ca.sign(template, key)
}

func (ca *CA) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (*Identity, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign a certificate for %q: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate of %q: %w", template.Subject.CommonName, err)
	}
	return &Identity{Certificate: cert, Key: key}, nil
}

// TLS returns the identity in the form that a server takes.
func (i *Identity) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.Certificate.Raw}, PrivateKey: i.Key, Leaf: i.Certificate}
}

// Write writes <dir>/<name>.crt and <dir>/<name>.key in PEM form, readable by their owner only.
func (i *Identity) Write(dir, name string) error {
	return i.WriteFiles(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// WriteFiles writes certificate and key into these files, as Write does.
func (i *Identity) WriteFiles(cert, key string) error {
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	if err != nil {
		return fmt.Errorf("couldn't encode the key for %s: %w", key, err)
	}
	if err := writePEM(filepath.Dir(key), filepath.Base(key), "PRIVATE KEY", der); err != nil {
		return err
	}
	return writePEM(filepath.Dir(cert), filepath.Base(cert), "CERTIFICATE", i.Certificate.Raw)
}

func writePEM(dir, name, kind string, der []byte) error {
	fs := disk.OS{}
	if err := fs.MkdirAll(dir); err != nil {
		return fmt.Errorf("couldn't make the directory for %s: %w", name, err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := disk.WriteFile(fs, filepath.Join(dir, name), data); err != nil {
		return fmt.Errorf("couldn't write %s: %w", name, err)
	}
	return nil
}
