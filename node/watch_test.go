package node

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/web/api"
)

// A canary person can be read like everybody else, and whoever reads two of them is noticed; the alarm is in the file, in the
// list and, as OCSF, in a file of its own, and is there after a restart.
func TestCanariesEndToEnd(t *testing.T) {
	h, m := newVSDMHouse(t, 2, func(c *Config) {
		c.Watch.OCSF, c.HTTP.AccessLog, c.Watch.Per = true, "access.ndjson", 1_000_000_000
	})
	n := h.run()
	n.openAll()
	done, err := n.RotateCanaries(t.Context(), CanaryRotation{})
	if err != nil || done.Fresh != 4 || done.Stored != 4 || done.Waiting != 0 {
		t.Fatalf("made %+v, %v; want 2 canaries of each insurer, all stored", done, err)
	}
	list, err := NewClient(h.cfg).Canaries(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("got %v, %v", list, err)
	}
	x := n.reader(m)
	for i, c := range list {
		k, err := querschott.ParseKVNR(c.Number)
		if err != nil || !strings.HasPrefix(c.Number, "Z999") {
			t.Fatalf("canary %d is no number of an insured person: %v", i, err)
		}
		p := h.person(0, 0)
		in := *p.Insurer // the world is everybody's
		in.IK = c.Insurer
		p.Number, p.Insurer = k, &in
		if i >= 2 {
			continue // by then the credential may be held
		}
		if a := x.check(t.Context(), p); a.Status != http.StatusOK {
			t.Fatalf("reading canary %d: %d", i, a.Status)
		}
	}
	h.until("the alarms are listed", func() bool {
		got, err := NewClient(h.cfg).WatchAlarms(t.Context(), AlarmQuery{Detector: "D3"})
		return err == nil && len(got) >= 2 && got[1].Cause == "canary-second" && got[1].Mode == watch.Live && got[0].Mode == watch.Shadow
	})
	s, err := NewClient(h.cfg).WatchStatus(t.Context())
	if err != nil || s.Canaries != 4 || s.ByName["D3"] < 2 || len(s.Blind) != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	again, err := n.RotateCanaries(t.Context(), CanaryRotation{Share: 0.5})
	if err != nil || again.Fresh != 2 || again.Kept != 4 {
		t.Errorf("rotated %+v, %v; want one of each insurer's two", again, err)
	}
	n.stop()
	if finding := h.read("data/findings.ocsf.ndjson"); strings.Count(finding, "\n") < 2 || !strings.Contains(finding, `"class_uid":2004`) {
		t.Errorf("findings: %q", finding)
	}
	for _, c := range list {
		for _, file := range []string{"data/alarms.ndjson", "data/findings.ocsf.ndjson", "data/canaries.json", "access.ndjson"} {
			if strings.Contains(h.read(file), c.Number) {
				t.Errorf("%s holds the number of a canary", file)
			}
		}
	}
	if strings.Contains(h.log.String(), list[0].Number) {
		t.Error("the log holds the number of a canary")
	}
	r := h.run()
	h.until("the events are read again", func() bool { return r.WatchStatus().Counts.Events >= 2 })
	if got := r.alarms.book.list(AlarmQuery{Detector: "D3"}); len(got) < 2 {
		t.Errorf("after the restart %d alarms are listed", len(got))
	}
	if got := r.WatchStatus().ByName["D3"]; got != 0 {
		t.Errorf("%d alarms were raised again", got)
	}
}

