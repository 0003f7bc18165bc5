package ident

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

const (
	insurerA = querschott.IK("109500969")
	insurerB = querschott.IK("103169760")
)

func openRevocations(t testing.TB, fs disk.FS, now func() time.Time) *Revocations {
	t.Helper()
	r, err := OpenRevocations(fs, "denied.json", now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func deny(d Dimension, value string) Revocation {
	return Revocation{Dimension: d, Value: value, Reason: "stolen", Actors: []querschott.Actor{"anna@example"}}
}

func mustAdd(t testing.TB, r *Revocations, list ...Revocation) {
	t.Helper()
	if err := r.Add(list...); err != nil {
		t.Fatal(err)
	}
}

// request is what a practice's request looks like; every field is another value.
func request(clk *clock) Facts {
	return Facts{
		Subject: "3-SMC-B-Testkarte-883110000168650", Client: "client-1", Session: "sid-1", Token: "jti-1", Actor: "109500969/c.mueller", Credential: "zeta/77",
		Key: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Product: "praxis-x", Version: "4.2.1", Issuer: "https://pdp.example",
		Network: "192.0.2.77", PresenceIssuer: "https://popp.example.com", PresenceIssued: clk.now().Add(-time.Hour),
		PresenceProved: clk.now().Add(-2 * time.Hour), Insurer: insurerA,
	}
}

func TestEachDimension(t *testing.T) {
	for _, tc := range []struct {
		name   string
		entry  Revocation
		denied bool
		other  func(*Facts) // makes a request that the entry does not name
	}{
		{"subject", deny(BySubject, "3-SMC-B-Testkarte-883110000168650"), true, func(f *Facts) { f.Subject += "1" }},
		{"actor", deny(ByActor, "109500969/c.mueller"), true, func(f *Facts) { f.Actor = "103169760/c.mueller" }},
		{"credential", deny(ByCredential, "zeta/77"), true, func(f *Facts) { f.Credential = "zeta/78" }},
		{"client", deny(ByClient, "client-1"), true, func(f *Facts) { f.Client = "client-2" }},
		{"session", deny(BySession, "sid-1"), true, func(f *Facts) { f.Session = "" }},
		{"token", deny(ByToken, "jti-1"), true, func(f *Facts) { f.Token = "jti-11" }},
		{"key", deny(ByKey, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), true, func(f *Facts) { f.Key = "x" }},
		{"product", deny(ByProduct, "praxis-x"), true, func(f *Facts) { f.Product = "praxis" }},
		{"version", deny(ByVersion, "praxis-x/4.2.1"), true, func(f *Facts) { f.Version = "4.2.2" }},
		{"version of another product", deny(ByVersion, "praxis-y/4.2.1"), false, nil},
		{"issuer", deny(ByIssuer, "https://pdp.example"), true, func(f *Facts) { f.Issuer = "https://pdp.example.org" }},
		{"address", deny(ByNetwork, "192.0.2.77"), true, func(f *Facts) { f.Network = "192.0.2.78" }},
		{"network", deny(ByNetwork, "192.0.2.99/24"), true, func(f *Facts) { f.Network = "192.0.3.77" }},
		{"network of the other family", deny(ByNetwork, "2001:db8::/32"), false, nil},
		{"presence issuer", deny(ByPresenceIssuer, "https://popp.example.com"), true, func(f *Facts) { f.PresenceIssuer = "" }},
		{"popp before", deny(ByPresenceBefore, "2026-03-02T07:00:01Z"), true, func(f *Facts) { f.PresenceIssued = f.PresenceIssued.Add(time.Second) }},
		{"popp exactly then", deny(ByPresenceBefore, "2026-03-02T07:00:00Z"), false, nil},
		{"popp before, no popp", deny(ByPresenceBefore, "2026-03-02T09:00:00Z"), true, func(f *Facts) { f.PresenceIssued = time.Time{} }},
		{"proof too old", deny(ByProofAge, "119m"), true, func(f *Facts) { f.PresenceProved = f.PresenceProved.Add(time.Minute) }},
		{"proof not too old", deny(ByProofAge, "2h"), false, nil},
		{"insurer", deny(ByInsurer, string(insurerA)), true, func(f *Facts) { f.Insurer = insurerB }},
		{"a value of another dimension", deny(ByClient, "sid-1"), false, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clk := newClock()
			r := openRevocations(t, crashdisk.New(), clk.now)
			f := request(clk)
			if err := r.Check(&f); err != nil {
				t.Fatalf("an empty list: %v", err)
			}
			mustAdd(t, r, tc.entry)
			err := r.Check(&f)
			if (err != nil) != tc.denied || err != nil && (querschott.CodeOf(err) != querschott.CodeForbidden || err.Error() != "access denied") {
				t.Fatalf("Check = %v, want denied = %v", err, tc.denied)
			}
			found, ok := r.Find(&f)
			if ok != tc.denied || ok && (found.Dimension != tc.entry.Dimension || found.Reason != "stolen") {
				t.Errorf("Find = %+v, %v", found, ok)
			}
			if tc.other == nil {
				return
			}
			if tc.other(&f); r.Check(&f) != nil {
				t.Error("a request that the entry does not name is denied")
			}
		})
	}
}

// TestSpellingOpensNoWay tries values that are the same to somebody who reads them.
func TestSpellingOpensNoWay(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	mustAdd(t, r, deny(BySubject, "Praxis-Müller"), deny(ByVersion, "Praxis-X/4.2.1-RC"), deny(ByNetwork, "192.0.2.0/24"), deny(ByNetwork, "2001:db8:1::/48"))
	for _, subject := range []string{
		"praxis-müller", "PRAXIS-MÜLLER", " Praxis-Müller\t", "Praxis-Mu\u0308ller", "Pra\u200bxis-Müller", "\ufeffPraxis-Müller",
		"Ｐraxis-Müller", "Praxis-Müller\x00", "Pra\u00adxis-Mu\u200d\u0308ller", "Praxis-Müller\ufe0f", "Praxis-Müller" + strings.Repeat(" ", 10_000),
	} {
		if r.Check(&Facts{Subject: subject}) == nil {
			t.Errorf("subject %q passes", subject[:min(len(subject), 40)])
		}
	}
	if r.Check(&Facts{Product: "PRAXIS-X ", Version: "4.2.1-rc\n"}) == nil {
		t.Error("a product in another spelling passes")
	}
	for _, network := range []string{
		"192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "2001:db8:1::1", "2001:0DB8:0001:0000::1", "2001:db8:1::1%eth0",
		"192.0.2.1:4711", "192.0.2.001", "unknown", "192.0.2.1/32", "3221225985", // what cannot be read is denied
	} {
		if r.Check(&Facts{Network: network}) == nil {
			t.Errorf("network %q passes", network)
		}
	}
	for _, f := range []Facts{{Subject: "Praxis-Muller"}, {Subject: "Praxis"}, {Product: "Praxis-X/4.2.1-RC"}, {Network: "192.0.3.1"}, {Network: "2001:db8:2::1"}, {}} {
		if err := r.Check(&f); err != nil {
			t.Errorf("%+v is denied", f)
		}
	}
}

func TestForOneInsurerOnly(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	entry := deny(BySubject, "1-practice")
	entry.Insurer = insurerA
	mustAdd(t, r, entry)
	for insurer, denied := range map[querschott.IK]bool{insurerA: true, insurerB: false, "": false} {
		if got := r.Check(&Facts{Subject: "1-practice", Insurer: insurer}) != nil; got != denied {
			t.Errorf("insurer %q: denied = %v, want %v", insurer, got, denied)
		}
	}
}

func TestPresenceOfOneSubjectOnly(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	before := deny(ByPresenceBefore, clk.now().Format(time.RFC3339))
	before.Subject = "1-Robbed"
	age := deny(ByProofAge, "24h")
	age.Subject = "1-Slow"
	mustAdd(t, r, before, age)
	old := clk.now().Add(-48 * time.Hour)
	for subject, denied := range map[string]bool{"1-robbed": true, "1-ROBBED ": true, "1-slow": true, "1-other": false, "": false} {
		if got := r.Check(&Facts{Subject: subject, PresenceIssued: old, PresenceProved: old}) != nil; got != denied {
			t.Errorf("subject %q: denied = %v, want %v", subject, got, denied)
		}
	}
	if r.Check(&Facts{Subject: "1-robbed", PresenceIssued: clk.now(), PresenceProved: clk.now()}) != nil {
		t.Error("a new token of the robbed practice is denied")
	}
}

func TestInForceFromUntil(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	entry := deny(BySession, "sid-1")
	entry.From, entry.Until = clk.now().Add(time.Minute), clk.now().Add(2*time.Minute)
	mustAdd(t, r, entry)
	f := Facts{Session: "sid-1"}
	for i, denied := range []bool{false, true, false} {
		if got := r.Check(&f) != nil; got != denied {
			t.Errorf("after %d minutes: denied = %v, want %v", i, got, denied)
		}
		clk.advance(time.Minute)
	}
	gone := deny(BySession, "sid-0")
	gone.From, gone.Until = clk.now().Add(-2*time.Minute), clk.now().Add(-time.Minute)
	if err := r.Remove(entry); err != nil {
		t.Errorf("an entry whose time is over cannot be taken off: %v", err)
	}
	if err := r.Remove(gone); err == nil {
		t.Error("an entry that was never there was taken off")
	}
	mustAdd(t, r, entry, deny(BySession, "sid-2"))
	if list := r.List(); len(list) != 1 || list[0].Value != "sid-2" {
		t.Errorf("entries that are over stay: %+v", list)
	}
}

// TestClockThatGoesBackLiftsNothing sets the clock back behind the begin of an entry, and reads the list again.
func TestClockThatGoesBackLiftsNothing(t *testing.T) {
	clk, fs := newClock(), crashdisk.New()
	r := openRevocations(t, fs, clk.now)
	mustAdd(t, r, deny(BySession, "sid-1"))
	clk.advance(-time.Hour)
	f := Facts{Session: "sid-1"}
	if r.Check(&f) == nil {
		t.Error("an hour before it was entered it is lifted")
	}
	if openRevocations(t, fs, clk.now).Check(&f) == nil {
		t.Error("after a restart it is lifted")
	}
}

// TestAddNeverWeakens adds an entry a second time with other bounds.
func TestAddNeverWeakens(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	long := deny(BySubject, "1-x")
	mustAdd(t, r, long)
	shorter := deny(BySubject, "1-X")
	shorter.From, shorter.Until, shorter.Actors = clk.now().Add(time.Hour), clk.now().Add(2*time.Hour), []querschott.Actor{"ben@example"}
	mustAdd(t, r, shorter)
	list := r.List()
	if len(list) != 1 || !list[0].Until.IsZero() || !list[0].From.Equal(clk.now()) || len(list[0].Actors) != 2 {
		t.Errorf("List = %+v", list)
	}
	other := shorter
	other.Run = "run-7"
	mustAdd(t, r, other)
	if err := r.Remove(other); err != nil {
		t.Fatal(err)
	}
	if r.Check(&Facts{Subject: "1-x"}) == nil {
		t.Error("the end of a playbook's run lifted the entry of a person")
	}
}

func TestEntriesThatMakeNoSense(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	change := func(fn func(*Revocation)) Revocation {
		v := deny(BySubject, "A123456780")
		fn(&v)
		return v
	}
	for name, v := range map[string]Revocation{
		"unknown dimension":    change(func(v *Revocation) { v.Dimension = "mood" }),
		"no dimension":         change(func(v *Revocation) { v.Dimension = "" }),
		"empty value":          change(func(v *Revocation) { v.Value = "" }),
		"invisible value":      change(func(v *Revocation) { v.Value = " \u200b" }),
		"long value":           change(func(v *Revocation) { v.Value = strings.Repeat("x", maxDenyValue+1) }),
		"value not UTF-8":      change(func(v *Revocation) { v.Value = "A123456780\xff" }),
		"no reason":            change(func(v *Revocation) { v.Reason = "" }),
		"no actor":             change(func(v *Revocation) { v.Actors = nil }),
		"empty actor":          change(func(v *Revocation) { v.Actors = []querschott.Actor{""} }),
		"many actors":          change(func(v *Revocation) { v.Actors = make([]querschott.Actor, maxDenyActors+1) }),
		"long run":             change(func(v *Revocation) { v.Run = strings.Repeat("x", maxDenyText+1) }),
		"end before start":     change(func(v *Revocation) { v.From, v.Until = clk.now(), clk.now().Add(-1) }),
		"insurer not an IK":    change(func(v *Revocation) { v.Insurer = "123" }),
		"subject of a subject": change(func(v *Revocation) { v.Subject = "x" }),
		"version alone":        deny(ByVersion, "4.2.1"),
		"version of nothing":   deny(ByVersion, "/4.2.1"),
		"network in words":     deny(ByNetwork, "localhost"),
		"network with zone":    deny(ByNetwork, "fe80::1%eth0"),
		"everybody":            deny(ByNetwork, "0.0.0.0/0"),
		"nearly everybody":     deny(ByNetwork, "128.0.0.0/7"),
		"everybody, IPv6":      deny(ByNetwork, "::/0"),
		"all of IPv4 as IPv6":  deny(ByNetwork, "::ffff:0.0.0.0/95"),
		"time in words":        deny(ByPresenceBefore, "yesterday"),
		"negative age":         deny(ByProofAge, "-1h"),
		"age in words":         deny(ByProofAge, "old"),
		"insurer in words":     deny(ByInsurer, "all"),
	} {
		err := r.Add(deny(BySession, "good"), v)
		if querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "A123456780") {
			t.Errorf("%s: the error shows the value: %v", name, err)
		}
	}
	if r.Epoch() != 0 || len(r.List()) != 0 {
		t.Error("part of a refused list was taken")
	}
	if err := r.Remove(deny(BySubject, "1-nobody")); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("Remove of what is not there: %v", err)
	}
}

