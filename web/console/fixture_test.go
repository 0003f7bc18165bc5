package console

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// clock is moved by the test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is a console over a real book and real sessions, with doors that are open.
type house struct {
	t        testing.TB
	clk      *clock
	disk     *crashdisk.Disk
	book     *door.Book
	access   *ident.Console
	local    *local.Accounts
	sessions *ident.Sessions
	console  *Console
	server   *httptest.Server
	signers  map[querschott.Actor]note.Signer
	insurers []Insurer
	services []querschott.Service

	mu      sync.Mutex
	snap    Snapshot // what the node says
	revoked map[querschott.Actor]bool
	records []string // of logins
	broken  error    // why nothing can be recorded
}

var places = []string{
	"Ahorn Nordmark", "BKK Hafenwerk", "IKK Elbtal", "Betriebskrankenkasse Kessel & Söhne", "Knappenkasse Süd", "Ersatzkasse Merkur",
	"BKK Lindenhof", "Landkasse Havelland", "Auwald Wesergau", "BKK Turbine", "Seekasse Kontor", "IKK Handwerk Mitte",
}

// ik returns the nth valid IK of a range that nobody has.
func ik(n int) querschott.IK {
	s := fmt.Sprintf("1099%04d", n)
	return querschott.IK(s + string(querschott.IKCheckDigit(s)))
}

func newHouse(t testing.TB, insurers int, services ...querschott.Service) *house {
	t.Helper()
	return newHouseWith(t, insurers, services)
}

func newHouseWith(t testing.TB, insurers int, services []querschott.Service, more ...func(*house, *Config)) *house {
	t.Helper()
	h := &house{t: t, clk: &clock{t: time.Date(2026, 11, 23, 13, 2, 11, 0, time.UTC)}, disk: crashdisk.New(), signers: map[querschott.Actor]note.Signer{}, services: services}
	var all []querschott.Compartment
	for n := range insurers {
		name := places[n%len(places)]
		if n >= len(places) {
			name = fmt.Sprintf("%s %d", name, n/len(places)+1)
		}
		h.insurers = append(h.insurers, Insurer{IK: ik(n + 1), Name: name, Insured: 100_000 + 7_310*n})
		for _, s := range services {
			all = append(all, querschott.Compartment{Insurer: ik(n + 1), Service: s})
		}
	}
	var operators []door.Operator
	for _, who := range []querschott.Actor{"anna", "bert", "carla"} {
		private, public, err := note.GenerateKey(rand.Reader, string(who)+"@console")
		if err != nil {
			t.Fatal(err)
		}
		if h.signers[who], err = note.NewSigner(private); err != nil {
			t.Fatal(err)
		}
		operators = append(operators, door.Operator{Name: who, Keys: []string{public}})
	}
	private, public, err := note.GenerateKey(rand.Reader, "querschott@console")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	machineKey, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	h.book, err = door.Open(door.Config{
		FS: h.disk, Dir: "doors", Compartments: all, Operators: operators, Now: h.clk.now, Log: quiet, Machine: machine, MachineKey: machineKey,
		Record: func(context.Context, door.Order) error { return nil }, Patience: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		h.move(c, querschott.Open, "Beginn des Betriebs")
	}
	h.sessions = ident.NewSessions(h.clk.now, 0, 0)
	if h.access, err = ident.OpenConsole(ident.ConsoleConfig{FS: h.disk, Dir: "links", Now: h.clk.now, Sessions: h.sessions}); err != nil {
		t.Fatal(err)
	}
	h.local, err = local.Open(local.Config{
		FS: h.disk, File: "staff.json", Used: "used", Now: h.clk.now, Sessions: h.sessions, Params: local.Params{Memory: 64, Time: 1, Threads: 1},
		Platform: "kassen.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	h.snap = Snapshot{RoomHours: 61, Totals: Totals{Accepted: 48_213, Delivered: 48_207, Waiting: 6, Audited: h.clk.now()}}
	cfg := Config{
		Doors: h.book, Access: h.access, Local: h.local, Operator: h.who, Record: h.record, Insurers: h.insurers, Services: services, Origins: []string{"https://console.example.org"},
		Signer: func(a querschott.Actor) (note.Signer, error) {
			if s, ok := h.signers[a]; ok {
				return s, nil
			}
			return nil, fmt.Errorf("no key for %s", a)
		},
		Snapshot: func() Snapshot { h.mu.Lock(); defer h.mu.Unlock(); return h.snap },
		Now:      h.clk.now, Log: quiet, Version: "0.1-test",
	}
	for _, f := range more {
		f(h, &cfg)
	}
	h.console, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.console.Run(ctx) }()
	h.server = httptest.NewUnstartedServer(h.console)
	h.server.Config = NewServer("", h.console, quiet)
	h.server.Start()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.server.Close()
	})
	return h
}