// What was recorded before a restart makes the habits that later events are judged by.
func TestRestartKeepsHabits(t *testing.T) {
	h := newHouse(t, 1, func(c *Config) { c.HTTP.AccessLog = "access.ndjson" })
	in := string(h.world.Insurers()[0].IK)
	var log bytes.Buffer
	now := time.Now().UTC()
	seq := 0
	line := func(at time.Time, actor, reason string, person int) {
		seq++
		fmt.Fprintf(&log, `{"seq":%d,"gate":"test.querschott.example","t":%q,"service":"desk","subject_tenant":%q,"tenant":%q,"actor":%q,"credential":"c","actor_role":"staff","reason_ref":%q,"action":"read","subject":"p%d","n_records":1,"bytes":1,"outcome":"success","request_id":"r","door_epoch":1,"took_us":1}`+"\n",
			seq, at.Format(time.RFC3339Nano), in, in, actor, reason, person)
	}
	for day := 20; day > 0; day-- {
		for c := range 9 {
			for i := range 3 {
				reason := "case"
				if i == 0 {
					reason = ""
				}
				line(now.AddDate(0, 0, -day).Add(time.Duration(c*10+i)*time.Second), fmt.Sprintf("clerk-%d", c), fmt.Sprint(reason), day*100+c*10+i)
			}
		}
	}
	if err := os.WriteFile(h.cfg.HTTP.AccessLog, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	n := h.run()
	h.until("the recording is read", func() bool { return n.WatchStatus().Counts.Events >= uint64(seq) })
	for i := range 45 { // 45 persons without a reason are nothing for somebody who is unknown; not for this one
		n.stream.Publish(querschott.Access{
			Time: time.Now().UTC(), Service: querschott.Desk, Insurer: querschott.IK(in), Tenant: querschott.IK(in), Actor: "clerk-3", Credential: "c",
			Role: querschott.RoleStaff, Action: "read", Person: fmt.Sprint("new", i), Records: 1, Outcome: "success", RequestID: fmt.Sprint(i),
		})
	}
	h.until("D10 is raised and written down", func() bool { return len(n.alarms.book.list(AlarmQuery{Detector: "D10"})) > 0 })
	a := n.alarms.book.list(AlarmQuery{Detector: "D10"})
	if len(a) == 0 || a[0].Actor != "clerk-3" || a[0].Mode != watch.Live {
		t.Errorf("got %+v", a)
	}
}

// feeder sends events as a machine.
func (r *live) feeder(cert *tls.Certificate) func(mime, body string) (int, api.Taken) {
	tc := r.h.clientTLS()
	if cert != nil {
		tc.Certificates = []tls.Certificate{*cert}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tc}}
	r.h.tb.Cleanup(client.CloseIdleConnections)
	return func(mime, body string) (int, api.Taken) {
		r.h.tb.Helper()
		req, err := http.NewRequestWithContext(r.h.tb.Context(), http.MethodPost, r.Addresses().HTTP+api.PathEvents, strings.NewReader(body))
		if err != nil {
			r.h.tb.Fatal(err)
		}
		req.Header.Set("Content-Type", mime)
		resp, err := client.Do(req)
		if err != nil {
			r.h.tb.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			r.h.tb.Fatal(err)
		}
		var taken api.Taken
		_ = json.Unmarshal(data, &taken) // a problem is none
		return resp.StatusCode, taken
	}
}

