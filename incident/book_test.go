package incident

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// desk is a book with a clock and a record that tests look into.
type desk struct {
	t    *testing.T
	disk *crashdisk.Disk
	book *Book

	mu       sync.Mutex
	now      time.Time
	recorded []Recorded
	broken   error // why nothing can be recorded
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, disk: crashdisk.New(), now: time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)}
	d.book = d.open(d.disk)
	return d
}

func (d *desk) open(fs disk.FS) *Book {
	d.t.Helper()
	b, err := OpenBook(Config{FS: fs, Dir: "incidents", Now: d.clock, Record: d.record})
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(time.Second)
	return d.now
}

func (d *desk) record(_ context.Context, r Recorded) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.recorded = append(d.recorded, r)
	}
	return d.broken
}

func (d *desk) begin() *Case {
	d.t.Helper()
	c, err := d.book.Begin(d.t.Context(), Entry{Kind: Fact, By: "anna", Text: "Auffälliger Abruf"})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (d *desk) add(ref string, e Entry) *Case {
	d.t.Helper()
	c, err := d.book.Case(ref)
	if err == nil {
		c, err = d.book.Append(d.t.Context(), ref, c.Version, e)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// refused says with which code an entry is refused.
func (d *desk) refused(ref string, e Entry, code querschott.Code) {
	d.t.Helper()
	before, err := d.book.Case(ref)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err = d.book.Append(d.t.Context(), ref, before.Version, e); querschott.CodeOf(err) != code {
		d.t.Errorf("%+v: got %v, want %s", e, err, code)
	}
	after, err := d.book.Case(ref)
	if err != nil || after.Version != before.Version || after.Head() != before.Head() {
		d.t.Errorf("%+v was refused and left something behind", e)
	}
}

func TestStoryOfACase(t *testing.T) {
	d := newDesk(t)
	c := d.begin()
	if c.Ref != "VF-2026-0001" || d.begin().Ref != "VF-2026-0002" {
		t.Fatalf("references %s", c.Ref)
	}
	ref := c.Ref
	d.add(ref, Entry{Kind: RoleGiven, By: "anna", Role: Lead, Person: "anna"})
	d.add(ref, Entry{Kind: Assumption, By: "anna", Text: "Ein Kennwort ist gestohlen"})
	d.add(ref, Entry{Kind: Question, By: "ben", Text: "Seit wann?"})
	d.add(ref, Entry{Kind: Decision, By: "anna", Text: "Tür bleibt zu", Why: "bis das Kennwort gewechselt ist"})
	c = d.add(ref, Entry{Kind: Correction, By: "ben", Supersedes: 3, As: Fact, Text: "Das Kennwort ist gestohlen", Why: "die Person hat es bestätigt"})
	if got := texts(c.Standing(Fact)); got != "Auffälliger Abruf|Das Kennwort ist gestohlen" || len(c.Standing(Assumption)) != 0 || c.ReplacedBy(3) != 6 {
		t.Errorf("after the correction known is %q", got)
	}
	if c.Entries[2].Text != "Ein Kennwort ist gestohlen" {
		t.Error("the correction has deleted what it corrects")
	}
	d.refused(ref, Entry{Kind: Correction, By: "ben", Supersedes: 3, As: Fact, Text: "x", Why: "y"}, querschott.CodeConflict)
	d.refused(ref, Entry{Kind: Correction, By: "ben", Supersedes: 2, As: Fact, Text: "x", Why: "y"}, querschott.CodeInvalid)

	d.refused(ref, Entry{Kind: Handover, By: "ben", Role: Lead, Person: "ben"}, querschott.CodeForbidden)
	d.refused(ref, Entry{Kind: RoleGiven, By: "ben", Role: Lead, Person: "ben"}, querschott.CodeConflict)
	d.add(ref, Entry{Kind: Handover, By: "anna", Role: Lead, Person: "ben"})
	d.refused(ref, Entry{Kind: Acknowledgement, By: "carla", Answers: 7}, querschott.CodeForbidden)
	if c = d.add(ref, Entry{Kind: Acknowledgement, By: "ben", Answers: 7}); c.Roles[Lead] != "ben" {
		t.Errorf("the lead is %s", c.Roles[Lead])
	}
	d.refused(ref, Entry{Kind: Acknowledgement, By: "ben", Answers: 7}, querschott.CodeConflict)

	d.add(ref, Entry{Kind: Contained, By: "ben", Text: "Ausweis gesperrt"})
	d.add(ref, Entry{Kind: Request, By: "ben", Wish: Close, Why: "aufgeklärt"})
	d.refused(ref, Entry{Kind: Approval, By: "ben", Answers: 10}, querschott.CodeForbidden)
	if c = d.add(ref, Entry{Kind: Approval, By: "anna", Answers: 10}); c.Status != Closed || len(c.Waiting()) != 0 {
		t.Errorf("the case is %s", c.Status)
	}
	d.refused(ref, Entry{Kind: Fact, By: "ben", Text: "noch etwas"}, querschott.CodeConflict)

	again, err := d.open(d.disk).Case(ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Entries, again.Entries); diff != "" || c.Head() != again.Head() || again.Status != Closed {
		t.Errorf("read again (-written +read):\n%s", diff)
	}
	if faults := d.book.Compare(d.recorded); len(faults) != 0 || len(d.recorded) != 12 {
		t.Errorf("%d digests recorded, faults %v", len(d.recorded), faults)
	}
}

func texts(list []Entry) string {
	var b []string
	for _, e := range list {
		b = append(b, e.Text)
	}
	return strings.Join(b, "|")
}

func TestEntriesThatAreRefused(t *testing.T) {
	d := newDesk(t)
	ref := d.begin().Ref
	now := d.clock()
	for name, e := range map[string]Entry{
		"no writer":              {Kind: Fact, Text: "x"},
		"no text":                {Kind: Fact, By: "anna"},
		"unknown kind":           {Kind: "gossip", By: "anna", Text: "x"},
		"decision without why":   {Kind: Decision, By: "anna", Text: "x"},
		"learned in the future":  {Kind: Fact, By: "anna", Text: "x", Learned: now.Add(time.Hour)},
		"learned before it was":  {Kind: Fact, By: "anna", Text: "x", Happened: now.Add(-time.Hour), Learned: now.Add(-2 * time.Hour)},
		"happens in the future":  {Kind: Fact, By: "anna", Text: "x", Happened: now.Add(time.Hour)},
		"too long":               {Kind: Fact, By: "anna", Text: strings.Repeat("x", MaxText+1)},
		"terminal control":       {Kind: Fact, By: "anna", Text: "x\x1b[2J"},
		"line break":             {Kind: Fact, By: "anna", Text: "x\n2026-11-29 closed"},
		"right to left override": {Kind: Fact, By: "anna", Text: "x\u202egnp.exe"},
		"not UTF-8":              {Kind: Fact, By: "anna", Text: "x\xff"},
		"an insured person":      {Kind: Fact, By: "anna", Text: "betrifft A123456780"},
		"an unseen person":       {Kind: Fact, By: "anna", Text: "betrifft a123456780 sehr"},
		"role of nobody":         {Kind: RoleGiven, By: "anna", Role: Lead},
		"unknown role":           {Kind: RoleGiven, By: "anna", Role: "king", Person: "anna"},
		"no grade":               {Kind: Finding, By: "anna", Text: "x"},
		"correction of nothing":  {Kind: Correction, By: "anna", Supersedes: 9, As: Fact, Text: "x", Why: "y"},
		"correction as approval": {Kind: Correction, By: "anna", Supersedes: 1, As: Approval, Answers: 1, Why: "y"},
		"approval of a fact":     {Kind: Approval, By: "ben", Answers: 1},
		"request for nothing":    {Kind: Request, By: "anna", Wish: "party", Why: "y"},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.refused(ref, e, querschott.CodeInvalid)
		})
	}
}

func TestTwoWhoWriteAtOnce(t *testing.T) {
	d := newDesk(t)
	ref := d.begin().Ref
	var wg sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for i := range 20 {
		wg.Go(func() {
			_, err := d.book.Append(context.Background(), ref, 1, Entry{Kind: Decision, By: querschott.Actor(fmt.Sprint("operator", i)), Text: "x", Why: "y"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if querschott.CodeOf(err) == querschott.CodeConflict {
				lost++
			}
		})
		wg.Go(func() {
			_, _ = d.book.Append(context.Background(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "unabhängig"})
		})
	}
	wg.Wait()
	if won > 1 || won+lost != 20 {
		t.Errorf("%d decisions on the same version, %d refused", won, lost)
	}
	if _, err := d.book.Append(t.Context(), ref, Any, Entry{Kind: Decision, By: "anna", Text: "x", Why: "y"}); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a decision without a version: %v", err)
	}
	if d.book.Damaged()[ref] != nil || len(d.book.Compare(d.recorded)) != 0 {
		t.Error("the case is damaged")
	}
}

// TestCrash loses power at random moments: what was acknowledged is there, and what was not is there whole or not at all.
func TestCrash(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := newDesk(t)
		acknowledged := map[string]int{}
		step, stop := 0, 3+rng.IntN(60)
		var after *crashdisk.Disk
		d.disk.Fail(func(string, string) error {
			if step++; step == stop {
				return errors.New("power is lost")
			}
			if step > stop {
				return errors.New("there is no power")
			}
			return nil
		})
		for after == nil {
			if c, err := d.book.Begin(t.Context(), Entry{Kind: Fact, By: "anna", Text: strings.Repeat("x", rng.IntN(MaxText)) + "x"}); err == nil {
				acknowledged[c.Ref] = c.Version
			}
			for ref := range acknowledged {
				if c, err := d.book.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: strings.Repeat("y", rng.IntN(MaxText)) + "y"}); err == nil {
					acknowledged[ref] = c.Version
				}
			}
			if step >= stop {
				after = d.disk.Crash(rng)
			}
		}
		b := d.open(after)
		for ref, n := range acknowledged {
			c, err := b.Case(ref)
			if err != nil || c.Version < n {
				t.Fatalf("seed %d: %d entries of %s were acknowledged, found %v, %v", seed, n, ref, c, err)
			}
			if _, err := b.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "weiter"}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if faults := b.Compare(d.recorded); len(faults) != 0 {
			t.Fatalf("seed %d: %v", seed, faults)
		}
		c, err := b.Begin(t.Context(), Entry{Kind: Fact, By: "anna", Text: "neu"})
		if err != nil || acknowledged[c.Ref] != 0 {
			t.Fatalf("seed %d: the reference %s was given twice, %v", seed, c.Ref, err)
		}
	}
}

