package node

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/web/api"
)

// foreign is a house beside whose node a service runs that it does not carry.
type foreign struct {
	*house
	cert    tls.Certificate
	insurer string
	clock   atomic.Int64 // nanoseconds since 1970; 0: the true time
	seq     int
}

const foreignName = "epa-backend"

func newForeign(t *testing.T, change ...func(*Config)) *foreign {
	t.Helper()
	f := &foreign{}
	cert, pin := clientCertificate(t)
	f.cert = cert
	f.house, _ = newVSDMHouse(t, 1, append([]func(*Config){func(c *Config) {
		c.HTTP.Machines = []Machine{{Name: foreignName, Pins: []string{pin.String()}, Role: "partner", Services: []string{"epa"}}}
	}}, change...)...)
	f.insurer = string(f.world.Insurers()[0].IK)
	f.cfg.Watch.Feeds = []FeedConfig{{Machine: foreignName, Insurers: []string{f.insurer}, Services: []string{"epa"}}}
	f.opt.Now = f.now
	return f
}

func (f *foreign) now() time.Time {
	if at := f.clock.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Now()
}

// begin runs the node until it takes events.
func (f *foreign) begin() *live {
	f.tb.Helper()
	n := f.run()
	f.until("the feed is open", func() bool { return n.alarms.ready.Load() })
	return n
}

// look is an event: somebody reads a person's data.
func (f *foreign) look(at time.Time, actor, reason, person string) string {
	f.seq++
	return fmt.Sprintf(`{"seq":%d,"gate":"g","t":%q,"service":"epa","subject_tenant":%q,"tenant":%q,"actor":%q,"credential":"c:%s","actor_role":"staff","reason_ref":%q,"action":"read","subject":%q,"n_records":1,"bytes":1,"outcome":"success","request_id":"r%d","door_epoch":0,"took_us":1}`+"\n",
		f.seq, at.UTC().Format(time.RFC3339Nano), f.insurer, f.insurer, actor, actor, reason, person, f.seq)
}

// send has the source send events, all of which must be taken.
func (f *foreign) send(n *live, events string) api.Taken {
	f.tb.Helper()
	status, taken := n.feeder(&f.cert)(api.MimeNDJSON, events)
	if want := strings.Count(events, "\n"); status != http.StatusOK || taken.Taken != want {
		f.tb.Fatalf("got %d %+v, want %d taken", status, taken, want)
	}
	return taken
}

var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// work has nine clerks work for twenty working days, as ever: each reads three persons a day, one of them without a reason. What
// they do is told in the evening.
func (f *foreign) work(n *live) {
	f.tb.Helper()
	for day, worked := monday, 0; worked < 20; day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		worked++
		f.clock.Store(day.Add(9 * time.Hour).UnixNano())
		var events strings.Builder
		for c := range 9 {
			for i := range 3 {
				reason := "case"
				if i == 0 {
					reason = ""
				}
				events.WriteString(f.look(day.Add(time.Duration(c*10+i)*time.Minute), fmt.Sprintf("clerk-%d", c), reason, fmt.Sprintf("p%d-%d-%d", worked, c, i)))
			}
		}
		f.send(n, events.String())
	}
	f.clock.Store(time.Date(2026, 3, 30, 18, 0, 0, 0, time.UTC).UnixNano())
}

// steal has one of them read 45 persons without a reason in an afternoon. That is nothing for somebody who is unknown.
func (f *foreign) steal(n *live, actor string) {
	f.tb.Helper()
	var events strings.Builder
	for i := range 45 {
		events.WriteString(f.look(f.now().Add(time.Duration(i-120)*time.Minute), actor, "", fmt.Sprintf("%s-new-%d", actor, i)))
	}
	f.send(n, events.String())
}

