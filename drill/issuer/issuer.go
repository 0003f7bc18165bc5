package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// Mark is the value of the claim querschott_dev.
const Mark = "for tests only, believed nowhere else"

// Options say what the issuer is for.
type Options struct {
	ForTestsOnly bool // must be set: these tokens open everything to everybody

	Audience    []string      // of tokens for clients that name none; default: the issuer itself
	Scopes      []string      // that clients may ask for; default: vsdservice
	Lifetime    time.Duration // of access tokens; default 300 s
	DemandNonce bool          // DPoP proofs at the token endpoint need a nonce
}

// Issuer issues tokens. All methods may be called at the same time.
type Issuer struct {
	now  func() time.Time
	base string
	opt  Options

	access  signer // of access tokens
	popp    signer // of PoPP tokens
	entity  signer // of the federation's documents
	ca      *x509.Certificate
	leaf    []byte // DER, certifies popp
	clients clients
	nonces  once
	used    once // ids of proofs and assertions
}

// signer is a key pair; its kid is the thumbprint.
type signer struct {
	private *ecdsa.PrivateKey
	public  jose.Key
}

func newSigner() (signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, fmt.Errorf("couldn't make a key: %w", err)
	}
	return signerOf(private)
}

func signerOf(private *ecdsa.PrivateKey) (signer, error) {
	public, err := jose.KeyOf(&private.PublicKey)
	if err != nil {
		return signer{}, fmt.Errorf("couldn't make a key: %w", err)
	}
	public.ID = public.Thumbprint()
	return signer{private, public}, nil
}

// sign makes a token of the payload's JSON.
func (s *signer) sign(typ string, payload any, chain ...[]byte) (string, error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("couldn't write a token: %w", err)
	}
	return jose.Sign(jose.Header{Typ: typ, Kid: s.public.ID, X5C: chain}, body, s.private)
}

func (s *signer) set() jose.KeySet { return jose.KeySet{s.public.ID: s.public} }

// New makes an issuer that is called base, an http or https URL without a path, such as http://127.0.0.1:8441 or
// https://issuer.dev.invalid.
func New(now func() time.Time, base string, o Options) (*Issuer, error) {
	if !o.ForTestsOnly {
		return nil, errors.New("the dev issuers are for tests only, and nobody has said that this is one")
	}
	if err := checkBase(base); err != nil {
		return nil, err
	}
	if o.Lifetime <= 0 {
		o.Lifetime = 300 * time.Second
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"vsdservice"}
	}
	if len(o.Audience) == 0 {
		o.Audience = []string{base}
	}
	i := &Issuer{now: now, base: base, opt: o, nonces: newOnce(), used: newOnce()}
	for _, s := range []*signer{&i.access, &i.popp, &i.entity} {
		var err error
		if *s, err = newSigner(); err != nil {
			return nil, err
		}
	}
	return i, i.certify()
}

// checkBase lets only names pass that no real issuer can have.
func checkBase(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("a dev issuer's name is written http://127.0.0.1:8441 or https://issuer.dev.invalid")
	}
	host := strings.ToLower(u.Hostname())
	ip := net.ParseIP(host)
	if host != "localhost" && !strings.HasSuffix(host, ".dev.invalid") && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("a dev issuer is called by a loopback address, localhost or a name in dev.invalid, not by %.100q", host)
	}
	return nil
}

// certify makes the chain of the PoPP key, in form as the published ones.
func (i *Issuer) certify() error {
	ca, err := newSigner()
	if err != nil {
		return err
	}
	const organization = "Querschott DEV-ONLY - NOT-VALID"
	from, to := i.now().Add(-time.Hour), i.now().AddDate(1, 0, 0)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{Country: []string{"DE"}, Organization: []string{organization}, CommonName: "QUERSCHOTT.KOMP-CA DEV-ONLY"},
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &ca.private.PublicKey, ca.private)
	if err != nil {
		return fmt.Errorf("couldn't make the CA of a dev issuer: %w", err)
	}
	if i.ca, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("couldn't make the CA of a dev issuer: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageContentCommitment,
		Subject: pkix.Name{Country: []string{"DE"}, Organization: []string{organization}, CommonName: "popp-token.dev.invalid"},
	}
	if i.leaf, err = x509.CreateCertificate(rand.Reader, leaf, i.ca, &i.popp.private.PublicKey, ca.private); err != nil {
		return fmt.Errorf("couldn't make the certificate of a dev issuer: %w", err)
	}
	return nil
}

// Name returns the issuer's name: the claim iss of everything that it issues.
func (i *Issuer) Name() string { return i.base }

// AccessKeys returns the keys that verify access tokens.
func (i *Issuer) AccessKeys() jose.KeySet { return i.access.set() }

// PresenceKeys returns the keys that verify PoPP tokens.
func (i *Issuer) PresenceKeys() jose.KeySet { return i.popp.set() }

