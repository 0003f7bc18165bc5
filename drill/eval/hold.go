package eval

import (
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/drill/crowd"
	"github.com/querschott/querschott/watch"
)

// containment is what is held and shut. The judge is the one of a running node; what it decides is in force at once.
type containment struct {
	judge       *contain.Judge
	credentials map[querschott.CredentialID]time.Time // until when
	actors      map[querschott.Actor]time.Time
	doors       map[querschott.Compartment]doorUntil
}

type doorUntil struct {
	until time.Time
	to    querschott.DoorState
}

func newContainment() *containment {
	return &containment{
		judge: contain.NewJudge(contain.JudgeConfig{}), credentials: map[querschott.CredentialID]time.Time{},
		actors: map[querschott.Actor]time.Time{}, doors: map[querschott.Compartment]doorUntil{},
	}
}

// holds reports whether a request's credential is refused: it or whoever stands behind it is held.
func (c *containment) holds(q *crowd.Request) bool {
	return q.Time.Before(c.actors[q.Actor]) || q.Time.Before(c.credentials[q.Credential])
}

// shut reports whether a door refuses a request.
func (c *containment) shut(q *crowd.Request) bool {
	if len(c.doors) == 0 {
		return false
	}
	d := c.doors[querschott.Compartment{Insurer: q.Insurer, Service: q.Service}]
	return q.Time.Before(d.until) && (d.to != querschott.ReadOnly || q.Action == "write" || q.Action == "delete")
}

// act does what follows from an alarm and returns it.
func (c *containment) act(a *watch.Alarm, now time.Time) contain.Decision {
	d := c.judge.Judge(a, now)
	for i := range d.Actions {
		switch x := &d.Actions[i]; x.Kind {
		case contain.HoldCredential, contain.HoldSession:
			c.credentials[x.Credential], c.actors[x.Actor] = now.Add(x.TTL), now.Add(x.TTL)
		case contain.MoveDoor:
			c.doors[x.Compartment] = doorUntil{now.Add(x.TTL), x.To}
		default: // groups and insurers are never touched by themselves
		}
	}
	return d
}
