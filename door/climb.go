package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// ErrUnjudged is the judge's answer when nobody can say how an interval was, because the platform itself stops. It counts
// neither as a good nor as a bad one.
var ErrUnjudged = errors.New("the interval cannot be judged")

// watched is what the platform knows of the stage that it looks at. Guarded by door.mu.
type watched struct {
	epoch uint64
	since time.Time // begin of the interval
	good  int       // intervals in a row
	done  bool      // the last stage was good too
}

// climb leads all doors that open in stages.
func (b *Book) climb(ctx context.Context) {
	if !b.staged() {
		return
	}
	var all sync.WaitGroup
	for _, d := range b.doors {
		if s := d.current.Load(); s.order.Stages != "" {
			all.Go(func() { b.climbOne(ctx, d, s) })
		}
	}
	all.Wait()
}

// climbOne looks whether an interval is over, and moves a stage on or back.
func (b *Book) climbOne(ctx context.Context, d *door, s *signed) {
	since, now, over := d.interval(s, b.cfg.Now())
	if !over {
		return
	}
	bad := b.cfg.Judge(s.order.Compartment, since, now)
	share, reason, moves := d.judged(s, now, bad)
	if !moves {
		return
	}
	var err error
	switch share {
	case 0:
		_, err = b.Set(ctx, Request{Compartment: s.order.Compartment, To: querschott.Hold, Incident: s.order.Incident, Reason: reason}, b.cfg.Machine)
	default:
		err = b.move(ctx, d, s, share, reason)
	}
	if err != nil && ctx.Err() == nil {
		b.cfg.Log.Error("a door did not reach its next stage as it should", "compartment", s.order.Compartment.String(), "share", share, "err", err)
	}
}

// interval returns the interval that is over. A clock that goes back begins a new one; one that jumps ahead ends one, not many.
func (d *door) interval(s *signed, now time.Time) (since, until time.Time, over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &d.watched
	if w.epoch != s.order.Epoch || now.Before(w.since) {
		*w = watched{epoch: s.order.Epoch, since: now, done: w.done && w.epoch == s.order.Epoch}
	}
	return w.since, now, !w.done && now.Sub(w.since) >= s.every
}

// judged counts an interval. It returns the share to move to, 0 for hold, and false if the door stays as it is.
func (d *door) judged(s *signed, now time.Time, bad error) (share int, reason string, moves bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, share := &d.watched, d.shareOf(s)
	if d.current.Load() != s || w.epoch != s.order.Epoch {
		return 0, "", false
	}
	at := slices.Index(s.shares, share)
	w.since = now
	if errors.Is(bad, ErrUnjudged) {
		return 0, "", false
	}
	if bad != nil {
		w.good = 0
		reason = shorten(fmt.Sprintf("the interval at %d %% was bad: %s", share, bad))
		if at <= 0 {
			return 0, reason, true
		}
		return s.shares[at-1], reason, true
	}
	if w.good++; w.good < goodIntervals {
		return 0, "", false
	}
	w.good = 0
	if share == whole {
		w.done = true
		return 0, "", false
	}
	return s.shares[at+1], fmt.Sprintf("%d good intervals at %d %%", goodIntervals, share), true
}

// shorten makes a text fit to be a reason.
func shorten(text string) string {
	if !plain(text) || len(text) > MaxReason {
		return "the interval was bad"
	}
	return text
}

// move takes one step. Forward, the ledger has it before it is in force; back, it is in force first.
func (b *Book) move(ctx context.Context, d *door, s *signed, share int, reason string) error {
	start := time.Now()
	next, err := b.signStep(d, s, share, reason)
	if err != nil {
		return err
	}
	ctx, cancel := b.patiently(ctx)
	defer cancel()
	if share > d.shareOf(s) {
		if err := b.recordStep(ctx, d, s, next); err != nil {
			return fmt.Errorf("couldn't record the step, the door stays at its stage: %w", err)
		}
	}
	replaced, ok := d.swapStep(s, next, share < d.shareOf(s))
	if !ok {
		return errOvertaken
	}
	stored := begin(ctx, func() error { return b.store(ctx, d) })
	recorded := begin(ctx, func() error { return b.record(ctx, d) })
	return errors.Join(b.enforce(ctx, replaced, s.order, start), stored(), recorded())
}

