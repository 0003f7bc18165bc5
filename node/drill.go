package node

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/watch"
)

// Modes of a node that is not the real thing.
const (
	ModeDrill = "drill" // an exercise
	ModeDemo  = "demo"  // invented insurers and mail
)

// drillHeader marks every mail that a node sends during an exercise.
const drillHeader = "X-Querschott-Drill: yes\r\n"

// mode is what everybody must be told of the node, "" of a real one.
func (n *Node) mode() string {
	switch {
	case n.cfg.Drill:
		return ModeDrill
	case n.opt.Demo:
		return ModeDemo
	}
	return ""
}

// append writes entries to the ledger. During an exercise each of them says so.
func (n *Node) append(ctx context.Context, entries ...ledger.Entry) error {
	if n.cfg.Drill {
		for i := range entries {
			d := entries[i].Detail
			entries[i].Detail = append(d[:len(d):len(d)], ledger.Field{Name: "mode", Value: ModeDrill})
		}
	}
	_, err := n.ledger.Append(ctx, entries...)
	return err
}

// Heard is an alarm with its number since the start of the node.
type Heard struct {
	Number int          `json:"number"` // from 1
	Alarm  *watch.Alarm `json:"alarm"`
}

// maxHeard is how many alarms the node remembers to be asked for.
const maxHeard = 10_000

// recent are the last alarms.
type recent struct {
	mu    sync.Mutex // guards the fields below
	list  []*watch.Alarm
	first int // number of the first in the list
}

// hear remembers an alarm.
func (r *recent) hear(_ context.Context, a *watch.Alarm) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == maxHeard {
		r.list = append(r.list[:0], r.list[maxHeard/2:]...)
		r.first += maxHeard / 2
	}
	r.list = append(r.list, a)
}

// since returns the alarms after a number.
func (r *recent) since(number int) []Heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []Heard{}
	for i := max(0, number-r.first); i < len(r.list); i++ {
		list = append(list, Heard{r.first + i + 1, r.list[i]})
	}
	return list
}

func (n *Node) controlAlarms(r *http.Request) (any, error) {
	after, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil || after < 0 {
		return nil, querschott.Refuse(querschott.CodeInvalid, "after must be the number of an alarm, or 0")
	}
	return n.recent.since(after), nil
}

// errReal refuses what only exercises need.
var errReal = querschott.Refuse(querschott.CodeForbidden, "this is answered by a demonstration and during an exercise only")

// bound is a message that was promised, as a drill asks for it.
type bound struct {
	Compartment querschott.Compartment `json:"compartment"`
	Binding     string                 `json:"binding"` // hexadecimal
}

func (b *bound) parse() (binding intake.Binding, err error) {
	raw, err := hex.DecodeString(b.Binding)
	if err != nil || len(raw) != len(binding) {
		return binding, querschott.Refuse(querschott.CodeInvalid, "that is no binding")
	}
	return intake.Binding(raw), nil
}

// controlWaiting lists what waits in the journal.
func (n *Node) controlWaiting(*http.Request) (any, error) {
	if n.mode() == "" {
		return nil, errReal
	}
	list := []bound{}
	err := n.WaitingBindings(func(c querschott.Compartment, b intake.Binding) {
		list = append(list, bound{c, hex.EncodeToString(b[:])})
	})
	return list, err
}

// controlDelivered says which of some messages are in their cells.
func (n *Node) controlDelivered(r *http.Request) (any, error) {
	if n.mode() == "" {
		return nil, errReal
	}
	asked, err := decode[[]bound](r)
	if err != nil {
		return nil, err
	}
	there := make([]bool, len(asked))
	for i := range asked {
		b, err := asked[i].parse()
		if err == nil {
			there[i], err = n.Delivered(asked[i].Compartment, b)
		}
		if err != nil {
			return nil, err
		}
	}
	return there, nil
}

// Alarms returns the running node's alarms after a number; 0 for all that it remembers.
func (c *Client) Alarms(ctx context.Context, after int) ([]Heard, error) {
	return get[[]Heard](ctx, c, "/v1/alarms", url.Values{"after": {strconv.Itoa(after)}})
}

// WaitingBindings lists what waits in the journal of a running demonstration or exercise.
func (c *Client) WaitingBindings(ctx context.Context, fn func(querschott.Compartment, intake.Binding)) error {
	list, err := get[[]bound](ctx, c, "/v1/drill/waiting", nil)
	for i := range list {
		b, perr := list[i].parse()
		if perr != nil {
			return perr
		}
		fn(list[i].Compartment, b)
	}
	return err
}

// Delivered says whether a message is in its cell.
func (c *Client) Delivered(ctx context.Context, at querschott.Compartment, b intake.Binding) (bool, error) {
	there, err := post[[]bool](ctx, c, "/v1/drill/delivered", []bound{{at, hex.EncodeToString(b[:])}})
	return err == nil && len(there) == 1 && there[0], err
}
