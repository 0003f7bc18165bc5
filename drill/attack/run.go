package attack

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

const day = 24 * time.Hour

// Landscape is what an attack finds: insurers, whose credentials it may use, and whom it may reach. Everybody is a number.
type Landscape interface {
	// Insurers returns all insurers, the largest first.
	Insurers() []Insurer
	// Holders returns how many credentials of a channel and role an insurer has. Practices belong to none: they are asked
	// for with insurer -1.
	Holders(insurer int, c Channel, role string) int
	// Known returns at most so many persons of the holder's insurer that a choice other than random, sequential and list
	// leads to, in the order in which they are met.
	Known(h Holder, c Choice, most int) []int
}

// Insurer is one of a landscape.
type Insurer struct {
	IK      querschott.IK
	Persons int // numbered from 0
}

// Holder is whom a credential belongs to.
type Holder struct {
	Channel Channel
	Insurer int    // number in the landscape, -1 for a practice
	Role    string // of staff: one of [Roles] or [Partner]
	Number  int    // from 0 among those of channel, insurer and role
}

// Access is one request that an attack is about to make.
type Access struct {
	At         time.Time
	Mule       int // which of the credentials that work at the same time, from 0
	Holder     Holder
	Identified bool // the login succeeds
	Insurer    int  // whose person it is
	Person     int  // number at that insurer; -1: one that does not exist
	Reason     Reason
	Network    int    // 0: the holder's own, else the number of a foreign one
	Key        int    // 0: the holder's own, else the number of a foreign one
	Token      string // as in the file
	Action     string // as in the file
	Unseen     bool   // its event gets lost
	Again      bool   // it was refused before
}

// Reason is what a request gives as its reason. Numbers are equal for equal reasons.
type Reason struct {
	Kind   string // none, one, new, copied, job, as in the file
	Number uint64
}

// Result is how a request ended.
type Result uint8

// The results.
const (
	Served  Result = iota // data came
	Missing               // there is no such person
	Denied                // refused for what was asked, or for the token
	Capped                // refused for a cap
	Held                  // the credential is refused
	Shut                  // a door refused
)

// Outcome is what a run is told of its last request.
type Outcome struct {
	Result     Result
	RetryAfter time.Duration // as far as the refusal said
}

// Run is one attack of a family. It is used by one goroutine.
type Run struct {
	f          *Family
	rnd        *rand.Rand
	land       Landscape
	begin, end time.Time
	mules      []*mule
	spares     []Holder
	served     int
	total      int // 0: no end
	reason     uint64
	last       *mule // whose request was returned last
}

// Begin makes a run that begins to look around at a time; local days are those of its location. Credentials that are taken are
// left to whoever has them; nil: none is. A run for which none is left makes no request.
func (f *Family) Begin(seed uint64, land Landscape, at time.Time, taken func(Holder) bool) *Run {
	r := &Run{f: f, rnd: rand.New(rand.NewPCG(seed, 0xa77ac4)), land: land}
	r.begin = at.Add(f.Start.After.draw(r.rnd))
	r.end = r.begin.Add(f.Start.Lasts.draw(r.rnd))
	r.total, r.reason = int(f.Start.Total.draw(r.rnd)), r.rnd.Uint64()
	if f.Work != nil {
		return r
	}
	mules, spares := int(math.Round(f.Who.Mules.draw(r.rnd))), int(math.Round(f.Who.Spares.draw(r.rnd)))
	if taken == nil {
		taken = func(Holder) bool { return false }
	}
	holders := r.recruit(mules+spares, taken)
	mules = min(mules, len(holders))
	for i, h := range holders[:mules] {
		r.mules = append(r.mules, newMule(r, i, h))
	}
	r.spares = holders[mules:]
	return r
}

// Lasts returns from when to when the run may be active.
func (r *Run) Lasts() (from, to time.Time) { return r.begin, r.end }

// Holders returns whose credentials the run uses, the spare ones last.
func (r *Run) Holders() []Holder {
	var list []Holder
	for _, m := range r.mules {
		list = append(list, m.who)
	}
	return append(list, r.spares...)
}

