package run

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/wire/kim"
)

// traffic is the ordinary work beside a drill.
type traffic struct {
	p       *Platform
	sender  *drill.Sender
	checker *drill.Checker
	clerks  []*clerk

	machines []*clerk     // of suppliers, each at its registered job
	cardTold atomic.Int64 // when a practice's refused card check first named incident and status page, Unix ns
}

// clerk is an employee who works: someone calls, the clerk looks.
type clerk struct {
	*employee
	first, persons              int
	job                         desk.Reason // of a machine, which reads one after the other for it; "" of people
	done, refused, held, failed atomic.Uint64
	again, served, gaveUp       atomic.Uint64
	trouble                     atomic.Pointer[string]
	toldAt                      atomic.Int64 // when a refusal by a door first named the incident and the status page, Unix ns
}

// clerkTries is how often a clerk asks before the caller is told to phone again tomorrow.
const clerkTries = 8

// caseload is how many persons a clerk works for: fewer than half of what may be reached in a minute, as the detectors are twice as
// sharp about a door that opens in stages.
const caseload = 9

// volume says how much ordinary work there is.
type volume struct {
	mails, checks float64 // a second
	insurers      int     // whose clerks work, the largest ones
	clerks        int     // of each
	known         int     // persons of each insurer whose data are there
	seed          uint64
}

// newTraffic makes the practices and clerks, and brings the master data of those whom they ask about into the cells.
func newTraffic(ctx context.Context, p *Platform, v volume) (*traffic, error) {
	t := &traffic{p: p}
	ca, err := drill.NewCA(time.Now()) // what practices sign with; the platform does not ask who vouches for them
	if err != nil {
		return nil, err
	}
	if err := p.world.Enrol(ca); err != nil {
		return nil, err
	}
	t.sender, err = drill.NewSender(drill.SenderConfig{
		World: p.world, Addr: p.file.SMTPS, TLS: &tls.Config{RootCAs: p.tls.RootCAs, ServerName: "localhost", MinVersion: tls.VersionTLS13},
		Login: func(kim.Address) (string, string) { return p.file.Relay.Address, p.file.Relay.Password }, Rate: v.mails, Seed: v.seed,
		Connections: 16,
	})
	if err != nil {
		return nil, err
	}
	cards := &cards{p: p, clients: map[*drill.Practice]*issuer.Client{}, known: map[int]bool{}}
	t.checker, err = drill.NewChecker(drill.CheckerConfig{
		World: p.world, URL: p.file.HTTP, TLS: p.tls.Clone(), Access: cards.access, Presence: cards.presence, Ready: cards.ready, Refused: t.cardRefused, Practices: 10, Rate: v.checks, Seed: v.seed,
	})
	if err != nil {
		return nil, err
	}
	if t.clerks, err = p.clerks(ctx, v.insurers, v.clerks, v.known); err != nil {
		return nil, err
	}
	t.machines, err = p.atTheirJobs(ctx, v.known)
	return t, err
}

