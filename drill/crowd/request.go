package crowd

import (
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/wire/zeta"
)

// Request is what somebody asks the gate for. How it ends is the gate's business; the event says what was asked.
type Request struct {
	querschott.Access

	Refusal string // why the gate refuses it whoever asks, as the cause of an event; "" if it does not
	Missing bool   // there is no such person
	Unseen  bool   // its event gets lost
}

// begin resets a request and fills in what all of them have.
func (r *Request) begin(at time.Time) *Request {
	*r = Request{Access: querschott.Access{Time: at, Action: "read", Epoch: 1}}
	return r
}

// ordinary makes the request of a slot.
func (c *Crowd) ordinary(s slot) *Request {
	at := c.today.midnight.Add(time.Duration(c.minute*60_000+s.ms())*time.Millisecond - c.today.offset)
	number := int(s.who() & (1<<kindShift - 1))
	d := throw(c.cfg.Seed, 'e', uint64(s.who()), uint64(c.day), uint64(s.k()))
	r := c.request.begin(at)
	switch s.who() >> kindShift {
	case kindPractice:
		c.check(r, c.practices[number], &d)
	case kindUser:
		c.browse(r, c.users[number], s, &d)
	case kindPartner:
		c.work(r, c.insurers[number].partner)
		in := c.insurers[number]
		c.reach(r, in, (c.day*1000+s.k()*7)%in.persons, &d)
		r.ReasonRef = in.job.ID
	case kindOperator:
		c.administer(r, c.operators[number], &d)
	default:
		c.serve(r, c.staff[number], s, &d)
	}
	return r
}

// work fills in who an employee or a machine is.
func (c *Crowd) work(r *Request, k *clerk) {
	r.Service, r.Tenant, r.Actor, r.Credential, r.Role = querschott.Desk, k.in.ik, k.actor, k.credential, querschott.RoleStaff
	r.Query, r.Fields, r.Gate = "GET person", "master", gates[uint(k.number)%4]
	if k.machine {
		r.Address, r.Binding, r.Role = k.office, k.binding, querschott.RolePartner
		return
	}
	if k.today.address == "" {
		c.wake(k) // does not work today, or not yet; somebody else uses the credential
	}
	r.Address, r.Binding = k.today.address, k.today.binding
}

var gates = [...]string{"g1", "g2", "g3", "g4"}

// reach fills in whom the request is about.
func (c *Crowd) reach(r *Request, in *insurer, person int, d *dice) {
	r.Insurer = in.ik
	r.Person = c.pseudonym(in.number, person)
	r.Bytes, r.Took = 700+int64(d.n(3000)), 900+int64(d.n(4000))
}

// serve is a request of an employee's ordinary work.
func (c *Crowd) serve(r *Request, k *clerk, s slot, d *dice) {
	c.work(r, k)
	if c.day > c.launch && k.number%3 == 0 && d.chance(0.1) {
		r.Service, r.Query, r.Fields = querschott.EPA, "GET record", "record"
	}
	if s.second() {
		r.Query, r.Fields = "GET notes", "notes"
	}
	switch {
	case d.chance(0.02):
		r.Insurer, r.Missing = k.in.ik, true
	case d.chance(roles[k.role].own):
		i := d.n(k.caseload)
		c.reach(r, k.in, k.own(c, i), d)
		r.ReasonRef = reference(kindOf(k.role), mix(c.cfg.Seed^uint64(k.number)<<20^uint64(i)))
	default:
		person := k.in.avoid(d.n(k.in.persons))
		if len(k.in.canaries) > 0 && d.chance(1e-7) {
			person = k.in.canaries[d.n(len(k.in.canaries))] // a slip of the finger
		}
		c.reach(r, k.in, person, d)
		r.ReasonRef = reference(kindOf(k.role), d.next())
	}
	if d.chance(k.today.unexpl) {
		r.ReasonRef = ""
	}
}

// aDay is what a whole day of an employee has in common.
type aDay struct {
	address, binding string
	unexpl           float64
}

