package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

const (
	firstPause = time.Minute // of a mail and of a domain
	lastPause  = 4 * time.Hour

	firstRelayPause = 5 * time.Second
	lastRelayPause  = 5 * time.Minute

	storePause = time.Second      // after a failure of the store that may pass
	longest    = time.Minute      // between two looks at the clock, which may be set
	grace      = 10 * time.Second // for transactions under way when Run ends
	pruneEvery = time.Hour
	pruneBatch = 500
)

// pause returns how long to wait after n failures in a row, n from one: it doubles, with up to a fifth taken off at random
// so that what failed together does not come back together.
func pause(first, last time.Duration, n int) time.Duration {
	d := last
	if n = max(n, 1); n < 32 && first<<(n-1) < last {
		d = first << (n - 1)
	}
	return d - rand.N(d/5)
}

// Run delivers until the context ends; then it finishes what is under way, for ten seconds at most, and returns nil. It
// returns an error when the store is closed or damaged. It runs once at a time.
func (o *Outbox) Run(ctx context.Context) error {
	if !o.running.CompareAndSwap(false, true) {
		return errors.New("the outbox is running already")
	}
	defer o.running.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })
	jobs := make(chan job)
	g.Go(func() error {
		defer close(jobs)
		return o.dispatch(ctx, jobs)
	})
	for range o.opt.Workers {
		w := worker{o: o}
		g.Go(func() error { return w.run(sending, jobs) })
	}
	g.Go(func() error { return o.pruneAlways(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("the outbox cannot go on: %w", err)
	}
	return nil
}

// lasting reports whether an error of the store will not pass.
func lasting(err error) bool {
	return errors.Is(err, cell.ErrClosed) || errors.Is(err, cell.ErrDamaged)
}

// sleep waits for the time or the end of the context, and reports whether the context goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// dispatch hands out what is due.
func (o *Outbox) dispatch(ctx context.Context, jobs chan<- job) error {
	for ctx.Err() == nil {
		j, wait, err := o.next()
		if err != nil {
			if lasting(err) {
				return err
			}
			o.opt.Log.Error("couldn't read what mail is due; repeated", "err", err)
			sleep(ctx, storePause)
			continue
		}
		if wait > 0 {
			if o.doubt.Load() {
				wait = min(wait, storePause)
			}
			o.await(ctx, wait)
			continue
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			o.putBack(j, 0)
		}
	}
	return nil
}

// await waits until something may have become due.
func (o *Outbox) await(ctx context.Context, d time.Duration) {
	t := time.NewTimer(min(d, longest))
	defer t.Stop()
	select {
	case <-o.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// next returns a mail that is due, or how long to wait for one.
func (o *Outbox) next() (job, time.Duration, error) {
	// A store that goes on failing must not cost a recount for every failure.
	if o.doubt.Load() && time.Since(o.counted) >= storePause {
		if err := o.recount(); err != nil {
			return job{}, 0, err
		}
		o.counted = time.Now()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.q.sweep()
	for {
		now := o.opt.Now()
		if wait := o.relayWait(now); wait > 0 {
			return job{}, wait, nil
		}
		l := o.q.turn(now)
		if l == nil {
			if at, ok := o.q.nextAt(); ok {
				return job{}, max(at.Sub(now), time.Microsecond), nil
			}
			return job{}, longest, nil
		}
		if len(l.ready) == 0 {
			if err := o.fill(l, now); err != nil {
				return job{}, 0, err
			}
		}
		if j, ok := o.q.hand(l, now); ok {
			return j, 0, nil
		}
	}
}

// relayWait returns how long nothing is handed out for the relay's sake.
func (o *Outbox) relayWait(now time.Time) time.Duration {
	switch {
	case o.opt.Relay == nil:
		return 0
	case o.relay.paused, o.relay.misses > 0 && o.q.busy > 0: // one mail at a time finds out whether the relay is back
		return longest
	default:
		return o.relay.until.Sub(now)
	}
}

// fill reads the first mails of a lane that are due. It is called with mu held and gives it up meanwhile; only the
// dispatcher calls it.
func (o *Outbox) fill(l *lane, now time.Time) error {
	from := l.next
	l.next = never // whatever is put while mu is free says so here
	skip := maps.Clone(l.inHand)
	o.mu.Unlock()
	var found []job
	rest := uint64(never)
	lo := dueKey(l.id, from, ref{})
	hi := cell.PrefixEnd(cell.Key(cell.SpaceOutbox, kindDue, l.id[:]))
	err := o.store.Scan(lo, hi, func(key, value []byte) error {
		j, err := parseDue(key, value)
		switch {
		case err != nil:
			return err
		case skip[j.ref]:
			return nil
		case len(found) == handful || j.at > micros(now):
			rest = j.at
			return cell.ErrStop
		}
		found = append(found, j)
		return nil
	})
	o.mu.Lock()
	if err != nil {
		o.q.filled(l, nil, from)
		o.q.place(l, now)
		return err
	}
	o.q.filled(l, found, rest)
	return nil
}

// putBack returns a mail that nothing has happened to; its lane is left alone for a while.
func (o *Outbox) putBack(j job, rest time.Duration) {
	o.mu.Lock()
	now := o.opt.Now()
	l := o.q.back(j, false, j.at)
	if rest > 0 {
		l.until = now.Add(rest)
	}
	o.q.place(l, now)
	o.mu.Unlock()
	o.kick()
}

// finish writes what became of a mail, until it is written or the context ends, and takes the mail back. account is called
// with mu held.
func (o *Outbox) finish(ctx context.Context, j job, b *cell.Batch, gone bool, next uint64, account func(*lane)) error {
	sure := true
	for {
		err := o.commit(b, func() {
			l := o.q.back(j, gone && sure, next)
			account(l)
			o.q.place(l, o.opt.Now())
		})
		if err == nil {
			if !sure {
				o.doubt.Store(true) // an earlier try may have done it, and been counted already
				o.kick()
			}
			return nil
		}
		sure = false
		if lasting(err) || !sleep(ctx, storePause) {
			o.putBack(j, 0)
			return err
		}
	}
}

// worker delivers mail, over a connection of its own.
type worker struct {
	o    *Outbox
	call *call
}

func (w *worker) run(ctx context.Context, jobs <-chan job) error {
	defer func() { w.hangUp(true) }()
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	for {
		select {
		case j, ok := <-jobs:
			if !ok {
				return nil
			}
			if err := w.handle(ctx, j); err != nil && (lasting(err) || ctx.Err() == nil) {
				return err
			}
			idle.Reset(idleTime)
		case <-idle.C:
			w.hangUp(true)
		}
	}
}

func (w *worker) hangUp(polite bool) {
	if w.call != nil {
		w.call.hangUp(polite)
		w.call = nil
	}
}

var errUnreadable = errors.New("the stored mail cannot be read")

// load reads a mail; errUnreadable says that this mail will never be read.
func (o *Outbox) load(r ref) (Mail, error) {
	key := mailKey(r)
	sealed, err := o.store.Get(key)
	if errors.Is(err, cell.ErrNotFound) {
		return Mail{}, errUnreadable
	}
	if err != nil {
		return Mail{}, err
	}
	plain, err := o.unseal(key, sealed)
	if errors.Is(err, seal.ErrDamaged) {
		return Mail{}, errUnreadable
	}
	if err != nil {
		return Mail{}, err
	}
	m, err := decodeMail(plain)
	if err != nil {
		return Mail{}, errUnreadable
	}
	return m, nil
}

// handle does what is to be done with a mail that is due.
func (w *worker) handle(ctx context.Context, j job) error {
	o, weight := w.o, min(int64(j.size), bodyMemory)
	if err := o.sending.Acquire(ctx, weight); err != nil {
		o.putBack(j, 0)
		return err
	}
	defer o.sending.Release(weight)
	m, err := o.load(j.ref)
	switch {
	case errors.Is(err, errUnreadable):
		m = Mail{ID: j.ref.String()}
		return o.park(ctx, j, m, verdict{reason: err.Error()})
	case err != nil && lasting(err):
		o.putBack(j, 0)
		return err
	case err != nil:
		o.putBack(j, storePause)
		o.opt.Log.Error("couldn't read a mail; repeated", "mail", j.ref.String(), "err", err)
		return nil
	case o.isLocal(m.To):
		return o.moveLocal(ctx, j, m)
	case !o.mayLeave():
		o.putBack(j, 0)
		return nil
	}
	v := w.send(ctx, m)
	if v.hangUp || ctx.Err() != nil {
		w.hangUp(false)
	}
	if ctx.Err() != nil && v.result != sent && v.result != refused {
		o.putBack(j, 0) // we hung up, which says nothing about the relay
		return ctx.Err()
	}
	return o.conclude(ctx, j, m, v)
}

func (o *Outbox) mayLeave() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.relay.paused
}

// send offers a mail to the relay, over the connection of the mail before if there is one.
func (w *worker) send(ctx context.Context, m Mail) verdict {
	if w.call != nil && w.call.mails >= mailsPerCall {
		w.hangUp(true)
	}
	if w.call != nil {
		at, err := w.call.deliver(m)
		w.call.mails++
		v := judge(at, err)
		if !v.hangUp || at > stageMail || ctx.Err() != nil {
			return v
		}
		w.hangUp(false) // the relay had ended the connection while it was idle
	}
	var err error
	if w.call, err = w.o.opt.Relay.call(ctx); err != nil {
		return judge(stageConnect, err)
	}
	at, err := w.call.deliver(m)
	w.call.mails++
	return judge(at, err)
}

// conclude writes what the relay said about a mail.
func (o *Outbox) conclude(ctx context.Context, j job, m Mail, v verdict) error {
	o.noteRelay(v)
	var b cell.Batch
	switch v.result {
	case untouched:
		o.putBack(j, 0)
		return nil
	case sent:
		o.removeQueued(&b, j)
		b.Delete(mailKey(j.ref))
		markDone(&b, o.opt.Now(), hashID(m.ID))
		return o.finish(ctx, j, &b, true, never, func(l *lane) {
			l.misses, l.until = 0, time.Time{}
			o.sent++
		})
	case refused:
		return o.park(ctx, j, m, v)
	case later:
	}
	retry := j
	retry.attempts++
	retry.at = micros(o.opt.Now().Add(pause(firstPause, lastPause, int(min(retry.attempts, 1<<16)))))
	b.Delete(j.key())
	b.Put(retry.key(), retry.value())
	o.opt.Log.Warn("a mail could not be sent yet", "mail", j.ref.String(), "attempts", retry.attempts, "code", v.code,
		"reason", v.reason, "next", fromMicros(retry.at))
	return o.finish(ctx, j, &b, false, retry.at, func(l *lane) {
		if !v.domain {
			return
		}
		if l.misses++; l.misses >= tolerance {
			l.until = o.opt.Now().Add(pause(firstPause, lastPause, l.misses-tolerance+1))
		}
	})
}

// noteRelay learns about the relay from what became of a mail.
func (o *Outbox) noteRelay(v verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v.relayOK {
		if o.relay.misses > 0 {
			o.opt.Log.Info("the mail relay works again", "failures", o.relay.misses)
		}
		o.relay.misses, o.relay.until, o.relay.trouble = 0, time.Time{}, ""
		return
	}
	if !v.relay {
		return
	}
	if o.relay.misses == 0 {
		o.opt.Log.Error("the mail relay does not work; mail waits", "reason", v.reason)
	}
	o.relay.misses++
	o.relay.trouble = v.reason
	o.relay.until = o.opt.Now().Add(pause(firstRelayPause, lastRelayPause, o.relay.misses))
}

// removeQueued takes a mail out of the queue.
func (o *Outbox) removeQueued(b *cell.Batch, j job) {
	b.Delete(j.key())
	b.Delete(ageKey(j.ref))
}

// moveLocal puts a queued mail into its mailbox.
func (o *Outbox) moveLocal(ctx context.Context, j job, m Mail) error {
	var b cell.Batch
	o.removeQueued(&b, j)
	b.Delete(mailKey(j.ref))
	o.putLocal(&b, o.opt.Now(), j.ref, hashID(m.ID), m)
	return o.finish(ctx, j, &b, true, never, func(*lane) { o.local++ })
}

// park puts a mail aside until Retry.
func (o *Outbox) park(ctx context.Context, j job, m Mail, v verdict) error {
	id := j.ref.claim()
	if err := o.claims.take(ctx, id); err != nil { // Retry must not come between two tries of this
		o.putBack(j, 0)
		return err
	}
	defer o.claims.release(id)
	m.Body = nil
	f := refusal{envelope: m, size: j.size, attempts: j.attempts + 1, code: v.code, at: o.opt.Now(), reason: v.reason}
	var b cell.Batch
	o.removeQueued(&b, j)
	b.Put(failedKey(j.ref), o.seal(failedKey(j.ref), encodeRefusal(f)))
	o.opt.Log.Error("a mail was refused for good", "mail", j.ref.String(), "attempts", f.attempts, "code", v.code, "reason", v.reason)
	// A Retry may put the mail back into the store before it is taken back here, and a scan in between skips it.
	return o.finish(ctx, j, &b, true, j.at, func(*lane) { o.failed++ })
}

// pruneAlways forgets the IDs of mail that has been done for long.
func (o *Outbox) pruneAlways(ctx context.Context) error {
	for {
		more, err := o.prune()
		wait := pruneEvery
		switch {
		case err != nil && lasting(err):
			return err
		case err != nil:
			o.opt.Log.Error("couldn't forget the IDs of old mail; repeated", "err", err)
		case more:
			wait = storePause / 10
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// prune forgets some IDs and reports whether there are more.
func (o *Outbox) prune() (more bool, err error) {
	var b cell.Batch
	before := micros(o.opt.Now().Add(-o.opt.Retention))
	err = o.store.Scan(cell.Key(cell.SpaceOutbox, kindDone), cell.Key(cell.SpaceOutbox, kindDone, cell.Uint64(before)), func(key, _ []byte) error {
		parts, ok := partsOf(key, 8, len(idHash{}))
		if !ok {
			return malformed("time of a mail that is done")
		}
		b.Delete(key)
		b.Delete(seenKey(idHash(parts[1])))
		if more = b.Len() >= 2*pruneBatch; more {
			return cell.ErrStop
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	return more, o.store.Commit(&b)
}
