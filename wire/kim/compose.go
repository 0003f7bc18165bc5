package kim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
)

// DocumentKind is the sort of an eAU message, as its file name and subject tell it.
type DocumentKind string

// The sorts of eAU messages.
const (
	Certificate  DocumentKind = ""       // the sick note itself
	Cancellation DocumentKind = "Storno" // withdraws one
	Failure      DocumentKind = "Fehler" // the insurer's error message
)

// DocumentName is the name of an eAU message: EEAU0_<ID>, TEAU0_Storno_<ID>, EEAU0_Fehler_<ID>. It is the mail's subject
// and, with a suffix, the name of the attachment (KBV Technische Anlage eAU P5-02, KP310-13).
type DocumentName struct {
	Test bool // T instead of E: towards test systems only
	Kind DocumentKind
	ID   string // Bundle.identifier.value as a bare UUID, or the id of the OperationOutcome
}

// String writes the name without a suffix: the mail's subject.
func (n DocumentName) String() string {
	s := "EEAU0_"
	if n.Test {
		s = "TEAU0_"
	}
	if n.Kind != Certificate {
		s += string(n.Kind) + "_"
	}
	return s + strings.TrimPrefix(n.ID, "urn:uuid:")
}

// P7S returns the file name of the signed document.
func (n DocumentName) P7S() string { return n.String() + ".p7s" }

// XML returns the file name of the document before signing, or of an error message.
func (n DocumentName) XML() string { return n.String() + ".xml" }

// ParseDocumentName reads a subject or file name. It returns false for names of other messages.
func ParseDocumentName(s string) (DocumentName, bool) {
	var n DocumentName
	s = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(s), ".p7s"), ".xml")
	rest, ok := strings.CutPrefix(s, "EEAU0_")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "TEAU0_"); !ok {
			return DocumentName{}, false
		}
		n.Test = true
	}
	for _, k := range []DocumentKind{Cancellation, Failure} {
		if after, ok := strings.CutPrefix(rest, string(k)+"_"); ok {
			n.Kind, rest = k, after
			break
		}
	}
	n.ID = strings.TrimPrefix(rest, "urn:uuid:")
	return n, n.ID != "" && token(n.ID)
}

// Delivery is a mail that carries one signed document from a practice to an insurer.
type Delivery struct {
	From, To, ReplyTo Address // ReplyTo: where answers go; empty means From
	Dienstkennung     Dienstkennung
	Subject           string
	FileName          string // <name>.p7s; letters, digits and the signs of an RFC 2045 token
	Description       string // Content-Description: "eAU", "eAUStorno"
	P7S               []byte
	Sendersystem      string // X-KIM-Sendersystem, "<product>;<version>"; may be empty
	Date              time.Time
	MessageID         string // <left@right>; must not show an internal host name
}

// Compose writes the client mail of a delivery: multipart/mixed with exactly one base64 attachment (KBV Technische Anlage
// eAU P4-01, P5-02). The same Delivery always yields the same octets. An error means that a field cannot stand in a mail.
func Compose(d Delivery) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("couldn't compose a delivery: %w", err)
	}
	replyTo := d.ReplyTo
	if replyTo == "" {
		replyTo = d.From
	}
	boundary := boundaryFor([]byte(d.MessageID), []byte(d.Subject))
	var b bytes.Buffer
	b.Grow(len(d.P7S)*3/2 + 1024)
	writeField(&b, "Date", d.Date.Format(time.RFC1123Z))
	writeField(&b, "From", string(d.From))
	writeField(&b, "Reply-To", string(replyTo))
	writeField(&b, "To", string(d.To))
	writeField(&b, "Message-ID", d.MessageID)
	writeField(&b, "Subject", encodeText(d.Subject))
	writeField(&b, "MIME-Version", "1.0")
	writeField(&b, "Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	writeField(&b, "X-KIM-Dienstkennung", d.Dienstkennung.String())
	if d.Sendersystem != "" {
		writeField(&b, "X-KIM-Sendersystem", encodeText(d.Sendersystem))
	}
	b.WriteString("\r\n--" + boundary + "\r\n")
	writeField(&b, "Content-Type", "application/octet-stream;\r\n\tname="+d.FileName)
	writeField(&b, "Content-Transfer-Encoding", "base64")
	writeField(&b, "Content-Disposition", "attachment;\r\n\tfilename="+d.FileName)
	writeField(&b, "Content-Description", encodeText(d.Description))
	b.WriteString("\r\n")
	writeBase64(&b, d.P7S)
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

func (d *Delivery) check() error {
	for _, a := range []Address{d.From, d.To} {
		if _, err := ParseAddress(string(a)); err != nil {
			return err
		}
	}
	if d.ReplyTo != "" {
		if _, err := ParseAddress(string(d.ReplyTo)); err != nil {
			return err
		}
	}
	h := Header{Fields: []Field{{"Message-ID", d.MessageID}}}
	if d.MessageID == "" || h.messageID("Message-ID", true) != d.MessageID {
		return errors.New("a Message-ID is written <left@right>, in printable ASCII without blanks")
	}
	if k, ok := ParseDienstkennung(d.Dienstkennung.String()); !ok || k != d.Dienstkennung {
		return errors.New("a Dienstkennung has an application and an operation, in printable ASCII without semicolons")
	}
	for _, s := range []string{d.Subject, d.Description, d.Sendersystem} {
		if len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("a header text is too long or has control characters")
		}
	}
	if len(d.FileName) > maxText || !token(d.FileName) {
		return errors.New("a file name has letters, digits and the signs of a MIME token only")
	}
	if len(d.P7S) == 0 || len(d.P7S) > MaxMail/2 {
		return errors.New("a delivery carries one document that is neither empty nor larger than a mail")
	}
	if d.Date.IsZero() {
		return errors.New("a delivery has a date")
	}
	return nil
}

const maxText = 200 // octets of a subject, description, file name: fits into one line however it is encoded

// token reports whether s is a token of RFC 2045 5.1: it needs no quotes in a parameter.
func token(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// encodeText writes text outside ASCII as encoded words (RFC 2047).
func encodeText(s string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", s), "?= =?", "?=\r\n =?")
}

// boundaryFor derives a delimiter from what is particular to one mail, so that equal mails have equal octets. Nobody can
// choose a text that contains the hash of itself.
func boundaryFor(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
		h.Write([]byte{0})
	}
	return "qs-" + hex.EncodeToString(h.Sum(nil)[:16])
}

func writeField(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteString(": ")
	b.WriteString(value)
	b.WriteString("\r\n")
}

// writeBase64 writes lines of 76 characters (RFC 2045 6.8).
func writeBase64(b *bytes.Buffer, data []byte) {
	const octetsPerLine = 57
	var line [76]byte
	for len(data) > 0 {
		n := min(len(data), octetsPerLine)
		encoded := base64.StdEncoding.AppendEncode(line[:0], data[:n])
		b.Write(encoded)
		b.WriteString("\r\n")
		data = data[n:]
	}
}
