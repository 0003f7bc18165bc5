package api

import (
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Check looks at one thing that the node needs.
type Check struct {
	Name string // a word
	// Live is set where a restart could help: then the node is not even alive while the check fails.
	Live bool
	// Probe returns why the check fails in a word or a few joined by hyphens, "" if it does not. It must be cheap and ask
	// nobody over a network.
	Probe func() string
}

// Report says how the node is.
type Report struct {
	Live    bool      `json:"live" doc:"false: a restart may help"`
	Ready   bool      `json:"ready" doc:"false: send no requests here"`
	Reasons []Reason  `json:"reasons" doc:"why not, empty if all is well"`
	At      time.Time `json:"at" doc:"when the node looked"`
}

// Reason is one check that fails.
type Reason struct {
	Check string `json:"check" doc:"what was looked at"`
	Why   string `json:"why" doc:"what is wrong, in a word"`
}

const (
	lookEvery = time.Second
	stuck     = 10 * time.Second // a look that takes longer is itself a reason
	dead      = time.Minute      // and this long, a reason to start again
	maxWhy    = 60
)

var why = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// Health looks at the node at most once a second. All methods may be called at the same time.
type Health struct {
	now     func() time.Time
	checks  []Check
	looking sync.Mutex   // held by the one who looks
	begun   atomic.Int64 // when the look under way began, Unix nanoseconds
	last    atomic.Pointer[Report]
}

// NewHealth starts without having looked.
func NewHealth(now func() time.Time, checks ...Check) *Health {
	return &Health{now: now, checks: checks}
}

// Look returns how the node is, as of a second ago at most, unless a look hangs: then it says so and does not wait.
func (h *Health) Look() Report {
	now := h.now()
	if r := h.last.Load(); r != nil && now.Sub(r.At) < lookEvery && !now.Before(r.At) {
		return *r
	}
	if !h.looking.TryLock() {
		return h.meanwhile(now)
	}
	defer h.looking.Unlock()
	h.begun.Store(now.UnixNano())
	r := Report{Live: true, Ready: true, Reasons: []Reason{}, At: now}
	for _, c := range h.checks {
		text := c.Probe()
		if text == "" {
			continue
		}
		if len(text) > maxWhy || !why.MatchString(text) {
			text = "internal" // whatever it is, it may hold what nobody should read
		}
		r.Ready, r.Live = false, r.Live && !c.Live
		r.Reasons = append(r.Reasons, Reason{c.Name, text})
	}
	h.last.Store(&r)
	return r
}

// meanwhile answers while somebody else looks.
func (h *Health) meanwhile(now time.Time) Report {
	since := now.Sub(time.Unix(0, h.begun.Load()))
	last := h.last.Load()
	if last != nil && since < stuck {
		return *last
	}
	r := Report{Live: since < dead || h.begun.Load() == 0, Reasons: []Reason{{"health", "not-known-yet"}}, At: now}
	if since >= stuck && h.begun.Load() != 0 {
		r.Reasons[0].Why = "a-check-hangs"
	}
	return r
}
