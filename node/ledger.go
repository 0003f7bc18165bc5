package node

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// LedgerOrigin is one log of the ledger.
type LedgerOrigin struct {
	Origin     string `json:"origin"`
	VKey       string `json:"vkey"`
	Checkpoint string `json:"checkpoint"`
}

// LedgerOrigins lists the logs with their keys and newest checkpoints.
func (n *Node) LedgerOrigins() ([]LedgerOrigin, error) { return origins(n.ledger) }

func origins(l *ledger.Ledger) ([]LedgerOrigin, error) {
	var list []LedgerOrigin
	for _, origin := range l.Origins() {
		vkey, err := l.VKey(origin)
		if err != nil {
			return nil, err
		}
		checkpoint, err := l.Checkpoint(origin)
		if err != nil && !errors.Is(err, ledger.ErrNoKey) {
			return nil, err
		}
		list = append(list, LedgerOrigin{Origin: origin, VKey: vkey, Checkpoint: string(checkpoint)})
	}
	return list, nil
}

// LedgerEntry is an entry as it is shown. The numbers of insured persons are masked.
type LedgerEntry struct {
	Origin      string            `json:"origin"`
	Index       uint64            `json:"index"`
	At          time.Time         `json:"at"`
	Kind        string            `json:"kind"`
	Compartment string            `json:"compartment,omitempty"`
	Action      string            `json:"action"`
	Data        string            `json:"data"`
	Records     uint32            `json:"records"`
	Outcome     string            `json:"outcome"`
	Reason      string            `json:"reason"`
	Role        querschott.Role   `json:"role"`
	Epoch       uint64            `json:"epoch"`
	Actor       querschott.Actor  `json:"actor,omitempty"`
	Persons     []string          `json:"persons,omitempty"` // masked
	RequestID   string            `json:"request_id,omitempty"`
	Detail      map[string]string `json:"detail,omitempty"`
	Sealed      bool              `json:"sealed,omitempty"` // there are actor, persons, request and details, and their key is not at hand
}

func (n *Node) controlShow(r *http.Request) (any, error) {
	origin := r.URL.Query().Get("origin")
	from, err := number(r, "from", 0)
	if err != nil {
		return nil, err
	}
	to, err := number(r, "to", from+100)
	if err != nil {
		return nil, err
	}
	if err := checkStretch(from, to); err != nil {
		return nil, err
	}
	if err := n.recordNode(r.Context(), ledger.ActionRead, ledger.KindLedgerRead, ledger.DataLog, ledger.Field{Name: "origin", Value: origin}); err != nil {
		return nil, err
	}
	return stretch(n.ledger, origin, from, to)
}

// checkStretch refuses stretches of a log that are none, or too long.
func checkStretch(from, to uint64) error {
	const most = 10_000
	if to < from {
		return querschott.Refuse(querschott.CodeInvalid, "from %d to %d: the end lies before the beginning", from, to)
	}
	if to-from > most {
		return querschott.Refuse(querschott.CodeInvalid, "from %d to %d: at most %d entries are shown at once", from, to, most)
	}
	return nil
}

func stretch(l *ledger.Ledger, origin string, from, to uint64) ([]LedgerEntry, error) {
	list := []LedgerEntry{}
	for e, err := range l.Scan(origin, from, to) {
		if err != nil {
			return nil, unknownLog(origin, err)
		}
		list = append(list, shown(e))
	}
	return list, nil
}

func (n *Node) controlProve(r *http.Request) (any, error) {
	index, err := number(r, "index", 0)
	if err != nil {
		return nil, err
	}
	return prove(n.ledger, r.URL.Query().Get("origin"), index)
}

func prove(l *ledger.Ledger, origin string, index uint64) (LedgerProof, error) {
	proof, err := l.Prove(origin, index)
	if err != nil {
		return LedgerProof{}, unknownLog(origin, err)
	}
	e, err := l.Entry(origin, index)
	if err != nil {
		return LedgerProof{}, unknownLog(origin, err)
	}
	vkey, err := l.VKey(origin)
	return LedgerProof{Proof: string(proof), Entry: e.Bytes, VKey: vkey}, err
}

func (n *Node) controlExport(r *http.Request) (any, error) {
	d, err := decode[struct {
		Origin string `json:"origin"`
		Dir    string `json:"dir"`
	}](r)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(d.Dir) {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the export's directory must be an absolute path")
	}
	if err := n.apart(d.Dir); err != nil {
		return nil, err
	}
	if err := n.recordNode(r.Context(), ledger.ActionRead, ledger.KindExport, ledger.DataLog, ledger.Field{Name: "origin", Value: d.Origin}); err != nil {
		return nil, err
	}
	if err := n.ledger.Export(d.Origin, d.Dir); err != nil {
		return nil, unknownLog(d.Origin, err)
	}
	return struct{}{}, nil
}

// unknownLog tells whoever named a log or an entry that cannot be shown so.
func unknownLog(origin string, err error) error {
	if errors.Is(err, ledger.ErrNoEntry) {
		return querschott.Refuse(querschott.CodeNotFound, "%.200q has no such entry", origin)
	}
	if !errors.Is(err, ledger.ErrNoLog) {
		return err
	}
	if strings.Contains(origin, "/ledger/commits/") {
		return querschott.Refuse(querschott.CodeInvalid, "the entries of %.200q are heads of the other logs; export it to look at them", origin)
	}
	return querschott.Refuse(querschott.CodeNotFound, "there is no log %.200q; see 'querschott ledger list'", origin)
}

func shown(e *ledger.Entered) LedgerEntry {
	l := e.Leaf
	out := LedgerEntry{
		Origin: e.Origin, Index: e.Index, At: l.Time, Kind: l.Kind.String(), Action: l.Action.String(), Data: l.Data.String(),
		Records: l.Records, Outcome: l.Outcome.String(), Reason: l.Reason.String(), Role: l.Role, Epoch: l.Epoch,
		Sealed: e.Sealed,
	}
	if l.Insurer != "" {
		out.Compartment = string(l.Insurer)
		if l.Service != "" {
			out.Compartment = querschott.Compartment{Insurer: l.Insurer, Service: l.Service}.String()
		}
	}
	if p := e.Payload; p != nil {
		out.Actor, out.RequestID = p.Actor, p.RequestID
		for _, person := range p.Persons {
			out.Persons = append(out.Persons, person.String())
		}
		for _, f := range p.Detail {
			if out.Detail == nil {
				out.Detail = map[string]string{}
			}
			out.Detail[f.Name] = f.Value
		}
	}
	return out
}

// VerifyLedger recomputes every tree and verifies every signature.
func (n *Node) VerifyLedger(ctx context.Context) (*ledger.Report, error) {
	return n.ledger.Verify(ctx, nil)
}