// What a foreign source told before a restart is what its later events are judged by. Without the record it is not. What was an
// alarm before a restart is none after it, and its incident stays one.
func TestRestartKeepsForeignHabits(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"with its record": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			f := newForeign(t)
			if !keeps {
				f.cfg.Watch.Record = 0
			}
			f.clock.Store(monday.UnixNano())
			n := f.begin()
			f.work(n)
			if s := n.WatchStatus(); s.Feeds[foreignName].Taken != 540 || len(s.ByName) != 0 {
				t.Fatalf("%d events are taken, alarms %v; want 540 and none", s.Feeds[foreignName].Taken, s.ByName)
			}
			n.stop()

			n = f.begin()
			f.steal(n, "clerk-3")
			if got := n.WatchStatus().ByName["D10"]; (got > 0) != keeps {
				t.Fatalf("%d alarms of D10; the past is known: %t", got, keeps)
			}
			if !keeps {
				return
			}
			f.until("the alarm is written down", func() bool { return len(n.alarms.book.list(AlarmQuery{Detector: "D10"})) == 1 })
			a := n.alarms.book.list(AlarmQuery{Detector: "D10"})
			if len(a) != 1 || a[0].Actor != foreignName+"/clerk-3" || a[0].Mode != watch.Live {
				t.Errorf("got %+v", a)
			}
			n.stop()

			n = f.begin()
			for range 3 {
				f.send(n, f.look(f.now(), "clerk-3", "", fmt.Sprint("more", f.seq)))
			}
			f.steal(n, "clerk-4")
			f.until("another's alarm is written down", func() bool { return len(n.alarms.book.list(AlarmQuery{Actor: foreignName + "/clerk-4"})) == 1 })
			if got := n.alarms.book.list(AlarmQuery{Actor: foreignName + "/clerk-3"}); len(got) != 1 {
				t.Errorf("after the restart there are %d alarms about what was one", len(got))
			}
		})
	}
}

// who is somebody of the foreign service as the deny list looks at him.
func who(actor string) *ident.Facts {
	return &ident.Facts{Actor: querschott.Actor(foreignName + "/" + actor), Credential: querschott.CredentialID(foreignName + "/c:" + actor)}
}

// bulk has somebody read 21 persons within a minute, which is a fact and not allowed.
func (f *foreign) bulk(n *live, actor string) {
	f.tb.Helper()
	var events strings.Builder
	for range 21 {
		events.WriteString(f.look(f.now(), actor, "case", fmt.Sprint("bulk", f.seq)))
	}
	f.send(n, events.String())
}

