package drill

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
)

// platform is a journal and its cells as an audit sees them. The hooks run where a real one may change: while the journal
// is listed, after that, and before a look into a cell.
type platform struct {
	books Books

	mu        sync.Mutex
	journal   map[letterbox]bool
	cells     map[letterbox]bool
	broken    error
	listed    func()
	beforeGet func()
}

func newPlatform() *platform {
	return &platform{journal: map[letterbox]bool{}, cells: map[letterbox]bool{}, listed: func() {}, beforeGet: func() {}}
}

func (p *platform) accept(pr Promise) letterbox {
	key := letterbox{pr.Compartment, pr.Binding}
	p.mu.Lock()
	if !p.cells[key] {
		p.journal[key] = true
	}
	p.mu.Unlock()
	p.books.Add(pr)
	return key
}

// deliver moves a message as the pump does: it leaves the journal when the cell has it.
func (p *platform) deliver(key letterbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.journal[key] {
		p.cells[key] = true
		delete(p.journal, key)
	}
}

func (p *platform) waiting(fn func(querschott.Compartment, intake.Binding)) error {
	p.mu.Lock()
	for key := range p.journal {
		fn(key.c, key.b)
	}
	err := p.broken
	p.mu.Unlock()
	p.listed()
	return err
}

func (p *platform) inCell(c querschott.Compartment, b intake.Binding) (bool, error) {
	p.beforeGet()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cells[letterbox{c, b}], p.broken
}

func (p *platform) auditor() *Auditor { return NewAuditor(&p.books, p.waiting, p.inCell) }

// The journal itself is what an audit asks.
var _ Waiting = (*intake.Journal)(nil).Bindings

