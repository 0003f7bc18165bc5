package node

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

const (
	sharpTimes      = 2 // how many times as sensitive detectors are while a door opens in stages
	sharpSubscriber = "early warning at double sensitivity"
	sharpLook       = time.Second
)

// sharpen keeps a second set of detectors at work while doors open in stages, for which half as much is enough. It is a set of
// its own, so that what it makes of an actor changes nothing for the first one, and so that a wrong suspicion costs a
// stage and holds nobody's credential. It has learned from the same recordings.
func (n *Node) sharpen(ctx context.Context) error {
	look := time.NewTicker(sharpLook)
	defer look.Stop()
	for {
		if n.opensInStages() {
			if err := n.sharpWatch(ctx, look.C); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// opensInStages reports whether a door has not reached its last stage yet.
func (n *Node) opensInStages() bool {
	return slices.ContainsFunc(n.stages.doors(), func(c querschott.Compartment) bool { return n.doors.Share(c) < 100 })
}

// sharpWatch runs the second set until no door opens in stages any more.
func (n *Node) sharpWatch(ctx context.Context, look <-chan time.Time) error {
	w, err := n.newSharp()
	if err != nil {
		return err
	}
	events := n.stream.Subscribe(sharpSubscriber, watchEvents)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work errgroup.Group
	work.Go(func() error {
		n.learnInto(ctx, w, nil) // foreign sources tell this set nothing
		n.log.Info("detectors are at double sensitivity: doors open in stages")
		return w.Run(ctx, events)
	})
	for n.opensInStages() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-look:
		}
	}
	stop()
	return work.Wait()
}

// newSharp makes the second set. The first touch of a canary counts.
func (n *Node) newSharp() (*watch.Watch, error) {
	cfg, err := n.cfg.Watch.settings()
	if err != nil {
		return nil, err
	}
	policy := *cfg.Policy
	policy.Live = append(slices.Clone(policy.Live), "D3/canary")
	cfg.Policy, cfg.Sharp, cfg.Emit, cfg.Canaries, cfg.Now = &policy, sharpTimes, n.stages.hearSharp, n.canaryPseudonyms(), n.opt.Now
	return watch.New(cfg)
}
