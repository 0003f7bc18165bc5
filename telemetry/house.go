package telemetry

import (
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/gate/mail"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/outbox"
)

// House says where the numbers of a node come from. A nil func leaves its families out. Each is asked at every scrape, by
// several at the same time.
type House struct {
	Version string
	Started time.Time
	Now     func() time.Time

	Insurers    func() int
	Troubles    func() int // things that somebody should look at
	Mail        func() mail.Stats
	HTTP        func() gatehttp.Stats
	Passages    func() map[string]proxy.Stats // to existing services, by name of the route
	Journal     func() intake.Stats
	Backlogs    func() []intake.Backlog
	Room        func() []int64 // free bytes of each copy of the journal, negative: not known
	Pump        func() intake.PumpStats
	Keys        func() int // private keys in memory
	Doors       func() []Door
	Proposals   func() int // moves that wait for a second operator
	Outbox      func() outbox.Status
	Logs        func() []Log
	Stream      func() access.Stats
	Revocations func() int
	KeySets     func() []KeySet
	Watch       func() Watch
	Export      func() Exported
}

// Door is a door as metrics show it.
type Door struct {
	Compartment querschott.Compartment
	State       querschott.DoorState
	Epoch       uint64
}

// Log is one log of the ledger.
type Log struct {
	Name    string // IK, "platform" or "commits"
	Entries uint64
}

// KeySet is a set of an issuer's keys that tokens are verified with.
type KeySet struct {
	Name    string // a word
	Fetched time.Time
}

