package ident

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func openConsole(t testing.TB, fs disk.FS, now func() time.Time) *Console {
	t.Helper()
	c, err := OpenConsole(ConsoleConfig{FS: fs, Dir: "links", Now: now, Link: 10 * time.Minute, Idle: 15 * time.Minute, Absolute: 8 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func login(t testing.TB, c *Console, actor querschott.Actor) (string, Session) {
	t.Helper()
	token, _, err := c.Link(actor)
	if err != nil {
		t.Fatal(err)
	}
	secret, s, err := c.Login(token)
	if err != nil {
		t.Fatal(err)
	}
	return secret, s
}

func TestLinkWorksOnce(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	command, node := openConsole(t, fs, clk.now), openConsole(t, fs, clk.now)
	token, expires, err := command.Link("anna@example")
	if err != nil || !expires.Equal(clk.now().Add(10*time.Minute)) {
		t.Fatalf("Link: %v, expires %v", err, expires)
	}
	secret, s, err := node.Login(token)
	if err != nil {
		t.Fatal(err)
	}
	if s.Credential.Actor != "anna@example" || s.Credential.Role != querschott.RoleOperator {
		t.Errorf("logged in as %+v", s.Credential)
	}
	if strings.Contains(string(s.Credential.ID), secret[:8]) {
		t.Error("the credential's name shows the secret")
	}
	for name, c := range map[string]*Console{"node": node, "command": command, "after a crash": openConsole(t, fs.Crash(rand.New(rand.NewPCG(3, 4))), clk.now)} {
		if _, _, err := c.Login(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
			t.Errorf("%s: second use of a link: %v, want unauthorized", name, err)
		}
	}
}

func TestLinkIsUsedByOneOfMany(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	first, second := openConsole(t, fs, clk.now), openConsole(t, fs, clk.now)
	token, _, err := first.Link("anna@example")
	if err != nil {
		t.Fatal(err)
	}
	var in atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		c := first
		if i%2 == 1 {
			c = second
		}
		wg.Go(func() {
			if _, _, err := c.Login(token); err == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d sessions from one link", in.Load())
	}
}

func TestLinksThatDoNotWork(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	c := openConsole(t, fs, clk.now)
	token, _, err := c.Link("anna@example")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"", "x", token[:50], token + "x", strings.ToUpper(token), "../accounts.json", strings.Repeat("a", 1<<16)} {
		if _, _, err := c.Login(wrong); querschott.CodeOf(err) != querschott.CodeUnauthorized {
			t.Errorf("Login(%.20q): %v, want unauthorized", wrong, err)
		}
	}
	clk.advance(10 * time.Minute)
	if _, _, err := c.Login(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an expired link: %v, want unauthorized", err)
	}
	if _, _, err := c.Link(""); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a link for nobody: %v", err)
	}
}

func TestOnlyHashesOnDisk(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	c := openConsole(t, fs, clk.now)
	token, _, err := c.Link("anna@example")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("links")
	if err != nil || len(names) != 1 {
		t.Fatalf("files of links: %v, %v", names, err)
	}
	data, err := disk.ReadFile(fs, "links/"+names[0], 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(names[0]+string(data), token) {
		t.Error("the token stands on disk")
	}
}

func TestLinkThatCannotBeUsedUpLetsNobodyIn(t *testing.T) {
	for _, op := range []string{"remove", "syncdir"} {
		fs, clk := crashdisk.New(), newClock()
		c := openConsole(t, fs, clk.now)
		token, _, err := c.Link("anna@example")
		if err != nil {
			t.Fatal(err)
		}
		fs.Fail(func(o, _ string) error {
			if o == op {
				return errors.New("injected")
			}
			return nil
		})
		if _, _, err := c.Login(token); err == nil {
			t.Errorf("logged in although %s failed", op)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	clk := newClock()
	c := openConsole(t, crashdisk.New(), clk.now)
	idle, _ := login(t, c, "anna@example")
	busy, begun := login(t, c, "ben@example")
	for clk.now().Before(begun.Begun.Add(8*time.Hour - 10*time.Minute)) {
		clk.advance(10 * time.Minute)
		if _, err := c.Session(busy); err != nil {
			t.Fatalf("a session in use ended after %v: %v", clk.now().Sub(begun.Begun), err)
		}
	}
	if _, err := c.Session(idle); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an idle session: %v, want unauthorized", err)
	}
	clk.advance(10 * time.Minute)
	if _, err := c.Session(busy); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("a session of eight hours: %v, want unauthorized", err)
	}
}

func TestLogoutAndRevoke(t *testing.T) {
	clk := newClock()
	c := openConsole(t, crashdisk.New(), clk.now)
	one, _ := login(t, c, "anna@example")
	two, _ := login(t, c, "anna@example")
	ben, _ := login(t, c, "ben@example")
	pending, _, err := c.Link("anna@example")
	if err != nil {
		t.Fatal(err)
	}
	c.Logout(one)
	if _, err := c.Session(one); err == nil {
		t.Error("logged out and still in")
	}
	if n, err := c.Revoke("anna@example"); n != 1 || err != nil {
		t.Errorf("Revoke = %d, %v, want 1 session", n, err)
	}
	if _, err := c.Session(two); err == nil {
		t.Error("revoked and still in")
	}
	if _, _, err := c.Login(pending); err == nil {
		t.Error("a link of a revoked operator works")
	}
	if _, err := c.Session(ben); err != nil {
		t.Errorf("somebody else's session ended: %v", err)
	}
}

func TestCSRF(t *testing.T) {
	clk := newClock()
	c := openConsole(t, crashdisk.New(), clk.now)
	secret, anna := login(t, c, "anna@example")
	_, ben := login(t, c, "ben@example")
	again, err := c.Session(secret)
	if err != nil || again.CSRF != anna.CSRF {
		t.Errorf("the token changes within a session: %v", err)
	}
	if err := anna.CheckCSRF(anna.CSRF); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", ben.CSRF, anna.CSRF[1:], secret} {
		if err := anna.CheckCSRF(wrong); querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("CheckCSRF(%q) = %v, want forbidden", wrong, err)
		}
	}
	if (Session{}).CheckCSRF("") == nil {
		t.Error("no session and no token is accepted")
	}
}

func TestSweep(t *testing.T) {
	fs, clk := crashdisk.New(), newClock()
	c := openConsole(t, fs, clk.now)
	login(t, c, "anna@example")
	if _, _, err := c.Link("ben@example"); err != nil {
		t.Fatal(err)
	}
	clk.advance(time.Hour)
	if err := c.Sweep(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("links")
	if err != nil || len(names) != 0 || c.sessions.Len() != 0 {
		t.Errorf("after the sweep: links %v (%v), %d sessions", names, err, c.sessions.Len())
	}
}

func TestNumberOfSessionsIsBounded(t *testing.T) {
	clk := newClock()
	s := NewSessions(clk.now, time.Hour, time.Hour)
	anna, _ := s.Begin("test", querschott.Caller{Actor: "anna@example"}, Facts{})
	var bens []string
	for range maxActorSessions + 1 {
		clk.advance(time.Millisecond)
		secret, _ := s.Begin("test", querschott.Caller{Actor: "ben@example"}, Facts{})
		bens = append(bens, secret)
	}
	if _, err := s.Session(bens[0]); err == nil || s.Len() != maxActorSessions+1 {
		t.Errorf("%d sessions, the actor's oldest still there: %v", s.Len(), err == nil)
	}
	if _, err := s.Session(anna); err != nil {
		t.Error("one actor's logins ended the session of another")
	}
}

func TestAllSessionsAreBounded(t *testing.T) {
	clk := newClock()
	s := NewSessions(clk.now, time.Hour, time.Hour)
	for i := range maxSessions { // as if begun, without the search for room each time
		s.held[sessionKey(strconv.Itoa(i))] = &session{Session: Session{Begun: clk.now()}, seen: clk.now().Add(time.Duration(i))}
	}
	clk.advance(time.Second)
	secret, _ := s.Begin("test", querschott.Caller{Actor: "anna@example"}, Facts{})
	if _, err := s.Session("0"); err == nil || s.Len() != maxSessions {
		t.Errorf("%d sessions, the idlest still there: %v", s.Len(), err == nil)
	}
	if _, err := s.Session(secret); err != nil {
		t.Error(err)
	}
}

func TestSessionsAreShared(t *testing.T) {
	clk := newClock()
	shared := NewSessions(clk.now, 0, 0)
	c, err := OpenConsole(ConsoleConfig{FS: crashdisk.New(), Dir: "links", Now: clk.now, Sessions: shared})
	if err != nil {
		t.Fatal(err)
	}
	facts := Facts{Subject: "carla@example", Session: "sid-1"}
	secret, begun := shared.Begin("oidc", querschott.Caller{Actor: "carla@example", Role: querschott.RoleStaff, Insurer: "109500969"}, facts)
	s, err := c.Session(secret)
	if err != nil || s.Caller.Insurer != "109500969" || s.Credential.Role != querschott.RoleStaff {
		t.Fatalf("a session of another way in: %+v, %v", s, err)
	}
	id := begun.Identity()
	if id.Credential != begun.Credential || id.Facts != facts || !id.Expires.Equal(clk.now().Add(15*time.Minute)) {
		t.Errorf("identity of a session: %+v", id)
	}
	_, anna := login(t, c, "anna@example")
	if anna.Facts.Session != string(anna.Credential.ID) || anna.Facts.Subject != "anna@example" {
		t.Errorf("a revocation cannot name the session: %+v", anna.Facts)
	}
}

// TestSessionsAgainstModel runs random histories against the plainest description of what a session is.
func TestSessionsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type known struct {
			actor       querschott.Actor
			begun, seen time.Time
			over        bool
		}
		clk := newClock()
		c, err := OpenConsole(ConsoleConfig{FS: crashdisk.New(), Dir: "links", Now: clk.now})
		if err != nil {
			t.Fatal(err)
		}
		model := map[string]*known{}
		var secrets []string
		t.Repeat(map[string]func(*rapid.T){
			"login": func(t *rapid.T) {
				actor := rapid.SampledFrom([]querschott.Actor{"anna@example", "ben@example"}).Draw(t, "actor")
				token, _, err := c.Link(actor)
				if err != nil {
					t.Fatal(err)
				}
				secret, _, err := c.Login(token)
				if err != nil {
					t.Fatal(err)
				}
				model[secret] = &known{actor: actor, begun: clk.now(), seen: clk.now()}
				secrets = append(secrets, secret)
			},
			"wait": func(t *rapid.T) {
				clk.advance(time.Duration(rapid.IntRange(1, 14*60).Draw(t, "seconds")) * time.Second)
			},
			"look": func(t *rapid.T) {
				if len(secrets) == 0 {
					t.Skip()
				}
				secret := rapid.SampledFrom(secrets).Draw(t, "session")
				m, now := model[secret], clk.now()
				want := !m.over && now.Sub(m.seen) < 15*time.Minute && now.Sub(m.begun) < 8*time.Hour
				s, err := c.Session(secret)
				if got := err == nil; got != want || got && s.Credential.Actor != m.actor {
					t.Fatalf("session of %s: in = %v as %s, want %v", m.actor, got, s.Credential.Actor, want)
				}
				if want {
					m.seen = now
				} else {
					m.over = true
				}
			},
			"revoke": func(t *rapid.T) {
				if _, err := c.Revoke("anna@example"); err != nil {
					t.Fatal(err)
				}
				for _, m := range model {
					m.over = m.over || m.actor == "anna@example"
				}
			},
		})
	})
}

func TestLookingIsNoActivity(t *testing.T) {
	clk := newClock()
	c := openConsole(t, crashdisk.New(), clk.now)
	secret, s := login(t, c, "anna")
	for range 14 {
		clk.advance(time.Minute)
		if got, err := c.Look(secret); err != nil || got != s {
			t.Fatalf("look: %+v, %v, want %+v", got, err, s)
		}
	}
	clk.advance(time.Minute)
	if _, err := c.Look(secret); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("looking kept the session alive: %v", err)
	}
	if _, err := c.Look("x"); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an unknown session: %v", err)
	}
}
