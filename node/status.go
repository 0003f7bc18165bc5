package node

import (
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate/mail"
	"github.com/querschott/querschott/ident/token"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/web/api"
)

// Status is how a node is at one moment.
type Status struct {
	Version   string           `json:"version"`
	Mode      string           `json:"mode,omitempty"` // "drill", "demo"; "" of a real one
	Started   time.Time        `json:"started"`
	Now       time.Time        `json:"now"`
	Insurers  int              `json:"insurers"`
	Mail      MailStatus       `json:"mail"`
	Doors     DoorStatus       `json:"doors"`
	Journal   intake.Stats     `json:"journal"`
	Pump      intake.PumpStats `json:"pump"`
	HTTP      *HTTPStatus      `json:"http,omitempty"` // nil: there is no HTTP entrance
	Public    *PublicStatus    `json:"public"`
	Trouble   []Trouble        `json:"trouble,omitempty"`
	Addresses Addresses        `json:"addresses"`
}

// MailStatus counts messages since the start.
type MailStatus struct {
	Accepted  uint64            `json:"accepted"`
	Delivered uint64            `json:"delivered"`
	Waiting   int               `json:"waiting"`
	Transient map[string]uint64 `json:"refused_transient"` // by cause
	Permanent map[string]uint64 `json:"rejected"`          // by cause
	Sessions  int64             `json:"sessions"`
	Outgoing  int               `json:"outgoing"` // mail that waits to leave
}

// HTTPStatus counts requests since the start.
type HTTPStatus struct {
	Connections int64                `json:"connections"`
	InFlight    int64                `json:"in_flight"`
	Outcomes    map[string]uint64    `json:"outcomes"` // "vsdm success", "vsdm denied door"
	Revocations int                  `json:"revocations"`
	Lost        uint64               `json:"events_lost"` // access events that were not written to their file
	Issuers     []token.IssuerStatus `json:"issuers"`
}

func (n *Node) httpCounts() *HTTPStatus {
	if n.http == nil {
		return nil
	}
	st := n.http.Stats()
	s := &HTTPStatus{
		Connections: st.Connections, InFlight: st.InFlight, Outcomes: map[string]uint64{}, Revocations: len(n.Denied()),
		Issuers: []token.IssuerStatus{},
	}
	for o, count := range st.Outcomes {
		words := []string{string(o.Service), o.Outcome.String(), o.Cause.String()}
		if o.Cause == ledger.ReasonNone {
			words = words[:2]
		}
		s.Outcomes[strings.TrimSpace(strings.Join(words, " "))] = count
	}
	if n.accessFile != nil {
		s.Lost = n.accessFile.Lost() + n.accessSub.Dropped()
	}
	if n.tokens != nil {
		s.Issuers = n.tokens.Issuers()
	}
	return s
}

// DoorStatus counts doors by state.
type DoorStatus struct {
	States       map[querschott.DoorState]int `json:"states"`
	Proposals    int                          `json:"proposals"`
	KeysInMemory int                          `json:"keys_in_memory"`
}

// Trouble is something that somebody should look at.
type Trouble struct {
	Compartment *querschott.Compartment `json:"compartment,omitempty"`
	Text        string                  `json:"text"`
	Fix         string                  `json:"fix,omitempty"`
}

// Where names what is troubled.
func (t Trouble) Where() string {
	if t.Compartment == nil {
		return "the node"
	}
	return t.Compartment.String()
}

// Addresses are where the node listens.
type Addresses struct {
	StartTLS string `json:"starttls,omitempty"`
	TLS      string `json:"tls,omitempty"`
	Console  string `json:"console,omitempty"`
	HTTP     string `json:"http,omitempty"` // as callers know it
	Metrics  string `json:"metrics,omitempty"`
	Gates    string `json:"gates,omitempty"` // for gates that follow
	Control  string `json:"control"`
	Issuer   string `json:"issuer,omitempty"` // of tokens for development
}

// Spool is what waits.
type Spool struct {
	Backlogs  []intake.Backlog `json:"compartments"`
	Messages  int              `json:"messages"`
	Bytes     int64            `json:"bytes"`
	Copies    []CopyRoom       `json:"copies"`
	RoomHours *float64         `json:"room_hours"` // at the rate since the start, if nothing were delivered; null: nothing arrived
	Trouble   string           `json:"trouble,omitempty"`
	Flagged   int              `json:"flagged"` // kept with findings since the start
	Damaged   uint64           `json:"damaged"` // put aside in the quarantine since the start
}

