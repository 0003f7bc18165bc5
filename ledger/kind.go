package ledger

import (
	"fmt"
	"slices"

	"github.com/querschott/querschott"
)

// The enumerations of a leaf. Their numbers stand in signed logs: a number is never given to another word, and a word that
// is no longer used keeps its number.
type (
	// Kind says what an entry is about.
	Kind uint8
	// Action says what was done or attempted.
	Action uint8
	// DataClass says what kind of data it was done to.
	DataClass uint8
	// Outcome says how it ended.
	Outcome uint8
	// ReasonKind says why it ended so.
	ReasonKind uint8
	// Purpose is the purpose of use.
	Purpose uint8
)

// The kinds of entries. Every denied or failed attempt is an entry too (§ 309 (1) SGB V).
const (
	_                   Kind = iota
	KindAccess               // data was read or written
	KindAttempt              // a denied or failed attempt
	KindArrival              // mail was accepted
	KindDelivery             // an accepted message reached its service, or its sender got the answer
	KindDoorChange           // a door moved, or a move was proposed, approved or withdrawn
	KindPlaybookStep         // a playbook did something
	KindCanaryChange         // bait was laid or taken away
	KindDetectorChange       // a detector was set up, changed or muted
	KindKeyUse               // private keys were unlocked or forgotten
	KindJobRegistration      // a batch job was announced
	KindSeal                 // a scope segment was sealed
	KindErasure              // payloads were erased or a log was pruned
	KindExport               // data left in bulk
	KindLedgerRead           // somebody read this ledger
	KindNodeChange           // the platform started, stopped or changed its configuration
	KindNotice               // somebody was told of an incident
)

var kindNames = []string{
	"", "access", "attempt", "arrival", "delivery", "door-change", "playbook-step", "canary-change", "detector-change",
	"key-use", "job-registration", "seal", "erasure", "export", "ledger-read", "node-change", "notice",
}

// The actions.
const (
	ActionNone Action = iota
	ActionCreate
	ActionRead
	ActionSearch
	ActionUpdate
	ActionDelete
	ActionExecute
	ActionReceive
	ActionDeliver
	ActionSend
	ActionReject
	ActionPropose
	ActionApprove
	ActionWithdraw
	ActionOpen
	ActionClose
	ActionHold
	ActionReadOnly
	ActionStart
	ActionStop
	ActionLogin
	ActionUnlock
	ActionForget
	ActionVerify
)

var actionNames = []string{
	"none", "create", "read", "search", "update", "delete", "execute", "receive", "deliver", "send", "reject", "propose",
	"approve", "withdraw", "open", "close", "hold", "read-only", "start", "stop", "login", "unlock", "forget", "verify",
}

// The data classes.
const (
	DataNone         DataClass = iota
	DataSickNote               // electronic sick note (eAU)
	DataDoctorLetter           // doctor's letter
	DataMessage                // any other KIM message
	DataInsured                // insured person's master data (VSD)
	DataRecord                 // electronic patient record
	DataContact                // address, telephone, mail
	DataAccount                // an app's or a desk's account
	DataDoorOrder
	DataKey
	DataLog
	DataConfiguration
)

var dataNames = []string{
	"none", "sick-note", "doctor-letter", "message", "insurance-data", "record", "contact", "account", "door-order",
	"key-material", "log-data", "configuration",
}

// The outcomes.
const (
	OutcomeUnknown Outcome = iota
	OutcomeSuccess
	OutcomeDenied
	OutcomeFailed
	OutcomeDeferred // accepted, takes effect later
	OutcomePartial  // the answer was cut off
)

var outcomeNames = []string{"unknown", "success", "denied", "failed", "deferred", "partial"}

// The reasons.
const (
	ReasonNone ReasonKind = iota
	ReasonDoor            // the door's state
	ReasonNotIdentified
	ReasonNotAllowed
	ReasonOverCap // a hard cap of the gate
	ReasonInvalidInput
	ReasonNotThere
	ReasonNoRoom
	ReasonOwnFailure // ours
	ReasonDuplicate
	ReasonExpired
	ReasonOperator
	ReasonPlaybook
	ReasonIncident
	ReasonDrill
	ReasonLaw // a duty to report, erase or retain
)

var reasonNames = []string{
	"none", "door", "not-identified", "not-allowed", "over-cap", "invalid-input", "not-there", "no-room", "own-failure",
	"duplicate", "expired", "operator", "playbook", "incident", "drill", "law",
}

// The purposes of use (the HL7 v3 PurposeOfUse codes that IHE BALP wants stand behind the words).
const (
	PurposeNone           Purpose = iota
	PurposeTreatment              // TREAT
	PurposePayment                // HPAYMT
	PurposeOperations             // HOPERAT
	PurposePatientRequest         // PATRQT
	PurposeEmergency              // ETREAT
	PurposeSecurity               // HSYSADMIN
	PurposeAudit                  // HCOMPL
)

var purposeNames = []string{
	"none", "treatment", "payment", "operations", "patient-request", "emergency", "security", "audit",
}

// roles by their codes, which are stored in leaves: a code is never given to another role.
var roles = []querschott.Role{
	"", querschott.RolePractice, querschott.RoleRelay, querschott.RoleOperator, querschott.RoleMachine,
	querschott.RoleStaff, querschott.RoleInsured, querschott.RolePartner, querschott.RoleUnknown,
}

// roleCode returns -1 for a role that has none.
func roleCode(r querschott.Role) int { return slices.Index(roles, r) }

func roleFromCode(c uint8) (querschott.Role, error) {
	if int(c) < len(roles) {
		return roles[c], nil
	}
	return "", fmt.Errorf("unknown role code %d", c)
}

func (k Kind) String() string       { return word(kindNames, uint8(k)) }
func (a Action) String() string     { return word(actionNames, uint8(a)) }
func (d DataClass) String() string  { return word(dataNames, uint8(d)) }
func (o Outcome) String() string    { return word(outcomeNames, uint8(o)) }
func (r ReasonKind) String() string { return word(reasonNames, uint8(r)) }
func (p Purpose) String() string    { return word(purposeNames, uint8(p)) }

// MarshalText writes the word, for JSON and forms.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// MarshalText writes the word, for JSON and forms.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText writes the word, for JSON and forms.
func (d DataClass) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalText writes the word, for JSON and forms.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText writes the word, for JSON and forms.
func (r ReasonKind) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText writes the word, for JSON and forms.
func (p Purpose) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func word(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("number %d", i)
}
