package mtls

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/wire/zeta"
)

// leeway is between the guard's clock and ours.
const leeway = time.Minute

// Asserted is what a guard says of one request.
type Asserted struct {
	User     zeta.UserInfo
	Presence *zeta.Presence   // nil without ZETA-PoPP-Token-Content
	Client   *zeta.ClientData // nil without ZETA-Client-Data

	guard   *ident.Identity
	content []byte // of the PoPP token
	now     time.Time
}

// Mismatch is in the chain of a refusal because a guard says something else than the token: one of the two is forged, or the
// guard mixes up requests. It is worth a critical alarm. It holds no value.
type Mismatch struct {
	What string // identifier, profession, presence or client
}

func (m *Mismatch) Error() string { return "the guard and the token disagree on the " + m.What }

// Asserted reads the ZETA-* headers of a request. It is nil if the other end is no guard: then the headers say nothing and
// must not reach anybody. CodeInvalid if a guard sends none, or some that cannot be read or could be read in two ways.
func (m *Machines) Asserted(state *tls.ConnectionState, h http.Header) (*Asserted, error) {
	if !m.Guard(state) {
		return nil, nil
	}
	guard, err := m.Identify(state)
	if err != nil {
		return nil, err
	}
	a, err := readHeaders(h)
	if err != nil {
		return nil, &querschott.Error{Code: querschott.CodeInvalid, Public: "the headers of the guard cannot be read", Err: err}
	}
	a.guard, a.now = guard, m.now()
	return a, nil
}

func readHeaders(h http.Header) (*Asserted, error) {
	values := map[string]string{}
	for name, lines := range h {
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		switch plain {
		case zeta.HeaderUserInfo, zeta.HeaderPresence, zeta.HeaderClientData:
		default:
			continue
		}
		if name != plain || len(lines) != 1 {
			return nil, fmt.Errorf("%s comes more than once or in another spelling", plain)
		}
		values[plain] = lines[0]
	}
	a := &Asserted{}
	text, ok := values[zeta.HeaderUserInfo]
	if !ok {
		return nil, errors.New("there is no " + zeta.HeaderUserInfo)
	}
	var err error
	if a.User, err = zeta.ParseUserInfo(text); err != nil {
		return nil, err
	}
	if text, ok := values[zeta.HeaderPresence]; ok {
		if a.content, err = zeta.DecodePresence(text); err != nil {
			return nil, err
		}
		if a.Presence, err = zeta.ParsePresence(a.content); err != nil {
			return nil, err
		}
	}
	if text, ok := values[zeta.HeaderClientData]; ok {
		c, err := zeta.ParseClientData(text)
		if err != nil {
			return nil, err
		}
		a.Client = &c
	}
	return a, nil
}

// Compare checks that the guard says what the tokens say that came with the request and were verified here. Names are for
// display and may be cut, so they are not compared. CodeForbidden with [Mismatch] if they disagree.
func (a *Asserted) Compare(id *ident.Identity) error {
	switch {
	case !same(a.User.Identifier, id.Facts.Subject):
		return mismatch("identifier")
	case !same(a.User.ProfessionOID, id.Caller.Profession):
		return mismatch("profession")
	case a.Presence != nil && (id.Presence == nil || !a.samePresence(id.Presence.Content)):
		return mismatch("presence")
	case a.Client != nil && (!same(a.Client.Client, id.Facts.Client) || !same(a.Client.Product, id.Facts.Product) || !same(a.Client.Version, id.Facts.Version)):
		return mismatch("client")
	}
	return nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// samePresence compares the claims: the guard may write them with other blanks than the token.
func (a *Asserted) samePresence(content []byte) bool {
	p, err := zeta.ParsePresence(content)
	return err == nil && *p == *a.Presence
}

// Identity is who calls if the guard's word is all there is: no raw token came. The guard has checked the tokens; what can be
// checked here a second time is. CodeForbidden for a PoPP token of another institution or quarter, and for an insured
// person, who comes with a token of his own.
func (a *Asserted) Identity() (*ident.Identity, error) {
	role := ident.RoleOf(a.User.ProfessionOID)
	if role == querschott.RoleInsured {
		return nil, querschott.Refuse(querschott.CodeForbidden, "insured persons come with a token of their own")
	}
	sum := sha256.Sum256([]byte("querschott/guard\x00" + a.guard.Binding + "\x00" + a.User.Identifier))
	actor := querschott.Actor(a.User.Identifier)
	id := &ident.Identity{
		Credential: querschott.Credential{ID: querschott.CredentialID("guard/" + hex.EncodeToString(sum[:8])), Actor: actor, Role: role},
		Caller: querschott.Caller{
			Actor: actor, Role: role, Profession: a.User.ProfessionOID, Name: a.User.CommonName, Organization: a.User.Organization, Insurer: a.guard.Caller.Insurer,
		},
		Binding:  a.guard.Binding,
		Facts:    ident.Facts{Subject: a.User.Identifier, Issuer: string(a.guard.Caller.Actor), Key: a.guard.Facts.Key},
		Services: a.guard.Services,
	}
	if a.Client != nil {
		id.Facts.Client, id.Facts.Product, id.Facts.Version = a.Client.Client, a.Client.Product, a.Client.Version
	}
	if p := a.Presence; p != nil {
		issued, proved := time.Unix(p.Issued, 0), time.Unix(p.Proved, 0)
		if !same(p.Actor, a.User.Identifier) || issued.After(a.now.Add(leeway)) || proved.After(issued.Add(leeway)) || a.late(issued) || a.late(proved) {
			return nil, querschott.Refuse(querschott.CodeForbidden, "the proof of presence is of another institution or time")
		}
		id.Presence = &querschott.Presence{
			Version: p.Version, Issuer: p.Issuer, Issued: issued, Proved: proved, Method: p.Method, Patient: p.Patient, Insurer: p.Insurer,
			Actor: actor, Profession: p.Profession, Hash: sha256.Sum256(a.content), Content: a.content,
		}
		id.Facts.PresenceIssuer, id.Facts.PresenceIssued, id.Facts.PresenceProved = p.Issuer, issued, proved
	}
	return id, nil
}

// late reports whether the quarter of t is over (gemSpec_ZETA A_26477-01).
func (a *Asserted) late(t time.Time) bool { return !a.now.Before(zeta.QuarterEnd(t).Add(zeta.Grace)) }

func mismatch(what string) error {
	return &querschott.Error{Code: querschott.CodeForbidden, Public: "access denied", Err: &Mismatch{what}}
}