// CopyRoom is the room that a copy of the journal has; copies on one device share it.
type CopyRoom struct {
	Dir  string `json:"dir"`
	Free int64  `json:"free_bytes"` // -1: not known
}

// Status returns how the node is.
func (n *Node) Status() Status {
	s := Status{
		Version: n.opt.Version, Mode: n.mode(), Started: n.started, Now: n.opt.Now(), Insurers: len(n.insurers),
		Journal: n.journal.Stats(), Pump: n.pump.Stats(), Addresses: n.Addresses(),
		Doors: DoorStatus{States: map[querschott.DoorState]int{}, Proposals: len(n.doors.Proposals()), KeysInMemory: n.keysInMemory()},
	}
	for _, c := range n.doors.Compartments() {
		s.Doors.States[n.doors.State(c)]++
	}
	for _, b := range n.journal.Backlogs() {
		s.Mail.Waiting += b.Messages
	}
	s.Mail.Delivered = s.Pump.Delivered
	s.Mail.Transient, s.Mail.Permanent = map[string]uint64{}, map[string]uint64{}
	if n.gate != nil {
		g := n.gate.Stats()
		s.Mail.Accepted, s.Mail.Sessions = g.Accepted, g.Sessions
		s.Mail.Transient, s.Mail.Permanent = byCause(g.Transient), byCause(g.Permanent)
	}
	s.Mail.Outgoing = n.outbox.Status().Queued
	s.HTTP, s.Public = n.httpCounts(), n.public.state()
	s.Trouble = n.trouble()
	return s
}

// byCause leaves out what never happened.
func byCause(m map[mail.Cause]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for cause, count := range m {
		if count > 0 {
			out[string(cause)] = count
		}
	}
	return out
}

func (n *Node) trouble() []Trouble {
	var list []Trouble
	if t := n.journal.Trouble(); t != "" {
		list = append(list, Trouble{Text: "the journal: " + t})
	}
	if t := n.years.trouble(n.opt.Now()); t != "" {
		list = append(list, Trouble{Text: t})
	}
	list = append(list, n.issuerTrouble()...)
	list = append(append(list, n.followTrouble()...), n.gates.trouble(n.opt.Now())...)
	list = append(list, n.public.trouble(n.opt.Now())...)
	n.mu.Lock()
	list = append(list, n.failed...)
	n.mu.Unlock()
	for _, b := range n.journal.Backlogs() {
		if _, known := n.doors.Current(b.Compartment); !known {
			list = append(list, Trouble{Compartment: &b.Compartment, Text: fmt.Sprintf(
				"%d messages wait, and nobody delivers them: the insurer or its service is no longer in the list", b.Messages)})
		}
	}
	troubles := n.pump.Trouble()
	for _, c := range n.doors.Compartments() {
		text, fix := troubles[c], ""
		if order, _ := n.doors.Current(c); text == "" && order.Distrusted() {
			text = order.Reason + ": the door is " + order.To.String()
			fix = "find out who touched data/doors; two operators open the door again"
		}
		if _, ok := n.cells[c.Insurer]; !ok {
			text, fix = "its cell could not be opened; see the log", ""
		}
		if text == "" && n.vaults.missing(c, n.doors.State(c)) {
			text = "its door serves reads, but its keys could not be unlocked; it is tried again"
		}
		if text != "" {
			list = append(list, Trouble{Compartment: &c, Text: text, Fix: fix})
		}
	}
	return list
}

// issuerTrouble tells of issuers whose keys could not be renewed, and of those for development.
func (n *Node) issuerTrouble() (list []Trouble) {
	if n.opt.DevIssuer != nil && !n.opt.Demo {
		list = append(list, Trouble{Text: "issuers for development are believed: everybody who reaches the entrance can read everything"})
	}
	if n.tokens == nil {
		return list
	}
	for _, s := range n.tokens.Issuers() {
		if s.Stale {
			list = append(list, Trouble{Text: fmt.Sprintf("the keys of issuer %s could not be renewed; %d old ones are believed: %s", s.Issuer, len(s.Keys), s.Err)})
		}
	}
	return list
}

