package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
)

// Refused is a mail that was refused for good.
type Refused struct {
	ID       string // for Retry; that of the mail, or its place in the store if the mail cannot be read
	From, To string
	Created  time.Time
	At       time.Time // of the refusal
	Attempts int
	Code     int    // of the SMTP reply; 0 if the mail never got that far
	Reason   string // the reply's text
}

// Failed returns the mail that was refused for good, the one put first first.
func (o *Outbox) Failed() ([]Refused, error) {
	var list []Refused
	lo := cell.Key(cell.SpaceOutbox, kindFailed)
	err := o.store.Scan(lo, cell.PrefixEnd(lo), func(key, sealed []byte) error {
		parts, ok := partsOf(key, len(ref{}))
		if !ok {
			return malformed("refusal")
		}
		f, err := o.openRefusal(key, sealed)
		if err != nil {
			r := ref(parts[0])
			list = append(list, Refused{ID: r.String(), At: r.time(), Reason: "the record of the refusal cannot be read"})
			return nil //nolint:nilerr // one damaged record must not hide the others, and it is shown
		}
		list = append(list, Refused{
			ID: f.envelope.ID, From: f.envelope.From, To: f.envelope.To, Created: f.envelope.Created,
			At: f.at, Attempts: int(f.attempts), Code: int(f.code), Reason: f.reason,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't list refused mail: %w", err)
	}
	return list, nil
}

func (o *Outbox) openRefusal(key, sealed []byte) (refusal, error) {
	plain, err := o.unseal(key, sealed)
	if err != nil {
		return refusal{}, err
	}
	return decodeRefusal(plain)
}

// Retry queues a refused mail again, as if it had been put at this moment. Error: CodeNotFound if no mail of this ID waits
// for a decision.
func (o *Outbox) Retry(ctx context.Context, id string) error {
	err := o.retry(ctx, id)
	if errors.Is(err, cell.ErrNotFound) {
		return querschott.Refuse(querschott.CodeNotFound, "no refused mail has this ID")
	}
	if err != nil {
		return fmt.Errorf("couldn't retry a mail: %w", err)
	}
	return nil
}

func (o *Outbox) retry(ctx context.Context, id string) error {
	r, err := o.find(id)
	if err != nil {
		return err
	}
	if err := o.claims.take(ctx, r.claim()); err != nil {
		return err
	}
	defer o.claims.release(r.claim())
	key := failedKey(r)
	sealed, err := o.store.Get(key)
	if err != nil {
		return err
	}
	// A record that cannot be read says nothing that the mail does not say itself, so the mail is tried all the same.
	f, err := o.openRefusal(key, sealed)
	if err != nil {
		f = refusal{}
	}
	j := job{lane: laneOf(f.envelope.To), at: micros(o.opt.Now()), ref: r, size: f.size}
	var b cell.Batch
	b.Delete(key)
	b.Put(j.key(), j.value())
	b.Put(ageKey(r), nil)
	return o.commit(&b, func() {
		o.failed--
		o.added(j)
	})
}

// claim is what whoever parks the mail or queues it again claims. It is no hash of an ID, so a Put does not wait for it.
func (r ref) claim() (c idHash) {
	copy(c[:], r[:])
	return c
}

// find returns where a mail is in the store, by its ID or by the place itself.
func (o *Outbox) find(id string) (ref, error) {
	value, err := o.store.Get(seenKey(hashID(id)))
	if errors.Is(err, cell.ErrNotFound) {
		if r, ok := parseRef(id); ok {
			return r, nil
		}
	}
	if err != nil {
		return ref{}, err
	}
	r, queued, err := parseSeen(value)
	if err == nil && !queued {
		err = cell.ErrNotFound
	}
	return r, err
}
