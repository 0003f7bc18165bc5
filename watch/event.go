package watch

import (
	"math/bits"
	"time"

	"github.com/querschott/querschott"
)

// Event is an access event with what several detectors want to know of it.
type Event struct {
	*querschott.Access

	At        time.Time // when it counts: its own time, unless it is late or from the future
	Sec       int64     // At in seconds since 1970
	Day       int       // local day since 1970
	Weekday   time.Weekday
	Minute    int    // of the local day
	Late      bool   // it counts at another time than its own
	Who       string // the actor; without one the credential; without that "network:" and the network
	Subject   uint64 // the person, 0 for none
	Result    Result
	Explained bool // something says why this access was made
	Job       bool // what says so is a registered job
	Test      bool // it is played by the watch itself, see [Watch.SelfTest]
	Fresh     bool // the actor did not reach this person in the last 24 hours
	Stranger  bool // the actor had no reason to reach this person in the last weeks; only of who needs one

	sharp  float64 // see Config.Sharp
	actor  *actor  // what is held of Who
	cause  uint64  // hash of the reference to a reason, 0 for none
	reason given
	noted  bool // reason is set
}

// Result is how an access ended, in the few words that detectors need.
type Result uint8

// The results.
const (
	Other    Result = iota // failed, malformed, refused for a lack of room
	Reached                // data left
	NotFound               // there is no such person or record
	Denied                 // refused for who asked or what was asked
	ByDoor                 // refused by a door; no detector sees it
)

// result reads both the gate's own words and those of sources that speak the catalogue's (ok, not_found, denied_...).
func result(e *querschott.Access) Result {
	switch {
	case e.Cause == "door" || e.Outcome == "denied_door":
		return ByDoor
	case e.Outcome == "success" || e.Outcome == "partial" || e.Outcome == "ok":
		return Reached
	case e.Outcome == "not_found" || e.Cause == "not-there":
		return NotFound
	case e.Outcome == "denied" || e.Outcome == "denied_structural" || e.Outcome == "denied_policy":
		return Denied
	}
	return Other
}

// home is the insurer that an alarm about this event belongs to.
func (e *Event) home() querschott.IK {
	if e.Tenant != "" {
		return e.Tenant
	}
	return e.Insurer
}

// reasons reports whether a role is one whose accesses must be explained by a reference. A practice is explained by the card
// in its reader and an insured person by being that person; both have detectors of their own. The platform's machines and
// relays look nobody up.
func reasons(r querschott.Role) bool {
	switch r {
	case querschott.RolePractice, querschott.RoleInsured, querschott.RoleMachine, querschott.RoleRelay:
		return false
	default:
		return true
	}
}

// who names whom the event is counted to.
func who(e *querschott.Access) string {
	switch {
	case e.Actor != "":
		return string(e.Actor)
	case e.Credential != "":
		return string(e.Credential)
	}
	return "network:" + network(e.Address)
}

// network returns the /24 of an IPv4 address and the first three groups of an IPv6 address, as text, without parsing more
// than that needs.
func network(address string) string {
	seen := 0
	for i := range len(address) {
		if c := address[i]; c == '.' || c == ':' {
			if seen++; seen == 3 {
				return address[:i]
			}
		}
	}
	return address
}

// hash maps texts to 64 bits, any of which sketches may use. It is the same in every process: the same events give the same
// alarms. Eight bytes at a time go through one 128-bit product, as in wyhash.
func hash(parts ...string) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, s := range parts {
		n := uint64(len(s))
		for ; len(s) >= 8; s = s[8:] {
			h = mix(h ^ (uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
				uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56))
		}
		rest := n << 56
		for i := range len(s) {
			rest ^= uint64(s[i]) << (8 * i)
		}
		h = mix(h ^ rest)
	}
	return h
}

func mix(v uint64) uint64 {
	hi, lo := bits.Mul64(v^0xa0761d6478bd642f, 0xe7037ed1a0b428db)
	return hi ^ lo
}

// calendar turns times into local days. It remembers the hour that it saw last.
type calendar struct {
	hour   int64 // since 1970, UTC
	offset int64 // seconds
}

// set fills in the fields of time. Practices and insurers live by German time.
func (c *calendar) set(e *Event) {
	e.Sec = e.At.Unix()
	if h := e.Sec / 3600; h != c.hour || c.offset == 0 {
		c.hour, c.offset = h, germanOffset(e.At)
	}
	local := e.Sec + c.offset
	e.Day = int(local / 86400)
	e.Weekday = time.Weekday((e.Day + 4) % 7) // the first of January 1970 was a Thursday
	e.Minute = int(local % 86400 / 60)
}

// germanOffset returns the distance of German time to UTC in seconds: summer time lasts from the last Sunday of March to the
// last Sunday of October, 01:00 UTC (directive 2000/84/EC).
func germanOffset(t time.Time) int64 {
	t = t.UTC()
	change := func(m time.Month) time.Time {
		last := time.Date(t.Year(), m, 31, 1, 0, 0, 0, time.UTC)
		return last.AddDate(0, 0, -int(last.Weekday()))
	}
	if t.Before(change(time.March)) || !t.Before(change(time.October)) {
		return 3600
	}
	return 7200
}