// Spool returns what waits and how long the room lasts.
func (n *Node) Spool() Spool {
	s := Spool{Backlogs: n.journal.Backlogs(), Trouble: n.journal.Trouble(), Damaged: n.journal.Stats().Quarantined, Flagged: int(n.pump.Stats().Flagged)}
	if s.Backlogs == nil {
		s.Backlogs = []intake.Backlog{} // for those who read JSON
	}
	for _, b := range s.Backlogs {
		s.Messages += b.Messages
		s.Bytes += b.Bytes
	}
	room := roomPerCopy(n.cfg.Intake.Copies)
	least := int64(math.MaxInt64)
	for i, dir := range n.cfg.Intake.Copies {
		least = min(least, room[i])
		s.Copies = append(s.Copies, CopyRoom{Dir: dir, Free: room[i]})
	}
	if hours := n.roomHours(least); hours >= 0 {
		s.RoomHours = &hours
	}
	return s
}

// roomPerCopy returns how many bytes each copy may still take: copies on one device share its room. -1: not known.
func roomPerCopy(dirs []string) []int64 {
	device := make([]uint64, len(dirs))
	share := map[uint64]int64{}
	for i, dir := range dirs {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err == nil {
			device[i] = st.Dev
		}
		share[device[i]]++
	}
	room := make([]int64, len(dirs))
	for i, dir := range dirs {
		free, err := disk.Free(dir)
		if err != nil {
			room[i] = -1
			continue
		}
		room[i] = free / share[device[i]]
	}
	return room
}

// roomHours is how long the free bytes last at the rate since the start, negative if nothing has arrived.
func (n *Node) roomHours(free int64) float64 {
	bytes := n.journal.Stats().Bytes
	hours := n.opt.Now().Sub(n.started).Hours()
	if free < 0 || bytes == 0 || hours <= 0 {
		return -1
	}
	return float64(free) / (float64(bytes) / hours)
}

// DoorView is a door as it is shown.
type DoorView struct {
	door.Order
	Name    string `json:"name"`  // of the insurer
	Share   int    `json:"share"` // per cent; less than 100 while it opens in stages
	Waiting int    `json:"waiting"`
	Pending string `json:"pending,omitempty"` // id of the proposal
}

// DoorViews returns all doors, ordered by compartment.
func (n *Node) DoorViews() []DoorView {
	names := map[querschott.IK]string{}
	for _, in := range n.insurers {
		names[in.IK] = in.Name
	}
	pending := map[querschott.Compartment]string{}
	for _, p := range n.doors.Proposals() {
		pending[p.Compartment] = p.ID
	}
	var list []DoorView
	for _, c := range n.doors.Compartments() {
		o, _ := n.doors.Current(c)
		list = append(list, DoorView{Order: o, Share: n.doors.Share(c), Name: names[c.Insurer], Waiting: n.journal.Waiting(c), Pending: pending[c]})
	}
	return list
}

// Addresses returns where the node listens.
func (n *Node) Addresses() Addresses {
	a := Addresses{Control: n.path(controlSocket), HTTP: n.base}
	if len(n.sockets.starttls) > 0 {
		a.StartTLS = n.sockets.starttls[0].Addr().String()
	}
	if len(n.sockets.implicit) > 0 {
		a.TLS = n.sockets.implicit[0].Addr().String()
	}
	if n.sockets.gates != nil {
		a.Gates = n.sockets.gates.Addr().String()
	}
	if n.sockets.telemetry != nil {
		a.Metrics = "http://" + n.sockets.telemetry.Addr().String() + api.PathMetrics
	}
	if n.sockets.web != nil {
		scheme := "http://"
		if n.cfg.Console.Certificate != "" {
			scheme = "https://"
		}
		a.Console = scheme + n.sockets.web.Addr().String()
	}
	if d := n.opt.DevIssuer; d != nil {
		a.Issuer = d.Access
	}
	return a
}

// WaitingBindings lists what waits in the journal, and Delivered looks into a cell: what an audit compares with what
// senders were promised.
func (n *Node) WaitingBindings(fn func(querschott.Compartment, intake.Binding)) error {
	return n.journal.Bindings(fn)
}

// Delivered reports whether a message is in its cell.
func (n *Node) Delivered(c querschott.Compartment, b intake.Binding) (bool, error) {
	store, err := n.cell(c.Insurer)
	if err != nil {
		return false, err
	}
	return intake.Delivered(store, c, b)
}
