package node

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/vsd"
)

// maxImport is the largest request with master data on the control socket, in bytes.
const maxImport = 8 << 20

// ImportedFile is a bundle on its way into a cell.
type ImportedFile struct {
	Name string `json:"name"`
	XML  bool   `json:"xml,omitempty"`
	Data []byte `json:"data"`
}

// Imported says what an import did.
type Imported struct {
	Added     int               `json:"added"`
	Replaced  int               `json:"replaced"`
	Unchanged int               `json:"unchanged"`
	Refused   map[string]string `json:"refused"` // by name: why
}

// add sums up.
func (i *Imported) add(p *vsdm.Progress) {
	i.Added, i.Replaced, i.Unchanged = i.Added+p.Added, i.Replaced+p.Replaced, i.Unchanged+p.Unchanged
	for _, r := range p.Refusals {
		i.Refused[r.Name] = r.Err.Error()
	}
}

// Import puts bundles of master data into the cells of the insurers that they name as main payor.
func (n *Node) Import(ctx context.Context, files []ImportedFile) (Imported, error) {
	done := Imported{Refused: map[string]string{}}
	if n.vsdm == nil {
		return done, errNoVSDM
	}
	parts := map[querschott.Compartment][]vsdm.Bundle{}
	for _, f := range files {
		format := vsd.JSON
		if f.XML {
			format = vsd.XML
		}
		r, _, err := vsd.ParseBundle(f.Data, format)
		if err != nil {
			done.Refused[f.Name] = err.Error()
			continue
		}
		owner, ok := n.vsdm.Owner(string(r.Payors[0].IK))
		if !ok {
			done.Refused[f.Name] = vsdm.ErrInsurer.Error()
			continue
		}
		c := querschott.Compartment{Insurer: owner, Service: querschott.VSDM}
		parts[c] = append(parts[c], vsdm.Bundle{Name: f.Name, Data: f.Data, Format: format})
	}
	for c, list := range parts {
		if err := n.recordImport(ctx, c, len(list)); err != nil {
			return done, err
		}
		p, err := n.vsdm.Import(ctx, c, slices.Values(list), nil)
		done.add(p)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// recordImport is the ledger's entry before master data is written.
func (n *Node) recordImport(ctx context.Context, c querschott.Compartment, records int) error {
	o, _ := n.current(c)
	err := n.append(ctx, ledger.Entry{
		Kind: ledger.KindAccess, At: n.opt.Now(), Compartment: c, Action: ledger.ActionUpdate, Data: ledger.DataInsured,
		Records: uint32(records), Outcome: ledger.OutcomeSuccess, Role: querschott.RoleMachine, Purpose: ledger.PurposeOperations,
		Epoch: o.Epoch, Detail: []ledger.Field{{Name: "import", Value: fmt.Sprintf("%d bundles", records)}},
	})
	return err
}

// CheckedNumber is what is known of a check number that somebody showed.
type CheckedNumber struct {
	Verdict  vsdm.Verdict     `json:"verdict"`
	Good     bool             `json:"good"`
	Critical bool             `json:"critical"`
	Insurer  querschott.IK    `json:"insurer,omitempty"` // through whose compartment it was issued
	Actor    querschott.Actor `json:"actor,omitempty"`   // to whom
	Issued   time.Time        `json:"issued,omitzero"`
	Shown    time.Time        `json:"shown,omitzero"` // first
	Request  string           `json:"request,omitempty"`
}

// NumberShown is a check number and who shows it for whom.
type NumberShown struct {
	Number string           `json:"number"`
	Person string           `json:"person"` // KVNR
	Actor  querschott.Actor `json:"actor"`
}

// CheckNumber compares a check number with what was issued. That it was shown is kept.
func (n *Node) CheckNumber(ctx context.Context, s NumberShown) (CheckedNumber, error) {
	if n.vsdm == nil {
		return CheckedNumber{}, errNoVSDM
	}
	number, err := pruefziffer.Parse(s.Number)
	if err != nil {
		return CheckedNumber{Verdict: vsdm.VerdictMalformed}, nil //nolint:nilerr // that it is none is the verdict
	}
	person := querschott.KVNR(s.Person)
	f, err := n.vsdm.Check(vsdm.Shown{Number: number, Person: person, Actor: s.Actor})
	if err != nil {
		return CheckedNumber{}, err
	}
	c := CheckedNumber{Verdict: f.Verdict, Good: f.Verdict.Good(), Critical: f.Verdict.Critical(), Shown: f.First}
	if f.Issued != nil {
		c.Insurer, c.Actor, c.Issued, c.Request = f.Issued.Insurer, f.Issued.Actor, f.Issued.At, f.Issued.Request
	}
	at := querschott.Compartment{}
	if c.Insurer != "" {
		at = querschott.Compartment{Insurer: c.Insurer, Service: querschott.VSDM}
	}
	hash := number.Hash()
	err = n.append(ctx, ledger.Entry{
		Kind: ledger.KindAccess, At: n.opt.Now(), Compartment: at,
		Action: ledger.ActionVerify, Data: ledger.DataInsured, Outcome: ledger.OutcomeSuccess, Role: querschott.RoleMachine,
		Purpose: ledger.PurposeSecurity, Actor: s.Actor, Person: person, RequestID: c.Request,
		Detail: []ledger.Field{{Name: "verdict", Value: string(c.Verdict)}, {Name: "number", Value: fmt.Sprintf("%x", hash)}},
	})
	if c.Critical {
		n.log.Error("ALARM: a check number is in the wrong hands, or its key is", "verdict", string(c.Verdict), "insurer", string(c.Insurer))
	}
	return c, err
}

func (n *Node) controlImport(r *http.Request) (any, error) {
	d, err := decode[struct {
		Files []ImportedFile `json:"files"`
	}](r)
	if err != nil {
		return nil, err
	}
	return n.Import(r.Context(), d.Files)
}

func (n *Node) controlCheckNumber(r *http.Request) (any, error) {
	d, err := decode[NumberShown](r)
	if err != nil {
		return nil, err
	}
	return n.CheckNumber(r.Context(), d)
}

// Import puts bundles of master data into the cells of the running node.
func (c *Client) Import(ctx context.Context, files []ImportedFile) (Imported, error) {
	return post[Imported](ctx, c, "/v1/vsdm/import", map[string][]ImportedFile{"files": files})
}

// CheckNumber compares a check number with what the running node has issued.
func (c *Client) CheckNumber(ctx context.Context, s NumberShown) (CheckedNumber, error) {
	return post[CheckedNumber](ctx, c, "/v1/vsdm/check", s)
}
