package telemetry

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// collector is a receiver of OTLP over HTTP that reads protobuf by the published field numbers, without the library that
// wrote it, and fails on anything that is not OTLP.
type collector struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	status int // answered; 0: 200
	spans  []span
	lines  []line
	header http.Header // of the last request
	raw    []byte      // of all requests
}

type span struct {
	trace, name string
	id, parent  string
	kind        uint64
	start, end  uint64
	attrs       map[string]string
	code        uint64
	resource    map[string]string
}

type line struct {
	body, severity string
	attrs          map[string]string
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("not OTLP: %s %s %v", r.Method, r.Header.Get("Content-Type"), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = r.Header.Clone()
	c.raw = append(c.raw, body...)
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			c.t.Errorf("the request is no OTLP: %v", p)
		}
	}()
	switch r.URL.Path {
	case "/v1/traces":
		c.readSpans(body)
	case "/v1/logs":
		c.readLines(body)
	default:
		c.t.Errorf("the request went to %s", r.URL.Path)
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty message: everything was taken
}

// field is one field of a message: its varint or fixed number, or its bytes.
type field struct {
	n     uint64
	bytes []byte
}

// fields reads a message. It panics on what is no protobuf.
func fields(b []byte) map[uint64][]field {
	all := map[uint64][]field{}
	for len(b) > 0 {
		tag, k := binary.Uvarint(b)
		if k <= 0 {
			panic("no tag")
		}
		b = b[k:]
		var f field
		switch tag & 7 {
		case 0:
			f.n, k = binary.Uvarint(b)
			if k <= 0 {
				panic("no varint")
			}
		case 1:
			f.n, k = binary.LittleEndian.Uint64(b), 8
		case 2:
			size, m := binary.Uvarint(b)
			if m <= 0 || uint64(len(b)-m) < size {
				panic("too short")
			}
			k = m + int(size)
			f.bytes = b[m:k]
		case 5:
			f.n, k = uint64(binary.LittleEndian.Uint32(b)), 4
		default:
			panic(fmt.Sprint("wire type ", tag&7))
		}
		all[tag>>3] = append(all[tag>>3], f)
		b = b[k:]
	}
	return all
}

func text(f []field) string {
	if len(f) == 0 {
		return ""
	}
	return string(f[0].bytes)
}

func num(f []field) uint64 {
	if len(f) == 0 {
		return 0
	}
	return f[0].n
}

func anyValue(b []byte) string {
	v := fields(b)
	switch {
	case v[1] != nil:
		return text(v[1])
	case v[2] != nil:
		return fmt.Sprint(num(v[2]) == 1)
	case v[3] != nil:
		return fmt.Sprint(int64(num(v[3])))
	case v[4] != nil:
		return fmt.Sprint(math.Float64frombits(num(v[4])))
	case v[6] != nil:
		return fmt.Sprint(keyValues(fields(v[6][0].bytes)[1]))
	}
	return ""
}

func keyValues(list []field) map[string]string {
	m := map[string]string{}
	for _, f := range list {
		kv := fields(f.bytes)
		value := ""
		if len(kv[2]) > 0 {
			value = anyValue(kv[2][0].bytes)
		}
		m[text(kv[1])] = value
	}
	return m
}

// each calls fn for every record below the two levels of resource and scope.
func each(body []byte, fn func(record map[uint64][]field, resource map[string]string)) {
	for _, r := range fields(body)[1] {
		of := fields(r.bytes)
		resource := keyValues(fields(of[1][0].bytes)[1])
		for _, scope := range of[2] {
			for _, record := range fields(scope.bytes)[2] {
				fn(fields(record.bytes), resource)
			}
		}
	}
}

func (c *collector) readSpans(body []byte) {
	each(body, func(s map[uint64][]field, resource map[string]string) {
		sp := span{
			trace: fmt.Sprintf("%x", text(s[1])), id: fmt.Sprintf("%x", text(s[2])), parent: fmt.Sprintf("%x", text(s[4])), name: text(s[5]), kind: num(s[6]), start: num(s[7]), end: num(s[8]),
			attrs: keyValues(s[9]), resource: resource,
		}
		if len(s[15]) > 0 {
			sp.code = num(fields(s[15][0].bytes)[3])
		}
		c.spans = append(c.spans, sp)
	})
}

func (c *collector) readLines(body []byte) {
	each(body, func(l map[uint64][]field, _ map[string]string) {
		c.lines = append(c.lines, line{body: anyValue(l[5][0].bytes), severity: text(l[3]), attrs: keyValues(l[6])})
	})
}

func (c *collector) got() ([]span, []line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans, c.lines
}

// has reports whether any octets of any request contain s.
func (c *collector) has(s string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(string(c.raw), s)
}
