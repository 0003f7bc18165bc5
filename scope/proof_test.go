package scope_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/tile"
	"github.com/querschott/querschott/scope"
)

// cut ends the round at hand; no event has the second of a cut.
func (w *world) cut(t failer) {
	t.Helper()
	w.now = w.now.Add(time.Second)
	if err := scope.Cut(context.Background(), w.scope); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Second)
}

func (w *world) some(t failer, rng *rand.Rand, iks []querschott.IK, most int) {
	t.Helper()
	var list []ledger.Entry
	for range 1 + rng.IntN(most) {
		w.now = w.now.Add(time.Duration(rng.IntN(90_000)) * time.Millisecond)
		list = append(list, access(rng, iks, w.now))
	}
	w.put(t, list...)
}

func (w *world) vkey(t failer) string {
	t.Helper()
	vkey, err := w.ledger.VKey(ledger.CommitsOrigin(domain, begin.Year()))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// agrees compares what a proof shows with brute force. A proof that isn't complete says nothing of the time behind its end.
func (w *world) agrees(t failer, v *scope.Verified) {
	t.Helper()
	q := scope.Question{Credentials: v.Credentials, From: v.From, To: v.To, Insurers: v.Insurers}
	if !v.Complete {
		q.To = v.Sealed
	}
	var got []scope.Reach
	for _, r := range v.Reach {
		if r.Insurer == "" {
			continue
		}
		if !v.Complete && r.Grade == scope.GradeNoSign {
			r.Grade = scope.GradeExcluded
		}
		for i := range r.Persons {
			r.Persons[i].Log, r.Persons[i].Entry = "", 0
		}
		got = append(got, r)
	}
	var want []scope.Reach
	for _, r := range w.brute(q) {
		if slices.ContainsFunc(got, func(g scope.Reach) bool { return g.Insurer == r.Insurer }) || r.Events > 0 {
			want = append(want, r) // an insurer that has no segment yet is not in the proof
		}
	}
	if d := cmp.Diff(want, got, equateEmpty); d != "" {
		t.Fatalf("brute force and proof differ (-brute +proof) for %+v:\n%s", q, d)
	}
}

// worldOfRounds has a few rounds of accesses.
func worldOfRounds(t failer, rng *rand.Rand, iks []querschott.IK) *world {
	t.Helper()
	w := newWorld(t)
	for range 2 + rng.IntN(4) {
		w.some(t, rng, iks, 30)
		w.cut(t)
		if rng.IntN(3) == 0 {
			w.now = w.now.Add(time.Duration(rng.IntN(20)) * time.Hour)
		}
	}
	w.some(t, rng, iks, 10)
	w.now = w.now.Add(time.Second)
	return w
}

// TestProofsAgainstBruteForce: what a proof shows is what brute force finds.
func TestProofsAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		iks := insurers(3)
		w := worldOfRounds(t, rng, iks)
		defer func() { w.close(t) }()
		for range 5 {
			q := w.question(rng, iks)
			p, err := w.scope.Prove(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			file, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			v, err := scope.Verify(file, w.vkey(t))
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			if !v.Complete {
				t.Fatalf("not complete: %+v", v)
			}
			w.agrees(t, v)
			w.now = w.now.Add(time.Second) // what is proved is sealed, and no event has the second of a cut
		}
	})
}

