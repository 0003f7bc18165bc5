package door

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Plan says in which stages a door opens: shares in percent, the last of them 100, and how long an interval is, such as
// "10,50,100 every 5m0s". Two operators sign it as a part of the opening order. The empty plan opens at once.
type Plan string

// DefaultPlan is what is proposed when a door that the platform or an incident has shut is opened again.
const DefaultPlan Plan = "10,50,100 every 5m0s"

// Limits of a plan.
const (
	maxStages = 8
	minEvery  = time.Second
	maxEvery  = 24 * time.Hour
	whole     = 100
)

// goodIntervals is how many intervals in a row must have been good before the next stage.
const goodIntervals = 2

// MakePlan makes a plan of shares and an interval.
func MakePlan(shares []int, every time.Duration) (Plan, error) {
	words := make([]string, len(shares))
	for i, s := range shares {
		words[i] = strconv.Itoa(s)
	}
	p := Plan(strings.Join(words, ",") + " every " + every.String())
	_, _, err := p.parse()
	return p, err
}

// Shares returns the stages in percent, nil if there are none.
func (p Plan) Shares() []int {
	shares, _, _ := p.parse() // what is in an order has been checked
	return shares
}

// Every returns how long an interval is, 0 if there are no stages.
func (p Plan) Every() time.Duration {
	_, every, _ := p.parse() // what is in an order has been checked
	return every
}

// parse refuses everything that MakePlan would write differently.
func (p Plan) parse() (shares []int, every time.Duration, err error) {
	if p == "" {
		return nil, 0, nil
	}
	list, interval, _ := strings.Cut(string(p), " every ")
	words := strings.Split(list, ",")
	if every, err = time.ParseDuration(interval); err != nil || every.String() != interval || every < minEvery || every > maxEvery {
		return nil, 0, querschott.RefuseAs(querschott.CodeInvalid, "stages.every", "the interval of the stages must be from %s to %s, such as 5m0s", minEvery, maxEvery)
	}
	before := 0
	for _, w := range words {
		s, err := strconv.Atoi(w)
		if err != nil || strconv.Itoa(s) != w || s <= before || s > whole {
			return nil, 0, querschott.RefuseAs(querschott.CodeInvalid, "stages.rise", "the stages must rise from 1 to 100 per cent, such as 10,50,100")
		}
		shares, before = append(shares, s), s
	}
	if len(shares) > maxStages || before != whole {
		return nil, 0, querschott.RefuseAs(querschott.CodeInvalid, "stages.most", "a door opens in at most %d stages, the last of them 100 per cent", maxStages)
	}
	return shares, every, nil
}

// Points is into how many parts callers are divided: whoever draws a point below share*Points/100 is let in.
const Points = 10_000

// Meets returns the state in which a caller with a point in [0, Points) finds the door at a share in per cent. Whoever is
// not among the share meets what the door was before, and never more than two operators had let out.
func (o Order) Meets(share, point int) querschott.DoorState {
	if o.Stages == "" || point*whole < share*Points {
		return o.To
	}
	if o.From == querschott.Closed && Widens(o.Compartment.Service, o.From, o.To) {
		return querschott.Closed
	}
	if o.From == querschott.ReadOnly && Widens(o.Compartment.Service, o.From, o.To) {
		return querschott.ReadOnly
	}
	return querschott.Hold
}

// Step is one move of the platform from stage to stage under a plan that operators have signed.
type Step struct {
	Compartment querschott.Compartment `json:"compartment"`
	Epoch       uint64                 `json:"epoch"`  // of the order with the plan
	Number      uint64                 `json:"number"` // rises by one with each step of the epoch
	Share       int                    `json:"share"`  // per cent
	At          time.Time              `json:"at"`
	Reason      string                 `json:"reason"`
}

const stepHeader = "querschott-door-step/v1"

// Text returns the text that the platform signs.
func (s Step) Text() string {
	return fmt.Sprintf("%s\ncompartment %s\nepoch %d\nnumber %d\nshare %d\nat %s\nreason %s\n",
		stepHeader, s.Compartment, s.Epoch, s.Number, s.Share, formatTime(s.At), s.Reason)
}

