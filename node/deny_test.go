package node

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
)

var stolen = ident.Revocation{Dimension: ident.BySubject, Value: "1-20012345", Reason: "token store stolen", Run: "VF-1"}

func TestDenyList(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	c := NewClient(h.cfg)
	facts := &ident.Facts{Subject: "1-20012345"}
	if err := n.denied.Check(facts); err != nil {
		t.Fatalf("before: %v", err)
	}
	if err := c.Deny(t.Context(), h.signer(anna), stolen); err != nil {
		t.Fatal(err)
	}
	if err := n.denied.Check(facts); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("denied, and the check says %v", err)
	}
	list, err := c.Denied(t.Context())
	if err != nil || len(list) != 1 || list[0].Value != stolen.Value || list[0].Actors[0] != anna {
		t.Errorf("the list is %+v, %v", list, err)
	}
	n.stop()

	n = h.run() // the list outlives a restart
	if err := n.denied.Check(facts); err == nil {
		t.Error("after a restart nobody is denied")
	}
	backup := t.TempDir() + "/backup"
	if m, err := n.Backup(t.Context(), backup); err != nil || m.Files["data/"+denyFile] == "" {
		t.Errorf("the backup has no deny list: %v", err)
	}
	if err := c.Admit(t.Context(), h.signer(ben), stolen); err != nil {
		t.Fatal(err)
	}
	if err := n.denied.Check(facts); err != nil {
		t.Errorf("taken off the list, and the check says %v", err)
	}
	var actions []string
	for e, err := range n.ledger.Scan(h.origin(""), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Leaf.Data == ledger.DataAccount {
			actions = append(actions, e.Leaf.Action.String()+" by "+string(e.Payload.Actor))
		}
	}
	if got := strings.Join(actions, ", "); got != "create by anna, delete by ben" {
		t.Errorf("the ledger says %q", got)
	}
	if strings.Contains(h.log.String(), stolen.Value) {
		t.Error("the log names who is denied")
	}
}

func TestDenyListIsChangedBySignatureOnly(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	c := NewClient(h.cfg)
	stranger, _, err := SignerFromSeed("anna."+h.cfg.Domain, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(domain, change string, at time.Time, list ...ident.Revocation) []byte {
		text, err := denyText(domain, change, at, list)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := note.Sign(&note.Note{Text: text}, h.signer(anna))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	now := time.Now()
	other, err := note.Sign(&note.Note{Text: withdrawalText(h.cfg.Domain, "x")}, h.signer(anna))
	if err != nil {
		t.Fatal(err)
	}
	send := func(raw []byte) error {
		_, err := post[struct{}](t.Context(), c, "/v1/denied", map[string][]byte{"note": raw})
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want querschott.Code
	}{
		"a stranger's key":        {c.Deny(t.Context(), stranger, stolen), querschott.CodeForbidden},
		"no signature":            {send([]byte("querschott deny list\n")), querschott.CodeForbidden},
		"another node's":          {send(sign("other.example", denyAdd, now, stolen)), querschott.CodeInvalid},
		"an old one":              {send(sign(h.cfg.Domain, denyAdd, now.Add(-denyLife-time.Second), stolen)), querschott.CodeConflict},
		"one of the future":       {send(sign(h.cfg.Domain, denyAdd, now.Add(denyLife+time.Minute), stolen)), querschott.CodeConflict},
		"no entries":              {send(sign(h.cfg.Domain, denyAdd, now)), querschott.CodeInvalid},
		"an unknown change":       {send(sign(h.cfg.Domain, "clear", now, stolen)), querschott.CodeInvalid},
		"a signature for another": {send(other), querschott.CodeInvalid},
		"an entry without sense":  {c.Deny(t.Context(), h.signer(anna), ident.Revocation{Dimension: "all", Value: "x", Reason: "y"}), querschott.CodeInvalid},
		"what is not on the list": {c.Admit(t.Context(), h.signer(anna), stolen), querschott.CodeNotFound},
	} {
		if querschott.CodeOf(tc.err) != tc.want {
			t.Errorf("%s: %v, want %s", name, tc.err, tc.want)
		}
	}
	if len(n.Denied()) != 0 {
		t.Errorf("the list is %+v", n.Denied())
	}
}
