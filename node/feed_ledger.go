package node

import (
	"context"
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// fed is what a source has sent since the ledger was told.
type fed struct {
	batches, taken, refused, limited uint64
	first, last                      time.Time // when the first and the last of these batches came
}

// fedEvery is how often the ledger is told of one source at most: a source that sends each event by itself fills no ledger.
const fedEvery = time.Second

// note adds a batch. The caller holds f.mu.
func (f *feed) note(now time.Time, taken, refused, limited uint64) {
	if f.untold.batches == 0 {
		f.untold.first = now
	}
	f.untold.last = now
	f.untold.batches++
	f.untold.taken += taken
	f.untold.refused += refused
	f.untold.limited += limited
}

// due takes what the ledger is to be told, if its time has come.
func (f *feed) due(all bool) (fed, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.untold.batches == 0 || !all && now.Sub(f.told).Abs() < fedEvery {
		return fed{}, false
	}
	sent := f.untold
	f.untold, f.told = fed{}, now
	return sent, true
}

// giveBack keeps what the ledger did not take for the next time.
func (f *feed) giveBack(s fed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.untold.batches == 0 {
		f.untold.last = s.last
	}
	f.untold.first = s.first
	f.untold.batches += s.batches
	f.untold.taken += s.taken
	f.untold.refused += s.refused
	f.untold.limited += s.limited
}

// recordFeed tells the ledger which source has sent how many events when: an entry for each batch, and one for all batches of a
// second when there are more. Detectors have the events in any case: a ledger that fails makes nobody blind.
func (n *Node) recordFeed(ctx context.Context, f *feed, all bool) error {
	s, due := f.due(all)
	if !due {
		return nil
	}
	outcome := ledger.OutcomeSuccess
	switch {
	case s.taken == 0:
		outcome = ledger.OutcomeDenied
	case s.refused+s.limited > 0:
		outcome = ledger.OutcomePartial
	}
	num := func(v uint64) string { return strconv.FormatUint(v, 10) }
	err := n.append(ctx, ledger.Entry{
		Kind: ledger.KindNodeChange, At: s.last, Action: ledger.ActionReceive, Data: ledger.DataLog, Outcome: outcome, Role: querschott.RolePartner,
		Purpose: ledger.PurposeSecurity, Actor: querschott.Actor("feed:" + f.cfg.Machine), Detail: []ledger.Field{
			{Name: "batches", Value: num(s.batches)},
			{Name: "taken", Value: num(s.taken)},
			{Name: "refused", Value: num(s.refused)},
			{Name: "too-fast", Value: num(s.limited)},
			{Name: "first", Value: s.first.UTC().Format(time.RFC3339Nano)},
			{Name: "last", Value: s.last.UTC().Format(time.RFC3339Nano)},
		},
	})
	if err != nil {
		f.giveBack(s)
	}
	return err
}

// recordFeeds tells the ledger every second what it has not been told, and once more at the end.
func (n *Node) recordFeeds(ctx context.Context) error {
	return repeat(ctx, fedEvery, func(last bool) (err error) {
		for _, f := range n.alarms.feeds {
			if e := n.recordFeed(context.WithoutCancel(ctx), f, last); e != nil {
				err = e
			}
		}
		return err
	}, func(err error) {
		n.log.Error("ALARM: the ledger does not have which source has sent events", "err", err, "fix", "see 'querschott status'")
	})
}
