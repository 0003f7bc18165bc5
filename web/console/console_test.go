package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

var all = []querschott.Service{querschott.EAU, querschott.Letter, querschott.Mail, querschott.VSDM}

func TestLoginLinkIsNotUsedByLookingAtIt(t *testing.T) {
	h := newHouse(t, 2, all...)
	token, _, err := h.access.Link("anna")
	if err != nil {
		t.Fatal(err)
	}
	preview := h.browser()
	for range 3 {
		if r := preview.get("/login/" + token); r.status != http.StatusOK || !strings.Contains(r.body, `action="/login/`+token+`"`) {
			t.Fatalf("GET of a login link: %d\n%s", r.status, r.body)
		}
	}
	if r := preview.get("/"); r.status != http.StatusUnauthorized {
		t.Errorf("after looking at a link: status %d, want 401", r.status)
	}
	anna := h.browser()
	if r := anna.post("/login/"+token, nil); r.status != http.StatusOK || !strings.Contains(r.body, `id="matrix"`) {
		t.Errorf("redeeming: %d\n%s", r.status, r.body)
	}
	if r := preview.post("/login/"+token, nil); r.status != http.StatusUnauthorized {
		t.Errorf("redeeming a second time: status %d, want 401", r.status)
	}
	if r := anna.get("/"); r.status != http.StatusOK {
		t.Errorf("a second use of the link ended the session: status %d", r.status)
	}
}

func TestCookie(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	for host, want := range map[string]string{
		"127.0.0.1:8080":      "querschott=; Path=/; HttpOnly; SameSite=Strict",
		"console.example.org": "__Host-querschott=; Path=/; HttpOnly; Secure; SameSite=Strict",
	} {
		r, _ := http.NewRequest("GET", "/", nil)
		r.Host = host
		if got := h.console.cookie(r, sessionCookie, "").String(); got != want {
			t.Errorf("%s: cookie %q, want %q", host, got, want)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	anna := h.operator("anna")
	if r := anna.post("/logout", nil); r.status != http.StatusOK {
		t.Fatalf("logout: %d", r.status)
	}
	if r := anna.get("/"); r.status != http.StatusUnauthorized {
		t.Errorf("after logging out: %d, want 401", r.status)
	}
	bert := h.operator("bert")
	h.clk.add(16 * time.Minute)
	if r := bert.post(doorPath(h.c(0, querschott.EAU)), h.order(h.c(0, querschott.EAU), "closed", "zu spät")); r.status != http.StatusUnauthorized {
		t.Errorf("after the session's end: %d, want 401", r.status)
	}
	if s := h.book.State(h.c(0, querschott.EAU)); s != querschott.Open {
		t.Errorf("an ended session moved the door to %s", s)
	}
}

func TestForeignPostsAreRefused(t *testing.T) {
	h := newHouse(t, 2, all...)
	anna, bert := h.operator("anna"), h.operator("bert")
	door := h.c(0, querschott.EAU)
	for name, spoil := range map[string]func(*http.Request, url.Values){
		"no token":          func(_ *http.Request, f url.Values) { f.Set("csrf", "") },
		"another session's": func(_ *http.Request, f url.Values) { f.Set("csrf", bert.csrf) },
		"foreign site":      func(r *http.Request, _ url.Values) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"sister host":       func(r *http.Request, _ url.Values) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"foreign origin": func(r *http.Request, _ url.Values) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example")
		},
		"opaque origin":          func(r *http.Request, _ url.Values) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") },
		"from nowhere":           func(r *http.Request, _ url.Values) { r.Header.Del("Sec-Fetch-Site") },
		"token in the address":   func(r *http.Request, f url.Values) { r.URL.RawQuery = "csrf=" + anna.csrf; f.Set("csrf", "") },
		"text instead of a form": func(r *http.Request, _ url.Values) { r.Header.Set("Content-Type", "text/plain") },
	} {
		f := h.order(door, "closed", "fremd")
		r := anna.form(doorPath(door), f)
		spoil(r, f)
		spoiled := anna.form(doorPath(door), f)
		spoiled.Header, spoiled.URL = r.Header, r.URL
		if got := anna.do(spoiled); got.status != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", name, got.status)
		}
		if s := h.book.State(door); s != querschott.Open {
			t.Fatalf("%s: the door is %s", name, s)
		}
	}
	r := anna.form(doorPath(door), h.order(door, "closed", "eigener Ursprung"))
	r.Header.Del("Sec-Fetch-Site")
	r.Header.Set("Origin", h.server.URL)
	if got := anna.do(r); got.status != http.StatusOK {
		t.Errorf("own origin: status %d", got.status)
	}
}

