package drill

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/querschott/querschott/wire/kim"
)

// answerTimeout is how long a line waits for an answer before it gives the connection up.
const answerTimeout = 30 * time.Second

// line sends one mail at a time over one connection. Its goroutine owns all fields but wake, and shelf, pace, mix, down and
// repeated while Sender.pick runs for it.
type line struct {
	s    *Sender
	wake chan struct{}

	pace     pacer
	mix      mixture
	shelf    shelf
	repeated bool // the last mail came from the shelf

	conn  *connection // nil: none
	fails int         // connections in a row that failed
	down  time.Time   // no connection before
}

// connection is a session in which an account has logged in.
type connection struct {
	client *smtp.Client
	raw    net.Conn
	user   string
	stop   func() bool // ends the watch over the context
}

func (l *line) run(ctx context.Context) error {
	defer l.leave()
	for ctx.Err() == nil {
		j, until, ok := l.s.pick(l, l.s.cfg.Now())
		if !ok {
			l.sleep(ctx, until)
			continue
		}
		if err := l.try(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) sleep(ctx context.Context, until time.Time) {
	timer := time.NewTimer(until.Sub(l.s.cfg.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake:
	case <-ctx.Done():
	}
}

// try sends a mail once and judges the answer.
func (l *line) try(ctx context.Context, j job) error {
	s := l.s
	m, err := s.cfg.World.mail(j.recipe)
	if err != nil {
		return fmt.Errorf("couldn't write a mail: %w", err)
	}
	if err := l.connect(ctx, m.From); err != nil {
		l.fails++
		l.down = s.cfg.Now().Add(s.cfg.Retry << min(l.fails-1, 3))
		l.broken(ctx, j, err)
		return nil
	}
	l.fails = 0
	began := s.cfg.Now()
	receipt, err := l.conn.deliver(&m)
	now := s.cfg.Now()
	answer, answered := errors.AsType[*smtp.SMTPError](err)
	switch {
	case err == nil:
		// The promise is written down before the mail stops counting as on its way.
		s.books.Add(Promise{Binding: m.Binding(), Compartment: m.Compartment, Receipt: receipt, At: now})
		l.mix.accepted(j.recipe)
		s.count(func(st *Stats) {
			st.Accepted++
			s.latency.add(now, now.Sub(began))
		})
	case answered && answer.Code/100 == 5:
		s.count(func(st *Stats) {
			st.Rejected++
			st.Trouble = answer.Error()
		})
		l.reset()
	case answered && answer.Code/100 == 4:
		l.put(j, func(st *Stats) {
			st.Refused++
			st.Trouble = answer.Error()
		})
		if answer.Code == 421 { // RFC 5321 3.8: the server closes the connection
			l.hangUp()
		} else {
			l.reset()
		}
	default:
		l.hangUp()
		l.broken(ctx, j, err)
	}
	return nil
}

// broken puts a mail off of which nobody knows whether the server has it.
func (l *line) broken(ctx context.Context, j job, err error) {
	l.put(j, func(st *Stats) {
		if ctx.Err() == nil { // otherwise we hung up ourselves
			st.ConnectionErrors++
			st.Trouble = err.Error()
		}
	})
}

func (l *line) put(j job, fn func(*Stats)) {
	later := j.later(l.s.cfg.Now(), l.s.cfg.Retry)
	l.s.count(func(st *Stats) {
		l.shelf.put(later)
		st.Waiting++
		fn(st)
	})
}

// connect makes sure that there is a session in which the practice may send.
func (l *line) connect(ctx context.Context, practice kim.Address) error {
	user, password := l.s.cfg.Login(practice)
	if l.conn != nil && l.conn.user == user {
		return nil
	}
	l.leave()
	raw, err := l.s.cfg.Dial(ctx)
	if err != nil {
		return fmt.Errorf("couldn't reach the mail door: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	client, err := l.greet(raw, practice)
	if err == nil {
		err = client.Auth(sasl.NewPlainClient("", user, password))
	}
	if err != nil {
		stop()
		return errors.Join(fmt.Errorf("couldn't log in at the mail door: %w", err), raw.Close())
	}
	l.conn = &connection{client: client, raw: raw, user: user, stop: stop}
	return nil
}

func (l *line) greet(raw net.Conn, practice kim.Address) (client *smtp.Client, err error) {
	if err := raw.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if l.s.cfg.StartTLS {
		if client, err = smtp.NewClientStartTLS(raw, l.s.cfg.TLS); err != nil {
			return nil, err
		}
	} else {
		client = smtp.NewClient(tls.Client(raw, l.s.cfg.TLS))
	}
	client.CommandTimeout, client.SubmissionTimeout = answerTimeout, answerTimeout
	return client, client.Hello(practice.Domain())
}

// deliver sends a mail and returns the text of the 250.
func (c *connection) deliver(m *Mail) (string, error) {
	err := c.client.Mail(string(m.From), &smtp.MailOptions{
		Size: int64(len(m.Body)), Return: smtp.DSNReturnHeaders, EnvelopeID: m.Document.String(),
	})
	if err != nil {
		return "", err
	}
	err = c.client.Rcpt(string(m.To), &smtp.RcptOptions{
		Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure},
		OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: string(m.To),
	})
	if err != nil {
		return "", err
	}
	data, err := c.client.Data()
	if err != nil {
		return "", err
	}
	// The client watches over commands and answers, not over what it writes in between.
	if err := c.raw.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return "", err
	}
	if _, err := data.Write(m.Body); err != nil {
		return "", err
	}
	answer, err := data.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return answer.StatusText, nil
}

// reset begins afresh after an answer that was not a 250.
func (l *line) reset() {
	if err := l.conn.client.Reset(); err != nil {
		l.hangUp()
	}
}

// leave ends a session in which nothing is open. Whether the server answers the farewell does not matter.
func (l *line) leave() {
	if l.conn != nil {
		l.conn.client.CommandTimeout = time.Second
		_ = l.conn.client.Quit()
	}
	l.hangUp()
}

// hangUp cuts the connection, if there is one.
func (l *line) hangUp() {
	if l.conn == nil {
		return
	}
	l.conn.stop()
	_ = l.conn.raw.Close()
	l.conn = nil
}
