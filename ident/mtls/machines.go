package mtls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

const (
	maxPins    = 2 // the present key and the next one
	maxChain   = 8 // certificates that a caller may show
	maxKnown   = 1024
	verifiedBy = time.Minute // how long an authority's signature need not be checked again
	prefix     = "machine:"  // of actors: no person's name has a colon after this word
)

// Pin is the SHA-256 of a public key's SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String is the pin in hexadecimal.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// ParsePin reads 64 hexadecimal digits, with or without colons between bytes, or sha256/ and base64.
func ParsePin(s string) (Pin, error) {
	var b []byte
	var err error
	if text, ok := strings.CutPrefix(s, "sha256/"); ok && len(s) < 128 {
		b, err = base64.StdEncoding.Strict().DecodeString(text)
	} else if len(s) < 128 {
		b, err = hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	}
	if err != nil || len(b) != sha256.Size {
		return Pin{}, errors.New("a pin is the SHA-256 of a public key: 64 hexadecimal digits, or sha256/ and base64")
	}
	return Pin(b), nil
}

// Machine is one party's machine.
type Machine struct {
	Name     string // lower-case letters, digits, dots and dashes
	Pins     []Pin  // one or two; empty if CA and Subject say who it is
	CA       *x509.CertPool
	Subject  string // of the certificate, exactly as RFC 2253 writes it: "CN=...,O=..."
	Role     querschott.Role
	Insurer  querschott.IK        // the only insurer whose compartments it may reach, "" for all
	Services []querschott.Service // that it may call, at least one
	Guard    bool                 // a ZETA Guard in front, whose ZETA-* headers are believed
}

// Machines are the machines that may call. All methods may be called at the same time.
//
// mu guards verified.
type Machines struct {
	now       func() time.Time
	byPin     map[Pin]*Machine
	bySubject []*Machine

	mu       sync.Mutex
	verified map[[sha256.Size]byte]verified // by leaf certificate
}

type verified struct {
	machine *Machine
	until   time.Time
}

// New checks the list.
func New(list []Machine, now func() time.Time) (*Machines, error) {
	m := &Machines{now: now, byPin: map[Pin]*Machine{}, verified: map[[sha256.Size]byte]verified{}}
	names := map[string]bool{}
	for i := range list {
		one := list[i]
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("machine %d (%s): %w", i+1, one.Name, err)
		}
		if names[one.Name] {
			return nil, fmt.Errorf("machine %d (%s): the name is listed twice", i+1, one.Name)
		}
		names[one.Name] = true
		for _, p := range one.Pins {
			if other, twice := m.byPin[p]; twice {
				return nil, fmt.Errorf("machine %d (%s): its pin is that of %s", i+1, one.Name, other.Name)
			}
			m.byPin[p] = &one
		}
		if one.CA != nil {
			m.bySubject = append(m.bySubject, &one)
		}
	}
	return m, nil
}