func TestWriteThatFailsIsTakenBack(t *testing.T) {
	d := newDesk(t)
	ref := d.begin().Ref
	full := true
	d.disk.Fail(func(op, _ string) error {
		if op == "sync" && full {
			full = false
			return errors.New("no space left")
		}
		return nil
	})
	if _, err := d.book.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "verloren"}); err == nil {
		t.Fatal("an entry that is not durable was acknowledged")
	}
	if c := d.add(ref, Entry{Kind: Fact, By: "anna", Text: "danach"}); c.Version != 2 || c.Entries[1].Text != "danach" {
		t.Errorf("the case holds %+v", c.Entries)
	}
	if c, err := d.open(d.disk).Case(ref); err != nil || c.Version != 2 {
		t.Errorf("read again: %v, %v", c, err)
	}
}

func TestLedgerThatFailsIsSaid(t *testing.T) {
	d := newDesk(t)
	ref := d.begin().Ref
	d.broken = errors.New("no ledger")
	c, err := d.book.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "x"})
	if err == nil || c == nil || c.Version != 2 {
		t.Fatalf("got %v, %v", c, err)
	}
	d.broken = nil
	d.add(ref, Entry{Kind: Fact, By: "anna", Text: "y"}) // the next digest covers the one that is missing
	if faults := d.book.Compare(d.recorded); len(faults) != 0 {
		t.Error(faults)
	}
}

