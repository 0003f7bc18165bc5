package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/service/desk"
)

// deskHolders is how many employees of each role an insurer has for attacks.
const deskHolders = 30

// land is the platform as attacks see it: the insurers of its world, whose desks they may use.
type land struct {
	world  *drill.World
	known  int // persons of each insurer whose data are there, at most
	number []attack.Insurer
}

func newLand(w *drill.World, known int) *land {
	l := &land{world: w, known: known}
	for _, in := range w.Insurers() {
		_, persons := in.Persons()
		l.number = append(l.number, attack.Insurer{IK: in.IK, Persons: min(persons, known)})
	}
	return l
}

func (l *land) Insurers() []attack.Insurer { return l.number }

func (l *land) Holders(insurer int, c attack.Channel, role string) int {
	if c != attack.Desk || role == attack.Partner || insurer < 0 {
		return 0
	}
	return deskHolders
}

// Known returns the first persons: the world knows no surnames, VIPs or tasks of employees.
func (l *land) Known(h attack.Holder, _ attack.Choice, most int) []int {
	var list []int
	for i := range min(most, l.number[max(h.Insurer, 0)].Persons) {
		list = append(list, i)
	}
	return list
}

// person is somebody of the landscape; a number that nobody has for -1.
func (l *land) person(insurer, person int) (querschott.IK, querschott.KVNR) {
	in := l.world.Insurers()[insurer]
	if person < 0 {
		digits := fmt.Sprintf("Z%08d", rand.IntN(100_000_000))
		return in.IK, querschott.KVNR(digits + string(querschott.KVNRCheckDigit(digits)))
	}
	first, _ := in.Persons()
	return in.IK, l.world.Person(first + person).Number
}

// whom is a person at an insurer.
type whom struct {
	insurer querschott.IK
	number  querschott.KVNR
}

// thief plays one attack and keeps the truth.
type thief struct {
	p      *Platform
	land   *land
	family *attack.Family
	run    *attack.Run
	hands  map[attack.Holder]*hand
	factor float64 // how much faster than the family says

	mu            sync.Mutex // guards the fields below, and those of the hands
	got           map[whom]bool
	first, latest time.Time // of all requests
	order         []*hand
}

// hand is one credential in use.
type hand struct {
	*employee
	got                            map[whom]bool
	first, last, capped, contained time.Time // first request, last data, first refusal for a cap, first refusal as such
	past, requests                 int
}

// notHere says why the attacks of a channel cannot be played against a running platform.
var notHere = map[attack.Channel]string{
	attack.Feed: "it goes through a service of another maker, which is not part of the platform",
	attack.VSDM: "it needs a stolen practice's key and the patients' proofs of presence, which the drill does not have",
	attack.EPA:  "the platform has no patient record to attack",
	attack.App:  "the platform has no app for insured persons to attack",
}

// Playable says why an attack cannot be played against a running platform, nil if it can.
func Playable(f *attack.Family) error {
	why := notHere[f.Who.Channel]
	if f.Work != nil {
		why = "it changes what all employees or practices do (work:), and a running platform has a few of them only"
	}
	if why == "" {
		return nil
	}
	return querschott.Refuse(querschott.CodeInvalid, "the attack %q cannot be played against a running platform: %s; 'querschott drill eval --families %s' measures it, "+
		"and what goes through the desk (who.channel: desk) can be played", f.Name, why, f.Name)
}

var errNobody = errors.New("the attack has no credential that the platform's insurers could have given")

