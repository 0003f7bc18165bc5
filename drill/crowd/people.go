package crowd

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/watch"
)

// roles are what staff do: share of all, accesses on a working day, share of requests about persons of one's own, how much
// more often than others they give no reason.
var roles = []struct {
	name        string
	share, rate float64
	own         float64
	unexplained float64
}{
	{"case", .45, 60, .5, 1},
	{"call", .25, 110, .05, .8},
	{"benefit", .15, 40, .5, .9},
	{"manager", .08, 6, .3, 2},
	{"it", .03, 3, .1, 3},
	{"audit", .04, 25, .1, 1.5},
}

// clerk is one employee, or a supplier's machine.
type clerk struct {
	number     int // among all
	in         *insurer
	role       uint8
	actor      querschott.Actor
	credential querschott.CredentialID
	rate       float64
	unexpl     float64
	start      int // minute of the day
	long       int // minutes
	part       int // weekdays off, as bits
	land       uint8
	caseload   int
	from, to   int // first and last day
	machine    bool
	office     string // address
	home       string // "" for none
	binding    string
	away       int // day until which absent
	today      aDay
	present    bool // today
}

// hire draws the staff. The smallest insurers have some of each kind too.
func (c *Crowd) hire() {
	harmonic := 0.0
	for k := range c.insurers {
		harmonic += 1 / float64(k+1)
	}
	sum, due := 0, 0.0
	for i, in := range c.insurers {
		due += float64(c.cfg.Staff) / harmonic / float64(i+1)
		if i == len(c.insurers)-1 {
			due = float64(c.cfg.Staff)
		}
		d := throw(c.cfg.Seed, 'h', uint64(i))
		for ; sum < int(due); sum++ {
			c.employ(in, &d)
		}
		c.contract(in)
	}
}

func (c *Crowd) employ(in *insurer, d *dice) {
	x, r := d.share(), 0
	for x >= roles[r].share && r < len(roles)-1 {
		x -= roles[r].share
		r++
	}
	n := len(c.staff)
	id := d.next()
	k := &clerk{
		number: n, in: in, role: uint8(r), actor: querschott.Actor(fmt.Sprintf("ma-%08x", id>>32)), rate: lognormal(d, roles[r].rate, 0.35),
		unexpl: min(0.9, c.cfg.Unexplained*roles[r].unexplained*math.Exp(0.5*d.normal()-0.125)), start: 6*60 + 30 + d.n(150), long: 8*60 + 30,
		land: lands[(in.number*7+d.n(3))%len(lands)], caseload: 40 + d.n(400), to: math.MaxInt,
		office: fmt.Sprintf("10.%d.%d.%d", in.number, d.n(8), 1+d.n(250)), binding: fmt.Sprintf("%016x", d.next()),
	}
	k.credential = querschott.CredentialID(fmt.Sprintf("s-%012x", d.next()>>16))
	if d.chance(0.25) {
		k.part = 1 << (1 + d.n(5))
		if d.chance(0.5) {
			k.long, k.rate = 5*60, k.rate*0.6
		}
	}
	if d.chance(0.3) {
		k.home = fmt.Sprintf("91.%d.%d.%d", d.n(200), d.n(250), d.n(250))
	}
	if roles[r].name == "call" && d.chance(0.3) {
		k.start = 12 * 60 // until 20:30
	}
	switch {
	case d.chance(0.03):
		k.from = d.n(max(c.cfg.Days, 1)) // is hired meanwhile
	case d.chance(0.02):
		k.to = d.n(max(c.cfg.Days, 1)) // leaves
	}
	c.staff = append(c.staff, k)
	in.staff[roles[r].name] = append(in.staff[roles[r].name], k)
}

// contract gives an insurer a supplier, whose machine does the nightly job.
func (c *Crowd) contract(in *insurer) {
	d := throw(c.cfg.Seed, 'p', uint64(in.number))
	in.partner = &clerk{
		number: -1 - in.number, in: in, machine: true, actor: querschott.Actor(fmt.Sprintf("sys-%08x", d.next()>>32)),
		credential: querschott.CredentialID(fmt.Sprintf("k-%012x", d.next()>>16)), to: math.MaxInt, caseload: 1,
		office: fmt.Sprintf("172.16.%d.9", in.number), binding: fmt.Sprintf("%016x", d.next()), rate: float64(20 + 2*len(c.staff)/len(c.insurers)),
	}
	in.job = watch.Job{
		ID: fmt.Sprintf("job-%d-%s", 1000+d.n(9000), in.ik), From: c.cfg.Begin.Add(-24 * time.Hour), To: c.cfg.Begin.AddDate(1, 0, 0),
		Persons: in.persons + in.persons/5, Insurer: in.ik, Actors: []querschott.Actor{in.partner.actor},
	}
}