func (b *Book) signStep(d *door, s *signed, share int, reason string) (*signed, error) {
	o, number := s.order, uint64(1)
	if st := d.step.Load(); st != nil && st.step.Epoch == o.Epoch {
		number = st.step.Number + 1
	}
	st := Step{Compartment: o.Compartment, Epoch: o.Epoch, Number: number, Share: share, At: b.cfg.Now().UTC().Truncate(time.Microsecond), Reason: reason}
	raw, err := note.Sign(&note.Note{Text: st.Text()}, b.cfg.Machine)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the step: %w", err)
	}
	return &signed{step: st, raw: raw}, nil
}

// recordStep records a step forward after everything that the door owes the ledger.
func (b *Book) recordStep(ctx context.Context, d *door, s, next *signed) error {
	if err := d.ledger.take(ctx); err != nil {
		return err
	}
	defer d.ledger.give()
	if err := b.recordInTurn(ctx, d); err != nil {
		return err
	}
	if d.current.Load() != s {
		return errOvertaken
	}
	return b.cfg.RecordStep(ctx, s.order, next.step)
}

// swapStep puts a step in force, unless the door has moved. owed: the ledger does not have it yet.
func (d *door) swapStep(s, next *signed, owed bool) (replaced context.Context, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current.Load() != s {
		return nil, false
	}
	d.step.Store(next)
	if owed {
		d.owed = append(d.owed, owedStep{s.order, next.step})
	}
	return d.replaced, true
}

// owedStep is a step in force that the ledger does not know yet.
type owedStep struct {
	order Order
	step  Step
}

// recordOwed gives the ledger the steps back that it lacks. The caller holds d.ledger.
func (b *Book) recordOwed(ctx context.Context, d *door) error {
	for {
		d.mu.Lock()
		if len(d.owed) == 0 {
			d.mu.Unlock()
			return nil
		}
		next := d.owed[0]
		d.mu.Unlock()
		if err := b.cfg.RecordStep(ctx, next.order, next.step); err != nil {
			return err
		}
		d.mu.Lock()
		d.owed = d.owed[1:]
		d.mu.Unlock()
	}
}

// loadStep reads how far a door had come. What cannot be believed means the first stage; so does a step that lets more out
// than the last one in the ledger, which an earlier step does when the door has fallen back.
func (b *Book) loadStep(c querschott.Compartment, d *door, last Mark) {
	raw, err := disk.ReadFile(b.cfg.FS, b.path(c, "stage"), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var s *signed
	if err == nil {
		s, err = b.roster.openStep(raw)
	}
	d.onDisk.step = &signed{}
	if err == nil && last.Stages != "" && s.step.Epoch == last.Epoch && s.step.Share > last.Share {
		err = fmt.Errorf("it has %d %%, but the ledger remembers %d %%", s.step.Share, last.Share)
	}
	if err == nil && d.current.Load().fits(s.step) {
		d.step.Store(s)
		d.onDisk.step = s
		return
	}
	if err != nil {
		b.cfg.Log.Warn("the stage of a door cannot be trusted; it begins with the first one", "compartment", c.String(), "err", err)
	}
}

// openStep verifies a signed step: the platform's key, and no other, may have signed it.
func (r *roster) openStep(raw []byte) (*signed, error) {
	if len(raw) > maxNote {
		return nil, querschott.Refuse(querschott.CodeInvalid, "a signed step has at most %d bytes", maxNote)
	}
	n, err := note.Open(raw, r.verifiers)
	if err != nil {
		return nil, fmt.Errorf("couldn't verify the step: %w", err)
	}
	if r.owner[n.Sigs[0].Name] != MachineActor {
		return nil, querschott.Refuse(querschott.CodeForbidden, "a step is signed by the platform")
	}
	st, err := ParseStep(n.Text)
	return &signed{step: st, raw: raw}, err
}
