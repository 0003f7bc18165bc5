package scope

import "context"

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
