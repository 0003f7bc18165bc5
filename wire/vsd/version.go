package vsd

import (
	"crypto/sha256"
	"encoding/hex"
)

// Version is a version of the FHIR profiles, as clients name it in the query parameter profileVersion.
type Version string

// The versions that can be rendered and read.
const (
	V10 Version = "1.0"
	V11 Version = "1.1"
)

// ParseVersion reads the value of profileVersion. It knows nothing but the versions of this package.
func ParseVersion(s string) (Version, bool) {
	v := Version(s)
	return v, v == V10 || v == V11
}

// canonical is the version part of the profiles' canonical addresses.
func (v Version) canonical() string {
	if v == V10 {
		return "1.0.0"
	}
	return "1.1.0-dev"
}

// Format is a format of FHIR resources.
type Format byte

// The formats.
const (
	JSON Format = iota
	XML
)

// MediaType returns what stands in Accept and Content-Type.
func (f Format) MediaType() string {
	if f == XML {
		return "application/fhir+xml"
	}
	return "application/fhir+json"
}

// Content identifies what a record says: records with the same stored form have the same Content.
type Content [sha256.Size]byte

// ContentOf returns the content version of a record in its stored form.
func ContentOf(stored []byte) Content { return sha256.Sum256(stored) }

// ETag returns the entity tag of a record in one version and format: 64 hexadecimal digits in lower case, without quotes.
// It is the same on every node, after every restart, and does not depend on when a bundle is made.
func (c Content) ETag(v Version, f Format) string {
	h := sha256.New()
	h.Write(c[:])
	h.Write([]byte(v))
	h.Write([]byte(f.MediaType()))
	return hex.EncodeToString(h.Sum(nil))
}