func TestForeignHostsAreRefused(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	b := h.browser()
	for host, want := range map[string]int{
		"127.0.0.1:9":             401, // known, and asks for a session
		"localhost":               401,
		"[::1]:8443":              401,
		"console.example.org":     401,
		"CONSOLE.example.org":     401,
		"evil.example":            421,
		"localhost.evil.example":  421,
		"127.0.0.1.evil.example":  421,
		"console.example.org:444": 421,
		"10.0.0.1":                421,
	} {
		r := b.request("GET", "/", nil)
		r.Host = host
		got := b.do(r)
		if got.status != want || got.header.Get("Content-Security-Policy") != policy {
			t.Errorf("Host %s: status %d, want %d; headers %v", host, got.status, want, got.header)
		}
		r = b.request("GET", "/healthz", nil)
		r.Host = host
		if got := b.do(r); got.status != 200 || got.body != "ok\n" || got.header.Get("Content-Security-Policy") != policy {
			t.Errorf("Host %s: /healthz %d %q", host, got.status, got.body)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, o := range []string{"console.example.org", "ftp://x", "https://x/path", "https://", "https://x?y", "://"} {
		if _, err := hostsOf([]string{o}); err == nil {
			t.Errorf("origin %q was accepted", o)
		}
	}
}

func TestClosingWorksAtOnce(t *testing.T) {
	h := newHouse(t, 2, all...)
	anna := h.operator("anna")
	door := h.c(0, querschott.EAU)
	f := h.order(door, "closed", "  Kennwort \t gestohlen ")
	f.Set("incident", "VF-2026-014")
	f.Set("hours", "2")
	f.Set("epoch", "0") // closing wins, whatever the operator saw
	r := anna.post(doorPath(door), f)
	if r.status != http.StatusOK || !strings.Contains(r.body, `id="obeyed"`) {
		t.Fatalf("closing: %d\n%s", r.status, r.body)
	}
	got, _ := h.book.Current(door)
	if got.To != querschott.Closed || got.Actor != "anna" || got.Reason != "Kennwort gestohlen" || got.Incident != "VF-2026-014" ||
		!got.Expires.Equal(h.clk.now().Add(2*time.Hour)) {
		t.Errorf("order in force: %+v", got)
	}
	if s := h.book.State(h.c(0, querschott.Letter)); s != querschott.Open {
		t.Errorf("the compartment beside it is %s", s)
	}
	page := anna.get(doorPath(door)).body
	for _, want := range []string{"Kennwort gestohlen", "VF-2026-014", "anna"} {
		if !strings.Contains(page, want) {
			t.Errorf("the door's page does not show %q", want)
		}
	}
}

func TestWordsAreChecked(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operator("anna")
	door := h.c(0, querschott.EAU)
	for name, spoil := range map[string]func(url.Values){
		"no reason":          func(f url.Values) { f.Set("reason", " \t ") },
		"no state":           func(f url.Values) { f.Del("to") },
		"unknown state":      func(f url.Values) { f.Set("to", "ajar") },
		"hours in words":     func(f url.Values) { f.Set("hours", "zwei") },
		"no hours at all":    func(f url.Values) { f.Set("hours", "0") },
		"hours without end":  func(f url.Values) { f.Set("hours", "999999999999") },
		"reason too long":    func(f url.Values) { f.Set("reason", strings.Repeat("ä", 400)) },
		"direction override": func(f url.Values) { f.Set("reason", "ab\u202ecd") },
	} {
		f := h.order(door, "closed", "Grund")
		spoil(f)
		if r := anna.post(doorPath(door), f); r.status != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, r.status)
		}
	}
	if s := h.book.State(door); s != querschott.Open {
		t.Errorf("the door is %s", s)
	}
}

