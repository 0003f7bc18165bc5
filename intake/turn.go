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

// Trial returns a transaction that sees the same cell and has no effect. What this one has put it does not see.
func (t *Tx) Trial() *Tx { return newTx(t.store, t.Compartment, t.Keys) }

func newTx(store cell.Store, c querschott.Compartment, keys *seal.Keys) *Tx {
	return &Tx{
		Compartment: c, Keys: keys, Vault: cell.NewVault(store, c, keys), Batch: &cell.Batch{}, store: store, puts: map[string][]byte{},
	}
}

// Put writes a key.
func (t *Tx) Put(key, value []byte) {
	t.Batch.Put(key, value)
	t.puts[string(key)] = value
}

// turn is one turn of a compartment.
type turn struct {
	p     *Pump
	ch    *chamber
	keys  *seal.Keys
	tries int // how many turns before this one failed in a row
	store cell.Store
	read  *reader
}

// turn delivers what waits, up to the limits of a turn. A message that fails does not hold up those before it.
func (p *Pump) turn(ctx context.Context, ch *chamber, keys *seal.Keys, epoch uint64, tries int) (err error) {
	if keys == nil {
		if keys, err = p.unlock(ch, epoch); err != nil {
			return err
		}
	}
	if ch.unsure {
		n, err := p.catchUp(ch.c)
		if err != nil {
			return err
		}
		ch.unsure = false
		p.mu.Lock()
		p.stats.Delivered += uint64(n)
		p.mu.Unlock()
	}
	if ch.prover != keys {
		ch.prover, ch.proven = keys, map[uint32]struct{}{}
	}
	n := max(1, turnMessages*ch.sharing()/whole)
	if tries > 0 {
		n = 1
	}
	refs := p.cfg.Journal.peek(ch.c, 0, n, turnBytes)
	if len(refs) == 0 {
		return nil
	}
	store, err := p.cfg.Cell(ch.c.Insurer)
	if err != nil {
		return err
	}
	t := &turn{p, ch, keys, tries, store, newReader(p.cfg.Journal, ch.c, keys)}
	return t.deliver(ctx, refs)
}

// unlock tries again what Obey could not do.
func (p *Pump) unlock(ch *chamber, epoch uint64) (*seal.Keys, error) {
	got, err := p.cfg.Unlock(ch.c)
	if err != nil {
		return nil, err
	}
	if !ch.adopt(epoch, nil, got[ch.c]) {
		return nil, errStopped
	}
	return got[ch.c], nil
}

// deliver delivers as many of the messages as it can, from the first one on.
func (t *turn) deliver(ctx context.Context, refs []ref) (failed error) {
	for len(refs) > 0 {
		n, err := t.commit(ctx, refs)
		switch {
		case err == nil:
			return failed
		case errors.Is(err, errUnread):
			t.ch.unread[refs[n].seq] = struct{}{}
		case n > 0 && n < len(refs) && !errors.Is(err, errStopped):
			refs, failed = refs[:n], err
		default:
			return err
		}
	}
	return failed
}

// commit delivers the messages in one atomic batch: all of their effects and the cursor behind them, or nothing. On an
// error it returns the place of the message that failed, or the number of messages if it was none.
func (t *turn) commit(ctx context.Context, refs []ref) (n int, err error) {
	tx := newTx(t.store, t.ch.c, t.keys)
	deliveries := make([]Delivery, 0, len(refs))
	var damaged []uint64
	for i, r := range refs {
		if !t.ch.running(t.keys) {
			return i, errStopped
		}
		d, err := t.one(ctx, r, tx)
		if errors.Is(err, errDamaged) {
			d = Delivery{Compartment: t.ch.c, Seq: r.seq, Received: fromMicro(r.received), Note: Note{Result: ResultDamaged}}
			err = t.p.cfg.Journal.quarantine(t.ch.c, r)
			damaged = append(damaged, r.seq)
		}
		if err != nil {
			return i, stopped(err)
		}
		deliveries = append(deliveries, d)
	}
	last := refs[len(refs)-1].seq
	tx.Put(cursorKey(t.ch.c, t.p.cfg.Journal.ID()), binary.BigEndian.AppendUint64(nil, last))
	if err := t.p.cfg.Record(ctx, deliveries); err != nil {
		if !t.ch.running(t.keys) {
			err = errStopped
		}
		return len(refs), fmt.Errorf("couldn't record the deliveries: %w", err)
	}
	if !t.ch.running(t.keys) {
		return len(refs), errStopped
	}
	if err := t.store.Commit(tx.Batch); err != nil {
		t.ch.unsure = true // it may have been done all the same
		return len(refs), fmt.Errorf("couldn't store in the cell of %s: %w", t.ch.c.Insurer, err)
	}
	t.p.cfg.Journal.delivered(t.ch.c, last)
	t.p.cfg.Journal.countDamaged(t.ch.c, damaged)
	t.p.count(deliveries, len(damaged))
	clear(t.ch.unread)
	return len(refs), nil
}

