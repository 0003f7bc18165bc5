package ident

import (
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Identity is the result of identifying one HTTP request: who calls, by what, and what a revocation can name of it.
type Identity struct {
	Credential querschott.Credential
	Caller     querschott.Caller
	Presence   *querschott.Presence // nil when no PoPP token came
	Binding    string               // thumbprint of the key or certificate that the credential is bound to, "" for none
	Issued     time.Time            // when the credential was issued
	Expires    time.Time            // zero: it does not
	Facts      Facts                // what a revocation can name
	Services   []querschott.Service // the only services that the credential may call, nil if it limits none
	Canary     bool                 // the platform itself, which tries a door: ledger and events say so, and nobody counts it as an access
}

// MayCall returns CodeForbidden if the credential is for other services only.
func (i *Identity) MayCall(s querschott.Service) error {
	if i.Services != nil && !slices.Contains(i.Services, s) {
		return querschott.Refuse(querschott.CodeForbidden, "this credential is not for this service")
	}
	return nil
}

// Facts are what [Revocations.Check] compares with the deny entries. An empty field is in no entry.
type Facts struct {
	Subject string // Telematik-ID, KVNR, account or machine: whoever the credential stands for
	Client  string // client_id
	Session string // sid
	Token   string // jti
	Key     string // thumbprint of the key that the caller proved to hold
	Product string // product_id
	Version string // product_version
	Issuer  string // of the credential
	Network string // address that the request comes from, without a port

	// Actor and Credential are as ledger and access events name them, "" until the whole identity is known: whoever
	// identifies checks a second time then.
	Actor      querschott.Actor
	Credential querschott.CredentialID

	PresenceIssuer string    // of the PoPP token
	PresenceIssued time.Time // iat of the PoPP token
	PresenceProved time.Time // patientProofTime of the PoPP token: when the card was used

	// Insurer is whose compartment the request is for, "" while that is not known. Entries for one insurer only are
	// compared once it is set: whoever finds it late checks a second time.
	Insurer querschott.IK
}

// ProfessionInsurer is the professionOID of a health insurer. A token with it and the insurer's IK as organization_name is an
// employee's if its issuer vouches for that insurer's employees, else the institution's.
const ProfessionInsurer = "1.2.276.0.76.4.59"

// RoleOf says in which capacity the holder of a profession OID (1.2.276.0.76.4.N) calls. Insurers (59) and their ombudsman's
// offices (303) come as institutions, not as employees: who works at an insurer's desk logs in with a second factor. Machines
// of other central services (E-Rezept 258, NCPeH 292, PoPP 293 and 320) and clients that stand for nobody are partners.
func RoleOf(profession string) querschott.Role {
	switch n, ok := strings.CutPrefix(profession, "1.2.276.0.76.4."); {
	case n == "49" && ok:
		return querschott.RoleInsured
	case profession == "", ok && slices.Contains([]string{"59", "258", "292", "293", "303", "320"}, n):
		return querschott.RolePartner
	}
	return querschott.RolePractice
}
