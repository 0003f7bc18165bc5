package watch_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
)

// throng makes events of very many actors without work of its own worth mentioning: everything that an event names lies ready.
type throng struct {
	users, practices, clerks int

	names   []string // of all actors, in this order
	creds   []string
	nets    []string
	reasons []string
	rnd     *rand.Rand
	now     time.Time
	seq     uint64
	event   querschott.Access
}

func newThrong(users, practices, clerks int) *throng {
	c := &throng{users: users, practices: practices, clerks: clerks, rnd: rand.New(rand.NewPCG(4, 2)), now: noon}
	for i := range users + practices + clerks {
		name := fmt.Sprintf("actor-%d", i)
		c.names, c.creds = append(c.names, name), append(c.creds, "c:"+name)
	}
	for i := range 200_000 {
		c.nets = append(c.nets, fmt.Sprintf("10.%d.%d.7", i>>8, i&255))
	}
	for i := range 1 << 17 {
		c.reasons = append(c.reasons, fmt.Sprintf("case-%d", i))
	}
	return c
}

// next is an event of one actor, step after the one before.
func (c *throng) next(i int, step time.Duration) *querschott.Access {
	c.seq++
	c.now = c.now.Add(step)
	home := tenants[i%3]
	c.event = querschott.Access{
		Seq: c.seq, Gate: "g", Time: c.now, Insurer: home, Tenant: home, Actor: querschott.Actor(c.names[i]),
		Credential: querschott.CredentialID(c.creds[i]), Action: "read", Query: "GET person", Records: 1, Outcome: "success",
		RequestID: "r", Address: "10.0.0.1", Binding: c.creds[i], Status: 200,
	}
	e := &c.event
	switch {
	case i < c.users:
		e.Role, e.Service, e.Person, e.Address = querschott.RoleInsured, querschott.App, population[i%strangers], c.nets[i%len(c.nets)]
	case i < c.users+c.practices:
		e.Role, e.Service, e.Person, e.Tenant = querschott.RolePractice, querschott.VSDM, population[c.rnd.IntN(strangers)], ""
	default:
		e.Role, e.Service, e.Person = querschott.RoleStaff, querschott.Desk, population[c.rnd.IntN(strangers)]
		if c.rnd.IntN(100) >= 3 {
			e.ReasonRef = c.reasons[c.rnd.IntN(len(c.reasons))]
		}
	}
	return e
}

// any is an event of somebody: as many of staff as on a working day, the others by their number.
func (c *throng) any(staff, practice float64) *querschott.Access {
	apart := 100 * time.Microsecond // 10,000 a second
	if staff == 1 {
		apart = 10 * time.Millisecond
	}
	switch x := c.rnd.Float64(); {
	case x < staff:
		return c.next(c.users+c.practices+c.rnd.IntN(c.clerks), apart)
	case x < staff+practice:
		return c.next(c.users+c.rnd.IntN(c.practices), apart)
	default:
		return c.next(c.rnd.IntN(c.users), apart)
	}
}

// fresh gives events texts of their own that lie where they were just made, as those of a request or a line do.
func fresh(batch []querschott.Access, to *strings.Builder) {
	texts := func(e *querschott.Access) []*string {
		return []*string{(*string)(&e.Actor), (*string)(&e.Credential), &e.Person, &e.ReasonRef, &e.Address, &e.Binding}
	}
	to.Reset()
	for i := range batch {
		for _, t := range texts(&batch[i]) {
			to.WriteString(*t)
		}
	}
	all := to.String()
	for i := range batch {
		for _, t := range texts(&batch[i]) {
			*t, all = all[:len(*t)], all[len(*t):]
		}
	}
}

// processor returns the processor time that the process has used, the collection of garbage among it.
func processor(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillions looks at events of 3,130,000 actors who are all known already: everybody, staff alone, users of the app alone.
func BenchmarkMillions(b *testing.B) {
	c := newThrong(3_000_000, 100_000, 30_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w, err := watch.New(watch.Config{Canaries: population[:100]})
	if err != nil {
		b.Fatal(err)
	}
	for i := range c.names {
		w.Observe(c.next(i, time.Millisecond))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for _, mix := range []struct {
		name            string
		staff, practice float64
	}{{"mixed", 0.3, 0.3}, {"staff", 1, 0}, {"app", 0, 0}, {"practices", 0, 1}} {
		b.Run(mix.name, func(b *testing.B) {
			var used time.Duration
			batch, copies := make([]querschott.Access, 4096), &strings.Builder{}
			for left := b.N; left > 0; left -= len(batch) {
				for i := range batch {
					batch[i] = *c.any(mix.staff, mix.practice)
				}
				fresh(batch, copies)
				begun := processor(b)
				for i := range batch[:min(left, len(batch))] {
					w.Observe(&batch[i])
				}
				used += processor(b) - begun
			}
			b.ReportMetric(0, "ns/op") // making the events is most of it
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(c.names)), "heap-B/actor")
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/used.Seconds(), "events/cpu-s")
		})
	}
	for name, s := range w.Report().Detectors {
		if s.Evicted > 0 {
			b.Errorf("%s forgot %d actors", name, s.Evicted)
		}
	}
}
