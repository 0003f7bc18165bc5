package drill

import (
	"fmt"
	"slices"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
)

// Waiting lists what waits in the journal at one moment. [intake.Journal.Bindings] is one.
type Waiting func(fn func(querschott.Compartment, intake.Binding)) error

// InCell reports whether a compartment's part of a cell has a message. [intake.Delivered] answers it for a store.
type InCell func(querschott.Compartment, intake.Binding) (bool, error)

// Verdict is the result of an audit: every promise is delivered, waiting or lost.
type Verdict struct {
	Promised  int
	Delivered int // in the cell of the compartment that it was promised for
	Waiting   int // in the journal
	Lost      int // in neither
	Examples  []Promise
}

// maxExamples bounds Verdict.Examples.
const maxExamples = 20

// glanceMisses is how many messages in a row [Auditor.Glance] looks up in vain. Delivery follows the order of the promises
// but for the few that were on their way at the same time.
const glanceMisses = 32

// Auditor compares the books with the journal and the cells, time and again. It remembers what it has found in a cell and
// does not look there again; whoever doubts the cells asks a fresh one ([Audit]).
//
// A message moves from the journal to its cell, and leaves the journal only when the cell has it. So an auditor looks into
// the books first, then into the journal, then into the cells: what is in the books was promised before; what is then not
// in the journal has left it already and must be in its cell. In the opposite order a message that moves in between would be
// in neither. What it misses it looks for once more in the same order, for the sake of journals that cannot be listed at
// one moment.
//
// All methods may be called at the same time.
type Auditor struct {
	books   *Books
	waiting Waiting
	inCell  InCell

	mu        sync.Mutex // guards everything below
	seen      int        // promises taken from the books
	delivered int
	open      []uint32 // places in the books of promises not yet found in a cell, in order
}

// NewAuditor makes an auditor.
func NewAuditor(books *Books, waiting Waiting, inCell InCell) *Auditor {
	return &Auditor{books: books, waiting: waiting, inCell: inCell}
}

// Audit looks for every promise of the books. It trusts nothing that was found before.
func Audit(books *Books, waiting Waiting, inCell InCell) (Verdict, error) {
	return NewAuditor(books, waiting, inCell).Look()
}

// place is where an open promise was found.
type place uint8

const (
	nowhere place = iota
	journal
	cell
)

// Look judges every promise. It costs one listing of the journal if anything is open, and one look into a cell for each
// promise that is neither waiting nor found before. An error means that nothing can be said.
func (a *Auditor) Look() (Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.take()
	places := make([]place, len(a.open))
	for range 2 {
		if err := a.search(places); err != nil {
			return Verdict{}, err
		}
	}
	var v Verdict
	for i, p := range places {
		if p == nowhere {
			if v.Lost++; v.Lost <= maxExamples {
				v.Examples = append(v.Examples, a.books.At(int(a.open[i])))
			}
		}
	}
	return a.settle(places, v), nil
}

// Glance is cheap whatever waits: it looks into the cells only, and stops in a compartment after some messages that are
// not there yet. Delivered is what has been found until now and may be behind; all others are reported as Waiting, and
// Lost is always 0. It tells how far delivery has come, [Auditor.Look] whether all is well.
func (a *Auditor) Glance() (Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.take()
	places := make([]place, len(a.open))
	misses := map[uint64]int{} // by slot
	for i, at := range a.open {
		slot := a.books.slot(at)
		if misses[slot] == glanceMisses {
			continue
		}
		found, err := a.delivers(a.books.At(int(at)))
		if err != nil {
			return Verdict{}, err
		}
		if found {
			places[i], misses[slot] = cell, 0
		} else {
			misses[slot]++
		}
	}
	return a.settle(places, Verdict{}), nil
}

// take opens the promises that have been made since the last look. It comes before everything else of a look.
func (a *Auditor) take() {
	for n := a.books.Len(); a.seen < n; a.seen++ {
		a.open = append(a.open, uint32(a.seen))
	}
}

type letterbox struct {
	c querschott.Compartment
	b intake.Binding
}

// search looks for what is nowhere: in the journal, and then in the cells.
func (a *Auditor) search(places []place) error {
	if !slices.Contains(places, nowhere) {
		return nil
	}
	listed := map[letterbox]struct{}{}
	err := a.waiting(func(c querschott.Compartment, b intake.Binding) { listed[letterbox{c, b}] = struct{}{} })
	if err != nil {
		return fmt.Errorf("couldn't list what waits: %w", err)
	}
	for i := range places {
		if places[i] != nowhere {
			continue
		}
		p := a.books.At(int(a.open[i]))
		if _, ok := listed[letterbox{p.Compartment, p.Binding}]; ok {
			places[i] = journal
			continue
		}
		found, err := a.delivers(p)
		if err != nil {
			return err
		}
		if found {
			places[i] = cell
		}
	}
	return nil
}

func (a *Auditor) delivers(p Promise) (bool, error) {
	found, err := a.inCell(p.Compartment, p.Binding)
	if err != nil {
		return false, fmt.Errorf("couldn't look into the cell of %s: %w", p.Compartment, err)
	}
	return found, nil
}

// settle closes what was found in a cell and counts.
func (a *Auditor) settle(places []place, v Verdict) Verdict {
	open := a.open[:0]
	for i, p := range places {
		if p == cell {
			a.delivered++
		} else {
			open = append(open, a.open[i])
		}
	}
	a.open = open
	v.Promised, v.Delivered, v.Waiting = a.seen, a.delivered, len(open)-v.Lost
	return v
}