func TestRevocationsSurviveACrashAndCrossProcesses(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	command, node := openRevocations(t, fs, clk.now), openRevocations(t, fs, clk.now)
	mustAdd(t, command, deny(BySubject, "1-x"))
	mustAdd(t, node, deny(BySubject, "1-y"))
	if err := command.Reload(); err != nil {
		t.Fatal(err)
	}
	crashed := openRevocations(t, fs.Crash(rand.New(rand.NewPCG(1, 2))), clk.now)
	for name, r := range map[string]*Revocations{"command": command, "node": node, "after a crash": crashed} {
		if diff := cmp.Diff(node.List(), r.List()); diff != "" || r.Epoch() != 2 {
			t.Errorf("%s: epoch %d, %s", name, r.Epoch(), diff)
		}
		if r.Check(&Facts{Subject: "1-x"}) == nil || r.Check(&Facts{Subject: "1-y"}) == nil {
			t.Errorf("%s: somebody passes", name)
		}
	}
}

func TestDamagedDenyListStopsTheStart(t *testing.T) {
	clk := newClock()
	fs := crashdisk.New()
	r := openRevocations(t, fs, clk.now)
	mustAdd(t, r, deny(BySubject, "A123456780"), deny(ByClient, "c"))
	data, err := disk.ReadFile(fs, "denied.json", maxDenyFile)
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	entries := good[strings.Index(good, "{\n\t\t\t"):strings.LastIndex(good, "\n\t]")]
	for name, damaged := range map[string]string{
		"empty":           "",
		"cut":             good[:len(good)/2],
		"zeros":           strings.Repeat("\x00", len(good)),
		"more at the end": good + "{}",
		"unknown field":   strings.Replace(good, `"reason"`, `"raeson"`, 1),
		"no list":         `{"epoch": 7}`,
		"null":            "null",
		"a list":          "[]",
		"twice":           strings.Replace(good, entries, entries+","+entries, 1),
		"no reason":       strings.Replace(good, "stolen", "", 1),
		"no start":        strings.Replace(good, "2026-03-02T08:00:00Z", "0001-01-01T00:00:00Z", 1),
		"dimension":       strings.Replace(good, `"client"`, `"clients"`, 1),
	} {
		if err := disk.WriteFile(fs, "denied.json", []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRevocations(fs, "denied.json", clk.now); err == nil || !strings.Contains(err.Error(), "couldn't understand deny list denied.json") || strings.Contains(err.Error(), "A123456780") {
			t.Errorf("%s: start = %v", name, err)
		}
		if err := r.Reload(); err == nil {
			t.Errorf("%s: reloaded", name)
		}
		if err := r.Add(deny(BySubject, "1-z")); err == nil {
			t.Errorf("%s: a change wrote over it", name)
		}
		if r.Check(&Facts{Subject: "A123456780"}) == nil || r.Epoch() != 1 {
			t.Errorf("%s: the list in force is gone", name)
		}
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "syncdir"} {
		fs, clk := crashdisk.New(), newClock()
		r := openRevocations(t, fs, clk.now)
		mustAdd(t, r, deny(BySubject, "1-x"))
		fs.Fail(func(o, _ string) error {
			if o == op {
				return errors.New("injected")
			}
			return nil
		})
		if err := r.Remove(deny(BySubject, "1-x")); err == nil {
			t.Errorf("%s failed and the entry was removed", op)
		}
		if r.Check(&Facts{Subject: "1-x"}) == nil || r.Epoch() != 1 {
			t.Errorf("%s failed and the entry is not in force", op)
		}
	}
}

// TestEpochRises hands a list around that somebody has set back.
func TestEpochRises(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	r := openRevocations(t, fs, clk.now)
	old := []byte(`{"epoch": 1, "revocations": []}`)
	mustAdd(t, r, deny(BySubject, "1-x"))
	mustAdd(t, r, deny(BySubject, "1-y"))
	if err := r.Reload(); err != nil || r.Epoch() != 2 {
		t.Errorf("nothing changed: epoch %d, %v", r.Epoch(), err)
	}
	if err := disk.WriteFile(fs, "denied.json", old); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err != nil || r.Epoch() != 3 || len(r.List()) != 0 {
		t.Errorf("a list that was set back: epoch %d, %v", r.Epoch(), err)
	}
	mustAdd(t, r, deny(BySubject, "1-z"))
	if r.Epoch() != 4 {
		t.Errorf("after the next change: epoch %d", r.Epoch())
	}
}

func TestOnARealDisk(t *testing.T) {
	clk, path := newClock(), filepath.Join(t.TempDir(), "denied.json")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			r, err := OpenRevocations(disk.OS{}, path, clk.now)
			if err == nil {
				err = r.Add(deny(BySubject, fmt.Sprintf("1-%d", i)))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r, err := OpenRevocations(disk.OS{}, path, clk.now)
	if err != nil || len(r.List()) != 8 || r.Epoch() != 8 {
		t.Errorf("eight commands at once left %d entries, epoch %d: %v", len(r.List()), r.Epoch(), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestCheckDuringChanges(t *testing.T) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), clk.now)
	mustAdd(t, r, deny(BySubject, "1-always"))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 50 {
				v := deny(ByToken, fmt.Sprintf("%d-%d", i, j))
				if err := r.Add(v); err != nil {
					t.Error(err)
				}
				if r.Check(&Facts{Token: v.Value}) == nil {
					t.Error("not in force on the next request")
				}
				if err := r.Remove(v); err != nil {
					t.Error(err)
				}
				if r.Check(&Facts{Token: v.Value}) != nil || r.Check(&Facts{Subject: "1-always"}) == nil {
					t.Error("another list is in force")
				}
			}
		})
	}
	all.Wait()
	if r.Epoch() != 401 {
		t.Errorf("epoch %d after 401 changes", r.Epoch())
	}
}