// EntityKeys returns the keys that verify the federation's documents.
func (i *Issuer) EntityKeys() jose.KeySet { return i.entity.set() }

// CA returns the certificate that the chain of PoPP tokens ends in.
func (i *Issuer) CA() *x509.Certificate { return i.ca }

// Practice says who stands behind a client. What is empty has a standard value.
type Practice struct {
	Subject        string `json:"subject,omitempty"`        // Telematik-ID
	Profession     string `json:"profession_oid,omitempty"` // 1.2.276.0.76.4.N
	Name           string `json:"common_name,omitempty"`
	Organization   string `json:"organization_name,omitempty"`
	Product        string `json:"product_id,omitempty"`
	ProductVersion string `json:"product_version,omitempty"`
	Platform       string `json:"platform,omitempty"`
}

func (p Practice) standard() Practice {
	for _, f := range []struct {
		value *string
		std   string
	}{
		{&p.Subject, "1-2DEV0000000001"},
		{&p.Profession, "1.2.276.0.76.4.50"},
		{&p.Name, "Praxis Dr. Übung"},
		{&p.Product, "querschott-dev"},
		{&p.ProductVersion, "1.0.0"},
		{&p.Platform, "linux"},
	} {
		if *f.value == "" {
			*f.value = f.std
		}
	}
	return p
}

// Grant is what an access token says. What is empty has a standard value.
type Grant struct {
	Practice Practice
	Client   string     // client_id
	Address  netip.Addr // of the client; default 127.0.0.1
	Audience []string
	Scope    string // separated by blanks
	ACR      string
	Session  string        // sid; default: a session of its own
	Version  int64         // contract: 1 or 2; 0: says nothing
	Issued   time.Time     // default: now
	Lifetime time.Duration // default: that of the options
	Binding  string        // thumbprint of the key that proofs are made with; must be set
}

// claims are an access token's, with the mark.
type claims struct {
	zeta.Access
	Dev string `json:"querschott_dev"`
}

// AccessToken issues an access token with every claim of the published schema.
func (i *Issuer) AccessToken(g Grant) (string, error) {
	if g.Binding == "" {
		return "", errors.New("an access token is bound to a key")
	}
	p := g.Practice.standard()
	issued, lifetime, address := g.Issued, g.Lifetime, g.Address
	if issued.IsZero() {
		issued = i.now()
	}
	if lifetime == 0 {
		lifetime = i.opt.Lifetime
	}
	if !address.IsValid() {
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	text := func(s, std string) string {
		if s == "" {
			return std
		}
		return s
	}
	audience := g.Audience
	if len(audience) == 0 {
		audience = i.opt.Audience
	}
	return i.access.sign(zeta.TypeAccess, claims{Dev: Mark, Access: zeta.Access{
		Issuer: i.base, Issued: issued.Unix(), Expires: issued.Add(lifetime).Unix(), Audience: slices.Clone(audience),
		Scope: text(g.Scope, strings.Join(i.opt.Scopes, " ")), Subject: p.Subject, Profession: p.Profession, CommonName: p.Name,
		Organization: p.Organization, Client: text(g.Client, "dev-client"), Address: address.String(), Product: p.Product,
		ProductVersion: p.ProductVersion, Platform: p.Platform, ACR: text(g.ACR, zeta.High), ID: rand.Text(),
		Session: text(g.Session, rand.Text()), Version: g.Version, Confirmation: zeta.Confirmation{Thumbprint: g.Binding},
	}})
}

// Card says whose card was where. What is empty has a standard value; numbers are taken as they are, wrong ones too.
type Card struct {
	Patient    string    `json:"patientId"` // KVNR
	Insurer    string    `json:"insurerId"` // IK
	Actor      string    `json:"actorId,omitempty"`
	Profession string    `json:"actorProfessionOid,omitempty"`
	Method     string    `json:"proofMethod,omitempty"`
	Proved     time.Time `json:"patientProofTime,omitzero"` // default: when the token was issued
	Issued     time.Time `json:"-"`                         // default: now
}

// PresenceToken issues a PoPP token in the form of the published ones: kid is the thumbprint of the key, x5c its certificate.
func (i *Issuer) PresenceToken(c Card) (string, error) {
	if c.Patient == "" || c.Insurer == "" {
		return "", errors.New("a PoPP token is about a patient of an insurer")
	}
	p := Practice{Subject: c.Actor, Profession: c.Profession}.standard()
	if c.Issued.IsZero() {
		c.Issued = i.now()
	}
	if c.Proved.IsZero() {
		c.Proved = c.Issued
	}
	if c.Method == "" {
		c.Method = "ehc-practitioner-user-x509"
	}
	return i.popp.sign(zeta.TypePresence, zeta.Presence{
		Version: "1.0.0", Issuer: i.base, Issued: c.Issued.Unix(), Method: c.Method, Proved: c.Proved.Unix(),
		Patient: c.Patient, Insurer: c.Insurer, Actor: p.Subject, Profession: p.Profession,
	}, i.leaf)
}