// patience is how many turns must have failed in a row before a message is believed to be the reason.
const patience = 8

// errUnread says that a handler cannot take a message: it is to be kept as it came.
var errUnread = errors.New("the handler cannot take the message")

// one takes one message out of the journal and hands it to its service. errDamaged says that it is to be put aside.
func (t *turn) one(ctx context.Context, r ref, tx *Tx) (Delivery, error) {
	m, version, err := t.read.open(r)
	if err != nil {
		return Delivery{}, t.judge(r, err)
	}
	t.ch.proven[version] = struct{}{}
	handler := t.p.cfg.Handlers[t.ch.c.Service]
	_, unread := t.ch.unread[r.seq]
	if unread || handler == nil {
		handler = t.p.cfg.Keep
	}
	note, err := t.guarded(ctx, handler, &m, tx)
	if err != nil {
		if !unread && (errors.Is(err, errPanic) || t.tries >= patience && t.othersPass(ctx, r, handler)) {
			err = errors.Join(errUnread, err)
		}
		return Delivery{}, err
	}
	if unread {
		note.Findings = append(note.Findings, "internal error while reading it")
		if err := tx.flag(&m, note); err != nil {
			return Delivery{}, err
		}
	}
	tx.Put(bindingKey(t.ch.c, m.Binding), binary.BigEndian.AppendUint64(nil, m.Seq))
	return Delivery{Compartment: t.ch.c, Seq: m.Seq, Sender: m.Sender, Received: m.Received, Note: note}, nil
}

// judge tells a record that somebody has tampered with from a keyring that is the wrong one, in which case no entry opens
// and none must be put aside; and a bad place of a disk from a disk that is not there.
func (t *turn) judge(r ref, err error) error {
	var u *unsealed
	switch {
	case errors.Is(err, errDamaged), errors.Is(err, seal.ErrForgotten), errors.Is(err, seal.ErrNoKeyVersion):
		return err
	case errors.As(err, &u) && errors.Is(err, seal.ErrDamaged):
		if _, ok := t.ch.proven[u.version]; ok || t.otherOpens(r, &u.version) {
			return errors.Join(errDamaged, err)
		}
	case t.tries >= patience && t.otherOpens(r, nil):
		return errors.Join(errDamaged, err)
	}
	return err
}

// otherOpens reports whether another message of the compartment opens, if asked for with keys of this version.
func (t *turn) otherOpens(r ref, version *uint32) bool {
	for _, other := range t.p.cfg.Journal.peek(t.ch.c, r.seq, turnMessages, turnBytes) {
		if _, v, err := t.read.open(other); err == nil && (version == nil || v == *version) {
			return true
		}
	}
	return false
}

// othersPass reports whether a handler takes another message of the compartment: then the one it does not take is to
// blame, and not the cell or the keys.
func (t *turn) othersPass(ctx context.Context, r ref, h Handler) bool {
	for _, other := range t.p.cfg.Journal.peek(t.ch.c, r.seq, turnMessages, turnBytes) {
		m, _, err := t.read.open(other)
		if err != nil {
			continue
		}
		if _, err := t.guarded(ctx, h, &m, newTx(t.store, t.ch.c, t.keys)); err == nil {
			return true
		}
	}
	return false
}

// errPanic says that a handler panicked. The fault is in this program, and must stop neither the message, which is kept
// as one that cannot be read, nor those behind it.
var errPanic = errors.New("the handler panicked")

func (t *turn) guarded(ctx context.Context, h Handler, m *Message, tx *Tx) (note Note, err error) {
	defer func() {
		if v := recover(); v != nil {
			t.p.cfg.Log.Error("a handler panicked; the message is kept as it came", "compartment", t.ch.c.String(),
				"seq", m.Seq, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return h(ctx, m, tx)
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
		if d.Note.Result == ResultDuplicate {
			p.stats.Duplicates++
		}
		if len(d.Note.Findings) > 0 {
			p.stats.Flagged++
		}
	}
}
