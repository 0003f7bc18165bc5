package http

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// attempts counts what was refused before anybody was identified, so that the ledger has one entry per network and minute
// and not one per request: whoever cannot even say who he is must not be able to fill it.
type attempts struct {
	mu      sync.Mutex // guards the field below
	waiting map[attempt]*tally
}

type attempt struct {
	network netip.Prefix // zero: of all that found no place
	cause   string
}

type tally struct {
	first, last time.Time
	count       uint64
}

// maxAttempts is how many networks and causes have entries of their own in one minute.
const maxAttempts = 4096

func newAttempts() *attempts { return &attempts{waiting: map[attempt]*tally{}} }

// add counts one refusal, and reports whether it is the first of its kind in this minute.
func (a *attempts) add(now time.Time, network netip.Prefix, cause string) (first bool) {
	return a.merge(attempt{network, cause}, tally{now, now, 1})
}

func (a *attempts) merge(key attempt, more tally) (first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.waiting[key]
	if t == nil && len(a.waiting) >= maxAttempts {
		key = attempt{cause: "crowded"}
		t = a.waiting[key]
	}
	if first = t == nil; first {
		t = &tally{first: more.first}
		a.waiting[key] = t
	}
	t.last = more.last
	t.count += more.count
	return first
}

// take returns what was counted, and begins anew.
func (a *attempts) take() map[attempt]*tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := a.waiting
	a.waiting = map[attempt]*tally{}
	return waiting
}

// entry is what the ledger says of one network, cause and minute.
func (t *tally) entry(key attempt) ledger.Entry {
	from := "many"
	if key.network.IsValid() {
		from = key.network.String()
	}
	return ledger.Entry{
		Kind: ledger.KindAttempt, At: t.first, Outcome: ledger.OutcomeDenied, Reason: ledger.ReasonNotIdentified,
		Role: querschott.RoleUnknown, Purpose: ledger.PurposeNone,
		Detail: []ledger.Field{
			{Name: "network", Value: from},
			{Name: "cause", Value: key.cause},
			{Name: "count", Value: strconv.FormatUint(t.count, 10)},
			{Name: "last", Value: t.last.Format(time.RFC3339Nano)},
		},
	}
}

// settle writes down what was refused before identification. What cannot be written waits for the next time.
func (s *Server) settle(ctx context.Context) {
	waiting := s.attempts.take()
	if len(waiting) == 0 {
		return
	}
	entries := make([]ledger.Entry, 0, len(waiting))
	for key, t := range waiting {
		entries = append(entries, t.entry(key))
	}
	if err := s.record(ctx, entries...); err != nil {
		s.stats.unsettled.Add(1)
		s.cfg.Log.Error("refusals of unknown callers could not be recorded yet", "entries", len(entries), "err", err)
		for key, t := range waiting {
			s.attempts.merge(key, *t)
		}
	}
}
