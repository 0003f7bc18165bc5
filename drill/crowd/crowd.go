package crowd

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/watch"
)

// Config says which crowd.
type Config struct {
	Seed        uint64
	Staff       int       // of all insurers together
	Insurers    int       // default 80, or as many as have at least three employees each
	PerStaff    int       // insured persons for each employee; default 833, which makes 25 million for 30,000
	Practices   int       // default a tenth of the staff
	Users       int       // of the app; default as many as staff
	Unexplained float64   // share of accesses without a reason, over all people and days
	Begin       time.Time // a local date, midnight UTC
	Days        int       // how long it is looked at; it says when people come and go
	Changes     []Change  // of ordinary work
}

// Change is something that happens to everybody or to some.
type Change struct {
	From, To    time.Time
	Roles       []string // whose; none: all
	Insurers    []int    // none: all
	Times       float64  // how many times as much; 0: as usual
	Unexplained float64  // share of accesses that lose their reason
	Checks      float64  // how many times as many cards are checked; 0: as usual
	Release     bool     // each person is read in two requests
}

// Crowd is everybody. Its requests come from [Crowd.Next]. It is used by one goroutine.
type Crowd struct {
	cfg       Config
	insurers  []*insurer
	staff     []*clerk
	practices []*practice
	users     []*user
	operators []operator
	day       int // that comes next
	running   int // day that goes on
	today     date
	changes   []*Change
	minutes   [][]slot // of today
	minute    int
	place     int
	request   Request // of Next
	another   Request // of an attack
	launch    int     // day from which a service exists that nobody used before
}

type insurer struct {
	ik       querschott.IK
	number   int
	persons  int
	staff    map[string][]*clerk
	users    []*user
	canaries []int
	partner  *clerk // a supplier's machine
	job      watch.Job
}

// New makes a crowd.
func New(cfg Config) *Crowd {
	if cfg.Insurers == 0 {
		cfg.Insurers = min(80, max(1, cfg.Staff/3))
	}
	if cfg.PerStaff == 0 {
		cfg.PerStaff = 833
	}
	if cfg.Practices == 0 {
		cfg.Practices = cfg.Staff / 10
	}
	if cfg.Users == 0 {
		cfg.Users = cfg.Staff
	}
	c := &Crowd{cfg: cfg, minutes: make([][]slot, 24*60)}
	c.found()
	c.hire()
	for i := range cfg.Practices {
		c.practices = append(c.practices, c.newPractice(i))
	}
	for i := range cfg.Users {
		c.users = append(c.users, c.newUser(i))
	}
	for i := range operators {
		c.operators = append(c.operators, c.newOperator(i))
	}
	d := throw(cfg.Seed, 'l')
	c.launch = d.n(2 * max(cfg.Days, 1)) // in every second crowd
	c.minute = len(c.minutes)
	return c
}

// found makes the insurers; sizes follow Zipf's law.
func (c *Crowd) found() {
	harmonic := 0.0
	for k := range c.cfg.Insurers {
		harmonic += 1 / float64(k+1)
	}
	d := throw(c.cfg.Seed, 'i')
	first := d.n(5000)
	for k := range c.cfg.Insurers {
		digits := fmt.Sprintf("1000%04d", (first+k*37)%10000)
		in := &insurer{
			number: k, ik: querschott.IK(digits + string(querschott.IKCheckDigit(digits))), staff: map[string][]*clerk{},
			persons: max(int(float64(c.cfg.Staff*c.cfg.PerStaff)/harmonic/float64(k+1)), 1000),
		}
		for range d.round(float64(in.persons) / canaryEvery) {
			in.canaries = append(in.canaries, d.n(in.persons))
		}
		slices.Sort(in.canaries)
		c.insurers = append(c.insurers, in)
	}
}

// canaryEvery is how many persons there are for one canary.
const canaryEvery = 10_000

// Canaries returns the pseudonyms of the invented persons whom nobody has a reason to look for.
func (c *Crowd) Canaries() (list []string) {
	for _, in := range c.insurers {
		for _, p := range in.canaries {
			list = append(list, c.pseudonym(in.number, p))
		}
	}
	return list
}

// Jobs returns the registered mass accesses: every insurer has a nightly one, which its supplier's machine does.
func (c *Crowd) Jobs() (list []watch.Job) {
	for _, in := range c.insurers {
		list = append(list, in.job)
	}
	return list
}

// Staff returns how many employees work on a day of the crowd's, at most.
func (c *Crowd) Staff() int { return len(c.staff) }

// Practices returns how many practices there are.
func (c *Crowd) Practices() int { return len(c.practices) }

