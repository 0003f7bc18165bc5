package eval

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Run measures. It takes as many goroutines as there are workers, each with a world of its own.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Report{
		Drill: "eval", Seeds: cfg.Seeds, First: cfg.First, Days: cfg.Days, WarmUp: cfg.WarmUp, Unexplained: cfg.Unexplained, Budget: cfg.Budget,
		closed: make([]*seedResult, cfg.Seeds),
	}
	for _, f := range cfg.Families {
		if !f.Benign {
			r.familyNames = append(r.familyNames, f.Name)
		}
	}
	if cfg.Compare {
		r.opened = make([]*seedResult, cfg.Seeds)
	}
	var mu sync.Mutex
	done, of := 0, cfg.Seeds
	if cfg.Compare {
		of *= 2
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cfg.Workers)
	for i := range of {
		g.Go(func() error {
			w, err := newWorld(&cfg, cfg.First+uint64(i%cfg.Seeds), i >= cfg.Seeds)
			if err != nil {
				return err
			}
			if err := w.play(ctx); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if i < cfg.Seeds {
				r.closed[i] = w.result
			} else {
				r.opened[i-cfg.Seeds] = w.result
			}
			if done++; cfg.Progress != nil {
				cfg.Progress(done, of)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r.score()
	return r, nil
}