// newThief begins an attack. With most above 0 it lasts at most so long: a slower one is played faster.
func newThief(p *Platform, l *land, f *attack.Family, seed uint64, most time.Duration) (*thief, error) {
	if err := Playable(f); err != nil {
		return nil, err
	}
	t := &thief{
		p: p, land: l, family: f, run: f.Begin(seed, l, time.Now()), hands: map[attack.Holder]*hand{}, got: map[whom]bool{}, factor: 1,
	}
	if most > 0 && f.Rate.Per != "minute" {
		from, to := t.run.Lasts()
		t.factor = max(1, float64(to.Sub(from))/float64(most))
	}
	for _, h := range t.run.Holders() {
		in := l.world.Insurers()[h.Insurer]
		t.hands[h] = &hand{employee: p.employee(in, fmt.Sprintf("%s.%d", h.Role, h.Number)), got: map[whom]bool{}}
	}
	if len(t.hands) == 0 {
		return nil, errNobody
	}
	return t, nil
}

// prepare gets the tokens: they were stolen beforehand.
func (t *thief) prepare(ctx context.Context) error {
	for _, h := range t.hands {
		if _, _, err := h.login(ctx); err != nil {
			return err
		}
	}
	return nil
}

// play goes on until the attack is over, or the context ends.
func (t *thief) play(ctx context.Context) error {
	begin := time.Now()
	var planned time.Time // of the first request
	var last attack.Outcome
	for ctx.Err() == nil {
		a, more := t.run.Next(last)
		if !more {
			return nil
		}
		if planned.IsZero() {
			planned = a.At
		}
		due := begin.Add(time.Duration(float64(a.At.Sub(planned)) / t.factor))
		if d := time.Until(due); d > 0 {
			if err := wait(ctx, d); err != nil {
				return nil //nolint:nilerr // its time is over
			}
		}
		var err error
		if last, err = t.grab(ctx, a); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// grab makes one request and notes what came of it.
func (t *thief) grab(ctx context.Context, a attack.Access) (attack.Outcome, error) {
	h := t.hands[a.Holder]
	insurer, who := t.land.person(a.Insurer, a.Person)
	begin := time.Now()
	t.mu.Lock()
	if h.first.IsZero() {
		h.first = begin
		t.order = append(t.order, h)
	}
	if t.first.IsZero() {
		t.first = begin
	}
	h.requests++
	t.latest = begin
	t.mu.Unlock()
	came, answer, err := h.read(ctx, insurer, who, reasonOf(a.Reason))
	if err != nil {
		return attack.Outcome{Result: attack.Denied}, err
	}
	o := outcome(answer, insurer == h.insurer.IK)
	t.note(h, whom{insurer, came}, o, time.Now())
	return o, nil
}

func (t *thief) note(h *hand, w whom, o attack.Outcome, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case w.number != "":
		if !h.capped.IsZero() && !h.got[w] {
			h.past++
		}
		t.got[w], h.got[w], h.last = true, true, now
	case o.Result == attack.Capped && h.capped.IsZero():
		h.capped = now
	case o.Result == attack.Held && h.contained.IsZero():
		h.contained = now
	}
}

// last is when the attacker made the last request.
func (t *thief) last() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest
}

// reasonOf writes a reason as the desk wants one: it is mandatory, so whoever has none gives the same for all.
func reasonOf(r attack.Reason) desk.Reason {
	switch r.Kind {
	case "new", "copied":
		return desk.Reason(fmt.Sprintf("case:VG-%d", r.Number%1_000_000_000))
	case "job":
		return desk.Reason(fmt.Sprintf("job:%d", r.Number%1_000_000_000))
	default:
		return "case:VG-0000"
	}
}

// thefts reports what each credential got.
func (t *thief) thefts(heard *alarms) []Theft {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []Theft{}
	for _, h := range t.order {
		th := Theft{Actor: h.actor(), Persons: len(h.got), PastCap: h.past, Requests: h.requests}
		at, credential := heard.about(h.actor())
		th.Credential = credential
		th.DetectedAfter, th.StoppedAfter = between(h.first, at), between(h.first, h.last)
		th.ContainedAfter, th.AfterCap = between(h.first, h.contained), between(h.capped, h.contained)
		list = append(list, th)
	}
	return list
}

// between is the seconds from one moment to another, nil if one of them never was.
func between(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	s := to.Sub(from).Seconds()
	return &s
}
