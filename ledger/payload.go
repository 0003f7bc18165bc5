package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/querschott/querschott"
)

const (
	payloadVersion = 1
	saltSize       = 16
	// maxPayload keeps 65,536 sealed payloads of one payload file below 4 GiB.
	maxPayload = 60_000
)

// Field is one detail of a payload: identifiers, never contents.
type Field struct{ Name, Value string }

// DetailCanary is the detail of entries about the platform's own traffic, by which it tries a door. Nobody's access is among them.
const DetailCanary = "canary_traffic"

// Payload is the part of an entry that can be erased. It is sealed on disk, for one log and one leaf.
type Payload struct {
	Actor      querschott.Actor
	Credential querschott.CredentialID
	RequestID  string
	Persons    []querschott.KVNR // sorted
	Detail     []Field
}

var errPayload = errors.New("a payload is damaged")

func appendPayload(b []byte, e *Entry, persons []querschott.KVNR) []byte {
	b = append(b, payloadVersion)
	b = appendText(b, string(e.Actor))
	b = appendText(b, string(e.Credential))
	b = appendText(b, e.RequestID)
	b = binary.AppendUvarint(b, uint64(len(persons)))
	for _, p := range persons {
		b = appendText(b, p.Reveal())
	}
	b = binary.AppendUvarint(b, uint64(len(e.Detail)))
	for _, f := range e.Detail {
		b = appendText(appendText(b, f.Name), f.Value)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func parsePayload(b []byte) (*Payload, error) {
	if len(b) == 0 || b[0] != payloadVersion {
		return nil, errPayload
	}
	r := reader{b: b[1:]}
	p := &Payload{
		Actor: querschott.Actor(r.text()), Credential: querschott.CredentialID(r.text()), RequestID: r.text(),
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		p.Persons = append(p.Persons, querschott.KVNR(r.text()))
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		p.Detail = append(p.Detail, Field{r.text(), r.text()})
	}
	if r.bad || len(r.b) > 0 {
		return nil, errPayload
	}
	return p, nil
}

// commitment is what the leaf holds of a payload: SHA-256(salt || payload).
func commitment(salted []byte) [32]byte { return sha256.Sum256(salted) }

// persons returns the entry's persons in the order in which the payload and the pseudonym have them.
func (e *Entry) persons(buf []querschott.KVNR) []querschott.KVNR {
	buf = append(buf[:0], e.Persons...)
	if e.Person != "" {
		buf = append(buf, e.Person)
	}
	slices.Sort(buf)
	return slices.Compact(buf)
}

// reader takes fields off a byte string; after the first that is not there, bad is set and all others are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.take(r.uvarint())) }

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) hash() (h [32]byte) {
	copy(h[:], r.take(32))
	return h
}
