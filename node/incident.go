package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/watch"
)

// incidentLife is how long a signed change of a case may be on its way.
const incidentLife = 5 * time.Minute

// shownAlarms is how many alarms the operators' page lists.
const shownAlarms = 200

// cases are the rooms of all incidents, and the alarms that were heard since the start.
type cases struct {
	book *incident.Book
	name func(string) string // pseudonym of an actor or a credential

	mu     sync.Mutex           // guards all below
	alarms []heard              // newest last
	faults []incident.Fault     // where files and ledger differ
	taken  map[string]time.Time // signed changes of the last minutes, so that none counts twice

	explained explained

	opening sync.Mutex    // held while it is decided whether an alarm needs a case
	over    atomic.Uint64 // alarms that found their case full
}

// heard is an alarm that the page lists.
type heard struct {
	alarm  *watch.Alarm
	source incident.Source
	ref    string // of its case
}

// Pseudonym is what the operators' page calls an actor or a credential.
func (n *Node) Pseudonym(name string) string { return n.cases.name(name) }

// openCases opens the book of cases and registers it with the early warning, before everybody who acts on an alarm.
func (n *Node) openCases(context.Context) error {
	key, err := n.keyring.Secret("incident/names", 32)
	if err != nil {
		return err
	}
	c := &cases{name: incident.Pseudonyms(key), taken: map[string]time.Time{}}
	if c.book, err = incident.OpenBook(incident.Config{FS: disk.OS{}, Dir: n.path("incidents"), Now: n.opt.Now, Record: n.recordIncident}); err != nil {
		return err
	}
	for ref, err := range c.book.Damaged() {
		n.log.Error("ALARM: the file of an incident is damaged", "incident", ref, "err", err, "fix", "restore it from a backup; 'querschott incident verify' compares it with the ledger")
	}
	n.cases = c
	n.onAlarm(n.hearAlarm)
	return nil
}

// recordIncident is the ledger's entry about an entry of a case. It holds the digest, no text and nobody whom an alarm names.
func (n *Node) recordIncident(ctx context.Context, r incident.Recorded) error {
	role, action := querschott.RoleOperator, ledger.ActionUpdate
	if r.By == door.MachineActor {
		role = querschott.RoleMachine
	}
	if r.N == 1 {
		action = ledger.ActionCreate
	}
	return n.append(ctx, ledger.Entry{
		Kind: ledger.KindNodeChange, At: n.opt.Now(), Action: action, Data: ledger.DataLog, Outcome: ledger.OutcomeSuccess,
		Reason: ledger.ReasonIncident, Role: role, Purpose: ledger.PurposeSecurity, Actor: r.By,
		Detail: []ledger.Field{
			{Name: "incident", Value: r.Ref},
			{Name: "entry", Value: strconv.Itoa(r.N)},
			{Name: "entry-kind", Value: string(r.Kind)},
			{Name: "digest", Value: hex.EncodeToString(r.Digest[:])},
		},
	})
}

// hearAlarm keeps an alarm for the page, and makes it an entry of its case.
func (n *Node) hearAlarm(ctx context.Context, a *watch.Alarm) {
	c := n.cases
	ref, err := n.takeAlarm(ctx, a, true)
	c.mu.Lock()
	c.alarms = keepShown(append(c.alarms, heard{a, sourceOf(a), ref}))
	c.mu.Unlock()
	if err != nil {
		n.log.Error("ALARM: an alarm could not be written into its incident", "detector", a.Detector, "cause", a.Cause, "err", err,
			"fix", "see 'querschott incident list' and the disk of the data directory")
	}
}

// keepShown drops what the page has no room for: the oldest of those in shadow mode, before any that is live.
func keepShown(list []heard) []heard {
	if len(list) <= shownAlarms {
		return list
	}
	drop := max(0, slices.IndexFunc(list, func(h heard) bool { return h.alarm.Mode != watch.Live }))
	return slices.Concat(list[:drop], list[drop+1:])
}

// caseFor returns the reference of the open case that an alarm belongs to. It is opened if there is none and the alarm is live
// and high or critical; "" is for alarms that open none.
func (n *Node) caseFor(ctx context.Context, a *watch.Alarm) string {
	ref, err := n.takeAlarm(ctx, a, false)
	if err != nil {
		n.log.Error("ALARM: an incident could not be opened", "detector", a.Detector, "cause", a.Cause, "err", err,
			"fix", "see the disk of the data directory")
	}
	return ref
}

// noteCase adds an entry of the platform to a case.
func (n *Node) noteCase(ctx context.Context, ref string, e incident.Entry) error {
	if e.By == "" {
		e.By = door.MachineActor
	}
	for _, text := range []*string{&e.Text, &e.Why, &e.TextDE, &e.WhyDE} {
		*text = incident.Clean(*text, incident.MaxText)
	}
	version := incident.Any
	if e.Kind == incident.Contained || e.Kind == incident.Decision {
		c, err := n.cases.book.Case(ref)
		if err != nil {
			return err
		}
		version = c.Version
	}
	_, err := n.cases.book.Append(ctx, ref, version, e)
	return err
}

