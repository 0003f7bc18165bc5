package eval

import (
	"context"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/crowd"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/watch"
)

// world is one seed: everybody, the gate, the detectors, and what follows from their alarms.
type world struct {
	cfg      *Config
	seed     uint64
	open     bool // nothing follows from alarms
	crowd    *crowd.Crowd
	truth    *truth
	caps     *gatehttp.Counter
	delivery *crowd.Delivery
	watch    *watch.Watch
	contain  *containment
	raised   []*watch.Alarm // not yet acted on
	counted  time.Time      // from here on
	end      time.Time
	result   *seedResult
}

// newWorld makes a seed's world.
func newWorld(cfg *Config, seed uint64, open bool) (*world, error) {
	w := &world{cfg: cfg, seed: seed, open: open, truth: newTruth()}
	first := begin(seed)
	w.counted, w.end = first.AddDate(0, 0, cfg.WarmUp), first.AddDate(0, 0, cfg.Days)
	settings := crowd.Config{Seed: seed, Staff: cfg.Staff, Unexplained: cfg.Unexplained, Begin: first, Days: cfg.Days}
	plain := crowd.New(settings)                                          // the same people, as they are before anything changes
	local := time.FixedZone("", int(crowd.Offset(w.counted)/time.Second)) // whoever attacks in office hours does so in summer too
	at := time.Date(w.counted.Year(), w.counted.Month(), w.counted.Day(), 0, 0, 0, 0, local)
	taken := map[attack.Holder]bool{}
	for i, f := range cfg.Families {
		for k := range cfg.Copies {
			r := &run{family: f, run: enlist(f, seed*1_000_003+uint64(i)*1009+uint64(k), plain, at, taken)}
			w.truth.runs = append(w.truth.runs, r)
			if f.Work != nil {
				settings.Changes = append(settings.Changes, change(r))
			}
		}
	}
	w.crowd = crowd.New(settings)
	policy := watch.DefaultPolicy()
	policy.Jobs, policy.Off = w.register(), cfg.Without
	watching := watch.Config{Policy: policy, Canaries: w.crowd.Canaries(), Emit: w.emit, Keys: 20*cfg.Staff + 10_000}
	if open {
		also, err := baselines()
		if err != nil {
			return nil, err
		}
		watching.Also = also
	}
	var err error
	if w.watch, err = watch.New(watching); err != nil {
		return nil, err
	}
	w.caps = gatehttp.NewCounter(gatehttp.Limits{Persons: 200*cfg.Staff + 100_000})
	w.delivery = crowd.NewDelivery(seed, w.watch.Observe)
	w.contain = newContainment()
	w.result = newSeedResult(w)
	return w, nil
}

// enlist begins a run whose credentials no other run uses: an alarm names a credential, and nothing else says which of two
// attacks it is about.
func enlist(f *attack.Family, seed uint64, land attack.Landscape, at time.Time, taken map[attack.Holder]bool) *attack.Run {
	person := func(h attack.Holder) attack.Holder {
		h.Channel = "" // desk and feed are the same people
		return h
	}
	r := f.Begin(seed, land, at, func(h attack.Holder) bool { return taken[person(h)] })
	for _, h := range r.Holders() {
		taken[person(h)] = true
	}
	return r
}

// change turns a benign family into a change of everybody's work.
func change(r *run) crowd.Change {
	f := r.family.Work
	from, to := r.run.Lasts()
	r.change = &crowd.Change{
		From: from, To: to, Roles: f.Roles, Insurers: r.run.Insurers(), Times: r.run.Draw(f.Times), Unexplained: f.Unexplained,
		Checks: r.run.Draw(f.Checks), Release: f.Release,
	}
	return *r.change
}

// register makes a job of each run that looks like an attack and was registered; an attack names somebody else's.
func (w *world) register() []watch.Job {
	jobs := w.crowd.Jobs()
	for i, r := range w.truth.runs {
		if r.family.Reasons.Give != "job" || len(r.run.Holders()) == 0 {
			continue
		}
		if !r.family.Benign {
			j := &jobs[(i*7)%len(w.crowd.Insurers())]
			r.job, w.truth.abused[j.Actors[0]] = j.ID, r
			continue
		}
		from, to := r.run.Lasts()
		j := watch.Job{ID: "job-" + string(rune('0'+i%10)) + string(rune('0'+i/10)) + "77-x", From: from.Add(-time.Hour), To: to.Add(24 * time.Hour), Persons: 500_000}
		for _, h := range r.run.Holders() {
			a, _ := w.crowd.Actor(h)
			j.Actors = append(j.Actors, a)
		}
		r.job = j.ID
		jobs = append(jobs, j)
	}
	return jobs
}

func (w *world) emit(a *watch.Alarm) { w.raised = append(w.raised, a) }

