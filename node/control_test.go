package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/proof"
)

// ask gives one request to the control handler.
func (r *live) ask(method, path, body string) (int, ControlError) {
	w := httptest.NewRecorder()
	r.controlHandler().ServeHTTP(w, httptest.NewRequestWithContext(r.h.tb.Context(), method, path, strings.NewReader(body)))
	var e ControlError
	_ = json.Unmarshal(w.Body.Bytes(), &e) // an answer that is no error leaves it empty
	return w.Code, e
}

func TestControlAnswers(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	for _, tc := range []struct {
		name, method, path, body string
		want                     int
		code                     querschott.Code
	}{
		{"status", "GET", "/v1/status", "", 200, ""},
		{"spool", "GET", "/v1/spool", "", 200, ""},
		{"no such path", "GET", "/v1/keys", "", 404, ""},
		{"wrong method", "GET", "/v1/login", "", 405, ""},
		{"no JSON", "POST", "/v1/login", "anna", 400, querschott.CodeInvalid},
		{"unknown field", "POST", "/v1/login", `{"operator":"anna","role":"admin"}`, 400, querschott.CodeInvalid},
		{"unknown operator", "POST", "/v1/login", `{"operator":"mallory"}`, 404, querschott.CodeNotFound},
		{"endless body", "POST", "/v1/login", `{"operator":"` + strings.Repeat("a", maxControl) + `"}`, 400, querschott.CodeInvalid},
		{"unknown compartment", "POST", "/v1/doors/draft", `{"compartment":"109500969/eau","to":"open","reason":"x","incident":"","actor":"anna"}`, 404, querschott.CodeNotFound},
		{"unknown state", "POST", "/v1/doors/draft", `{"compartment":"` + h.compartment(0, "eau").String() + `","to":"ajar"}`, 400, querschott.CodeInvalid},
		{"no reason", "POST", "/v1/doors/draft", `{"compartment":"` + h.compartment(0, "eau").String() + `","to":"closed","actor":"anna"}`, 400, querschott.CodeInvalid},
		{"no move", "POST", "/v1/doors/draft", `{"compartment":"` + h.compartment(0, "eau").String() + `","to":"hold","reason":"x","actor":"anna"}`, 409, querschott.CodeConflict},
		{"unsigned order", "POST", "/v1/doors/submit", `{"note":"bm90aGluZw=="}`, 403, querschott.CodeForbidden},
		{"unsigned withdrawal", "POST", "/v1/proposals/withdraw", `{"id":"x"}`, 403, querschott.CodeForbidden},
		{"unknown log", "GET", "/v1/ledger/show?origin=x", "", 404, querschott.CodeNotFound},
		{"log of heads", "GET", "/v1/ledger/show?origin=test.querschott.example/ledger/commits/2026", "", 400, querschott.CodeInvalid},
		{"no number", "GET", "/v1/ledger/show?from=-1", "", 400, querschott.CodeInvalid},
		{"too many entries", "GET", "/v1/ledger/show?from=0&to=10001", "", 400, querschott.CodeInvalid},
		{"proof of nothing", "GET", "/v1/ledger/prove?index=99999&origin=" + h.origin(""), "", 404, querschott.CodeNotFound},
		{"export to somewhere", "POST", "/v1/ledger/export", `{"origin":"x","dir":"here"}`, 400, querschott.CodeInvalid},
		{"backup to somewhere", "POST", "/v1/backup", `{"dir":"here"}`, 400, querschott.CodeInvalid},
		{"backup over something", "POST", "/v1/backup", `{"dir":"` + h.dir + `"}`, 409, querschott.CodeConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, e := n.ask(tc.method, tc.path, tc.body)
			if got != tc.want || e.Code != tc.code || tc.code != "" && e.Text == "" {
				t.Errorf("got %d %+v, want %d %s", got, e, tc.want, tc.code)
			}
		})
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for code, want := range map[querschott.Code]int{
		querschott.CodeInternal: 500, querschott.CodeDoorClosed: 503, querschott.CodeDoorHeld: 503, querschott.CodeNoRoom: 503,
		querschott.CodeTooLarge: 400, querschott.CodeUnknownHere: 404, querschott.CodeUnauthorized: 401, querschott.CodeForbidden: 403,
		querschott.CodeInvalid: 400, querschott.CodeConflict: 409, querschott.CodeNotFound: 404, "of tomorrow": 500,
	} {
		if got := httpStatus(code); got != want {
			t.Errorf("%s is %d, want %d", code, got, want)
		}
	}
}

