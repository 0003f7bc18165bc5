package door_test

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func example() door.Order {
	return door.Order{
		Compartment: eau, Epoch: 7, From: querschott.Open, To: querschott.Closed, Inverse: querschott.Open,
		At: time.Date(2026, 11, 23, 13, 0, 0, 1000, time.UTC), Expires: time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC),
		Actor: "anna", Incident: "VF-2026-001", Reason: "Kennwort einer Sachbearbeiterin für 300 € angeboten",
	}
}

const exampleText = `querschott-door/v1
compartment 109500969/eau
epoch 7
from open
to closed
inverse open
at 2026-11-23T13:00:00.000001Z
expires 2026-11-24T13:00:00.000000Z
actor anna
incident VF-2026-001
reason Kennwort einer Sachbearbeiterin für 300 € angeboten
`

func TestOrderText(t *testing.T) {
	if diff := cmp.Diff(exampleText, example().Text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	got, err := door.ParseOrder(exampleText)
	if diff := cmp.Diff(example(), got); err != nil || diff != "" {
		t.Errorf("parsed: %v (-want +got):\n%s", err, diff)
	}
}

// TestOneTextPerOrder changes the example in ways that a reader might not notice.
func TestOneTextPerOrder(t *testing.T) {
	for name, change := range map[string][2]string{
		"leading zero":         {"epoch 7", "epoch 07"},
		"epoch zero":           {"epoch 7", "epoch 0"},
		"epoch with sign":      {"epoch 7", "epoch +7"},
		"epoch too large":      {"epoch 7", "epoch 18446744073709551616"},
		"other header":         {"/v1", "/v2"},
		"two states":           {"to closed\n", "to closed\nto open\n"},
		"unknown line":         {"to closed\n", "to closed\nand open\n"},
		"lines swapped":        {"from open\nto closed\n", "to closed\nfrom open\n"},
		"line missing":         {"inverse open\n", ""},
		"unknown state":        {"to closed", "to ajar"},
		"capitals":             {"to closed", "to Closed"},
		"two spaces":           {"to closed", "to  closed"},
		"trailing space":       {"angeboten", "angeboten "},
		"carriage return":      {"to closed\n", "to closed\r\n"},
		"wrong check digit":    {"109500969", "109500968"},
		"unknown service":      {"/eau", "/EAU"},
		"time zone":            {"13:00:00.000001Z", "14:00:00.000001+01:00"},
		"milliseconds":         {".000001Z", ".001Z"},
		"comma in time":        {".000001Z", ",000001Z"},
		"no such day":          {"2026-11-23", "2026-11-31"},
		"zero time":            {"2026-11-24T13:00:00.000000Z", "0001-01-01T00:00:00.000000Z"},
		"no actor":             {"actor anna", "actor -"},
		"no reason":            {"reason Kennwort einer Sachbearbeiterin für 300 € angeboten", "reason -"},
		"text after":           {"angeboten\n", "angeboten\n\n"},
		"no newline at end":    {"angeboten\n", "angeboten"},
		"turns direction":      {"Kennwort", "\u202eKennwort"},
		"hidden space":         {"Kennwort", "Kenn\u200bwort"},
		"hidden filler":        {"Kennwort", "Kenn\u3164wort"},
		"variation selector":   {"Kennwort", "Kenn\ufe0fwort"},
		"no-break space":       {"Kennwort ", "Kennwort\u00a0"},
		"line separator":       {"Kennwort", "Kennwort\u2028to open"},
		"control":              {"Kennwort", "\x1b[2KKennwort"},
		"not UTF-8":            {"Kennwort", "Kenn\xffwort"},
		"reason too long":      {"Kennwort", strings.Repeat("K", door.MaxReason)},
		"incident too long":    {"VF-2026-001", strings.Repeat("V", door.MaxIncident+1)},
		"actor too long":       {"actor anna", "actor " + strings.Repeat("a", 65)},
		"much too long":        {"Kennwort", strings.Repeat("K", 1<<20)},
		"spaces before reason": {"reason Kenn", "reason  Kenn"},
	} {
		text := strings.Replace(exampleText, change[0], change[1], 1)
		if text == exampleText {
			t.Errorf("%s: the example was not changed", name)
		}
		if o, err := door.ParseOrder(text); err == nil || querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: got %+v, %v; want it refused as invalid", name, o, err)
		}
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add(exampleText)
	f.Add(strings.Replace(exampleText, "2026-11-24T13:00:00.000000Z", "-", 1))
	f.Fuzz(func(t *testing.T, text string) {
		o, err := door.ParseOrder(text)
		if err != nil {
			return
		}
		if o.Text() != text {
			t.Errorf("parsed %q, which is written %q", text, o.Text())
		}
		if o.Actor == "" || o.Reason == "" || o.Epoch == 0 || strings.Count(text, "\n") != 11 {
			t.Errorf("%+v was accepted", o)
		}
	})
}

// FuzzSubmit has no keys but whatever is in its seeds: nothing that it makes of them may open a door.
func FuzzSubmit(f *testing.F) {
	h := newHouse(f)
	cfg := h.config()
	b := h.open()
	o, err := b.Draft(request(eau, querschott.Open), "anna")
	if err != nil {
		f.Fatal(err)
	}
	closing, err := b.Draft(request(vsdm, querschott.Closed), "querschott")
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range [][]byte{
		nil, h.signed(o, "anna"), h.signed(o, "anna", "anna card"), h.signed(o, "anna", "stranger"), h.signed(o, "anna", "querschott"),
		h.signed(o, "bob", "anna"), h.signed(closing, "querschott"), []byte(o.Text()),
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg.FS, cfg.Record = crashdisk.New(), func(context.Context, door.Order) error { return nil }
		b, err := door.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out, err := b.Submit(t.Context(), raw)
		if b.State(eau) != querschott.Hold || b.State(vsdm).ServesReads() {
			t.Errorf("%q: the doors are %s and %s", raw, b.State(eau), b.State(vsdm))
		}
		if (err == nil) == (out == door.Outcome{}) {
			t.Errorf("%q: got %+v, %v", raw, out, err)
		}
		if err != nil && querschott.CodeOf(err) == querschott.CodeInternal {
			t.Errorf("%q: %v has no code", raw, err)
		}
	})
}

