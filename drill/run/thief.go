package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/service/desk"
)

// deskHolders is how many employees of each role an insurer has for attacks.
const deskHolders = 30

// land is the platform as attacks see it: the insurers of its world, whose desks they may use. One goroutine uses it.
type land struct {
	world  *drill.World
	known  int // persons of each insurer whose data are there, at most
	number []attack.Insurer

	nobody   *rand.Rand             // draws numbers that nobody has
	machines map[int]*demo.Supplier // of suppliers that attacks may use, by insurer
}

func newLand(w *drill.World, known int) *land {
	l := &land{world: w, known: known, nobody: rand.New(rand.NewPCG(1, 0x6e6f))}
	for _, in := range w.Insurers() {
		_, persons := in.Persons()
		l.number = append(l.number, attack.Insurer{IK: in.IK, Persons: min(persons, known)})
	}
	return l
}

func (l *land) Insurers() []attack.Insurer { return l.number }

func (l *land) Holders(insurer int, c attack.Channel, role string) int {
	switch {
	case c != attack.Desk || insurer < 0 || role == attack.Partner && l.machines[insurer] == nil:
		return 0
	case role == attack.Partner:
		return 1
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
		digits := fmt.Sprintf("Z%08d", l.nobody.IntN(100_000_000))
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
	begins attack.Access // the first request
	factor float64       // how much faster than the family says
	since  time.Time     // before this nothing of it has happened

	mu            sync.Mutex // guards the fields below, and those of the hands
	got           map[whom]bool
	first, latest time.Time // of all requests: begin of the first, answer to the last
	order         []*hand
}

// hand is one credential in use.
type hand struct {
	*employee
	got                            map[whom]bool
	first, last, capped, contained time.Time // first request, last data, first refusal for a cap, first refusal as such
	past, requests                 int
	asked                          attack.Access // last
}

var errNobody = errors.New("the attack has no credential that the platform's insurers could have given")

var errIdle = errors.New("the attack makes no request on any day of a week")

// atLeast is how many requests a minute an attack makes whose rate is one per minute: each credential meets the caps soon.
const atLeast = 300.0

// begin plans the attack's calendar. It begins on a Monday that is always the same, or a later day of that week on which it has
// something to do, so that a drill is the same on every day of the year.
func (t *thief) begin(seed uint64) bool {
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for d := range 7 {
		t.run = t.family.Begin(seed, t.land, monday.AddDate(0, 0, d), nil)
		first, more := t.run.Next(attack.Outcome{})
		if t.begins = first; more || len(t.run.Holders()) == 0 {
			return true
		}
	}
	return false
}

// newThief begins an attack. With most above 0 it lasts at most so long: a slower one is played faster.
func newThief(p *Platform, l *land, f *attack.Family, seed uint64, most time.Duration) (*thief, error) {
	if err := Playable(f); err != nil {
		return nil, err
	}
	t := &thief{
		p: p, land: l, family: f, hands: map[attack.Holder]*hand{}, got: map[whom]bool{}, factor: 1, since: time.Now(),
	}
	if !t.begin(seed) {
		return nil, errIdle
	}
	switch from, to := t.run.Lasts(); {
	case most <= 0:
	case f.Rate.Per == "minute":
		t.factor = max(1, atLeast/f.Rate.Persons.From)
	default:
		t.factor = max(1, float64(to.Sub(from))/float64(most))
	}
	if f.Benign {
		t.factor = max(1, min(t.factor, calmFactor(f)))
	}
	tag := freshTag()
	for _, h := range t.run.Holders() {
		who := p.employee(l.world.Insurers()[h.Insurer], fmt.Sprintf("%s.%d.%s", h.Role, h.Number, tag))
		if h.Role == attack.Partner {
			var err error
			if who, err = p.supplier(l.machines[h.Insurer]); err != nil {
				return nil, err
			}
		}
		t.hands[h] = &hand{employee: who, got: map[whom]bool{}}
	}
	if len(t.hands) == 0 {
		return nil, errNobody
	}
	return t, nil
}

// freshTag makes names of attackers new: the credential of an earlier drill is held still, or has used up what it may reach.
func freshTag() string { return strconv.FormatInt(time.Now().UnixMilli(), 36) }

// prepare gets the tokens: they were stolen beforehand. Whom they can reach is known at their insurers.
func (t *thief) prepare(ctx context.Context) error {
	there := map[*drill.Insurer]bool{}
	for _, h := range t.hands {
		there[h.insurer] = true
	}
	if err := t.p.serving(ctx, slices.Collect(maps.Keys(there))); err != nil {
		return err
	}
	for in := range there {
		if _, err := t.p.know(ctx, in, t.land.known); err != nil {
			return err
		}
	}
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
	for a, more := t.begins, true; more && ctx.Err() == nil; {
		due := begin.Add(time.Duration(float64(a.At.Sub(t.begins.At)) / t.factor))
		err := t.until(ctx, due)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its time is over
		}
		if err != nil {
			return err
		}
		last, err := t.grab(ctx, a)
		if err != nil && ctx.Err() == nil {
			return err
		}
		a, more = t.run.Next(last)
	}
	return nil
}

