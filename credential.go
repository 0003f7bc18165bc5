package querschott

// CredentialID names what a caller presented: a KIM account, a certificate's fingerprint, a session.
type CredentialID string

// Actor names who stands behind a credential: a person, a practice, a machine, a playbook.
type Actor string

// Credential is the result of identification.
type Credential struct {
	ID    CredentialID
	Actor Actor
	Role  Role
}

// Role says in which capacity a credential acts.
type Role string

// The roles.
const (
	RolePractice Role = "practice" // a practice or hospital that sends by KIM
	RoleRelay    Role = "relay"    // a mail transfer agent that sends for many practices
	RoleOperator Role = "operator" // somebody who runs the platform
	RoleMachine  Role = "machine"  // the platform itself: pump, playbook, expiry
	RoleStaff    Role = "staff"    // an insurer's employee
	RoleInsured  Role = "insured"  // an insured person
	RolePartner  Role = "partner"  // another party's machine that calls by HTTP: a supplier, an existing service, a guard
	RoleUnknown  Role = "unknown"  // nobody was identified
)
