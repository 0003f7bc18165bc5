package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Silence ends an answer by itself, long before its whole time is over.
func TestSilence(t *testing.T) {
	for name, begin := range map[string]string{"at the beginning": "{", "of a long answer": strings.Repeat(" ", 50_000)} {
		t.Run(name, func(t *testing.T) {
			w := newWorldAt(t, rawService(t, func(c net.Conn) {
				_, _ = io.WriteString(c, okHeader+"Content-Length: 100000\r\n\r\n"+begin)
				silent(c)
			}), func(s *Settings) {
				s.Timeouts.Idle, s.Timeouts.Answer, s.Timeouts.Stream = 100*time.Millisecond, 10*time.Minute, 10*time.Minute
				s.Limits.Buffer = 4 << 10
			})
			if _, err := w.ask(request("GET", "/fhir/Patient/1", "")); err == nil {
				t.Error("it counts as complete")
			}
		})
	}
}

// Only answers that succeed are blocked: an error page of the service reaches no record.
func TestUnreadableErrorsPass(t *testing.T) {
	w := newWorld(t, answering(http.StatusNotFound, "text/html", "<html>"), func(s *Settings) { s.Unreadable = block })
	if got := w.mustAsk(request("GET", "/fhir/Patient/1", "")); got.Status != http.StatusNotFound || string(got.body) != "<html>" {
		t.Errorf("got %d, %q", got.Status, got.body)
	}
}

// What describes the bytes of an answer goes if the bytes change, and stays if they do not.
func TestDigestsOfChangedAnswersGo(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Digest", "sha-256=:abc:")
			w.Header().Set("Content-Type", "application/json")
			body := []byte(`{"resourceType":"Patient"}`)
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
				body = compressed(t, encoding, string(body))
			}
			_, _ = w.Write(body)
		}), nil)
		got := w.mustAsk(request("GET", "/fhir/Patient/1", ""))
		if kept := got.Header.Get("Content-Digest") != ""; kept != (encoding == "") {
			t.Errorf("encoding %q: the digest is kept: %v", encoding, kept)
		}
	}
}

func TestBoundsOfXML(t *testing.T) {
	if _, err := parseXML([]byte("<a>" + strings.Repeat("<b/>", maxNodes/2-10) + "</a>")); err != nil {
		t.Errorf("just within: %v", err)
	}
	if _, err := parseXML([]byte("<a>" + strings.Repeat("<b/>", maxNodes/2+10) + "</a>")); err == nil {
		t.Error("too many nodes were taken")
	}
	piece := []byte(strings.Repeat("x", 1<<20))
	c := (&rule{Rule: Rule{Count: "fhir"}}).counterFor("application/fhir+xml")
	defer c.stop()
	err := c.write([]byte(`<Binary><data value="`))
	for range 2 * maxToken >> 20 {
		if err == nil {
			err = c.write(piece)
		}
	}
	if err == nil {
		t.Error("an endless attribute was taken")
	}
}

// Names of the service's own that have no room are told by their number.
func TestManyNamesOfTheService(t *testing.T) {
	var b strings.Builder
	for i := range maxOthers + 100 {
		fmt.Fprintf(&b, `{"resource":{"resourceType":"Patient","id":"p-%d"}},`, i)
	}
	w := newWorld(t, answering(200, "application/fhir+json", `{"resourceType":"Bundle","entry":[`+strings.TrimSuffix(b.String(), ",")+`]}`), nil)
	got := w.mustAsk(request("GET", "/fhir/Patient", ""))
	names := detail(&got.Facts, "upstream-persons")
	if got.records != maxOthers+100 || strings.Count(names, "p-") != maxOthers || !strings.HasSuffix(names, "and 100 more") {
		t.Errorf("%d records, %d names, %q", got.records, strings.Count(names, "p-"), names[max(0, len(names)-30):])
	}
}

func TestDepthOfJSON(t *testing.T) {
	for depth, ok := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		s := scanner{hear: &mute{}}
		err := s.write([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth)))
		if err == nil {
			err = s.finish()
		}
		if ok != (err == nil) {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}
