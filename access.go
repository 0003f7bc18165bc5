package querschott

import "time"

// Access is one event of the operational stream: what the ledger records of a request, for detectors. It holds no content
// and no number of a person.
type Access struct {
	Seq        uint64       `json:"seq"`  // rises by one per gate; a gap means lost events
	Gate       string       `json:"gate"` // which gate decided
	Time       time.Time    `json:"t"`    // when the request came, UTC
	Service    Service      `json:"service"`
	Insurer    IK           `json:"subject_tenant,omitempty"` // whose data it was about
	Tenant     IK           `json:"tenant,omitempty"`         // the caller's own insurer
	Actor      Actor        `json:"actor"`
	Credential CredentialID `json:"credential"`
	Role       Role         `json:"actor_role"`
	Profession string       `json:"profession,omitempty"` // professionOID
	Purpose    string       `json:"purpose,omitempty"`
	ReasonRef  string       `json:"reason_ref,omitempty"` // case, call, document or job that explains the access
	Action     string       `json:"action"`
	Query      string       `json:"query_shape,omitempty"` // class of the request: method and route
	Person     string       `json:"subject,omitempty"`     // keyed pseudonym, hex
	Fields     string       `json:"field_group,omitempty"` // which group of data was reached
	Records    uint32       `json:"n_records"`
	Bytes      int64        `json:"bytes"`
	Status     int          `json:"status,omitempty"` // of the answer
	Outcome    string       `json:"outcome"`
	Cause      string       `json:"cause,omitempty"` // why it ended so, when it did not succeed
	RequestID  string       `json:"request_id"`
	Epoch      uint64       `json:"door_epoch"`
	Address    string       `json:"ip,omitempty"`          // of the caller
	Binding    string       `json:"tls_binding,omitempty"` // thumbprint of the key or certificate that the credential is bound to
	Took       int64        `json:"took_us"`               // from the request to the answer's first byte
	Canary     bool         `json:"canary,omitempty"`      // the platform's own traffic that tries a door: nobody's access
	Received   time.Time    `json:"received,omitzero"`     // when the platform was told of it, if its gate is somebody else's
	Course     *Course      `json:"-"`                     // nil unless the request is traced
}
