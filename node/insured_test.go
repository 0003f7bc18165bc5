package node

import (
	"net/http"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/vsd"
)

// bundle renders a person's master data as an insurer delivers them.
func (h *house) bundle(p drill.Person, f vsd.Format) []byte {
	h.tb.Helper()
	data, err := vsd.Render(h.world.MasterData(p), vsd.V11, f, vsd.Envelope{ID: vsd.ID{1}, Created: "2026-07-01T06:00:00.000Z"})
	if err != nil {
		h.tb.Fatal(err)
	}
	return data
}

func TestImport(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	c := NewClient(h.cfg)
	foreign := h.person(1, 0)
	foreign.Insurer = &drill.Insurer{IK: "109500969", Name: "Anderswo"}
	files := []ImportedFile{
		{Name: "a", Data: h.bundle(h.person(0, 0), vsd.JSON)},
		{Name: "b", XML: true, Data: h.bundle(h.person(0, 1), vsd.XML)},
		{Name: "c", Data: h.bundle(h.person(1, 0), vsd.JSON)},
		{Name: "foreign", Data: h.bundle(foreign, vsd.JSON)},
		{Name: "nonsense", Data: []byte("{}")},
	}
	got, err := c.Import(t.Context(), files)
	if err != nil || got.Added != 3 || len(got.Refused) != 2 || got.Refused["foreign"] == "" || got.Refused["nonsense"] == "" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, why := range got.Refused {
		if strings.Contains(why, foreign.Number.Reveal()) {
			t.Errorf("%s: the reason names a person: %s", name, why)
		}
	}
	if again, err := c.Import(t.Context(), files[:3]); err != nil || again.Unchanged != 3 {
		t.Errorf("once more: %+v, %v", again, err)
	}
	x := n.reader(m)
	for _, p := range []drill.Person{h.person(0, 0), h.person(0, 1), h.person(1, 0)} {
		if answer := x.check(t.Context(), p); answer.Status != http.StatusOK {
			t.Errorf("%d %s", answer.Status, answer.Body)
		}
	}
	n.move(querschott.Closed, h.compartment(0, querschott.VSDM))
	if got, err := c.Import(t.Context(), files[:1]); querschott.CodeOf(err) != querschott.CodeDoorHeld {
		t.Errorf("through a closed door: %+v, %v", got, err)
	}
}

func TestCheckNumbers(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	n.deliver(0, 2)
	x := n.reader(m)
	who, other := h.person(0, 0), h.person(0, 1)
	number := x.check(t.Context(), who).Number
	c := NewClient(h.cfg)
	actor := x.practice.TelematikID()
	for _, tc := range []struct {
		name string
		s    NumberShown
		want vsdm.Verdict
	}{
		{"as issued", NumberShown{number, who.Number.Reveal(), actor}, vsdm.VerdictIssued},
		{"once more", NumberShown{number, who.Number.Reveal(), actor}, vsdm.VerdictReused},
		{"by somebody else", NumberShown{number, who.Number.Reveal(), "1-2999999999"}, vsdm.VerdictOtherActor},
		{"for somebody else", NumberShown{number, other.Number.Reveal(), actor}, vsdm.VerdictOtherPerson},
		{"no number", NumberShown{"x", who.Number.Reveal(), actor}, vsdm.VerdictMalformed},
	} {
		got, err := c.CheckNumber(t.Context(), tc.s)
		if err != nil || got.Verdict != tc.want || got.Good != tc.want.Good() || got.Critical != tc.want.Critical() {
			t.Errorf("%s: %+v, %v, want %s", tc.name, got, err, tc.want)
		}
	}
	verified := 0
	for e, err := range n.ledger.Scan(h.origin(who.Insurer.IK), 0, 10_000) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Leaf.Action == ledger.ActionVerify {
			verified++
			for _, f := range e.Payload.Detail {
				if f.Value == number {
					t.Error("the ledger has the number itself")
				}
			}
		}
	}
	if verified != 4 {
		t.Errorf("the ledger has %d entries of 4 presentations", verified)
	}
	if log := h.log.String(); strings.Count(log, "ALARM: a check number is in the wrong hands") != 2 || strings.Contains(log, number) {
		t.Errorf("the log says\n%s", log)
	}
}

// A number that was issued before a restart with the next key version is still good.
func TestCheckNumberOutlivesItsKey(t *testing.T) {
	h, m := newVSDMHouse(t, 1)
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	number := x.check(t.Context(), who).Number
	actor := x.practice.TelematikID()
	n.stop()
	h.cfg.VSDM.KeyVersion = 1
	n = h.run()
	got, err := NewClient(h.cfg).CheckNumber(t.Context(), NumberShown{number, who.Number.Reveal(), actor})
	if err != nil || got.Verdict != vsdm.VerdictIssued {
		t.Errorf("got %+v, %v", got, err)
	}
	x = n.reader(m)
	if fresh := x.check(t.Context(), who); fresh.Status != http.StatusOK || fresh.Number == "" || fresh.Number[:2] == number[:2] {
		t.Errorf("got %d, %.2s after %.2s", fresh.Status, fresh.Number, number)
	}
}
