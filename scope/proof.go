package scope

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/querschott/querschott"
)

// Proof shows that an answer is complete. [Verify] checks it; nothing in it has to be believed.
//
// It holds a run of rounds, one after another: the one that ends before the time asked for begins (its events are all
// earlier), and all from there to the one that ends at or behind the end of that time. For each log that is asked for and has
// something new in a round it holds the segment, and of each credential the records in question together with the record
// before and the record behind them, or the segment's end. When the time asked for reaches back into the first round of all, that is the first.
type Proof struct {
	Format      string                    `json:"format"`
	Credentials []querschott.CredentialID `json:"credentials"`
	From        int64                     `json:"from"` // seconds since 1970 UTC
	To          int64                     `json:"to"`   // the first second not asked for
	Insurers    []querschott.IK           `json:"insurers,omitempty"`
	Rounds      []RoundProof              `json:"rounds"`
}

// RoundProof is one round.
type RoundProof struct {
	Entry    []byte         `json:"entry"`    // of the statement, in the platform's log
	Payload  []byte         `json:"payload"`  // what the entry commits to, with its salt
	Proof    string         `json:"proof"`    // that the entry stands in the log (C2SP tlog-proof)
	Logs     []LogSum       `json:"logs"`     // all logs' newest segments, by origin
	Segments []SegmentProof `json:"segments"` // in the same order; only of logs that are asked for
}

// LogSum is a log's newest segment.
type LogSum struct {
	Origin string `json:"origin"`
	Sum    []byte `json:"sum"` // SHA-256
}

// SegmentProof is what a round's segment of one log has of the credentials. Of a round that ends before the time asked for it
// has no records.
type SegmentProof struct {
	Segment []byte `json:"segment"` // [Segment.Bytes]
	Key     []byte `json:"key,omitempty"`
	Runs    []Run  `json:"runs,omitempty"` // of each credential, in their order; none if the segment is empty
}

// Run is a run of a segment's records and the way from them to the segment's root.
type Run struct {
	Left    uint64   `json:"left"`    // which record of the segment is the first
	Records [][]byte `json:"records"` // [Record.Append]
	Path    [][]byte `json:"path"`    // from left to right
}

const (
	proofFormat = "querschott scope proof v1"
	// MaxProof is the size of the largest proof that is read, in bytes.
	MaxProof = 512 << 20
	// maxProved is how many records a proof holds.
	maxProved = 2 << 20
)

// Marshal writes the proof file: JSON.
func (p *Proof) Marshal() ([]byte, error) { return json.Marshal(p) }

// ParseProof reads a proof file and judges nothing.
func ParseProof(file []byte) (*Proof, error) {
	if len(file) > MaxProof {
		return nil, errors.New("the proof is too large")
	}
	p := &Proof{}
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, errors.New("not a scope proof: it can't be read as JSON of its form")
	}
	if _, err := dec.Token(); err == nil {
		return nil, errors.New("not a scope proof: something follows it")
	}
	switch {
	case p.Format != proofFormat:
		return nil, errors.New("not a scope proof of version 1")
	case len(p.Credentials) == 0 || len(p.Credentials) > maxCredentials || slices.Contains(p.Credentials, ""):
		return nil, errors.New("the proof names no credential, or too many")
	case len(unique(p.Credentials)) < len(p.Credentials):
		return nil, errors.New("the proof names a credential twice")
	case p.From < 0 || p.From >= p.To || p.To >= openEnd:
		return nil, errors.New("the proof's time ends before it begins")
	case len(p.Rounds) == 0:
		return nil, errors.New("the proof has no rounds")
	}
	return p, nil
}

// unique returns credentials without those that are there already.
func unique(list []querschott.CredentialID) (out []querschott.CredentialID) {
	for _, c := range list {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// ownerOf returns whose log an origin names: an IK, or "" for the platform.
func ownerOf(domain, origin string) (querschott.IK, error) {
	rest, ok := strings.CutPrefix(origin, domain+"/ledger/")
	who, year, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || len(year) != 4 || strings.Trim(year, "0123456789") != "" {
		return "", errors.New("a log's origin is not one of this platform")
	}
	if who == "platform" {
		return "", nil
	}
	return querschott.ParseIK(who)
}
