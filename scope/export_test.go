package scope

import (
	"context"
	"slices"
)

// Cut follows, ends the round at hand and merges, as a turn of Run does in time.
func Cut(ctx context.Context, s *Scope) error {
	s.work.Lock()
	err := s.follow(ctx)
	if err == nil {
		err = s.cut(ctx)
	}
	s.work.Unlock()
	if err != nil {
		return err
	}
	return s.mend(ctx, s.merge())
}

// Skip leaves the first entries of a log that no round holds out of the next round, as no honest scope does.
func Skip(ctx context.Context, s *Scope, origin string, entries uint64) error {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.follow(ctx); err != nil {
		return err
	}
	b := s.book(origin)
	b.to += entries
	b.open = slices.DeleteFunc(b.open, func(e event) bool { return e.index < b.to })
	return nil
}
