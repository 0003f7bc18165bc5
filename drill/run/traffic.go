package run

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
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
}

// clerk is an employee who works: someone calls, the clerk looks.
type clerk struct {
	*employee
	first, persons        int
	done, refused, failed atomic.Uint64
	trouble               atomic.Pointer[string]
	toldAt                atomic.Int64 // when a refusal by a door first named the incident and the status page, Unix ns
}

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
	cards := &cards{p: p, clients: map[*drill.Practice]*issuer.Client{}}
	t.checker, err = drill.NewChecker(drill.CheckerConfig{
		World: p.world, URL: p.file.HTTP, TLS: p.tls.Clone(), Access: cards.access, Presence: cards.presence, Practices: 10, Rate: v.checks, Seed: v.seed,
	})
	if err != nil {
		return nil, err
	}
	t.clerks, err = p.clerks(ctx, v.insurers, v.clerks, v.known)
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
	for i, c := range t.clerks {
		g.Go(func() error { return c.work(ctx, rand.New(rand.NewPCG(uint64(i), 0x636c)), pause) })
	}
	return g.Wait()
}

// work looks somebody up, again and again: the same persons rather than always others, as there are cases.
func (c *clerk) work(ctx context.Context, rng *rand.Rand, pause time.Duration) error {
	mine := rng.Perm(c.persons)
	mine = mine[:min(len(mine), 12)]
	for wait(ctx, time.Duration((0.5+rng.Float64())*float64(pause))) == nil {
		who := c.p.world.Person(c.first + mine[rng.IntN(len(mine))])
		_, a, err := c.read(ctx, c.insurer.IK, who.Number, desk.Reason(fmt.Sprintf("case:VG-%d-%d", who.Index, rng.IntN(3))))
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the day is over
		}
		c.count(a, err)
	}
	return nil
}

func (c *clerk) count(a *drill.DeskAnswer, err error) {
	switch {
	case err != nil:
		c.fail(err.Error())
	case a.Status == http.StatusOK:
		c.done.Add(1)
	case a.Status == http.StatusServiceUnavailable:
		c.refused.Add(1)
		if told(a) && c.toldAt.Load() == 0 {
			c.toldAt.Store(time.Now().UnixNano())
		}
	default:
		c.fail(fmt.Sprintf("%d %.200s", a.Status, a.Body))
	}
}

func (c *clerk) fail(why string) {
	c.failed.Add(1)
	c.trouble.Store(&why)
}

// staff sums up what became of the clerks' work.
func (t *traffic) staff() (w Work) {
	for _, c := range t.clerks {
		w.Done, w.Refused, w.Errors = w.Done+c.done.Load(), w.Refused+c.refused.Load(), w.Errors+c.failed.Load()
		if s := c.trouble.Load(); s != nil {
			w.Trouble = *s
		}
	}
	return w
}

func (t *traffic) cards() Work {
	s := t.checker.Stats()
	return Work{s.Checked, s.Refused, s.Errors, s.Trouble}
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

// cards are the practices' ways to tokens.
type cards struct {
	p *Platform

	mu      sync.Mutex // guards the field below
	clients map[*drill.Practice]*issuer.Client
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
