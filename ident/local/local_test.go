package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
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

// TestRightAttemptsAreNotCounted logs in more often at once than somebody may fail.
func TestRightAttemptsAreNotCounted(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	for _, code := range append(anna.recovery, h.code(anna)) {
		a := h.attempt(anna)
		a.Code = code
		h.in(t, a)
	}
}

// meddling is a disk on which something happens before a file is opened.
type meddling struct {
	*crashdisk.Disk
	before func(name string)
}

func (m *meddling) Open(name string) (disk.File, error) {
	if m.before != nil {
		m.before(name)
	}
	return m.Disk.Open(name)
}

// TestUseIsDecidedOnce shows a code that another process uses up after this one has looked.
func TestUseIsDecidedOnce(t *testing.T) {
	fs := &meddling{Disk: crashdisk.New()}
	h := open(t, fs, newClock())
	anna := h.operator(t, "anna")
	other := open(t, fs.Disk, h.clk)
	a, looks := h.attempt(anna), 0
	fs.before = func(name string) {
		if name != h.used.path("anna") {
			return
		}
		if looks++; looks == 2 { // the first look is before the decision, the second is the decision
			other.in(t, a)
		}
	}
	h.refused(t, "a code that was used a moment ago", a, querschott.CodeUnauthorized)
	if looks != 2 {
		t.Errorf("looked %d times", looks)
	}
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
	h.clk.advance(time.Minute)
	if err := h.ChangePassword(t.Context(), h.attempt(anna), "another long password"); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("another password for a disabled account: %v", err)
	}
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

// TestDisabledWhileLoggingIn takes the account away after both factors were found right.
func TestDisabledWhileLoggingIn(t *testing.T) {
	disk := crashdisk.New()
	h := open(t, disk, newClock())
	anna := h.operator(t, "anna")
	var once sync.Once
	disk.Fail(func(op, name string) error {
		if op == "syncdir" && name == "used" {
			once.Do(func() {
				byName := maps.Clone(h.table.Load().byName)
				delete(byName, "anna")
				h.install(byName)
			})
		}
		return nil
	})
	h.refused(t, "an account that went in between", h.attempt(anna), querschott.CodeUnauthorized)
	if h.sessions.Len() != 0 {
		t.Error("a session of an account that went goes on")
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

func BenchmarkLogin(b *testing.B) {
	p := password{Params: StandardParams(), Salt: make([]byte, saltBytes)}
	for b.Loop() {
		p.derive(right)
	}
}