// TestRoster refuses names and keys with which one person could pass for two, or for the platform.
func TestRoster(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	vkey := func(name string) string {
		v, err := note.NewEd25519VerifierKey(name, public)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	type ops = []door.Operator
	for name, operators := range map[string]ops{
		"no name":                  {{Name: "", Keys: []string{vkey("dora@example")}}},
		"the platform's name":      {{Name: "querschott", Keys: []string{vkey("dora@example")}}},
		"two lines":                {{Name: "dora\nto open", Keys: []string{vkey("dora@example")}}},
		"two names":                {{Name: "dora, emil", Keys: []string{vkey("dora@example")}}},
		"too long":                 {{Name: querschott.Actor(strings.Repeat("d", 65)), Keys: []string{vkey("dora@example")}}},
		"not a key":                {{Name: "dora", Keys: []string{"dora"}}},
		"platform's key name":      {{Name: "dora", Keys: []string{vkey("querschott@example")}}},
		"same key, two operators":  {{Name: "dora", Keys: []string{vkey("dora@example")}}, {Name: "emil", Keys: []string{vkey("emil@example")}}},
		"same key name":            {{Name: "dora", Keys: []string{vkey("anna@example")}}, {Name: "anna", Keys: []string{keys()["anna"].vkey}}},
		"same key, other spelling": {{Name: "dora", Keys: []string{vkey("dora@example")}}, {Name: "emil", Keys: []string{respell(t, vkey("emil@example"))}}},
	} {
		h := newHouse(t)
		cfg := h.config()
		cfg.Operators = operators
		if _, err := door.Open(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	cfg := newHouse(t).config()
	cfg.Machine = keys()["anna"].Signer
	if _, err := door.Open(cfg); err == nil {
		t.Error("the platform signs with anna's key: accepted")
	}
}

// respell writes the same key in other characters: the base64 that note.NewVerifier reads may have newlines in it.
func respell(t *testing.T, vkey string) string {
	t.Helper()
	other := vkey[:len(vkey)-8] + "\n" + vkey[len(vkey)-8:]
	if _, err := note.NewVerifier(other); err != nil {
		t.Fatalf("this is no spelling of a key: %v", err)
	}
	return other
}

// TestSubmitRefuses sends what an honest operator's tool would not.
func TestSubmitRefuses(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	good, err := b.Draft(request(eau, querschott.Closed), "anna")
	if err != nil {
		t.Fatal(err)
	}
	unknown := querschott.Compartment{Insurer: "109500969", Service: querschott.Desk}
	for name, c := range map[string]struct {
		change func(*door.Order)
		who    []string
		want   querschott.Code
	}{
		"skips an epoch":       {func(o *door.Order) { o.Epoch = 2 }, nil, querschott.CodeConflict},
		"other state before":   {func(o *door.Order) { o.From, o.Inverse = querschott.Open, querschott.Open }, nil, querschott.CodeConflict},
		"other inverse":        {func(o *door.Order) { o.Inverse = querschott.Open }, nil, querschott.CodeInvalid},
		"no move":              {func(o *door.Order) { o.To = querschott.Hold }, nil, querschott.CodeConflict},
		"from the future":      {func(o *door.Order) { o.At = o.At.Add(6 * time.Minute) }, nil, querschott.CodeInvalid},
		"from the past":        {func(o *door.Order) { o.At = o.At.Add(-61 * time.Minute) }, nil, querschott.CodeConflict},
		"has expired":          {func(o *door.Order) { o.Expires = o.At }, nil, querschott.CodeInvalid},
		"unknown compartment":  {func(o *door.Order) { o.Compartment = unknown }, nil, querschott.CodeNotFound},
		"signed by bob":        {func(*door.Order) {}, []string{"bob"}, querschott.CodeForbidden},
		"signed by a stranger": {func(*door.Order) {}, []string{"stranger"}, querschott.CodeForbidden},
		"no actor":             {func(o *door.Order) { o.Actor = "" }, nil, querschott.CodeInvalid},
	} {
		o := good
		c.change(&o)
		if c.who == nil {
			c.who = []string{"anna"}
		}
		out, err := b.Submit(t.Context(), h.signed(o, c.who...))
		if got := querschott.CodeOf(err); err == nil || got != c.want || out != (door.Outcome{}) {
			t.Errorf("%s: got %+v, %v (%s), want %s", name, out, err, got, c.want)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Submit(gone, h.signed(good, "anna", "stranger")); err != nil || b.State(eau) != querschott.Closed {
		t.Errorf("a good order of somebody who has hung up: %v, the door is %s", err, b.State(eau))
	}
	if strings.Contains(string(h.readFile("doors/109500969-eau.order")), "stranger") {
		t.Error("a stranger's signature was kept")
	}
}

// TestNarrowingKeepsTheEnd sends a narrowing of what two people have opened for an hour that would last longer.
func TestNarrowingKeepsTheEnd(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	r := request(vsdm, querschott.Open)
	r.Expires = h.now().Add(time.Hour)
	h.widen(b, r)
	o, err := b.Draft(request(vsdm, querschott.ReadOnly), "anna")
	if err != nil || !o.Expires.Equal(r.Expires) || o.Inverse != querschott.Hold {
		t.Fatalf("drafted %+v, %v", o, err)
	}
	for _, end := range []time.Time{{}, r.Expires.Add(time.Microsecond)} {
		o.Expires = end
		if _, err := b.Submit(t.Context(), h.signed(o, "anna")); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("expires %s: got %v", end, err)
		}
	}
	o.Expires = r.Expires.Add(-time.Minute)
	if _, err := b.Submit(t.Context(), h.signed(o, "anna")); err != nil {
		t.Error(err)
	}
}

// TestProposalIsWhatWasSeen replaces a proposal between the look and the approval, and replays the older one.
func TestProposalIsWhatWasSeen(t *testing.T) {
	h := newHouse(t)
	clock := h.now()
	h.now = func() time.Time { return clock }
	b := h.open()
	first, err := b.Set(t.Context(), request(vsdm, querschott.ReadOnly), keys()["anna"])
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Second)
	second, err := b.Set(t.Context(), request(vsdm, querschott.Open), keys()["anna"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Approve(t.Context(), first.Proposal.ID, keys()["bob"]); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("bob approved what he had not seen: %v", err)
	}
	if _, err := b.Submit(t.Context(), first.Proposal.Note); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("the replaced proposal came back: %v", err)
	}
	if out, err := b.Submit(t.Context(), second.Proposal.Note); err != nil || out.Proposal.ID != second.Proposal.ID {
		t.Errorf("the same proposal again: %+v, %v", out, err)
	}
	if got := b.Proposals(); len(got) != 1 || got[0].ID != second.Proposal.ID {
		t.Errorf("proposals: %+v", got)
	}
}

func BenchmarkState(b *testing.B) {
	book := newHouse(b).open()
	b.ReportAllocs()
	for b.Loop() {
		if book.State(vsdm) != querschott.Hold {
			b.Fatal("not on hold")
		}
	}
}

// BenchmarkClose moves a door with one enforcer on a disk in memory: signature, check, move, enforcer, file, ledger.
func BenchmarkClose(b *testing.B) {
	h := newHouse(b)
	cfg := h.config()
	cfg.Record, cfg.Last = func(context.Context, door.Order) error { return nil }, nil
	book, err := door.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	var inForce time.Duration
	var start time.Time
	book.Enforce("gate", func(context.Context, door.Order) error {
		inForce += time.Since(start)
		return nil
	})
	to := querschott.Closed
	for b.Loop() {
		start = time.Now()
		h.narrow(book, "anna", eau, to)
		to = querschott.Closed - to // closed, hold, closed, ...
	}
	b.ReportMetric(float64(inForce.Nanoseconds())/float64(b.N), "ns-to-enforcer/op")
}