// A machine sends events of a service that the platform does not carry. It is heard about its own insurers, services and
// actors only, under its own name, and not faster than it may.
func TestForeignFeed(t *testing.T) {
	cert, pin := clientCertificate(t)
	other, otherPin := clientCertificate(t)
	h, _ := newVSDMHouse(t, 2, func(c *Config) {
		c.HTTP.Machines = []Machine{
			{Name: "epa-backend", Pins: []string{pin.String()}, Role: "partner", Services: []string{"epa"}},
			{Name: "printer", Pins: []string{otherPin.String()}, Role: "partner", Services: []string{"epa"}},
		}
	})
	own, foreign := string(h.world.Insurers()[0].IK), string(h.world.Insurers()[1].IK)
	h.cfg.Watch.Feeds = []FeedConfig{{Machine: "epa-backend", Insurers: []string{own}, Services: []string{"epa"}, Rate: 20}}
	n := h.run()
	h.until("the feed is open", func() bool { return n.alarms.ready.Load() })
	send := n.feeder(&cert)
	at := time.Now().UTC().Format(time.RFC3339)
	event := func(seq int, change ...string) string {
		e := fmt.Sprintf(`{"seq":%d,"gate":"test.querschott.example","t":%q,"service":"epa","subject_tenant":%q,"actor":"doctor","credential":"x","actor_role":"staff","action":"read","subject":"p%d","n_records":1,"bytes":0,"outcome":"success","request_id":"r%d","door_epoch":0,"took_us":0}`, seq, at, own, seq, seq)
		return strings.NewReplacer(change...).Replace(e) + "\n"
	}
	var body strings.Builder
	for i := range 25 {
		body.WriteString(event(i + 1))
	}
	for _, bad := range [][]string{
		{own, foreign},
		{`"service":"epa"`, `"service":"desk"`},
		{`"actor_role":"staff"`, `"actor_role":"operator"`},
		{at, "2031-01-01T00:00:00Z"},
		{at, "2020-01-01T00:00:00Z"},
		{`"seq"`, `"sequence"`},
		{`"bytes":0`, `"bytes":0,"canary":true`}, // or nobody would look at it
	} {
		body.WriteString(event(99, bad...))
	}
	status, taken := send(api.MimeNDJSON, body.String())
	if status != http.StatusOK || taken.Taken != 25 || taken.Bad != 7 || len(taken.Refused) != 7 {
		t.Fatalf("got %d %+v, want 25 taken and 7 left out", status, taken)
	}
	h.until("the feed's actor is alarmed about under its own name", func() bool {
		list := n.alarms.book.list(AlarmQuery{Detector: "D1"})
		return len(list) > 0 && list[0].Actor == "epa-backend/doctor" && list[0].Credential == "epa-backend/x"
	})
	ocsf := fmt.Sprintf(`{"class_uid":6005,"category_uid":6,"activity_id":1,"type_uid":600501,"time":%d,"severity_id":1,"status_id":1,"metadata":{"version":"1.8.0","product":{"name":"EPA"}},"actor":{"user":{"uid":"doctor"}},"src_endpoint":{"ip":"192.0.2.1"},"unmapped":{"service":"epa","subject_tenant":%q,"subject":"p1"}}`, time.Now().UnixMilli(), own)
	if status, taken := send(api.MimeOCSF, ocsf+"\n{}\n"); status != http.StatusOK || taken.Taken != 1 || taken.Bad != 1 {
		t.Errorf("OCSF: %d %+v", status, taken)
	}
	if status, _ := send(api.MimeNDJSON, strings.Repeat(event(1), 400)); status != http.StatusTooManyRequests {
		t.Errorf("400 events at once were answered %d, want 429", status)
	}
	if status, _ := send("text/plain", ""); status != http.StatusBadRequest {
		t.Errorf("another type was answered %d", status)
	}
	stranger, _ := clientCertificate(t)
	for name, tc := range map[string]struct {
		cert *tls.Certificate
		want int
	}{"nobody": {nil, 401}, "a stranger": {&stranger, 401}, "another machine": {&other, 403}} {
		if status, _ := n.feeder(tc.cert)(api.MimeNDJSON, event(1)); status != tc.want {
			t.Errorf("%s was answered %d, want %d", name, status, tc.want)
		}
	}
	s := n.WatchStatus()
	if f := s.Feeds["epa-backend"]; f.Taken != 26 || f.Refused["insurer"] != 1 || f.Refused["time"] != 2 || f.Refused["role"] != 2 || f.Limited != 401 {
		t.Errorf("the feed's counts are %+v", f)
	}
	if got := s.To; got.After(time.Now().Add(time.Minute)) {
		t.Errorf("the feed moved the clock to %v", got)
	}
	h.until("the ledger has every batch", func() bool { return n.fed("feed:epa-backend") == [4]int{3, 26, 8, 401} })
	n.stop()
}

// fed sums what the ledger has of a source: batches, and events taken, refused and too fast.
func (r *live) fed(source querschott.Actor) (sum [4]int) {
	r.h.tb.Helper()
	for e, err := range r.ledger.Scan(r.h.origin(""), 0, 10_000) {
		if err != nil {
			r.h.tb.Fatal(err)
		}
		if e.Payload == nil || e.Payload.Actor != source {
			continue
		}
		for i, name := range []string{"batches", "taken", "refused", "too-fast"} {
			for _, f := range e.Payload.Detail {
				if f.Name == name {
					n, err := strconv.Atoi(f.Value)
					if err != nil {
						r.h.tb.Fatal(err)
					}
					sum[i] += n
				}
			}
		}
	}
	return sum
}

// The file of alarms is bounded, survives a torn line, and is read again.
func TestAlarmBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alarms.ndjson")
	b, err := openAlarmBook(path, 2000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := b.add(&watch.Alarm{Time: time.Unix(int64(i), 0).UTC(), Detector: "D1", Cause: "cap-minute", Actor: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != alarmsKeep+1 {
		t.Errorf("there are the files %v, want %d", files, alarmsKeep+1)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"time":`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := b.add(&watch.Alarm{Time: time.Unix(99, 0).UTC(), Detector: "D2"}); err != nil {
		t.Fatal(err)
	}
	again, err := openAlarmBook(path, 2000)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.sync(); err != nil || again.dirty {
		t.Errorf("nothing is to be synced: %v", err)
	}
	if err := b.sync(); err != nil || b.dirty {
		t.Errorf("synced: %v, there is more to sync: %t", err, b.dirty)
	}
	list := again.list(AlarmQuery{})
	if len(list) < 10 || list[len(list)-1].Detector != "D2" || len(again.list(AlarmQuery{Detector: "D2"})) != 1 {
		t.Errorf("read %d alarms, the last one %+v", len(list), list[len(list)-1])
	}
}
