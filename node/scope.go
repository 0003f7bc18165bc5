package node

import (
	"context"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
)

// controlCredential is under whose name questions of the control socket stand in the ledger.
const controlCredential querschott.CredentialID = "control-socket"

// openScope opens the index of who reached whom. It follows the ledger, so that no answer of the gate waits for it.
func (n *Node) openScope(context.Context) error {
	key, err := n.keyring.Secret("scope", 32)
	if err != nil {
		return err
	}
	n.scope, err = scope.Open(scope.Config{
		FS: disk.OS{}, Dir: n.path("scope"), Key: key, Ledger: n.ledger, Actor: door.MachineActor, Now: n.opt.Now, Log: n.log,
	})
	return err
}

// haveLogs refuses insurers whose log is not here: "nobody" would not be an answer about them.
func (n *Node) haveLogs(list []querschott.IK) error {
	for _, in := range list {
		named := func(origin string) bool { return path.Base(path.Dir(origin)) == string(in) }
		_, err := querschott.ParseIK(string(in))
		if _, here := n.byIK[in]; !here && (err != nil || !slices.ContainsFunc(n.ledger.Origins(), named)) {
			return querschott.Refuse(querschott.CodeNotFound, "there is no insurer %.20q here", string(in))
		}
	}
	return nil
}

// Scope says which persons the credentials reached: everything that the ledger has acknowledged by now is looked at. The
// question is recorded first.
func (n *Node) Scope(ctx context.Context, q scope.Question) (*scope.Answer, error) {
	if err := n.haveLogs(q.Insurers); err != nil {
		return nil, err
	}
	if err := n.recordQuestion(ctx, q); err != nil {
		return nil, err
	}
	return n.scope.Ask(ctx, q)
}

func (n *Node) recordQuestion(ctx context.Context, q scope.Question) error {
	detail := []ledger.Field{{Name: "question", Value: "scope"}, {Name: "time", Value: interval(q.From, q.To)}}
	for _, c := range q.Credentials[:min(len(q.Credentials), 20)] {
		detail = append(detail, ledger.Field{Name: "credential", Value: string(c)})
	}
	return n.recordNode(ctx, ledger.ActionSearch, ledger.KindLedgerRead, ledger.DataLog, detail...)
}

func interval(from, to time.Time) string {
	return from.UTC().Format(time.RFC3339) + "/" + to.UTC().Format(time.RFC3339)
}

// revealAtOnce is how many persons one entry about a revealing names: a payload has room for 60,000 bytes.
const revealAtOnce = 2000

// Reveal fills in the numbers of the persons of an answer. That they are shown is an entry about each of them first.
func (n *Node) Reveal(ctx context.Context, a *scope.Answer) error {
	for i := range a.Insurers {
		r := &a.Insurers[i]
		if len(r.Persons) == 0 {
			continue
		}
		if err := n.scope.Reveal(r.Persons); err != nil {
			return err
		}
		if err := n.recordReveal(ctx, r.Insurer, r.Persons); err != nil {
			for j := range r.Persons {
				r.Persons[j].Number = ""
			}
			return err
		}
	}
	return nil
}

func (n *Node) recordReveal(ctx context.Context, in querschott.IK, persons []scope.Person) error {
	var entries []ledger.Entry
	for len(persons) > 0 {
		some := persons[:min(len(persons), revealAtOnce)]
		e := n.readByOperator(in, "reveal")
		for i := range some {
			if some[i].Number != "" {
				e.Persons = append(e.Persons, querschott.KVNR(some[i].Number))
			}
		}
		e.Records = uint32(len(e.Persons))
		entries, persons = append(entries, e), persons[len(some):]
	}
	err := n.append(ctx, entries...)
	return err
}

// readByOperator is an entry about what somebody with access to the control socket looks at.
func (n *Node) readByOperator(in querschott.IK, question string) ledger.Entry {
	c := querschott.Compartment{Insurer: in}
	return ledger.Entry{
		Kind: ledger.KindLedgerRead, At: n.opt.Now(), Compartment: c, Action: ledger.ActionRead, Data: ledger.DataLog,
		Outcome: ledger.OutcomeSuccess, Role: querschott.RoleOperator, Purpose: ledger.PurposeAudit, Actor: "operator",
		Credential: controlCredential, Detail: []ledger.Field{{Name: "question", Value: question}},
	}
}

