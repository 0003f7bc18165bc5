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

func (a *attempts) add(now time.Time, network netip.Prefix, cause string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := attempt{network, cause}
	t := a.waiting[key]
	if t == nil && len(a.waiting) >= maxAttempts {
		key = attempt{cause: "crowded"}
		t = a.waiting[key]
	}
	if t == nil {
		t = &tally{first: now}
		a.waiting[key] = t
	}
	t.last = now
	t.count++
}

// take returns the entries of what was counted, and forgets it.
func (a *attempts) take() []ledger.Entry {
	a.mu.Lock()
	waiting := a.waiting
	a.waiting = map[attempt]*tally{}
	a.mu.Unlock()
	entries := make([]ledger.Entry, 0, len(waiting))
	for key, t := range waiting {
		from := "many"
		if key.network.IsValid() {
			from = key.network.String()
		}
		entries = append(entries, ledger.Entry{
			Kind: ledger.KindAttempt, At: t.first, Outcome: ledger.OutcomeDenied, Reason: ledger.ReasonNotIdentified,
			Role: querschott.RoleUnknown, Purpose: ledger.PurposeNone,
			Detail: []ledger.Field{
				{Name: "network", Value: from},
				{Name: "cause", Value: key.cause},
				{Name: "count", Value: strconv.FormatUint(t.count, 10)},
				{Name: "last", Value: t.last.Format(time.RFC3339Nano)},
			},
		})
	}
	return entries
}

// settle writes down what was refused before identification. What cannot be written is counted as lost.
func (s *Server) settle(ctx context.Context) {
	entries := s.attempts.take()
	if len(entries) == 0 {
		return
	}
	if err := s.record(ctx, entries...); err != nil {
		s.stats.unsettled.Add(uint64(len(entries)))
		s.cfg.Log.Error("refusals of unknown callers could not be recorded", "entries", len(entries), "err", err)
	}
}