func TestControlSocketIsPrivate(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	for name, want := range map[string]os.FileMode{n.Addresses().Control: 0o600, h.cfg.Data: 0o700} {
		st, err := os.Stat(name)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, st.Mode(), err, want)
		}
	}
	n.stop()
	if _, err := NewClient(h.cfg).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestClientMovesDoors(t *testing.T) {
	h := newHouse(t, 2)
	h.run()
	c, ctx := NewClient(h.cfg), t.Context()
	eau := h.compartment(0, querschott.EAU)
	draft := DraftRequest{Compartment: eau, To: querschott.Open, Reason: "start", Actor: anna}
	m, err := c.Order(ctx, draft, h.signer(anna))
	if err != nil || m.Proposal == nil || m.Order != nil {
		t.Fatalf("%+v, %v", m, err)
	}
	list, err := c.Proposals(ctx)
	if err != nil || len(list) != 1 || list[0].ID != m.Proposal.ID {
		t.Fatalf("%+v, %v", list, err)
	}
	known, err := c.Verifiers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.Approve(ctx, list[0], known, h.signer(anna)); err == nil && m.Order != nil {
		t.Error("she approved her own proposal")
	}
	for name, note := range map[string][]byte{"an order's signature": list[0].Note, "nothing": nil} {
		err := c.call(ctx, "POST", "/v1/proposals/withdraw", nil, map[string]any{"id": list[0].ID, "note": note}, &struct{}{})
		if querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("withdrawn with %s: %v", name, err)
		}
	}
	if err := c.Withdraw(ctx, list[0].ID, h.signer(ben)); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Approve(ctx, list[0], known, h.signer(ben)); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("a withdrawn proposal was approved: %+v, %v", m, err)
	}
	m, err = c.Order(ctx, draft, h.signer(anna))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = c.Approve(ctx, *m.Proposal, known, h.signer(ben)); err != nil || m.Order == nil || m.Order.To != querschott.Open {
		t.Fatalf("%+v, %v", m, err)
	}
	draft.To, draft.Incident, draft.Expires = querschott.Closed, "VF-1", time.Now().Add(time.Hour)
	if m, err = c.Order(ctx, draft, h.signer(ben)); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("an order in another's name: %+v, %v", m, err)
	}
	if m, err = c.Order(ctx, draft, h.signer(anna)); err != nil || m.Order == nil || m.Warning != "" {
		t.Errorf("%+v, %v", m, err)
	}
	doors, err := c.Doors(ctx)
	if err != nil || len(doors) != 6 {
		t.Fatalf("%d doors, %v", len(doors), err)
	}
	i := slices.IndexFunc(doors, func(d DoorView) bool { return d.Compartment == eau })
	if d := doors[i]; d.To != querschott.Closed || d.Incident != "VF-1" || d.Name == "" || d.Epoch != 2 || d.Expires.IsZero() {
		t.Errorf("%+v", d)
	}
}

// TestWhatClosedDoorsSay sends to a closed door, and to a door that is closed while a message is on its way.
func TestWhatClosedDoorsSay(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	n.openAll()
	eau := h.compartment(0, querschott.EAU)
	_, err := n.Order(t.Context(), door.Request{Compartment: eau, To: querschott.Closed, Reason: "test", Incident: "VF-7"}, anna, h.signer(anna))
	if err != nil {
		t.Fatal(err)
	}
	m := h.notes(0, 1)[0]
	_, err = handIn(n.client(), &m)
	if err == nil || !strings.Contains(err.Error(), "451") && !strings.Contains(err.Error(), "closed for now") ||
		!strings.Contains(err.Error(), "VF-7") || !strings.Contains(err.Error(), h.cfg.Mail.StatusPage) {
		t.Errorf("the sender was told: %v", err)
	}
	if got := n.Status().Mail; got.Transient["door-closed"] != 1 || len(got.Permanent) != 0 || got.Accepted != 0 {
		t.Errorf("%+v", got)
	}
}