// Families returns the families of all sources that are there.
func (h House) Families() []Family {
	all := []Family{
		{
			Name: prefix + "build_info", Help: "Always 1; the version that runs is in the label.", Labels: []Label{LabelVersion},
			Look: func(tell Tell) { tell(1, h.Version) },
		},
		{
			Name: prefix + "start_time_seconds", Help: "When the node started, in seconds of Unix time.",
			Look: func(tell Tell) { tell(seconds(h.Started)) },
		},
	}
	all = append(all, counted("insurers", "Insurers that the platform serves.", h.Insurers)...)
	all = append(all, counted("troubles", "Things that somebody should look at; the status page of the node names them.", h.Troubles)...)
	all = append(all, counted("keys_in_memory", "Private keys of compartments that are in memory.", h.Keys)...)
	all = append(all, counted("door_proposals", "Moves of doors that wait for a second operator.", h.Proposals)...)
	all = append(all, counted("revocations", "Credentials, keys and issuers that are refused.", h.Revocations)...)
	all = append(all, h.mail()...)
	all = append(all, h.http()...)
	all = append(all, h.passages()...)
	all = append(all, h.journal()...)
	all = append(all, h.backlog()...)
	all = append(all, h.pump()...)
	all = append(all, h.doors()...)
	all = append(all, h.outbox()...)
	all = append(all, h.ledger()...)
	all = append(all, h.stream()...)
	all = append(all, h.keySets()...)
	all = append(all, h.watch()...)
	return append(all, h.export()...)
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func counted(name, help string, n func() int) []Family {
	if n == nil {
		return nil
	}
	return []Family{{Name: prefix + name, Help: help, Look: func(tell Tell) { tell(float64(n())) }}}
}

// part is one number of a snapshot S.
type part[S any] struct {
	name, help string
	kind       Kind
	value      func(S) float64
}

// parts makes a family of each number of a snapshot.
func parts[S any](look func() S, list ...part[S]) []Family {
	if look == nil {
		return nil
	}
	all := make([]Family, len(list))
	for i, p := range list {
		all[i] = Family{Name: prefix + p.name, Help: p.help, Kind: p.kind, Look: func(tell Tell) { tell(p.value(look())) }}
	}
	return all
}

func (h House) mail() []Family {
	if h.Mail == nil {
		return nil
	}
	causes := func(of func(mail.Stats) map[mail.Cause]uint64) func(Tell) {
		return func(tell Tell) {
			for cause, n := range of(h.Mail()) {
				tell(float64(n), string(cause))
			}
		}
	}
	type p = part[mail.Stats]
	return append(parts(h.Mail,
		p{"mail_sessions", "SMTP sessions that are open.", Gauge, func(s mail.Stats) float64 { return float64(s.Sessions) }},
		p{"mail_accepted_total", "Messages that were accepted with a 250.", Counter, func(s mail.Stats) float64 { return float64(s.Accepted) }},
		p{"mail_aborted_total", "Messages whose end the sender did not send.", Counter, func(s mail.Stats) float64 { return float64(s.Aborted) }},
		p{"mail_panics_total", "SMTP sessions that ended by a fault of the program.", Counter, func(s mail.Stats) float64 { return float64(s.Panics) }},
	),
		Family{
			Name: prefix + "mail_refused_total", Kind: Counter, Labels: []Label{LabelCause},
			Help: "SMTP answers that ask the sender to try again (4xx).",
			Look: causes(func(s mail.Stats) map[mail.Cause]uint64 { return s.Transient }),
		},
		Family{
			Name: prefix + "mail_rejected_total", Kind: Counter, Labels: []Label{LabelCause},
			Help: "SMTP answers that refuse for good (5xx).",
			Look: causes(func(s mail.Stats) map[mail.Cause]uint64 { return s.Permanent }),
		})
}

func (h House) http() []Family {
	if h.HTTP == nil {
		return nil
	}
	type p = part[gatehttp.Stats]
	return append(parts(h.HTTP,
		p{"http_connections", "Connections over HTTP that are open.", Gauge, func(s gatehttp.Stats) float64 { return float64(s.Connections) }},
		p{"http_requests_in_flight", "Requests over HTTP that are under way.", Gauge, func(s gatehttp.Stats) float64 { return float64(s.InFlight) }},
		p{"http_tunnels", "Passages (WebSocket) that are open.", Gauge, func(s gatehttp.Stats) float64 { return float64(s.Tunnels) }},
		p{"http_cut_total", "Answers that were broken off.", Counter, func(s gatehttp.Stats) float64 { return float64(s.Cut) }},
		p{"http_panics_total", "Requests that ended by a fault of the program.", Counter, func(s gatehttp.Stats) float64 { return float64(s.Panics) }},
		p{"http_connections_refused_total", "Connections for which there was no room.", Counter, func(s gatehttp.Stats) float64 { return float64(s.RefusedConns) }},
		p{"http_connections_ousted_total", "Idle connections that made way for others.", Counter, func(s gatehttp.Stats) float64 { return float64(s.OustedConns) }},
		p{"http_connections_broken_total", "TLS handshakes and connections that failed.", Counter, func(s gatehttp.Stats) float64 { return float64(s.BrokenConns) }},
		p{"http_rates_crowded_total", "Requests whose rate was counted together with others' for want of room.", Counter, func(s gatehttp.Stats) float64 { return float64(s.CrowdedRates) }},
		p{"http_persons_forgotten_total", "Persons that no longer count to a credential's reach, for want of room.", Counter, func(s gatehttp.Stats) float64 { return float64(s.ForgottenPersons) }},
		p{"http_unsettled_total", "Attempts of unknown callers that could not be recorded.", Counter, func(s gatehttp.Stats) float64 { return float64(s.Unsettled) }},
	),
		Family{
			Name: prefix + "http_requests_total", Kind: Counter, Labels: []Label{LabelService, LabelOutcome, LabelCause},
			Help: "Requests over HTTP, and pieces of long answers, by how they ended and why.", Look: func(tell Tell) {
				for o, n := range h.HTTP().Outcomes {
					tell(float64(n), string(o.Service), o.Outcome.String(), o.Cause.String())
				}
			},
		},
		Family{
			Name: prefix + "http_request_duration_seconds", Kind: Histogram, Labels: []Label{LabelService},
			Help: "Time from a request over HTTP to the first byte of its answer.", LookAt: func(tell TellSpread) {
				for service, l := range h.HTTP().Latency {
					tell(Spread{gatehttp.Buckets[:], l.Counts[:], l.Sum}, string(service))
				}
			},
		})
}

func (h House) passages() []Family {
	if h.Passages == nil {
		return nil
	}
	var all []Family
	add := func(name, help string, value func(proxy.Stats) uint64) {
		all = append(all, Family{Name: prefix + "passage_" + name + "_total", Help: help, Kind: Counter, Labels: []Label{LabelName}, Look: func(tell Tell) {
			for route, s := range h.Passages() {
				tell(float64(value(s)), route)
			}
		}})
	}
	add("requests", "Requests to an existing service.", func(s proxy.Stats) uint64 { return s.Requests })
	add("unmatched", "Requests that fitted no rule.", func(s proxy.Stats) uint64 { return s.Unmatched })
	add("unreadable", "Answers whose records could not be counted.", func(s proxy.Stats) uint64 { return s.Unreadable })
	add("refused", "Requests that could be understood in more than one way, or fitted no rule.", func(s proxy.Stats) uint64 { return s.Refused })
	add("failed", "Requests to which the service gave no usable answer.", func(s proxy.Stats) uint64 { return s.Failed })
	add("rejected", "Requests with whose headers, set by the gate, the service found fault.", func(s proxy.Stats) uint64 { return s.Rejected })
	add("cut", "Long answers that broke off.", func(s proxy.Stats) uint64 { return s.Cut })
	return all
}

func (h House) journal() []Family {
	type p = part[intake.Stats]
	return parts(h.Journal,
		p{"journal_appended_total", "Messages made durable in the journal.", Counter, func(s intake.Stats) float64 { return float64(s.Appended) }},
		p{"journal_appended_bytes_total", "Bytes made durable in the journal, sealed.", Counter, func(s intake.Stats) float64 { return float64(s.Bytes) }},
		p{"journal_refused_total", "Messages that the journal could not take: no room, or a copy missing.", Counter, func(s intake.Stats) float64 { return float64(s.Refused) }},
		p{"journal_mended_total", "Records that were damaged in one copy and restored from another.", Counter, func(s intake.Stats) float64 { return float64(s.Mended) }},
		p{"journal_quarantined_total", "Records that were damaged in every copy.", Counter, func(s intake.Stats) float64 { return float64(s.Quarantined) }},
	)
}

func (h House) backlog() []Family {
	compartment := []Label{LabelInsurer, LabelService}
	var all []Family
	add := func(name, help string, value func(intake.Backlog) float64) {
		all = append(all, Family{Name: prefix + name, Help: help, Labels: compartment, Look: func(tell Tell) {
			for _, b := range h.Backlogs() {
				tell(value(b), string(b.Compartment.Insurer), string(b.Compartment.Service))
			}
		}})
	}
	if h.Backlogs != nil {
		add("journal_waiting_messages", "Messages that wait for delivery.", func(b intake.Backlog) float64 { return float64(b.Messages) })
		add("journal_waiting_bytes", "Bytes that wait for delivery, sealed.", func(b intake.Backlog) float64 { return float64(b.Bytes) })
		add("journal_oldest_age_seconds", "Age of the oldest message that waits, 0 if none does.", func(b intake.Backlog) float64 {
			if b.OldestUS == 0 {
				return 0
			}
			return max(0, h.Now().Sub(time.UnixMicro(b.OldestUS)).Seconds())
		})
	}
	if h.Room != nil {
		all = append(all, Family{
			Name: prefix + "journal_free_bytes", Help: "Room that a copy of the journal has; copies on one device share it.",
			Labels: []Label{LabelCopy}, Look: func(tell Tell) {
				for i, free := range h.Room() {
					if free >= 0 {
						tell(float64(free), strconv.Itoa(i))
					}
				}
			},
		})
	}
	return all
}

func (h House) pump() []Family {
	type p = part[intake.PumpStats]
	return parts(h.Pump,
		p{"pump_delivered_total", "Messages delivered into cells.", Counter, func(s intake.PumpStats) float64 { return float64(s.Delivered) }},
		p{"pump_duplicates_total", "Messages that were in their cell before.", Counter, func(s intake.PumpStats) float64 { return float64(s.Duplicates) }},
		p{"pump_flagged_total", "Messages that were kept with findings.", Counter, func(s intake.PumpStats) float64 { return float64(s.Flagged) }},
		p{"pump_damaged_total", "Messages that could not be opened and were put aside.", Counter, func(s intake.PumpStats) float64 { return float64(s.Damaged) }},
	)
}

func (h House) doors() []Family {
	if h.Doors == nil {
		return nil
	}
	return []Family{
		{Name: prefix + "doors", Help: "Doors of compartments by their state.", Labels: []Label{LabelState}, Look: func(tell Tell) {
			for s := querschott.Hold; s <= querschott.Closed; s++ {
				tell(0, s.String())
			}
			for _, d := range h.Doors() {
				tell(1, d.State.String())
			}
		}},
		{
			Name: prefix + "door_state", Help: "Always 1; the state of a compartment's door is in the label.",
			Labels: []Label{LabelInsurer, LabelService, LabelState}, Look: func(tell Tell) {
				for _, d := range h.Doors() {
					tell(1, string(d.Compartment.Insurer), string(d.Compartment.Service), d.State.String())
				}
			},
		},
		{
			Name: prefix + "door_orders_total", Kind: Counter, Help: "Orders that a compartment's door has had: its epoch.",
			Labels: []Label{LabelInsurer, LabelService}, Look: func(tell Tell) {
				for _, d := range h.Doors() {
					tell(float64(d.Epoch), string(d.Compartment.Insurer), string(d.Compartment.Service))
				}
			},
		},
	}
}

func (h House) outbox() []Family {
	type p = part[outbox.Status]
	return parts(h.Outbox,
		p{"outbox_queued_mails", "Mail that waits to leave.", Gauge, func(s outbox.Status) float64 { return float64(s.Queued) }},
		p{"outbox_failed_mails", "Mail that was refused for good and waits for a decision.", Gauge, func(s outbox.Status) float64 { return float64(s.Failed) }},
		p{"outbox_sent_total", "Mail that the relay took.", Counter, func(s outbox.Status) float64 { return float64(s.Sent) }},
		p{"outbox_local_total", "Mail that was put into local mailboxes.", Counter, func(s outbox.Status) float64 { return float64(s.Local) }},
		p{"outbox_oldest_age_seconds", "Age of the oldest mail that waits to leave, 0 if none does.", Gauge, func(s outbox.Status) float64 {
			if s.Oldest.IsZero() {
				return 0
			}
			return max(0, h.Now().Sub(s.Oldest).Seconds())
		}},
	)
}

func (h House) ledger() []Family {
	if h.Logs == nil {
		return nil
	}
	return []Family{{
		Name: prefix + "ledger_entries_total", Kind: Counter, Labels: []Label{LabelLog},
		Help: "Entries of the ledger's logs of this year.", Look: func(tell Tell) {
			for _, l := range h.Logs() {
				tell(float64(l.Entries), l.Name)
			}
		},
	}}
}

// LogsOf reads the sizes of a ledger's logs of one year from their signed heads. A log without a head is left out.
func LogsOf(l *ledger.Ledger, year int) []Log {
	var list []Log
	for _, origin := range l.Origins() {
		path := strings.Split(origin, "/")
		if len(path) < 2 || path[len(path)-1] != strconv.Itoa(year) {
			continue
		}
		head, err := l.Checkpoint(origin)
		if err != nil {
			continue
		}
		text, _, _ := strings.Cut(string(head), "\n\n") // C2SP signed-note: the text, then signatures
		if c, err := proof.ParseCheckpoint(text + "\n"); err == nil {
			list = append(list, Log{path[len(path)-2], c.Size})
		}
	}
	return list
}

func (h House) stream() []Family {
	all := parts(h.Stream, part[access.Stats]{
		"access_events_total", "Access events that the gate published.", Counter,
		func(s access.Stats) float64 { return float64(s.Published) },
	})
	add := func(name, help string, kind Kind, value func(access.Lag) float64) {
		all = append(all, Family{Name: prefix + name, Help: help, Kind: kind, Labels: []Label{LabelName}, Look: func(tell Tell) {
			for _, s := range h.Stream().Subscribers {
				tell(value(s), s.Name)
			}
		}})
	}
	if h.Stream != nil {
		add("access_events_dropped_total", "Access events that a subscriber lost because it was too slow.", Counter,
			func(l access.Lag) float64 { return float64(l.Dropped) })
		add("access_events_waiting", "Access events that wait for a subscriber.", Gauge, func(l access.Lag) float64 { return float64(l.Waiting) })
	}
	return all
}

func (h House) keySets() []Family {
	if h.KeySets == nil {
		return nil
	}
	return []Family{{
		Name: prefix + "key_set_age_seconds", Labels: []Label{LabelName},
		Help: "Time since an issuer's keys were last fetched.", Look: func(tell Tell) {
			for _, k := range h.KeySets() {
				tell(h.Now().Sub(k.Fetched).Seconds(), k.Name)
			}
		},
	}}
}

func (h House) export() []Family {
	if h.Export == nil {
		return nil
	}
	var all []Family
	add := func(name, help string, value func(Tally) uint64) {
		all = append(all, Family{Name: prefix + name, Help: help, Kind: Counter, Labels: []Label{LabelSignal}, Look: func(tell Tell) {
			s := h.Export()
			tell(float64(value(s.Traces)), "traces")
			tell(float64(value(s.Logs)), "logs")
		}})
	}
	add("telemetry_made_total", "Spans and log lines that were made for the collector; what was neither sent nor failed waits or was dropped.",
		func(t Tally) uint64 { return t.Made })
	add("telemetry_sent_total", "Spans and log lines that the collector took.", func(t Tally) uint64 { return t.Sent })
	add("telemetry_failed_total", "Spans and log lines that the collector did not take.", func(t Tally) uint64 { return t.Failed })
	return all
}
