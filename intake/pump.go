package intake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

// What one turn of a compartment takes at most. After it the compartment goes to the end of the line.
const (
	turnMessages = 64
	turnBytes    = 8 << 20
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Handler writes what a message changes in its cell into the transaction. It refuses nothing: what it cannot read it keeps
// and says so in the note. An error means that this node has a problem; the message is tried again.
type Handler func(ctx context.Context, m *Message, tx *Tx) (Note, error)

// Note is what a handler found.
type Note struct {
	Document string          // identifier, may be empty
	Person   querschott.KVNR // may be empty
	Result   string          // "stored", "duplicate", "unreadable", ...
	Findings []string        // what was wrong with it; no contents, no numbers of persons
}

// Delivery is one message on its way into the cell.
type Delivery struct {
	Compartment querschott.Compartment
	Seq         uint64
	Sender      string
	Received    time.Time
	Note        Note
}

// PumpConfig is what a pump needs.
type PumpConfig struct {
	Journal  *Journal
	Cell     func(querschott.IK) (cell.Store, error)
	Unlock   func(...querschott.Compartment) (map[querschott.Compartment]*seal.Keys, error)
	Handlers map[querschott.Service]Handler
	Keep     Handler                                 // takes what a handler could not; must not fail for the message's sake
	Record   func(context.Context, []Delivery) error // writes to the ledger; durable on nil
	Workers  int                                     // 0: 4
	Now      func() time.Time
	Log      *slog.Logger
}

// Pump delivers what waits in the journal to the cells while doors are open.
type Pump struct {
	cfg      PumpConfig
	chambers map[querschott.Compartment]*chamber // fixed
	line     chan *chamber                       // who waits for a turn; every chamber at most once

	mu    sync.Mutex // guards stats
	stats PumpStats
}

// PumpStats counts since the start.
type PumpStats struct {
	Delivered  uint64 `json:"delivered"`
	Duplicates uint64 `json:"duplicates"`
	Flagged    uint64 `json:"flagged"` // kept, but with findings
	Damaged    uint64 `json:"damaged"`
}

// chamber is the pump's side of one compartment.
type chamber struct {
	c querschott.Compartment

	mu      sync.Mutex // guards the fields below
	epoch   uint64     // of the last order obeyed
	open    bool
	keys    *seal.Keys    // nil unless open
	queued  bool          // in the line
	busy    bool          // having a turn
	idle    chan struct{} // closed when the turn ends; nil unless busy
	tries   int           // turns that failed in a row
	retry   time.Time     // not before
	trouble string
}

// NewPump makes a pump for the compartments, all of them shut. It reads the cells' cursors, so that what they have already
// is not delivered again.
func NewPump(cfg PumpConfig, compartments []querschott.Compartment) (*Pump, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	p := &Pump{cfg: cfg, chambers: map[querschott.Compartment]*chamber{}, line: make(chan *chamber, len(compartments))}
	for _, c := range compartments {
		if err := p.catchUp(c); err != nil {
			// A damaged cell floods its own compartment only.
			cfg.Log.Error("couldn't read how far a cell has come; nothing is delivered there", "compartment", c.String(), "err", err)
			continue
		}
		p.chambers[c] = &chamber{c: c}
	}
	cfg.Journal.Notify(p.wake)
	return p, nil
}

func (p *Pump) catchUp(c querschott.Compartment) error {
	store, err := p.cfg.Cell(c.Insurer)
	if err != nil {
		return err
	}
	value, err := store.Get(cursorKey(c, p.cfg.Journal.ID()))
	if errors.Is(err, cell.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(value) != 8 {
		return fmt.Errorf("the cursor of %s has %d bytes", c, len(value))
	}
	p.cfg.Journal.skip(c, binary.BigEndian.Uint64(value))
	return nil
}

// cursorKey is where a cell keeps the sequence number of the last entry that it has taken from a journal.
func cursorKey(c querschott.Compartment, journal [16]byte) []byte {
	return cell.Key(cell.ServiceSpace(c.Service), cell.KindCursor, []byte("intake"), journal[:])
}

// bindingKey is where a cell keeps that it has a message: what an audit looks for, without any key.
func bindingKey(c querschott.Compartment, b Binding) []byte {
	return cell.Key(cell.ServiceSpace(c.Service), cell.KindSeen, []byte("message"), b[:])
}

// Delivered reports whether a cell has a message.
func Delivered(store cell.Store, c querschott.Compartment, b Binding) (bool, error) {
	_, err := store.Get(bindingKey(c, b))
	if errors.Is(err, cell.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Obey follows a door. When it returns for a door that does not deliver, no message of the compartment is on its way any
// more and its private keys are forgotten; for one that delivers, they are in memory. Orders may arrive in any sequence:
// an older epoch than the last one obeyed is ignored.
func (p *Pump) Obey(ctx context.Context, c querschott.Compartment, epoch uint64, s querschott.DoorState) error {
	ch := p.chambers[c]
	if ch == nil || !c.Service.ByMail() {
		return nil
	}
	if !s.Delivers() {
		return ch.shut(ctx, epoch)
	}
	keys, err := p.cfg.Unlock(c)
	if err != nil {
		ch.setTrouble("its private keys cannot be unlocked")
		return fmt.Errorf("couldn't unlock %s: %w", c, err)
	}
	p.admit(ch, epoch, keys[c])
	return nil
}

// OpenAll opens many doors with one unlocking of the keyring.
func (p *Pump) OpenAll(epochs map[querschott.Compartment]uint64) error {
	var list []querschott.Compartment
	for c := range epochs {
		if p.chambers[c] != nil {
			list = append(list, c)
		}
	}
	keys, err := p.cfg.Unlock(list...)
	if err != nil {
		return fmt.Errorf("couldn't unlock the open compartments: %w", err)
	}
	for _, c := range list {
		p.admit(p.chambers[c], epochs[c], keys[c])
	}
	return nil
}

// admit gives a chamber its keys, unless its door has moved on meanwhile.
func (p *Pump) admit(ch *chamber, epoch uint64, keys *seal.Keys) {
	ch.mu.Lock()
	if epoch < ch.epoch {
		ch.mu.Unlock()
		keys.Forget()
		return
	}
	if old := ch.keys; old != nil {
		defer old.Forget()
	}
	ch.epoch, ch.open, ch.keys, ch.tries, ch.retry, ch.trouble = epoch, true, keys, 0, time.Time{}, ""
	ch.mu.Unlock()
	p.wake(ch.c)
}

// shut stops a chamber at the next record and forgets its keys.
func (ch *chamber) shut(ctx context.Context, epoch uint64) error {
	ch.mu.Lock()
	if epoch < ch.epoch {
		ch.mu.Unlock()
		return nil
	}
	ch.epoch, ch.open = epoch, false
	idle, keys := ch.idle, ch.keys
	ch.keys = nil
	ch.mu.Unlock()
	if keys != nil {
		defer keys.Forget()
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

// running reports whether a turn that began with these keys may go on.
func (ch *chamber) running(keys *seal.Keys) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.open && ch.keys == keys
}

func (ch *chamber) setTrouble(text string) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.trouble = text
}

// wake puts a chamber into the line if there is something to do.
func (p *Pump) wake(c querschott.Compartment) {
	ch := p.chambers[c]
	if ch == nil {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !ch.open || ch.queued || ch.busy || p.cfg.Now().Before(ch.retry) {
		return
	}
	ch.queued = true
	p.line <- ch
}

// Run delivers until the context ends.
func (p *Pump) Run(ctx context.Context) error {
	var g errgroup.Group
	for range p.cfg.Workers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case ch := <-p.line:
					p.serve(ctx, ch)
				}
			}
		})
	}
	err := g.Wait()
	for _, ch := range p.chambers {
		ch.mu.Lock()
		keys := ch.keys
		ch.keys, ch.open = nil, false
		ch.mu.Unlock()
		if keys != nil {
			keys.Forget()
		}
	}
	return err
}