// manyRevocations fills the list as a large attack would.
func manyRevocations(t testing.TB) (*Revocations, Facts) {
	clk := newClock()
	r := openRevocations(t, crashdisk.New(), time.Now)
	var list []Revocation
	for i := range 1250 {
		list = append(list, deny(BySubject, fmt.Sprintf("1-%06d", i)), deny(ByClient, fmt.Sprintf("client-%06d", i)),
			deny(BySession, fmt.Sprintf("sid-%06d", i)), deny(ByToken, fmt.Sprintf("jti-%06d", i)), deny(ByKey, fmt.Sprintf("jkt-%06d", i)),
			deny(ByVersion, fmt.Sprintf("other/%06d", i)), deny(ByNetwork, fmt.Sprintf("10.%d.%d.0/%d", i/250, i%250, 24)),
			deny(ByNetwork, fmt.Sprintf("2001:db8:%x::/48", i)))
	}
	mustAdd(t, r, list...)
	if n := len(r.List()); n != 10_000 {
		t.Fatalf("%d entries", n)
	}
	return r, request(clk)
}

func TestCheckAllocatesNothing(t *testing.T) {
	r, f := manyRevocations(t)
	if n := testing.AllocsPerRun(100, func() {
		if r.Check(&f) != nil {
			t.Error("denied")
		}
	}); n != 0 {
		t.Errorf("a request that passes allocates %v times", n)
	}
	f.Network = "2001:db8:7::1"
	if n := testing.AllocsPerRun(100, func() {
		if r.Check(&f) == nil {
			t.Error("passed")
		}
	}); n != 0 {
		t.Errorf("a request that is denied allocates %v times", n)
	}
}

