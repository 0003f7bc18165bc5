package mail

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/kim"
)

// take decides about a whole message: 250 if it is ours from now on.
func (c *session) take(tx *transaction, octets []byte) reply {
	received := c.srv.cfg.Now()
	if loneDot(octets) {
		return replySmuggled
	}
	header := kim.ReadHeader(octets)
	// A_23422. A relay has checked it for its own senders.
	if c.credential.Role != querschott.RoleRelay && header.CheckSender(kim.Address(strings.ToLower(tx.from))) != nil {
		return replySender
	}
	compartment := c.srv.cfg.Place(querschott.Compartment{Insurer: tx.insurer, Service: header.Service()})
	if door := c.srv.cfg.Door(compartment); !door.State.AcceptsMail() {
		return refusedByDoor(&c.srv.cfg, door)
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.Accept)
	defer cancel()
	arrival := intake.Arrival{
		Compartment: compartment,
		Sender:      strings.ToLower(tx.from),
		Recipient:   tx.recipients[0].address,
		MessageID:   strings.Trim(header.MessageID, "<>"),
		Received:    received,
		Body:        octets,
	}
	receipt, err := c.srv.cfg.Append(ctx, arrival)
	if err != nil {
		return c.notTaken(compartment, err)
	}
	if r := c.vouch(ctx, tx, &header, arrival, receipt); r.code != 0 {
		return r
	}
	c.srv.counters.accepted.Add(1)
	copies := "copies"
	if receipt.Copies == 1 {
		copies = "copy"
	}
	return positive(250, "2.0.0", fmt.Sprintf("accepted, receipt %d, %d %s", receipt.Seq, receipt.Copies, copies))
}

// notTaken answers a failure of the intake.
func (c *session) notTaken(compartment querschott.Compartment, err error) reply {
	code := querschott.CodeOf(err)
	if code == querschott.CodeTooLarge {
		return replyTooLarge
	}
	if code == querschott.CodeNoRoom {
		c.srv.cfg.Log.Error("the journal has no room", "compartment", compartment, "err", err)
		return replyNoRoom
	}
	return c.failed(CauseIntake, compartment, err)
}

// vouch makes the ledger's entry and the notification durable, at the same time. The message is in the journal already;
// if one of the two fails, or does not answer in time, the sender keeps it too, and the services tell the repetition by its
// document.
func (c *session) vouch(ctx context.Context, tx *transaction, h *kim.Header, a intake.Arrival, receipt intake.Receipt) reply {
	taken := Taken{
		Compartment: a.Compartment,
		Credential:  *c.credential,
		Sender:      a.Sender,
		MessageID:   a.MessageID,
		Size:        len(a.Body),
		Received:    a.Received,
		Receipt:     receipt,
		Reference:   c.reference,
	}
	recorded := c.begin(func() error { return c.srv.cfg.Record(ctx, taken) })
	notified := recorded // nobody wants a notification
	if dsn, wanted := c.notification(tx, h, a.Received, receipt); wanted {
		notified = c.begin(func() error { return c.srv.cfg.Notify(ctx, dsn) })
	}
	if err := inTime(ctx, recorded); err != nil {
		return c.failed(CauseLedger, a.Compartment, err)
	}
	if err := inTime(ctx, notified); err != nil {
		return c.failed(CauseOutbox, a.Compartment, err)
	}
	return reply{}
}

// begin runs fn beside the session; the channel is closed after its answer. A panic ends this message only.
func (c *session) begin(fn func() error) <-chan error {
	answer := make(chan error, 1)
	go func() {
		defer close(answer)
		defer func() {
			if p := recover(); p != nil {
				c.srv.counters.panics.Add(1)
				answer <- fmt.Errorf("panic of type %T", p)
			}
		}()
		answer <- fn()
	}()
	return answer
}

// inTime waits for an answer no longer than the context lasts: a disk that hangs must not hold sessions for ever.
func inTime(ctx context.Context, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// failed logs a failure of ours once and gives the sender a reference to it.
func (c *session) failed(cause Cause, compartment querschott.Compartment, err error) reply {
	c.srv.cfg.Log.Error("a message could not be taken", "cause", string(cause), "compartment", compartment,
		"credential", string(c.credential.ID), "reference", c.reference, "err", err)
	c.srv.stop(err)
	return internal(cause, c.reference)
}

// notification makes the positive DSN for the recipients that asked for one (KBV eAU P5-07: every eAU does). Nobody is
// notified about a message from <> (RFC 3461 6.1).
func (c *session) notification(tx *transaction, h *kim.Header, received time.Time, receipt intake.Receipt) (DSN, bool) {
	var boxes []kim.Recipient
	for _, r := range tx.recipients {
		if r.success {
			boxes = append(boxes, kim.Recipient{Final: r.address, Original: r.original})
		}
	}
	if len(boxes) == 0 || tx.from == "" {
		return DSN{}, false
	}
	cfg := &c.srv.cfg
	// The number alone would come again if the journal were ever begun anew, and the outbox takes the same id for the same mail.
	id := fmt.Sprintf("dsn.%d.%d", receipt.Seq, received.UnixMicro())
	now := cfg.Now()
	return DSN{
		ID: id, To: tx.from, Created: now,
		Body: kim.Delivered(kim.Notification{
			ReportingMTA: cfg.Hostname,
			From:         cfg.Postmaster,
			To:           tx.from,
			MessageID:    "<" + id + "@" + cfg.Hostname + ">",
			Date:         now,
			InReplyTo:    h.MessageID,
			EnvelopeID:   tx.envelopeID,
			Arrival:      received,
			Recipients:   boxes,
			Header:       h.Raw,
		}),
	}, true
}