// play lets the world happen.
func (w *world) play(ctx context.Context) error {
	for _, r := range w.truth.runs {
		w.advance(r, attack.Outcome{})
	}
	n := 0
	for q := w.crowd.Next(); q != nil; q = w.crowd.Next() {
		if n++; n&0xffff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for r := w.due(q.Time); r != nil; r = w.due(q.Time) {
			w.strike(r)
		}
		o := w.gate(q)
		w.result.ordinary(q, o, w)
	}
	for r := w.due(w.end); r != nil; r = w.due(w.end) {
		w.strike(r)
	}
	w.delivery.Close()
	w.react(w.end)
	w.result.finish(w)
	return nil
}

// advance asks a run for its next request.
func (w *world) advance(r *run, last attack.Outcome) {
	a, ok := r.run.Next(last)
	r.next, r.ended = a, !ok
}

// due returns the run whose request comes next, if it comes before a time.
func (w *world) due(before time.Time) (next *run) {
	for _, r := range w.truth.runs {
		if !r.ended && r.next.At.Before(before) && (next == nil || r.next.At.Before(next.next.At)) {
			next = r
		}
	}
	return next
}

// strike makes the next request of a run.
func (w *world) strike(r *run) {
	if r.family.Who.Himself && !w.crowd.AtWork(r.next.Holder, r.next.At) {
		w.advance(r, attack.Outcome{Result: attack.Missing}) // he lets it be
		return
	}
	q := w.crowd.Request(r.next, r.job)
	w.truth.note(r, w.crowd, q)
	person := q.Person
	o := w.gate(q)
	switch o.Result {
	case attack.Served:
		if person != "" {
			r.persons[person] = struct{}{}
		}
	case attack.Held:
		r.refused, r.held = r.refused+1, r.held+1
	case attack.Capped, attack.Shut:
		r.refused++
	default:
	}
	w.advance(r, o)
}

// foreign is the gate of services that are watched and not carried.
const foreign = "f1"

// gate decides on a request in the order in which the entrance does, and sends the event.
func (w *world) gate(q *crowd.Request) attack.Outcome {
	o := attack.Outcome{}
	who := querschott.Credential{ID: q.Credential, Actor: q.Actor, Role: q.Role}
	carried := q.Gate != foreign
	switch {
	case carried && w.contain.holds(q):
		o.Result = attack.Held
		w.refuse(q, "denied", "revoked")
		q.Role, q.Actor, q.Credential, q.Tenant, q.Insurer, q.Person, q.Binding = querschott.RoleUnknown, "", "", "", "", "", ""
	case q.Refusal != "":
		o.Result = attack.Denied
		w.refuse(q, "denied", q.Refusal)
	case carried && w.contain.shut(q):
		o.Result = attack.Shut
		w.refuse(q, "denied", "door")
	case q.Missing:
		o.Result = attack.Missing
		q.Outcome, q.Cause, q.Status, q.Person = "failed", "not-there", 404, ""
	default:
		ok := true
		if carried && q.Person != "" {
			o.RetryAfter, ok = w.caps.Take(&who, q.Time, querschott.KVNR(q.Person))
		}
		if ok {
			q.Outcome, q.Status, q.Records = "success", 200, 1
			break
		}
		o.Result = attack.Capped
		w.refuse(q, "denied", "reach")
	}
	now := q.Time
	w.delivery.Send(&q.Access, q.Unseen)
	w.react(now)
	return o
}

func (w *world) refuse(q *crowd.Request, outcome, cause string) {
	q.Outcome, q.Cause, q.Status, q.Records, q.Bytes = outcome, cause, 403, 0, 0
}

// react judges alarms and does what follows from them.
func (w *world) react(now time.Time) {
	for len(w.raised) > 0 {
		a := w.raised[0]
		w.raised = w.raised[1:]
		v := w.truth.judge(a, now)
		if gate, ok := strings.CutPrefix(string(a.Actor), "gate:"); ok && a.Cause == "gate-silent" {
			v.beside = w.delivery.Stalled(gate, now)
		}
		if v.run != nil && !v.run.family.Benign {
			v.run.notice(a, now)
		}
		w.result.alarm(a, v, now, w)
		if !w.open && !baseline(a.Detector) {
			w.result.decision(a, w.contain.act(a, now), v, now, w)
		}
	}
}

// kind says what an alarm is about, in the words of the report.
func kind(a *watch.Alarm) string {
	name := string(a.Actor)
	switch {
	case strings.HasPrefix(name, "group:"):
		return "groups"
	case strings.HasPrefix(name, "gate:"):
		return "gates"
	case strings.HasPrefix(name, "service:"):
		return "services"
	case strings.HasPrefix(name, "op-"):
		return "operators"
	case strings.HasPrefix(name, "1-"):
		return "practices"
	case strings.HasPrefix(name, "app-"), strings.HasPrefix(name, "network:"):
		return "app"
	default:
		return "staff"
	}
}