// TestRewrittenFiles changes files as somebody would who can write to the disk, knows the format and makes the chain anew.
func TestRewrittenFiles(t *testing.T) {
	forge := func(c *Case, change func([]Entry) []Entry) []byte {
		var out []byte
		before := genesis(c.Ref)
		for _, e := range change(append([]Entry(nil), c.Entries...)) {
			line, next, err := appendLine(before, &e)
			if err != nil {
				t.Fatal(err)
			}
			out, before = append(out, line...), next
		}
		return out
	}
	for name, change := range map[string]func([]Entry) []Entry{
		"a text":       func(l []Entry) []Entry { l[1].Text = "harmlos"; return l },
		"who decided":  func(l []Entry) []Entry { l[2].By = "ben"; return l },
		"when learned": func(l []Entry) []Entry { l[1].Learned = l[1].Learned.Add(-24 * time.Hour); return l },
		"tail cut":     func(l []Entry) []Entry { return l[:2] },
		"all gone":     func([]Entry) []Entry { return nil },
	} {
		d := newDesk(t)
		ref := d.begin().Ref
		d.add(ref, Entry{Kind: Fact, By: "anna", Text: "300.000 Datensätze"})
		c := d.add(ref, Entry{Kind: Decision, By: "anna", Text: "Tür offen lassen", Why: "Quartalsende"})
		if err := disk.WriteFile(d.disk, "incidents/"+ref+suffix, forge(c, change)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.book.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "x"}); err == nil && name != "a text" && name != "who decided" && name != "when learned" {
			t.Errorf("%s: the running book went on writing", name)
		}
		if faults := d.open(d.disk).Compare(d.recorded); len(faults) != 1 || faults[0].Ref != ref {
			t.Errorf("%s: compared with the ledger: %v", name, faults)
		}
	}
}

