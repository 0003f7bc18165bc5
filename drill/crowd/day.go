package crowd

import (
	"slices"
	"time"
)

// slot is a request that will be made: the millisecond of its minute, who, which of his today, and 1 for the second request of
// the same read. Slots are made in the order of their numbers.
type slot uint64

func newSlot(ms int, who uint32, k, part int) slot {
	return slot(uint64(ms%60_000)<<48 | uint64(who)<<16 | uint64(k)<<1 | uint64(part))
}

func (s slot) ms() int      { return int(s >> 48) }
func (s slot) who() uint32  { return uint32(s >> 16) }
func (s slot) k() int       { return int(s >> 1 & 0x7fff) }
func (s slot) second() bool { return s&1 != 0 }

const (
	kindShift    = 28
	kindStaff    = 0
	kindPractice = 1
	kindUser     = 2
	kindPartner  = 3
	kindOperator = 4
)

// byHand is how many requests somebody can make in an hour by hand.
const byHand = 65

// Next returns the next request, or nil after the last day. It is valid until the next call.
func (c *Crowd) Next() *Request {
	for {
		if c.minute < len(c.minutes) {
			if list := c.minutes[c.minute]; c.place < len(list) {
				c.place++
				return c.ordinary(list[c.place-1])
			}
			c.minute, c.place = c.minute+1, 0
			c.sortMinute()
			continue
		}
		if c.day >= c.cfg.Days {
			return nil
		}
		c.plan()
	}
}

// sortMinute puts the requests of a minute in order when its turn comes.
func (c *Crowd) sortMinute() {
	if c.minute < len(c.minutes) {
		slices.Sort(c.minutes[c.minute])
	}
}

// plan draws what everybody does on the next day.
func (c *Crowd) plan() {
	c.today, c.running = newDate(c.cfg.Begin.AddDate(0, 0, c.day)), c.day
	for i := range c.minutes {
		c.minutes[i] = c.minutes[i][:0]
	}
	c.changes = c.current()
	changes := c.changes
	for _, k := range c.staff {
		c.planClerk(k, changes)
	}
	for _, in := range c.insurers {
		c.planJob(in)
	}
	for _, p := range c.practices {
		c.planPractice(p, changes)
	}
	for _, u := range c.users {
		c.planUser(u)
	}
	for i := range c.operators {
		c.planOperator(i)
	}
	c.day++
	c.minute, c.place = 0, 0
	c.sortMinute()
}

// current returns the changes that today brings.
func (c *Crowd) current() (list []*Change) {
	noon := c.today.midnight.Add(12 * time.Hour)
	for i := range c.cfg.Changes {
		if ch := &c.cfg.Changes[i]; !noon.Before(ch.From) && noon.Before(ch.To) {
			list = append(list, ch)
		}
	}
	return list
}

func (ch *Change) hits(k *clerk) bool {
	return (len(ch.Roles) == 0 || slices.Contains(ch.Roles, roles[k.role].name)) && (len(ch.Insurers) == 0 || slices.Contains(ch.Insurers, k.in.number))
}

// most is how many requests one actor can make in a day.
const most = 1 << 15

func (c *Crowd) put(ms int, who uint32, k, part int) {
	ms = min(max(ms, 0), 86_399_999)
	c.minutes[ms/60_000] = append(c.minutes[ms/60_000], newSlot(ms, who, k, part))
}

func (c *Crowd) planClerk(k *clerk, changes []*Change) {
	d := throw(c.cfg.Seed, 'w', uint64(k.number), uint64(c.day))
	k.today = aDay{}
	if k.present = k.works(c, c.day, &d); !k.present {
		return
	}
	c.wake(k)
	n, release := k.rate*c.today.weekday*lognormal(&d, 1, 0.22), false
	if d.chance(0.004) {
		n *= 3 + 3*d.share() // a campaign of one's own
	}
	for _, ch := range changes {
		if ch.hits(k) {
			n *= max(ch.Times, 0.001+boolTo(ch.Times == 0))
			release = release || ch.Release
		}
	}
	n = min(n, byHand*float64(k.long)/60)
	for i := range min(d.round(n), most) {
		x := d.share()
		if x < 0.35 {
			x *= 1.2 // mornings are busier
		}
		ms := k.start*60_000 + int(x*float64(k.long)*60_000)
		c.put(ms, kindStaff<<kindShift|uint32(k.number), i, 0)
		if release {
			c.put(ms+150, kindStaff<<kindShift|uint32(k.number), i, 1)
		}
	}
}

func boolTo(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// planJob is the nightly registered one: from 01:00 on, one person a few seconds.
func (c *Crowd) planJob(in *insurer) {
	d := throw(c.cfg.Seed, 'j', uint64(in.number), uint64(c.day))
	at := 3_600_000 + d.n(600_000)
	for i := range int(in.partner.rate) {
		at += 2000 + d.n(6000)
		c.put(at, kindPartner<<kindShift|uint32(in.number), i, 0)
	}
}

func (c *Crowd) planPractice(p *practice, changes []*Change) {
	d := throw(c.cfg.Seed, 'q', uint64(p.number), uint64(c.day))
	f := c.today.practices
	if c.today.closed[p.land] {
		f = 0.01
	}
	for _, ch := range changes {
		if ch.Checks > 0 {
			f *= ch.Checks
		}
	}
	for i := range min(d.round(p.size*f*lognormal(&d, 1, 0.2)), most) {
		minute := 8*60 + d.share()*10*60
		if p.night {
			minute = d.share() * 24 * 60
		}
		c.put(int(minute*60_000), kindPractice<<kindShift|uint32(p.number), i, 0)
	}
}

// planOperator: some acts of administration on working days.
func (c *Crowd) planOperator(number int) {
	d := throw(c.cfg.Seed, 'o', uint64(number), uint64(c.day))
	if c.today.weekend {
		return
	}
	for i := range d.n(5) {
		c.put((8*60+d.n(9*60))*60_000+d.n(60_000), kindOperator<<kindShift|uint32(number), i, 0)
	}
}

// planUser: an account is used on some days, in the evening more often.
func (c *Crowd) planUser(u *user) {
	d := throw(c.cfg.Seed, 'v', uint64(u.number), uint64(c.day))
	if !d.chance(u.active) {
		return
	}
	at := int((7*60 + 960*d.share()) * 60_000)
	for i := range 1 + d.n(4) {
		c.put(at, kindUser<<kindShift|uint32(u.number), i, 0)
		at += 5_000 + d.n(60_000)
	}
}