// spoil changes one thing in a proof that an operator could change.
func spoil(p *scope.Proof, rng *rand.Rand, iks []querschott.IK) {
	r := &p.Rounds[rng.IntN(len(p.Rounds))]
	var s, other *scope.SegmentProof
	if len(r.Segments) > 0 {
		s, other = &r.Segments[rng.IntN(len(r.Segments))], &r.Segments[rng.IntN(len(r.Segments))]
	}
	var run *scope.Run
	if s != nil && len(s.Runs) > 0 {
		run = &s.Runs[rng.IntN(len(s.Runs))]
	}
	flip := func(b []byte) {
		if len(b) > 0 {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
	}
	switch what := rng.IntN(21); {
	case what == 0:
		i := rng.IntN(len(p.Rounds))
		p.Rounds = slices.Delete(p.Rounds, i, i+1)
	case what == 1:
		i, j := rng.IntN(len(p.Rounds)), rng.IntN(len(p.Rounds))
		p.Rounds[i], p.Rounds[j] = p.Rounds[j], p.Rounds[i]
	case what == 2:
		p.Credentials[rng.IntN(len(p.Credentials))] = credential(rng.IntN(7))
	case what == 3:
		p.From += int64(rng.IntN(20_000) - 10_000)
	case what == 4:
		p.To += int64(rng.IntN(20_000) - 10_000)
	case what == 5:
		p.Insurers = iks[:rng.IntN(len(iks)+1)]
	case what == 6:
		flip(r.Entry)
	case what == 7:
		flip(r.Payload)
	case what == 8 && len(r.Logs) > 0:
		i := rng.IntN(len(r.Logs))
		r.Logs = slices.Delete(r.Logs, i, i+1)
	case what == 9 && len(r.Logs) > 0:
		flip(r.Logs[rng.IntN(len(r.Logs))].Sum)
	case what == 10 && s != nil:
		i := rng.IntN(len(r.Segments))
		r.Segments = slices.Delete(r.Segments, i, i+1)
	case what == 11 && s != nil:
		*s, *other = *other, *s
	case what == 12 && s != nil:
		flip(s.Segment)
	case what == 13 && s != nil:
		flip(s.Key)
	case what == 14 && s != nil:
		s.Runs, other.Runs = other.Runs, s.Runs
	case what == 15 && run != nil && len(run.Records) > 0:
		i := rng.IntN(len(run.Records))
		run.Records = slices.Delete(run.Records, i, i+1)
		if i == 0 && rng.IntN(2) == 0 {
			run.Left++
		}
	case what == 16 && run != nil && len(run.Records) > 0:
		flip(run.Records[rng.IntN(len(run.Records))])
	case what == 17 && run != nil && len(run.Path) > 0:
		i := rng.IntN(len(run.Path))
		run.Path = slices.Delete(run.Path, i, i+1)
	case what == 18 && run != nil:
		run.Left += uint64(rng.IntN(3)) - 1
	case what > 18 && s != nil:
		forge(r, s, what == 20, rng)
	}
}

// forge puts a segment of its own in the place of what was sealed: one without records, or one whose tags nobody can tell.
func forge(r *scope.RoundProof, s *scope.SegmentProof, listed bool, rng *rand.Rand) {
	g, err := scope.ParseSegment(s.Segment)
	if err != nil {
		return
	}
	if rng.IntN(2) == 0 {
		g.Count, g.Root, s.Runs = 0, tile.Tree{}.Root(), nil
	} else {
		s.Key = bytes.Repeat([]byte{7}, 32)
		g.Key = sha256.Sum256(s.Key)
	}
	s.Segment = g.Bytes()
	for i := range r.Logs {
		if sum := sha256.Sum256(s.Segment); listed && r.Logs[i].Origin == g.Origin {
			r.Logs[i].Sum = sum[:]
		}
	}
}

// TestSpoiltProofs: whatever an operator withholds or changes, a proof that verifies says nothing but the truth.
func TestSpoiltProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		iks := insurers(3)
		w := worldOfRounds(t, rng, iks)
		defer func() { w.close(t) }()
		q := w.question(rng, iks)
		p, err := w.scope.Prove(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			var spoilt scope.Proof
			if err := json.Unmarshal(whole, &spoilt); err != nil {
				t.Fatal(err)
			}
			for range 1 + rng.IntN(3) {
				if len(spoilt.Rounds) > 0 {
					spoil(&spoilt, rng, iks)
				}
			}
			file, err := spoilt.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if v, err := scope.Verify(file, w.vkey(t)); err == nil {
				w.agrees(t, v)
			}
		}
	})
}
