package scope

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// Verified is what a proof shows.
type Verified struct {
	Credentials []querschott.CredentialID `json:"credentials"`
	From        time.Time                 `json:"from"`
	To          time.Time                 `json:"to"`
	Insurers    []querschott.IK           `json:"insurers,omitempty"` // empty: all that the platform has a log of
	// Sealed is the time before which nothing is left out. What is behind it and before To is not shown.
	Sealed     time.Time         `json:"sealed_until"`
	Complete   bool              `json:"complete"` // Sealed is not before To
	Rounds     [2]uint64         `json:"rounds"`   // the first and the last
	Reach      []Reach           `json:"reach"`
	Total      Bounds            `json:"total"`
	Logs       []ProvedLog       `json:"logs"`
	Checkpoint *proof.Checkpoint `json:"checkpoint"` // of the platform's log: the head under which the last round stands
}

// ProvedLog says which entries of a log were looked at, and under which root of that log.
type ProvedLog struct {
	Origin string `json:"origin"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Root   string `json:"root"` // of the log at the size To
}

// Verify checks a proof file with nothing but one verifier key of the platform's ledger (of any of its logs), and returns
// what it shows: from its records, not from anybody's word.
//
// It shows that every record of the credentials that is in a sealed segment of the time is in the proof. That a segment has
// every entry of its part of the log is shown by making it again from the log, as a scope does.
func Verify(file []byte, vkey string) (*Verified, error) {
	p, err := ParseProof(file)
	if err != nil {
		return nil, err
	}
	return p.Verify(vkey)
}

// Verify does it with a proof that was read.
func (p *Proof) Verify(vkey string) (*Verified, error) {
	key, err := proof.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	domain, _, ok := strings.Cut(key.Name(), "/ledger/")
	if !ok {
		return nil, errors.New("the verifier key is not that of a log of a ledger")
	}
	v := &verifier{
		proof: p, vkey: vkey, domain: domain, sums: map[string][]byte{}, to: map[string]uint64{}, logs: map[string]*ProvedLog{},
		reach: map[querschott.IK]*provedReach{}, keys: map[string]string{},
	}
	for i := range p.Rounds {
		if err := v.round(&p.Rounds[i], i == 0); err != nil {
			return nil, fmt.Errorf("the proof does not hold: its round %d: %w", i+1, err)
		}
	}
	return v.result(), nil
}

type verifier struct {
	proof  *Proof
	vkey   string
	domain string
	keys   map[string]string // verifier keys, by origin

	first, last Statement
	prev        [32]byte // SHA-256 of last
	head        proof.Checkpoint
	index       uint64            // of the last statement in head's log
	sums        map[string][]byte // of the newest segments, by origin
	to          map[string]uint64 // where the logs' newest segments end; of logs that are asked for
	logs        map[string]*ProvedLog
	reach       map[querschott.IK]*provedReach
}

// round checks one round and takes its records.
func (v *verifier) round(r *RoundProof, first bool) error {
	st, err := v.statement(r)
	if err != nil {
		return err
	}
	base := first && st.Until < v.proof.From
	switch {
	case first && !base && st.Round > 1:
		return errors.New("the rounds before it, which the time asked for reaches into, are withheld")
	case first:
	case st.Round != v.last.Round+1 || st.Since != v.last.Until || st.Prev != v.prev:
		return errors.New("it doesn't follow the one before it")
	}
	if first {
		v.first = st
	}
	v.last, v.prev = st, sha256.Sum256(st.Bytes())
	if err := v.list(r, &st); err != nil {
		return err
	}
	return v.segments(r, &st, base)
}

// statement checks that the round's statement stands in the platform's log.
func (v *verifier) statement(r *RoundProof) (st Statement, err error) {
	p, err := proof.Parse([]byte(r.Proof))
	if err != nil {
		return st, err
	}
	origin, _, _ := strings.Cut(string(p.Checkpoint), "\n")
	if owner, err := ownerOf(v.domain, origin); err != nil || owner != "" {
		return st, errors.New("its statement is not in the platform's log")
	}
	if v.keys[origin] == "" {
		if v.keys[origin], err = proof.Sibling(v.vkey, origin); err != nil {
			return st, err
		}
	}
	key, err := proof.NewVerifier(v.keys[origin])
	if err != nil {
		return st, err
	}
	head, err := p.Verify(tile.Leaf(r.Entry), key)
	if err != nil {
		return st, err
	}
	if v.head.Origin > origin || v.head.Origin == origin && p.Index <= v.index {
		return st, errors.New("its statement stands before that of the round before it")
	}
	v.head, v.index = head, p.Index
	leaf, payload, err := ledger.Opened(r.Entry, r.Payload)
	if err != nil {
		return st, err
	}
	b := detail(payload, detailStatement)
	if leaf.Kind != ledger.KindSeal || leaf.Insurer != "" || b == nil {
		return st, errors.New("the entry is no statement of a round")
	}
	return ParseStatement(b)
}

// list checks that the round's list is whole: the statement commits to it, and no log of the round before is missing.
func (v *verifier) list(r *RoundProof, st *Statement) error {
	if len(r.Logs) != int(st.Logs) {
		return errors.New("a log is withheld from its list, or too many are in it")
	}
	leaves, listed := make([]tile.Hash, len(r.Logs)), map[string]bool{}
	for i, l := range r.Logs {
		if len(l.Sum) != sha256.Size || i > 0 && r.Logs[i-1].Origin >= l.Origin {
			return errors.New("its list is malformed")
		}
		if _, err := ownerOf(v.domain, l.Origin); err != nil {
			return err
		}
		leaves[i], listed[l.Origin] = listLeaf(l.Origin, [32]byte(l.Sum)), true
	}
	if rootOf(leaves) != st.Root {
		return errors.New("its list is another one than it committed to")
	}
	for origin := range v.sums {
		if !listed[origin] {
			return errors.New("a log that had a segment has none any more")
		}
	}
	return nil
}

// segments checks the segments of all logs that are asked for and takes their records.
func (v *verifier) segments(r *RoundProof, st *Statement, base bool) error {
	rest := r.Segments
	for _, l := range r.Logs {
		before, known := v.sums[l.Origin]
		v.sums[l.Origin] = l.Sum
		owner, err := ownerOf(v.domain, l.Origin)
		if err != nil {
			return err
		}
		if !wants(v.proof.Insurers, owner) || known && bytes.Equal(before, l.Sum) {
			continue
		}
		if len(rest) == 0 {
			return fmt.Errorf("the segment of %s is withheld", l.Origin)
		}
		if sum := sha256.Sum256(rest[0].Segment); !bytes.Equal(sum[:], l.Sum) {
			return fmt.Errorf("the segment of %s is withheld, or another one", l.Origin)
		}
		if err := v.segment(&rest[0], l.Origin, owner, st, base); err != nil {
			return fmt.Errorf("the segment of %s: %w", l.Origin, err)
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return errors.New("it has a segment that nobody asked for")
	}
	return nil
}

func (v *verifier) segment(p *SegmentProof, origin string, owner querschott.IK, st *Statement, base bool) error {
	g, err := ParseSegment(p.Segment)
	if err != nil {
		return err
	}
	if g.Origin != origin {
		return errors.New("it is another log's")
	}
	from := v.to[origin] // 0 if there was none
	v.to[origin] = g.To
	if base {
		if g.Round > st.Round || len(p.Key) > 0 || len(p.Runs) > 0 {
			return errors.New("it is of a later round, or shows records from before the time asked for")
		}
		return nil
	}
	if g.Round != st.Round || g.From != from {
		return errors.New("it doesn't begin where the one before it ended")
	}
	v.looked(&g)
	if len(p.Key) != 32 || sha256.Sum256(p.Key) != g.Key {
		return errors.New("its tag key is another one")
	}
	want := len(v.proof.Credentials)
	if g.Count == 0 {
		want = 0
	}
	if len(p.Runs) != want {
		return errors.New("it has not one run of records for each credential")
	}
	for i := range p.Runs {
		if err := v.run(&p.Runs[i], &g, TagOf([32]byte(p.Key), v.proof.Credentials[i]), owner, st); err != nil {
			return err
		}
	}
	return nil
}

// looked notes which part of a log was looked at.
func (v *verifier) looked(g *Segment) {
	l := v.logs[g.Origin]
	if l == nil {
		l = &ProvedLog{Origin: g.Origin, From: g.From}
		v.logs[g.Origin] = l
	}
	l.To, l.Root = g.To, g.Head.String()
}

// run checks that records are all that the segment has of a tag in the time asked for, and takes them.
func (v *verifier) run(r *Run, g *Segment, tag Tag, owner querschott.IK, st *Statement) error {
	if len(r.Records) == 0 || uint64(len(r.Records)) > g.Count || r.Left > g.Count-uint64(len(r.Records)) {
		return errors.New("a run has no records, or more than there are")
	}
	records, leaves := make([]Record, len(r.Records)), make([]tile.Hash, len(r.Records))
	for i, b := range r.Records {
		var err error
		if records[i], err = ParseRecord(b); err != nil {
			return err
		}
		leaves[i] = tile.Leaf(b)
		if i > 0 && records[i-1].compare(&records[i]) >= 0 {
			return errors.New("records are not in their order")
		}
	}
	path := make([]tile.Hash, len(r.Path))
	for i, b := range r.Path {
		if len(b) != len(path[i]) {
			return errRange
		}
		path[i] = tile.Hash(b)
	}
	root, err := rangeRoot(g.Count, r.Left, leaves, path)
	if err != nil {
		return err
	}
	last := &records[len(records)-1]
	switch {
	case root != g.Root:
		return errors.New("records don't lead to the segment's root")
	case r.Left > 0 && !records[0].before(tag, v.proof.From):
		return errors.New("the neighbour before the records is withheld")
	case r.Left+uint64(len(records)) < g.Count && last.before(tag, v.proof.To):
		return errors.New("the neighbour behind the records is withheld")
	}
	for i := range records {
		e := &records[i]
		if e.Tag != tag || e.Second < v.proof.From || e.Second >= v.proof.To {
			continue
		}
		if e.Second < st.Since || e.Second > st.Until || e.Index < g.From || e.Index >= g.To {
			return errors.New("a record is not of its round")
		}
		v.take(e, g.Origin, owner)
	}
	return nil
}

// provedReach counts what the records of one insurer say.
type provedReach struct {
	Reach
	persons map[provedPerson]*provedData
	groups  map[string]*Group
}

type provedPerson struct {
	origin    string
	pseudonym ledger.Pseudonym
}

type provedData struct {
	result Result
	entry  uint64
	data   []string
}

func (v *verifier) of(owner querschott.IK) *provedReach {
	r := v.reach[owner]
	if r == nil {
		r = &provedReach{Reach: Reach{Insurer: owner, Groups: []Group{}}, persons: map[provedPerson]*provedData{}, groups: map[string]*Group{}}
		v.reach[owner] = r
	}
	return r
}

func (v *verifier) take(e *Record, origin string, owner querschott.IK) {
	r := v.of(owner)
	at := time.Unix(e.Second, 0).UTC()
	if r.First.IsZero() || at.Before(r.First) {
		r.First = at
	}
	if at.After(r.Last) {
		r.Last = at
	}
	r.Events++
	r.Unnamed += uint64(e.Records)
	data := e.Data.String()
	if e.Result != Refused {
		if r.groups[data] == nil {
			r.groups[data] = &Group{Data: data}
		}
		r.groups[data].Events++
	}
	if e.Person == (ledger.Pseudonym{}) {
		return
	}
	key := provedPerson{origin, e.Person}
	d := r.persons[key]
	if d == nil {
		d = &provedData{result: e.Result, entry: e.Index}
		r.persons[key] = d
	}
	d.result, d.entry = min(d.result, e.Result), min(d.entry, e.Index)
	if e.Result != Refused && !slices.Contains(d.data, data) {
		d.data = append(d.data, data)
		r.groups[data].Persons++
	}
}

// result puts together what was shown.
func (v *verifier) result() *Verified {
	p := v.proof
	out := &Verified{
		Credentials: p.Credentials, From: time.Unix(p.From, 0).UTC(), To: time.Unix(p.To, 0).UTC(), Insurers: p.Insurers,
		Sealed: time.Unix(min(v.last.Until, p.To), 0).UTC(), Complete: v.last.Until >= p.To,
		Rounds: [2]uint64{v.first.Round, v.last.Round}, Checkpoint: &v.head, Reach: []Reach{}, Logs: []ProvedLog{},
	}
	for origin := range v.sums {
		if owner, err := ownerOf(v.domain, origin); err == nil && wants(p.Insurers, owner) {
			v.of(owner) // nothing was reached, and that is shown too
		}
	}
	for _, r := range v.reach {
		r.finishProved(out.Complete)
		out.Reach = append(out.Reach, r.Reach)
		out.Total.Lower, out.Total.Best, out.Total.Upper = out.Total.Lower+r.Bounds.Lower, out.Total.Best+r.Bounds.Best, out.Total.Upper+r.Bounds.Upper
	}
	slices.SortFunc(out.Reach, func(x, y Reach) int { return cmp.Compare(x.Insurer, y.Insurer) })
	for _, origin := range slices.Sorted(maps.Keys(v.logs)) {
		out.Logs = append(out.Logs, *v.logs[origin])
	}
	return out
}

func (r *provedReach) finishProved(complete bool) {
	for key, d := range r.persons {
		switch d.result {
		case Reached:
			r.Reached++
		case Possible:
			r.Possible++
		default:
			r.Excluded++
		}
		slices.Sort(d.data)
		r.Persons = append(r.Persons, Person{
			Pseudonym: hex.EncodeToString(key.pseudonym[:]), Result: d.result, Data: d.data, Log: key.origin, Entry: d.entry,
		})
	}
	for _, g := range r.groups {
		r.Groups = append(r.Groups, *g)
	}
	slices.SortFunc(r.Persons, func(x, y Person) int { return strings.Compare(x.Pseudonym, y.Pseudonym) })
	coverage := 0.0
	if complete {
		coverage = 1
	}
	r.finish(coverage)
}
