package http

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// headerTrace is W3C Trace Context, level 1.
const headerTrace = "Traceparent"

// follow begins to note how the request goes through the gate, if it is one of those that are traced. Only a trusted hop
// may say which trace it is part of, and that it is not to be traced: a trace id that a caller chooses would tie its
// requests together for whoever reads the traces (gemSpec_ZETA A_27260).
func (v *visit) follow() {
	if v.srv.cfg.Traced == nil {
		return
	}
	c := &querschott.Course{}
	sampled, known := false, false
	if v.peer {
		sampled, known = parseTrace(v.raw.Header[headerTrace], c)
	}
	if known && !sampled || !known && !v.srv.cfg.Traced(v.id) {
		return
	}
	_, _ = rand.Read(c.Span[:]) // never fails
	_, _ = rand.Read(c.Service[:])
	v.course = c
}

// parseTrace reads which trace and which span a request is part of, and whether that trace is kept. Of a version that we do
// not know, the fields of the first one count (W3C Trace Context 4.3).
func parseTrace(values []string, c *querschott.Course) (sampled, ok bool) {
	if len(values) != 1 {
		return false, false
	}
	s := values[0]
	const size = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < size || s[2] != '-' || s[35] != '-' || s[52] != '-' || len(s) > size && (s[:2] == "00" || s[size] != '-') ||
		strings.Trim(s[:size], "0123456789abcdef-") != "" {
		return false, false
	}
	var version, flags [1]byte
	var trace [16]byte
	var parent [8]byte
	for _, f := range [...]struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {trace[:], s[3:35]}, {parent[:], s[36:52]}, {flags[:], s[53:size]}} {
		if _, err := hex.Decode(f.to, []byte(f.from)); err != nil {
			return false, false
		}
	}
	if version[0] == 0xff || trace == [16]byte{} || parent == [8]byte{} {
		return false, false
	}
	c.Trace, c.Parent = trace, parent
	return flags[0]&1 == 1, true
}

// passOn tells the service behind the gate which trace and span its work is part of.
func (v *visit) passOn(h http.Header) {
	if v.course == nil {
		return
	}
	trace := strings.ReplaceAll(v.id, "-", "")
	if v.course.Trace != [16]byte{} {
		trace = hex.EncodeToString(v.course.Trace[:])
	}
	h[headerTrace] = []string{"00-" + trace + "-" + hex.EncodeToString(v.course.Service[:]) + "-01"}
}

// at says that a stage begins, and that the one before is over.
func (v *visit) at(s querschott.Stage) {
	if v.course != nil {
		v.course.Begin(s, time.Since(v.began))
	}
}

// traced gives the request's first event its course; the events of later parts of the answer are parts of it.
func (v *visit) traced(took time.Duration) *querschott.Course {
	c := v.course
	if c == nil {
		return nil
	}
	c.End(took)
	next := &querschott.Course{Trace: c.Trace, Parent: c.Span, Part: true}
	if c.Part {
		next.Parent = c.Parent
	}
	_, _ = rand.Read(next.Span[:]) // never fails
	v.course = next
	return c
}
