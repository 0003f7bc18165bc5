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

// A turn that takes longer is left alone: another worker takes over, so that cells which hang hold up nobody else.
const longTurn = 250 * time.Millisecond

// Handler writes what a message changes in its cell into the transaction. It refuses nothing: what it cannot read it keeps
// and says so in the note. An error means that this node has a problem; the message is tried again.
type Handler func(ctx context.Context, m *Message, tx *Tx) (Note, error)

// Results that the pump counts; services have further ones.
const (
	ResultStored    = "stored"
	ResultDuplicate = "duplicate" // of what is stored already
	ResultDamaged   = "damaged"   // in every copy of the journal, put aside
)

// Note is what a handler found.
type Note struct {
	Document string          // identifier, may be empty
	Person   querschott.KVNR // may be empty
	Result   string          // ResultStored, ResultDuplicate, or a word of the service
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
	Journal *Journal
	Cell    func(querschott.IK) (cell.Store, error)
	// Unlock returns the keys of those compartments that it can unlock, and an error about the others.
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
	relief   chan struct{}                       // asks for one more worker
	long     time.Duration                       // after which a turn's worker is replaced

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

// NewPump makes a pump for the compartments, all of them shut. It reads the cells' cursors, so that what they have already
// is not delivered again, and comes before the journal's first Append, so that no number is given twice.
func NewPump(cfg PumpConfig, compartments []querschott.Compartment) (*Pump, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	p := &Pump{
		cfg: cfg, chambers: map[querschott.Compartment]*chamber{},
		line: make(chan *chamber, len(compartments)), relief: make(chan struct{}, 1), long: longTurn,
	}
	for _, c := range compartments {
		ch := &chamber{c: c, unread: map[uint64]struct{}{}}
		if _, err := p.catchUp(c); err != nil {
			// A damaged cell floods its own compartment only: its turns try again.
			cfg.Log.Error("couldn't read how far a cell has come", "compartment", c.String(), "err", err)
			ch.unsure = true
		}
		p.chambers[c] = ch
	}
	cfg.Journal.Notify(p.wake)
	return p, nil
}

// catchUp forgets what a cell has already, and returns how many messages that were.
func (p *Pump) catchUp(c querschott.Compartment) (int, error) {
	store, err := p.cfg.Cell(c.Insurer)
	if err != nil {
		return 0, err
	}
	value, err := store.Get(cursorKey(c, p.cfg.Journal.ID()))
	if errors.Is(err, cell.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("couldn't read the cursor of %s: %w", c, err)
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("the cursor of %s has %d bytes", c, len(value))
	}
	seq := binary.BigEndian.Uint64(value)
	p.cfg.Journal.raise(seq)
	return p.cfg.Journal.delivered(c, seq), nil
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

// Obey follows a door. When it returns nil for a door that does not deliver, no message of the compartment is on its way any
// more and its private keys are forgotten; for one that delivers, they are in memory. Orders may arrive in any sequence:
// an older epoch than the last one obeyed is ignored.
//
// An error about a door that delivers says that the keys could not be unlocked; unlocking is tried again.
func (p *Pump) Obey(ctx context.Context, c querschott.Compartment, epoch uint64, s querschott.DoorState) error {
	ch := p.chambers[c]
	if ch == nil || !c.Service.ByMail() {
		return nil
	}
	if !s.Delivers() {
		return ch.shut(ctx, epoch)
	}
	if ch.holds(epoch) {
		p.wake(c)
		return nil
	}
	return p.OpenAll(map[querschott.Compartment]uint64{c: epoch})
}

// Pace lets a compartment deliver only a share, in per cent, while its door opens in stages. Nothing is refused for it and
// nothing overtakes: turns are smaller, and there are rests between them.
func (p *Pump) Pace(c querschott.Compartment, share int) {
	if ch := p.chambers[c]; ch != nil {
		ch.mu.Lock()
		ch.share = share
		ch.mu.Unlock()
	}
}

// OpenAll opens many doors with one unlocking of the keyring. Compartments whose keys are missing are named in the error
// and tried again; they do not keep the others shut.
func (p *Pump) OpenAll(epochs map[querschott.Compartment]uint64) error {
	var list []querschott.Compartment
	for c := range epochs {
		if p.chambers[c] != nil {
			list = append(list, c)
		}
	}
	keys, err := p.cfg.Unlock(list...)
	for _, c := range list {
		p.chambers[c].admit(epochs[c], keys[c])
		p.wake(c)
	}
	if err != nil {
		return fmt.Errorf("couldn't unlock every compartment that is open: %w", err)
	}
	return nil
}

// wake puts a chamber into the line if it may have a turn.
func (p *Pump) wake(c querschott.Compartment) {
	if ch := p.chambers[c]; ch != nil && ch.ready() {
		p.line <- ch // has room for all
	}
}

// Run delivers until the context ends. It is called once.
func (p *Pump) Run(ctx context.Context) error {
	var workers errgroup.Group
	begin := func() { workers.Go(func() error { p.work(ctx); return nil }) }
	workers.Go(func() error {
		for range p.cfg.Workers {
			begin()
		}
		for {
			select {
			case <-p.relief:
				begin()
			case <-ctx.Done():
				return nil
			}
		}
	})
	err := workers.Wait()
	for _, ch := range p.chambers {
		ch.empty()
	}
	return err
}

// work gives turns until the context ends, or until another worker has taken over during a long one.
func (p *Pump) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ch := <-p.line:
			replaced := make(chan struct{})
			long := time.AfterFunc(p.long, func() {
				defer close(replaced)
				select {
				case p.relief <- struct{}{}:
				case <-ctx.Done():
				}
			})
			p.serve(ctx, ch)
			if !long.Stop() {
				<-replaced
				return
			}
		}
	}
}

// serve gives a chamber its turn.
func (p *Pump) serve(ctx context.Context, ch *chamber) {
	turn, stop := context.WithCancel(ctx)
	defer stop()
	keys, epoch, tries, ok := ch.begin(stop)
	if !ok {
		return
	}
	err := p.turn(turn, ch, keys, epoch, tries)
	if errors.Is(err, seal.ErrNoKeyVersion) { // the keys were rotated after they were unlocked
		ch.adopt(epoch, keys, nil)
	}
	if errors.Is(err, errStopped) || ctx.Err() != nil {
		err = nil
	}
	if ch.end(epoch, err, p.cfg.Now(), func() { p.wake(ch.c) }) {
		p.cfg.Log.Error("couldn't deliver; it is tried again", "compartment", ch.c.String(), "err", err)
	}
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

// HasKeys reports whether a compartment's private keys are in memory.
func (p *Pump) HasKeys(c querschott.Compartment) bool {
	ch := p.chambers[c]
	if ch == nil {
		return false
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.keys != nil
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
