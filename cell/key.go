package cell

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/querschott/querschott"
)

// Space is the first byte of a key: whose keys these are. Spaces are stored on disk and never given to somebody else.
type Space byte

// SpaceOutbox belongs to the outbox; services have the spaces of [ServiceSpace].
const SpaceOutbox Space = 'o'

// ServiceSpace returns the space of a service. It panics for an unknown service, which would mix key spaces.
func ServiceSpace(s querschott.Service) Space {
	if s.Code() == 0 {
		panic("cell: no space for unknown service")
	}
	return Space(s.Code())
}

// Kind is the second byte of a key.
type Kind byte

// The kinds that services share. Other kinds belong to the space that uses them.
const (
	KindDataKey Kind = 'k' // wrapped data key of a person; only Vault writes it
	KindRecord  Kind = 'r' // sealed record of a person; only Vault writes it
	KindSeen    Kind = 's' // what was taken before
	KindCursor  Kind = 'c' // how far something has come
	KindIndex   Kind = 'i' // index
)

// A part ends with 0x00 0x00, a zero byte inside it is written 0x00 0xff: so a part that is a prefix of another sorts
// before it, and no two lists of parts give the same key.
const (
	partEnd    = 0x00
	partEscape = 0xff
)

// Key makes the key of the parts in a space. Keys sort by space, kind and then part by part; the key of fewer parts is a
// prefix of the keys that continue it, so [PrefixEnd] of it bounds the scan over them.
func Key(s Space, k Kind, parts ...[]byte) []byte {
	n := 2
	for _, p := range parts {
		n += len(p) + bytes.Count(p, []byte{0}) + 2
	}
	key := append(make([]byte, 0, n), byte(s), byte(k))
	for _, p := range parts {
		for _, c := range p {
			key = append(key, c)
			if c == 0 {
				key = append(key, partEscape)
			}
		}
		key = append(key, 0, partEnd)
	}
	return key
}

// errKey says that bytes were not made by Key.
var errKey = errors.New("malformed cell key")

// ParseKey is the inverse of [Key]. The parts are copies.
func ParseKey(key []byte) (s Space, k Kind, parts [][]byte, err error) {
	if len(key) < 2 {
		return 0, 0, nil, errKey
	}
	var part []byte
	open := false
	for i := 2; i < len(key); i++ {
		open = true
		if key[i] != 0 {
			part = append(part, key[i])
			continue
		}
		if i++; i == len(key) {
			return 0, 0, nil, errKey
		}
		switch key[i] {
		case partEscape:
			part = append(part, 0)
		case partEnd:
			parts, part, open = append(parts, nonNil(part)), nil, false
		default:
			return 0, 0, nil, errKey
		}
	}
	if open {
		return 0, 0, nil, errKey
	}
	return Space(key[0]), Kind(key[1]), parts, nil
}

// PrefixEnd returns the smallest key that is greater than every key with this prefix, nil (no bound) if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Uint64 returns n as a key part that sorts by number.
func Uint64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