// own returns a person whom the employee works for anyway.
func (k *clerk) own(c *Crowd, i int) int {
	return k.in.avoid(int(mix(c.cfg.Seed^uint64(k.number)<<24^uint64(i)) % uint64(k.in.persons)))
}

// works reports whether somebody is there on a day. Absence lasts for days.
func (k *clerk) works(c *Crowd, day int, d *dice) bool {
	if c.today.weekend || day < k.from || day > k.to || c.today.closed[k.land] || k.part>>uint(c.today.midnight.Weekday())&1 != 0 || day < k.away {
		return false
	}
	if d.chance(0.035) {
		k.away = day + 1 + d.n(12)
		return false
	}
	return true
}

// practice checks cards.
type practice struct {
	number     int
	actor      querschott.Actor
	credential querschott.CredentialID
	size       float64
	land       uint8
	night      bool
	address    string
	binding    string
	insurer    int // most of its patients are insured there or at the larger ones
}

func (c *Crowd) newPractice(i int) *practice {
	d := throw(c.cfg.Seed, 'r', uint64(i))
	return &practice{
		number: i, actor: querschott.Actor(fmt.Sprintf("1-2%08d", d.n(100_000_000))), credential: querschott.CredentialID(fmt.Sprintf("smcb-%012x", d.next()>>16)),
		size: min(lognormal(&d, 30, 0.7), 400), land: lands[d.n(len(lands))], night: d.chance(0.03),
		address: fmt.Sprintf("198.18.%d.%d", d.n(250), d.n(250)), binding: fmt.Sprintf("%016x", d.next()), insurer: d.n(len(c.insurers)),
	}
}

// operator is somebody of the provider who administers the platform.
type operator struct {
	actor      querschott.Actor
	credential querschott.CredentialID
	address    string
	binding    string
}

func (c *Crowd) newOperator(i int) operator {
	d := throw(c.cfg.Seed, 'm', uint64(i))
	return operator{
		querschott.Actor(fmt.Sprintf("op-%08x", d.next()>>32)), querschott.CredentialID(fmt.Sprintf("s-%012x", d.next()>>16)),
		fmt.Sprintf("10.255.%d.%d", d.n(4), 1+d.n(250)), fmt.Sprintf("%016x", d.next()),
	}
}

// user is an insured person with the app.
type user struct {
	number     int
	in         *insurer
	person     int
	family     int // persons that the account may see besides
	actor      querschott.Actor
	credential querschott.CredentialID
	address    string
	binding    string
	active     float64
}

func (c *Crowd) newUser(i int) *user {
	d := throw(c.cfg.Seed, 'u', uint64(i))
	in := c.insurers[c.bySize(&d)]
	u := &user{
		number: i, in: in, person: in.avoid(d.n(in.persons)), actor: querschott.Actor(fmt.Sprintf("app-%010x", d.next()>>24)),
		credential: querschott.CredentialID(fmt.Sprintf("t-%012x", d.next()>>16)), address: fmt.Sprintf("203.%d.%d.%d", d.n(30), d.n(40), d.n(250)),
		binding: fmt.Sprintf("%016x", d.next()), active: 0.05 + 0.3*d.share()*d.share(),
	}
	if d.chance(0.2) {
		u.family = 1 + d.n(3)
	}
	in.users = append(in.users, u)
	return u
}

// bySize draws an insurer by Zipf's law.
func (c *Crowd) bySize(d *dice) int {
	n := len(c.insurers)
	return min(int(math.Pow(float64(n), d.share()))-1, n-1)
}

// pseudonym names a person as events do.
func (c *Crowd) pseudonym(insurer, person int) string {
	var b [16]byte
	h := mix(c.cfg.Seed<<32 ^ uint64(insurer)<<40 ^ uint64(person))
	const hex = "0123456789abcdef"
	for i := range b {
		b[i] = hex[h&15]
		h >>= 4
	}
	return string(b[:])
}

// reference writes the number of a case, call or document.
func reference(kind string, number uint64) string {
	var b [24]byte
	return string(strconv.AppendUint(append(b[:0], kind...), number%1_000_000_000_000, 10))
}

// kindOf is the word before the numbers of what a role works on.
func kindOf(role uint8) string {
	switch roles[role].name {
	case "call":
		return "A-"
	case attack.Partner:
		return ""
	default:
		return "V-"
	}
}
