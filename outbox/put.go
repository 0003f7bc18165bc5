package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

const (
	maxID      = 1024 // bytes
	maxAddress = 320  // bytes; more than RFC 5321 section 4.5.3.1 allows and KIM uses
)

// claims gives every ID to one caller at a time, so that the same mail put twice at once is one.
type claims struct {
	mu    sync.Mutex
	taken map[idHash]chan struct{} // closed when the ID is free again
}

// take waits until all IDs are free and takes them all.
func (c *claims) take(ctx context.Context, ids ...idHash) error {
	for {
		busy := c.try(ids)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes all IDs or returns what tells that one of them is free again.
func (c *claims) try(ids []idHash) (busy <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if ch := c.taken[id]; ch != nil {
			return ch
		}
	}
	if c.taken == nil {
		c.taken = map[idHash]chan struct{}{}
	}
	ch := make(chan struct{})
	for _, id := range ids {
		c.taken[id] = ch
	}
	return nil
}

func (c *claims) release(ids ...idHash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ids) > 0 {
		close(c.taken[ids[0]]) // one channel for all of them
	}
	for _, id := range ids {
		delete(c.taken, id)
	}
}

// Put takes a mail in: on nil it is durable, and it will be sent or is in its mailbox. After an error it may be there or
// not, and the same mail may be put again. The body may be used again when Put has returned.
//
// Errors with a code: CodeInvalid for an envelope or a body that SMTP cannot carry, CodeTooLarge.
func (o *Outbox) Put(ctx context.Context, m Mail) error { return o.PutAll(ctx, m) }

// PutAll takes mails in, all or none. Together their bodies may have 64 MiB.
func (o *Outbox) PutAll(ctx context.Context, mails ...Mail) error {
	var size int64
	ids := make([]idHash, 0, len(mails))
	unique := make([]Mail, 0, len(mails))
	known := make(map[idHash]bool, len(mails))
	for _, m := range mails {
		if err := o.check(m); err != nil {
			return err
		}
		if id := hashID(m.ID); !known[id] {
			known[id] = true
			ids, unique = append(ids, id), append(unique, m)
			size += int64(len(m.Body))
		}
	}
	if size > bodyMemory {
		return querschott.Refuse(querschott.CodeTooLarge, "the mails have %d bytes together, allowed are %d", size, bodyMemory)
	}
	if err := o.putting.Acquire(ctx, size); err != nil {
		return fmt.Errorf("couldn't put mail: %w", err)
	}
	defer o.putting.Release(size)
	if err := o.claims.take(ctx, ids...); err != nil {
		return fmt.Errorf("couldn't put mail: %w", err)
	}
	defer o.claims.release(ids...)
	if err := o.put(ids, unique); err != nil {
		return fmt.Errorf("couldn't put mail into the outbox: %w", err)
	}
	return nil
}

// check refuses what SMTP cannot carry.
func (o *Outbox) check(m Mail) error {
	switch {
	case m.ID == "" || len(m.ID) > maxID:
		return querschott.Refuse(querschott.CodeInvalid, "a mail needs an ID of 1 to %d bytes", maxID)
	case m.From != "" && !deliverable(m.From):
		return querschott.Refuse(querschott.CodeInvalid, "the sender of a mail is no address")
	case !deliverable(m.To):
		return querschott.Refuse(querschott.CodeInvalid, "the recipient of a mail is no address")
	case len(m.Body) == 0:
		return querschott.Refuse(querschott.CodeInvalid, "a mail has no body")
	case len(m.Body) > o.opt.MaxBody:
		return querschott.Refuse(querschott.CodeTooLarge, "a mail has %d bytes, allowed are %d", len(m.Body), o.opt.MaxBody)
	case bareCR(m.Body):
		// RFC 5321 section 2.3.8. Some servers take CR alone for the end of a line and so would see a mail inside the mail.
		return querschott.Refuse(querschott.CodeInvalid, "a mail has a CR without LF")
	}
	return nil
}

// deliverable reports whether an address can stand in MAIL and RCPT without SMTPUTF8 and quoting.
func deliverable(address string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || len(address) > maxAddress {
		return false
	}
	return !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>()[]",;:\`, r) })
}

func bareCR(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\r')
		if i < 0 {
			return false
		}
		if i+1 == len(b) || b[i+1] != '\n' {
			return true
		}
		b = b[i+2:]
	}
}

// put writes the mails that were not seen before. The caller has claimed the IDs.
func (o *Outbox) put(ids []idHash, mails []Mail) error {
	now := o.opt.Now()
	var b cell.Batch
	var queued []job
	var local uint64
	for i, m := range mails {
		_, err := o.store.Get(seenKey(ids[i]))
		if err == nil {
			continue
		}
		if !errors.Is(err, cell.ErrNotFound) {
			return err
		}
		r := newRef(now, ids[i])
		if o.isLocal(m.To) {
			o.putLocal(&b, now, r, ids[i], m)
			local++
			continue
		}
		j := job{lane: laneOf(m.To), at: micros(now), ref: r, size: uint32(len(m.Body))}
		o.sealMail(&b, mailKey(r), m)
		b.Put(j.key(), j.value())
		b.Put(ageKey(r), nil)
		b.Put(seenKey(ids[i]), queuedMark(r))
		queued = append(queued, j)
	}
	if b.Len() == 0 {
		return nil
	}
	return o.commit(&b, func() {
		o.local += local
		for _, j := range queued {
			o.added(j)
		}
	})
}

// added accounts a mail that is due. The caller holds mu.
func (o *Outbox) added(j job) {
	o.oldest = minRef(o.oldest, j.ref)
	o.q.add(j, o.opt.Now())
}

func (o *Outbox) sealMail(b *cell.Batch, key []byte, m Mail) {
	plain := encodeMail(m)
	b.Put(key, o.box.Seal(make([]byte, 0, len(plain)+seal.BoxOverhead), associated(key), plain))
}

// putLocal puts a mail into its mailbox and marks it done.
func (o *Outbox) putLocal(b *cell.Batch, now time.Time, r ref, id idHash, m Mail) {
	box := boxOf(m.To)
	o.sealMail(b, boxKey(box, r), m)
	b.Put(listKey(box, r), size32(uint32(len(m.Body))))
	markDone(b, now, id)
}

func markDone(b *cell.Batch, now time.Time, id idHash) {
	b.Put(seenKey(id), []byte{seenDone})
	b.Put(doneKey(now, id), nil)
}

func (o *Outbox) isLocal(address string) bool {
	return o.opt.Relay == nil || o.opt.Local != nil && o.opt.Local(strings.ToLower(address))
}
