package run

import (
	"context"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
)

// lookAgain is how often the platform is asked for alarms.
const lookAgain = 10 * time.Millisecond

// alarms are what the platform has raised while the drill went on.
type alarms struct {
	node *node.Client

	mu   sync.Mutex // guards the fields below
	last int        // number
	list []heard
}

// heard is an alarm and when the drill saw it.
type heard struct {
	at    time.Time
	alarm *watch.Alarm
}

// listen takes note of alarms until the context ends. What was raised before does not count.
func listen(ctx context.Context, c *node.Client) (*alarms, error) {
	a := &alarms{node: c}
	before, err := c.Alarms(ctx, 0)
	if n := len(before); n > 0 {
		a.last = before[n-1].Number
	}
	return a, err
}

func (a *alarms) run(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (a *alarms) look(ctx context.Context) error {
	list, err := a.node.Alarms(ctx, a.last)
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range list {
		a.list, a.last = append(a.list, heard{now, h.Alarm}), h.Number
	}
	return err
}

// about returns when the first alarm about somebody was seen that may lead to something, and what it calls the credential.
func (a *alarms) about(who querschott.Actor) (at time.Time, credential querschott.CredentialID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.list {
		if h.alarm.Actor == who && h.alarm.Mode == watch.Live {
			if credential = h.alarm.Credential; at.IsZero() {
				at = h.at
			}
		}
	}
	return at, credential
}

// others counts the alarms that may lead to something about anybody else.
func (a *alarms) others(attackers map[querschott.Actor]bool) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.list {
		if h.alarm.Mode == watch.Live && !attackers[h.alarm.Actor] {
			n++
		}
	}
	return n
}
