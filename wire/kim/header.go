package kim

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// The bounds of a header. What lies beyond them is not read; the mail is still taken.
const (
	MaxHeader = 64 << 10 // octets
	MaxFields = 512
)

// Field is one header field as it came: unfolded, without surrounding blanks, otherwise unchanged. A value may hold
// octets outside ASCII and control characters.
type Field struct {
	Name, Value string
}

// FindingKind says what is odd about a header.
type FindingKind string

// The oddities of a header. None of them is a reason to reject.
const (
	FindingTruncated  FindingKind = "truncated"  // longer than MaxHeader or MaxFields; the rest was not read
	FindingMalformed  FindingKind = "malformed"  // a line that is no header field; it was skipped
	FindingConflict   FindingKind = "conflict"   // a header occurs more than once with different values; the first counts
	FindingMissing    FindingKind = "missing"    // a header that KIM requires is not there
	FindingUnreadable FindingKind = "unreadable" // a header whose value does not have its standard's form
)

// Finding is one oddity of a header, with the name of the header where there is one.
type Finding struct {
	Kind  FindingKind
	Field string
}

// Header is the outer header of a KIM mail. Addresses stand without display names, in the order written, unchecked:
// [ParseAddress] has the rules. A header that is missing or unreadable is empty here and has a Finding.
type Header struct {
	From, Sender, ReplyTo, To, Cc []string

	MessageID     string    // with angle brackets; printable ASCII without blanks
	Date          time.Time // zero if unreadable
	Subject       string    // as written, RFC 2047 not decoded
	Dienstkennung Dienstkennung

	Fields   []Field
	Findings []Finding
	Raw      []byte // the header's octets without the empty line; part of the slice given to ReadHeader
	Body     int    // offset of the first octet after the header
}

// ReadHeader reads the header at the start of mail, up to the first empty line. It accepts CRLF and LF line ends, folded
// lines and blanks before the colon (RFC 5322 section 4), and skips lines that are no fields.
func ReadHeader(octets []byte) Header {
	h := readFields(octets)
	for _, a := range []struct {
		name string
		dst  *[]string
		must bool
	}{
		{"From", &h.From, true},
		{"To", &h.To, true},
		{"Sender", &h.Sender, false},
		{"Reply-To", &h.ReplyTo, false},
		{"Cc", &h.Cc, false},
	} {
		*a.dst = h.addresses(a.name, a.must)
	}
	h.MessageID = h.messageID("Message-ID", true)
	h.Subject, _ = h.first("Subject")
	if v, ok := h.required("Date"); ok {
		t, err := mail.ParseDate(v)
		if err != nil {
			h.note(FindingUnreadable, "Date")
		}
		h.Date = t
	}
	if v, ok := h.required("X-KIM-Dienstkennung"); ok {
		if h.Dienstkennung, ok = ParseDienstkennung(v); !ok {
			h.note(FindingUnreadable, "X-KIM-Dienstkennung")
		}
	}
	return h
}

// Get returns the first value of the header, "" if it is missing. Names are case-insensitive.
func (h *Header) Get(name string) string {
	for i := range h.Fields {
		if strings.EqualFold(h.Fields[i].Name, name) {
			return h.Fields[i].Value
		}
	}
	return ""
}

// Service returns the service that the mail belongs to: what the first X-KIM-Dienstkennung names, [querschott.Mail] if
// it is missing, unreadable or unknown (K-07: a wrong Dienstkennung is never a reason to reject).
func (h *Header) Service() querschott.Service { return h.Dienstkennung.Service() }

// CheckSender applies the rules that a sending system must keep: From and Sender equal mailFrom, and every Reply-To ends
// in a KIM domain unless the mail goes to its own sender only. The error names the rule and no address.
//
// gemSpec_CM_KOMLE A_23422
func (h *Header) CheckSender(mailFrom Address) error {
	for _, list := range [][]string{h.From, h.Sender} {
		for _, s := range list {
			if !strings.EqualFold(s, string(mailFrom)) {
				return querschott.Refuse(querschott.CodeInvalid, "From and Sender must equal MAIL FROM (A_23422)")
			}
		}
	}
	if len(h.To) == 1 && len(h.Cc) == 0 && strings.EqualFold(h.To[0], string(mailFrom)) {
		return nil
	}
	for _, s := range h.ReplyTo {
		if _, err := ParseAddress(s); err != nil {
			return querschott.Refuse(querschott.CodeInvalid, "Reply-To must be an address of a KIM domain (A_23422)")
		}
	}
	return nil
}

