package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/gate"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/outbox"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/telemetry"
	"github.com/querschott/querschott/web/api"
)

// openTelemetry makes what tells machines how the node works, and describes its APIs.
func (n *Node) openTelemetry(ctx context.Context) error {
	n.traffic = telemetry.NewTraffic(func(ik querschott.IK) bool { _, ok := n.byIK[ik]; return ok })
	n.trafficSub = n.stream.Subscribe("telemetry", trafficEvents)
	metrics, err := telemetry.NewMetrics(n.traffic, n.measured().Families()...)
	if err != nil {
		return err
	}
	n.health = api.NewHealth(n.opt.Now,
		api.Check{Name: "journal", Probe: func() string { return inWord(n.journal.Trouble() != "", "no-room-or-a-copy-is-missing") }},
		api.Check{Name: "parts", Live: true, Probe: func() string { n.mu.Lock(); defer n.mu.Unlock(); return inWord(len(n.failed) > 0, "a-part-has-ended") }},
		api.Check{Name: "cells", Probe: func() string { return inWord(len(n.cells) < len(n.insurers), "a-cell-is-missing") }},
	)
	routes := api.Own()
	if n.vsdm != nil {
		routes = append(routes, api.VSDM()...)
	}
	if n.desk != nil {
		routes = append(routes, api.Desk()...)
	}
	if len(n.cfg.Watch.Feeds) > 0 {
		routes = append(routes, api.Events()...)
	}
	n.api, err = api.New(api.Config{Version: n.opt.Version, Groups: api.Groups(), Routes: routes, Health: n.health, Metrics: metrics.Handler()})
	if err != nil || n.cfg.Telemetry.Listen == "" {
		return err
	}
	listeners, err := listen(ctx, n.cfg.Telemetry.Listen)
	if err != nil {
		return err
	}
	n.sockets.telemetry = listeners[0]
	return nil
}

func inWord(bad bool, word string) string {
	if bad {
		return word
	}
	return ""
}

// openExport begins to send traces and logs, if the configuration says so.
func (n *Node) openExport(context.Context) error {
	c := &n.cfg.Telemetry
	if c.OTLP == "" || !c.Traces && !c.Logs && !c.Attacks {
		return nil
	}
	t := telemetry.Config{
		Endpoint: c.OTLP, Traces: c.Traces, Logs: c.Logs, Attacks: c.Attacks, Node: n.cfg.Domain, Version: n.opt.Version, Log: n.log,
	}
	if c.CA != "" {
		pool, err := certificates(c.CA)
		if err != nil {
			return err
		}
		t.CA = pool
	}
	var err error
	if n.export, err = telemetry.Start(t); err != nil { //nolint:contextcheck // it outlives the context of the start
		return err
	}
	n.log = slog.New(n.export.Handler(n.opt.Log.Handler()))
	return nil
}

// traced says which requests are traced; nil: none is, and nothing of them is noted.
func (n *Node) traced() func(string) bool {
	if n.export == nil || !n.cfg.Telemetry.Traces {
		return nil
	}
	return n.export.Traced
}

// measured says where the numbers of metrics come from.
func (n *Node) measured() telemetry.House {
	h := telemetry.House{
		Version: n.opt.Version, Started: n.started, Now: n.opt.Now,
		Insurers: func() int { return len(n.insurers) }, Troubles: func() int { return len(n.trouble()) },
		Journal: n.journal.Stats, Backlogs: n.journal.Backlogs, Room: func() []int64 { return roomPerCopy(n.cfg.Intake.Copies) },
		Pump: n.pump.Stats, Keys: n.keysInMemory,
		Doors: n.measuredDoors, Proposals: func() int { return len(n.doors.Proposals()) },
		Outbox: func() outbox.Status { return n.outbox.Status() },
		Logs:   func() []telemetry.Log { return telemetry.LogsOf(n.ledger, n.opt.Now().UTC().Year()) },
		Stream: func() access.Stats { return n.stream.Stats() }, Revocations: func() int { return len(n.Denied()) },
		KeySets: n.measuredKeys, Watch: n.measuredWatch,
	}
	if n.gate != nil {
		h.Mail = n.gate.Stats
	}
	if n.export != nil {
		h.Export = n.export.Stats
	}
	return h
}

func (n *Node) measuredDoors() []telemetry.Door {
	var list []telemetry.Door
	for _, c := range n.doors.Compartments() {
		o, _ := n.doors.Current(c)
		list = append(list, telemetry.Door{Compartment: c, State: o.To, Epoch: o.Epoch})
	}
	return list
}

func (n *Node) measuredKeys() []telemetry.KeySet {
	if n.tokens == nil {
		return nil
	}
	var list []telemetry.KeySet
	for _, s := range n.tokens.Issuers() {
		if !s.Loaded.IsZero() {
			list = append(list, telemetry.KeySet{Name: string(s.Source), Fetched: s.Loaded})
		}
	}
	return list
}

// observe counts access events, and makes traces of them.
func (n *Node) observe(ctx context.Context) error {
	look := []func(querschott.Access){n.traffic.Observe}
	if n.export != nil {
		look = append(look, n.export.Trace)
	}
	telemetry.Follow(ctx, n.trafficSub.Events(), look...)
	return nil
}

// publicRoutes are documents that are anybody's. Reasons are told at the operations address only.
func (n *Node) publicRoutes() []gatehttp.Route {
	routes := []gatehttp.Route{{Name: "health", Path: api.PathHealth, Public: true, Backend: gate.Serve(n.wellness), MaxBody: 1 << 10}}
	for _, path := range api.Paths() {
		routes = append(routes, gatehttp.Route{Name: "api" + word(path), Path: path, Public: true, Backend: at(path, n.describe), MaxBody: 1 << 10})
	}
	return routes
}

func (n *Node) describe(ctx context.Context, r *service.Request) (*service.Answer, error) {
	return n.api.Answer(ctx, r)
}

// at serves one path with a service that knows its paths from the root: the gate has taken the route's off.
func at(path string, f service.Func) gate.Backend {
	return func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		whole := r.Request
		whole.Path = path
		return f(ctx, &whole)
	}
}

// wellness says whether the node is ready, and not why: strangers read it.
func (n *Node) wellness(_ context.Context, r *service.Request) (*service.Answer, error) {
	if r.Method != http.MethodGet {
		return nil, querschott.Refuse(querschott.CodeMethod, "only GET is answered here")
	}
	look := n.health.Look()
	body, err := json.Marshal(map[string]bool{"live": look.Live, "ready": look.Ready})
	if err != nil {
		return nil, err
	}
	a := &service.Answer{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}, Body: body,
		Facts: service.Facts{Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess},
	}
	if !look.Ready {
		a.Status = http.StatusServiceUnavailable
	}
	return a, nil
}

// closeExport sends what waits.
func (n *Node) closeExport(ctx context.Context) {
	if n.export == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closingTime)
	defer cancel()
	if err := n.export.Close(ctx); err != nil {
		n.opt.Log.Warn("not all traces and logs were sent", "err", err)
	}
}

// closingTime is how long the node waits for the collector when it stops.
const closingTime = 3 * time.Second