// takeAlarm finds or opens the case of an alarm. An alarm that opens a case is its first entry; note makes one of an alarm
// whose case is there already, too.
func (n *Node) takeAlarm(ctx context.Context, a *watch.Alarm, note bool) (ref string, err error) {
	if a.Mode != watch.Live {
		return "", nil
	}
	c := n.cases
	c.opening.Lock()
	defer c.opening.Unlock()
	s := sourceOf(a)
	found := c.book.ForAlarm(&s)
	e := incident.Entry{Kind: incident.Fact, By: door.MachineActor, Text: alarmText("en", &s), TextDE: alarmText("de", &s), Alarm: &s}
	if now := n.opt.Now(); !s.Last.After(now) {
		e.Happened = s.Last // otherwise a gate's clock is ahead: it is not known
	}
	switch {
	case found == nil && a.Severity != watch.High && a.Severity != watch.Critical:
		return "", nil
	case found == nil:
		if found, err = c.book.Begin(ctx, e); found == nil {
			return "", err
		}
		return found.Ref, err
	case note && found.FullOfAlarms():
		c.over.Add(1)
	case note:
		_, err = c.book.Append(ctx, found.Ref, incident.Any, e)
	}
	return found.Ref, err
}

// alarmText says in a line what an alarm is about, without naming anybody.
func alarmText(language string, s *incident.Source) string {
	text := s.Detector + " " + incident.Word(language, "detector."+s.Detector) + ": " + incident.Word(language, "cause."+s.Cause)
	if s.Service != "" {
		text += ", " + incident.Word(language, "service."+string(s.Service))
	}
	if s.Insurer != "" {
		text += ", IK " + string(s.Insurer)
	}
	return incident.Clean(text, 400)
}

// sourceOf takes over what an alarm says. Names in it come from callers, so they are cleaned.
func sourceOf(a *watch.Alarm) incident.Source {
	clean := func(s string) string { return incident.Clean(s, 200) }
	s := incident.Source{
		Actor: querschott.Actor(clean(string(a.Actor))), Credential: querschott.CredentialID(clean(string(a.Credential))),
		Insurer: querschott.IK(clean(string(a.Insurer))), Service: querschott.Service(clean(string(a.Service))), Cause: clean(a.Cause),
		Detector: clean(a.Detector), Exact: a.Kind == watch.Exact, Severity: string(a.Severity), First: a.Events.First.UTC(),
		Last: a.Events.Last.UTC(), Events: a.Events.Count,
	}
	for _, x := range a.Arithmetic[:min(len(a.Arithmetic), 40)] {
		s.Numbers = append(s.Numbers, incident.Number{Name: clean(x.Name), Value: x.Value, Unit: clean(x.Unit)})
	}
	return s
}

// compareCases holds every case against the digests in the platform's logs.
func (n *Node) compareCases() ([]incident.Fault, error) {
	var list []incident.Recorded
	for _, origin := range n.ledger.Origins() {
		if !strings.Contains(origin, "/ledger/platform/") {
			continue
		}
		for e, err := range n.ledger.Scan(origin, 0, 1<<62) {
			if err != nil {
				return nil, err
			}
			if r, ok := recordedOf(e); ok {
				list = append(list, r)
			}
		}
	}
	faults := n.cases.book.Compare(list)
	n.cases.mu.Lock()
	n.cases.faults = faults
	n.cases.mu.Unlock()
	return faults, nil
}

func recordedOf(e *ledger.Entered) (r incident.Recorded, ok bool) {
	if e.Leaf.Reason != ledger.ReasonIncident || e.Payload == nil {
		return r, false
	}
	for _, f := range e.Payload.Detail {
		switch f.Name {
		case "incident":
			r.Ref = f.Value
		case "entry":
			r.N, _ = strconv.Atoi(f.Value) // written by recordIncident; 0 fits no entry
		case "digest":
			_, _ = hex.Decode(r.Digest[:min(len(r.Digest), len(f.Value)/2)], []byte(f.Value[:min(len(f.Value), 64)]))
		}
	}
	return r, r.Ref != "" && r.N > 0
}

// checkCases compares once after the start, beside everything else.
func (n *Node) checkCases(context.Context) error {
	faults, err := n.compareCases()
	for _, f := range faults {
		n.log.Error("ALARM: an incident's file is not what the ledger knows", "fault", f.String(), "fix", "restore it from a backup and find out who changed it")
	}
	return err
}

// caseFaults returns what is wrong with one case.
func (n *Node) caseFaults(ref string) ([]incident.Fault, error) {
	faults, err := n.compareCases()
	return slices.DeleteFunc(faults, func(f incident.Fault) bool { return f.Ref != ref }), err
}

// IncidentSummary is one line of the list.
type IncidentSummary struct {
	Ref     string           `json:"ref"`
	Title   string           `json:"title"`
	Status  incident.Status  `json:"status"`
	Opened  time.Time        `json:"opened"`
	Lead    querschott.Actor `json:"lead,omitempty"`
	Entries int              `json:"entries"`
	Worst   scope.Grade      `json:"worst_grade"`
	Fault   string           `json:"fault,omitempty"` // its file cannot be used
}

