package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

const (
	right   = "korrekt pferd batterie"
	insurer = querschott.IK("109500969")
)

var home = netip.MustParseAddr("192.0.2.10")

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 2, 8, 0, 1, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// house is one process with local accounts.
type house struct {
	*Accounts
	fs       disk.FS
	clk      *clock
	sessions *ident.Sessions
}

func open(t testing.TB, fs disk.FS, clk *clock) *house {
	t.Helper()
	sessions := ident.NewSessions(clk.now, 0, 0)
	a, err := Open(Config{FS: fs, File: "staff.json", Used: "used", Now: clk.now, Sessions: sessions, Params: Params{Memory: 64, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return &house{a, fs, clk, sessions}
}

func newHouse(t testing.TB) *house { return open(t, crashdisk.New(), newClock()) }

// person is the owner of an account with what he alone knows.
type person struct {
	name, password string
	secret         []byte
	recovery       []string
}

func (h *house) code(p person) string { return totp(p.secret, h.clk.now().Unix()/30, totpDigits) }

func (h *house) attempt(p person) Attempt {
	return Attempt{Name: p.name, Password: p.password, Code: h.code(p), Address: home}
}

// enrolWith completes an account as its owner does.
func (h *house) enrolWith(t testing.TB, token string) person {
	t.Helper()
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base32Letters.DecodeString(e.Secret)
	if err != nil {
		t.Fatal(err)
	}
	p := person{name: e.Name, password: right, secret: secret}
	if p.recovery, err = h.Finish(t.Context(), token, right, h.code(p)); err != nil {
		t.Fatal(err)
	}
	h.clk.advance(time.Minute) // the code of the enrolment is used up
	return p
}

func (h *house) operator(t testing.TB, name string) person {
	t.Helper()
	token, _, err := h.Invite(Account{Name: name, Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	return h.enrolWith(t, token)
}

func (h *house) in(t testing.TB, a Attempt) Login {
	t.Helper()
	l, err := h.Login(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (h *house) refused(t testing.TB, why string, a Attempt, code querschott.Code) {
	t.Helper()
	l, err := h.Login(t.Context(), a)
	if querschott.CodeOf(err) != code || l.Secret != "" {
		t.Errorf("%s: %v, want %s", why, err, code)
	}
}

// TestTOTPVectors are those of RFC 6238, appendix B, for SHA-1.
func TestTOTPVectors(t *testing.T) {
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := totp([]byte("12345678901234567890"), at/30, 8); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
		if got := totp([]byte("12345678901234567890"), at/30, 6); got != want[2:] {
			t.Errorf("at %d: %s, want %s", at, got, want[2:])
		}
	}
}

func TestTOTPWindow(t *testing.T) {
	secret := []byte("12345678901234567890")
	now := time.Unix(1111111111, 0)
	step := now.Unix() / 30
	for d := int64(-3); d <= 3; d++ {
		got := totpMatch(secret, now, totp(secret, step+d, totpDigits))
		if in := -1 <= d && d <= 1; in != (got == step+d) || !in && got != 0 {
			t.Errorf("code of step %+d: matches %d of %d", d, got, step)
		}
	}
	for _, code := range []string{"", "00000", "0000000", "94287082", "٩٤٢٨٧٠"} {
		if totpMatch(secret, now, code) != 0 {
			t.Errorf("code %q matches", code)
		}
	}
}

func TestLoginOfAnOperatorAndOfStaff(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "Anna@Betrieb.example")
	token, _, err := h.Invite(Account{Name: "carla", Display: "Carla C.", Role: querschott.RoleStaff, Insurer: insurer}, "root")
	if err != nil {
		t.Fatal(err)
	}
	carla := h.enrolWith(t, token)
	first := h.in(t, h.attempt(anna))
	want := querschott.Caller{Actor: "anna@betrieb.example", Role: querschott.RoleOperator}
	if first.Session.Caller != want || first.Session.Credential.Role != querschott.RoleOperator || first.Recovery != recoveryCodes {
		t.Errorf("logged in as %+v", first)
	}
	second := h.in(t, h.attempt(carla))
	want = querschott.Caller{Actor: "carla", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurer}
	if second.Session.Caller != want || second.Session.Facts.Subject != "carla" || second.Session.Facts.Issuer != Issuer {
		t.Errorf("logged in as %+v", second)
	}
	if s, err := h.sessions.Session(first.Secret); err != nil || s.Caller.Actor != anna.querschottActor() {
		t.Errorf("session: %+v, %v", s, err)
	}
	if first.Session.CheckCSRF(second.Session.CSRF) == nil {
		t.Error("one session's CSRF token serves another")
	}
}

func (p person) querschottActor() querschott.Actor { return querschott.Actor(p.name) }

func TestEachFactorIsNeeded(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	for name, change := range map[string]func(*Attempt){
		"no password":              func(a *Attempt) { a.Password = "" },
		"wrong password":           func(a *Attempt) { a.Password += " " },
		"password in capitals":     func(a *Attempt) { a.Password = strings.ToUpper(right) },
		"endless password":         func(a *Attempt) { a.Password = strings.Repeat("x", 1<<20) },
		"no code":                  func(a *Attempt) { a.Code = "" },
		"wrong code":               func(a *Attempt) { a.Code = "000000" },
		"endless code":             func(a *Attempt) { a.Code = strings.Repeat("0", 1<<20) },
		"code of two steps ago":    func(a *Attempt) { a.Code = totp(anna.secret, h.clk.now().Unix()/30-2, totpDigits) },
		"code of the step after":   func(a *Attempt) { a.Code = totp(anna.secret, h.clk.now().Unix()/30+2, totpDigits) },
		"somebody else's code":     func(a *Attempt) { a.Code = h.code(ben) },
		"somebody else's recovery": func(a *Attempt) { a.Code = ben.recovery[0] },
		"recovery as password":     func(a *Attempt) { a.Password, a.Code = anna.recovery[0], anna.recovery[1] },
		"nobody":                   func(a *Attempt) { a.Name = "nobody" },
		"no name":                  func(a *Attempt) { a.Name = "" },
		"name with a space":        func(a *Attempt) { a.Name = "anna " },
		"name with an invisible":   func(a *Attempt) { a.Name = "an\u200bna" },
		"name in Cyrillic":         func(a *Attempt) { a.Name = "аnna" },
		"endless name":             func(a *Attempt) { a.Name = strings.Repeat("a", 1<<20) },
		"zero code, unknown account": func(a *Attempt) {
			a.Name, a.Code = "nobody", totp(make([]byte, totpBytes), h.clk.now().Unix()/30, totpDigits)
		},
	} {
		h.clk.advance(10 * time.Minute)
		a := h.attempt(anna)
		change(&a)
		h.refused(t, name, a, querschott.CodeUnauthorized)
	}
	h.clk.advance(10 * time.Minute)
	a := h.attempt(anna)
	a.Name, a.Code = "ANNA", a.Code[:3]+" "+a.Code[3:]
	h.in(t, a)
}

// TestCodeWorksOnce shows one code again: to this process, to another, after a crash, earlier codes, and by many at once.
func TestCodeWorksOnce(t *testing.T) {
	disk := crashdisk.New()
	h := open(t, disk, newClock())
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	h.clk.advance(time.Minute)
	a := h.attempt(anna)
	early := a
	early.Code = totp(anna.secret, h.clk.now().Unix()/30-1, totpDigits)
	h.in(t, a)
	h.refused(t, "the same code again", a, querschott.CodeUnauthorized)
	h.refused(t, "an earlier code", early, querschott.CodeUnauthorized)
	other := a
	other.Name = "ben"
	h.refused(t, "at another account", other, querschott.CodeUnauthorized)
	h.in(t, h.attempt(ben)) // and ben's own code is not used up by it
	for name, again := range map[string]*house{"another process": open(t, disk, h.clk), "after a crash": open(t, disk.Crash(rand.New(rand.NewPCG(5, 6))), h.clk)} {
		again.refused(t, name, a, querschott.CodeUnauthorized)
	}
	h.clk.advance(30 * time.Second)
	a = h.attempt(anna)
	var in atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := h.Login(context.Background(), a); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d logins by one code", in.Load())
	}
}

func TestRecoveryCodes(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	if len(anna.recovery) != recoveryCodes {
		t.Fatalf("%d codes", len(anna.recovery))
	}
	for i, code := range anna.recovery {
		h.clk.advance(10 * time.Minute)
		a := h.attempt(anna)
		a.Code = strings.ToUpper(code)
		if i%2 == 1 {
			a.Code = strings.ReplaceAll(code, "-", " ")
		}
		if l := h.in(t, a); l.Recovery != recoveryCodes-1-i {
			t.Errorf("%d codes left", l.Recovery)
		}
		h.refused(t, "a recovery code again", a, querschott.CodeUnauthorized)
	}
	h.in(t, h.attempt(anna))
}

func TestUseThatIsNotDurableLetsNobodyIn(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "syncdir"} {
		disk := crashdisk.New()
		h := open(t, disk, newClock())
		anna := h.operator(t, "anna")
		disk.Fail(func(o, _ string) error {
			if o == op {
				return errors.New("injected")
			}
			return nil
		})
		if _, err := h.Login(t.Context(), h.attempt(anna)); err == nil || h.sessions.Len() != 0 {
			t.Errorf("logged in although %s failed", op)
		}
	}
}

func TestDamagedStateLetsNobodyIn(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	for _, damaged := range []string{"", "{}", `{"factor":"AAAAAAAAAAAAAAAAAAAAAA==","step":-1,"recovery":0}`, `{"factor":"AAAAAAAAAAAAAAAAAAAAAA==","step":1,"recovery":1024}`, "null", strings.Repeat(" ", maxState+1)} {
		if err := disk.WriteFile(h.fs, h.used.path("anna"), []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		h.clk.advance(10 * time.Minute)
		h.refused(t, damaged, h.attempt(anna), querschott.CodeInternal)
		wrong := h.attempt(anna)
		wrong.Password = "x"
		h.refused(t, "with a wrong password it does not show", wrong, querschott.CodeUnauthorized)
	}
	h.in(t, h.attempt(ben))
	token, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.fs.Remove(h.used.path("anna")); err != nil {
		t.Fatal(err)
	}
	h.in(t, h.attempt(h.enrolWith(t, token)))
}

func TestLifeOfAnAccount(t *testing.T) {
	disk := crashdisk.New()
	h := open(t, disk, newClock())
	anna := h.operator(t, "anna")
	l := h.in(t, h.attempt(anna))
	if err := h.Disable("Anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sessions.Session(l.Secret); err == nil {
		t.Error("the session of a disabled account goes on")
	}
	h.clk.advance(time.Minute)
	h.refused(t, "a disabled account", h.attempt(anna), querschott.CodeUnauthorized)
	token, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	h.refused(t, "old password after the renewal", h.attempt(anna), querschott.CodeUnauthorized)
	again := h.enrolWith(t, token)
	h.refused(t, "old second factor after the renewal", h.attempt(anna), querschott.CodeUnauthorized)
	old := h.attempt(again)
	old.Code = anna.recovery[0]
	h.refused(t, "old recovery code after the renewal", old, querschott.CodeUnauthorized)
	l = h.in(t, h.attempt(again))

	// Another process takes the account away; the first learns it from the file.
	if err := open(t, disk, h.clk).Remove("anna"); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sessions.Session(l.Secret); err == nil {
		t.Error("the session of a removed account goes on")
	}
	h.clk.advance(time.Minute)
	h.refused(t, "a removed account", h.attempt(again), querschott.CodeUnauthorized)
	for name, err := range map[string]error{"Remove": h.Remove("anna"), "Disable": h.Disable("anna")} {
		if querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("%s of nobody: %v", name, err)
		}
	}
	if len(h.List()) != 0 {
		t.Errorf("List = %+v", h.List())
	}
}

func TestSessionsOfOthersAreLeftAlone(t *testing.T) {
	h := newHouse(t)
	console, _ := h.sessions.Begin("console", querschott.Caller{Actor: "anna", Role: querschott.RoleOperator}, ident.Facts{Subject: "anna"})
	h.operator(t, "anna")
	if err := h.Remove("anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sessions.Session(console); err != nil {
		t.Error("a session by login link ended with a local account")
	}
}

// TestSessionIsNotFixed logs in twice with a browser that holds a session already.
func TestSessionIsNotFixed(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	one := h.in(t, h.attempt(anna))
	h.clk.advance(time.Minute)
	a := h.attempt(anna)
	a.Device = one.Device
	two := h.in(t, a)
	if one.Secret == two.Secret || one.Session.CSRF == two.Session.CSRF || one.Session.Credential.ID == two.Session.Credential.ID || one.Device == two.Device {
		t.Error("two logins share a secret")
	}
	if strings.Contains(fmt.Sprintf("%+v", two.Session), two.Secret) {
		t.Error("the session shows its secret")
	}
}

func TestChangePassword(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	l := h.in(t, h.attempt(anna))
	h.clk.advance(time.Minute)
	const next = "ein anderes, langes Passwort"
	wrong := h.attempt(anna)
	wrong.Password = "x"
	if err := h.ChangePassword(t.Context(), wrong, next); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := h.ChangePassword(t.Context(), h.attempt(anna), "short"); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("to a short password: %v", err)
	}
	h.clk.advance(time.Minute)
	if err := h.ChangePassword(t.Context(), h.attempt(anna), next); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sessions.Session(l.Secret); err == nil {
		t.Error("a session of the old password goes on")
	}
	h.clk.advance(time.Minute)
	h.refused(t, "the old password", h.attempt(anna), querschott.CodeUnauthorized)
	anna.password = next
	h.in(t, h.attempt(anna))
}

func TestPasswordPolicy(t *testing.T) {
	for text, ok := range map[string]bool{
		"aaaaaaaaaaaa": true, "12 Zeichen..": true, "ぁぁぁぁぁぁぁぁぁぁぁぁ": true, strings.Repeat("x", maxPassword): true,
		"": false, "elf Zeichen": false, "ääää": false, "benutzername": false, "BenutzerName": false, "Benutzername@Kasse.example": false,
		strings.Repeat("x", maxPassword+1): false, "nicht UTF-8 \xff\xff": false,
		"u\u0308u\u0308u\u0308u\u0308u\u0308u\u0308": false, // six characters in twelve code points
	} {
		if err := checkPassword("benutzername@kasse.example", text); (err == nil) != ok || err != nil && querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("password %.30q: %v, want ok = %v", text, err, ok)
		}
	}
}

func TestPasswordFromAnotherKeyboard(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base32Letters.DecodeString(e.Secret)
	anna := person{name: "anna", password: "Größe Müller Straße", secret: secret}
	if _, err := h.Finish(t.Context(), token, "Gro\u0308ße Mu\u0308ller Straße", h.code(anna)); err != nil {
		t.Fatal(err)
	}
	h.clk.advance(time.Minute)
	h.in(t, h.attempt(anna))
}

func TestEnrolment(t *testing.T) {
	h := newHouse(t)
	token, expires, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil || !expires.Equal(h.clk.now().Truncate(time.Second).Add(72*time.Hour)) {
		t.Fatal(expires, err)
	}
	stale, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil || e.Secret == stale.Secret {
		t.Fatal("the second factor is the same twice", err)
	}
	u, err := url.Parse(e.URI)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Querschott:anna" || u.Query().Get("secret") != e.Secret ||
		u.Query().Get("issuer") != "Querschott" || u.Query().Get("digits") != "6" || u.Query().Get("period") != "30" || u.Query().Get("algorithm") != "SHA1" {
		t.Errorf("URI %s: %v", e.URI, err)
	}
	secretOf := func(e Enrolment) person {
		b, err := base32Letters.DecodeString(e.Secret)
		if err != nil {
			t.Fatal(err)
		}
		return person{name: "anna", password: right, secret: b}
	}
	anna := secretOf(e)
	finish := func(token, password, code string, want querschott.Code) {
		t.Helper()
		if _, err := h.Finish(t.Context(), token, password, code); querschott.CodeOf(err) != want {
			t.Errorf("Finish: %v, want %s", err, want)
		}
	}
	finish("x"+token, right, h.code(anna), querschott.CodeUnauthorized)
	finish("", right, h.code(anna), querschott.CodeUnauthorized)
	finish(token, "short", h.code(anna), querschott.CodeInvalid)
	finish(token, right, h.code(secretOf(stale)), querschott.CodeInvalid)
	finish(token, right, "", querschott.CodeInvalid)
	h.refused(t, "before the enrolment", h.attempt(anna), querschott.CodeUnauthorized)
	if _, err := h.Finish(t.Context(), token, right, h.code(anna)); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "with the code of the enrolment", h.attempt(anna), querschott.CodeUnauthorized)
	finish(token, right, h.code(anna), querschott.CodeUnauthorized)
	if _, err := h.Begin(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("a used invitation: %v", err)
	}
	if _, _, err := h.Invite(Account{Name: "ANNA", Role: querschott.RoleOperator}, "root"); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("a second account of the name: %v", err)
	}
}

