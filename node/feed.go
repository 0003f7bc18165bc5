package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/gate"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/watch/ocsf"
	"github.com/querschott/querschott/web/api"
)

// feed takes events of one foreign source. A source speaks under a gate's name of its own, about its own insurers and services,
// and about actors of its own unless it is told otherwise: false events may blind or alarm nobody else.
type feed struct {
	cfg   FeedConfig
	tell  func(*querschott.Access) bool
	now   func() time.Time
	blind blinder

	mu       sync.Mutex   // guards what follows; held while a request's events are told
	record   *access.File // nil: nothing is kept
	unsynced bool         // what was put into the record since it was synced
	tokens   float64      // events that it may send at once
	filled   time.Time
	seq      uint64 // of events that bring no number
	taken    uint64
	refused  map[string]uint64
	limited  uint64 // events that were answered 429
	last     time.Time
	untold   fed       // that the ledger does not have yet
	told     time.Time // when it was told last
}

// FeedStatus is what is known of a foreign source.
type FeedStatus struct {
	Taken   uint64            `json:"taken"`
	Refused map[string]uint64 `json:"refused"`  // events, by why
	Limited uint64            `json:"limited"`  // events that came too fast
	NotKept uint64            `json:"not_kept"` // events that the next start will not know
	Last    time.Time         `json:"last,omitzero"`
}

const (
	feedBody  = 4 << 20        // of one request
	feedBurst = 10             // seconds' worth of events at once
	feedAhead = time.Minute    // how far a source's clock may be ahead
	feedOld   = 24 * time.Hour // how old an event may be
	feedRoute = "watch-events"
)

func newFeed(cfg FeedConfig, w *watch.Watch, blind blinder, now func() time.Time) *feed {
	if cfg.Rate == 0 {
		cfg.Rate = feedRate
	}
	return &feed{cfg: cfg, tell: w.First, blind: blind, now: now, tokens: float64(feedBurst * cfg.Rate), filled: now(), refused: map[string]uint64{}}
}

// gate is the name under which the source speaks.
func (f *feed) gate() string { return "feed:" + f.cfg.Machine }

func (f *feed) status() FeedStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FeedStatus{Taken: f.taken, Limited: f.limited, NotKept: f.lost(), Last: f.last, Refused: map[string]uint64{}}
	for why, n := range f.refused {
		s.Refused[why] = n
	}
	return s
}

// take takes the events of a request, all of those that may be taken. wait is above 0 when there were too many: then none is
// taken.
func (f *feed) take(body []byte, inOCSF bool) (done api.Taken, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	f.tokens = min(f.tokens+max(now.Sub(f.filled), 0).Seconds()*float64(f.cfg.Rate), float64(feedBurst*f.cfg.Rate))
	f.filled = now
	if n := float64(bytes.Count(body, []byte{'\n'}) + 1); n > f.tokens {
		f.limited += uint64(n)
		f.note(now, 0, 0, uint64(n))
		return done, time.Duration((n-f.tokens)/float64(f.cfg.Rate)*float64(time.Second)) + time.Second
	}
	done.Refused = []api.NotTaken{}
	number, lost := 0, f.lost()
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, ocsf.MaxEvent+1)
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		f.tokens--
		e, err := f.parse(line, inOCSF)
		why := "no-event"
		if err == nil {
			why, err = f.own(&e, now)
		}
		if err != nil {
			done.Bad++
			f.refused[why]++
			if len(done.Refused) < 20 {
				done.Refused = append(done.Refused, api.NotTaken{Line: number, Why: err.Error()})
			}
			continue
		}
		if f.tell(&e) {
			f.keep(&e)
		}
		f.taken++
		f.last = now
		done.Taken++
	}
	if err := lines.Err(); err != nil {
		done.Bad++
		f.refused["no-event"]++
		done.Refused = append(done.Refused, api.NotTaken{Line: number + 1, Why: "the line is too long; it and what follows was left out"})
	}
	done.NotKept = f.kept(lost)
	f.note(now, uint64(done.Taken), uint64(done.Bad), 0)
	return done, 0
}

func (f *feed) parse(line []byte, inOCSF bool) (querschott.Access, error) {
	if inOCSF {
		return ocsf.Parse(line)
	}
	e, err := access.NewReader(io.MultiReader(bytes.NewReader(line), bytes.NewReader([]byte{'\n'}))).Next()
	if bad, ok := errors.AsType[*access.LineError](err); ok {
		return e, bad.Err
	}
	return e, err
}

// may says why the source may not tell an event, if it may not.
func (f *feed) may(e *querschott.Access) (why string, err error) {
	mine := func(ik querschott.IK) bool { return slices.Contains(f.cfg.Insurers, string(ik)) }
	switch {
	case !slices.Contains(f.cfg.Services, string(e.Service)):
		return "service", errors.New("this source may not speak about this service")
	case e.Insurer == "" && e.Tenant == "" && e.Action != "login":
		return "insurer", errors.New("it names no insurer")
	case e.Insurer != "" && !mine(e.Insurer), e.Tenant != "" && !mine(e.Tenant):
		return "insurer", errors.New("this source may not speak about this insurer")
	case e.Role == querschott.RoleOperator || e.Role == querschott.RoleMachine || e.Canary:
		return "role", errors.New("operators, machines and canary traffic of this platform are in nobody else's events")
	}
	return "", nil
}