// Actors returns the names of all employees.
func (c *Crowd) Actors() []querschott.Actor {
	list := make([]querschott.Actor, len(c.staff))
	for i, k := range c.staff {
		list[i] = k.actor
	}
	return list
}

// Insurers is part of [attack.Landscape].
func (c *Crowd) Insurers() []attack.Insurer {
	list := make([]attack.Insurer, len(c.insurers))
	for i, in := range c.insurers {
		list[i] = attack.Insurer{IK: in.ik, Persons: in.persons}
	}
	return list
}

// Holders is part of [attack.Landscape].
func (c *Crowd) Holders(insurer int, ch attack.Channel, role string) int {
	switch {
	case ch == attack.VSDM || ch == attack.EPA:
		return len(c.practices)
	case insurer < 0 || insurer >= len(c.insurers):
		return 0
	case ch == attack.App:
		return len(c.insurers[insurer].users)
	case role == attack.Partner:
		return 1
	default:
		return len(c.insurers[insurer].staff[role])
	}
}

const (
	operators   = 4   // of the platform
	vips        = 50  // persons of public interest per insurer
	listCanary  = 200 // persons of a list of search results for one canary
	mostAlike   = 60  // persons of one surname that a search shows
	knownByName = 'n'
)

// Known is part of [attack.Landscape].
func (c *Crowd) Known(h attack.Holder, ch attack.Choice, most int) (list []int) {
	in := c.insurers[max(h.Insurer, 0)]
	switch ch {
	case attack.Own:
		if h.Channel == attack.App {
			u := in.users[h.Number]
			for i := range min(most, 1+u.family) {
				list = append(list, (u.person+i)%in.persons)
			}
		} else if k := c.holder(h); k != nil {
			for i := range min(most, k.caseload) {
				list = append(list, k.own(c, i))
			}
		}
	case attack.VIP:
		for i := range min(most, vips) {
			list = append(list, in.avoid(int(mix(uint64(in.number)<<32|uint64(i))%uint64(in.persons))))
		}
	case attack.Surname:
		d := throw(c.cfg.Seed, knownByName, uint64(h.Insurer), uint64(h.Number))
		for range min(most, mostAlike) {
			list = append(list, in.avoid(d.n(in.persons)))
		}
	default: // down a list, which begins anywhere
		d := throw(c.cfg.Seed, 'a', uint64(h.Number))
		for i := range most {
			p := in.avoid(d.n(in.persons))
			if i%listCanary == listCanary/2 && len(in.canaries) > 0 {
				p = in.canaries[d.n(len(in.canaries))]
			}
			list = append(list, p)
		}
	}
	return list
}

// avoid returns a person who is no canary, the same or the next one.
func (in *insurer) avoid(p int) int {
	for {
		if _, is := slices.BinarySearch(in.canaries, p); !is {
			return p
		}
		p = (p + 1) % in.persons
	}
}

// holder returns the employee or machine behind a credential, nil for others.
func (c *Crowd) holder(h attack.Holder) *clerk {
	if h.Insurer < 0 || h.Channel == attack.App {
		return nil
	}
	in := c.insurers[h.Insurer]
	if h.Role == attack.Partner {
		return in.partner
	}
	return in.staff[h.Role][h.Number]
}

// Actor returns who stands behind a holder's credential, and the insurer.
func (c *Crowd) Actor(h attack.Holder) (querschott.Actor, querschott.IK) {
	switch h.Channel {
	case attack.VSDM, attack.EPA:
		return c.practices[h.Number].actor, ""
	case attack.App:
		u := c.insurers[h.Insurer].users[h.Number]
		return u.actor, u.in.ik
	default:
		k := c.holder(h)
		return k.actor, k.in.ik
	}
}

// AtWork reports whether an employee is at work at a time of the day that is played.
func (c *Crowd) AtWork(h attack.Holder, at time.Time) bool {
	k := c.holder(h)
	minute := int(at.Add(c.today.offset).Sub(c.today.midnight) / time.Minute)
	return k != nil && k.present && minute >= k.start && minute < k.start+k.long
}

// lognormal is the individual rate of somebody.
func lognormal(d *dice, median, sigma float64) float64 { return median * math.Exp(sigma*d.normal()) }

// Affected returns the share of the staff whose work a change changes, 0 if somebody's is not among it. Groups of staff are
// those of their insurer.
func (c *Crowd) Affected(ch *Change, a querschott.Actor, insurer querschott.IK) float64 {
	n, is := 0, false
	group := strings.HasPrefix(string(a), "group:")
	for _, k := range c.staff {
		if ch.hits(k) {
			n++
			is = is || k.actor == a || group && k.in.ik == insurer
		}
	}
	if !is {
		return 0
	}
	return float64(n) / float64(len(c.staff))
}
