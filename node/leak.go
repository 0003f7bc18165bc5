package node

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/scope/leak"
)

// maxLeak is the largest question about a dump on the control socket, in bytes: five million numbers.
const maxLeak = 64 << 20

// LeakRequest asks what the platform knows of the different persons of a dump.
type LeakRequest struct {
	Numbers []string      `json:"numbers"` // KVNR
	From    time.Time     `json:"from,omitzero"`
	To      time.Time     `json:"to"`
	Windows []leak.Window `json:"windows,omitempty"` // when the copies were made, if a history says it
}

// Leak says which insurers know the persons of a dump, which of them are canaries, and who reached them. The question is recorded
// first; then, before the answer, that it was asked about each person whom an insurer's log knows.
func (n *Node) Leak(ctx context.Context, d LeakRequest) (*leak.Known, error) {
	search := scope.Search{From: d.From, To: d.To}
	for _, text := range d.Numbers {
		k, err := querschott.ParseKVNR(text)
		if err != nil {
			return nil, querschott.Refuse(querschott.CodeInvalid, "among the numbers is one that is no insured person's number")
		}
		search.Persons = append(search.Persons, k)
	}
	err := n.recordNode(ctx, ledger.ActionSearch, ledger.KindLedgerRead, ledger.DataLog, ledger.Field{Name: "question", Value: "leak"},
		ledger.Field{Name: "time", Value: interval(d.From, d.To)}, ledger.Field{Name: "persons", Value: strconv.Itoa(len(search.Persons))})
	if err != nil {
		return nil, err
	}
	found, err := n.scope.Readers(ctx, search)
	if err != nil {
		return nil, err
	}
	known := &leak.Known{Owners: []leak.Owner{}, Canaries: n.canariesAmong(search.Persons), Ranking: leak.Rank(found, len(search.Persons), d.Windows)}
	for _, o := range found.Owners {
		if err := n.recordLeak(ctx, o, search.Persons); err != nil {
			return nil, err
		}
		known.Owners = append(known.Owners, leak.Owner{Insurer: o.Insurer, Persons: o.Persons})
	}
	return known, nil
}

// recordLeak records in an insurer's log that its persons of a dump were compared with it.
func (n *Node) recordLeak(ctx context.Context, o scope.Owner, persons []querschott.KVNR) error {
	var entries []ledger.Entry
	for at := 0; at < len(o.Persons); at += revealAtOnce {
		e := n.readByOperator(o.Insurer, "leak")
		for _, i := range o.Persons[at:min(at+revealAtOnce, len(o.Persons))] {
			e.Persons = append(e.Persons, persons[i])
		}
		e.Records = uint32(len(e.Persons))
		entries = append(entries, e)
	}
	return n.append(ctx, entries...)
}

// canariesAmong finds canary persons, those that were replaced too.
func (n *Node) canariesAmong(persons []querschott.KVNR) []leak.Owner {
	of := map[querschott.KVNR]querschott.IK{}
	n.alarms.canaries.each(true, func(in querschott.IK, _ uint32, k querschott.KVNR) { of[k] = in })
	at := map[querschott.IK]int{}
	list := []leak.Owner{}
	for i, k := range persons {
		in, ok := of[k]
		if !ok {
			continue
		}
		place, ok := at[in]
		if !ok {
			place = len(list)
			at[in] = place
			list = append(list, leak.Owner{Insurer: in})
		}
		list[place].Persons = append(list[place].Persons, uint32(i))
	}
	return list
}

func (n *Node) controlLeak(r *http.Request) (any, error) {
	d, err := decode[LeakRequest](r)
	if err != nil {
		return nil, err
	}
	return n.Leak(r.Context(), d)
}

// Leak asks the running node what it knows of the persons of a dump. Their numbers go over the control socket, to the same
// machine.
func (c *Client) Leak(ctx context.Context, d LeakRequest) (*leak.Known, error) {
	return post[*leak.Known](ctx, c, "/v1/scope/leak", d)
}