func BenchmarkCheck10000(b *testing.B) {
	r, f := manyRevocations(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		own := f
		for pb.Next() {
			if err := r.Check(&own); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestCheckAgainstModel compares with the plainest reading of the list.
func TestCheckAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clk := newClock()
		r, err := OpenRevocations(crashdisk.New(), "denied.json", clk.now)
		if err != nil {
			t.Fatal(err)
		}
		word := rapid.SampledFrom([]string{"a", "b", "A ", "c"})
		plain := func(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
		fields := map[Dimension]func(*Facts) string{
			BySubject: func(f *Facts) string { return f.Subject }, ByClient: func(f *Facts) string { return f.Client },
			BySession: func(f *Facts) string { return f.Session }, ByToken: func(f *Facts) string { return f.Token },
			ByKey: func(f *Facts) string { return f.Key }, ByProduct: func(f *Facts) string { return f.Product },
			ByIssuer: func(f *Facts) string { return f.Issuer }, ByPresenceIssuer: func(f *Facts) string { return f.PresenceIssuer },
		}
		names := []Dimension{BySubject, ByClient, BySession, ByToken, ByKey, ByProduct, ByIssuer, ByPresenceIssuer}
		var list []Revocation
		for range rapid.IntRange(0, 6).Draw(t, "entries") {
			v := deny(rapid.SampledFrom(names).Draw(t, "dimension"), word.Draw(t, "value"))
			v.Insurer = rapid.SampledFrom([]querschott.IK{"", insurerA, insurerB}).Draw(t, "insurer")
			v.Run = fmt.Sprint(len(list))
			v.From = clk.now().Add(time.Duration(rapid.IntRange(-2, 1).Draw(t, "from")) * time.Minute)
			if rapid.Bool().Draw(t, "ends") {
				v.Until = v.From.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "minutes")) * time.Minute)
			}
			list = append(list, v)
		}
		if err := r.Add(list...); err != nil {
			t.Fatal(err)
		}
		f := Facts{
			Subject: word.Draw(t, "subject"), Client: word.Draw(t, "client"), Session: word.Draw(t, "session"), Token: word.Draw(t, "token"),
			Key: word.Draw(t, "key"), Product: word.Draw(t, "product"), Issuer: word.Draw(t, "issuer"), PresenceIssuer: word.Draw(t, "presence issuer"),
			Insurer: rapid.SampledFrom([]querschott.IK{"", insurerA, insurerB}).Draw(t, "whose"),
		}
		want := false
		for _, v := range list {
			in := !clk.now().Before(v.From) && (v.Until.IsZero() || clk.now().Before(v.Until))
			want = want || in && plain(fields[v.Dimension](&f)) == plain(v.Value) && (v.Insurer == "" || v.Insurer == f.Insurer)
		}
		if got := r.Check(&f) != nil; got != want {
			t.Fatalf("denied = %v, want %v: %+v by %+v", got, want, f, list)
		}
	})
}

