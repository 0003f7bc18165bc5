package node

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
)

// Who was served is exactly who the answer names: at once, after a restart, and after the index was thrown away.
func TestScopeIsExact(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	n.deliver(0, 4)
	n.deliver(1, 2)
	x := n.reader(m)
	begin := time.Now()
	var served []string
	for i, persons := range []int{5, 2} { // the last of the first insurer's is known to nobody
		for k := range persons {
			if x.check(t.Context(), h.person(i, k)).Status == http.StatusOK {
				served = append(served, h.person(i, k).Number.Reveal())
			}
		}
	}
	slices.Sort(served)
	q := ScopeRequest{Question: scope.Question{
		Credentials: []querschott.CredentialID{credentialOf(t, n, h)}, From: begin, To: time.Now().Add(time.Second), Persons: true,
	}, Reveal: true}
	exact := func(when string) {
		t.Helper()
		a, err := NewClient(h.cfg).Scope(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var got, refused []string
		for _, r := range a.Insurers {
			for _, p := range r.Persons {
				if p.Result == scope.Reached {
					got = append(got, p.Number)
				} else {
					refused = append(refused, p.Number)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, served) || len(served) != 6 || a.Total.Lower != 6 || a.Total.Upper != 6 {
			t.Errorf("%s: served %d persons, the answer has %d: %+v", when, len(served), len(got), a.Total)
		}
		if want := []string{h.person(0, 4).Number.Reveal()}; !slices.Equal(refused, want) {
			t.Errorf("%s: %d persons were refused, want 1", when, len(refused))
		}
	}
	exact("at once")
	n.stop()
	n = h.run()
	exact("after a restart")
	if err := NewClient(h.cfg).ScopeRebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	exact("made again")

	unknown := q
	unknown.Reveal = false
	unknown.Credentials = append(slices.Clone(q.Credentials), "staff:nobody")
	a, err := NewClient(h.cfg).Scope(t.Context(), unknown)
	if err != nil || !slices.Equal(a.Unknown, unknown.Credentials[1:]) || a.Total.Best != 6 {
		t.Errorf("a credential that the ledger does not know, beside one that it knows: %+v, %v", a, err)
	}

	q.To = time.Now()
	proved, err := NewClient(h.cfg).ScopeProof(t.Context(), q.Question)
	if err != nil {
		t.Fatal(err)
	}
	v, err := proved.Proof.Verify(proved.VKey)
	if err != nil || !v.Complete || v.Total != (scope.Bounds{Lower: 6, Best: 6, Upper: 6}) || len(v.Reach) != 3 {
		t.Errorf("the proof: %+v, %v", v, err)
	}

	who := WhoRequest{Insurer: h.person(0, 0).Insurer.IK, Person: h.person(0, 0).Number.Reveal(), From: begin, To: time.Now().Add(time.Second)}
	seen, err := NewClient(h.cfg).Who(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, s := range seen.List {
		said = append(said, string(s.Role)+" "+s.Data+" "+s.Result.String())
	}
	// Each of the answers above was revealed, and this question is an access too.
	want := []string{"practice insurance-data reached", "operator log-data reached", "operator log-data reached", "operator log-data reached", "operator log-data reached"}
	if !slices.Equal(said, want) || seen.List[0].Credential != q.Credentials[0] || seen.List[0].Actor != x.practice.TelematikID() {
		t.Errorf("who saw the record: %q", said)
	}
	n.stop()
	if log := h.log.String(); strings.Contains(log, who.Person) {
		t.Error("the log names a person")
	}
}

// credentialOf returns the credential of the only caller who reached somebody.
func credentialOf(t *testing.T, n *live, h *house) querschott.CredentialID {
	t.Helper()
	for e, err := range n.ledger.Scan(h.origin(h.world.Insurers()[0].IK), 0, 10_000) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Payload != nil && e.Payload.Credential != "" {
			return e.Payload.Credential
		}
	}
	t.Fatal("nobody reached anybody")
	return ""
}

// What nobody may see does not come out of a question that is refused.
func TestScopeRefuses(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	n := h.run()
	c := NewClient(h.cfg)
	now := time.Now()
	for name, q := range map[string]ScopeRequest{
		"no credential":  {Question: scope.Question{From: now.Add(-time.Hour), To: now}},
		"no time":        {Question: scope.Question{Credentials: []querschott.CredentialID{"c"}, From: now, To: now.Add(-time.Second)}},
		"empty among it": {Question: scope.Question{Credentials: []querschott.CredentialID{"c", ""}, From: now.Add(-time.Hour), To: now}},
	} {
		if a, err := c.Scope(t.Context(), q); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for _, in := range []querschott.IK{"109500969", "123", "platform", ""} { // nobody's log answers for an insurer who is not here
		q := scope.Question{Credentials: []querschott.CredentialID{"c"}, From: now.Add(-time.Hour), To: now, Insurers: []querschott.IK{h.world.Insurers()[0].IK, in}}
		if a, err := c.Scope(t.Context(), ScopeRequest{Question: q}); querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("insurer %q: %+v, %v", in, a, err)
		}
		if p, err := c.ScopeProof(t.Context(), q); querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("proof of insurer %q: %+v, %v", in, p, err)
		}
	}
	digest := sha256.Sum256([]byte("not a number"))
	for name, q := range map[string]WhoRequest{
		"no number":       {Insurer: h.world.Insurers()[0].IK, Person: string(digest[:5]), From: now.Add(-time.Hour), To: now},
		"foreign insurer": {Insurer: "109500969", Person: "A123456780", From: now.Add(-time.Hour), To: now},
	} {
		if s, err := c.Who(t.Context(), q); err == nil || strings.Contains(err.Error(), q.Person) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	n.stop()
}