// ParseStep reads what Text wrote, and nothing that Text would write differently.
func ParseStep(text string) (s Step, err error) {
	bad := func(what string) (Step, error) {
		return Step{}, querschott.RefuseAs(querschott.CodeInvalid, "stages.step", "couldn't read the step: %s", what)
	}
	if len(text) > maxNote {
		return bad("it is too long")
	}
	f := fieldsOf(strings.Split(text, "\n"))
	if s.Compartment, err = querschott.ParseCompartment(f["compartment"]); err != nil {
		return bad("its compartment")
	}
	if s.Epoch, err = strconv.ParseUint(f["epoch"], 10, 64); err != nil {
		return bad("its epoch")
	}
	if s.Number, err = strconv.ParseUint(f["number"], 10, 64); err != nil {
		return bad("its number")
	}
	if s.Share, err = strconv.Atoi(f["share"]); err != nil || s.Share < 1 || s.Share > whole {
		return bad("its share")
	}
	if s.At, err = parseTime(f["at"]); err != nil || s.At.IsZero() {
		return bad("its time")
	}
	if s.Reason = f["reason"]; s.Reason == "" || len(s.Reason) > MaxReason || !plain(s.Reason) {
		return bad("its reason")
	}
	if s.Text() != text {
		return bad("it is not in canonical form")
	}
	return s, nil
}

// share returns the stage that is in force under an order.
func (d *door) share() int { return d.shareOf(d.current.Load()) }

func (d *door) shareOf(s *signed) int {
	if s.order.Stages == "" || len(s.shares) == 0 {
		return whole
	}
	if st := d.step.Load(); st != nil && st.step.Epoch == s.order.Epoch {
		return st.step.Share
	}
	return s.shares[0]
}

// Share returns to how many per cent a door is open, 100 if it does not open in stages.
func (b *Book) Share(c querschott.Compartment) int {
	if d, ok := b.doors[c]; ok {
		return d.share()
	}
	return whole
}

// bound returns the plan that an order must keep which follows: nobody gets past a stage by narrowing an opening a little.
func (d *door) bound(to querschott.DoorState) Plan {
	cur := d.current.Load()
	service := cur.order.Compartment.Service
	if Widens(service, cur.order.To, to) || !Widens(service, querschott.Closed, to) || d.shareOf(cur) == whole {
		return ""
	}
	return cur.order.Stages
}

// checkPlan refuses a plan where none may be, and an order without the one that binds it. The caller holds d.mu.
func (b *Book) checkPlan(d *door, o Order) error {
	must := d.bound(o.To)
	switch {
	case o.Stages == must:
		return nil
	case must != "":
		return querschott.RefuseAs(querschott.CodeInvalid, "stages.bound", "the door opens in stages, %s, which this order must keep", must)
	case !Widens(o.Compartment.Service, o.From, o.To):
		return querschott.RefuseAs(querschott.CodeInvalid, "stages.none", "only an order that lets something out can have stages")
	case !b.staged():
		return querschott.RefuseAs(querschott.CodeInvalid, "stages.here", "no door can open in stages here: nobody judges whether a stage was good")
	}
	return nil
}

// staged reports whether this book can lead a door through stages.
func (b *Book) staged() bool {
	return b.cfg.Machine != nil && b.cfg.Judge != nil && b.cfg.RecordStep != nil
}

// Suggest returns the stages that an opening should have: a door that the platform or an incident has shut opens in stages.
func (b *Book) Suggest(c querschott.Compartment, to querschott.DoorState) Plan {
	cur, _ := b.Current(c)
	if !b.staged() || !Widens(c.Service, cur.To, to) || cur.Incident == "" && cur.Actor != MachineActor {
		return ""
	}
	return DefaultPlan
}

// fits reports whether a step belongs to an order's plan.
func (s *signed) fits(st Step) bool {
	return st.Compartment == s.order.Compartment && st.Epoch == s.order.Epoch && slices.Contains(s.shares, st.Share)
}
