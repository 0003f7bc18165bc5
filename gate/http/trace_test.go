package http

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/service"
)

const hopTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func everything(string) bool { return true }

// A traced request has the times of the stages that it passed, in their order; the service behind the gate is told the trace
// that a caller cannot choose.
func TestCourse(t *testing.T) {
	w := open(t, func(c *Config) { c.Traced = everything })
	for name, tc := range map[string]struct {
		ask    ask
		passed string
	}{
		"served":         {ask{target: "/desk/" + string(two) + "/x", as: "clerk"}, "identify door service ledger"},
		"not identified": {ask{target: "/desk/" + string(two) + "/x"}, "identify"},
		"refused":        {ask{target: "/desk/" + string(one) + "/x", as: "clerk"}, "identify door ledger"},
		"public":         {ask{target: "/public"}, "service"},
		"no route":       {ask{target: "/nowhere", host: "two.example"}, ""},
	} {
		tc.ask.header = http.Header{headerTrace: {hopTrace}, "Tracestate": {"a=b"}, "Baggage": {"user=anna"}}
		a := w.ask(tc.ask)
		events := w.heard()
		if len(events) != 1 || events[0].Course == nil {
			t.Fatalf("%s: the events are %+v", name, events)
		}
		c := events[0].Course
		if c.Trace != [16]byte{} || c.Parent != [8]byte{} || c.Span == [8]byte{} || c.Part {
			t.Errorf("%s: the trace is %+v", name, c)
		}
		var passed []string
		last := time.Duration(0)
		for _, s := range querschott.Stages() {
			from, to, ok := c.Passed(s)
			if !ok {
				continue
			}
			passed = append(passed, s.String())
			if from < last || to < from {
				t.Errorf("%s: %s was from %v to %v, and the one before ended at %v", name, s, from, to, last)
			}
			last = to
		}
		if got := strings.Join(passed, " "); got != tc.passed || last.Microseconds() > events[0].Took {
			t.Errorf("%s: passed %q until %v, want %q within %d us", name, got, last, tc.passed, events[0].Took)
		}
		if !strings.Contains(tc.passed, "service") {
			continue
		}
		h := w.last().Raw.Header
		want := "00-" + strings.ReplaceAll(a.header.Get("X-Request-Id"), "-", "") + "-" + hex.EncodeToString(c.Service[:]) + "-01"
		if h.Get(headerTrace) != want || h.Get("Tracestate") != "" || h.Get("Baggage") != "" || w.last().Header.Get(headerTrace) != "" {
			t.Errorf("%s: the service behind the gate is told %v, want the trace %s", name, h, want)
		}
	}
}

// Only a trusted hop says which trace a request is part of, and whether it is kept.
func TestHopTellsTheTrace(t *testing.T) {
	w := open(t, func(c *Config) {
		c.Traced, c.Trusted = func(string) bool { return false }, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for header, want := range map[string]string{
		hopTrace: "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more": "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00":      "", // not kept
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more": "",
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more": "",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":      "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01":      "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":      "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":      "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7":         "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902-b7-01":     "",
		"": "",
	} {
		w.ask(ask{target: "/fixed", as: "practice", header: http.Header{headerTrace: {header}}})
		got := ""
		if c := w.heard()[0].Course; c != nil {
			got = hex.EncodeToString(c.Trace[:]) + " " + hex.EncodeToString(c.Parent[:])
			told := w.last().Raw.Header.Get(headerTrace)
			if told != "00-"+hex.EncodeToString(c.Trace[:])+"-"+hex.EncodeToString(c.Service[:])+"-01" {
				t.Errorf("%s: the service behind the gate is told %s", header, told)
			}
		} else if told := w.last().Raw.Header.Get(headerTrace); told != header {
			t.Errorf("%s: the hop's word does not go on: %s", header, told)
		}
		if got != want {
			t.Errorf("%s: the trace is %q, want %q", header, got, want)
		}
	}
	w.ask(ask{target: "/fixed", as: "practice", header: http.Header{headerTrace: {hopTrace, hopTrace}}})
	if c := w.heard()[0].Course; c != nil {
		t.Errorf("two headers: %+v", c)
	}
}

// Without traces nothing is noted, and what a caller says of traces goes no further.
func TestNoCourseUnlessTraced(t *testing.T) {
	for _, traced := range []func(string) bool{nil, func(string) bool { return false }} {
		w := open(t, func(c *Config) { c.Traced = traced })
		w.ask(ask{target: "/fixed", as: "practice", header: http.Header{headerTrace: {hopTrace}}})
		if e := w.heard(); len(e) != 1 || e[0].Course != nil || w.last().Raw.Header.Get(headerTrace) != "" {
			t.Errorf("the events are %+v", e)
		}
	}
}

// The parts of a long answer, and the persons of one, are one trace.
func TestCourseOfLongAnswers(t *testing.T) {
	w := open(t, func(c *Config) { c.Traced = everything })
	f := feeding(w)
	go func() { f.pieces <- piece(1) }()
	_, r := begin(t, w, true, "practice")
	expect(t, r, 1)
	f.pieces <- piece(2)
	expect(t, r, 2)
	close(f.pieces)
	<-f.closed
	events := w.heard()
	if len(events) != 2 || events[0].Course == nil || events[1].Course == nil {
		t.Fatalf("the events are %+v", events)
	}
	if first, part := events[0].Course, events[1].Course; first.Part || !part.Part || part.Parent != first.Span || part.Span == first.Span {
		t.Errorf("the first part is %+v, the second %+v", first, part)
	}
	w.set(func() {
		w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
			facts := read("")
			facts.Persons, facts.Records = []querschott.KVNR{kvnr(1), kvnr(2), kvnr(3)}, 3
			return &service.Answer{Status: 200, Facts: facts}, nil
		}
	})
	w.ask(ask{target: "/desk/" + string(two) + "/x", as: "clerk"})
	if events = w.heard(); len(events) != 3 || events[0].Course == nil || events[1].Course != nil || events[2].Course != nil {
		t.Errorf("three persons in one answer: %+v", events)
	}
}

func FuzzTrace(f *testing.F) {
	f.Add(hopTrace)
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more")
	f.Fuzz(func(t *testing.T, s string) {
		var c querschott.Course
		sampled, ok := parseTrace([]string{s}, &c)
		if !ok {
			if sampled || c.Trace != [16]byte{} {
				t.Errorf("%q was refused, and something of it was taken", s)
			}
			return
		}
		if !bytes.Equal([]byte(s[3:52]), []byte(hex.EncodeToString(c.Trace[:])+"-"+hex.EncodeToString(c.Parent[:]))) {
			t.Errorf("%q was read as %+v", s, c)
		}
	})
}