// Who says who saw, changed or was refused one person's data. That it was asked is an entry about the person first.
func (n *Node) Who(ctx context.Context, m scope.Matter) (*scope.Sightings, error) {
	if _, ok := n.byIK[m.Insurer]; !ok {
		return nil, querschott.Refuse(querschott.CodeNotFound, "there is no insurer %.20q here", string(m.Insurer))
	}
	m.Insurer = n.byIK[m.Insurer]
	if err := m.Check(); err != nil {
		return nil, err
	}
	e := n.readByOperator(m.Insurer, "who saw the record")
	e.Person, e.Records = m.Person, 1
	if err := n.append(ctx, e); err != nil {
		return nil, err
	}
	return n.scope.Who(ctx, m)
}

// ScopeRequest is a question on the control socket.
type ScopeRequest struct {
	scope.Question
	Reveal bool `json:"reveal,omitempty"` // numbers of persons instead of pseudonyms only
}

func (n *Node) controlScope(r *http.Request) (any, error) {
	d, err := decode[ScopeRequest](r)
	if err != nil {
		return nil, err
	}
	a, err := n.Scope(r.Context(), d.Question)
	if err == nil && d.Reveal {
		err = n.Reveal(r.Context(), a)
	}
	return a, err
}

// WhoRequest asks who saw one person's record.
type WhoRequest struct {
	Insurer querschott.IK `json:"insurer"`
	Person  string        `json:"person"` // KVNR
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
}

func (n *Node) controlWho(r *http.Request) (any, error) {
	d, err := decode[WhoRequest](r)
	if err != nil {
		return nil, err
	}
	return n.Who(r.Context(), scope.Matter{Insurer: d.Insurer, Person: querschott.KVNR(d.Person), From: d.From, To: d.To})
}

func (n *Node) controlScopeRebuild(r *http.Request) (any, error) {
	if err := n.recordNode(r.Context(), ledger.ActionExecute, ledger.KindNodeChange, ledger.DataLog, ledger.Field{Name: "scope", Value: "rebuild"}); err != nil {
		return nil, err
	}
	return struct{}{}, n.scope.Rebuild(r.Context())
}

// Scope asks the running node which persons were reached.
func (c *Client) Scope(ctx context.Context, q ScopeRequest) (*scope.Answer, error) {
	return post[*scope.Answer](ctx, c, "/v1/scope", q)
}

// Who asks the running node who saw one person's record.
func (c *Client) Who(ctx context.Context, q WhoRequest) (*scope.Sightings, error) {
	return post[*scope.Sightings](ctx, c, "/v1/scope/person", q)
}

// ScopeRebuild makes the running node's index again from its ledger.
func (c *Client) ScopeRebuild(ctx context.Context) error {
	_, err := post[struct{}](ctx, c, "/v1/scope/rebuild", struct{}{})
	return err
}

// ScopeProof makes the proof of a question's answer, which [scope.Verify] checks anywhere. The question is recorded first.
func (n *Node) ScopeProof(ctx context.Context, q scope.Question) (*scope.Proof, error) {
	if err := n.haveLogs(q.Insurers); err != nil {
		return nil, err
	}
	if err := n.recordQuestion(ctx, q); err != nil {
		return nil, err
	}
	return n.scope.Prove(ctx, q)
}

// ScopeProved is a proof, and the key that it is verified with.
type ScopeProved struct {
	Proof *scope.Proof `json:"proof"`
	VKey  string       `json:"vkey"`
}

func (n *Node) controlScopeProof(r *http.Request) (any, error) {
	q, err := decode[scope.Question](r)
	if err != nil {
		return nil, err
	}
	p, err := n.ScopeProof(r.Context(), q)
	if err != nil {
		return nil, err
	}
	vkey, err := n.ledger.VKey(ledger.CommitsOrigin(n.cfg.Domain, n.opt.Now().UTC().Year()))
	return ScopeProved{p, vkey}, err
}

// ScopeProof asks the running node for the proof of an answer.
func (c *Client) ScopeProof(ctx context.Context, q scope.Question) (ScopeProved, error) {
	return post[ScopeProved](ctx, c, "/v1/scope/proof", q)
}
