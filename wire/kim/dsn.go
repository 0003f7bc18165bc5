package kim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// Recipient is one mailbox in a delivery status notification.
type Recipient struct {
	Final    string // the address that took the mail
	Original string // ORCPT of the sender without "rfc822;", decoded; "" if it gave none
	Action   string // "delivered", ...; written as delivered, always
	Status   string // "2.0.0", ...; written as 2.0.0 if empty
}

// Notification is a delivery status notification: the mail was taken and is durable.
type Notification struct {
	ReportingMTA string // host name of the mail door
	From         string // who writes it, a bare address; the envelope's sender is always <>
	To           string // envelope sender of the mail it reports on
	MessageID    string // of the notification itself, <left@right>
	Date         time.Time

	InReplyTo  string    // outer Message-ID of the mail it reports on; "" if it had none
	EnvelopeID string    // ENVID of the sender, decoded; "" if it gave none
	Arrival    time.Time // when the mail was received
	Recipients []Recipient
	Header     []byte // header of the mail it reports on ([Header.Raw])
}

// Delivered writes a positive notification: multipart/report with a text in German and English, the machine-readable
// status and the header of the reported mail (RET=HDRS always). It is neither signed nor encrypted and has no
// Dienstkennung of its own. All foreign strings are cut down to printable ASCII; the result is 7-bit, in CRLF lines of at
// most 998 octets, and the same Notification always yields the same octets.
//
// RFC 3461 section 6, RFC 3464, RFC 6522; gematik api-kim: In-Reply-To is the outer Message-ID, Arrival-Date the time of
// reception.
func Delivered(n Notification) []byte {
	boundary := boundaryFor([]byte(n.MessageID), []byte(n.InReplyTo), []byte(n.EnvelopeID), n.Header)
	var b bytes.Buffer
	b.Grow(len(n.Header) + 3<<10)
	writeField(&b, "Date", n.Date.Format(time.RFC1123Z))
	writeField(&b, "From", cleanAddress(n.From))
	writeField(&b, "To", cleanAddress(n.To))
	writeField(&b, "Message-ID", cleanToken(n.MessageID))
	writeField(&b, "Subject", "Zustellbestaetigung / Successful mail delivery report")
	writeField(&b, "Auto-Submitted", "auto-replied") // RFC 3834
	if id := cleanToken(n.InReplyTo); id != "" {
		writeField(&b, "In-Reply-To", id)
		writeField(&b, "References", id)
	}
	writeField(&b, "MIME-Version", "1.0")
	writeField(&b, "Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+boundary+`"`)
	b.WriteString("\r\n--" + boundary + "\r\n")
	n.writeText(&b)
	b.WriteString("\r\n--" + boundary + "\r\n")
	n.writeStatus(&b)
	b.WriteString("\r\n--" + boundary + "\r\n")
	writeField(&b, "Content-Type", "text/rfc822-headers")
	b.WriteString("\r\n")
	writeReturnedHeader(&b, n.Header)
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

func (n *Notification) writeText(b *bytes.Buffer) {
	writeField(b, "Content-Type", "text/plain; charset=utf-8")
	writeField(b, "Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(b)
	defer func() { _ = w.Close() }() // the buffer takes everything
	var boxes strings.Builder
	for _, r := range n.Recipients {
		boxes.WriteString("  " + cleanAddress(r.Final) + "\r\n")
	}
	_, _ = io.WriteString(w, "Ihre Nachricht wurde angenommen und dauerhaft gespeichert."+
		" Sie müssen nichts weiter tun.\r\n\r\n"+
		"Your message was accepted and stored durably. You need not do anything.\r\n\r\n"+boxes.String())
}

// writeStatus writes the fields per message and, after an empty line each, the fields per recipient (RFC 3464 2.2, 2.3).
func (n *Notification) writeStatus(b *bytes.Buffer) {
	writeField(b, "Content-Type", "message/delivery-status")
	b.WriteString("\r\n")
	if id := clean(n.EnvelopeID, maxMessageID); id != "" {
		writeField(b, "Original-Envelope-Id", id)
	}
	writeField(b, "Reporting-MTA", "dns; "+cleanToken(n.ReportingMTA))
	writeField(b, "Arrival-Date", n.Arrival.Format(time.RFC1123Z))
	for _, r := range n.Recipients {
		b.WriteString("\r\n")
		if r.Original != "" {
			writeField(b, "Original-Recipient", "rfc822; "+clean(r.Original, maxMessageID))
		}
		writeField(b, "Final-Recipient", "rfc822; "+cleanAddress(r.Final))
		writeField(b, "Action", "delivered")
		status := cleanToken(r.Status)
		if status == "" {
			status = "2.0.0"
		}
		writeField(b, "Status", status)
	}
}

// writeReturnedHeader writes the fields that can be read, each in lines of at most 998 octets.
func writeReturnedHeader(b *bytes.Buffer, header []byte) {
	const maxValue = 900
	h := readFields(header)
	for _, f := range h.Fields {
		if len(f.Name) > 76 {
			continue
		}
		value := clean(f.Value, MaxHeader)
		if value == "" {
			writeField(b, f.Name, "")
			continue
		}
		for first := true; value != ""; first = false {
			line := value[:min(len(value), maxValue)]
			value = value[len(line):]
			if first {
				writeField(b, f.Name, line)
			} else {
				b.WriteString("\t" + line + "\r\n")
			}
		}
	}
}

// clean replaces every octet that is not printable ASCII and cuts at limit octets.
func clean(s string, limit int) string {
	s = strings.TrimSpace(s[:min(len(s), limit)])
	out := []byte(s)
	for i, c := range out {
		if c == '\t' {
			out[i] = ' '
		} else if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}

// cleanToken is clean without blanks.
func cleanToken(s string) string { return strings.ReplaceAll(clean(s, maxMessageID), " ", "?") }

// cleanAddress leaves the characters of an unquoted address, so that one address stays one address.
func cleanAddress(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>,;:"()\`, r) {
			return '?'
		}
		return r
	}, cleanToken(s))
}

// Report is what a delivery status notification says.
type Report struct {
	InReplyTo    string // Message-ID of the reported mail, with angle brackets; "" if the notification has none
	EnvelopeID   string
	ReportingMTA string    // without "dns;"
	Arrival      time.Time // zero if the notification does not tell
	Recipients   []Recipient
	Header       Header // header of the reported mail; empty if not returned
}

// ErrNoReport is in the chain of the error for a mail that is no delivery status notification.
var ErrNoReport = errors.New("the mail is no delivery status notification")

// ParseReport reads a delivery status notification of any mail server, within the bounds of a walk.
func ParseReport(octets []byte) (Report, error) {
	outer := readFields(octets)
	t, params := mediaType(outer.Get("Content-Type"))
	if t != "multipart/report" || !strings.EqualFold(params["report-type"], "delivery-status") {
		return Report{}, ErrNoReport
	}
	r := Report{InReplyTo: outer.messageID("In-Reply-To", false)}
	found := false
	err := walk(octets, func(p part) error {
		body, err := p.decode()
		if err != nil {
			return err
		}
		switch {
		case p.mediaType == "message/delivery-status" && !found:
			found = true
			r.readStatus(body)
		case p.mediaType == "text/rfc822-headers" && r.Header.Fields == nil:
			r.Header = ReadHeader(body)
		}
		return nil
	})
	if err != nil {
		return Report{}, fmt.Errorf("couldn't read a delivery status notification: %w", err)
	}
	if !found || len(r.Recipients) == 0 {
		return Report{}, fmt.Errorf("couldn't find the status of a recipient: %w", ErrNoReport)
	}
	return r, nil
}

func (r *Report) readStatus(body []byte) {
	first := true
	for len(body) > 0 {
		group := readFields(body)
		if group.Body == 0 {
			return
		}
		body = body[group.Body:]
		if len(group.Fields) == 0 {
			continue
		}
		if first {
			first = false
			r.EnvelopeID = group.Get("Original-Envelope-Id")
			r.ReportingMTA = afterType(group.Get("Reporting-MTA"))
			if t, err := mail.ParseDate(group.Get("Arrival-Date")); err == nil {
				r.Arrival = t
			}
			continue
		}
		if len(r.Recipients) == MaxFields {
			return
		}
		r.Recipients = append(r.Recipients, Recipient{
			Final:    afterType(group.Get("Final-Recipient")),
			Original: afterType(group.Get("Original-Recipient")),
			Action:   strings.ToLower(group.Get("Action")),
			Status:   group.Get("Status"),
		})
	}
}

// afterType drops the type of a typed field: "rfc822; a@b" is a@b.
func afterType(s string) string {
	if _, v, ok := strings.Cut(s, ";"); ok {
		return strings.TrimSpace(v)
	}
	return s
}
