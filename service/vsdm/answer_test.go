package vsdm

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/wire/vsd"
)

// A first check gives the record, a second one with the tag of the first says that nothing has changed, and one after a
// change gives the new record. Each of them has its own check number.
func TestCheckOnline(t *testing.T) {
	for _, format := range formats {
		t.Run(format.MediaType(), func(t *testing.T) {
			w := newWorld(t)
			record := w.insure(statutory, anna)
			r := w.request(statutory, anna)
			r.Header.Set("Accept", format.MediaType())
			first := w.ask(r)
			if first.Status != http.StatusOK {
				t.Fatalf("status %d: %s", first.Status, first.Body)
			}
			want := http.Header{
				"Content-Type": {format.MediaType() + ";charset=utf-8"}, "Cache-Control": {"no-store, private"}, "Vary": {"Accept"},
				"Etag": first.Header["Etag"], "Vsdm-Pz": first.Header["Vsdm-Pz"],
			}
			if d := cmp.Diff(want, first.Header); d != "" {
				t.Errorf("header: %s", d)
			}
			etag := first.Header.Get("ETag")
			if len(etag) != 66 || etag[0] != '"' || !isHex(etag[1:65]) || strings.ToLower(etag) != etag {
				t.Errorf("ETag: %s", etag)
			}
			got, envelope, err := vsd.ParseBundle(first.Body, format)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Encode(), record.Encode()) {
				t.Error("the bundle is not the record")
			}
			if envelope.Created != vsd.InstantOf(spring) {
				t.Errorf("the bundle was made at %s", envelope.Created)
			}

			w.later(time.Hour)
			r.Header.Set("If-None-Match", etag)
			second := w.ask(r)
			if second.Status != http.StatusNotModified || second.Body != nil || second.Header.Get("ETag") != etag || second.Header.Get("Content-Type") != "" {
				t.Errorf("unchanged: status %d, %d bytes, %v", second.Status, len(second.Body), second.Header)
			}
			if w.number(first).URL() == w.number(second).URL() {
				t.Error("two checks have the same number")
			}

			record.Patient.Name.Text += " geändert"
			record.Updated = vsd.InstantOf(w.clock())
			if change, err := w.s.Put(compartment(statutory), insured.Entry{Record: record}); err != nil || change != Replaced {
				t.Fatal(change, err)
			}
			third := w.ask(r)
			if third.Status != http.StatusOK || third.Header.Get("ETag") == etag {
				t.Errorf("changed: status %d, the tag is the same: %t", third.Status, third.Header.Get("ETag") == etag)
			}
		})
	}
}

// Every number verifies, for its person only, and says whether the card was blocked.
func TestNumbersVerify(t *testing.T) {
	w := newWorld(t)
	record := w.insure(statutory, anna)
	value, err := pruefziffer.CardValueOf(record.Coverage.Period.Start.Compact(), record.Street())
	if err != nil {
		t.Fatal(err)
	}
	n := w.number(w.ask(w.request(statutory, anna)))
	facts, err := w.numbers.Verify(n, pruefziffer.Claim{Person: anna, Value: &value, Strict: true}, w.clock())
	if err != nil || facts.KeyVersion != 2 || facts.Person != anna {
		t.Errorf("%v, %v", facts, err)
	}
	if _, err := w.numbers.Verify(n, pruefziffer.Claim{Person: both}, w.clock()); !errors.Is(err, pruefziffer.ErrOther) {
		t.Errorf("for another person: %v", err)
	}
	before := w.ask(w.request(statutory, anna)).Header.Get("ETag")
	if err := w.s.Block(statutory, anna, true); err != nil {
		t.Fatal(err)
	}
	a := w.ask(w.request(statutory, anna))
	if _, err := w.numbers.Verify(w.number(a), pruefziffer.Claim{Person: anna}, w.clock()); !errors.Is(err, pruefziffer.ErrBlocked) {
		t.Errorf("with a blocked card: %v", err)
	}
	if a.Header.Get("ETag") != before {
		t.Error("blocking a card has changed the record's tag")
	}
}

