package console

import (
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/incident"
)

// cell is what the matrix says about one compartment.
type cell struct {
	State    string `json:"s"` // a door state, or "none": the book has no such door
	Waiting  int    `json:"n,omitempty"`
	Trouble  bool   `json:"t,omitempty"`
	Proposed bool   `json:"p,omitempty"` // a move waits for a second operator
}

const noDoor = "none"

// Abnormal reports whether an operator should look. Waiting messages behind an open door are on their way.
func (c cell) Abnormal() bool {
	return c.State != querschott.Open.String() && c.State != noDoor || c.Trouble || c.Proposed
}

// counts of doors and of what needs somebody.
type counts struct {
	Doors, Open, Hold, ReadOnly, Closed, Trouble, Proposals int
}

// Of returns the number of doors in a state.
func (n counts) Of(s querschott.DoorState) int {
	return map[querschott.DoorState]int{
		querschott.Open: n.Open, querschott.Hold: n.Hold, querschott.ReadOnly: n.ReadOnly, querschott.Closed: n.Closed,
	}[s]
}

// board is everything that the matrix shows, at one moment and in no language.
type board struct {
	At        time.Time
	Snapshot  Snapshot
	Cells     map[querschott.Compartment]cell
	Counts    counts
	Oldest    time.Time // arrival of the oldest waiting message anywhere
	Moves     []door.Order
	Proposals []door.Proposal
	Cases     []*incident.Case // as they may be shown
}

// lastMoves is how many moves the matrix lists beside itself.
const lastMoves = 12

func (c *Console) board(s Snapshot) *board {
	b := &board{At: c.cfg.Now(), Snapshot: s, Cells: map[querschott.Compartment]cell{}, Proposals: c.cfg.Doors.Proposals(), Cases: c.cases()}
	b.Counts.Proposals = len(b.Proposals)
	proposed := map[querschott.Compartment]bool{}
	for _, p := range b.Proposals {
		proposed[p.Compartment] = true
	}
	for _, i := range c.cfg.Insurers {
		for _, svc := range c.cfg.Services {
			k := querschott.Compartment{Insurer: i.IK, Service: svc}
			cur, known := c.cfg.Doors.Current(k)
			if !known {
				b.Cells[k] = cell{State: noDoor}
				continue
			}
			said := s.Compartments[k]
			b.Cells[k] = cell{cur.To.String(), said.Waiting, said.Trouble != "", proposed[k]}
			b.Counts.add(cur.To, said.Trouble != "")
			if !said.Oldest.IsZero() && (b.Oldest.IsZero() || said.Oldest.Before(b.Oldest)) {
				b.Oldest = said.Oldest
			}
			b.Moves = append(b.Moves, c.cfg.Doors.History(k)...)
		}
	}
	slices.SortStableFunc(b.Moves, func(x, y door.Order) int { return y.At.Compare(x.At) })
	b.Moves = b.Moves[:min(len(b.Moves), lastMoves)]
	return b
}

func (n *counts) add(s querschott.DoorState, trouble bool) {
	n.Doors++
	switch s {
	case querschott.Open:
		n.Open++
	case querschott.Hold:
		n.Hold++
	case querschott.ReadOnly:
		n.ReadOnly++
	case querschott.Closed:
		n.Closed++
	}
	if trouble {
		n.Trouble++
	}
}

// situation is a board in a language: what the templates around the matrix draw.
type situation struct {
	*board
	L     *locale
	names func(querschott.IK) string
}

func (c *Console) situation(b *board, l *locale) situation { return situation{b, l, c.name} }

// Name returns an insurer's name.
func (s situation) Name(ik querschott.IK) string { return s.names(ik) }

// RoomLow reports whether the journal would fill up within four hours: half a shift.
func (s situation) RoomLow() bool { return s.Snapshot.RoomHours >= 0 && s.Snapshot.RoomHours < 4 }

func (c *Console) name(ik querschott.IK) string {
	if i, ok := c.insurers[ik]; ok {
		return i.Name
	}
	return string(ik)
}

// cellView is one cell of the page.
type cellView struct {
	cell
	L       *locale
	C       querschott.Compartment
	Insurer string
	Mark    bool // drawn with a box to mark it
	Epoch   uint64
}

type rowView struct {
	Insurer
	Cells    []cellView
	Abnormal int // cells that are
	Hidden   bool
}

type matrixPage struct {
	page
	Now      situation
	Mark     bool
	Query    string
	Only     bool
	ByName   bool
	Services []querschott.Service
	Rows     []rowView
	Hidden   int
	All      int
	Faces    []cellView // one per state: what the script copies
}

func (c *Console) matrix(v *visit) {
	b := c.board(c.cfg.Snapshot())
	q := v.r.URL.Query()
	p := matrixPage{
		page: c.operatorPage(v, "matrix", v.l.T("matrix.title")), Now: c.situation(b, v.l),
		Mark: q.Has("mark"), Query: q.Get("q"), Only: q.Has("only"), ByName: q.Get("sort") == "name",
		Services: c.cfg.Services, All: len(c.cfg.Insurers),
	}
	p.Live = true
	for _, i := range c.cfg.Insurers {
		row := rowView{Insurer: i}
		for _, svc := range c.cfg.Services {
			k := querschott.Compartment{Insurer: i.IK, Service: svc}
			x := cellView{cell: b.Cells[k], L: v.l, C: k, Insurer: i.Name, Mark: p.Mark}
			if x.Abnormal() {
				row.Abnormal++
			}
			row.Cells = append(row.Cells, x)
		}
		if p.Only && row.Abnormal == 0 || !matches(i, p.Query) {
			p.Hidden++
			row.Hidden = true
		}
		p.Rows = append(p.Rows, row)
	}
	slices.SortStableFunc(p.Rows, func(x, y rowView) int {
		if !p.ByName && (x.Abnormal > 0) != (y.Abnormal > 0) {
			if x.Abnormal > 0 {
				return -1
			}
			return 1
		}
		return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name))
	})
	for _, s := range []string{"open", "hold", "read-only", "closed", noDoor} {
		p.Faces = append(p.Faces, cellView{cell: cell{State: s}, L: v.l})
	}
	c.render(v.w, 200, "matrix", p)
}

// matches reports whether every word of the query is in the insurer's name or number.
func matches(i Insurer, query string) bool {
	text := strings.ToLower(i.Name + " " + string(i.IK))
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
