package node

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// While a door opens in stages one attempt less than ordinarily leads it back, and holds nobody's credential. When no door opens in
// stages any more the detectors are as before.
func TestDoubleSensitivityLeadsADoorBack(t *testing.T) {
	h, m := newVSDMHouse(t, 1, func(c *Config) { c.Watch.Per = 1_000_000_000 })
	var ahead atomic.Int64 // a stage is over when the test says so
	h.opt.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	if _, err := n.RotateCanaries(t.Context(), CanaryRotation{}); err != nil {
		t.Fatal(err)
	}
	c := h.compartment(0, querschott.VSDM)
	n.move(querschott.Hold, c)
	n.openInStages(c, "99,100 every 1h0m0s")
	h.until("the second set of detectors runs", func() bool { return n.subscribed(sharpSubscriber) })
	number := n.alarms.canaries.number(c.Insurer, n.alarms.canaries.kept(c.Insurer)[0])
	p := h.person(0, 0)
	p.Number = number
	x, status := n.reader(m), 0
	for i := 0; i < 5 && status != http.StatusOK; i++ { // one of a hundred is not let in
		x.practice = h.world.Practices()[i]
		status = x.check(t.Context(), p).Status
	}
	if status != http.StatusOK {
		t.Fatalf("the canary's card cannot be checked: %d", status)
	}
	h.until("the alarm is heard", func() bool {
		n.stages.mu.Lock()
		defer n.stages.mu.Unlock()
		return n.stages.counts[c] != nil && n.stages.counts[c].alarm != ""
	})
	h.until("the door falls back", func() bool {
		ahead.Add(int64(time.Minute))
		return n.Door(c).To == querschott.Hold
	})
	if got := n.Door(c).Reason; got != "the interval at 99 % was bad: alarm D3 at double sensitivity" {
		t.Errorf("it was held: %s", got)
	}
	if len(n.Denied()) != 0 {
		t.Errorf("somebody is denied: %+v", n.Denied())
	}
	h.until("the detectors are as before", func() bool { return !n.subscribed(sharpSubscriber) })
}

func (r *live) subscribed(name string) bool {
	for _, s := range r.stream.Stats().Subscribers {
		if s.Name == name {
			return true
		}
	}
	return false
}