// The tag is the same after a restart and on another node with the same record, and differs between versions, formats and
// persons.
func TestTagsAreDeterministic(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	tags := map[string]bool{}
	for _, v := range w.cfg.Versions {
		for _, f := range formats {
			for _, person := range []querschott.KVNR{anna, both} {
				w.insure(statutory, person)
				other.insure(statutory, person)
				r := w.request(statutory, person)
				r.Header.Set("Accept", f.MediaType())
				r.Query.Set("profileVersion", string(v))
				etag := w.ask(r).Header.Get("ETag")
				if tags[etag] {
					t.Error("two answers have the same tag")
				}
				tags[etag] = true
				w.later(time.Minute)
				w.restart()
				if again := w.ask(r).Header.Get("ETag"); again != etag {
					t.Error("the tag has changed with a restart")
				}
				if there := other.ask(r).Header.Get("ETag"); there != etag {
					t.Error("another node has another tag")
				}
			}
		}
	}
}

// The same number of a person is insured at two insurers in the published bundles. Each answers with its own record.
func TestTenantsAreSeparate(t *testing.T) {
	w := newWorld(t)
	bodies := map[querschott.IK][]byte{}
	for name, data := range shared(t, "bundles") {
		record, _, err := vsd.ParseBundle(data, vsd.JSON)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ik := record.Payors[0].IK
		if record.Patient.Number != both {
			continue
		}
		if _, err := w.s.Put(compartment(ik), insured.Entry{Record: record}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bodies[ik] = record.Encode()
	}
	if len(bodies) != 2 {
		t.Fatalf("the person is insured at %d insurers", len(bodies))
	}
	for ik, want := range bodies {
		a := w.ask(w.request(ik, both))
		got, _, err := vsd.ParseBundle(a.Body, vsd.JSON)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Encode(), want) {
			t.Errorf("IK %s answers with another record", ik)
		}
	}
	// With the door of one shut, the other one answers.
	w.shut(statutory)
	if _, err := w.s.Answer(t.Context(), w.request(statutory, both)); querschott.CodeOf(err) != querschott.CodeDoorHeld {
		t.Errorf("a shut door: %v", err)
	}
	if a := w.ask(w.request(private, both)); a.Status != http.StatusOK {
		t.Errorf("status %d", a.Status)
	}
}

// Somebody whom another insurer knows and somebody whom nobody knows get the same answer, for the same work.
func TestUnknownPersonsAreAlike(t *testing.T) {
	w := newWorld(t)
	w.insure(private, anna)
	w.insure(merged, both)
	for _, tc := range []struct {
		what   string
		ik     querschott.IK
		person querschott.KVNR
	}{
		{"another insurer's", statutory, anna},
		{"the same insurer's at another IK", statutory, both},
		{"nobody's", statutory, missing},
	} {
		clear(w.asked)
		a := w.ask(w.request(tc.ik, tc.person))
		if a.Status != http.StatusNotFound || w.code(a) != vsd.UnknownKVNR {
			t.Errorf("%s: status %d, %s", tc.what, a.Status, a.Body)
		}
		neutral := bytes.ReplaceAll(a.Body, []byte(tc.person.Reveal()), []byte(missing.Reveal()))
		want := w.ask(w.request(statutory, missing)).Body
		if !bytes.Equal(neutral, want) {
			t.Errorf("%s: the answer differs by more than the number", tc.what)
		}
		if w.asked[private] != 0 {
			t.Errorf("%s: another insurer's cell was asked", tc.what)
		}
		if a.Facts.Person != tc.person || a.Facts.Cause != ledger.ReasonNotThere || a.Facts.Outcome != ledger.OutcomeDenied || a.Facts.Records != 0 {
			t.Errorf("%s: facts %+v", tc.what, a.Facts)
		}
		if a.Header.Get("VSDM-Pz") != "" || a.Header.Get("ETag") != "" {
			t.Errorf("%s: header %v", tc.what, a.Header)
		}
	}
	if n := len(numbersIn(t, w.issues)); n > 0 {
		t.Errorf("%d numbers were issued", n)
	}
}