func (m *Machine) check() error {
	switch {
	case m.Name == "" || len(m.Name) > 100 || strings.Trim(m.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "":
		return errors.New("its name is of lower-case letters, digits, dots and dashes")
	case m.CA == nil && (len(m.Pins) == 0 || len(m.Pins) > maxPins):
		return errors.New("it needs one pin, or two while its key is renewed")
	case m.CA != nil && (len(m.Pins) != 0 || m.Subject == ""):
		return errors.New("with an authority it needs a subject and no pins")
	case m.CA == nil && m.Subject != "":
		return errors.New("a subject without an authority says nothing")
	case m.Guard && m.CA != nil:
		return errors.New("a guard is known by its pin")
	case m.Role != querschott.RolePartner && m.Role != querschott.RolePractice && m.Role != querschott.RoleMachine:
		return errors.New("its role is partner, practice or machine: people log in with a second factor")
	case len(m.Services) == 0:
		return errors.New("it has no service that it may call")
	}
	if slices.Contains(m.Pins, Pin{}) {
		return errors.New("its pin is empty")
	}
	for _, s := range m.Services {
		if _, err := querschott.ParseService(string(s)); err != nil {
			return err
		}
	}
	if m.Insurer != "" {
		_, err := querschott.ParseIK(string(m.Insurer))
		return err
	}
	return nil
}

// Ask returns a copy of a server's configuration that asks callers for a certificate and lets [Machines] judge it.
func Ask(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.ClientAuth, c.ClientCAs = tls.RequestClientCert, nil
	return c
}

// Identify says which machine is at the other end. CodeUnauthorized if it is none that is known, or not at this time.
func (m *Machines) Identify(state *tls.ConnectionState) (*ident.Identity, error) {
	machine, leaf, err := m.find(state)
	if err != nil {
		return nil, err
	}
	pin := PinOf(leaf).String()
	actor := querschott.Actor(prefix + machine.Name)
	return &ident.Identity{
		Credential: querschott.Credential{ID: querschott.CredentialID("cert/" + pin[:16]), Actor: actor, Role: machine.Role},
		Caller:     querschott.Caller{Actor: actor, Role: machine.Role, Name: machine.Name, Insurer: machine.Insurer},
		Binding:    pin,
		Issued:     leaf.NotBefore,
		Expires:    leaf.NotAfter,
		Facts:      ident.Facts{Subject: machine.Name, Key: pin},
		Services:   slices.Clone(machine.Services),
	}, nil
}

// Guard reports whether a ZETA Guard is at the other end.
func (m *Machines) Guard(state *tls.ConnectionState) bool {
	machine, _, err := m.find(state)
	return err == nil && machine.Guard
}

func (m *Machines) find(state *tls.ConnectionState) (*Machine, *x509.Certificate, error) {
	if state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return nil, nil, querschott.Refuse(querschott.CodeUnauthorized, "a client certificate is needed")
	}
	leaf := state.PeerCertificates[0]
	machine, known := m.byPin[PinOf(leaf)]
	if !known {
		machine = m.issued(state.PeerCertificates)
	}
	if machine == nil {
		return nil, nil, querschott.Refuse(querschott.CodeUnauthorized, "the client certificate is unknown here")
	}
	now := m.now()
	switch {
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return nil, nil, querschott.Refuse(querschott.CodeUnauthorized, "the client certificate is not valid at this time")
	case !forClients(leaf):
		return nil, nil, querschott.Refuse(querschott.CodeUnauthorized, "the certificate is not one for clients")
	}
	return machine, leaf, nil
}

// forClients reports whether the certificate limits its use to something else (RFC 5280, section 4.2.1.12).
func forClients(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// issued finds the machine by authority and subject, nil if there is none.
func (m *Machines) issued(chain []*x509.Certificate) *Machine {
	if len(m.bySubject) == 0 || len(chain) > maxChain {
		return nil
	}
	leaf, now := chain[0], m.now()
	key := sha256.Sum256(leaf.Raw)
	m.mu.Lock()
	v, ok := m.verified[key]
	m.mu.Unlock()
	if ok && now.Before(v.until) {
		return v.machine
	}
	machine := m.verify(chain, now)
	if machine == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.verified) >= maxKnown {
		clear(m.verified)
	}
	m.verified[key] = verified{machine, now.Add(verifiedBy)}
	return machine
}

func (m *Machines) verify(chain []*x509.Certificate, now time.Time) *Machine {
	subject, ok := subjectOf(chain[0])
	if !ok {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, machine := range m.bySubject {
		if machine.Subject != subject {
			continue
		}
		_, err := chain[0].Verify(x509.VerifyOptions{
			Roots: machine.CA, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			return machine
		}
	}
	return nil
}

// subjectOf writes every part of the subject in its order. pkix.Name.String would show the last of two common names only.
func subjectOf(c *x509.Certificate) (string, bool) {
	var names pkix.RDNSequence
	rest, err := asn1.Unmarshal(c.RawSubject, &names)
	return names.String(), err == nil && len(rest) == 0
}
