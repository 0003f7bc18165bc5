package console

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/local"
)

// person is the owner of an account with what he alone knows.
type person struct {
	name, password, secret string
	recovery               []string
}

const password = "korrekt pferd batterie"

// authenticator shows what the app of the person shows now (RFC 6238).
func (h *house) authenticator(secret string) string {
	h.t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		h.t.Fatal(err)
	}
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(h.clk.now().Unix()/30)))
	sum := m.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

func (h *house) invite(who local.Account) (token string) {
	h.t.Helper()
	token, _, err := h.local.Invite(who, "administrator")
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// account makes an account and completes it.
func (h *house) account(who local.Account) person {
	h.t.Helper()
	token := h.invite(who)
	e, err := h.local.Begin(token)
	if err != nil {
		h.t.Fatal(err)
	}
	p := person{name: who.Name, password: password, secret: e.Secret}
	if p.recovery, err = h.local.Finish(h.t.Context(), token, password, h.authenticator(e.Secret)); err != nil {
		h.t.Fatal(err)
	}
	h.clk.add(time.Minute) // the code of the enrolment is used up
	return p
}

func (h *house) operatorAccount(name string) person {
	h.t.Helper()
	return h.account(local.Account{Name: name, Role: querschott.RoleOperator})
}

// form is the login form as the person fills it in.
func (h *house) filled(p person) url.Values {
	return url.Values{"name": {p.name}, "password": {p.password}, "code": {h.authenticator(p.secret)}}
}

// still makes a browser stop at redirects.
func (b *browser) still() *browser {
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

func (b *browser) cookie(name string) string {
	at, err := url.Parse(b.h.server.URL)
	if err != nil {
		b.h.t.Fatal(err)
	}
	for _, k := range b.client.Jar.Cookies(at) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

var secretField = regexp.MustCompile(`name="secret" value="([A-Z2-7]+)"`)

func TestInvitationToLogin(t *testing.T) {
	h := newHouse(t, 1, all...)
	b := h.browser()
	if r := b.get("/invitation"); r.status != http.StatusOK || !strings.Contains(r.body, `name="token"`) {
		t.Fatalf("the page: %d\n%s", r.status, r.body)
	}
	if r := b.post("/invitation", url.Values{"token": {"x"}}); r.status != http.StatusUnauthorized || strings.Contains(r.body, `name="secret"`) {
		t.Errorf("an invitation that nobody made: %d", r.status)
	}
	token := h.invite(local.Account{Name: "anna", Role: querschott.RoleOperator})
	first := b.post("/invitation", url.Values{"token": {" " + token + "\n"}})
	m := secretField.FindStringSubmatch(first.body)
	if first.status != http.StatusOK || m == nil || !strings.Contains(first.body, `<svg class="qr"`) || !strings.Contains(first.body, `href="otpauth://totp/kassen.example:anna?`) {
		t.Fatalf("beginning: %d\n%s", first.status, first.body)
	}
	form := func(change func(url.Values)) url.Values {
		f := url.Values{"token": {token}, "secret": {m[1]}, "password": {password}, "again": {password}, "code": {h.authenticator(m[1])}}
		change(f)
		return f
	}
	for field, change := range map[string]func(url.Values){
		"again":    func(f url.Values) { f.Set("again", password+"x") },
		"password": func(f url.Values) { f.Set("password", "kurz"); f.Set("again", "kurz") },
		"code":     func(f url.Values) { f.Set("code", "000000") },
	} {
		r := b.post("/invitation", form(change))
		again := secretField.FindStringSubmatch(r.body)
		marked := regexp.MustCompile(`<input id="` + field + `"[^>]*aria-describedby="problem[^>]*aria-invalid="true"`).MatchString(r.body)
		if r.status != http.StatusBadRequest || again == nil || again[1] != m[1] || !marked || strings.Contains(r.body, "kurz") {
			t.Errorf("wrong %s: %d\n%s", field, r.status, r.body)
		}
	}
	if r := b.post("/invitation", form(func(f url.Values) { f.Set("secret", strings.Repeat("A", 32)) })); r.status != http.StatusBadRequest || secretField.MatchString(r.body) {
		t.Errorf("a secret that was not shown: %d\n%s", r.status, r.body)
	}
	code := h.authenticator(m[1])
	done := b.post("/invitation", form(func(url.Values) {}))
	recovery := regexp.MustCompile(`<li><code class="secret">([a-z2-7-]{19})</code>`).FindAllStringSubmatch(done.body, -1)
	if done.status != http.StatusOK || len(recovery) != 10 {
		t.Fatalf("finishing: %d\n%s", done.status, done.body)
	}
	if b.cookie(sessionCookie) != "" {
		t.Error("completing an account logs nobody in")
	}
	if r := b.post("/invitation", url.Values{"token": {token}}); r.status != http.StatusUnauthorized {
		t.Errorf("an invitation works twice: %d", r.status)
	}
	anna := person{name: "Anna", password: password, secret: m[1]}
	f := h.filled(anna)
	f.Set("code", code)
	if r := b.post("/login", f); r.status != http.StatusUnauthorized {
		t.Errorf("the code of the enrolment: %d", r.status)
	}
	h.clk.add(time.Minute)
	f = h.filled(anna)
	f.Set("next", "/proposals")
	r := b.still().post("/login", f)
	if r.status != http.StatusSeeOther || r.header.Get("Location") != "/proposals" {
		t.Fatalf("login: %d %v\n%s", r.status, r.header, r.body)
	}
	cookies := r.header.Values("Set-Cookie")
	for i, want := range []string{`^querschott-device=[0-9a-f]{112}; Path=/; Max-Age=7776000; HttpOnly; SameSite=Strict$`, `^querschott=[a-z2-7]{52}; Path=/; HttpOnly; SameSite=Strict$`} {
		if len(cookies) != 2 || !regexp.MustCompile(want).MatchString(cookies[i]) {
			t.Errorf("cookies: %q", cookies)
		}
	}
	if r := b.get("/"); r.status != http.StatusOK || !strings.Contains(r.body, "</span>anna</span>") {
		t.Errorf("the matrix: %d", r.status)
	}
	if r := h.browser().post("/login", f); r.status != http.StatusUnauthorized {
		t.Errorf("a code that was used: %d", r.status)
	}
	if want := []string{" unknown false", " unknown false", "anna operator true", " unknown false"}; !slices.Equal(h.records[len(h.records)-3:], want[1:]) {
		t.Errorf("recorded: %q", h.records)
	}
	paper := url.Values{"name": {"anna"}, "password": {password}, "code": {strings.ToUpper(recovery[3][1])}}
	if r := h.browser().post("/login", paper); r.status != http.StatusOK || !strings.Contains(r.body, "9 sind übrig") {
		t.Errorf("a recovery code: %d\n%s", r.status, r.body)
	}
	if r := h.browser().post("/login", paper); r.status != http.StatusUnauthorized {
		t.Errorf("a recovery code for the second time: %d", r.status)
	}
}

func TestOneRefusalForAll(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna, bert := h.operatorAccount("anna"), h.operatorAccount("bert")
	eve := h.operatorAccount("eve") // an operator's account, but no operator of this node
	staff := h.account(local.Account{Name: "c.mueller", Role: querschott.RoleStaff, Insurer: h.insurers[0].IK})
	if err := h.local.Disable("bert"); err != nil {
		t.Fatal(err)
	}
	h.invite(local.Account{Name: "carla", Role: querschott.RoleOperator})
	with := func(p person, key, value string) url.Values {
		f := h.filled(p)
		f.Set(key, value)
		return f
	}
	var first response
	for i, c := range []struct {
		why string
		f   url.Values
	}{
		{"wrong password", with(anna, "password", "falsch")},
		{"wrong code", with(anna, "code", "000000")},
		{"no code", with(anna, "code", "")},
		{"unknown", with(anna, "name", "nobody")},
		{"no name", with(anna, "name", "")},
		{"disabled", h.filled(bert)},
		{"not completed", with(anna, "name", "carla")},
		{"no operator of this node", h.filled(eve)},
		{"staff", h.filled(staff)},
		{"nonsense", with(anna, "name", "\xff\x00"+nasty)},
	} {
		b := h.browser()
		r := b.post("/login", c.f)
		r.body = regexp.MustCompile(`name="name" value="[^"]*"`).ReplaceAllString(r.body, "")
		r.header.Del("Content-Length")
		r.header.Del("Date")
		if i == 0 {
			first = r
			if r.status != http.StatusUnauthorized || !strings.Contains(r.body, "Name, Kennwort oder Code ist falsch.") {
				t.Fatalf("%s: %d\n%s", c.why, r.status, r.body)
			}
		}
		if diff := cmp.Diff([]any{first.status, first.header, first.body}, []any{r.status, r.header, r.body}); diff != "" {
			t.Errorf("%s is told apart (-first +this):\n%s", c.why, diff)
		}
		if b.cookie(sessionCookie) != "" || b.cookie(deviceCookie) != "" {
			t.Errorf("%s: a cookie was given", c.why)
		}
	}
	if n := h.sessions.Len(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if len(h.records) != 10 || slices.ContainsFunc(h.records, func(s string) bool { return s != " unknown false" }) {
		t.Errorf("recorded: %q", h.records)
	}
	if r := h.browser().post("/login", h.filled(anna)); r.status != http.StatusOK {
		t.Errorf("the right one: %d", r.status)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operatorAccount("anna")
	known := h.browser()
	if r := known.post("/login", h.filled(anna)); r.status != http.StatusOK {
		t.Fatalf("login: %d", r.status)
	}
	h.clk.add(time.Minute)
	guess := h.filled(anna)
	guess.Set("password", "geraten")
	var r response
	for n := 0; r.status != http.StatusTooManyRequests; n++ {
		if r = h.browser().post("/login", guess); n > 30 {
			t.Fatal("nobody slows the guesses down")
		}
	}
	wait, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || wait < 1 || wait > 90 || !strings.Contains(r.body, fmt.Sprintf("Versuchen Sie es in %d Sekunden wieder.", wait)) {
		t.Errorf("Retry-After %q, %v\n%s", r.header.Get("Retry-After"), err, r.body)
	}
	if r := h.browser().post("/login", h.filled(anna)); r.status != http.StatusTooManyRequests {
		t.Errorf("a stranger who knows everything: %d", r.status)
	}
	if r := known.post("/login", h.filled(anna)); r.status != http.StatusOK {
		t.Errorf("the owner is locked out: %d", r.status)
	}
	h.clk.add(time.Duration(wait) * time.Second)
	if r := h.browser().post("/login", guess); r.status != http.StatusUnauthorized {
		t.Errorf("after the time that was named: %d", r.status)
	}
}

func TestWaitInWords(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	throttled := func(d time.Duration) error {
		return &querschott.Error{Code: querschott.CodeTooMany, Err: &local.Throttled{After: d}}
	}
	for _, c := range []struct {
		err   error
		head  string
		words string
	}{
		{throttled(200 * time.Millisecond), "1", "in 1 Sekunde wieder"},
		{throttled(90 * time.Second), "90", "in 90 Sekunden wieder"},
		{throttled(91 * time.Second), "91", "in 2 Minuten wieder"},
		{querschott.Refuse(querschott.CodeTooMany, "busy"), "5", "in 5 Sekunden wieder"},
	} {
		w := responseRecorder{}
		if words := h.console.locales["de"].tooMany(w, c.err); !strings.Contains(words, c.words) || http.Header(w).Get("Retry-After") != c.head {
			t.Errorf("%v: %q, %v; want %q, %s", c.err, words, w, c.words, c.head)
		}
	}
}

type responseRecorder http.Header

func (r responseRecorder) Header() http.Header         { return http.Header(r) }
func (r responseRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (r responseRecorder) WriteHeader(int)             {}

func TestSessionIsNotFixed(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operatorAccount("anna")
	at, err := url.Parse(h.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	victim := h.browser()
	planted := strings.Repeat("a", 52)
	victim.client.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: planted, Path: "/"}})
	if r := victim.post("/login", h.filled(anna)); r.status != http.StatusOK {
		t.Fatalf("login: %d", r.status)
	}
	thief := h.browser()
	thief.client.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: planted, Path: "/"}})
	if r := thief.get("/"); r.status != http.StatusUnauthorized {
		t.Errorf("the planted session: %d", r.status)
	}
	first := victim.cookie(sessionCookie)
	h.clk.add(time.Minute)
	if r := victim.post("/login", h.filled(anna)); r.status != http.StatusOK || victim.cookie(sessionCookie) == first {
		t.Fatalf("second login: %d", r.status)
	}
	if _, err := h.sessions.Look(first); err == nil {
		t.Error("the first session in this browser goes on")
	}
}

func TestForeignPagesLogNobodyIn(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operatorAccount("anna")
	for _, path := range []string{"/login", "/invitation", "/login/provider"} {
		for _, site := range []string{"cross-site", "same-site", ""} {
			b := h.browser()
			r := b.form(path, h.filled(anna))
			r.Header.Set("Sec-Fetch-Site", site)
			if got := b.do(r); got.status != http.StatusForbidden || len(got.header.Values("Set-Cookie")) != 0 {
				t.Errorf("%s from %q: %d %v", path, site, got.status, got.header)
			}
		}
	}
	if n := h.sessions.Len(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operatorAccount("anna")
	for next, want := range map[string]string{
		"/proposals": "/proposals", "/?q=a%26b&only=1": "/?q=a%26b&only=1", "": "/",
		"https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "/\t/evil.example": "/", "javascript:alert(1)": "/", `\\evil.example`: "/",
		"/\r\nSet-Cookie: a=b": "/", "///evil.example": "/", "/%5cevil.example": "/%5cevil.example", "/..//evil.example": "/evil.example", "/.//evil.example": "/evil.example",
	} {
		h.clk.add(time.Minute)
		f := h.filled(anna)
		f.Set("next", next)
		r := h.browser().still().post("/login", f)
		if got := r.header.Get("Location"); r.status != http.StatusSeeOther || got != want {
			t.Errorf("next %q: %d %q, want %q", next, r.status, got, want)
		}
	}
	page := h.browser().get("/doors?to=closed&s=eau").body
	if !strings.Contains(page, `name="next" value="/doors?to=closed&amp;s=eau"`) {
		t.Errorf("the login page does not lead back:\n%s", page)
	}
}

func TestRevokedOperatorIsOut(t *testing.T) {
	h := newHouse(t, 1, all...)
	h.operatorAccount("anna")
	for name, out := range map[string]func(){
		"revoked":          func() { h.revoke("anna") },
		"account disabled": func() { _ = h.local.Disable("anna") },
	} {
		h.revoke("nobody")
		if err := h.local.Remove("anna"); err != nil {
			t.Fatal(err)
		}
		h.clk.add(time.Minute)
		anna := h.operatorAccount("anna")
		b, link := h.browser(), h.operator("anna")
		if r := b.post("/login", h.filled(anna)); r.status != http.StatusOK {
			t.Fatalf("login: %d", r.status)
		}
		b.csrf = csrfField.FindStringSubmatch(b.get("/").body)[1]
		v := b.watch(t)
		v.await("snapshot", isSnapshot)
		out()
		door := h.c(0, querschott.EAU)
		r := b.post(doorPath(door), h.order(door, "closed", "zu spät"))
		if r.status != http.StatusUnauthorized || !strings.Contains(r.body, "Nicht ausgeführt") || h.book.State(door) != querschott.Open {
			t.Errorf("%s: a move: %d, the door is %s", name, r.status, h.book.State(door))
		}
		if !v.ended() {
			t.Errorf("%s: the stream did not say goodbye", name)
		}
		wantLink := http.StatusOK // a login link is not the account
		if name == "revoked" {
			wantLink = http.StatusUnauthorized
		}
		if r := link.get("/"); r.status != wantLink {
			t.Errorf("%s: a session by link: %d, want %d", name, r.status, wantLink)
		}
		token, _, err := h.access.Link("anna")
		if err != nil {
			t.Fatal(err)
		}
		if r := h.browser().post("/login/"+token, nil); r.status != wantLink {
			t.Errorf("%s: a login link: %d, want %d", name, r.status, wantLink)
		}
		h.revoke("nobody")
		if r := b.get("/"); r.status != http.StatusUnauthorized {
			t.Errorf("%s: the session came back: %d", name, r.status)
		}
	}
}

func TestWhoCannotBeRecordedIsNotLetIn(t *testing.T) {
	h := newHouse(t, 1, all...)
	anna := h.operatorAccount("anna")
	token, _, err := h.access.Link("anna")
	if err != nil {
		t.Fatal(err)
	}
	h.broken = errors.New("the disk is full")
	b := h.browser()
	wrong := h.filled(anna)
	wrong.Set("password", "x")
	for name, r := range map[string]response{"account": b.post("/login", h.filled(anna)), "wrong password": b.post("/login", wrong), "link": b.post("/login/"+token, nil)} {
		if r.status != http.StatusInternalServerError || strings.Contains(r.body, "disk") {
			t.Errorf("%s: %d\n%s", name, r.status, r.body)
		}
	}
	if b.cookie(sessionCookie) != "" || h.sessions.Len() != 0 {
		t.Error("somebody is logged in")
	}
}

func TestWithoutAccounts(t *testing.T) {
	h := newHouseWith(t, 1, all, func(_ *house, c *Config) { c.Local = nil })
	b := h.browser()
	if r := b.get("/login"); r.status != http.StatusOK || strings.Contains(r.body, "password") || !strings.Contains(r.body, "querschott login") {
		t.Errorf("the login page: %d\n%s", r.status, r.body)
	}
	for _, r := range []response{b.post("/login", nil), b.get("/invitation"), b.post("/invitation", nil), b.post("/login/provider", nil), b.get(ReturnPath), b.post(endPath, nil)} {
		if r.status != http.StatusNotFound {
			t.Errorf("what there is not: %d", r.status)
		}
	}
	h.operator("anna")
}