// What the gate says of the insurer and what the proof says must agree.
func TestInsurerOfGateAndProof(t *testing.T) {
	w := newWorld(t)
	w.insure(private, anna)
	w.insure(statutory, anna)
	r := w.request(private, anna)
	r.Compartment = compartment(statutory)
	if a := w.ask(r); w.code(a) != vsd.UnknownIK {
		t.Errorf("another insurer's compartment: status %d", a.Status)
	}
	r.Compartment = querschott.Compartment{Service: querschott.VSDM}
	if a := w.ask(r); w.code(a) != vsd.UnknownIK {
		t.Errorf("no compartment: status %d", a.Status)
	}
	w.insure(merged, both)
	if a := w.ask(w.request(merged, both)); a.Status != http.StatusOK {
		t.Errorf("an insurer's second IK: status %d", a.Status)
	}
}

func TestFacts(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	r := w.request(statutory, anna)
	first := w.ask(r)
	r.Header.Set("If-None-Match", first.Header.Get("ETag"))
	second := w.ask(r)
	for _, tc := range []struct {
		what    string
		facts   any
		fields  string
		records uint32
	}{
		{"200", first.Facts, FieldsMasterData, 1},
		{"304", second.Facts, FieldsCheck, 0},
	} {
		f := first.Facts
		if tc.what == "304" {
			f = second.Facts
		}
		if f.Action != ledger.ActionRead || f.Data != ledger.DataInsured || f.Purpose != ledger.PurposeTreatment || f.Person != anna ||
			f.Fields != tc.fields || f.Records != tc.records || f.Outcome != ledger.OutcomeSuccess || f.Cause != ledger.ReasonNone ||
			f.Reason != "popp:07"+strings.Repeat("00", 31) {
			t.Errorf("%s: %+v", tc.what, f)
		}
		if len(f.Detail) != 2 || f.Detail[0].Name != "number" || len(f.Detail[0].Value) != 64 || f.Detail[1].Value != "X2" {
			t.Errorf("%s: detail %v", tc.what, f.Detail)
		}
	}
	if first.Facts.Detail[0] == second.Facts.Detail[0] {
		t.Error("two numbers have the same hash")
	}
}

