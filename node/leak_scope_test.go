package node

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/scope/leak"
)

// Who read the persons of a dump is found through the control socket; that it was asked is an access to each person; nothing that
// is answered or logged names one.
func TestLeakFindsItsReader(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	n.deliver(0, 4)
	n.deliver(1, 3)
	x := n.reader(m)
	begin := time.Now()
	var text strings.Builder
	for i, persons := range []int{4, 2} {
		for k := range persons {
			if x.check(t.Context(), h.person(i, k)).Status == http.StatusOK {
				text.WriteString(strings.Repeat("x;"+h.person(i, k).Number.Reveal()+"\n", 3))
			}
		}
	}
	canaries := n.alarms.canaries
	if _, err := canaries.rotate(map[querschott.IK]int{h.world.Insurers()[1].IK: 2}, 0); err != nil {
		t.Fatal(err)
	}
	canaries.each(false, func(_ querschott.IK, i uint32, k querschott.KVNR) {
		if i == 0 {
			text.WriteString("x;" + k.Reveal() + "\n")
		}
	})
	d := leak.NewDump()
	if err := d.Read(strings.NewReader(text.String())); err != nil {
		t.Fatal(err)
	}
	q := LeakRequest{To: time.Now().Add(time.Second)}
	for _, k := range d.Numbers() {
		q.Numbers = append(q.Numbers, k.Reveal())
	}
	known, err := NewClient(h.cfg).Leak(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	r := d.Report(known)
	first := r.Ranking.Readers[0]
	if r.Rows != 19 || r.Persons != 7 || r.Canaries != 1 || first.Credential != credentialOf(t, n, h) || first.Matches != 6 || first.Persons != 6 {
		t.Errorf("%+v, first %+v", r, first)
	}
	if len(r.Insurers) != 2 || r.Insurers[0].Ledger+r.Insurers[1].Ledger != 6 || r.Unknown != 0 {
		t.Errorf("per insurer: %+v", r.Insurers)
	}
	for _, e := range incident.FromLeak(r) {
		if _, clear := e.Clear(); clear || e.Grade != incident.LeftTheHouse || e.Bounds.Lower == 0 {
			t.Errorf("evidence: %+v", e)
		}
	}

	who := WhoRequest{Insurer: h.person(0, 0).Insurer.IK, Person: h.person(0, 0).Number.Reveal(), From: begin, To: time.Now().Add(time.Second)}
	seen, err := NewClient(h.cfg).Who(t.Context(), who)
	if err != nil || len(seen.List) != 3 || seen.List[1].Credential != controlCredential || seen.List[1].Result != scope.Reached {
		t.Errorf("the comparison is not in the ledger: %+v, %v", seen, err)
	}
	again, err := NewClient(h.cfg).Leak(t.Context(), q)
	if err != nil || again.Ranking.Readers[0].Credential != first.Credential || again.Ranking.Compared != r.Ranking.Compared {
		t.Errorf("who looks at the ledger is a reader: %+v, %v", again, err)
	}
	answer, err := json.Marshal(r)
	n.stop()
	if log := h.log.String() + string(answer); err != nil || strings.Contains(log, who.Person) {
		t.Error("a person is named")
	}
}

func TestLeakRefuses(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	n := h.run()
	for _, bad := range []string{"", "X123", "=1+1"} {
		_, err := NewClient(h.cfg).Leak(t.Context(), LeakRequest{Numbers: []string{bad}, To: time.Now()})
		if querschott.CodeOf(err) != querschott.CodeInvalid || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	n.stop()
}
