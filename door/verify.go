package door

import (
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Keys verifies orders where there is no book: at gates that follow one.
type Keys struct{ roster *roster }

// NewKeys takes the keys that the book itself has, see [Config].
func NewKeys(operators []Operator, machine note.Verifier, breakGlass string) (*Keys, error) {
	r, err := newRoster(operators, machine, breakGlass)
	if err != nil {
		return nil, err
	}
	return &Keys{r}, nil
}

// Verify reads a signed order whose signatures suffice for its move. Whether the door was in the state that the order names
// as the one before is not in it.
func (k *Keys) Verify(raw []byte) (Order, error) {
	s, err := k.roster.open(raw)
	if err != nil {
		return Order{}, err
	}
	if err := Legal(s.order.From, s.order.To); err != nil {
		return Order{}, err
	}
	if !s.enough() {
		return Order{}, querschott.RefuseAs(querschott.CodeForbidden, "order.second", "the order lets something out and lacks a second signature")
	}
	return s.order, nil
}

// VerifyStep reads a step that the platform has signed and that belongs to the plan of an order.
func (k *Keys) VerifyStep(raw []byte, o Order) (Step, error) {
	s, err := k.roster.openStep(raw)
	if err != nil {
		return Step{}, err
	}
	if !(&signed{order: o, shares: o.Stages.Shares()}).fits(s.step) {
		return Step{}, errors.New("the step belongs to another order")
	}
	return s.step, nil
}

// Notes returns the signed order in force and the signed step that it has come to, nil where there is none.
func (b *Book) Notes(c querschott.Compartment) (order, step []byte) {
	d, ok := b.doors[c]
	if !ok {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if st := d.step.Load(); st != nil {
		step = st.raw
	}
	return d.current.Load().raw, step
}
