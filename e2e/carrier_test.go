//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// letterCarrier is one authenticated connection to a mail server.
type letterCarrier struct {
	at     string
	conn   net.Conn
	client *smtp.Client
}

// dial connects. Without a TLS configuration it speaks in the clear, without a user it does not log in.
func dial(ctx context.Context, at string, secure *tls.Config, user, password string) (*letterCarrier, error) {
	d := net.Dialer{Timeout: time.Minute}
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	client := smtp.NewClient(conn)
	if user != "" {
		if err := client.Auth(sasl.NewPlainClient("", user, password)); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return &letterCarrier{at, conn, client}, nil
}

// deliver sends one mail, asks for a notification, and returns the text of the 250.
func (c *letterCarrier) deliver(from, to string, body []byte) (string, error) {
	if err := c.client.Mail(from, &smtp.MailOptions{Return: smtp.DSNReturnHeaders}); err != nil {
		return "", err
	}
	if err := c.client.Rcpt(to, &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}}); err != nil {
		return "", err
	}
	w, err := c.client.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write(body); err != nil {
		return "", err
	}
	answer, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return answer.StatusText, nil
}

// hangUp cuts the connection, if there is one.
func (c *letterCarrier) hangUp() {
	if c != nil {
		_ = c.conn.Close() // nothing more is wanted from it
	}
}

// codeOf returns the code of a server's refusal, 0 if the connection broke.
func codeOf(err error) int {
	if answer, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return answer.Code
	}
	return 0
}

// answer returns a server's refusal as it came.
func answer(err error) string {
	e, ok := errors.AsType[*smtp.SMTPError](err)
	if !ok {
		return err.Error()
	}
	return fmt.Sprintf("%d %d.%d.%d %s", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
}