func TestDamageInTheMiddle(t *testing.T) {
	d := newDesk(t)
	ref, other := d.begin().Ref, d.begin().Ref
	d.add(ref, Entry{Kind: Fact, By: "anna", Text: "zweiter"})
	d.add(ref, Entry{Kind: Fact, By: "anna", Text: "dritter"})
	if err := d.disk.Corrupt("incidents/"+ref+suffix, 90, 3); err != nil {
		t.Fatal(err)
	}
	b := d.open(d.disk)
	if !errors.Is(b.Damaged()[ref], ErrDamaged) {
		t.Errorf("damaged: %v", b.Damaged())
	}
	if _, err := b.Append(t.Context(), ref, Any, Entry{Kind: Fact, By: "anna", Text: "x"}); err == nil {
		t.Error("a damaged case takes entries")
	}
	if _, err := b.Append(t.Context(), other, Any, Entry{Kind: Fact, By: "anna", Text: "x"}); err != nil {
		t.Errorf("the other case: %v", err)
	}
}

// What happens while it is written down is written down: times are kept in milliseconds, and clocks are finer.
func TestHappensWhileItIsWritten(t *testing.T) {
	d := newDesk(t)
	d.now = d.now.Add(500 * time.Microsecond)
	c, err := d.book.Begin(t.Context(), Entry{Kind: Fact, By: "anna", Text: "x", Happened: d.now.Add(2 * time.Second)}) // the second look at the clock
	if err != nil {
		t.Fatal(err)
	}
	if e := c.Entries[0]; !e.Happened.Equal(e.Learned) {
		t.Errorf("it happened at %s and was learned at %s", e.Happened, e.Learned)
	}
}
