package eau

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines version 5 with SHA-1; it protects nothing here
	"encoding/hex"
	"errors"
	"strings"
)

// UUID is a universally unique identifier (RFC 9562).
type UUID [16]byte

// NamespaceDNS is the name space of host names (RFC 9562 section 6.6).
var NamespaceDNS = UUID{0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}

// NewUUID returns the UUID of version 5 for a name within a name space: the same name always has the same UUID.
// Identifiers of eAU documents are of this version (KBV Technische Anlage eAU P310-10).
func NewUUID(space UUID, name string) UUID {
	h := sha1.New() //nolint:gosec // see above
	h.Write(space[:])
	h.Write([]byte(name))
	var u UUID
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}

// ParseUUID reads the 36-character form in any case, with or without the prefix urn:uuid:. Every version is accepted.
func ParseUUID(s string) (UUID, error) {
	if len(s) > 9 && strings.EqualFold(s[:9], "urn:uuid:") {
		s = s[9:]
	}
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, errUUID
	}
	if _, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return UUID{}, errUUID
	}
	return u, nil
}

var errUUID = errors.New("a UUID has 32 hexadecimal digits in groups of 8-4-4-4-12")

// Version returns the version digit.
func (u UUID) Version() int { return int(u[6] >> 4) }

// IsZero reports whether u is the zero value.
func (u UUID) IsZero() bool { return u == UUID{} }

// String writes the 36-character form in lower case.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:], u[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// URN writes the form of Bundle.identifier.value.
func (u UUID) URN() string { return "urn:uuid:" + u.String() }