// clerks are some employees of each of the largest insurers, with tokens; whom they look up is known there.
func (p *Platform) clerks(ctx context.Context, insurers, each, known int) (list []*clerk, err error) {
	for _, in := range p.world.Insurers()[:insurers] {
		persons, err := p.know(ctx, in, known)
		if err != nil {
			return nil, err
		}
		first, _ := in.Persons()
		for i := range each {
			c := &clerk{employee: p.employee(in, fmt.Sprintf("clerk.%d", i+1)), first: first, persons: persons}
			if _, _, err := c.login(ctx); err != nil {
				return nil, err
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// run works until the context ends.
func (t *traffic) run(ctx context.Context, pause time.Duration) error {
	var g errgroup.Group
	g.Go(func() error { return t.sender.Run(ctx) })
	g.Go(func() error { return t.checker.Run(ctx) })
	for i, c := range slices.Concat(t.clerks, t.machines) {
		g.Go(func() error { return c.work(ctx, rand.New(rand.NewPCG(uint64(i), 0x636c)), pause) })
	}
	return g.Wait()
}

// work looks somebody up, again and again: the same persons rather than always others, as there are cases.
func (c *clerk) work(ctx context.Context, rng *rand.Rand, pause time.Duration) error {
	mine := rng.Perm(c.persons)
	mine = mine[:min(len(mine), caseload)]
	for n := 0; ; n++ {
		who := c.p.world.Person(c.first + mine[rng.IntN(len(mine))])
		reason := desk.Reason(fmt.Sprintf("case:VG-%d-%d", who.Index, rng.IntN(3)))
		if c.job != "" {
			who, reason = c.p.world.Person(c.first+n%c.persons), c.job
		}
		over := c.attend(ctx, func() bool { return wait(ctx, time.Duration((0.5+rng.Float64())*float64(pause))) == nil }, func() (*drill.DeskAnswer, error) {
			_, a, err := c.read(ctx, c.insurer.IK, who.Number, reason)
			return a, err
		})
		if over {
			return nil
		}
	}
}

// attend asks one question until it is answered. A clerk who is refused comes back with it, sooner than the refusal says: the caller
// is still on the line. It reports whether the day is over.
func (c *clerk) attend(ctx context.Context, pause func() bool, ask func() (*drill.DeskAnswer, error)) bool {
	for tries := range clerkTries {
		if !pause() {
			return true
		}
		if tries > 0 {
			c.again.Add(1)
		}
		a, err := ask()
		if ctx.Err() != nil {
			return true
		}
		if c.count(a, err) {
			if tries > 0 {
				c.served.Add(1)
			}
			return false
		}
	}
	c.gaveUp.Add(1)
	return false
}

// count reports whether the clerk got what was asked for.
func (c *clerk) count(a *drill.DeskAnswer, err error) bool {
	switch {
	case err != nil:
		c.fail(err.Error())
	case a.Status == http.StatusOK:
		c.done.Add(1)
		return true
	case a.Status == http.StatusServiceUnavailable:
		c.refused.Add(1)
		if told(a) && c.toldAt.Load() == 0 {
			c.toldAt.Store(time.Now().UnixNano())
		}
	default:
		if a.Status == http.StatusForbidden {
			c.held.Add(1)
		}
		c.fail(fmt.Sprintf("%d %.200s", a.Status, a.Body))
	}
	return false
}

func (c *clerk) fail(why string) {
	c.failed.Add(1)
	c.trouble.Store(&why)
}

// jobs is what became of the registered jobs, nil if the platform has none.
func (t *traffic) jobs() *Work {
	if len(t.machines) == 0 {
		return nil
	}
	w := sum(t.machines)
	return &w
}

// sum is what became of the work of some.
func sum(list []*clerk) (w Work) {
	for _, c := range list {
		w.Done, w.Refused, w.Errors = w.Done+c.done.Load(), w.Refused+c.refused.Load(), w.Errors+c.failed.Load()
		w.Again, w.Served, w.GivenUp, w.Held = w.Again+c.again.Load(), w.Served+c.served.Load(), w.GivenUp+c.gaveUp.Load(), w.Held+c.held.Load()
		if s := c.trouble.Load(); s != nil {
			w.Trouble = *s
		}
	}
	return w
}

func (t *traffic) cards() Work {
	s := t.checker.Stats()
	return Work{Done: s.Checked, Refused: s.Refused, Errors: s.Errors, Trouble: s.Trouble}
}

// audit looks for every promise that a practice was given.
func (t *traffic) audit(ctx context.Context) (Mail, error) {
	v, err := drill.Audit(t.sender.Books(), func(fn func(querschott.Compartment, intake.Binding)) error {
		return t.p.node.WaitingBindings(ctx, fn)
	}, func(c querschott.Compartment, b intake.Binding) (bool, error) {
		return t.p.node.Delivered(ctx, c, b)
	})
	s := t.sender.Stats()
	return Mail{Accepted: v.Promised, Rejected: s.Rejected, Lost: v.Lost, Delivered: v.Delivered, Refused: s.Refused}, err
}

// told reports whether a refusal names the incident and the status page.
func told(a *drill.DeskAnswer) bool {
	var p struct {
		Incident string `json:"incident"`
		Page     string `json:"status_page"`
	}
	return json.Unmarshal(a.Body, &p) == nil && p.Incident != "" && p.Page != "" && a.RetryAfter != ""
}

// cardRefused notes when a practice is first told why a check is refused and where to look.
func (t *traffic) cardRefused(a *drill.CardAnswer) {
	var e struct {
		Text string `json:"error_description"`
		Page string `json:"error_uri"`
	}
	if json.Unmarshal(a.Body, &e) == nil && e.Page != "" && strings.Contains(e.Text, incidentRef) && a.RetryAfter != "" {
		t.cardTold.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// cards are the practices' ways to tokens.
type cards struct {
	p *Platform

	mu      sync.Mutex // guards the fields below
	clients map[*drill.Practice]*issuer.Client
	known   map[int]bool // persons whom the insurer knows by now
}

// ready returns when the insurer knows the person; a demonstration sees to that itself. A door that is shut keeps the data out: the card check will be
// refused.
func (c *cards) ready(ctx context.Context, who drill.Person) error {
	c.mu.Lock()
	known := !c.p.bare || c.known[who.Index]
	c.mu.Unlock()
	if known {
		return nil
	}
	switch err := c.p.deliver(ctx, who); querschott.CodeOf(err) {
	case querschott.CodeDoorClosed, querschott.CodeDoorHeld:
		return nil
	default:
		if err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[who.Index] = true
	return nil
}

// access gets a token that is bound to the practice's key.
func (c *cards) access(ctx context.Context, b drill.Badge) (string, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[b.Practice]
	if client == nil {
		var err error
		who := issuer.Practice{Subject: string(b.Practice.TelematikID()), Name: "Praxis"}
		if client, err = issuer.RegisterKey(ctx, c.p.http, time.Now, c.p.file.Issuer, who, b.Key); err != nil {
			return "", time.Time{}, err
		}
		c.clients[b.Practice] = client
	}
	token, err := client.AccessToken(ctx, []string{c.p.file.HTTP}, "vsdservice")
	return token, time.Now().Add(tokenLife), err
}

// presence proves that a card is in a practice; whoever gets it is known to the insurer from then on.
func (c *cards) presence(ctx context.Context, p *drill.Practice, who drill.Person) (string, error) {
	c.mu.Lock()
	client := c.clients[p]
	c.mu.Unlock()
	if client == nil {
		return "", errNoToken
	}
	return client.PresenceToken(ctx, issuer.Card{
		Patient: who.Number.Reveal(), Insurer: string(who.Insurer.IK), Actor: string(p.TelematikID()),
	})
}

var errNoToken = errors.New("a practice proves a card's presence before it has logged in")