func FuzzParseRevocations(f *testing.F) {
	f.Add([]byte(`{"epoch":1,"revocations":[{"dimension":"network","value":"192.0.2.0/24","reason":"r","from":"2026-03-02T08:00:00Z","actors":["a"]}]}`))
	f.Add([]byte(`{"epoch":1,"revocations":[{"dimension":"popp-before","value":"2026-03-02T08:00:00+01:00","subject":"x","insurer":"109500969","reason":"r","from":"2026-03-02T08:00:00Z","until":"2027-03-02T08:00:00Z","actors":["a"],"run":"7"}]}`))
	f.Add([]byte(`{"epoch":1,"revocations":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseRevocations(data)
		if err != nil {
			return
		}
		fs := crashdisk.New()
		r := &Revocations{fs: fs, path: "denied.json", now: time.Now}
		if err := r.write(file); err != nil {
			t.Fatal(err)
		}
		again, err := r.read()
		if err != nil {
			t.Fatalf("what was read is not understood when written: %v", err)
		}
		if diff := cmp.Diff(file, again); diff != "" {
			t.Fatal(diff)
		}
		newDenyTable(file.Epoch, file.Revocations).find(&Facts{Subject: "x", Network: "192.0.2.1", PresenceIssued: time.Unix(0, 0)}, time.Now())
	})
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "Abc", "Müller", "ß", "ﬁ", "\u00a8x", "e\u200d\u0301", "İ", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := string(fold(nil, s))
		if twice := string(fold(nil, once)); twice != once {
			t.Errorf("%q folds to %q and then to %q", s, once, twice)
		}
		for _, same := range []string{s + " ", "\t" + s, s + "\u200b"} {
			if got := string(fold(nil, same)); got != once {
				t.Errorf("%q folds to %q, %q to %q", s, once, same, got)
			}
		}
	})
}
