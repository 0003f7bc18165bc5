package eau

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// ContentKey is the same for sick notes that say the same: the SHA-256 of the insured person's number, the numbers of
// practice and doctors, the type, the three dates and the set of diagnoses with their certainty and side. A document that
// was made again has another identifier and another hash, and the same ContentKey (K-11).
//
// What it is made of can be guessed: whoever has it can find out the person and the diagnoses by trying. It is to be kept
// like them, and never in the clear; it prints as "[content]".
type ContentKey [sha256.Size]byte

// IsZero reports whether there is no key.
func (k ContentKey) IsZero() bool { return k == ContentKey{} }

// Format writes "[content]" under every verb.
func (k ContentKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[content]")) }

// MarshalText writes "[content]".
func (k ContentKey) MarshalText() ([]byte, error) { return []byte("[content]"), nil }

// telematikID names practices and doctors besides their numbers. A document that was made again by other software may have
// it or not.
const telematikID = "https://gematik.de/fhir/sid/telematik-id"

// content collects what a ContentKey needs besides the Document.
type content struct {
	issuers    [][]byte // numbers of practice and doctors: BSNR, LANR and what stands in their place
	telematik  [][]byte
	diagnoses  [][]byte
	incomplete bool // a diagnosis without code
}

func (c *content) issuer(system, value string) {
	switch {
	case value == "":
	case system == telematikID:
		c.telematik = append(c.telematik, fields(system, value))
	default:
		c.issuers = append(c.issuers, fields(system, value))
	}
}

func (c *content) diagnosis(code, certainty, side string) {
	c.incomplete = c.incomplete || code == ""
	c.diagnoses = append(c.diagnoses, fields(code, certainty, side))
}

// contentKey makes the key of a sick note. It is zero where something is missing or means two things: a key of half a
// document would join documents that differ.
func (r *reader) contentKey() ContentKey {
	d, c := &r.doc, &r.content
	issuers := c.issuers
	if len(issuers) == 0 {
		issuers = c.telematik
	}
	ambiguous := slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Kind == FindingAmbiguous })
	following := d.Type == Following || d.Type == FollowingEnd
	if r.stopped || ambiguous || c.incomplete || len(c.diagnoses) == 0 || len(issuers) == 0 || d.Person == "" ||
		d.Type == "" || d.Until == "" || d.Determined == "" || d.From == "" && !following {
		return ContentKey{}
	}
	b := fields("querschott eau content v1", d.Person.Reveal(), string(d.Type), string(d.From), string(d.Until), string(d.Determined))
	b = appendSet(appendSet(b, issuers), c.diagnoses)
	return sha256.Sum256(b)
}

// fields writes strings one after the other, each preceded by its length, so that no two lists give the same octets.
func fields(list ...string) []byte {
	n := 0
	for _, s := range list {
		n += 4 + len(s)
	}
	b := make([]byte, 0, n)
	for _, s := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// appendSet writes a set of what fields has written: how many, and each in order.
func appendSet(b []byte, set [][]byte) []byte {
	slices.SortFunc(set, bytes.Compare)
	set = slices.CompactFunc(set, bytes.Equal)
	b = binary.BigEndian.AppendUint32(b, uint32(len(set)))
	for _, s := range set {
		b = append(b, s...)
	}
	return b
}