// wake draws what a whole day has in common.
func (c *Crowd) wake(k *clerk) {
	t := &k.today
	*t = aDay{k.office, k.binding, k.unexpl}
	day := throw(c.cfg.Seed, 'y', uint64(k.number), uint64(c.running+1))
	switch x := day.share(); {
	case k.home != "" && x < 0.4:
		t.address = k.home
	case x > 0.99:
		t.address = c.foreign(day.next()) // on the road
	}
	if day.chance(0.002) { // work that is not linked to its cases
		t.unexpl = min(6*t.unexpl, 1)
	}
	if computers := throw(c.cfg.Seed, 'c', uint64(k.number), uint64((c.running+1)/180)); (c.running+1)%180 > computers.n(2000) {
		t.binding = key(computers.next()) // another computer for the rest of the half-year
	}
	for _, ch := range c.changes {
		if ch.hits(k) && ch.Unexplained > 0 {
			t.unexpl = 1 - (1-t.unexpl)*(1-ch.Unexplained)
		}
	}
}

// foreign is an address in a network that is nobody's in particular.
func (c *Crowd) foreign(n uint64) string {
	h := mix(n)
	b := append(make([]byte, 0, 16), "80."...)
	b = append(strconv.AppendUint(b, h&127, 10), '.')
	b = append(strconv.AppendUint(b, h>>8&255, 10), '.')
	return string(strconv.AppendUint(b, h>>16&255, 10))
}

func key(n uint64) string {
	b := strconv.FormatUint(mix(n)|1<<63, 16)
	return b
}

// check is a practice's card check.
func (c *Crowd) check(r *Request, p *practice, d *dice) {
	c.practice(r, p)
	in := c.insurers[p.insurer]
	if d.chance(0.7) {
		in = c.insurers[c.bySize(d)]
	}
	r.Insurer = in.ik
	if d.chance(0.01) {
		r.Missing = true
		return
	}
	patient := mix(c.cfg.Seed^uint64(p.number)<<16^uint64(d.n(int(40*p.size)))) % uint64(in.persons)
	c.reach(r, in, in.avoid(int(patient)), d)
}

func (c *Crowd) practice(r *Request, p *practice) {
	r.Service, r.Actor, r.Credential, r.Role, r.Query, r.Fields = querschott.VSDM, p.actor, p.credential, querschott.RolePractice, "GET vsdmbundle", "vsd"
	r.Profession, r.Address, r.Binding, r.Gate = "1.2.276.0.76.4.50", p.address, p.binding, gates[p.number%4]
}

// browse is what a user of the app does: looks at his own data and at the family's, and now and then mistypes a password.
func (c *Crowd) browse(r *Request, u *user, s slot, d *dice) {
	if s.k() == 0 && d.chance(0.04) {
		c.stranger(r, u.address, gates[u.number%4])
		return
	}
	c.account(r, u)
	switch {
	case d.chance(0.003):
		c.reach(r, u.in, u.in.avoid(d.n(u.in.persons)), d)
		r.Refusal = "foreign-person"
	case u.family > 0 && d.chance(0.4):
		c.reach(r, u.in, u.in.avoid((u.person+1+d.n(u.family))%u.in.persons), d)
	default:
		c.reach(r, u.in, u.person, d)
	}
}

// administer is what an operator of the platform does, with the number of its order.
func (c *Crowd) administer(r *Request, o operator, d *dice) {
	r.Service, r.Actor, r.Credential, r.Role, r.Binding = querschott.Desk, o.actor, o.credential, querschott.RoleOperator, o.binding
	r.Action = [...]string{"grant", "config", "key"}[d.n(3)]
	r.Query, r.Address, r.Gate = "POST "+r.Action, o.address, gates[0]
	if !d.chance(0.002) { // it is forgotten now and then
		r.ReasonRef = reference("T-", d.next())
	}
}

func (c *Crowd) account(r *Request, u *user) {
	r.Service, r.Tenant, r.Actor, r.Credential, r.Role, r.Query = querschott.App, u.in.ik, u.actor, u.credential, querschott.RoleInsured, "GET own"
	r.Fields, r.Address, r.Binding, r.Gate = "own", u.address, u.binding, gates[u.number%4]
}

// stranger makes it a request of somebody who was not identified.
func (c *Crowd) stranger(r *Request, address, gate string) {
	r.Service, r.Role, r.Query, r.Address, r.Gate, r.Refusal = querschott.App, querschott.RoleUnknown, "POST login", address, gate, "not-identified"
}