// until waits for a moment. Whoever was refused for a cap, and is not refused as such yet, asks again meanwhile: the report is to say when
// the platform held the credential, not when the attacker came back.
func (t *thief) until(ctx context.Context, due time.Time) error {
	for free := t.capped(); len(free) > 0 && time.Until(due) > askAgain; free = t.capped() {
		for _, a := range free {
			if _, err := t.grab(ctx, a); err != nil {
				return err
			}
		}
		if err := wait(ctx, askAgain); err != nil {
			return err
		}
	}
	if d := time.Until(due); d > 0 {
		return wait(ctx, d)
	}
	return nil
}

// capped returns the last requests of the credentials that were refused for a cap a moment ago, and are not held yet.
func (t *thief) capped() (free []attack.Access) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.order {
		if !h.capped.IsZero() && h.contained.IsZero() && time.Since(h.capped) < askFor {
			free = append(free, h.asked)
		}
	}
	return free
}

const (
	askAgain   = 50 * time.Millisecond  // between two requests of who was refused for a cap
	askFor     = 5 * time.Second        // since the refusal; where nobody is held the attack goes on as the family says
	knockAgain = 200 * time.Millisecond // between two requests of who knocks
)

// knock waits until the platform's first alarm about the attacker is heard, and until every credential that it has warned of is refused: on a
// busy machine the attack may be over before. Whoever knocks asks for the last person of the own insurer again.
func (t *thief) knock(ctx context.Context, heard *alarms) error {
	limit := longest
	if t.metCap() {
		limit = patient
	}
	knocking, end := context.WithTimeout(ctx, limit)
	defer end()
	for {
		warned, free := t.warned(heard)
		if warned && len(free) == 0 {
			return nil
		}
		for _, a := range free {
			if _, err := t.grab(knocking, a); err != nil && knocking.Err() == nil {
				return err
			}
		}
		if wait(knocking, knockAgain) != nil {
			return context.Cause(ctx) // nil: the platform had its time
		}
	}
}

// metCap reports whether a credential was refused for a cap: the platform must say so, however busy the machine is.
func (t *thief) metCap() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.order, func(h *hand) bool { return !h.capped.IsZero() })
}

// warned reports whether an alarm is about one of the credentials in use, and about each that met a cap, and returns the last requests of
// those that are not held yet.
func (t *thief) warned(heard *alarms) (one bool, free []attack.Access) {
	t.mu.Lock()
	defer t.mu.Unlock()
	silent := false
	for _, h := range t.order {
		at, _ := heard.about(h.actor())
		silent = silent || at.IsZero() && !h.capped.IsZero()
		if one = one || !at.IsZero(); !at.IsZero() && h.contained.IsZero() {
			free = append(free, h.asked)
		}
	}
	return one && !silent, free
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
	if h.asked = (attack.Access{Holder: a.Holder, Insurer: a.Holder.Insurer, Reason: a.Reason}); a.Insurer == h.asked.Insurer && a.Person >= 0 {
		h.asked.Person = a.Person
	}
	t.latest = begin
	t.mu.Unlock()
	// A request that is under way when the attack's time is over is waited for: whose data it brings is part of the truth.
	came, answer, err := h.read(context.WithoutCancel(ctx), insurer, who, t.reasonOf(h, a.Reason))
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
	t.latest = now // the ledger's entry may be as late
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

// last is when the attacker was answered last.
func (t *thief) last() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest
}

// reasonOf writes a reason as the desk wants one: it is mandatory, so whoever has none gives the same for all. An attack names a
// job that is registered for another supplier's machine, honest work its own.
func (t *thief) reasonOf(h *hand, r attack.Reason) desk.Reason {
	switch r.Kind {
	case "new", "copied":
		return desk.Reason(fmt.Sprintf("case:VG-%d", r.Number%1_000_000_000))
	case "job":
		list := t.p.file.Suppliers
		i := slices.IndexFunc(list, func(s demo.Supplier) bool { return (s.Actor == h.actor()) == t.family.Benign })
		return desk.Reason(list[i].Job)
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
