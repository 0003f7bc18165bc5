package kim

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
)

// The bounds of a walk through the parts of a mail.
const (
	MaxMail  = 64 << 20 // octets of the whole mail
	MaxDepth = 8        // multipart and message/rfc822 levels
	MaxParts = 64       // over all levels
)

// part is one node of a mail's tree.
type part struct {
	header    Header
	mediaType string // in lower case, "text/plain" if missing
	params    map[string]string
	body      []byte // as transferred
}

// walker visits the leaves of a mail and stops at the first error that visit returns.
type walker struct {
	parts int
	visit func(part) error
}

func walk(octets []byte, visit func(part) error) error {
	if len(octets) > MaxMail {
		return &ExtractError{Reason: TooLarge}
	}
	w := walker{visit: visit}
	return w.entity(octets, 0)
}

func (w *walker) entity(octets []byte, depth int) error {
	if w.parts++; w.parts > MaxParts {
		return &ExtractError{Reason: TooManyParts}
	}
	if depth > MaxDepth {
		return &ExtractError{Reason: TooDeep}
	}
	p := part{header: readFields(octets)}
	p.body = octets[p.header.Body:]
	p.mediaType, p.params = mediaType(p.header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(p.mediaType, "multipart/"):
		return w.multipart(p, depth)
	case p.mediaType == "message/rfc822":
		body, err := p.decode()
		if err != nil {
			return err
		}
		return w.entity(body, depth+1)
	default:
		return w.visit(p)
	}
}

// multipart visits the parts between the delimiter lines (RFC 2046 5.1.1). A missing closing delimiter is tolerated:
// the last part then ends where the octets end.
func (w *walker) multipart(p part, depth int) error {
	boundary := p.params["boundary"]
	if boundary == "" {
		return &ExtractError{Reason: Malformed}
	}
	delimiter := []byte("--" + boundary)
	start, found := -1, false // of the part being collected
	for pos := 0; pos < len(p.body); {
		line, next := p.body[pos:], len(p.body)
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line, next = line[:n], pos+n+1
		}
		is, closing := isDelimiter(line, delimiter)
		if is {
			found = true
			if start >= 0 {
				if err := w.entity(trimLineEnd(p.body[start:pos]), depth+1); err != nil {
					return err
				}
			}
			start = next
			if closing {
				return nil
			}
		}
		pos = next
	}
	if !found {
		return &ExtractError{Reason: Malformed}
	}
	return w.entity(p.body[start:], depth+1)
}

// isDelimiter reports whether a line is exactly the delimiter, or its closing form, followed by blanks only.
func isDelimiter(line, delimiter []byte) (is, closing bool) {
	rest, ok := bytes.CutPrefix(line, delimiter)
	if !ok {
		return false, false
	}
	rest, closing = bytes.CutPrefix(rest, []byte("--"))
	return len(bytes.Trim(rest, " \t\r")) == 0, closing
}

// trimLineEnd removes the line end that belongs to the following delimiter.
func trimLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}

// decode undoes the transfer encoding. 7bit, 8bit, binary and no encoding return the octets themselves.
func (p *part) decode() ([]byte, error) {
	switch strings.ToLower(p.header.Get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
		return p.body, nil
	case "base64":
		return decodeBase64(p.body)
	case "quoted-printable":
		return decodeQuotedPrintable(p.body)
	default:
		return nil, &ExtractError{Reason: BadEncoding}
	}
}

// decodeQuotedPrintable refuses an equals sign before neither two hexadecimal digits nor the end of a line. The standard
// library takes it as a literal, which would turn a damaged transfer into other octets than the sender's.
func decodeQuotedPrintable(b []byte) ([]byte, error) {
	for rest := b; ; {
		i := bytes.IndexByte(rest, '=')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		if after := bytes.TrimLeft(rest, " \t"); len(after) == 0 || after[0] == '\r' || after[0] == '\n' {
			continue // a soft line end
		}
		if len(rest) < 2 || !hexDigit(rest[0]) || !hexDigit(rest[1]) {
			return nil, &ExtractError{Reason: BadEncoding}
		}
	}
	out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, &ExtractError{Reason: BadEncoding, Err: err}
	}
	return out, nil
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f'
}

// decodeBase64 accepts blanks and line ends anywhere and a missing padding. Anything else that is not of the alphabet is
// an error: dropping it, as some readers do, would turn a damaged transfer into a wrong signature of the sender's.
func decodeBase64(b []byte) ([]byte, error) {
	text := make([]byte, 0, len(b))
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			text = append(text, c)
		}
	}
	text = bytes.TrimRight(text, "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(out, text)
	if err != nil {
		return nil, &ExtractError{Reason: BadEncoding, Err: err}
	}
	return out[:n], nil
}

// maxMediaType bounds the work spent on one Content-Type or Content-Disposition.
const maxMediaType = 4 << 10

// mediaType reads a Content-Type or Content-Disposition: the type in lower case and its parameters with lower-case
// names. What the standard's grammar rejects (unquoted = and ? in values are common) is read by splitting.
func mediaType(v string) (string, map[string]string) {
	if v == "" {
		return "text/plain", nil
	}
	if len(v) > maxMediaType {
		v = v[:maxMediaType]
	}
	if t, params, err := mime.ParseMediaType(v); err == nil {
		return t, params
	}
	t, rest, _ := strings.Cut(v, ";")
	params := map[string]string{}
	for rest != "" {
		var param string
		param, rest = cutParameter(rest)
		name, value, ok := strings.Cut(param, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := params[name]; ok && !twice {
			params[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return strings.ToLower(strings.TrimSpace(t)), params
}

// cutParameter splits at the first semicolon outside quotes.
func cutParameter(s string) (string, string) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
