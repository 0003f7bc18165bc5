package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// denyFile is the name of the deny list in the data directory.
const denyFile = "revocations.json"

// denyLife is how long a signed change of the deny list may be on its way.
const denyLife = 5 * time.Minute

func (n *Node) openDenyList(context.Context) (err error) {
	n.denied, err = ident.OpenRevocations(disk.OS{}, n.path(denyFile), n.opt.Now)
	if err == nil && n.cfg.follows() {
		err = n.rememberDenyList()
	}
	return err
}

// Changes of the deny list.
const (
	denyAdd    = "add"
	denyRemove = "remove"
)

// denyText is what an operator signs to change the deny list.
func denyText(domain, change string, at time.Time, list []ident.Revocation) (string, error) {
	entries, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("couldn't write deny entries: %w", err)
	}
	return fmt.Sprintf("querschott deny list\n%s\n%s\n%s\n%s\n", domain, change, at.UTC().Format(time.RFC3339Nano), entries), nil
}

// controlDeny takes a signed note of denyText.
func (n *Node) controlDeny(r *http.Request) (any, error) {
	who, text, err := n.signedByOperator(r, "the change of the deny list")
	if err != nil {
		return nil, err
	}
	return struct{}{}, n.obeyDeny(r.Context(), who, text)
}

// signedByOperator reads a signed note from a request and returns which operator signed which text. What says what was not
// signed if nobody has.
func (n *Node) signedByOperator(r *http.Request, what string) (who querschott.Actor, text string, err error) {
	d, err := decode[struct {
		Note []byte `json:"note"`
	}](r)
	if err != nil {
		return "", "", err
	}
	for _, op := range n.roster {
		known, err := verifiers(op)
		if err != nil {
			return "", "", err
		}
		if signed, err := note.Open(d.Note, known); err == nil {
			return op.Name, signed.Text, nil
		}
	}
	return "", "", querschott.Refuse(querschott.CodeForbidden, "%s is not signed by an operator of this node", what)
}

func (n *Node) obeyDeny(ctx context.Context, who querschott.Actor, text string) error {
	lines := strings.SplitN(text, "\n", 5)
	if len(lines) != 5 || lines[0] != "querschott deny list" || lines[1] != n.cfg.Domain {
		return querschott.Refuse(querschott.CodeInvalid, "the signed text is no change of this node's deny list")
	}
	at, err := time.Parse(time.RFC3339Nano, lines[3])
	if err != nil || n.opt.Now().Sub(at).Abs() > denyLife {
		return querschott.Refuse(querschott.CodeConflict, "the change of the deny list was not signed within the last %s; sign it again", denyLife)
	}
	var list []ident.Revocation
	if err := json.Unmarshal([]byte(lines[4]), &list); err != nil || len(list) == 0 {
		return querschott.Refuse(querschott.CodeInvalid, "the signed text holds no deny entries")
	}
	switch lines[2] {
	case denyAdd:
		for i := range list {
			list[i].Actors = []querschott.Actor{who}
		}
		return n.Deny(ctx, list...)
	case denyRemove:
		return n.Admit(ctx, who, list...)
	default:
		return querschott.Refuse(querschott.CodeInvalid, "the signed text changes the deny list in no way that is known")
	}
}

// Deny puts entries on the deny list. They act on the next request and stay in force whatever becomes of the ledger's entry.
func (n *Node) Deny(ctx context.Context, list ...ident.Revocation) error {
	if err := n.denied.Add(list...); err != nil {
		return err
	}
	n.publishDenyList()
	for _, v := range list {
		if err := n.recordDeny(ctx, ledger.ActionCreate, v.Actors[0], v); err != nil {
			return fmt.Errorf("it is in force, but the ledger has no entry of it: %w", err)
		}
	}
	return nil
}

// Admit takes entries off the deny list. The ledger has the entry before it happens.
func (n *Node) Admit(ctx context.Context, who querschott.Actor, list ...ident.Revocation) error {
	for _, v := range list {
		if err := n.recordDeny(ctx, ledger.ActionDelete, who, v); err != nil {
			return err
		}
	}
	err := n.denied.Remove(list...)
	if err != nil && n.follower != nil && querschott.CodeOf(err) == querschott.CodeNotFound {
		return querschott.Refuse(querschott.CodeNotFound,
			"no such entry was made at this gate; what the node with the book denies is taken off there, %s", n.cfg.Doors.Follow.Address)
	}
	if err == nil {
		n.letIn(list)
	}
	n.publishDenyList()
	return err
}

// Denied returns the deny list; at a gate, what was denied here and then what the node with the book denies.
func (n *Node) Denied() []ident.Revocation {
	_, followed := n.denied.Followed()
	return append(n.denied.List(), followed...)
}

func (n *Node) recordDeny(ctx context.Context, a ledger.Action, who querschott.Actor, v ident.Revocation) error {
	detail := []ledger.Field{
		{Name: "deny-list", Value: string(v.Dimension)},
		{Name: "value", Value: v.Value},
		{Name: "reason", Value: v.Reason},
		{Name: "subject", Value: v.Subject},
		{Name: "run", Value: v.Run},
	}
	if !v.Until.IsZero() {
		detail = append(detail, ledger.Field{Name: "until", Value: v.Until.UTC().Format(time.RFC3339)})
	}
	role, reason := deniedBy(who)
	err := n.append(ctx, ledger.Entry{
		Kind: ledger.KindNodeChange, At: n.opt.Now(), Compartment: querschott.Compartment{Insurer: v.Insurer}, Action: a,
		Data: ledger.DataAccount, Outcome: ledger.OutcomeSuccess, Reason: reason, Role: role,
		Purpose: ledger.PurposeSecurity, Actor: who, Detail: detail,
	})
	return err
}

// Denied returns the deny list.
func (c *Client) Denied(ctx context.Context) ([]ident.Revocation, error) {
	return get[[]ident.Revocation](ctx, c, "/v1/denied", nil)
}

// Deny puts entries on the deny list. The key never leaves this process.
func (c *Client) Deny(ctx context.Context, s note.Signer, list ...ident.Revocation) error {
	return c.changeDenyList(ctx, s, denyAdd, list)
}

// Admit takes entries off the deny list.
func (c *Client) Admit(ctx context.Context, s note.Signer, list ...ident.Revocation) error {
	return c.changeDenyList(ctx, s, denyRemove, list)
}

func (c *Client) changeDenyList(ctx context.Context, s note.Signer, change string, list []ident.Revocation) error {
	text, err := denyText(c.domain, change, time.Now(), list)
	if err != nil {
		return err
	}
	raw, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		return fmt.Errorf("couldn't sign the change of the deny list: %w", err)
	}
	_, err = post[struct{}](ctx, c, "/v1/denied", map[string][]byte{"note": raw})
	return err
}
