package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// moveTimeout is how long a request waits for its moves. A door that narrows is in force long before.
const moveTimeout = 30 * time.Second

// maxExpiry bounds the hours after which an order is undone.
const maxExpiry = 30 * 24

// wish is a door that an operator wants to move, as they saw it.
type wish struct {
	Compartment querschott.Compartment
	Epoch       uint64 // of the order that was in force when the form was drawn
}

// result is what became of a wish or of a proposal.
type result struct {
	Compartment querschott.Compartment
	door.Outcome
	Obeyed    time.Duration // until every part had obeyed; meaningless unless Order is set
	Withdrawn bool
	Err       error
}

// Failed reports whether nothing came of it.
func (r result) Failed() bool { return r.Err != nil && r.Order == nil && r.Proposal == nil }

// words are what an operator says about one or many moves.
type words struct {
	To       querschott.DoorState
	Reason   string
	Incident string
	Hours    string
}

func (w words) request(c querschott.Compartment, now time.Time) (door.Request, error) {
	r := door.Request{Compartment: c, To: w.To, Reason: w.Reason, Incident: w.Incident}
	if w.Hours == "" {
		return r, nil
	}
	h, err := strconv.Atoi(w.Hours)
	if err != nil || h < 1 || h > maxExpiry {
		return r, errExpiry
	}
	r.Expires = now.Add(time.Duration(h) * time.Hour)
	return r, nil
}

var errExpiry = querschott.RefuseAs(querschott.CodeInvalid, "order.expiry", "an expiry is a whole number of hours from 1 to %d", maxExpiry)

// readWords reads the form's fields. Line breaks and double spaces that came with pasting become single spaces.
func readWords(v *visit) (words, error) {
	f := v.r.PostForm
	line := func(key string) string { return strings.Join(strings.Fields(f.Get(key)), " ") }
	w := words{Reason: line("reason"), Incident: line("incident"), Hours: line("hours")}
	var err error
	if w.To, err = querschott.ParseDoorState(f.Get("to")); err != nil {
		return w, querschott.RefuseAs(querschott.CodeInvalid, "order.to", "choose what the door is to be")
	}
	if w.Reason == "" {
		return w, querschott.RefuseAs(querschott.CodeInvalid, "order.reason", "an order needs a reason")
	}
	return w, nil
}

// set orders all wishes at the same time, so that the last of many doors closes as soon as the first.
func (c *Console) set(v *visit, w words, wishes []wish) ([]result, error) {
	now := c.cfg.Now()
	return c.perform(v, len(wishes), func(ctx context.Context, i int, s note.Signer) result {
		r := result{Compartment: wishes[i].Compartment}
		var request door.Request
		if request, r.Err = w.request(r.Compartment, now); r.Err == nil {
			r.Outcome, r.Err = c.order(ctx, v.actor, request, wishes[i].Epoch, s)
		}
		return r
	})
}

// order closes at once. For every other move it compares the draft with what the operator saw before it signs and submits.
func (c *Console) order(ctx context.Context, who querschott.Actor, r door.Request, seen uint64, s note.Signer) (door.Outcome, error) {
	if r.To == querschott.Closed {
		return c.cfg.Doors.Set(ctx, r, s)
	}
	r.Stages = c.cfg.Doors.Suggest(r.Compartment, r.To)
	o, err := c.cfg.Doors.Draft(r, who)
	if err != nil {
		return door.Outcome{}, err
	}
	if o.Epoch != seen+1 {
		return door.Outcome{}, querschott.RefuseAs(querschott.CodeConflict,
			"door.moved", "the door %s has moved since this page was drawn: it is %s in epoch %d; look again and repeat the order", o.Compartment, o.From, o.Epoch-1)
	}
	raw, err := door.Sign(o, s)
	if err != nil {
		return door.Outcome{}, fmt.Errorf("couldn't sign the order: %w", err)
	}
	return c.cfg.Doors.Submit(ctx, raw)
}

// perform runs n moves with the operator's key and finds out how long each took to be obeyed. A browser that hangs up
// stops nothing.
func (c *Console) perform(v *visit, n int, move func(ctx context.Context, i int, s note.Signer) result) ([]result, error) {
	signer, err := c.cfg.Signer(v.actor)
	if err != nil {
		return nil, fmt.Errorf("couldn't get the operator's signing key: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), moveTimeout)
	defer cancel()
	changes, unsubscribe := c.cfg.Doors.Subscribe(n + 256) // ours, and room for others'
	defer unsubscribe()
	results := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i] = move(ctx, i, signer) })
	}
	wg.Wait()
	type key struct {
		c     querschott.Compartment
		epoch uint64
	}
	obeyed := map[key]time.Duration{}
	for len(changes) > 0 {
		change := <-changes
		obeyed[key{change.Order.Compartment, change.Order.Epoch}] = change.Obeyed
	}
	for i, r := range results {
		if r.Order != nil {
			results[i].Obeyed = obeyed[key{r.Order.Compartment, r.Order.Epoch}]
		}
		if r.Err != nil && querschott.CodeOf(r.Err) == querschott.CodeInternal {
			c.cfg.Log.Error("a move that the console ordered had trouble", "compartment", r.Compartment.String(), "err", r.Err)
		}
	}
	return results, nil
}