func TestLedgerOverTheSocket(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	n.openAll()
	mails := h.notes(0, 3)
	n.send(mails...)
	n.arrive(mails...)
	c, ctx := NewClient(h.cfg), t.Context()
	origin := h.origin(h.world.Insurers()[0].IK)
	list, err := c.LedgerShow(ctx, origin, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	persons := 0
	for _, e := range list {
		for _, p := range e.Persons {
			persons++
			if !strings.Contains(p, "…") && !strings.Contains(p, "*") {
				t.Errorf("a person is shown as %q", p)
			}
		}
	}
	if persons != 3 {
		t.Errorf("%d entries name a person, want 3", persons)
	}
	origins, err := c.LedgerOrigins(ctx)
	if err != nil || len(origins) < 3 {
		t.Fatalf("%d logs, %v", len(origins), err)
	}
	for _, e := range list {
		p, err := c.LedgerProve(ctx, origin, e.Index)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := proof.Verify([]byte(p.Proof), p.Entry, p.VKey); err != nil || got.Origin != origin {
			t.Errorf("entry %d: %v", e.Index, err)
		}
		if _, err := proof.Verify([]byte(p.Proof), append(bytes.Clone(p.Entry[:len(p.Entry)-1]), p.Entry[len(p.Entry)-1]^1), p.VKey); err == nil {
			t.Error("a changed entry is proved")
		}
	}
	r, err := c.LedgerVerify(ctx)
	if err != nil || len(r.Faults) > 0 || r.Entries < uint64(len(list)) {
		t.Errorf("%+v, %v", r, err)
	}
	dir := filepath.Join(h.dir, "export")
	if err := c.LedgerExport(ctx, origin, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "checkpoint")); err != nil {
		t.Error(err)
	}
	// Looking and exporting have left their traces.
	kinds := map[string]int{}
	for e, err := range n.ledger.Scan(h.origin(""), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[shown(e).Kind]++
	}
	if kinds["ledger-read"] != 1 || kinds["export"] != 1 {
		t.Errorf("the platform's log has %v", kinds)
	}
	flagged, err := c.Flagged(ctx)
	if err != nil || len(flagged) != 0 {
		t.Errorf("flagged %v, %v", flagged, err)
	}
}

func TestAccountsAreReloaded(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	acc, err := ident.OpenAccounts(disk.OS{}, h.cfg.Mail.Accounts, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	password, err := acc.Add("neu@praxis.kim.telematik-test", querschott.RolePractice)
	if err != nil {
		t.Fatal(err)
	}
	known := func() bool { _, ok := n.accounts.Authenticate("neu@praxis.kim.telematik-test", password); return ok }
	if known() {
		t.Error("the node knows an account that it was not told of")
	}
	if err := NewClient(h.cfg).ReloadAccounts(t.Context()); err != nil || !known() {
		t.Errorf("after the reload the account is known: %v, %v", known(), err)
	}
}

func TestCheckAndDoctor(t *testing.T) {
	h := newHouse(t, 2)
	find := func(list []Finding, text string) Severity {
		for _, f := range list {
			if strings.Contains(f.Text, text) {
				if f.Fix == "" {
					t.Errorf("%q has no fix", f.Text)
				}
				return f.Severity
			}
		}
		return ""
	}
	now := time.Now()
	for _, f := range h.cfg.Check(now, nil) {
		if f.Severity == Fault {
			t.Errorf("a fresh node has a fault: %+v", f)
		}
	}
	if got := find(h.cfg.Doctor(t.Context(), now, nil), "is not running"); got != Remark {
		t.Errorf("a node that does not run: %q", got)
	}
	n := h.run()
	for _, f := range h.cfg.Doctor(t.Context(), now, nil) {
		if f.Severity == Fault {
			t.Errorf("a running node has a fault: %+v", f)
		}
	}
	if got := find(h.cfg.Check(now.AddDate(2, 0, 0), nil), "has expired"); got != Fault {
		t.Errorf("an expired certificate: %q", got)
	}
	if got := find(h.cfg.Check(now.AddDate(0, 11, 25), nil), "expires on"); got != Warning && got != "" {
		t.Errorf("a certificate that expires soon: %q", got)
	}
	if got := find(h.cfg.Check(now, nil), "same device"); got != Warning {
		t.Errorf("two copies on one disk: %q", got)
	}
	stranger := filepath.Join(h.cfg.Data, "stranger.sh")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.cfg.Operators, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.cfg.Intake.Copies[0], 0o755); err != nil {
		t.Fatal(err)
	}
	elsewhere := *h.cfg
	elsewhere.Intake.Copies = []string{stranger}
	if got := find(elsewhere.Doctor(t.Context(), now, nil), stranger+" cannot be written to"); got != Fault {
		t.Errorf("a copy that is no directory: %q", got)
	}
	list := h.cfg.Doctor(t.Context(), now, nil)
	if find(list, h.cfg.Intake.Copies[0]+" can be read or written by others") != Warning {
		t.Errorf("a copy that others can read is not found: %+v", list)
	}
	if find(list, "stranger.sh") != Warning || find(list, "whoever can write it can open doors") != Warning {
		t.Errorf("%+v", list)
	}
	n.stop()
	if err := os.Rename(h.cfg.Keyring.Key, h.cfg.Keyring.Key+".away"); err != nil {
		t.Fatal(err)
	}
	if got := find(h.cfg.Check(now, nil), "key file cannot be read"); got != Fault {
		t.Errorf("without a key file: %q", got)
	}
}
