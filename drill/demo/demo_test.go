package demo_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/node"
)

// running is a demonstration that runs until the test ends; stop ends it earlier and returns its report.
type running struct {
	*demo.Platform
	lines chan demo.Line
	stop  func() demo.Report
}

func start(t *testing.T, rate float64) *running {
	t.Helper()
	p, err := demo.Open(t.Context(), demo.Options{Dir: t.TempDir(), Insured: 2000, Rate: rate, Checks: rate / 5, Seed: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Platform: p, lines: make(chan demo.Line, 1000)}
	done := make(chan demo.Report, 1)
	go func() {
		report, err := p.Run(ctx, 0, func(l demo.Line) { r.lines <- l })
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	r.stop = sync.OnceValue(func() demo.Report {
		cancel()
		return <-done
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// until waits for a line that satisfies.
func (r *running) until(t *testing.T, ok func(demo.Line) bool) demo.Line {
	t.Helper()
	for {
		select {
		case l := <-r.lines:
			if l.Lost > 0 || l.Rejected > 0 {
				t.Fatal(l)
			}
			if ok(l) {
				return l
			}
		case <-t.Context().Done():
			t.Fatal("waited in vain")
		}
	}
}

// move has the operators move a door. On a busy machine not everybody may have obeyed when it returns.
func (r *running) move(t *testing.T, c querschott.Compartment, to querschott.DoorState) {
	t.Helper()
	first, err := node.LoadOperatorKey(r.File().Operators[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	second, err := node.LoadOperatorKey(r.File().Operators[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Node().Order(t.Context(), door.Request{Compartment: c, To: to, Reason: "test"}, "anna", first, second)
	if out.Order == nil || err != nil && !onlyLate(err) {
		t.Fatal(err)
	}
}

// onlyLate reports whether nothing is wrong with an order but that somebody has not answered in time.
func onlyLate(err error) bool {
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "no answer within") && !strings.Contains(line, context.DeadlineExceeded.Error()) {
			return false
		}
	}
	return true
}

// waiting lists what waits for a door.
func (r *running) waiting(t *testing.T, c querschott.Compartment) (list []intake.Binding) {
	t.Helper()
	err := r.Node().WaitingBindings(func(of querschott.Compartment, b intake.Binding) {
		if of == c {
			list = append(list, b)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// delivered reports whether all of the messages are in their cell.
func (r *running) delivered(t *testing.T, c querschott.Compartment, list []intake.Binding) bool {
	t.Helper()
	return !slices.ContainsFunc(list, func(b intake.Binding) bool {
		in, err := r.Node().Delivered(c, b)
		if err != nil {
			t.Fatal(err)
		}
		return !in
	})
}

// The largest insurer's sick notes wait while its door is on hold and are refused for now while it is closed; the others
// are delivered; in the end all are delivered and none is lost.
func TestDoorsOfTheLargestInsurer(t *testing.T) {
	r := start(t, 100)
	c := querschott.Compartment{Insurer: r.File().Insurers[0].IK, Service: querschott.EAU}
	r.until(t, func(l demo.Line) bool { return l.Delivered > 50 })
	r.move(t, c, querschott.Hold)
	r.until(t, func(demo.Line) bool { // all others have theirs
		return r.Node().Status().Doors.KeysInMemory == len(r.Node().Compartments())-1
	})
	held := r.until(t, func(demo.Line) bool { return len(r.waiting(t, c)) > 10 })
	r.until(t, func(l demo.Line) bool { return l.Delivered > held.Delivered+10 })
	r.move(t, c, querschott.Closed)
	r.until(t, func(l demo.Line) bool { return l.Refused > 3 })
	list := r.waiting(t, c)
	if len(list) <= 10 {
		t.Errorf("%d sick notes wait for the door", len(list))
	}
	r.move(t, c, querschott.Open)
	r.until(t, func(demo.Line) bool { return r.delivered(t, c, list) })
	report := r.stop()
	if m := report.Mail; m.Lost != 0 || m.Rejected != 0 || m.Accepted == 0 || m.Accepted != m.Delivered+m.Waiting || m.Refused == 0 {
		t.Errorf("got %+v", m)
	}
	if report.Doors.Changes != 3 || report.Doors.CloseP99 <= 0 || !report.Ledger.Verified || report.Insurers != 80 {
		t.Errorf("got %+v", report)
	}
}

// demo.json is what other programs start from.
func TestFile(t *testing.T) {
	r := start(t, 0)
	data, err := os.ReadFile(filepath.Join(r.File().Dir, "demo.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"console", "smtp", "smtps", "ca", "practice", "relay", "operators", "insurers", "config", "http", "issuer", "metrics"} {
		if got[key] == nil {
			t.Errorf("demo.json has no %s", key)
		}
	}
	st, err := os.Stat(filepath.Join(r.File().Dir, "demo.json"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("demo.json holds passwords and has mode %v, %v", st.Mode(), err)
	}
	if strings.Contains(string(data), "PRIVATE+KEY") {
		t.Error("demo.json holds an operator's key")
	}
}

// Cards are checked while the platform runs; those of an insurer whose door is closed are refused for now, and answered again
// after it has opened.
func TestCardChecks(t *testing.T) {
	r := start(t, 100)
	c := querschott.Compartment{Insurer: r.File().Insurers[0].IK, Service: querschott.VSDM}
	r.until(t, func(l demo.Line) bool { return l.Cards.Checked > 30 && l.Cards.NotModified > 0 && l.Cards.P99 > 0 })
	r.move(t, c, querschott.Closed)
	before := r.until(t, func(l demo.Line) bool { return l.Cards.Refused > 3 })
	r.until(t, func(l demo.Line) bool { return l.Cards.Checked > before.Cards.Checked+10 })
	r.move(t, c, querschott.Open)
	report := r.stop()
	if v := report.VSDM; v.Errors != 0 || v.Checked < 40 || v.NotModified == 0 || v.NotModified >= v.Checked || v.Refused < 4 {
		t.Errorf("got %+v", v)
	}
	if !report.Ledger.Verified || report.Mail.Lost != 0 {
		t.Errorf("got %+v", report)
	}
}

// Another program gets its tokens from the issuer and checks the card of the insurer's last person, whose master data come
// late; metrics and the description of the APIs are there.
func TestForeignClient(t *testing.T) {
	r := start(t, 0)
	f := r.File()
	world := drill.NewWorld(1, drill.DefaultInsurers, 2000)
	in := world.Insurers()[0]
	first, n := in.Persons()
	who := world.Person(first + n - 1)
	client, err := issuer.Register(t.Context(), http.DefaultClient, time.Now, f.Issuer, issuer.Practice{Subject: "1-20012345"})
	if err != nil {
		t.Fatal(err)
	}
	access, err := client.AccessToken(t.Context(), []string{f.HTTP}, "vsdservice")
	if err != nil {
		t.Fatal(err)
	}
	presence, err := client.PresenceToken(t.Context(), issuer.Card{Patient: who.Number.Reveal(), Insurer: string(in.IK), Actor: "1-20012345"})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	defer https.CloseIdleConnections()
	check := drill.CardCheck{URL: f.HTTP, Access: access, Key: client.Key, Presence: presence, Version: "1.0"}
	answer, err := check.Do(t.Context(), https, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != http.StatusOK || !strings.Contains(string(answer.Body), who.Family) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	for address, text := range map[string]string{
		f.Metrics: "querschott_door_state", f.HTTP + "/catalog.json": string(in.IK), f.HTTP + "/openapi.json": "/vsdservice/v1/vsdmbundle",
		f.HTTP + "/.well-known/oauth-protected-resource": f.Issuer, f.HTTP + "/healthz": `"ready":true`,
	} {
		resp, err := https.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), text) {
			t.Errorf("%s: %s, %v, without %q: %.300s", address, resp.Status, err, text, body)
		}
		if strings.Contains(string(body), who.Number.Reveal()) || strings.Contains(string(body), "1-20012345") {
			t.Errorf("%s names a person or a practice", address)
		}
	}
	if unknown, err := node.UnknownFiles(filepath.Join(f.Dir, "data")); err != nil || len(unknown) > 0 {
		t.Errorf("files that the trust table does not name: %v, %v", unknown, err)
	}
}
