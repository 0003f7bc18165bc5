package seal

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/querschott/querschott"
)

// PersonID is the pseudonym of an insured person in one compartment: the only form of a KVNR in a store's keys. Without
// the compartment's index key it cannot be computed from a KVNR, and it differs between compartments.
type PersonID [16]byte

// String returns the pseudonym in hexadecimal.
func (p PersonID) String() string { return hex.EncodeToString(p[:]) }

// RecordAAD says which place a sealed record belongs to. A record that is moved to another place, or an older version
// that is put back under a newer number, does not open.
type RecordAAD struct {
	Insurer querschott.IK
	Service querschott.Service
	Person  PersonID
	Record  string
	Version uint64
}

// Bytes returns the associated data, every field preceded by its length or of fixed length.
func (a RecordAAD) Bytes() []byte {
	const label = "querschott record v1"
	b := make([]byte, 0, 4*4+len(label)+len(a.Insurer)+len(a.Service)+len(a.Person)+len(a.Record)+8)
	b = appendField(b, label)
	b = appendField(b, string(a.Insurer))
	b = appendField(b, string(a.Service))
	b = append(b, a.Person[:]...)
	b = appendField(b, a.Record)
	return binary.BigEndian.AppendUint64(b, a.Version)
}

// appendField appends a string preceded by its length in four bytes.
func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
