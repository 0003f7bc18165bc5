package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// choice is one move that a form offers.
type choice struct {
	To     querschott.DoorState
	Widens bool   // takes a second operator
	Does   string // key of the text that says what the state does
	Chosen bool

	Blocked bool // somebody else's proposal must be decided first
}

// choices lists the moves from a state, the closing first: it is what hurry needs.
func choices(s querschott.Service, from querschott.DoorState, chosen string) []choice {
	var list []choice
	for _, to := range []querschott.DoorState{querschott.Closed, querschott.Hold, querschott.ReadOnly, querschott.Open} {
		if to != from {
			list = append(list, choice{To: to, Widens: door.Widens(s, from, to), Does: doesKey(s, to), Chosen: to.String() == chosen})
		}
	}
	return list
}

func doesKey(s querschott.Service, to querschott.DoorState) string {
	if s.ByMail() {
		return "does." + to.String() + ".mail"
	}
	return "does." + to.String() + ".calls"
}

type doorPage struct {
	page
	C        querschott.Compartment
	Insurer  Insurer
	Cell     cellView
	Order    door.Order
	Share    int // per cent, while it opens in stages
	Does     string
	Said     Compartment
	History  []door.Order // newest first
	Choices  []choice
	Proposal *proposalView
	Words    words
	Problem  string // why the form came back
	Enforced *Enforced
}

// compartment returns the compartment that the address names, if there is a door.
func (c *Console) compartment(v *visit) (querschott.Compartment, bool) {
	k, err := querschott.ParseCompartment(v.r.PathValue("ik") + "/" + v.r.PathValue("service"))
	if err != nil {
		return k, false
	}
	_, ok := c.cfg.Doors.Current(k)
	return k, ok
}

func (c *Console) doorPage(v *visit) {
	k, ok := c.compartment(v)
	if !ok {
		c.message(v.w, v.r, http.StatusNotFound, "error.notfound", "")
		return
	}
	c.drawDoor(v, k, words{}, v.r.URL.Query().Get("to"), "", http.StatusOK)
}

func (c *Console) drawDoor(v *visit, k querschott.Compartment, w words, chosen, problem string, status int) {
	order, _ := c.cfg.Doors.Current(k)
	list, err := c.proposals(v, func(p door.Proposal) bool { return p.Compartment == k })
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	now := c.cfg.Snapshot()
	insurer, ok := c.insurers[k.Insurer]
	if !ok {
		insurer = Insurer{IK: k.Insurer, Name: string(k.Insurer)}
	}
	said := now.Compartments[k]
	p := doorPage{
		page: c.operatorPage(v, "", insurer.Name+" · "+v.l.Service(k.Service)),
		C:    k, Insurer: insurer, Order: order, Share: c.cfg.Doors.Share(k), Does: doesKey(k.Service, order.To), Said: said,
		History: c.cfg.Doors.History(k), Choices: choices(k.Service, order.To, chosen), Words: w, Problem: problem,
		Cell: cellView{cell: cell{order.To.String(), said.Waiting, said.Trouble != "", len(list) > 0}, L: v.l, C: k, Insurer: insurer.Name},
	}
	if c.cfg.Enforced != nil {
		e := c.cfg.Enforced(k)
		p.Enforced = &e
	}
	p.Live, p.Back = true, v.r.URL.EscapedPath()
	slices.Reverse(p.History)
	if len(list) > 0 {
		p.Proposal = &list[0]
		for i := range p.Choices {
			p.Choices[i].Blocked = p.Choices[i].Widens && p.Proposal.Actor != v.actor && p.Proposal.Actor != door.MachineActor
		}
	}
	c.render(v.w, status, "door", p)
}

func (c *Console) moveDoor(v *visit) {
	k, ok := c.compartment(v)
	if !ok {
		c.message(v.w, v.r, http.StatusNotFound, "error.notfound", "")
		return
	}
	w, err := readWords(v)
	if err == nil {
		_, err = w.request(k, c.cfg.Now())
	}
	if err != nil {
		c.drawDoor(v, k, w, v.r.PostForm.Get("to"), v.l.Fault(err), http.StatusBadRequest)
		return
	}
	epoch, _ := strconv.ParseUint(v.r.PostForm.Get("epoch"), 10, 64) // what cannot be read fits no door
	results, err := c.set(v, w, []wish{{k, epoch}})
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	c.showResults(v, "", results)
}