// Who was held before a restart is held after it, and not held once more for the same. Who was let in again is told of anew, though
// the old events are read again.
func TestRestartKeepsHoldsAndReleases(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	n := f.begin()
	runs := func() int { return len(n.contain.engine.Runs()) }
	f.bulk(n, "held")
	f.until("the first is held", func() bool { return n.denied.Check(who("held")) != nil && runs() == 1 })
	f.bulk(n, "let-in")
	f.until("the second is held", func() bool { return n.denied.Check(who("let-in")) != nil && runs() == 2 })
	n.over(2)
	f.until("there is an incident", func() bool { return len(n.cases.book.Cases()) == 1 })
	for _, r := range n.contain.engine.Runs() {
		if r.Alarm.Actor != who("let-in").Actor {
			continue
		}
		if _, err := NewClient(f.cfg).ReleaseRun(t.Context(), f.signer(anna), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.denied.Check(who("let-in")); err != nil {
		t.Fatalf("the second is let in: %v", err)
	}
	n.stop()

	f.clock.Store(time.Now().Add(2 * time.Minute).UnixNano()) // D1 says nothing twice in a minute
	n = f.begin()
	if n.denied.Check(who("held")) == nil || n.denied.Check(who("let-in")) != nil {
		t.Error("the restart has changed who is held")
	}
	f.bulk(n, "held")
	f.bulk(n, "let-in")
	f.until("the second is held again", func() bool { return n.denied.Check(who("let-in")) != nil })
	n.over(3)
	if got := len(n.cases.book.Cases()); got != 1 {
		t.Errorf("there are %d incidents, want the one of before", got)
	}
	if got := n.alarms.book.list(AlarmQuery{Actor: string(who("held").Actor), Detector: "D1"}); len(got) != 1 && got[0].Time.Hour() < 21 { // about then a day ends
		t.Errorf("the first has %d alarms, want 1", len(got))
	}
}

// The record has no number of a person wherever the source puts one, and nothing twice; what is torn, of somebody else, of the
// future, or not the source's business any more is left out, and stops nobody.
func TestForeignRecord(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	number := f.person(0, 0).Number.Reveal()
	n := f.begin()
	event := f.look(f.now(), "doctor-"+number, "file/"+strings.ToLower(number)+"/2", number)
	f.send(n, event)
	f.send(n, event) // it had no answer
	f.send(n, f.look(f.now(), "nurse", "", "a pseudonym"))
	path := f.cfg.fedPath(foreignName)
	n.stop()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); strings.Count(text, "\n") != 2 || strings.Contains(strings.ToUpper(text), number[1:]) || strings.Contains(text, "a pseudonym") {
		t.Fatalf("the record is %q", text)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the record's mode is %v, %v", st.Mode(), err)
	}
	if strings.Contains(f.log.String(), number) {
		t.Error("the log has the number")
	}
	first, _, _ := strings.Cut(string(data), "\n")
	stop := time.Now().UTC()
	for _, bad := range [][2]string{
		{`"gate":"feed:` + foreignName, `"gate":"` + f.cfg.Domain},
		{`"service":"epa"`, `"service":"desk"`},
		{f.insurer, "108018007"},
		{`"actor_role":"staff"`, `"actor_role":"machine"`},
		{`"actor":"` + foreignName + "/", `"actor":"`},
		{`"credential":"` + foreignName + "/", `"credential":"`},
		{`"received":"` + stop.Format("2006"), `"received":"` + stop.AddDate(1, 0, 0).Format("2006")},
	} {
		line := strings.ReplaceAll(first, bad[0], bad[1])
		if line == first {
			t.Fatalf("%s is not in %s", bad[0], first)
		}
		data = append(append(data, line...), '\n')
	}
	if err := os.WriteFile(path, append(data, first[:40]...), 0o600); err != nil {
		t.Fatal(err)
	}
	n = f.begin()
	if got := n.WatchStatus().Counts.Events; got != 2 {
		t.Errorf("%d events are read again, want 2", got)
	}
	f.send(n, event)
	if c := n.WatchStatus().Counts; c.Duplicates != 1 {
		t.Errorf("an event that is in the record comes again: %+v", c)
	}
	if !strings.Contains(f.log.String(), "lines=7") {
		t.Error("the log does not say how many lines were left out")
	}
	n.stop()

	if err := os.WriteFile(path, append(data, make([]byte, 5000)...), 0o600); err != nil { // as a power cut may leave it
		t.Fatal(err)
	}
	n = f.begin()
	if got := n.WatchStatus().Counts.Events; got != 2 {
		t.Errorf("of a record with a damaged end %d events are read again, want 2", got)
	}
	f.send(n, f.look(f.now(), "nurse", "", "b"))
	if got := f.read("data/fed/" + foreignName + ".ndjson"); strings.Count(got, "\n") != 1 {
		t.Errorf("the record begun behind it is %q", got)
	}
}

// A record for which there is no room makes nobody blind: events are taken and looked at, and it is said that the next start will
// not know them. When there is room again they are kept again.
func TestForeignRecordWithoutRoom(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	n := f.begin()
	f.send(n, f.look(f.now(), "nurse", "", "a"))
	n.stop()
	path := f.cfg.fedPath(foreignName)
	if err := os.Rename(path, rotated(path, 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	n = f.begin()
	var events strings.Builder
	for range 21 {
		events.WriteString(f.look(f.now(), "nurse", "", fmt.Sprint("p", f.seq)))
	}
	if taken := f.send(n, events.String()); taken.NotKept != 21 {
		t.Errorf("the source is told that %d events are not kept, want 21", taken.NotKept)
	}
	f.until("the detectors have seen them", func() bool { return len(n.alarms.book.list(AlarmQuery{Detector: "D1"})) == 1 })
	if s := n.WatchStatus().Feeds[foreignName]; s.Taken != 21 || s.NotKept != 21 {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(f.log.String(), "ALARM: events of a foreign source are not kept") || !strings.Contains(f.log.String(), "no space left on device") {
		t.Error("the log does not say that they are not kept")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if taken := f.send(n, f.look(f.now(), "nurse", "", "b")); taken.NotKept != 0 {
		t.Errorf("with room again %d events are not kept", taken.NotKept)
	}
	n.stop()
	n = f.begin()
	if got := n.WatchStatus().Counts.Events; got != 2 {
		t.Errorf("%d events are read again, want the first and the last", got)
	}
}

// The record leaves room on the disk for what is needed more, and is bounded.
func TestForeignRecordIsBounded(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	f.cfg.Watch.Record = 64 << 10
	n := f.begin()
	path := f.cfg.fedPath(foreignName)
	for range 30 {
		var events strings.Builder
		for range 10 {
			events.WriteString(f.look(f.now(), "nurse", "case", fmt.Sprint("p", f.seq%7)))
		}
		f.send(n, events.String())
	}
	n.stop()
	total := int64(0)
	entries, err := os.ReadDir(f.cfg.Data + "/" + fedDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			total += st.Size()
		}
	}
	if len(entries) != fedKeep+1 || total > 64<<10 || total < 32<<10 {
		t.Errorf("%d files of %d bytes", len(entries), total)
	}
	n = f.begin()
	if got := n.WatchStatus().Counts; got.Events < 60 || got.Events > 200 || got.Lost != 0 {
		t.Errorf("read again: %+v", got)
	}
	n.stop()
	f.cfg.Intake.Segment = 1 << 50 // so much is free on no disk
	record := &feed{cfg: f.cfg.Watch.Feeds[0]}
	if err := (&Node{cfg: f.cfg, opt: f.opt, log: f.opt.Log}).openRecord(record); err != nil {
		t.Fatal(err)
	}
	record.keep(&querschott.Access{Seq: 1, Gate: record.gate(), Time: f.now(), Outcome: "success"})
	if lost := record.kept(0); lost != 1 {
		t.Errorf("%d events are not kept, want 1", lost)
	}
	before, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(before), `"seq":1,`) {
		t.Errorf("it was written: %v", err)
	}
}

// An alarm that is raised when the node stops is heard: after the next start it counts as told.
func TestAlarmsAtTheEndAreHeard(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	n := f.begin()
	for i := range 40 {
		f.bulk(n, fmt.Sprint("thief-", i))
	}
	n.stop()
	n = f.begin()
	if got := len(n.alarms.book.list(AlarmQuery{Detector: "D1", Most: 100})); got != 40 {
		t.Errorf("%d alarms are written down, want 40", got)
	}
	if got := n.WatchStatus().ByName["D1"]; got != 0 {
		t.Errorf("%d alarms are raised again", got)
	}
}

// BenchmarkRelearn starts a node with a foreign source's record of 60 days and measures how long it is until the early warning is
// ready.
func BenchmarkRelearn(b *testing.B) {
	f := &foreign{house: newHouse(b, 1)}
	f.opt.Log, f.insurer = nil, string(f.world.Insurers()[0].IK)
	f.cfg.HTTP.Machines = []Machine{{Name: foreignName, Pins: []string{strings.Repeat("0", 64)}, Role: "partner", Services: []string{"epa"}}}
	f.cfg.Watch.Feeds = []FeedConfig{{Machine: foreignName, Insurers: []string{f.insurer}, Services: []string{"epa"}}}
	events := long(300_000, 2_000_000)
	if err := os.MkdirAll(f.cfg.Data+"/"+fedDir, 0o700); err != nil {
		b.Fatal(err)
	}
	file, err := os.OpenFile(f.cfg.fedPath(foreignName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewWriterSize(file, 1<<20)
	begin, step := time.Now().UTC().AddDate(0, 0, -60), 60*24*time.Hour/time.Duration(events+1)
	blind := blinder{make([]byte, 32)}
	for i := range events {
		at := begin.Add(time.Duration(i) * step)
		e := querschott.Access{
			Seq: uint64(i + 1), Gate: "feed:" + foreignName, Time: at, Received: at.Add(time.Second), Service: querschott.EPA, Insurer: querschott.IK(f.insurer),
			Tenant: querschott.IK(f.insurer), Actor: querschott.Actor(fmt.Sprintf("%s/clerk-%d", foreignName, i%3001)), Role: querschott.RoleStaff, Action: "read",
			Credential: querschott.CredentialID(fmt.Sprintf("%s/c:clerk-%d", foreignName, i%3001)), Query: "GET person", Person: blind.person(fmt.Sprint(i*7919%1_000_003), begin),
			Records: 1, Bytes: 900, Status: 200, Outcome: "success", RequestID: fmt.Sprint("r", i), Address: "10.0.0.1", Took: 900,
		}
		if i%33 != 0 {
			e.ReasonRef = fmt.Sprint("case-", i)
		}
		line, err := json.Marshal(&e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := lines.Write(append(line, '\n')); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(lines.Flush(), file.Close()); err != nil {
		b.Fatal(err)
	}
	size, err := os.Stat(file.Name())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		n := f.open()
		b.StartTimer()
		n.learn(b.Context())
		b.StopTimer()
		if got := n.WatchStatus().Counts.Events; got != uint64(events) {
			b.Fatalf("%d events are read again, want %d", got, events)
		}
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(size.Size())*float64(b.N)/b.Elapsed().Seconds()/1e6, "MB/s")
}

// A canary that the configuration names is known under the name that a foreign source's persons have here.
func TestForeignCanary(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	f.cfg.Watch.Canaries = f.dir + "/canaries.txt"
	if err := os.WriteFile(f.cfg.Watch.Canaries, []byte("nobody\nnowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := f.begin()
	f.send(n, f.look(f.now(), "nurse", "case", "somebody")+f.look(f.now(), "nurse", "case", "nobody")+f.look(f.now(), "nurse", "case", "nowhere"))
	if got := n.WatchStatus().ByName["D3"]; got != 2 {
		t.Errorf("%d alarms of D3, want one for each touch", got)
	}
}
