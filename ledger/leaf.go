package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
)

// LeafSize is the length of every leaf of layout version 1, in bytes.
const LeafSize = 160

const leafVersion = 1

// Pseudonym stands for a person, an actor, a credential or a request: the first 16 bytes of an HMAC-SHA-256 under a key
// of one insurer and year. The zero value means that there is none.
type Pseudonym [16]byte

// Leaf is what the log commits to for ever: a header without personal data, pseudonyms, and the commitment to a payload
// that can be erased.
//
// Layout, big endian: 0 version, 1 kind, 2 service, 3 action, 4 data class, 5 outcome, 6 reason, 7 role, 8 purpose,
// 9-11 zero, 12 insurer (uint32, 0 for the platform), 16 time (int64, µs since 1970 UTC), 24 records (uint32), 28 zero,
// 32 door epoch (uint64), 40 actor, 56 credential, 72 person, 88 request, 104 commitment, 136 the share in per cent for
// which a door is open that opens in stages, 137-144 the shares of its plan, 145 the plan's interval (int64, ns), 153-159
// zero. Of everything else 136-152 are zero.
type Leaf struct {
	Kind       Kind
	Service    querschott.Service // "" for none
	Action     Action
	Data       DataClass
	Outcome    Outcome
	Reason     ReasonKind
	Role       querschott.Role
	Purpose    Purpose
	Insurer    querschott.IK // "" for the platform
	Time       time.Time     // UTC, whole microseconds
	Records    uint32        // how many records were reached
	Epoch      uint64        // the door's epoch
	Actor      Pseudonym
	Credential Pseudonym
	Person     Pseudonym // of one person, or of the whole sorted list of persons
	Request    Pseudonym // of the request's ID
	Commit     [32]byte  // SHA-256(salt || payload)
	Stages     Stages    // of a door that opens in stages
}

func (l *Leaf) put(b *[LeafSize]byte) {
	*b = [LeafSize]byte{
		leafVersion, byte(l.Kind), l.Service.Code(), byte(l.Action), byte(l.Data), byte(l.Outcome), byte(l.Reason),
		byte(roleCode(l.Role)), byte(l.Purpose),
	}
	be := binary.BigEndian
	be.PutUint32(b[12:], l.Insurer.Number())
	be.PutUint64(b[16:], uint64(l.Time.UnixMicro()))
	be.PutUint32(b[24:], l.Records)
	be.PutUint64(b[32:], l.Epoch)
	copy(b[40:], l.Actor[:])
	copy(b[56:], l.Credential[:])
	copy(b[72:], l.Person[:])
	copy(b[88:], l.Request[:])
	copy(b[104:], l.Commit[:])
	l.Stages.put(b[136:])
}

// Bytes returns the leaf as it stands in the log.
func (l *Leaf) Bytes() []byte {
	var b [LeafSize]byte
	l.put(&b)
	return b[:]
}

// ParseLeaf reads a leaf. It accepts exactly what [Leaf.Bytes] writes, and words of later enumerations.
func ParseLeaf(b []byte) (*Leaf, error) {
	if len(b) != LeafSize {
		return nil, fmt.Errorf("a leaf has %d bytes, got %d", LeafSize, len(b))
	}
	if b[0] != leafVersion {
		return nil, fmt.Errorf("leaf version %d is unknown", b[0])
	}
	be := binary.BigEndian
	l := &Leaf{
		Kind: Kind(b[1]), Action: Action(b[3]), Data: DataClass(b[4]), Outcome: Outcome(b[5]), Reason: ReasonKind(b[6]),
		Purpose: Purpose(b[8]), Time: time.UnixMicro(int64(be.Uint64(b[16:]))).UTC(),
		Records: be.Uint32(b[24:]), Epoch: be.Uint64(b[32:]),
		Actor: Pseudonym(b[40:56]), Credential: Pseudonym(b[56:72]), Person: Pseudonym(b[72:88]),
		Request: Pseudonym(b[88:104]), Commit: [32]byte(b[104:136]), Stages: stagesFrom(b[136:]),
	}
	if !zero(b[9:12]) || !zero(b[28:32]) || !zero(b[136+stagesSize:]) {
		return nil, errors.New("a leaf's unused bytes are not zero")
	}
	var err error
	if l.Role, err = roleFromCode(b[7]); err != nil {
		return nil, err
	}
	if b[2] != 0 {
		if l.Service, err = querschott.ServiceFromCode(b[2]); err != nil {
			return nil, err
		}
	}
	if n := be.Uint32(b[12:]); n > 999_999_999 {
		return nil, errors.New("a leaf's insurer has more than nine digits")
	} else if n != 0 {
		l.Insurer = querschott.IKFromNumber(n)
	}
	return l, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