// who knows the operators, by whichever way they came in.
func (h *house) who(s ident.Session) (querschott.Actor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := querschott.Actor(strings.TrimPrefix(string(s.Caller.Actor), "corp:"))
	if _, ok := h.signers[who]; !ok || h.revoked[who] || !h.local.Valid(s) {
		return "", querschott.Refuse(querschott.CodeForbidden, "access denied")
	}
	return who, nil
}

func (h *house) record(_ context.Context, who querschott.Credential, admitted bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return h.broken
	}
	h.records = append(h.records, fmt.Sprintf("%s %s %t", who.Actor, who.Role, admitted))
	return nil
}

func (h *house) revoke(who querschott.Actor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revoked = map[querschott.Actor]bool{who: true}
}

// move orders a door, by two operators if it takes two.
func (h *house) move(c querschott.Compartment, to querschott.DoorState, reason string) {
	h.t.Helper()
	out, err := h.book.Set(context.Background(), door.Request{Compartment: c, To: to, Reason: reason}, h.signers["anna"])
	if err == nil && out.Proposal != nil {
		_, err = h.book.Approve(context.Background(), out.Proposal.ID, h.signers["bert"])
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) say(f func(*Snapshot)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.snap
	f(&s)
	h.snap = s
}

func (h *house) c(n int, s querschott.Service) querschott.Compartment {
	return querschott.Compartment{Insurer: h.insurers[n].IK, Service: s}
}

// browser is somebody with cookies.
type browser struct {
	h      *house
	client *http.Client
	csrf   string
}

func (h *house) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return &browser{h: h, client: &http.Client{Jar: jar}}
}

// operator returns a browser in which somebody has logged in.
func (h *house) operator(who querschott.Actor) *browser {
	h.t.Helper()
	b := h.browser()
	token, _, err := h.access.Link(who)
	if err != nil {
		h.t.Fatal(err)
	}
	if r := b.post("/login/"+token, nil); r.status != http.StatusOK || !strings.Contains(r.body, string(who)) {
		h.t.Fatalf("logging in: status %d\n%s", r.status, r.body)
	}
	b.csrf = csrfField.FindStringSubmatch(b.get("/").body)[1]
	return b
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

type response struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(r *http.Request) response {
	b.h.t.Helper()
	got, err := b.client.Do(r)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return response{got.StatusCode, got.Header, string(body)}
}

func (b *browser) request(method, path string, body io.Reader) *http.Request {
	b.h.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, b.h.server.URL+path, body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return r
}

func (b *browser) get(path string) response {
	b.h.t.Helper()
	return b.do(b.request("GET", path, nil))
}

// form makes a post as the console's own pages would send it.
func (b *browser) form(path string, f url.Values) *http.Request {
	b.h.t.Helper()
	if f == nil {
		f = url.Values{}
	}
	if b.csrf != "" && !f.Has("csrf") {
		f.Set("csrf", b.csrf)
	}
	r := b.request("POST", path, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func (b *browser) post(path string, f url.Values) response {
	b.h.t.Helper()
	return b.do(b.form(path, f))
}

// order is the form of a door's page.
func (h *house) order(c querschott.Compartment, to, reason string) url.Values {
	cur, _ := h.book.Current(c)
	return url.Values{"to": {to}, "reason": {reason}, "epoch": {fmt.Sprint(cur.Epoch)}}
}

func doorPath(c querschott.Compartment) string { return "/door/" + c.String() }

func requestOpen(c querschott.Compartment) door.Request {
	return door.Request{Compartment: c, To: querschott.Open, Reason: "Kennwort gesperrt, Zugriffe geprüft", Incident: "VF-2026-014"}
}
