package vsd

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// ID is the UUID of a bundle or of one of its resources (RFC 9562).
type ID [16]byte

// NewID makes an ID of version 7 from a time (milliseconds of it) and ten random octets.
func NewID(t time.Time, random [10]byte) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:], uint64(t.UnixMilli())<<16) //nolint:gosec // 48 bits until the year 10889
	copy(id[6:], random[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID reads the 36-character form in lower case, of any version.
func ParseID(s string) (ID, bool) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	if _, err := hex.Decode(id[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return ID{}, false
	}
	return id, id.String() == s
}

// String writes the 36-character form in lower case.
func (id ID) String() string { return string(id.append(nil)) }

func (id ID) append(b []byte) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// Date is a FHIR date: YYYY, YYYY-MM or YYYY-MM-DD. "" is no date.
type Date string

// Valid reports whether d is a date that exists.
func (d Date) Valid() bool {
	switch len(d) {
	case 4:
		return parses("2006", string(d))
	case 7:
		return parses("2006-01", string(d))
	}
	return d.Full()
}

// Full reports whether d has year, month and day and exists.
func (d Date) Full() bool { return len(d) == 10 && parses(time.DateOnly, string(d)) }

// Compact writes a full date as YYYYMMDD, "" for any other.
func (d Date) Compact() string {
	if !d.Full() {
		return ""
	}
	return string(d[:4] + d[5:7] + d[8:])
}

// DateOf returns the calendar date of t in its own time zone.
func DateOf(t time.Time) Date { return Date(t.Format(time.DateOnly)) }

// Instant is a FHIR instant, kept to the letter: a date, a time with seconds and an offset. Two texts may name one moment.
type Instant string

const instantLayout = "2006-01-02T15:04:05.999999999Z07:00"

// Valid reports whether i is an instant that exists, with at most nine digits of a second.
func (i Instant) Valid() bool {
	return len(i) >= 20 && len(i) <= 35 && parses(instantLayout, string(i))
}

// InstantOf writes t in UTC with milliseconds.
func InstantOf(t time.Time) Instant { return Instant(t.UTC().Format("2006-01-02T15:04:05.000Z")) }

// parses is stricter than package time where that is lenient: a comma for the point, an hour of one digit.
func parses(layout, s string) bool {
	if _, err := time.Parse(layout, s); err != nil {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c == ',' {
			return false
		}
	}
	return len(s) < 19 || s[13] == ':'
}
