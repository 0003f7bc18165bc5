package node

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/watch"
)

const (
	watchEvents = 65_536 // that wait for the detectors; what does not fit shows as a gap in the gate's numbers
	watchAlarms = 4096   // that wait for those who act on them
)

// alarms is the early warning beside the running node: the gate's events go in, those who registered hear of each alarm.
// The gate waits for neither.
type alarms struct {
	watch   *watch.Watch
	events  *access.Subscription
	raised  chan *watch.Alarm
	dropped atomic.Uint64 // alarms that found no room
	hear    []func(context.Context, *watch.Alarm)
}

// openAlarms makes the detectors and subscribes them to the gate's events.
func (n *Node) openAlarms(context.Context) (err error) {
	a := &alarms{raised: make(chan *watch.Alarm, watchAlarms)}
	a.watch, err = watch.New(watch.Config{Policy: watch.DefaultPolicy(), Emit: a.emit})
	if err != nil {
		return err
	}
	a.events = n.stream.Subscribe("early warning", watchEvents)
	n.alarms = a
	n.onAlarm(n.recent.hear)
	return nil
}

// onAlarm registers who hears of alarms: one after another in the order of registration, while the node runs. It is called
// while the node opens.
func (n *Node) onAlarm(hear func(context.Context, *watch.Alarm)) {
	n.alarms.hear = append(n.alarms.hear, hear)
}

// emit hands an alarm over without waiting.
func (a *alarms) emit(al *watch.Alarm) {
	select {
	case a.raised <- al:
	default:
		a.dropped.Add(1)
	}
}

// run looks at events and tells alarms until the context ends.
func (a *alarms) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return a.watch.Run(ctx, a.events) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case al := <-a.raised:
				for _, hear := range a.hear {
					hear(ctx, al)
				}
			}
		}
	})
	return g.Wait()
}