// resultPage says what became of one or many moves.
type resultPage struct {
	page
	Results   []result
	InForce   int
	Waiting   int
	Withdrawn int
	Failed    int
	Slowest   time.Duration
	Unheard   bool        // something went wrong with an order in force
	Undo      *door.Order // the only order in force, so that the page can offer its inverse
}

func (c *Console) showResults(v *visit, here string, results []result) {
	p := resultPage{page: c.operatorPage(v, here, v.l.T("result.title")), Results: results}
	for _, r := range results {
		switch {
		case r.Order != nil:
			p.InForce++
			p.Slowest = max(p.Slowest, r.Obeyed)
			p.Unheard = p.Unheard || r.Err != nil
		case r.Withdrawn:
			p.Withdrawn++
		case r.Proposal != nil:
			p.Waiting++
		default:
			p.Failed++
		}
	}
	if len(results) == 1 {
		p.Undo = results[0].Order
	}
	slices.SortStableFunc(p.Results, func(x, y result) int { // what went wrong comes first
		return rank(x) - rank(y)
	})
	status := http.StatusOK
	if p.Failed == len(results) {
		status = statusOf(results[0].Err)
	}
	c.render(v.w, status, "result", p)
}

func rank(r result) int {
	switch {
	case r.Failed():
		return 0
	case r.Err != nil:
		return 1
	default:
		return 2
	}
}

func statusOf(err error) int {
	switch querschott.CodeOf(err) {
	case querschott.CodeForbidden:
		return http.StatusForbidden
	case querschott.CodeConflict:
		return http.StatusConflict
	case querschott.CodeNotFound:
		return http.StatusNotFound
	case querschott.CodeInvalid:
		return http.StatusBadRequest
	default:
		return http.StatusInternalServerError
	}
}

// proposalView is a proposal as one operator sees it.
type proposalView struct {
	door.Proposal
	Mine  bool   // has my signature already
	Order string // the text that is signed
	Needs int    // signatures that are missing
}

// proposalInside is what the templates of a single proposal draw.
type proposalInside struct {
	P    proposalView
	L    *locale
	CSRF string
}

// View joins a proposal with what its templates need.
func (p proposalView) View(l *locale, csrf string) proposalInside { return proposalInside{p, l, csrf} }

func (c *Console) proposals(v *visit, only func(door.Proposal) bool) ([]proposalView, error) {
	signer, err := c.cfg.Signer(v.actor)
	if err != nil {
		return nil, fmt.Errorf("couldn't get the operator's signing key: %w", err)
	}
	var list []proposalView
	for _, p := range c.cfg.Doors.Proposals() {
		if !only(p) {
			continue
		}
		x := proposalView{Proposal: p, Needs: 1}
		text, signatures, _ := bytes.Cut(p.Note, []byte("\n\n"))
		x.Order = string(text)
		x.Mine = p.Actor == v.actor || bytes.Contains(signatures, []byte("— "+signer.Name()+" "))
		if p.Actor == door.MachineActor && bytes.Count(signatures, []byte("— ")) < 2 {
			x.Needs = 2 // what the platform proposed takes two operators as well
		}
		list = append(list, x)
	}
	return list, nil
}

type proposalsPage struct {
	page
	List    []proposalView
	Approve int // how many this operator may approve
}

func (c *Console) proposalsPage(v *visit) {
	list, err := c.proposals(v, func(door.Proposal) bool { return true })
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	p := proposalsPage{page: c.operatorPage(v, "proposals", v.l.T("proposals.title")), List: list}
	p.Live = true
	for _, x := range list {
		if !x.Mine {
			p.Approve++
		}
	}
	c.render(v.w, http.StatusOK, "proposals", p)
}

// decideProposals approves or withdraws all proposals that are named.
func (c *Console) decideProposals(v *visit) {
	ids := v.r.PostForm["id"]
	verb := v.r.PostForm.Get("do")
	if len(ids) == 0 || verb != "approve" && verb != "withdraw" {
		c.message(v.w, v.r, http.StatusBadRequest, "error.nothing", "")
		return
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	results, err := c.perform(v, len(ids), func(ctx context.Context, i int, s note.Signer) (r result) {
		name, _, _ := strings.Cut(ids[i], "@")
		if r.Compartment, r.Err = querschott.ParseCompartment(name); r.Err != nil {
			r.Err = querschott.RefuseAs(querschott.CodeNotFound, "proposal.gone", "there is no proposal %.80q", ids[i])
			return r
		}
		if verb == "withdraw" {
			r.Err = c.cfg.Doors.Withdraw(ctx, ids[i], s)
			r.Withdrawn = r.Err == nil
			return r
		}
		r.Outcome, r.Err = c.cfg.Doors.Approve(ctx, ids[i], s)
		return r
	})
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	c.showResults(v, "proposals", results)
}