// change is one line of a preview.
type change struct {
	C      querschott.Compartment
	From   querschott.DoorState
	Epoch  uint64
	Widens bool
	Same   bool // already so: nothing will be ordered
}

type bulkPage struct {
	page
	To      querschott.DoorState
	Changes []change
	AtOnce  int
	Propose int
	Same    int
	Insured int // insured persons of the insurers whose doors would move
	Words   words
	Problem string
}

// Total is how many orders and proposals there would be.
func (p bulkPage) Total() int { return p.AtOnce + p.Propose }

// selection reads which compartments are meant: single ones (c), whole insurers (i), whole services (s).
func (c *Console) selection(q url.Values) []querschott.Compartment {
	pick := map[string]map[string]bool{}
	for _, key := range []string{"c", "i", "s"} {
		pick[key] = map[string]bool{}
		for _, value := range q[key] {
			pick[key][value] = true
		}
	}
	var list []querschott.Compartment
	for _, k := range c.cfg.Doors.Compartments() {
		if pick["c"][k.String()] || pick["i"][string(k.Insurer)] || pick["s"][string(k.Service)] {
			list = append(list, k)
		}
	}
	return list
}

func (c *Console) bulkPage(v *visit) {
	q := v.r.URL.Query()
	to, err := querschott.ParseDoorState(q.Get("to"))
	list := c.selection(q)
	if err != nil || len(list) == 0 {
		c.message(v.w, v.r, http.StatusBadRequest, "error.nothing", "")
		return
	}
	c.drawBulk(v, list, words{To: to}, "", http.StatusOK)
}

func (c *Console) drawBulk(v *visit, list []querschott.Compartment, w words, problem string, status int) {
	p := bulkPage{
		page: c.operatorPage(v, "", v.l.T("bulk.title."+w.To.String())), To: w.To, Words: w, Problem: problem,
	}
	touched := map[querschott.IK]bool{}
	for _, k := range list {
		cur, _ := c.cfg.Doors.Current(k)
		x := change{C: k, From: cur.To, Epoch: cur.Epoch, Same: cur.To == w.To, Widens: door.Widens(k.Service, cur.To, w.To)}
		switch {
		case x.Same:
			p.Same++
		case x.Widens:
			p.Propose++
		default:
			p.AtOnce++
		}
		if !x.Same && !touched[k.Insurer] {
			touched[k.Insurer] = true
			p.Insured += c.insurers[k.Insurer].Insured
		}
		p.Changes = append(p.Changes, x)
	}
	slices.SortStableFunc(p.Changes, func(x, y change) int { // what moves comes first
		if x.Same != y.Same {
			if x.Same {
				return 1
			}
			return -1
		}
		return strings.Compare(strings.ToLower(c.name(x.C.Insurer)), strings.ToLower(c.name(y.C.Insurer)))
	})
	c.render(v.w, status, "bulk", p)
}

func (c *Console) moveDoors(v *visit) {
	w, err := readWords(v)
	wishes, list := wishesOf(v.r.PostForm["door"])
	if len(wishes) == 0 {
		c.message(v.w, v.r, http.StatusBadRequest, "error.nothing", "")
		return
	}
	if err == nil {
		_, err = w.request(querschott.Compartment{}, c.cfg.Now())
	}
	if err != nil {
		c.drawBulk(v, list, w, v.l.Fault(err), http.StatusBadRequest)
		return
	}
	results, err := c.set(v, w, wishes)
	if err != nil {
		c.fail(v.w, v.r, err)
		return
	}
	c.showResults(v, "", results)
}

// wishesOf reads "109500969/eau@7", a compartment and the epoch in which its door was seen. What cannot be read is left
// out; a compartment counts once.
func wishesOf(values []string) (wishes []wish, list []querschott.Compartment) {
	seen := map[querschott.Compartment]bool{}
	for _, s := range values {
		name, number, _ := strings.Cut(s, "@")
		k, err := querschott.ParseCompartment(name)
		epoch, bad := strconv.ParseUint(number, 10, 64)
		if err != nil || bad != nil || seen[k] {
			continue
		}
		seen[k] = true
		wishes, list = append(wishes, wish{k, epoch}), append(list, k)
	}
	return wishes, list
}