func TestOpeningTakesAnotherOperator(t *testing.T) {
	h := newHouse(t, 2, all...)
	anna, bert := h.operator("anna"), h.operator("bert")
	door := h.c(0, querschott.EAU)
	h.move(door, querschott.Closed, "Vorfall")
	if r := anna.post(doorPath(door), h.order(door, "open", "alles geprüft")); r.status != http.StatusOK || !strings.Contains(r.body, "/proposals") {
		t.Fatalf("proposing: %d\n%s", r.status, r.body)
	}
	if s := h.book.State(door); s != querschott.Closed {
		t.Fatalf("one operator made the door %s", s)
	}
	id := h.book.Proposals()[0].ID
	approve := url.Values{"id": {id}, "do": {"approve"}}
	if page := anna.get(doorPath(door)).body; !regexp.MustCompile(`value="approve" disabled`).MatchString(page) || !strings.Contains(page, "not-you") {
		t.Error("the proposer's page offers to approve")
	}
	if r := anna.post("/proposals", approve); r.status != http.StatusForbidden {
		t.Errorf("the proposer approves: status %d, want 403", r.status)
	}
	if s := h.book.State(door); s != querschott.Closed {
		t.Fatalf("the proposer made the door %s", s)
	}
	if page := bert.get(doorPath(door)).body; regexp.MustCompile(`value="approve" disabled`).MatchString(page) {
		t.Error("another operator may not approve")
	}
	if r := bert.post("/proposals", url.Values{"id": {id}, "do": {"approve"}}); r.status != http.StatusOK || !strings.Contains(r.body, `id="obeyed"`) {
		t.Errorf("another operator approves: %d\n%s", r.status, r.body)
	}
	if o, _ := h.book.Current(door); o.To != querschott.Open || o.Actor != "anna" || o.Approver != "bert" {
		t.Errorf("in force: %+v", o)
	}
	if r := bert.post("/proposals", url.Values{"id": {id}, "do": {"approve"}}); r.status != http.StatusNotFound {
		t.Errorf("approving twice: status %d, want 404", r.status)
	}
}

func TestOnlyClosingIgnoresWhatTheOperatorSaw(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operator("anna")
	door := h.c(0, querschott.EAU)
	stale := h.order(door, "hold", "vorsichtshalber") // drawn while the door was open: holding narrows
	h.move(door, querschott.Closed, "Vorfall")        // now holding would let mail in again
	if r := anna.post(doorPath(door), stale); r.status != http.StatusConflict {
		t.Errorf("an order from a page that is out of date: status %d, want 409", r.status)
	}
	if s := h.book.State(door); s != querschott.Closed {
		t.Errorf("the door is %s", s)
	}
}

