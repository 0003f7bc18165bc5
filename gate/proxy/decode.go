package proxy

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	// maxRatio is by how much an answer may expand, once it has maxFree bytes. Text of records stays far below.
	maxRatio = 200
	maxFree  = 1 << 20
)

// decode sets up reading. The service was asked for identity; what it compressed all the same is expanded within bounds. An
// encoding that is not known passes as it is, and cannot be counted.
func (s *stream) decode(h http.Header) error {
	in := &tally{r: s.call}
	s.src = in
	switch encoding := strings.ToLower(strings.TrimSpace(strings.Join(h["Content-Encoding"], ","))); encoding {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(in)
		if errors.Is(err, io.EOF) {
			s.src = strings.NewReader("") // an empty body, of an answer that should have had none
			return nil
		}
		if err != nil {
			return errEncoding
		}
		s.src = &expansion{in, tally{r: r}}
	case "deflate":
		r, err := inflate(in)
		if err != nil {
			return err
		}
		s.src = &expansion{in, tally{r: r}}
	default:
		if s.count == nil {
			return nil
		}
		if s.unreadable() {
			return errEncoding
		}
		s.counting(&opaque{})
		s.links = nil
		return nil
	}
	s.decoded = true
	delete(h, "Content-Encoding")
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag) // a strong one is of the compressed bytes
	}
	return nil
}

// inflate reads deflate with the wrapping that RFC 9110 8.4.1.2 asks for, or without, as some servers send it.
func inflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == 2 && head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// tally counts the bytes that pass.
type tally struct {
	r io.Reader
	n int64
}

func (t *tally) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	return n, err
}

// expansion ends a decompression that yields too much for what it is given.
type expansion struct {
	in *tally
	tally
}

func (e *expansion) Read(p []byte) (int, error) {
	n, err := e.tally.Read(p)
	if e.n > maxFree && e.n > maxRatio*e.in.n {
		return 0, errBomb
	}
	return n, err
}