func (n *Node) controlIncidents(*http.Request) (any, error) {
	list := []IncidentSummary{}
	for _, c := range n.cases.book.Cases() {
		m := c.Masked(n.cases.name)
		list = append(list, IncidentSummary{c.Ref, m.Title, c.Status, c.Opened, c.Roles[incident.Lead], c.Version, c.Worst(), ""})
	}
	damaged := n.cases.book.Damaged()
	for _, ref := range slices.Sorted(maps.Keys(damaged)) {
		list = append(list, IncidentSummary{Ref: ref, Fault: damaged[ref].Error()})
	}
	return list, nil
}

func (n *Node) controlIncident(r *http.Request) (any, error) {
	c, err := n.cases.book.Case(r.URL.Query().Get("ref"))
	if err != nil {
		return nil, err
	}
	faults, err := n.caseFaults(c.Ref)
	return incident.NewExport(c, n.cases.name, n.opt.Now(), n.cfg.Domain, n.mode() != "", faults), err
}

func (n *Node) controlIncidentVerify(*http.Request) (any, error) {
	faults, err := n.compareCases()
	return append([]incident.Fault{}, faults...), err
}

// IncidentChange is what an operator signs: a new case ("" for Ref) or one more entry.
type IncidentChange struct {
	Ref     string         `json:"ref"`
	Version int            `json:"version"` // that was seen
	Entry   incident.Entry `json:"entry"`
	Salt    string         `json:"salt"` // no two changes are the same: one that was taken is not taken again
}

// incidentText is what an operator signs.
func incidentText(domain string, at time.Time, c *IncidentChange) (string, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("couldn't write a change of an incident: %w", err)
	}
	return fmt.Sprintf("querschott incident\n%s\n%s\n%s\n", domain, at.UTC().Format(time.RFC3339Nano), data), nil
}

// controlIncidentChange takes a signed note of incidentText.
func (n *Node) controlIncidentChange(r *http.Request) (any, error) {
	who, text, err := n.signedByOperator(r, "the entry")
	if err != nil {
		return nil, err
	}
	return n.obeyIncident(r.Context(), who, text)
}

func (n *Node) obeyIncident(ctx context.Context, who querschott.Actor, text string) (any, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[0] != "querschott incident" || lines[1] != n.cfg.Domain {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the signed text is no change of an incident of this node")
	}
	at, err := time.Parse(time.RFC3339Nano, lines[2])
	if err != nil || n.opt.Now().Sub(at).Abs() > incidentLife {
		return nil, querschott.Refuse(querschott.CodeConflict, "the entry was not signed within the last %s; sign it again", incidentLife)
	}
	var d IncidentChange
	if err := json.Unmarshal([]byte(lines[3]), &d); err != nil {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the signed text holds no entry")
	}
	if !n.cases.once(text, n.opt.Now()) {
		return nil, querschott.Refuse(querschott.CodeConflict, "the entry was taken already")
	}
	d.Entry.By, d.Entry.Alarm = who, nil // only the early warning writes alarms
	var c *incident.Case
	if d.Ref == "" {
		c, err = n.cases.book.Begin(ctx, d.Entry)
	} else {
		c, err = n.cases.book.Append(ctx, d.Ref, d.Version, d.Entry)
	}
	if err != nil {
		return nil, err
	}
	return incident.NewExport(c, n.cases.name, n.opt.Now(), n.cfg.Domain, n.mode() != "", nil), nil
}

// once remembers a signed change for as long as it may be on its way.
func (c *cases) once(text string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.taken, func(_ string, at time.Time) bool { return now.Sub(at) > 2*incidentLife })
	_, again := c.taken[text]
	c.taken[text] = now
	return !again
}

// Incidents lists all cases.
func (c *Client) Incidents(ctx context.Context) ([]IncidentSummary, error) {
	return get[[]IncidentSummary](ctx, c, "/v1/incidents", nil)
}

// Incident returns one case as it may be shown, held against the ledger.
func (c *Client) Incident(ctx context.Context, ref string) (*incident.Export, error) {
	return get[*incident.Export](ctx, c, "/v1/incident", url.Values{"ref": {ref}})
}

// IncidentFaults compares all cases with the ledger.
func (c *Client) IncidentFaults(ctx context.Context) ([]incident.Fault, error) {
	return get[[]incident.Fault](ctx, c, "/v1/incidents/verify", nil)
}

// ChangeIncident signs an entry and hands it in. The key never leaves this process.
func (c *Client) ChangeIncident(ctx context.Context, s note.Signer, d IncidentChange) (*incident.Export, error) {
	d.Salt = rand.Text()
	text, err := incidentText(c.domain, time.Now(), &d)
	if err != nil {
		return nil, err
	}
	raw, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the entry: %w", err)
	}
	return post[*incident.Export](ctx, c, "/v1/incidents", map[string][]byte{"note": raw})
}