// serve gives a chamber its turn.
func (p *Pump) serve(ctx context.Context, ch *chamber) {
	ch.mu.Lock()
	ch.queued = false
	keys := ch.keys
	if !ch.open || keys == nil {
		ch.mu.Unlock()
		return
	}
	ch.busy, ch.idle = true, make(chan struct{})
	size := turnMessages
	if ch.tries > 0 {
		size = 1 // find out which message it is
	}
	ch.mu.Unlock()

	err := p.turn(ctx, ch, keys, size)

	ch.mu.Lock()
	ch.busy = false
	close(ch.idle)
	ch.idle = nil
	switch {
	case err == nil || errors.Is(err, errStopped) || ctx.Err() != nil:
		ch.tries, ch.trouble, ch.retry = 0, "", time.Time{}
	default:
		wait := min(firstRetry<<min(ch.tries, 20), lastRetry)
		if ch.tries == 0 {
			p.cfg.Log.Error("couldn't deliver; it is tried again", "compartment", ch.c.String(), "err", err)
		}
		ch.tries++
		ch.trouble, ch.retry = "the cell, the keys or the ledger failed; see the log", p.cfg.Now().Add(wait)
		time.AfterFunc(wait, func() { p.wake(ch.c) })
	}
	ch.mu.Unlock()
	if p.cfg.Journal.Waiting(ch.c) > 0 {
		p.wake(ch.c)
	}
}

// Stats returns the counters.
func (p *Pump) Stats() PumpStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Trouble says for each compartment that should deliver and cannot, why.
func (p *Pump) Trouble() map[querschott.Compartment]string {
	list := map[querschott.Compartment]string{}
	for c, ch := range p.chambers {
		ch.mu.Lock()
		if ch.trouble != "" {
			list[c] = ch.trouble
		}
		ch.mu.Unlock()
	}
	return list
}

// KeysInMemory returns how many compartments' private keys are in memory.
func (p *Pump) KeysInMemory() int {
	n := 0
	for _, ch := range p.chambers {
		ch.mu.Lock()
		if ch.keys != nil {
			n++
		}
		ch.mu.Unlock()
	}
	return n
}
