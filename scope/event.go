package scope

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Result says what an event did with a person's data.
type Result uint8

// The results, in the order in which one outweighs the other.
const (
	_        Result = iota
	Reached         // the data were served or written
	Possible        // the answer was cut off, or its outcome is unknown
	Refused         // refused or failed: nothing left
)

var resultNames = []string{"none", "reached", "possible", "refused"}

func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "unknown"
}

// MarshalText writes the word.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the word.
func (r *Result) UnmarshalText(b []byte) error {
	i := slices.Index(resultNames, string(b))
	if i < 1 {
		return errors.New("it is no result of an access")
	}
	*r = Result(i)
	return nil
}

func resultOf(o ledger.Outcome) Result {
	switch o {
	case ledger.OutcomeSuccess:
		return Reached
	case ledger.OutcomeDenied, ledger.OutcomeFailed:
		return Refused
	case ledger.OutcomeUnknown, ledger.OutcomeDeferred, ledger.OutcomePartial:
		return Possible
	default:
		return Possible // a word of later: nothing is excluded that isn't understood
	}
}

// Tag stands for a credential in one log's segments: the first 16 bytes of HMAC-SHA-256 under the log's tag key. Unlike the
// ledger's pseudonym it can be computed by whoever is to verify a proof.
type Tag [16]byte

// TagOf returns the tag of a credential under a log's key.
func TagOf(key [32]byte, c querschott.CredentialID) (t Tag) {
	m := hmac.New(sha256.New, key[:])
	_, _ = m.Write([]byte(c))
	copy(t[:], m.Sum(nil))
	return t
}

// Record is one leaf of a segment: one person in one entry of the ledger.
type Record struct {
	Tag     Tag
	Second  int64 // since 1970 UTC
	Person  ledger.Pseudonym
	Index   uint64 // of the entry in its log
	Data    ledger.DataClass
	Result  Result
	Records uint32 // only if the entry names nobody: how many records it reached
}

// RecordSize is the length of a record's encoding in bytes.
const RecordSize = 16 + 8 + 16 + 8 + 1 + 1 + 4

// Append writes the record: tag, second, person, index, data class, result, records; big endian. Bytes sort as records do.
func (r *Record) Append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, r.Tag[:]...)
	b = be.AppendUint64(b, uint64(r.Second))
	b = append(b, r.Person[:]...)
	b = be.AppendUint64(b, r.Index)
	b = append(b, byte(r.Data), byte(r.Result))
	return be.AppendUint32(b, r.Records)
}

// ParseRecord reads what Append writes.
func ParseRecord(b []byte) (r Record, err error) {
	if len(b) != RecordSize {
		return r, errors.New("a record of a segment has a wrong length")
	}
	be := binary.BigEndian
	r = Record{
		Tag: Tag(b), Second: int64(be.Uint64(b[16:])), Person: ledger.Pseudonym(b[24:40]), Index: be.Uint64(b[40:]),
		Data: ledger.DataClass(b[48]), Result: Result(b[49]), Records: be.Uint32(b[50:]),
	}
	if r.Second < 0 || r.Result < Reached || r.Result > Refused || (r.Records == 0) == (r.Person == ledger.Pseudonym{}) {
		return r, errors.New("a record of a segment is malformed")
	}
	return r, nil
}

func (r *Record) compare(o *Record) int {
	return cmp.Or(
		slices.Compare(r.Tag[:], o.Tag[:]), cmp.Compare(r.Second, o.Second), slices.Compare(r.Person[:], o.Person[:]), cmp.Compare(r.Index, o.Index),
	)
}

// span is a round's time in seconds since 1970 UTC, both ends in it.
type span struct{ since, until int64 }

func (s span) clamp(second int64) int64 { return min(max(second, s.since), s.until) }

// openEnd is the end of what is not sealed yet.
const openEnd = int64(1) << 40

// happening is one entry as the index sees it.
type happening struct {
	index      uint64
	second     int64
	credential ledger.Pseudonym
	tag        Tag
	persons    []ledger.Pseudonym
	data       ledger.DataClass
	result     Result
	unnamed    uint32 // records of an answer that names nobody
}

// class is data class and result in one byte.
func (h *happening) class() uint8 { return uint8(h.data)<<2 | uint8(h.result) }

// read takes from an entry what concerns the index. It reports false for what is no event.
func (b *book) read(e *ledger.Entered, s span, h *happening) bool {
	l := e.Leaf
	*h = happening{
		index: e.Index, second: s.clamp(max(floor(l.Time), 0)), credential: l.Credential, persons: h.persons[:0],
		data: l.Data & 63, result: resultOf(l.Outcome),
	}
	switch {
	case l.Kind == ledger.KindArrival || l.Kind == ledger.KindSeal:
		return false
	case e.Payload == nil && l.Person != (ledger.Pseudonym{}):
		h.unnamed = max(l.Records, 1) // erased: nobody knows whether it was one person or a list
		h.tag = b.tagOf(l.Credential)
		return l.Credential != (ledger.Pseudonym{})
	case e.Payload == nil:
		return false
	}
	h.tag = b.tag(l.Credential, e.Payload.Credential)
	switch p := e.Payload.Persons; len(p) {
	case 0:
		h.unnamed = l.Records
		return l.Records > 0 && h.result != Refused && l.Credential != (ledger.Pseudonym{})
	case 1:
		h.persons = append(h.persons, l.Person)
	default:
		for _, person := range p {
			h.persons = append(h.persons, b.names.Person(person))
		}
	}
	return true
}

// records appends what the segment's tree has of it.
func (h *happening) records(out []Record) []Record {
	r := Record{Tag: h.tag, Second: h.second, Index: h.index, Data: h.data, Result: h.result}
	if len(h.persons) == 0 {
		r.Records = h.unnamed
		return append(out, r)
	}
	for _, p := range h.persons {
		r.Person = p
		out = append(out, r)
	}
	return out
}

func floor(t time.Time) int64 { return t.Unix() }

func ceil(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
