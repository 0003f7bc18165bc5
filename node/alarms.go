package node

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
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
	watch *watch.Watch
	live  []string // detectors and causes that may lead to something
	book  *alarmBook
	feeds map[string]*feed // by machine
	blind blinder          // of their persons

	canaries   *canaries
	pseudonyms []string                 // of canaries that the configuration names
	stored     map[querschott.KVNR]bool // canaries whose master data are in their cells
	storing    sync.Mutex               // guards stored
	events     *access.Subscription
	raised     chan *watch.Alarm
	dropped    atomic.Uint64 // alarms that found no room
	hear       []func(context.Context, *watch.Alarm)
	ready      atomic.Bool           // recorded events are read
	before     func(context.Context) // what is done before events are looked at
	house      func(context.Context) // and beside it
}

// alarmsSubscriber is the early warning's name among the subscribers of the gate's events.
const alarmsSubscriber = "early warning"

// openAlarms makes the detectors and subscribes them to the gate's events.
func (n *Node) openAlarms(context.Context) (err error) {
	a := &alarms{raised: make(chan *watch.Alarm, watchAlarms), stored: map[querschott.KVNR]bool{}}
	cfg, err := n.cfg.Watch.settings()
	if err != nil {
		return err
	}
	cfg.Emit = func(al *watch.Alarm) {
		if n.export != nil {
			n.export.Detected(al.CAPEC)
		}
		a.emit(al)
	}
	cfg.Now = n.opt.Now
	a.live, a.pseudonyms = cfg.Policy.Live, cfg.Canaries
	if a.watch, err = watch.New(cfg); err != nil {
		return err
	}
	secret, err := n.keyring.Secret(canarySecret, 32)
	if err != nil {
		return err
	}
	if a.canaries, err = openCanaries(n.path(canaryFile), n.cfg.Watch.Prefix, secret); err != nil {
		return err
	}
	if a.book, err = openAlarmBook(n.path(alarmFile), int64(n.cfg.Watch.Alarms)); err != nil {
		return err
	}
	if err := n.openFeeds(a); err != nil {
		return err
	}
	a.events = n.stream.Subscribe(alarmsSubscriber, watchEvents)
	a.before, a.house = n.learn, n.keepWatch
	n.alarms = a
	n.onAlarm(n.recent.hear)
	n.onAlarm(n.keepAlarm)
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
	hearing := context.WithoutCancel(ctx)
	looked := make(chan struct{}) // closed when all events are looked at
	g.Go(func() error {
		defer close(looked)
		a.before(ctx)
		a.ready.Store(true) // from here on event time is ours
		g.Go(func() error { a.house(ctx); return nil })
		return a.watch.Run(ctx, a.events)
	})
	g.Go(func() error {
		for {
			select {
			case <-looked:
				a.hearRest(hearing)
				return nil
			case al := <-a.raised:
				a.tell(hearing, al)
			}
		}
	})
	return g.Wait()
}

func (a *alarms) tell(ctx context.Context, al *watch.Alarm) {
	for _, hear := range a.hear {
		hear(ctx, al)
	}
}

// hearRest tells what was raised when the node had to stop: after the next start it counts as told.
func (a *alarms) hearRest(ctx context.Context) {
	for {
		select {
		case al := <-a.raised:
			a.tell(ctx, al)
		default:
			return
		}
	}
}
