package querschott

import "time"

// Caller is what a service may know of who calls: who stands behind the request and in which capacity, never what was
// presented to prove it.
type Caller struct {
	Actor        Actor  // Telematik-ID of an institution, name of a staff member, pseudonym of an app's user
	Role         Role   // in which capacity
	Profession   string // professionOID (1.2.276.0.76.4.N), "" if the credential has none
	Name         string // common name, "" if the credential has none
	Organization string // "" if the credential has none
	Insurer      IK     // the only insurer whose compartments the caller may reach, "" for all
	Person       KVNR   // the only person whose data the caller may reach, "" for all
}

// Presence is the content of a verified proof of patient presence (PoPP token, gemSpec_PoPP_Service 1.0.0): an insured
// person's card was in this institution.
type Presence struct {
	Version    string
	Issuer     string    // of the token
	Issued     time.Time // iat
	Proved     time.Time // patientProofTime: when the card was used
	Method     string    // proofMethod
	Patient    string    // patientId as it stands in the token, pattern not checked; print it nowhere
	Insurer    string    // insurerId as it stands in the token, pattern not checked
	Actor      Actor     // actorId, equal to the caller's
	Profession string    // actorProfessionOid; a person's role may stand here, so it is recorded and compared with nothing
	Hash       [32]byte  // SHA-256 of the token
	Content    []byte    // the payload as it was signed (JSON)
}
