package console

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// Limits of the live pages.
const (
	maxStreams       = 256
	maxPerSession    = 8
	streamBuffer     = 16 // frames that a viewer may lag behind
	tick             = time.Second
	quietTicks       = 5 // a frame at least this often, so that a page can tell that it is alive
	heartbeat        = 10 * time.Second
	writeTimeout     = 5 * time.Second
	sessionWarning   = 2 * time.Minute
	reconnect        = 2 * time.Second
	movesNamedSingly = 3
)

// hub feeds all streams. One goroutine, run, owns everything but the channels.
type hub struct {
	join  chan *stream
	leave chan *stream
	ended chan struct{}

	streams map[*stream]struct{}
	last    *board
	drawn   map[string]map[string]string // language -> fragment -> HTML as last sent
	idle    int                          // ticks since the last frame
	taken   time.Time                    // when Snapshot was last called
}

// stream is one viewer.
type stream struct {
	l       *locale
	session querschott.CredentialID
	frames  chan []byte // closed by the hub: too slow, or the node stops
	taken   chan bool   // whether there was room
}

func newHub() *hub {
	return &hub{
		join: make(chan *stream), leave: make(chan *stream), ended: make(chan struct{}),
		streams: map[*stream]struct{}{}, drawn: map[string]map[string]string{},
	}
}

// frame is what a page learns at once.
type frame struct {
	At    string                          `json:"at"`              // clock time, to be shown
	Cells map[querschott.Compartment]cell `json:"cells,omitempty"` // in a snapshot all that are not simply open, else those that changed
	Parts map[string]string               `json:"parts,omitempty"` // id of an element -> its HTML
	Moved []moved                         `json:"moved,omitempty"` // orders that came into force
	Sum   int                             `json:"sum"`             // cells that are not normal
	Props int                             `json:"props"`           // proposals that wait
}

type moved struct {
	C   querschott.Compartment `json:"c"`
	To  querschott.DoorState   `json:"to"`
	Say string                 `json:"say"` // a sentence for screen readers
}

func (h *hub) run(ctx context.Context, c *Console) error {
	changes, unsubscribe := c.cfg.Doors.Subscribe(1024)
	defer unsubscribe()
	defer close(h.ended)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			for s := range h.streams {
				close(s.frames)
			}
			return nil
		case s := <-h.join:
			err = h.welcome(c, s)
		case s := <-h.leave:
			delete(h.streams, s)
		case <-ticker.C:
			err = h.advance(c, nil)
		case first := <-changes:
			all := []door.Change{first}
			for len(changes) > 0 {
				all = append(all, <-changes)
			}
			err = h.advance(c, all)
		}
		if err != nil {
			c.cfg.Log.Error("couldn't feed the live pages of the console", "err", err)
		}
	}
}

// look takes a new board. Doors are asked every time, the node's snapshot at most once a tick.
func (h *hub) look(c *Console) *board {
	if now := time.Now(); h.last == nil || now.Sub(h.taken) >= tick/2 {
		h.taken = now
		return c.board(c.cfg.Snapshot())
	}
	return c.board(h.last.Snapshot)
}

// welcome brings everybody up to date, so that differences are to the same board, and gives the stream all of it.
func (h *hub) welcome(c *Console, s *stream) error {
	same, drawn := 0, false
	for other := range h.streams {
		if other.session == s.session {
			same++
		}
		drawn = drawn || other.l == s.l
	}
	if len(h.streams) >= maxStreams || same >= maxPerSession {
		s.taken <- false
		return nil
	}
	s.taken <- true
	if err := h.advance(c, nil); err != nil {
		return err
	}
	if h.last == nil {
		h.last = h.look(c)
	}
	f := h.frame(s.l, maps.Clone(h.last.Cells))
	maps.DeleteFunc(f.Cells, func(_ querschott.Compartment, x cell) bool { return x == cell{State: querschott.Open.String()} })
	if !drawn {
		var err error
		if h.drawn[s.l.Tag], err = h.draw(c, s.l); err != nil {
			return err
		}
	}
	f.Parts = h.drawn[s.l.Tag]
	h.streams[s] = struct{}{}
	return h.send(s, "snapshot", f)
}

// advance compares the board with the last one and sends the difference.
func (h *hub) advance(c *Console, changes []door.Change) error {
	if len(h.streams) == 0 {
		h.last, h.idle = nil, 0
		clear(h.drawn)
		return nil
	}
	before := h.last
	h.last = h.look(c)
	cells := map[querschott.Compartment]cell{}
	for k, x := range h.last.Cells {
		if before.Cells[k] != x {
			cells[k] = x
		}
	}
	h.idle++
	frames := map[string]frame{}
	for s := range h.streams {
		f, done := frames[s.l.Tag]
		if !done {
			f = h.frame(s.l, cells)
			drawn, err := h.draw(c, s.l)
			if err != nil {
				return err
			}
			f.Parts = map[string]string{}
			for id, html := range drawn {
				if h.drawn[s.l.Tag][id] != html {
					f.Parts[id] = html
				}
			}
			h.drawn[s.l.Tag] = drawn
			f.Moved = c.sentences(s.l, changes)
			frames[s.l.Tag] = f
		}
		if len(f.Cells)+len(f.Parts)+len(f.Moved) == 0 && h.idle < quietTicks {
			continue
		}
		if err := h.send(s, "diff", f); err != nil {
			return err
		}
	}
	if h.idle >= quietTicks {
		h.idle = 0
	}
	return nil
}