func TestInvitationsThatDoNotWork(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base32Letters.DecodeString(e.Secret)
	anna := person{secret: secret}
	h.clk.advance(pendingLife)
	if _, err := h.Finish(t.Context(), token, right, h.code(anna)); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a second factor shown half an hour ago: %v", err)
	}
	second, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation that was replaced: %v", err)
	}
	h.clk.advance(72 * time.Hour)
	if _, err := h.Begin(second); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation that is over: %v", err)
	}
	third, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Disable("anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(third); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation of a disabled account: %v", err)
	}
	for name, who := range map[string]Account{
		"no name": {Role: querschott.RoleOperator}, "odd name": {Name: "anna b", Role: querschott.RoleOperator},
		"umlaut": {Name: "müller", Role: querschott.RoleOperator}, "colon": {Name: "ad:anna", Role: querschott.RoleOperator},
		"long name": {Name: strings.Repeat("a", maxName+1), Role: querschott.RoleOperator},
		"no role":   {Name: "x"}, "role of a machine": {Name: "x", Role: querschott.RoleMachine},
		"staff of nobody": {Name: "x", Role: querschott.RoleStaff}, "operator of an insurer": {Name: "x", Role: querschott.RoleOperator, Insurer: insurer},
		"staff of what is no insurer": {Name: "x", Role: querschott.RoleStaff, Insurer: "109500968"},
		"long name to show":           {Name: "x", Role: querschott.RoleOperator, Display: strings.Repeat("x", maxDisplay+1)},
	} {
		if _, _, err := h.Invite(who, "root"); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// TestStrangersLockNobodyOut tries an account from everywhere until it is refused, and then lets its owner in.
func TestStrangersLockNobodyOut(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	known := h.in(t, h.attempt(anna))
	h.clk.advance(time.Minute)
	tries := 0
	for i := range 100 {
		a := Attempt{Name: "aNNa", Password: "x", Code: "000000", Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}
		_, err := h.Login(t.Context(), a)
		if querschott.CodeOf(err) == querschott.CodeTooMany {
			if after := RetryAfter(err); after <= 0 || after > accountRate.pause {
				t.Errorf("to be tried again after %v", after)
			}
			continue
		}
		tries++
	}
	if tries != accountRate.burst {
		t.Errorf("%d guesses at once from a hundred addresses, want %d", tries, accountRate.burst)
	}
	h.refused(t, "the owner with a strange browser", h.attempt(anna), querschott.CodeTooMany)
	a := h.attempt(anna)
	a.Device = known.Device
	h.in(t, a)
	h.in(t, h.attempt(ben)) // nobody else notices
	h.clk.advance(accountRate.pause)
	h.in(t, h.attempt(anna)) // and it passes by itself
}

func TestOneAddressIsThrottled(t *testing.T) {
	h := newHouse(t)
	tries := 0
	for i := range 100 {
		// One IPv6 network of one party, other names each time.
		a := Attempt{Name: fmt.Sprintf("name%d", i), Password: "x", Address: netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::%x", i, i))}
		if _, err := h.Login(t.Context(), a); querschott.CodeOf(err) == querschott.CodeUnauthorized {
			tries++
		}
	}
	if tries != addressRate.burst {
		t.Errorf("%d guesses at once from one network, want %d", tries, addressRate.burst)
	}
	mapped := Attempt{Name: "x", Address: netip.MustParseAddr("::ffff:198.51.100.1")}
	for range addressRate.burst {
		if _, err := h.Login(t.Context(), mapped); querschott.CodeOf(err) == querschott.CodeTooMany {
			break
		}
		mapped.Name += "x"
	}
	mapped.Address, mapped.Name = mapped.Address.Unmap(), "y"
	h.refused(t, "the same address in its other form", mapped, querschott.CodeTooMany)
}

// TestKnownBrowser checks that nobody makes himself a known browser, and that one is throttled, too.
func TestKnownBrowser(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	device := h.in(t, h.attempt(anna)).Device
	account := func(p person) *account {
		c := h.table.Load().byName[p.name]
		return &c
	}
	now := h.clk.now()
	if _, ok := h.used.knows(account(anna), device, now); !ok {
		t.Error("a browser that logged in is a stranger")
	}
	flipped := []byte(device)
	flipped[3] ^= 1
	for name, tc := range map[string]struct {
		of     person
		device string
		at     time.Time
	}{
		"of another account": {ben, device, now}, "too old": {anna, device, now.Add(deviceLife)}, "changed": {anna, string(flipped), now},
		"cut": {anna, device[:len(device)-2], now}, "none": {anna, "", now}, "endless": {anna, strings.Repeat("00", 1<<16), now},
	} {
		if _, ok := h.used.knows(account(tc.of), tc.device, tc.at); ok {
			t.Errorf("%s: a stranger is known", name)
		}
	}
	for i := range deviceRate.burst + 1 {
		want := querschott.CodeUnauthorized
		if i == deviceRate.burst {
			want = querschott.CodeTooMany
		}
		h.refused(t, fmt.Sprint("try ", i), Attempt{Name: "anna", Password: "x", Device: device, Address: home}, want)
	}
	token, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	h.enrolWith(t, token)
	if _, ok := h.used.knows(account(anna), device, now); ok {
		t.Error("a browser of before the renewal is known")
	}
}

func TestThrottleAgainstModel(t *testing.T) {
	r := rate{3, 10 * time.Second}
	th := newThrottle(r)
	rng := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1e9, 0)
	tokens, last := float64(r.burst), now
	for range 5000 {
		now = now.Add(time.Duration(rng.IntN(12)) * time.Second)
		tokens = min(float64(r.burst), tokens+now.Sub(last).Seconds()/r.pause.Seconds())
		last = now
		wait := th.take("k", now)
		if got, want := wait == 0, tokens > 1-1e-6; got != want {
			t.Fatalf("passes = %v with %f tokens", got, tokens)
		}
		if wait == 0 {
			tokens--
		} else if back := (1 - tokens) * r.pause.Seconds(); wait.Seconds()-back > 1e-3 || back-wait.Seconds() > 1e-3 {
			t.Fatalf("wait %v, want %fs", wait, back)
		}
		if wait == 0 && rng.IntN(4) == 0 {
			th.give("k", now)
			tokens = min(float64(r.burst), tokens+1)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th, now := newThrottle(accountRate), time.Unix(1e9, 0)
	for range accountRate.burst {
		th.take("victim", now)
	}
	for i := range maxBuckets + 5000 {
		th.take(fmt.Sprint(i), now)
	}
	if len(th.full) > maxBuckets {
		t.Errorf("%d keys", len(th.full))
	}
	if th.take("victim", now) == 0 {
		t.Error("a flood of names washed out what is known of one that was tried often")
	}
	now = now.Add(time.Hour)
	th.take("x", now)
	th.take("y", now)
	if len(th.full) > 2 {
		t.Errorf("%d keys after an hour", len(th.full))
	}
}

// TestFloodIsBounded holds the only place for hashes and lets a crowd come.
func TestFloodIsBounded(t *testing.T) {
	h := newHasher(1)
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { _ = h.run(t.Context(), false, func() { close(held); <-hold }) })
	<-held
	var running, most, served, refused atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	for range 10 * maxWaiting {
		all.Go(func() {
			err := h.run(ctx, false, func() { most.Store(max(most.Load(), running.Add(1))); running.Add(-1); served.Add(1) })
			if querschott.CodeOf(err) == querschott.CodeTooMany {
				refused.Add(1)
			}
		})
	}
	for refused.Load() == 0 { // the crowd has filled the queue
		if err := h.run(t.Context(), true, func() {}); err != nil {
			t.Fatalf("a known browser waits with the strangers: %v", err)
		}
	}
	close(hold)
	all.Wait()
	cancel()
	if most.Load() != 1 || served.Load()+refused.Load() != 10*maxWaiting || served.Load() < maxWaiting {
		t.Errorf("%d at once, %d served, %d refused", most.Load(), served.Load(), refused.Load())
	}
	if err := func() error {
		h.places <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return h.run(ctx, false, func() { t.Error("served without a place") })
	}(); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting past the context: %v", err)
	}
}

// TestCostsAreEqual counts what an attempt costs instead of measuring time: the same hash, whoever is named.
func TestCostsAreEqual(t *testing.T) {
	h := newHouse(t)
	h.operator(t, "anna")
	h.cfg.Params = Params{Memory: 128, Time: 2, Threads: 1} // of passwords to come; anna's is older
	for _, name := range []string{"nobody", "", "x@y", "anna2"} {
		n := h.nobody(name)
		if n.Password.Params != (Params{Memory: 64, Time: 1, Threads: 1}) || len(n.Factor.Recovery) != recoveryCodes {
			t.Errorf("%q costs %+v", name, n.Password.Params)
		}
	}
	h.operator(t, "ben")
	costs := map[Params]int{}
	for i := range 200 {
		name := fmt.Sprint("nobody", i)
		p := h.nobody(name).Password.Params
		if p != h.nobody(name).Password.Params {
			t.Error("one name costs differently each time")
		}
		costs[p]++
	}
	if len(costs) != 2 {
		t.Errorf("unknown names cost %v, accounts cost two kinds", costs)
	}
}

func TestOnlyHashesOnDisk(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	before, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	anna := h.enrolWith(t, token)
	after, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(anna.recovery, token, right, strings.ReplaceAll(anna.recovery[0], "-", "")) {
		if strings.Contains(string(before)+string(after), secret) {
			t.Errorf("a secret stands on disk")
		}
	}
	names, err := h.fs.List("used")
	if err != nil || len(names) != 2 || strings.Contains(strings.Join(names, " "), "anna") {
		t.Errorf("used directory: %v, %v", names, err)
	}
}

func TestDamagedFileStopsTheStart(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	data, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	entry := good[strings.Index(good, "{\n\t\t\t"):strings.LastIndex(good, "\n\t]")]
	for name, damaged := range map[string]string{
		"empty": "", "cut": good[:len(good)/2], "null": "null", "no list": "{}", "more": good + "[]",
		"unknown field": strings.Replace(good, `"role"`, `"rolle"`, 1),
		"twice":         strings.Replace(good, entry, entry+","+entry, 1),
		"capital":       strings.Replace(good, `"anna"`, `"Anna"`, 1),
		"role":          strings.Replace(good, `"operator"`, `"machine"`, 1),
		"staff":         strings.Replace(good, `"operator"`, `"staff"`, 1),
		"cheap":         strings.Replace(good, `"memory": 64`, `"memory": 1`, 1),
		"dear":          strings.Replace(good, `"memory": 64`, `"memory": 1000000`, 1),
		"endless":       strings.Replace(good, `"time": 1`, `"time": 1000000`, 1),
		"no salt":       strings.Replace(good, `"salt": "`, `"salt": "AAAA`, 1),
		"no factor":     strings.Replace(good, `"factor": {`, `"factor": null, "factor2": {`, 1),
		"short secret":  strings.Replace(good, `"secret": "`, `"secret": "AAAA`, 1),
	} {
		if damaged == good {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if err := disk.WriteFile(h.fs, "staff.json", []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(h.cfg); err == nil || !strings.Contains(err.Error(), "couldn't understand accounts file staff.json") {
			t.Errorf("%s: start = %v", name, err)
		}
		if err := h.Reload(); err == nil {
			t.Errorf("%s: reloaded", name)
		}
	}
	h.in(t, h.attempt(anna)) // by the list in force
	if err := disk.WriteFile(h.fs, "used/"+deviceKeyName, []byte("short")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.cfg); err == nil || !strings.Contains(err.Error(), deviceKeyName) {
		t.Errorf("a damaged key of browsers: %v", err)
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	good := newHouse(t).cfg
	for name, change := range map[string]func(*Config){
		"params":                   func(c *Config) { c.Params = Params{Memory: 1, Time: 1, Threads: 1} },
		"platform":                 func(c *Config) { c.Platform = "a:b" },
		"one directory for both":   func(c *Config) { c.File, c.Used = "data/staff.json", "data/" },
		"too much memory per hash": func(c *Config) { c.Params = Params{Memory: 512 << 10, Time: 1, Threads: 1} },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if p := StandardParams(); p.check() != nil || p.Memory < 64<<10 || p.Time < 3 {
		t.Errorf("the standard is %+v", p)
	}
}

func TestOnARealDisk(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	cfg := Config{FS: disk.OS{}, File: dir + "/staff.json", Used: dir + "/used", Now: clk.now, Params: Params{Memory: 64, Time: 1, Threads: 1}, Sessions: ident.NewSessions(clk.now, 0, 0)}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			a, err := Open(cfg)
			if err == nil {
				h := &house{a, cfg.FS, clk, cfg.Sessions}
				var token string
				if token, _, err = h.Invite(Account{Name: fmt.Sprint("anna", i), Role: querschott.RoleOperator}, "root"); err == nil {
					e, _ := h.Begin(token)
					secret, _ := base32Letters.DecodeString(e.Secret)
					_, err = h.Finish(context.Background(), token, right, h.code(person{secret: secret}))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	a, err := Open(cfg)
	if err != nil || len(a.table.Load().enrolled) != 6 {
		t.Errorf("six commands at once left %+v: %v", a.List(), err)
	}
}

func FuzzParseFile(f *testing.F) {
	h := newHouse(f)
	h.operator(f, "anna")
	data, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"accounts":[{"name":"c","role":"staff","insurer":"109500969","created":"2026-03-02T08:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		byName, err := parseFile(data)
		if err != nil {
			return
		}
		fs := crashdisk.New()
		if err := writeFile(fs, "f", byName); err != nil {
			t.Skip("a time that JSON cannot hold")
		}
		again, err := readFile(fs, "f")
		if err != nil {
			t.Fatalf("what was read is not understood when written: %v", err)
		}
		one, _ := json.Marshal(byName)
		two, _ := json.Marshal(again)
		if string(one) != string(two) {
			t.Fatalf("%s became %s", one, two)
		}
	})
}

func FuzzCode(f *testing.F) {
	for _, s := range []string{"123 456", "abcd-efgh-ijkl-mnop", "", "１２３４５６"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := plainCode(s)
		if c != "" && len(c) != totpDigits && len(c) != recoveryChars || plainCode(c) != c {
			t.Errorf("%q became %q", s, c)
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	p := password{Params: StandardParams(), Salt: make([]byte, saltBytes)}
	for b.Loop() {
		p.derive(right)
	}
}
