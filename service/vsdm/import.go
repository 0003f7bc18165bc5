package vsdm

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/wire/vsd"
)

// Bounds of an import.
const (
	importBatch = 256 // records in one commit
	maxRefusals = 100 // that a Progress names
)

// Bundle is one VSDMBundle to import.
type Bundle struct {
	Name   string // of the file or the line; it stands in refusals and must not contain a KVNR
	Data   []byte
	Format vsd.Format
	Err    error // why it could not be read; Data is nil then
}

// Refusal says why a bundle was not imported.
type Refusal struct {
	Name string
	Err  error // [*vsd.Error], [ErrInsurer], [ErrOlder], [seal.ErrDamaged] for the person's data key, or Bundle.Err; contains no KVNR
}

// Progress says how far an import has come. Everything it counts is durable.
type Progress struct {
	Added, Replaced, Unchanged, Refused int
	Refusals                            []Refusal // the first hundred
}

// Done returns how many bundles that is.
func (p *Progress) Done() int { return p.Added + p.Replaced + p.Unchanged + p.Refused }

// Import puts bundles into an insurer's compartment. Bundles that cannot be taken are refused and hold up no others; the
// error is about this node, a shut door or the context. After each commit progress, if it is not nil, is told how far it
// has come. An import that ended early is repeated as a whole: what is there already changes nothing.
func (s *Service) Import(ctx context.Context, c querschott.Compartment, list iter.Seq[Bundle], progress func(*Progress)) (*Progress, error) {
	p := &Progress{}
	next, stop := iter.Pull(list)
	defer stop()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		step := &Progress{}
		err := s.write(c, func(w *writer) (err error) {
			more, err = w.fill(next, step)
			return err
		})
		if err != nil {
			return p, fmt.Errorf("the import stopped after %d bundles: %w", p.Done(), err)
		}
		p.add(step)
		if progress != nil {
			progress(p)
		}
	}
	return p, nil
}

func (p *Progress) add(q *Progress) {
	p.Added, p.Replaced, p.Unchanged, p.Refused = p.Added+q.Added, p.Replaced+q.Replaced, p.Unchanged+q.Unchanged, p.Refused+q.Refused
	p.Refusals = append(p.Refusals, q.Refusals[:min(len(q.Refusals), maxRefusals-len(p.Refusals))]...)
}

func (p *Progress) refuse(name string, err error) {
	p.Refused++
	if len(p.Refusals) < maxRefusals {
		p.Refusals = append(p.Refusals, Refusal{name, err})
	}
}

// fill takes bundles until the batch is full.
func (w *writer) fill(next func() (Bundle, bool), p *Progress) (more bool, err error) {
	for n := 0; n < importBatch; n++ {
		b, ok := next()
		if !ok {
			return false, nil
		}
		record, problem := b.read()
		if problem != nil {
			p.refuse(b.Name, problem)
			continue
		}
		switch change, err := w.put(record, nil); {
		case errors.Is(err, ErrInsurer), errors.Is(err, ErrOlder), errors.Is(err, seal.ErrDamaged):
			p.refuse(b.Name, err)
		case err != nil:
			return false, err
		case change == Added:
			p.Added++
		case change == Replaced:
			p.Replaced++
		default:
			p.Unchanged++
		}
	}
	return true, nil
}

func (b *Bundle) read() (*vsd.Record, error) {
	if b.Err != nil {
		return nil, b.Err
	}
	r, _, err := vsd.ParseBundle(b.Data, b.Format)
	return r, err
}
