package intake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// chamber is the pump's side of one compartment.
type chamber struct {
	c querschott.Compartment

	mu      sync.Mutex // guards the fields below; never held while doing anything that may take time
	epoch   uint64     // of the last order obeyed
	open    bool
	keys    *seal.Keys         // nil unless open; also nil while they cannot be unlocked
	queued  bool               // in the line
	idle    chan struct{}      // closed when the turn ends; nil unless there is one
	stop    context.CancelFunc // ends the turn's context; nil unless there is one
	tries   int                // turns that failed in a row
	resting *time.Timer        // until the next try; nil unless the last turn failed
	trouble string
	over    bool // the pump has ended
	share   int  // per cent of its turns that it takes; 0: all

	// Owned by the turn.
	unsure bool                // whether the cell has more than was heard of
	unread map[uint64]struct{} // messages that their handler cannot take
	prover *seal.Keys
	proven map[uint32]struct{} // versions of prover's keys that have opened something
}

// obeys takes over an order, unless a later one was obeyed. It ends what an earlier one began. The caller holds mu.
func (ch *chamber) obeys(epoch uint64, open bool) bool {
	if epoch < ch.epoch {
		return false
	}
	ch.epoch, ch.open, ch.tries, ch.trouble = epoch, open, 0, ""
	if ch.resting != nil {
		ch.resting.Stop()
		ch.resting = nil
	}
	return true
}

// admit gives a chamber its keys, unless its door has moved on meanwhile. Without keys the turns try to unlock them.
func (ch *chamber) admit(epoch uint64, keys *seal.Keys) {
	ch.mu.Lock()
	old := keys
	if !ch.over && ch.obeys(epoch, true) {
		old, ch.keys = ch.keys, keys
	}
	ch.mu.Unlock()
	if old != nil {
		old.Forget()
	}
}

// shut stops a chamber at the next record and forgets its keys. It waits until nothing is on its way any more.
func (ch *chamber) shut(ctx context.Context, epoch uint64) error {
	ch.mu.Lock()
	if !ch.obeys(epoch, false) {
		ch.mu.Unlock()
		return nil
	}
	idle, keys, stop := ch.idle, ch.keys, ch.stop
	ch.keys = nil
	ch.mu.Unlock()
	if stop != nil {
		stop()
	}
	if keys != nil {
		keys.Forget() // what a turn still does comes to nothing without them
	}
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a delivery to %s is still under way: %w", ch.c, ctx.Err())
	}
}

// adopt gives an open chamber the keys that a turn has unlocked, or takes those away that are of no use.
func (ch *chamber) adopt(epoch uint64, old, keys *seal.Keys) bool {
	ch.mu.Lock()
	fits := ch.open && ch.epoch == epoch && ch.keys == old
	if fits {
		ch.keys = keys
	}
	ch.mu.Unlock()
	gone := old
	if !fits {
		gone = keys
	}
	if gone != nil {
		gone.Forget()
	}
	return fits
}

// running reports whether a turn that began with these keys may go on.
func (ch *chamber) running(keys *seal.Keys) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.open && ch.keys == keys
}

// ready reports whether a chamber may enter the line, which it then must. One that is resting or has a turn looks again
// at the end of it.
func (ch *chamber) ready() bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !ch.open || ch.queued || ch.idle != nil || ch.resting != nil {
		return false
	}
	ch.queued = true
	return true
}

// begin starts a turn; not ok if the door was shut while the chamber stood in the line.
func (ch *chamber) begin(stop context.CancelFunc) (keys *seal.Keys, epoch uint64, tries int, ok bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.queued = false
	if !ch.open {
		return nil, 0, 0, false
	}
	ch.idle, ch.stop = make(chan struct{}), stop
	return ch.keys, ch.epoch, ch.tries, true
}

// end finishes a turn that began with an order's epoch. If it failed, again is called after a rest. It reports whether this
// was the first failure.
func (ch *chamber) end(epoch uint64, err error, now time.Time, again func()) (first bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	close(ch.idle)
	ch.idle, ch.stop = nil, nil
	if !ch.open || ch.epoch != epoch {
		return false // a later order has set everything as it must be
	}
	if err == nil {
		ch.tries, ch.trouble = 0, ""
		if ch.share > 0 && ch.share < whole {
			ch.rest(pace*time.Duration(whole-ch.share)/time.Duration(ch.share), again)
		}
		return false
	}
	if ch.tries++; ch.tries == 1 {
		ch.trouble = "nothing can be delivered since " + now.UTC().Format(time.DateTime) +
			" UTC: the cell, the keys, the journal or the ledger failed; see the log"
	}
	ch.rest(min(firstRetry<<min(ch.tries-1, 20), lastRetry), again)
	return ch.tries == 1
}

// pace is how long a turn counts for a compartment whose door opens in stages: at 10 per cent nine such times pass between
// two turns, each of which takes a tenth of its messages.
const (
	pace  = 100 * time.Millisecond
	whole = 100
)

// sharing returns the share in per cent.
func (ch *chamber) sharing() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.share == 0 {
		return whole
	}
	return ch.share
}

// holds reports whether an order that delivers is obeyed already.
func (ch *chamber) holds(epoch uint64) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.open && ch.epoch == epoch && ch.keys != nil
}

// rest keeps the chamber out of the line for a while. The caller holds mu.
func (ch *chamber) rest(d time.Duration, again func()) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		ch.mu.Lock()
		mine := ch.resting == timer
		if mine {
			ch.resting = nil
		}
		ch.mu.Unlock()
		if mine {
			again()
		}
	})
	ch.resting = timer
}

// empty takes the keys away when the pump ends.
func (ch *chamber) empty() {
	ch.mu.Lock()
	keys := ch.keys
	ch.keys, ch.open, ch.over = nil, false, true
	if ch.resting != nil {
		ch.resting.Stop()
		ch.resting = nil
	}
	ch.mu.Unlock()
	if keys != nil {
		keys.Forget()
	}
}