func (h *Header) note(kind FindingKind, field string) {
	for _, f := range h.Findings {
		if f.Kind == kind && f.Field == field {
			return
		}
	}
	h.Findings = append(h.Findings, Finding{kind, field})
}

// first returns the first value of a header that may occur once, and notes a repetition with another value: which of
// two headers counts must never depend on which program reads the mail.
func (h *Header) first(name string) (string, bool) {
	value, found := "", false
	for i := range h.Fields {
		switch f := &h.Fields[i]; {
		case !strings.EqualFold(f.Name, name):
		case !found:
			value, found = f.Value, true
		case f.Value != value:
			h.note(FindingConflict, name)
		}
	}
	return value, found
}

func (h *Header) required(name string) (string, bool) {
	v, ok := h.first(name)
	if !ok {
		h.note(FindingMissing, name)
	}
	return v, ok
}

func (h *Header) addresses(name string, must bool) []string {
	v, ok := h.first(name)
	if !ok {
		if must {
			h.note(FindingMissing, name)
		}
		return nil
	}
	list, err := addressParser.ParseList(v)
	if err != nil {
		h.note(FindingUnreadable, name)
		return nil
	}
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Address
	}
	return out
}

// addressParser lets display names pass in any character set: they are dropped.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(string, io.Reader) (io.Reader, error) { return strings.NewReader("?"), nil },
}}

// maxMessageID keeps a Message-ID together with its header name inside the 998 octets of a line (RFC 5322 2.1.1).
const maxMessageID = 900

func (h *Header) messageID(name string, must bool) string {
	v, ok := h.first(name)
	if !ok {
		if must {
			h.note(FindingMissing, name)
		}
		return ""
	}
	_, rest, open := strings.Cut(v, "<")
	id, _, closed := strings.Cut(rest, ">")
	foreign := func(r rune) bool { return r <= ' ' || r > '~' }
	if !open || !closed || id == "" || len(id) > maxMessageID || strings.ContainsFunc(id, foreign) {
		h.note(FindingUnreadable, name)
		return ""
	}
	return "<" + id + ">"
}

// readFields splits a header into fields and interprets none of them.
func readFields(octets []byte) Header {
	var h Header
	var f folded
	pos := 0
	for pos < len(octets) {
		line, next := octets[pos:], len(octets)
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line, next = line[:n], pos+n+1
		}
		if next > MaxHeader {
			h.note(FindingTruncated, "")
			break
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			f.flush(&h)
			h.Raw, h.Body = octets[:pos], next
			return h
		}
		if !f.line(&h, line) {
			break
		}
		pos = next
	}
	f.flush(&h)
	h.Raw, h.Body = octets[:pos], pos
	return h
}

// folded collects the lines of one field, so that each octet is copied once however often a field is folded.
type folded struct {
	name  string
	value []byte
}

// line takes one line of a header. It returns false when there is no room for more fields.
func (f *folded) line(h *Header, line []byte) bool {
	if line[0] == ' ' || line[0] == '\t' {
		if f.name == "" {
			h.note(FindingMalformed, "")
			return true
		}
		f.value = append(append(f.value, ' '), bytes.Trim(line, " \t")...)
		return true
	}
	f.flush(h)
	name, value, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || !fieldName(name) {
		h.note(FindingMalformed, "")
		return true
	}
	if len(h.Fields) == MaxFields {
		h.note(FindingTruncated, "")
		return false
	}
	f.name, f.value = string(name), append(f.value[:0], bytes.Trim(value, " \t")...)
	return true
}

func (f *folded) flush(h *Header) {
	if f.name != "" {
		h.Fields = append(h.Fields, Field{f.name, string(bytes.Trim(f.value, " \t"))})
	}
	f.name = ""
}

// fieldName reports whether b is a field name: printable ASCII without colon and blank (RFC 5322 3.6.8).
func fieldName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(b) > 0
}