// Insurers draws the insurers whose ordinary work a benign family changes; nil for all.
func (r *Run) Insurers() []int {
	all := len(r.land.Insurers())
	n := int(math.Round(r.f.Work.Insurers.draw(r.rnd)))
	if n == 0 || n >= all {
		return nil
	}
	return r.rnd.Perm(all)[:n]
}

// Draw draws a number of a range for this run.
func (r *Run) Draw(x Range) float64 { return x.draw(r.rnd) }

// recruit finds so many different holders who are not taken, or as many as there are.
func (r *Run) recruit(n int, taken func(Holder) bool) []Holder {
	w := &r.f.Who
	insurer := r.insurer()
	seen, list := map[Holder]bool{}, []Holder{}
	free := func(h Holder) bool { return !seen[h] && !taken(h) }
	for tries := 0; len(list) < n && tries < 50*n+200; tries++ {
		h := Holder{Channel: w.Channel, Insurer: insurer, Role: w.Role}
		switch w.Channel {
		case VSDM, EPA:
			h.Insurer, h.Role = -1, ""
		case App:
			h.Role = ""
		default:
			if h.Role == "" {
				h.Role = r.role(insurer)
			}
		}
		if most := r.land.Holders(h.Insurer, h.Channel, h.Role); most > 0 {
			if h.Number = r.rnd.IntN(most); free(h) {
				seen[h] = true
				list = append(list, h)
			}
		}
		if !w.Together || len(list) == 0 || tries%20 == 19 && r.exhausted(insurer, free) {
			insurer = r.insurer()
		}
	}
	return list
}

// exhausted reports whether an insurer has nobody left; who needs more looks elsewhere.
func (r *Run) exhausted(insurer int, free func(Holder) bool) bool {
	h := Holder{Channel: r.f.Who.Channel, Insurer: insurer}
	roles := []string{r.f.Who.Role}
	if r.f.Who.Role == "" && r.f.Who.Channel != App {
		roles = Roles()
	}
	for _, h.Role = range roles {
		for h.Number = range r.land.Holders(insurer, h.Channel, h.Role) {
			if free(h) {
				return false
			}
		}
	}
	return true
}

// role draws one of an insurer's staff.
func (r *Run) role(insurer int) string {
	sum := 0
	for _, role := range Roles() {
		sum += r.land.Holders(insurer, r.f.Who.Channel, role)
	}
	if sum == 0 {
		return ""
	}
	n := r.rnd.IntN(sum)
	for _, role := range Roles() {
		if n -= r.land.Holders(insurer, r.f.Who.Channel, role); n < 0 {
			return role
		}
	}
	return ""
}

// insurer draws the insurer of a holder; that of an IK which is not there is any.
func (r *Run) insurer() int {
	all := r.land.Insurers()
	switch r.f.Who.Insurer {
	case "largest":
		return 0
	case "smallest":
		return len(all) - 1
	case "any":
	default:
		if i := slices.IndexFunc(all, func(i Insurer) bool { return string(i.IK) == r.f.Who.Insurer }); i >= 0 {
			return i
		}
	}
	return r.bySize(-1)
}

// bySize draws an insurer other than not, each as often as it has persons.
func (r *Run) bySize(not int) int {
	all, sum := r.land.Insurers(), 0
	for i := range all {
		if i != not {
			sum += all[i].Persons
		}
	}
	n := r.rnd.IntN(max(sum, 1))
	for i := range all {
		if i == not {
			continue
		}
		if n -= all[i].Persons; n < 0 {
			return i
		}
	}
	return 0
}

// Next returns the next request, later than the last one, or false when the attack is over. It is told how the last request
// ended; the first call's outcome means nothing.
func (r *Run) Next(last Outcome) (Access, bool) {
	if r.last != nil {
		r.last.react(last)
		r.last = nil
	}
	if r.total > 0 && r.served >= r.total {
		return Access{}, false
	}
	var next *mule
	for _, m := range r.mules {
		if m.ready() && (next == nil || m.times[0].Before(next.times[0])) {
			next = m
		}
	}
	if next == nil {
		return Access{}, false
	}
	r.last = next
	return next.request(), true
}
