package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/watch"
)

func warning(actor string, at time.Time) *watch.Alarm {
	return &watch.Alarm{
		Time: at, Actor: querschott.Actor(actor), Credential: querschott.CredentialID("session-of-" + actor), Insurer: "109500969", Service: querschott.Desk,
		Cause: "persons-minute", Detector: "D1", Kind: watch.Exact, Severity: watch.High, Mode: watch.Live,
		Arithmetic: []watch.Number{{Name: "persons", Value: 21, Unit: "persons/min"}}, Events: watch.Span{First: at, Last: at, Count: 21},
	}
}

func TestAlarmsOpenIncidents(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(time.Minute) // early in the day, so that all are on the same one
	ctx := t.Context()
	ref := n.caseFor(ctx, warning("erika", at))
	if !strings.HasPrefix(ref, "VF-") {
		t.Fatalf("no incident was opened: %q", ref)
	}
	with := func(change func(*watch.Alarm)) *watch.Alarm {
		a := warning("otto", at.Add(time.Hour))
		change(a)
		return a
	}
	for name, x := range map[string]struct {
		alarm *watch.Alarm
		want  string
	}{
		"same alarm again":             {warning("erika", at), ref},
		"same actor, another cause":    {with(func(a *watch.Alarm) { a.Actor, a.Cause = "erika", "canary" }), ref},
		"same actor, low":              {with(func(a *watch.Alarm) { a.Actor, a.Severity = "erika", watch.Low }), ref},
		"another actor, same cause":    {with(func(*watch.Alarm) {}), ref},
		"shadow":                       {with(func(a *watch.Alarm) { a.Actor, a.Mode = "erika", watch.Shadow }), ""},
		"another actor, cause and low": {with(func(a *watch.Alarm) { a.Cause, a.Severity = "pace", watch.Medium }), ""},
	} {
		if got := n.caseFor(ctx, x.alarm); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	if got := n.caseFor(ctx, with(func(a *watch.Alarm) { a.Insurer = "104212059" })); got == ref || got == "" {
		t.Errorf("the same cause at another insurer: %q", got)
	}
	n.hearAlarm(ctx, with(func(*watch.Alarm) {}))
	if err := n.noteCase(ctx, ref, incident.Entry{Kind: incident.Contained, Text: "Ausweis gesperrt\n\x1b[1m"}); err != nil {
		t.Fatal(err)
	}
	c, err := n.cases.book.Case(ref)
	if err != nil || c.Version != 3 || c.Status != incident.IsContained || len(n.cases.alarms) != 1 {
		t.Fatalf("the incident is %+v, %v", c, err)
	}
	shown, err := NewClient(h.cfg).Incident(ctx, ref)
	if err != nil || len(shown.Faults) != 0 {
		t.Fatal(err, shown)
	}
	text, err := json.Marshal(shown)
	if err != nil || strings.Contains(string(text), "erika") || strings.Contains(string(text), "otto") {
		t.Errorf("who is suspected is shown: %s", text)
	}
	if strings.Contains(h.log.String(), "erika") {
		t.Error("the log names who is suspected")
	}
	for e, err := range n.ledger.Scan(h.origin(""), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range e.Payload.Detail {
			if strings.Contains(f.Value, "erika") {
				t.Errorf("the ledger's entry names who is suspected: %s %s", f.Name, f.Value)
			}
		}
	}
}

// TestWarningOpensIncident lets the early warning of a running node find something by itself.
func TestWarningOpensIncident(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	for i := range 21 {
		n.stream.Publish(querschott.Access{
			Time: time.Now().UTC(), Service: querschott.Desk, Insurer: "109500969", Tenant: "109500969", Actor: "clerk", Credential: "c",
			Role: querschott.RoleStaff, Action: "read", Person: string(rune('a' + i)), Records: 1, Outcome: "success",
		})
	}
	h.until("an incident is opened", func() bool { return len(n.cases.book.Cases()) > 0 })
	if c := n.cases.book.Cases()[0]; len(c.Sources()) == 0 || c.Sources()[0].Actor != "clerk" {
		t.Errorf("the incident is %+v", c.Entries)
	}
}

func TestIncidentsAreChangedBySignatureOnly(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	c := NewClient(h.cfg)
	ctx := t.Context()
	x, err := c.ChangeIncident(ctx, h.signer(anna), IncidentChange{Entry: incident.Entry{
		Kind: incident.Fact, By: ben, Text: "Anruf der Kasse",
		Alarm: &incident.Source{Actor: "erika"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e := x.Case.Entries[0]; e.By != anna || e.Alarm != nil {
		t.Errorf("anna has written as %s, with alarm %v", e.By, e.Alarm)
	}
	ref := x.Case.Ref
	skey, _, err := note.GenerateKey(rand.Reader, "stranger")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	add := func(s note.Signer, version int, e incident.Entry) error {
		_, err := c.ChangeIncident(ctx, s, IncidentChange{Ref: ref, Version: version, Entry: e})
		return err
	}
	fact := incident.Entry{Kind: incident.Fact, Text: "x"}
	if err := add(stranger, 1, fact); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("a stranger: %v", err)
	}
	if err := add(h.signer(anna), 0, fact); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("an old version: %v", err)
	}
	text, err := incidentText(h.cfg.Domain, time.Now(), &IncidentChange{Ref: ref, Version: incident.Any, Entry: fact})
	if err != nil {
		t.Fatal(err)
	}
	replay := func(text string) error {
		raw, err := note.Sign(&note.Note{Text: text}, h.signer(anna))
		if err != nil {
			t.Fatal(err)
		}
		_, err = post[any](ctx, c, "/v1/incidents", map[string][]byte{"note": raw})
		return err
	}
	if err := replay(text); err != nil {
		t.Fatal(err)
	}
	if err := replay(text); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("the same signed entry twice: %v", err)
	}
	old, err := incidentText(h.cfg.Domain, time.Now().Add(-time.Hour), &IncidentChange{Ref: ref, Version: incident.Any, Entry: fact})
	if err != nil {
		t.Fatal(err)
	}
	if err := replay(old); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("an old signed entry: %v", err)
	}
	if err := replay(strings.Replace(text, h.cfg.Domain, "other.example", 1)); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("an entry for another platform: %v", err)
	}
	if err := add(h.signer(anna), 2, incident.Entry{Kind: incident.Request, Wish: incident.Close, Why: "geklärt"}); err != nil {
		t.Fatal(err)
	}
	if err := add(h.signer(anna), 3, incident.Entry{Kind: incident.Approval, Answers: 3}); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("one person alone closes: %v", err)
	}
	if err := add(h.signer(ben), 3, incident.Entry{Kind: incident.Approval, Answers: 3}); err != nil {
		t.Fatal(err)
	}
	list, err := c.Incidents(ctx)
	if err != nil || len(list) != 1 || list[0].Status != incident.Closed {
		t.Errorf("the list is %+v, %v", list, err)
	}
	n.stop()
}