func TestWithdraw(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operator("anna")
	door := h.c(0, querschott.VSDM)
	h.move(door, querschott.Hold, "Vorfall")
	if r := anna.post(doorPath(door), h.order(door, "read-only", "Abfragen wieder beantworten")); r.status != http.StatusOK {
		t.Fatalf("proposing: %d", r.status)
	}
	if r := anna.post("/proposals", url.Values{"id": {h.book.Proposals()[0].ID}, "do": {"withdraw"}}); r.status != http.StatusOK {
		t.Errorf("withdrawing: %d", r.status)
	}
	if n := len(h.book.Proposals()); n != 0 {
		t.Errorf("%d proposals are left", n)
	}
	for name, f := range map[string]url.Values{
		"nothing":        {"do": {"approve"}},
		"no verb":        {"id": {"109900019/eau@2"}},
		"not a proposal": {"id": {"109900019/eau@2"}, "do": {"approve"}},
		"not a name":     {"id": {"\x00"}, "do": {"withdraw"}},
	} {
		if r := anna.post("/proposals", f); r.status != http.StatusBadRequest && r.status != http.StatusNotFound {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
}

func TestManyDoors(t *testing.T) {
	h := newHouse(t, 30, all...)
	anna, bert := h.operator("anna"), h.operator("bert")
	h.move(h.c(3, querschott.EAU), querschott.Closed, "schon vorher")

	preview := anna.get("/doors?to=closed&s=eau&i=" + string(h.insurers[0].IK) + "&c=" + h.c(1, querschott.Mail).String() + "&c=nonsense")
	if preview.status != http.StatusOK {
		t.Fatalf("preview: %d", preview.status)
	}
	form := url.Values{"to": {"closed"}, "reason": {"Schadsoftware im Umlauf"}}
	for _, m := range regexp.MustCompile(`name="door" value="([^"]+)"`).FindAllStringSubmatch(preview.body, -1) {
		form.Add("door", m[1])
	}
	const want = 29 + 3 + 1 // the service without the one that is closed, the rest of the first insurer, and one more
	if got := len(form["door"]); got != want {
		t.Fatalf("the preview names %d doors, want %d", got, want)
	}
	if r := anna.post("/doors", form); r.status != http.StatusOK {
		t.Fatalf("closing: %d\n%s", r.status, r.body)
	}
	closed := func() (n int) {
		for _, c := range h.book.Compartments() {
			if h.book.State(c) == querschott.Closed {
				n++
			}
		}
		return n
	}
	if got := closed(); got != want+1 {
		t.Errorf("%d doors are closed, want %d", got, want+1)
	}
	if r := anna.post("/doors", form); r.status != http.StatusConflict {
		t.Errorf("closing again: status %d, want 409", r.status)
	}

	open := url.Values{"to": {"open"}, "reason": {"bereinigt"}, "door": {h.c(0, querschott.EAU).String() + "@2", h.c(2, querschott.EAU).String() + "@2", h.c(3, querschott.EAU).String() + "@1"}}
	r := anna.post("/doors", open)
	if r.status != http.StatusOK || len(h.book.Proposals()) != 2 || strings.Count(r.body, "move bad") != 1 {
		t.Errorf("proposing three, one of them out of date: status %d, %d proposals\n%s", r.status, len(h.book.Proposals()), r.body)
	}
	approve := url.Values{"do": {"approve"}}
	for _, p := range h.book.Proposals() {
		approve.Add("id", p.ID)
	}
	if r := bert.post("/proposals", approve); r.status != http.StatusOK {
		t.Errorf("approving: %d", r.status)
	}
	if got := closed(); got != want-1 {
		t.Errorf("%d doors are closed after two were opened, want %d", got, want-1)
	}
}

func TestResultSaysWhoHasNotObeyed(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	h.book.Enforce("gate", func(context.Context, door.Order) error { return errors.New("the gate hangs") })
	anna := h.operator("anna")
	c := h.c(0, querschott.EAU)
	r := anna.post(doorPath(c), h.order(c, "closed", "Vorfall"))
	if r.status != http.StatusOK || !strings.Contains(r.body, "gate has not obeyed") || strings.Contains(r.body, `id="obeyed"`) {
		t.Errorf("status %d\n%s", r.status, r.body)
	}
	if s := h.book.State(c); s != querschott.Closed {
		t.Errorf("the door is %s", s)
	}
}

func TestBrokenDiskIsSaid(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	anna := h.operator("anna")
	door := h.c(0, querschott.EAU)
	h.disk.Fail(func(op, name string) error { return fmt.Errorf("disk gone") })
	defer h.disk.Fail(nil)
	r := anna.post(doorPath(door), h.order(door, "closed", "Vorfall"))
	if r.status != http.StatusOK || !strings.Contains(r.body, "a restart may forget it") {
		t.Errorf("status %d\n%s", r.status, r.body)
	}
}

func TestMatrixFilterAndSort(t *testing.T) {
	h := newHouse(t, 12, all...)
	h.move(h.c(7, querschott.Mail), querschott.Closed, "Vorfall") // Landkasse Havelland
	anna := h.operator("anna")
	row := regexp.MustCompile(`<tr data-text="([^"]+) \d{9}"( class="abnormal")?( hidden)?>`)
	rows := func(path string) (shown []string) {
		for _, m := range row.FindAllStringSubmatch(anna.get(path).body, -1) {
			if m[3] == "" {
				shown = append(shown, m[1])
			}
		}
		return shown
	}
	if got := rows("/"); len(got) != 12 || got[0] != "Landkasse Havelland" {
		t.Errorf("abnormal first: %q", got)
	}
	if got := rows("/?sort=name"); got[0] != "Ahorn Nordmark" || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		t.Errorf("by name: %q", got)
	}
	if diff := cmp.Diff([]string{"Landkasse Havelland"}, rows("/?only=1")); diff != "" {
		t.Errorf("only abnormal (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"BKK Hafenwerk"}, rows("/?q=hafen+bkk")); diff != "" {
		t.Errorf("by name (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"IKK Elbtal"}, rows("/?q="+string(h.insurers[2].IK))); diff != "" {
		t.Errorf("by IK (-want +got):\n%s", diff)
	}
}

func TestTotalsClaimOnlyWhatWasAudited(t *testing.T) {
	h := newHouseWith(t, 1, []querschott.Service{querschott.EAU}, func(_ *house, cfg *Config) { cfg.Mode = ModeDemo })
	h.say(func(s *Snapshot) { s.Totals.Audited = time.Time{}; s.RoomHours = -1 })
	page := h.operator("anna").get("/").body
	if !strings.Contains(page, "nicht geprüft") || !strings.Contains(page, "unbekannt") {
		t.Error("the page claims a number that nobody knows")
	}
	h.say(func(s *Snapshot) { s.Journal = "a copy is missing <b>"; s.RoomHours = 3 })
	page = h.operator("anna").get("/").body
	for _, want := range []string{"a copy is missing &lt;b&gt;", "wäre das Journal voll", "Vorführung"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	anna := h.operator("anna")
	for _, path := range []string{
		"/nothing", "/door/109900019/letter", "/door/109900019/x", "/door/x/eau", "/static/0/console.js", "/static/x/../console.go",
		"/door/000000000/eau", "/doors?to=closed", "/doors?to=x&s=eau",
	} {
		if r := anna.get(path); r.status != http.StatusNotFound && r.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", path, r.status)
		}
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config was accepted")
	}
	h := newHouse(t, 1, querschott.EAU)
	cfg := h.console.cfg
	cfg.Insurers = append(cfg.Insurers, cfg.Insurers[0])
	if _, err := New(cfg); err == nil {
		t.Error("an insurer listed twice was accepted")
	}
}

func FuzzSelection(f *testing.F) {
	f.Add("109900019/eau@7")
	f.Add("109900019/eau@-1")
	f.Add("@@@")
	f.Fuzz(func(t *testing.T, s string) {
		wishes, list := wishesOf([]string{s, s})
		if len(wishes) > 1 || len(wishes) != len(list) {
			t.Fatalf("%q became %d wishes", s, len(wishes))
		}
		if len(wishes) == 1 && !strings.HasPrefix(s, wishes[0].Compartment.String()+"@") {
			t.Fatalf("%q became %v", s, wishes[0])
		}
	})
}

func FuzzOwnPath(f *testing.F) {
	for _, s := range []string{"/", "/door/1/eau?to=open", "//evil.example", "/\\evil.example", "https://evil.example/", "/%2f/evil", "javascript:x", "/\tx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := url.Parse("https://console.example.org/")
		u, err := base.Parse(ownPath(s))
		if err != nil || u.Host != "console.example.org" || u.Scheme != "https" {
			t.Fatalf("%q leads to %v (%v)", s, u, err)
		}
	})
}
