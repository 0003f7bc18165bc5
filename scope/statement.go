package scope

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/tile"
)

// Statement is what a round says of itself in the platform's log.
type Statement struct {
	Round uint64 // the first has 1
	Since int64  // seconds; of the first round 0, of others the Until of the one before
	Until int64
	Logs  uint32    // how many logs have a segment, of this round or of an earlier one
	New   uint32    // how many of these are of this round
	Root  tile.Hash // over the newest segment of each log, by origin
	Prev  [32]byte  // SHA-256 of the statement before; zeros for the first
}

const (
	statementVersion = 1
	statementSize    = 1 + 8 + 8 + 8 + 4 + 4 + 32 + 32
)

// Bytes writes the statement: version 1, round, since, until, logs, new, root, prev; big endian.
func (s *Statement) Bytes() []byte {
	be := binary.BigEndian
	b := be.AppendUint64([]byte{statementVersion}, s.Round)
	b = be.AppendUint64(be.AppendUint64(b, uint64(s.Since)), uint64(s.Until))
	b = append(be.AppendUint32(be.AppendUint32(b, s.Logs), s.New), s.Root[:]...)
	return append(b, s.Prev[:]...)
}

// ParseStatement reads what Bytes writes.
func ParseStatement(b []byte) (s Statement, err error) {
	if len(b) != statementSize || b[0] != statementVersion {
		return s, errors.New("not the statement of a round")
	}
	be := binary.BigEndian
	s = Statement{
		Round: be.Uint64(b[1:]), Since: int64(be.Uint64(b[9:])), Until: int64(be.Uint64(b[17:])), Logs: be.Uint32(b[25:]),
		New: be.Uint32(b[29:]), Root: tile.Hash(b[33:65]), Prev: [32]byte(b[65:]),
	}
	first := s.Round == 1
	if s.Round == 0 || s.Since < 0 || s.Until < s.Since || s.Until >= openEnd || s.New > s.Logs || first && (s.Since != 0 || s.Prev != [32]byte{}) {
		return s, errors.New("the statement of a round is malformed")
	}
	return s, nil
}

// Segment is what a round has of one log.
type Segment struct {
	Origin   string
	Round    uint64    // whose it is
	From, To uint64    // entries of the log
	Head     tile.Hash // root of the log at the size To
	Count    uint64    // of records
	Root     tile.Hash // over the records
	Key      [32]byte  // SHA-256 of the log's tag key
	First    Record    // if Count > 0
	Last     Record
}

const segmentVersion = 1

// Bytes writes the segment: version 1, origin (uint8 length), round, from, to, head, count, root, key, and unless it is empty the
// first and the last record; big endian.
func (s *Segment) Bytes() []byte {
	be := binary.BigEndian
	b := append([]byte{segmentVersion, byte(len(s.Origin))}, s.Origin...)
	b = be.AppendUint64(b, s.Round)
	b = append(be.AppendUint64(be.AppendUint64(b, s.From), s.To), s.Head[:]...)
	b = append(be.AppendUint64(b, s.Count), s.Root[:]...)
	b = append(b, s.Key[:]...)
	if s.Count > 0 {
		b = s.Last.Append(s.First.Append(b))
	}
	return b
}

// ParseSegment reads what Bytes writes.
func ParseSegment(b []byte) (s Segment, err error) {
	bad := errors.New("a segment of a round is malformed")
	const rest = 8 + 8 + 8 + 32 + 8 + 32 + 32
	if len(b) < 2 || b[0] != segmentVersion || len(b) < 2+int(b[1])+rest {
		return s, bad
	}
	s.Origin = string(b[2 : 2+b[1]])
	b = b[2+len(s.Origin):]
	be := binary.BigEndian
	s.Round, s.From, s.To, s.Head = be.Uint64(b), be.Uint64(b[8:]), be.Uint64(b[16:]), tile.Hash(b[24:56])
	s.Count, s.Root, s.Key = be.Uint64(b[56:]), tile.Hash(b[64:96]), [32]byte(b[96:128])
	b = b[rest:]
	if s.Origin == "" || s.Round == 0 || s.From >= s.To || strings.ContainsAny(s.Origin, "\n\x00") {
		return s, bad
	}
	if s.Count == 0 {
		if len(b) > 0 || s.Root != rootOf(nil) {
			return s, bad
		}
		return s, nil
	}
	if len(b) != 2*RecordSize {
		return s, bad
	}
	if s.First, err = ParseRecord(b[:RecordSize]); err != nil {
		return s, err
	}
	if s.Last, err = ParseRecord(b[RecordSize:]); err != nil {
		return s, err
	}
	if c := s.First.compare(&s.Last); c > 0 || (c == 0) != (s.Count == 1) {
		return s, bad
	}
	return s, nil
}

// listLeaf is a segment's leaf in the tree of its round. The origin stands apart from the rest, so that a proof can show
// which logs a round has without showing what is in those of other insurers.
func listLeaf(origin string, sum [32]byte) tile.Hash {
	return tile.Leaf(append([]byte(origin+"\n"), sum[:]...))
}

// newest is the newest segment of each log, as bytes, by origin. It never changes: a round makes another one.
type newest map[string][]byte

// with returns what is newest after a round with these segments.
func (n newest) with(list []Segment) newest {
	out := maps.Clone(n)
	if out == nil {
		out = newest{}
	}
	for i := range list {
		out[list[i].Origin] = list[i].Bytes()
	}
	return out
}

func (n newest) root() tile.Hash {
	leaves := make([]tile.Hash, 0, len(n))
	for _, origin := range slices.Sorted(maps.Keys(n)) {
		leaves = append(leaves, listLeaf(origin, sha256.Sum256(n[origin])))
	}
	return rootOf(leaves)
}

// The details of a seal's entries: one has the statement, those behind it the segments.
const (
	detailStatement = "scope-statement"
	detailSegments  = "scope-segments"
	// listRoom is how many bytes of segments go into one entry; a payload has at most 60,000 with base64 around.
	listRoom = 40_000
)

// sealEntries are the ledger's entries of a round.
func sealEntries(st *Statement, list []Segment) []ledger.Entry {
	entries := []ledger.Entry{sealEntry(detailStatement, st.Bytes())}
	var b []byte
	for i := range list {
		one := list[i].Bytes()
		if len(b)+len(one) > listRoom {
			entries, b = append(entries, sealEntry(detailSegments, b)), nil
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(one))), one...)
	}
	if len(b) > 0 {
		entries = append(entries, sealEntry(detailSegments, b))
	}
	return entries
}

// parseList reads the segments of one entry.
func parseList(b []byte) (list []Segment, err error) {
	for len(b) > 0 {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, errors.New("a list of segments is malformed")
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		s, err := ParseSegment(b[2:n])
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(s.Bytes(), b[2:n]) {
			return nil, errors.New("a list of segments is malformed")
		}
		list, b = append(list, s), b[n:]
	}
	return list, nil
}

// detail returns the bytes of a seal's detail, nil if it has no such one.
func detail(p *ledger.Payload, name string) []byte {
	if p == nil || len(p.Detail) != 1 || p.Detail[0].Name != name {
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(p.Detail[0].Value)
	if err != nil {
		return nil
	}
	return b
}
