package console

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/wait"
)

// event is one event of a stream; a comment has the name ":".
type event struct {
	name string
	data string
	frame
}

// viewer reads a stream.
type viewer struct {
	t      *testing.T
	events chan event // closed when the stream ends
}

func (b *browser) watch(t *testing.T) *viewer {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	r := b.request("GET", "/events", nil).WithContext(ctx)
	got, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "text/event-stream" || got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("stream: %d %v", got.StatusCode, got.Header)
	}
	v := &viewer{t, make(chan event, 1000)}
	go func() {
		defer close(v.events)
		defer got.Body.Close()
		v.read(got.Body)
	}()
	return v
}

func (v *viewer) read(body io.Reader) {
	var e event
	for sc := bufio.NewScanner(body); sc.Scan(); {
		key, value, _ := strings.Cut(sc.Text(), ": ")
		switch key {
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if strings.HasPrefix(sc.Text(), ":") {
				e.name = ":"
			}
			if e.name != "" {
				_ = json.Unmarshal([]byte(e.data), &e.frame) // what is no frame has no fields
				v.events <- e
			}
			e = event{}
		}
	}
}

// await returns the first event that fits.
func (v *viewer) await(what string, fits func(event) bool) event {
	v.t.Helper()
	end := wait.Over(v.t)
	for {
		select {
		case e, ok := <-v.events:
			if !ok {
				v.t.Fatalf("the stream ended before %s", what)
			}
			if fits(e) {
				return e
			}
		case <-end:
			v.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ended waits for the stream's end and returns whether it said goodbye.
func (v *viewer) ended() (bye bool) {
	v.t.Helper()
	end := wait.Over(v.t)
	for {
		select {
		case e, ok := <-v.events:
			if !ok {
				return bye
			}
			bye = e.name == "bye"
		case <-end:
			v.t.Fatal("the stream goes on")
		}
	}
}

func isSnapshot(e event) bool { return e.name == "snapshot" }

func TestStreamShowsAClosing(t *testing.T) {
	h := newHouse(t, 5, all...)
	h.move(h.c(4, querschott.Mail), querschott.Hold, "schon vorher")
	v := h.operator("anna").watch(t)
	first := v.await("snapshot", isSnapshot)
	if diff := cmp.Diff(map[querschott.Compartment]cell{h.c(4, querschott.Mail): {State: "hold"}}, first.Cells); diff != "" {
		t.Errorf("the snapshot names what is not simply open (-want +got):\n%s", diff)
	}
	for _, part := range []string{"notice", "counts", "strip", "aside"} {
		if _, ok := first.Parts[part]; !ok {
			t.Errorf("the snapshot lacks %s", part)
		}
	}
	begun := time.Now()
	h.move(h.c(0, querschott.EAU), querschott.Closed, "<script>")
	e := v.await("closing", func(e event) bool { return e.name == "diff" && len(e.Moved) > 0 })
	t.Logf("seen after %s", time.Since(begun))
	if diff := cmp.Diff(map[querschott.Compartment]cell{h.c(0, querschott.EAU): {State: "closed"}}, e.Cells); diff != "" {
		t.Errorf("only what changed is sent (-want +got):\n%s", diff)
	}
	if m := e.Moved[0]; m.C != h.c(0, querschott.EAU) || m.To != querschott.Closed || m.Say != "Ahorn Nordmark, eAU: geschlossen, von anna." {
		t.Errorf("moved: %+v", m)
	}
	if e.Sum != 2 || !strings.Contains(e.Parts["counts"], "geschlossen") || strings.Contains(e.Parts["aside"], "<script>") {
		t.Errorf("frame: %+v", e.frame)
	}
	h.say(func(s *Snapshot) {
		s.Compartments = map[querschott.Compartment]Compartment{h.c(1, querschott.Letter): {Waiting: 7, Trouble: "x"}}
	})
	e = v.await("queue", func(e event) bool { return e.Cells[h.c(1, querschott.Letter)].Waiting == 7 })
	if !e.Cells[h.c(1, querschott.Letter)].Trouble {
		t.Error("the trouble is not shown")
	}
	h.move(h.c(0, querschott.EAU), querschott.Open, "vorbei")
	v.await("opening", func(e event) bool { return e.Cells[h.c(0, querschott.EAU)].State == "open" })
}

func TestStreamSpeaksTheViewersLanguage(t *testing.T) {
	h := newHouse(t, 3, all...)
	anna, bert := h.operator("anna"), h.operator("bert")
	anna.post("/language", map[string][]string{"language": {"en"}})
	en, de := anna.watch(t), bert.watch(t)
	en.await("snapshot", isSnapshot)
	de.await("snapshot", isSnapshot)
	h.move(h.c(0, querschott.EAU), querschott.Closed, "x")
	for want, v := range map[string]*viewer{"closed": en, "geschlossen": de} {
		e := v.await("closing", func(e event) bool { return len(e.Moved) > 0 })
		if !strings.Contains(e.Moved[0].Say, want) || !strings.Contains(e.Parts["aside"], want) {
			t.Errorf("want %q in %+v", want, e.frame)
		}
	}
}

func TestManyMovesAreOneSentence(t *testing.T) {
	h := newHouse(t, 40, querschott.EAU)
	anna := h.operator("anna")
	v := anna.watch(t)
	v.await("snapshot", isSnapshot)
	form := map[string][]string{"to": {"closed"}, "reason": {"alle"}}
	for _, c := range h.book.Compartments() {
		form["door"] = append(form["door"], c.String()+"@1")
	}
	anna.post("/doors", form)
	seen := map[querschott.Compartment]bool{}
	v.await("all closings", func(e event) bool {
		sentences := 0
		for _, m := range e.Moved {
			seen[m.C] = true
			if m.Say != "" {
				sentences++
			}
		}
		if sentences > movesNamedSingly {
			t.Errorf("%d sentences at once", sentences)
		}
		return len(seen) == 40
	})
}

func TestStreamEndsWithItsSession(t *testing.T) {
	h := newHouse(t, 2, all...)
	anna := h.operator("anna")
	v := anna.watch(t)
	v.await("snapshot", isSnapshot)
	h.clk.add(14 * time.Minute) // one minute before the idle end
	e := v.await("warning", func(e event) bool { return e.name == "session" })
	if !strings.Contains(e.data, "13:17:11") {
		t.Errorf("the warning says %s", e.data)
	}
	h.clk.add(2 * time.Minute) // a stream that counted as activity would go on
	if !v.ended() {
		t.Error("the stream did not say goodbye")
	}
	if r := anna.get("/events"); r.status != http.StatusUnauthorized {
		t.Errorf("a stream without session: status %d, want 401", r.status)
	}

	bert := h.operator("bert")
	v = bert.watch(t)
	v.await("snapshot", isSnapshot)
	h.clk.add(14 * time.Minute)
	v.await("warning", func(e event) bool { return e.name == "session" })
	bert.get("/")
	v.await("end of the warning", func(e event) bool { return e.name == "session" && e.data == "{}" })
	h.clk.add(2 * time.Minute)
	v.await("life", func(e event) bool { return e.name == "diff" })
	bert.post("/logout", nil)
	if !v.ended() {
		t.Error("logging out left the stream")
	}
}

func TestRevokedStreamsEnd(t *testing.T) {
	h := newHouse(t, 2, all...)
	anna, bert := h.operator("anna").watch(t), h.operator("bert").watch(t)
	anna.await("snapshot", isSnapshot)
	bert.await("snapshot", isSnapshot)
	if _, err := h.access.Revoke("anna"); err != nil {
		t.Fatal(err)
	}
	if !anna.ended() {
		t.Error("the revoked operator's stream goes on")
	}
	h.move(h.c(0, querschott.EAU), querschott.Closed, "x")
	bert.await("closing", func(e event) bool { return len(e.Moved) > 0 })
}

func TestStreamsAreBounded(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	anna, bert := h.operator("anna"), h.operator("bert")
	for range maxPerSession {
		anna.watch(t).await("snapshot", isSnapshot)
	}
	if r := anna.get("/events"); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d %v", r.status, r.header)
	}
	bert.watch(t).await("snapshot", isSnapshot)
}

func TestSlowViewerIsDropped(t *testing.T) {
	h := newHub()
	slow, quick := &stream{frames: make(chan []byte, streamBuffer)}, &stream{frames: make(chan []byte, 2*streamBuffer)}
	h.streams[slow], h.streams[quick] = struct{}{}, struct{}{}
	for range streamBuffer + 1 {
		for s := range h.streams {
			if err := h.send(s, "diff", frame{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := h.streams[slow]; ok || len(h.streams) != 1 {
		t.Error("the slow viewer is still there")
	}
	if len(quick.frames) != streamBuffer+1 {
		t.Errorf("the quick viewer has %d frames, want %d", len(quick.frames), streamBuffer+1)
	}
}

func TestRunEndsStreams(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	other, err := New(h.console.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- other.Run(ctx) }()
	s := &stream{l: other.locales["de"], frames: make(chan []byte, streamBuffer), taken: make(chan bool, 1)}
	if !other.hub.enter(t.Context(), s) {
		t.Fatal("there was no room")
	}
	<-s.frames // the snapshot
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range s.frames { // ends when the hub closes it
	}
	other.hub.exit(s)
	if other.hub.enter(t.Context(), &stream{taken: make(chan bool, 1)}) {
		t.Error("a hub that has ended took a stream")
	}
}