// own makes an event one of this source, or says why it is none.
func (f *feed) own(e *querschott.Access, now time.Time) (why string, err error) {
	if why, err := f.may(e); err != nil {
		return why, err
	}
	switch {
	case e.Time.After(now.Add(feedAhead)):
		return "time", errors.New("it is from the future")
	case now.Sub(e.Time) > feedOld:
		return "time", errors.New("it is older than a day")
	case e.ReasonRef != "" && len(e.ReasonRef) > 256, len(e.Person) > 256:
		return "no-event", errors.New("subject and reason_ref have at most 256 bytes")
	}
	e.Gate, e.Received = f.gate(), now.UTC()
	if e.Seq == 0 {
		f.seq++
		e.Seq = f.seq
	}
	f.blind.event(e, now)
	if f.cfg.SameIDs {
		return "", nil
	}
	if e.Actor != "" {
		e.Actor = querschott.Actor(f.cfg.Machine + "/" + string(e.Actor))
	}
	if e.Credential != "" {
		e.Credential = querschott.CredentialID(f.cfg.Machine + "/" + string(e.Credential))
	}
	return "", nil
}

// openFeeds makes the sources that the configuration names.
func (n *Node) openFeeds(a *alarms) error {
	a.feeds = map[string]*feed{}
	if len(n.cfg.Watch.Feeds) == 0 {
		return nil
	}
	key, err := n.keyring.Secret(fedSecret, 32)
	if err != nil {
		return err
	}
	a.blind = blinder{key}
	for _, cfg := range n.cfg.Watch.Feeds {
		f := newFeed(cfg, a.watch, a.blind, n.opt.Now)
		if err := n.openRecord(f); err != nil {
			return err
		}
		a.feeds[cfg.Machine] = f
	}
	return nil
}

// closeFeeds closes what the sources' events are kept in.
func (n *Node) closeFeeds() (err error) {
	if n.alarms == nil {
		return nil
	}
	for _, f := range n.alarms.feeds {
		if f.record != nil {
			err = errors.Join(err, f.record.Close())
		}
	}
	return err
}

// feedRoutes is the way in for foreign events. Who sends them is known by his client certificate.
func (n *Node) feedRoutes() []gatehttp.Route {
	if len(n.cfg.Watch.Feeds) == 0 {
		return nil
	}
	return []gatehttp.Route{{
		Name: feedRoute, Path: api.PathEvents, Public: true, Methods: []string{http.MethodPost}, MaxBody: feedBody, Backend: n.takeEvents,
	}}
}

// source finds out which source a request comes from.
func (n *Node) source(r *gate.Request) (*feed, error) {
	if n.machines == nil || r.Raw.TLS == nil || len(r.Raw.TLS.PeerCertificates) == 0 {
		return nil, querschott.Refuse(querschott.CodeUnauthorized, "a client certificate is needed")
	}
	id, err := n.machines.Identify(r.Raw.TLS)
	if err != nil {
		return nil, err
	}
	id.Facts.Network = r.Remote.String()
	if err := n.valid(id); err != nil {
		return nil, err
	}
	f := n.alarms.feeds[machineName(id)]
	if f == nil {
		return nil, querschott.Refuse(querschott.CodeForbidden, "this machine may not send events")
	}
	return f, nil
}

func machineName(id *ident.Identity) string { return id.Caller.Name }

func (n *Node) takeEvents(ctx context.Context, r *gate.Request) (*service.Answer, error) {
	f, err := n.source(r)
	if err != nil {
		return nil, err
	}
	if !n.alarms.ready.Load() {
		return nil, querschott.Refuse(querschott.CodeNoRoom, "recorded events are being read; come again in a moment")
	}
	inOCSF := false
	switch r.Raw.Header.Get("Content-Type") {
	case api.MimeNDJSON:
	case api.MimeOCSF:
		inOCSF = true
	default:
		return nil, querschott.Refuse(querschott.CodeInvalid, "Content-Type must be %s or %s", api.MimeNDJSON, api.MimeOCSF)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, feedBody+1))
	if err != nil {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the body broke off")
	}
	if len(body) > feedBody {
		return nil, querschott.Refuse(querschott.CodeTooLarge, "at most %d bytes at once", feedBody)
	}
	done, wait := f.take(body, inOCSF)
	if err := n.recordFeed(ctx, f, false); err != nil {
		n.log.Warn("the ledger took no entry of a source's events; it is told again", "source", f.cfg.Machine, "err", err)
	}
	answer := &service.Answer{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Facts: service.Facts{Action: ledger.ActionReceive, Outcome: ledger.OutcomeSuccess},
	}
	if wait > 0 {
		answer.Status = http.StatusTooManyRequests
		answer.Header.Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	}
	if answer.Body, err = json.Marshal(done); err != nil {
		return nil, fmt.Errorf("couldn't answer: %w", err)
	}
	return answer, nil
}