// A door that shuts while an answer is made is obeyed, also if it opens again at once.
func TestDoorShutsMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	for _, tc := range []struct {
		what      string
		meanwhile func() // after the vault was given, before the answer is
		want      querschott.Code
	}{
		{"nothing", func() {}, ""},
		{"shut", func() { w.shut(statutory) }, querschott.CodeDoorHeld},
		{"shut and opened", func() { w.shut(statutory); w.open(statutory) }, querschott.CodeDoorClosed},
		{"opened again without shutting", func() { w.open(statutory) }, querschott.CodeDoorClosed},
	} {
		w.open(statutory)
		w.s = w.other(func(c *Config) { c.Vault = w.vault })
		w.insure(statutory, anna)
		asked := 0
		s := w.other(func(c *Config) {
			c.Vault = func(c querschott.Compartment) (*cell.Vault, error) {
				v, err := w.vault(c)
				if asked++; asked == 1 {
					tc.meanwhile()
				}
				return v, err
			}
		})
		a, err := s.Answer(t.Context(), w.request(statutory, anna))
		if tc.want == "" && (err != nil || a.Status != http.StatusOK) || tc.want != "" && (a != nil || querschott.CodeOf(err) != tc.want) {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
}

// Many callers, writers and orders to the door at the same time: every answer is the record or a refusal, and what is asked
// after a shutting has returned is refused.
func TestConcurrency(t *testing.T) {
	w := newWorld(t)
	record := *w.insure(statutory, anna)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a, err := w.s.Answer(t.Context(), w.request(statutory, anna))
				if err == nil && a.Status != http.StatusOK || err != nil && querschott.CodeOf(err) != querschott.CodeDoorHeld && querschott.CodeOf(err) != querschott.CodeDoorClosed {
					t.Errorf("%v", err)
					return
				}
				r := record
				r.Patient.Name.Text = fmt.Sprintf("Anna %d %d", i, n)
				if _, err := w.s.Put(compartment(statutory), insured.Entry{Record: &r}); err != nil && querschott.CodeOf(err) == querschott.CodeInternal {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	for range 50 {
		if a := w.ask(w.request(statutory, anna)); a.Status != http.StatusOK {
			t.Errorf("open: status %d", a.Status)
		}
		w.mu.Lock()
		delete(w.vaults, compartment(statutory)) // the keys are kept, so that the door can open again
		w.mu.Unlock()
		if a, err := w.s.Answer(t.Context(), w.request(statutory, anna)); a != nil || querschott.CodeOf(err) != querschott.CodeDoorHeld {
			t.Errorf("shut: %v", err)
		}
		w.open(statutory)
	}
	close(stop)
	group.Wait()
}

// A failure of ours is the standard's internal error. No number leaves that the issue log does not have, and nothing of the
// cause is in the answer.
func TestOwnFailures(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	for _, tc := range []struct {
		what  string
		spoil func(*Config)
	}{
		{"the secret of the issue log", func(c *Config) {
			c.Secret = func(querschott.IK) ([]byte, error) { return nil, errors.New("the key file is away") }
		}},
		{"a short secret", func(c *Config) {
			c.Secret = func(querschott.IK) ([]byte, error) { return make([]byte, 31), nil }
		}},
		{"the issue log", func(c *Config) {
			issues := celltest.NewMemory()
			issues.FailNext(celltest.Undone)
			c.Issues = issues
		}},
		{"the keys of numbers", func(c *Config) {
			c.Numbers = numberKeys(t, 'X', 9)
			c.Numbers.Forget()
		}},
	} {
		cfg := w.cfg
		tc.spoil(&cfg)
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Answer(t.Context(), w.request(statutory, anna))
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != http.StatusInternalServerError || w.code(a) != vsd.InternalError || a.Facts.Outcome != ledger.OutcomeFailed ||
			a.Facts.Cause != ledger.ReasonOwnFailure || a.Header.Get("VSDM-Pz") != "" || bytes.Contains(a.Body, []byte("away")) {
			t.Errorf("%s: status %d, %v, %s", tc.what, a.Status, a.Facts, a.Body)
		}
	}
	if log := w.logged.String(); !strings.Contains(log, "the key file is away") || strings.Contains(log, anna.Reveal()) {
		t.Errorf("log: %s", log)
	}
}

func TestOtherPaths(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", Path, anna.Reveal()} {
		r := w.request(statutory, anna)
		r.Path = path
		if a, err := w.s.Answer(t.Context(), r); a != nil || querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("%s: %v", path, err)
		}
		r.Method = http.MethodPut
		if a, err := w.s.Early(t.Context(), r); a != nil || err != nil {
			t.Errorf("%s, early: %v", path, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for what, spoil := range map[string]func(*Config){
		"a version":     func(c *Config) { c.Versions = []vsd.Version{"2.0"} },
		"no vaults":     func(c *Config) { c.Vault = nil },
		"no issue log":  func(c *Config) { c.Issues = nil },
		"no numbers":    func(c *Config) { c.Numbers = nil },
		"one IK twice":  func(c *Config) { c.Tenants = append(c.Tenants, Tenant{Insurer: merged}) },
		"a false IK":    func(c *Config) { c.Tenants = []Tenant{{Insurer: "103169761"}} },
		"a false IK, 2": func(c *Config) { c.Tenants = []Tenant{{statutory, []querschott.IK{"1"}}} },
	} {
		cfg := w.cfg
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