func check(t *testing.T, a interface{ Look() (Verdict, error) }, want Verdict) {
	t.Helper()
	got, err := a.Look()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestAuditFindsWhatIsLost(t *testing.T) {
	p := newPlatform()
	var keys []letterbox
	for i := range 50 {
		keys = append(keys, p.accept(promise(i)))
	}
	for _, k := range keys[:30] {
		p.deliver(k)
	}
	check(t, p.auditor(), Verdict{Promised: 50, Delivered: 30, Waiting: 20})

	delete(p.cells, keys[3])
	delete(p.journal, keys[40])
	p.cells[letterbox{promise(4).Compartment, keys[41].b}] = true // a message of another compartment's is none of this one's
	delete(p.journal, keys[41])
	want := Verdict{Promised: 50, Delivered: 29, Waiting: 18, Lost: 3, Examples: []Promise{promise(3), promise(40), promise(41)}}
	got, err := Audit(&p.books, p.waiting, p.inCell)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestAuditShowsSomeExamplesOnly(t *testing.T) {
	p := newPlatform()
	for i := range 100 {
		delete(p.journal, p.accept(promise(i)))
	}
	v, err := p.auditor().Look()
	if err != nil || v.Lost != 100 || len(v.Examples) != 20 || v.Examples[0] != promise(0) {
		t.Errorf("%d lost, %d examples, %v", v.Lost, len(v.Examples), err)
	}
}

// Everything that can move moves at the worst moment: promises come while the journal is listed, messages leave it then and
// before every look into a cell.
func TestMovingMessagesAreNotLost(t *testing.T) {
	p := newPlatform()
	var keys []letterbox
	next := 0
	add := func() { keys = append(keys, p.accept(promise(next))); next++ }
	for range 200 {
		add()
	}
	p.listed = func() {
		for _, k := range keys[:len(keys)/2] {
			p.deliver(k)
		}
		for range 10 {
			add()
		}
	}
	looks := 0
	p.beforeGet = func() {
		looks++
		p.deliver(keys[(looks*7)%len(keys)])
		add()
	}
	a := p.auditor()
	for range 20 {
		v, err := a.Look()
		if err != nil {
			t.Fatal(err)
		}
		if v.Lost != 0 || v.Delivered+v.Waiting != v.Promised {
			t.Fatalf("verdict %+v, and nothing was lost", v)
		}
	}
	if looks == 0 {
		t.Error("no message moved; the test shows nothing")
	}
}

// A journal on two nodes may hand a message over between the listings of the two; it is looked for a second time.
func TestMissingMessagesAreLookedForTwice(t *testing.T) {
	p := newPlatform()
	key := p.accept(promise(0))
	delete(p.journal, key)
	p.listed = func() { p.journal[key] = true }
	check(t, p.auditor(), Verdict{Promised: 1, Waiting: 1})
}

func TestAuditorRemembersAndForgives(t *testing.T) {
	p := newPlatform()
	a, looks := p.auditor(), 0
	p.beforeGet = func() { looks++ }
	var keys []letterbox
	for i := range 10 {
		keys = append(keys, p.accept(promise(i)))
		p.deliver(keys[i])
	}
	check(t, a, Verdict{Promised: 10, Delivered: 10})
	check(t, a, Verdict{Promised: 10, Delivered: 10})
	if looks != 10 {
		t.Errorf("%d looks into cells for 10 messages", looks)
	}
	late := p.accept(promise(10))
	delete(p.journal, late)
	check(t, a, Verdict{Promised: 11, Delivered: 10, Lost: 1, Examples: []Promise{promise(10)}})
	p.journal[late] = true // somebody found it in the quarantine
	check(t, a, Verdict{Promised: 11, Delivered: 10, Waiting: 1})
	p.deliver(late)
	check(t, a, Verdict{Promised: 11, Delivered: 11})
	delete(p.cells, keys[0])
	check(t, a, Verdict{Promised: 11, Delivered: 11}) // only a fresh audit doubts what was found
	check(t, p.auditor(), Verdict{Promised: 11, Delivered: 10, Lost: 1, Examples: []Promise{promise(0)}})
}

func TestTheSamePromiseTwice(t *testing.T) {
	p := newPlatform()
	key := p.accept(promise(0))
	p.accept(promise(0))
	check(t, p.auditor(), Verdict{Promised: 2, Waiting: 2})
	p.deliver(key)
	p.accept(promise(0))
	check(t, p.auditor(), Verdict{Promised: 3, Delivered: 3})
}

func TestAuditThatCannotLookSaysSo(t *testing.T) {
	p := newPlatform()
	p.deliver(p.accept(promise(0)))
	p.accept(promise(1))
	a := p.auditor()
	p.broken = errors.New("the disk is gone")
	if v, err := a.Look(); !errors.Is(err, p.broken) || v.Promised != 0 {
		t.Errorf("verdict %+v, error %v", v, err)
	}
	if v, err := a.Glance(); !errors.Is(err, p.broken) || v.Promised != 0 {
		t.Errorf("verdict %+v, error %v", v, err)
	}
	p.broken = nil
	p.listed = func() { p.broken = errors.New("the cell is gone") }
	if _, err := a.Look(); !errors.Is(err, p.broken) {
		t.Errorf("error %v", err)
	}
	p.broken, p.listed = nil, func() {}
	check(t, a, Verdict{Promised: 2, Delivered: 1, Waiting: 1})
}

func TestGlanceIsCheapAndNeverAhead(t *testing.T) {
	p := newPlatform()
	looks := 0
	p.beforeGet = func() { looks++ }
	c := promise(0).Compartment
	var keys []letterbox
	for i := range 5000 {
		pr := promise(i)
		pr.Compartment = c
		keys = append(keys, p.accept(pr))
	}
	for _, k := range keys[:100] {
		p.deliver(k)
	}
	a := p.auditor()
	v, err := a.Glance()
	if err != nil || v.Delivered != 100 || v.Waiting != 4900 || v.Promised != 5000 {
		t.Errorf("verdict %+v, %v", v, err)
	}
	if looks > 100+glanceMisses {
		t.Errorf("%d looks into the cell", looks)
	}
	delete(p.journal, keys[4000])
	if v, err = a.Glance(); err != nil || v.Lost != 0 {
		t.Errorf("a glance says that %d are lost, which it cannot know: %v", v.Lost, err)
	}
	pr := promise(4000)
	pr.Compartment = c
	check(t, a, Verdict{Promised: 5000, Delivered: 100, Waiting: 4899, Lost: 1, Examples: []Promise{pr}})
}

// bruteForce judges without remembering anything.
func (p *platform) bruteForce() (v Verdict) {
	for pr := range p.books.All() {
		key := letterbox{pr.Compartment, pr.Binding}
		v.Promised++
		switch {
		case p.cells[key]:
			v.Delivered++
		case p.journal[key]:
			v.Waiting++
		default:
			if v.Lost++; v.Lost <= maxExamples {
				v.Examples = append(v.Examples, pr)
			}
		}
	}
	return v
}

// same is a quick cmp.Equal.
func same(a, b Verdict) bool {
	return a.Promised == b.Promised && a.Delivered == b.Delivered && a.Waiting == b.Waiting && a.Lost == b.Lost && slices.Equal(a.Examples, b.Examples)
}

func TestAuditAgreesWithBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlatform()
		a := p.auditor()
		var keys []letterbox
		pickKey := func(t *rapid.T) letterbox {
			if len(keys) == 0 {
				t.Skip()
			}
			return rapid.SampledFrom(keys).Draw(t, "message")
		}
		t.Repeat(map[string]func(*rapid.T){
			"accept":  func(t *rapid.T) { keys = append(keys, p.accept(promise(rapid.IntRange(0, 200).Draw(t, "number")))) },
			"deliver": func(t *rapid.T) { p.deliver(pickKey(t)) },
			"lose": func(t *rapid.T) {
				k := pickKey(t)
				if !p.cells[k] { // what an auditor has found it does not look for again
					delete(p.journal, k)
				}
			},
			"glance": func(t *rapid.T) {
				got, err := a.Glance()
				if err != nil {
					t.Fatal(err)
				}
				if want := p.bruteForce(); got.Delivered > want.Delivered || got.Promised != want.Promised || got.Lost != 0 {
					t.Fatalf("a glance says %+v, brute force %+v", got, want)
				}
			},
			"": func(t *rapid.T) {
				for _, look := range []func() (Verdict, error){a.Look, p.auditor().Look} {
					got, err := look()
					if err != nil {
						t.Fatal(err)
					}
					if want := p.bruteForce(); !same(want, got) {
						t.Fatalf("verdict (-brute force +got):\n%s", cmp.Diff(want, got))
					}
				}
			},
		})
	})
}

func TestAuditBesideALivingPlatform(t *testing.T) {
	p := newPlatform()
	moves := make(chan letterbox, 64)
	var g sync.WaitGroup
	g.Go(func() {
		defer close(moves)
		for i := range 4000 {
			moves <- p.accept(promise(i))
		}
	})
	done := make(chan struct{})
	g.Go(func() {
		defer close(done)
		for key := range moves {
			p.deliver(key)
		}
	})
	a := p.auditor()
	for alive := true; alive; {
		select {
		case <-done:
			alive = false
		default:
		}
		v, err := a.Look()
		if err != nil || v.Lost != 0 {
			t.Fatalf("verdict %+v, %v", v, err)
		}
		if _, err := a.Glance(); err != nil {
			t.Fatal(err)
		}
	}
	g.Wait()
	check(t, a, Verdict{Promised: 4000, Delivered: 4000})
}

func BenchmarkGlance(b *testing.B) {
	p := newPlatform()
	for i := range 100_000 {
		p.accept(promise(i))
	}
	a := p.auditor()
	for b.Loop() {
		if _, err := a.Glance(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), fmt.Sprintf("ms/%d_waiting", p.books.Len()))
}