// refusals are the causes of tokens that the gate does not accept.
var refusals = map[string]string{
	"rebound": string(zeta.ReasonProofBinding), "replayed": string(zeta.ReasonReplay), "forged": string(zeta.ReasonTokenSignature),
}

// Request makes the request of an attack, or of what looks like one. The number of a registered job stands for reasons of the
// kind job; "" leaves such requests without a reason. It is valid until the next call; what [Crowd.Next] returned stays valid.
func (c *Crowd) Request(a attack.Access, job string) *Request {
	r := c.another.begin(a.At.UTC().Truncate(time.Millisecond))
	d := throw(c.cfg.Seed, 'z', uint64(a.At.UnixNano()), uint64(a.Mule))
	c.asHolder(r, a)
	in := c.insurers[a.Insurer]
	r.Insurer, r.Unseen = in.ik, a.Unseen
	if a.Action != "read" {
		r.Action = a.Action
	}
	switch {
	case a.Action == "grant" || a.Action == "key-export": // is about no person
		r.Query, r.Fields = "POST "+a.Action, ""
	case a.Person < 0:
		r.Missing = true
	default:
		c.reach(r, in, a.Person%in.persons, &d)
	}
	c.excuse(r, a, job, &d)
	if a.Network > 0 {
		r.Address = c.foreign(uint64(a.Network))
	}
	if a.Key > 0 {
		r.Binding = key(uint64(a.Key))
		if a.Token == "valid" { // a login of his own
			r.Credential = querschott.CredentialID("s-" + r.Binding[:12])
		}
	}
	if r.Tenant != "" && r.Tenant != r.Insurer && a.Reason.Kind != "job" {
		r.Refusal = "foreign-insurer"
	}
	if a.Holder.Channel == attack.App && a.Holder.Insurer >= 0 && r.Refusal == "" && !c.insurers[a.Holder.Insurer].users[a.Holder.Number].may(a.Person) {
		r.Refusal = "foreign-person"
	}
	if cause := refusals[a.Token]; cause != "" {
		c.unnamed(r, cause)
	}
	if !a.Identified {
		c.stranger(r, r.Address, r.Gate)
		c.unnamed(r, r.Refusal)
	}
	return r
}

func (u *user) may(person int) bool { return person >= u.person && person <= u.person+u.family }

// unnamed makes it a request of a caller whom the gate refused before it knew him.
func (c *Crowd) unnamed(r *Request, cause string) {
	r.Refusal, r.Role, r.Actor, r.Credential, r.Tenant, r.Insurer, r.Person, r.Binding = cause, querschott.RoleUnknown, "", "", "", "", "", ""
}

// asHolder fills in whose credential an attack uses.
func (c *Crowd) asHolder(r *Request, a attack.Access) {
	switch a.Holder.Channel {
	case attack.VSDM, attack.EPA:
		c.practice(r, c.practices[a.Holder.Number])
		if a.Holder.Channel == attack.EPA {
			r.Service, r.Query, r.Fields = querschott.EPA, "GET record", "record"
		}
	case attack.App:
		c.account(r, c.insurers[a.Holder.Insurer].users[a.Holder.Number])
	default:
		c.work(r, c.holder(a.Holder))
		if a.Holder.Channel == attack.Feed {
			r.Service, r.Gate = querschott.EPA, "f1"
		}
	}
}

// excuse fills in the reason that is given.
func (c *Crowd) excuse(r *Request, a attack.Access, job string, d *dice) {
	kind := "V-"
	if a.Holder.Role == "call" {
		kind = "A-"
	}
	switch a.Reason.Kind {
	case "one", "new":
		r.ReasonRef = reference(kind, a.Reason.Number)
	case "copied": // a case of a colleague's
		in := c.insurers[max(a.Holder.Insurer, 0)]
		k := c.staff[0]
		if list := in.staff["case"]; len(list) > 0 {
			k = list[a.Reason.Number%uint64(len(list))]
		}
		r.ReasonRef = reference("V-", mix(c.cfg.Seed^uint64(k.number)<<20^uint64(d.n(k.caseload))))
	case "job":
		r.ReasonRef = job
	}
}
