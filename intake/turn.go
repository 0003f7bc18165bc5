package intake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

// errStopped ends a turn whose door is no longer open. Nothing of the turn has had an effect.
var errStopped = errors.New("the door is no longer open")

// Tx collects what the messages of one turn change in their cell. What it has put it also gets.
type Tx struct {
	Compartment querschott.Compartment
	Keys        *seal.Keys
	Vault       *cell.Vault
	Batch       *cell.Batch

	store cell.Store
	puts  map[string][]byte
}

// Get reads a key as it will be after the turn.
func (t *Tx) Get(key []byte) ([]byte, error) {
	if v, ok := t.puts[string(key)]; ok {
		return v, nil
	}
	return t.store.Get(key)
}

// Put writes a key.
func (t *Tx) Put(key, value []byte) {
	t.Batch.Put(key, value)
	t.puts[string(key)] = value
}

// turn delivers up to n messages in one atomic batch: all of their effects and the cursor behind them, or nothing.
func (p *Pump) turn(ctx context.Context, ch *chamber, keys *seal.Keys, n int) error {
	refs := p.cfg.Journal.peek(ch.c, n, turnBytes)
	if len(refs) == 0 {
		return nil
	}
	store, err := p.cfg.Cell(ch.c.Insurer)
	if err != nil {
		return err
	}
	batch := &cell.Batch{}
	tx := &Tx{Compartment: ch.c, Keys: keys, Vault: cell.NewVault(store, ch.c, keys), Batch: batch, store: store, puts: map[string][]byte{}}
	deliveries := make([]Delivery, 0, len(refs))
	damaged := 0
	for _, r := range refs {
		if !ch.running(keys) {
			return errStopped
		}
		d, err := p.one(ctx, r, tx)
		if errors.Is(err, errDamaged) {
			d, err = Delivery{Compartment: ch.c, Seq: r.seq, Received: fromMicro(r.received), Note: Note{Result: "damaged"}}, p.cfg.Journal.quarantine(ch.c, r)
			damaged++
		}
		if err != nil {
			return stopped(err)
		}
		deliveries = append(deliveries, d)
	}
	last := refs[len(refs)-1].seq
	journal := p.cfg.Journal.ID()
	tx.Put(cursorKey(ch.c, journal), binary.BigEndian.AppendUint64(nil, last))
	if err := p.cfg.Record(ctx, deliveries); err != nil {
		return fmt.Errorf("couldn't record the deliveries: %w", err)
	}
	if !ch.running(keys) {
		return errStopped
	}
	if err := store.Commit(batch); err != nil {
		return fmt.Errorf("couldn't store in the cell of %s: %w", ch.c.Insurer, err)
	}
	p.cfg.Journal.delivered(ch.c, len(refs))
	p.count(deliveries, damaged)
	return nil
}

// one takes one message out of the journal and hands it to its service.
func (p *Pump) one(ctx context.Context, r ref, tx *Tx) (Delivery, error) {
	m, err := p.cfg.Journal.open(r, tx.Compartment, tx.Keys)
	if errors.Is(err, seal.ErrDamaged) && p.neighbourOpens(r, tx) {
		err = errors.Join(errDamaged, err)
	}
	if err != nil {
		return Delivery{}, err
	}
	handler := p.cfg.Handlers[tx.Compartment.Service]
	if handler == nil {
		handler = p.cfg.Keep
	}
	note, err := p.guarded(ctx, handler, &m, tx)
	if err != nil {
		return Delivery{}, err
	}
	tx.Put(bindingKey(tx.Compartment, m.Binding), binary.BigEndian.AppendUint64(nil, m.Seq))
	return Delivery{Compartment: tx.Compartment, Seq: m.Seq, Sender: m.Sender, Received: m.Received, Note: note}, nil
}

// guarded runs a handler. A message that makes it panic is kept as one that cannot be read: the fault is in this program,
// and must stop neither the message nor those behind it.
func (p *Pump) guarded(ctx context.Context, h Handler, m *Message, tx *Tx) (note Note, err error) {
	defer func() {
		if v := recover(); v != nil {
			p.cfg.Log.Error("a handler panicked; the message is kept as it came", "compartment", tx.Compartment.String(),
				"seq", m.Seq, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			note, err = p.cfg.Keep(ctx, m, tx)
			note.Findings = append(note.Findings, "internal error while reading it")
		}
	}()
	return h(ctx, m, tx)
}

// neighbourOpens tells a record that somebody has tampered with from a keyring that is the wrong one: in the latter case
// no entry opens, and none must be put aside.
func (p *Pump) neighbourOpens(r ref, tx *Tx) bool {
	for _, other := range p.cfg.Journal.peek(tx.Compartment, turnMessages, turnBytes) {
		if other.seq == r.seq {
			continue
		}
		if _, err := p.cfg.Journal.open(other, tx.Compartment, tx.Keys); err == nil {
			return true
		}
	}
	return false
}

// stopped turns forgotten keys into what they mean here: the door has been shut.
func stopped(err error) error {
	if errors.Is(err, seal.ErrForgotten) {
		return errStopped
	}
	return err
}

func (p *Pump) count(deliveries []Delivery, damaged int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Delivered += uint64(len(deliveries) - damaged)
	p.stats.Damaged += uint64(damaged)
	for _, d := range deliveries {
		if d.Note.Result == "duplicate" {
			p.stats.Duplicates++
		}
		if len(d.Note.Findings) > 0 {
			p.stats.Flagged++
		}
	}
}
