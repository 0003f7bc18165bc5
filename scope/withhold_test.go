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

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
	"github.com/querschott/querschott/scope"
)

// provedWorld is a world of five rounds and the proof about one credential in the middle of it.
func provedWorld(t *testing.T) (*world, []querschott.IK, []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(4, 4))
	iks := insurers(3)
	w := newWorld(t)
	t.Cleanup(func() { w.close(t) })
	q := scope.Question{Credentials: []querschott.CredentialID{credential(1), credential(2)}, From: begin}
	for i := range 5 {
		w.some(t, rng, iks, 60)
		if i == 1 {
			q.From = w.now
		}
		w.some(t, rng, iks, 60)
		w.cut(t)
	}
	q.To = w.now
	return w, iks, w.proof(t, q)
}

func (w *world) proof(t failer, q scope.Question) []byte {
	t.Helper()
	p, err := w.scope.Prove(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	file, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// copyOf reads a proof that may be spoilt.
func copyOf(t failer, file []byte) *scope.Proof {
	t.Helper()
	p := &scope.Proof{}
	if err := json.Unmarshal(file, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func fails(t *testing.T, what string, p *scope.Proof, vkey string) {
	t.Helper()
	file, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := scope.Verify(file, vkey); err == nil {
		t.Errorf("%s: the proof holds and says %+v", what, v.Total)
	}
}

// TestWithholding takes every record, every neighbour, every segment, every log and every round out of a proof, one at a
// time. Only the last round may be missing, and then the proof says so.
func TestWithholding(t *testing.T) {
	w, _, file := provedWorld(t)
	vkey := w.vkey(t)
	v, err := scope.Verify(file, vkey)
	if err != nil || !v.Complete || v.Total.Lower == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	w.agrees(t, v)
	whole := copyOf(t, file)
	tried := 0
	try := func(what string, spoil func(p *scope.Proof)) {
		tried++
		p := copyOf(t, file)
		spoil(p)
		fails(t, what, p, vkey)
	}
	for i := range whole.Rounds {
		if i < len(whole.Rounds)-1 {
			try("round", func(p *scope.Proof) { p.Rounds = slices.Delete(p.Rounds, i, i+1) })
			try("rounds up to it", func(p *scope.Proof) { p.Rounds = p.Rounds[i+1:] })
		}
		for j := range whole.Rounds[i].Logs {
			try("log", func(p *scope.Proof) { p.Rounds[i].Logs = slices.Delete(p.Rounds[i].Logs, j, j+1) })
		}
		for j := range whole.Rounds[i].Segments {
			try("segment", func(p *scope.Proof) { p.Rounds[i].Segments = slices.Delete(p.Rounds[i].Segments, j, j+1) })
			for k, run := range whole.Rounds[i].Segments[j].Runs {
				at := func(p *scope.Proof) *scope.Run { return &p.Rounds[i].Segments[j].Runs[k] }
				try("run", func(p *scope.Proof) {
					p.Rounds[i].Segments[j].Runs = slices.Delete(p.Rounds[i].Segments[j].Runs, k, k+1)
				})
				for n := range run.Records {
					try("record", func(p *scope.Proof) { at(p).Records = slices.Delete(at(p).Records, n, n+1) })
				}
				try("first record, one later", func(p *scope.Proof) { at(p).Records, at(p).Left = at(p).Records[1:], at(p).Left+1 })
				try("all records", func(p *scope.Proof) { at(p).Records, at(p).Path = nil, nil })
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d things were withheld", tried)
	}
	whole.Rounds = whole.Rounds[:len(whole.Rounds)-1]
	if v, err := whole.Verify(vkey); err != nil || v.Complete {
		t.Errorf("without the last round: %+v, %v", v, err)
	}
}

// TestForging puts what an operator makes himself in the place of what was sealed.
func TestForging(t *testing.T) {
	w, iks, file := provedWorld(t)
	vkey := w.vkey(t)
	other := proof.NewSigner(ledger.CommitsOrigin("other.example", 2026), bytes.Repeat([]byte{1}, 64)).VKey()
	fails(t, "another platform's key", copyOf(t, file), other)

	forged := 0
	for i, r := range copyOf(t, file).Rounds {
		for j := range r.Segments {
			forged += forgeEmpty(t, copyOf(t, file), i, j, vkey)
		}
	}
	if forged < 8 {
		t.Errorf("only %d segments were forged", forged)
	}
	p := copyOf(t, file)
	for i := range p.Rounds {
		for j := range p.Rounds[i].Segments {
			p.Rounds[i].Segments[j].Key = make([]byte, 32)
		}
	}
	fails(t, "tag keys of nobody", p, vkey)

	p = copyOf(t, file)
	p.Credentials[0], p.Credentials[1] = p.Credentials[1], p.Credentials[0]
	fails(t, "credentials in another order", p, vkey)

	// A proof about one insurer can't be passed off as one about all, nor as one about another.
	q := scope.Question{Credentials: []querschott.CredentialID{credential(1)}, From: begin, To: w.now, Insurers: iks[:1]}
	p = copyOf(t, w.proof(t, q))
	p.Insurers = nil
	fails(t, "all insurers", p, vkey)
	p.Insurers = iks[1:2]
	fails(t, "another insurer", p, vkey)

	for _, part := range []func(r *scope.RoundProof) []byte{
		func(r *scope.RoundProof) []byte { return r.Entry },
		func(r *scope.RoundProof) []byte { return r.Payload },
	} {
		for n := range part(&copyOf(t, file).Rounds[1]) {
			p := copyOf(t, file)
			part(&p.Rounds[1])[n] ^= 4
			fails(t, "another statement", p, vkey)
		}
	}
}

// forgeEmpty says that a segment is empty, first against the round's list, then with a list that fits.
func forgeEmpty(t *testing.T, p *scope.Proof, round, segment int, vkey string) int {
	t.Helper()
	r := &p.Rounds[round]
	s := &r.Segments[segment]
	g, err := scope.ParseSegment(s.Segment)
	if err != nil {
		t.Fatal(err)
	}
	if g.Count == 0 || len(s.Runs) == 0 {
		return 0
	}
	g.Count, g.Root = 0, tile.Tree{}.Root()
	s.Segment, s.Runs = g.Bytes(), nil
	fails(t, "an empty segment", p, vkey)
	for k := range r.Logs {
		if sum := sha256.Sum256(s.Segment); r.Logs[k].Origin == g.Origin {
			r.Logs[k].Sum = sum[:]
		}
	}
	fails(t, "an empty segment that is listed", p, vkey)
	return 1
}

// TestOneInsurersProof has nothing of the other insurers but the names of their logs.
func TestOneInsurersProof(t *testing.T) {
	w, iks, _ := provedWorld(t)
	q := scope.Question{Credentials: []querschott.CredentialID{credential(1)}, From: begin, To: w.now, Insurers: iks[:1]}
	p := copyOf(t, w.proof(t, q))
	records := 0
	for _, r := range p.Rounds {
		for _, s := range r.Segments {
			if g, err := scope.ParseSegment(s.Segment); err != nil || g.Origin != ledger.InsurerOrigin(domain, iks[0], begin.Year()) {
				t.Errorf("a segment of %q, %v", g.Origin, err)
			}
			for _, run := range s.Runs {
				records += len(run.Records)
			}
		}
	}
	v, err := p.Verify(w.vkey(t))
	if err != nil || len(v.Reach) != 1 || v.Reach[0].Insurer != iks[0] || records == 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestNobodyReached: that somebody reached nobody can be proved, also of a credential that nobody has.
func TestNobodyReached(t *testing.T) {
	w, _, _ := provedWorld(t)
	q := scope.Question{Credentials: []querschott.CredentialID{"nobody's"}, From: begin, To: w.now}
	v, err := scope.Verify(w.proof(t, q), w.vkey(t))
	if err != nil || !v.Complete || v.Total != (scope.Bounds{}) || len(v.Reach) != 4 {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, r := range v.Reach {
		if r.Grade != scope.GradeExcluded {
			t.Errorf("%s has grade %s, want E2", r.Insurer, r.Grade)
		}
	}
	q.To = w.now.AddDate(0, 0, 1) // not over yet
	v, err = scope.Verify(w.proof(t, q), w.vkey(t))
	if err != nil || v.Complete || v.Reach[0].Grade != scope.GradeNoSign {
		t.Errorf("of a time that is not over: %+v, %v", v, err)
	}
	if a := w.ask(t, q); a.Coverage >= 1 || a.Insurers[0].Grade != scope.GradeNoSign {
		t.Errorf("the answer about it: coverage %v, %+v", a.Coverage, a.Insurers[0])
	}
}

// TestShortenedTime: a proof about less time, made as it should be, does not pass for one about more.
func TestShortenedTime(t *testing.T) {
	w, _, _ := provedWorld(t)
	seconds := map[int64]bool{}
	for _, e := range w.all {
		if e.Credential == credential(1) && e.Kind != ledger.KindArrival {
			seconds[e.At.Unix()] = true
		}
	}
	whole := scope.Question{Credentials: []querschott.CredentialID{credential(1)}, From: begin, To: w.now}
	w.proof(t, whole) // everything is sealed
	for s := range seconds {
		q := whole
		q.From = time.Unix(s+1, 0)
		p := copyOf(t, w.proof(t, q))
		p.From = s
		fails(t, "without its first record", p, w.vkey(t))
		q = whole
		q.To = time.Unix(s, 0)
		p = copyOf(t, w.proof(t, q))
		p.To = s + 1
		if v, err := p.Verify(w.vkey(t)); err == nil && v.Complete {
			t.Errorf("without its last record: %+v", v.Total)
		}
	}
	if len(seconds) < 20 {
		t.Errorf("only %d records were withheld", len(seconds))
	}
}

// TestSealedWithGap: rounds that leave entries of a log out prove nothing, though each of them is in the ledger.
func TestSealedWithGap(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	iks := insurers(1)
	w := newWorld(t)
	defer w.close(t)
	q := scope.Question{Credentials: []querschott.CredentialID{credential(1)}, From: begin}
	for i := range 3 {
		w.some(t, rng, iks, 20)
		if i == 1 {
			if err := scope.Skip(t.Context(), w.scope, ledger.InsurerOrigin(domain, iks[0], begin.Year()), 1); err != nil {
				t.Fatal(err)
			}
		}
		w.cut(t)
	}
	q.To = w.now
	fails(t, "a gap", copyOf(t, w.proof(t, q)), w.vkey(t))
}

// TestUnaskedSegment: a proof for one insurer that shows another one's segment is refused.
func TestUnaskedSegment(t *testing.T) {
	w, iks, file := provedWorld(t)
	q := scope.Question{Credentials: []querschott.CredentialID{credential(1), credential(2)}, To: w.now, Insurers: iks[:1]}
	q.From = time.Unix(copyOf(t, file).From, 0)
	p := copyOf(t, w.proof(t, q))
	for _, s := range copyOf(t, file).Rounds[1].Segments {
		if g, err := scope.ParseSegment(s.Segment); err != nil || g.Origin != ledger.InsurerOrigin(domain, iks[0], begin.Year()) {
			p.Rounds[1].Segments = append(p.Rounds[1].Segments, s)
			fails(t, "a segment of "+g.Origin, p, w.vkey(t))
			p.Rounds[1].Segments = p.Rounds[1].Segments[:len(p.Rounds[1].Segments)-1]
		}
	}
}