func (h *hub) frame(l *locale, cells map[querschott.Compartment]cell) frame {
	f := frame{At: l.Clock(h.last.At), Cells: cells, Props: h.last.Counts.Proposals}
	for _, x := range h.last.Cells {
		if x.Abnormal() {
			f.Sum++
		}
	}
	return f
}

// draw makes the parts of the page that are not cells.
func (h *hub) draw(c *Console, l *locale) (map[string]string, error) {
	parts, s := map[string]string{}, c.situation(h.last, l)
	for _, id := range []string{"notice", "counts", "strip", "aside", "chain", "warned", "explained", "caselist"} {
		html, err := c.fragment(id, s)
		if err != nil {
			return nil, err
		}
		parts[id] = html
	}
	return parts, nil
}

// send drops a viewer who does not keep up.
func (h *hub) send(s *stream, event string, f frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("couldn't write a frame: %w", err)
	}
	select {
	case s.frames <- fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, data):
	default:
		delete(h.streams, s)
		close(s.frames)
	}
	return nil
}

// sentences says what moved; many moves at once are one sentence.
func (c *Console) sentences(l *locale, changes []door.Change) []moved {
	var list []moved
	for _, x := range changes {
		o := x.Order
		say := ""
		if len(changes) <= movesNamedSingly {
			say = l.T("say.moved", c.name(o.Compartment.Insurer), l.Service(o.Compartment.Service), l.State(o.To), o.Actor)
		}
		list = append(list, moved{o.Compartment, o.To, say})
	}
	if len(changes) > movesNamedSingly {
		list[0].Say = l.N("say.many", len(changes))
	}
	return list
}

// events is the stream of one page (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // the route takes HEAD as well
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	v, err := c.enter(w, r)
	if err != nil {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	s := &stream{l: v.l, session: v.session.Credential.ID, frames: make(chan []byte, streamBuffer), taken: make(chan bool, 1)}
	if !c.hub.enter(r.Context(), s) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "no room for another live page", http.StatusServiceUnavailable)
		return
	}
	defer c.hub.exit(s)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx in front would hold events back
	c.follow(v, s)
}

func (h *hub) enter(ctx context.Context, s *stream) bool {
	select {
	case h.join <- s:
		return <-s.taken
	case <-ctx.Done():
	case <-h.ended:
	}
	return false
}

func (h *hub) exit(s *stream) {
	select {
	case h.leave <- s:
	case <-h.ended:
	}
}

// goesOn looks when the viewer's session ends, without counting as activity.
func (c *Console) goesOn(v *visit) (ends time.Time, still bool) {
	s, err := c.cfg.Access.Look(v.secret)
	if err != nil {
		return time.Time{}, false
	}
	who, err := c.who(s)
	return s.Expires, err == nil && who == v.actor
}

// follow writes frames until the viewer, the session or the node goes away.
func (c *Console) follow(v *visit, s *stream) {
	out := http.NewResponseController(v.w)
	_ = out.SetReadDeadline(time.Time{}) // not supported: then the server's own limit ends the stream, and the page comes back
	write := func(data []byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := v.w.Write(data); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	bye := func() { write([]byte("event: bye\ndata: {}\n\n")) }
	if !write(fmt.Appendf(nil, "retry: %d\n: live\n\n", reconnect.Milliseconds())) {
		return
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var warned time.Time // the end that the page was warned of
	sent := time.Now()
	for {
		ends, still := c.goesOn(v)
		if !still {
			bye()
			return
		}
		left := ends.Sub(c.cfg.Now())
		ok := true
		switch {
		case left <= sessionWarning && !ends.Equal(warned):
			warned = ends
			ok = write(fmt.Appendf(nil, "event: session\ndata: {\"ends\":%q}\n\n", v.l.Clock(ends)))
		case left > sessionWarning && !warned.IsZero():
			warned = time.Time{}
			ok = write([]byte("event: session\ndata: {}\n\n"))
		case time.Since(sent) >= heartbeat:
			sent, ok = time.Now(), write([]byte(": beat\n\n"))
		}
		if !ok {
			return
		}
		select {
		case <-v.r.Context().Done():
			return
		case data, open := <-s.frames:
			if !open || !write(data) {
				return
			}
			sent = time.Now()
		case <-ticker.C:
		}
	}
}