// TestRewrittenIncidentIsNoticed writes another story where the node's files lie.
func TestRewrittenIncidentIsNoticed(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	c := NewClient(h.cfg)
	x, err := c.ChangeIncident(t.Context(), h.signer(anna), IncidentChange{Entry: incident.Entry{Kind: incident.Fact, Text: "300000 Personen"}})
	if err != nil {
		t.Fatal(err)
	}
	backup := t.TempDir() + "/backup"
	if m, err := n.Backup(t.Context(), backup); err != nil || m.Files["data/incidents/"+x.Case.Ref+".case"] == "" {
		t.Errorf("the backup has no incident: %v", err)
	}
	if faults, err := c.IncidentFaults(t.Context()); err != nil || len(faults) != 0 {
		t.Errorf("before: %v, %v", faults, err)
	}
	n.stop()
	dir := t.TempDir()
	forged, err := incident.OpenBook(incident.Config{FS: disk.OS{}, Dir: dir, Now: time.Now, Record: func(context.Context, incident.Recorded) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forged.Begin(t.Context(), incident.Entry{Kind: incident.Fact, By: anna, Text: "3 Personen"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(dir + "/" + x.Case.Ref + ".case")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.cfg.Data+"/incidents/"+x.Case.Ref+".case", data, 0o600); err != nil {
		t.Fatal(err)
	}
	n = h.run()
	h.until("the node has noticed", func() bool {
		n.cases.mu.Lock()
		defer n.cases.mu.Unlock()
		return slices.ContainsFunc(n.cases.faults, func(f incident.Fault) bool {
			return f.Ref == x.Case.Ref && f.What == incident.FaultOther && f.Entry == 1
		})
	})
	if !strings.Contains(h.log.String(), "an incident's file is not what the ledger knows") {
		t.Error("nobody is told")
	}
	shown, err := c.Incident(t.Context(), x.Case.Ref)
	if err != nil || len(shown.Faults) != 1 {
		t.Errorf("shown: %v, %v", shown, err)
	}
}
