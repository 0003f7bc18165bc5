package door_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// model is what a door must be: a state, an epoch, and nothing else. Whoever moves it must have the right to.
type model struct {
	*house
	t     *rapid.T
	b     *door.Book
	clock time.Time
	doors map[querschott.Compartment]door.Order
	notes [][]byte // everything that was ever signed, to be replayed
	ids   []string // every proposal that there ever was
}

// TestModel lets operators, the platform and strangers do whatever comes to their minds, replays included.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{house: newHouse(t), t: t, doors: map[querschott.Compartment]door.Order{}}
		m.clock = m.now()
		m.now = func() time.Time { return m.clock }
		m.b = m.open()
		t.Repeat(map[string]func(*rapid.T){
			"":         func(*rapid.T) { m.check() },
			"set":      m.set,
			"approve":  m.approve,
			"withdraw": m.withdraw,
			"replay":   m.replay,
			"wait": func(t *rapid.T) {
				m.clock = m.clock.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
			},
			"restart": func(*rapid.T) { m.b = m.open() },
			"trouble": func(t *rapid.T) {
				m.ledger.fail = nil
				if how := rapid.IntRange(0, 3).Draw(t, "trouble"); how < 2 {
					m.ledger.fail = func(door.Order) (bool, error) { return how == 0, errors.New("trouble in the ledger") }
				}
			},
		})
		m.ledger.check(t)
	})
}

func (m *model) set(t *rapid.T) {
	who := rapid.SampledFrom([]string{"anna", "anna card", "bob", "carol", "querschott", "stranger"}).Draw(t, "who")
	c := rapid.SampledFrom([]querschott.Compartment{eau, vsdm}).Draw(t, "door")
	to := querschott.DoorState(rapid.IntRange(0, 4).Draw(t, "to"))
	was := m.doors[c]
	o, _ := m.b.Draft(request(c, to), "anna")
	m.notes = append(m.notes, m.signed(o, rapid.SampledFrom([][]string{
		{"anna"}, {"anna", "bob"}, {"bob", "anna"}, {"anna", "anna card"}, {"querschott", "anna"}, {"anna", "stranger"},
	}).Draw(t, "signers")...))
	out, err := m.b.Set(context.Background(), request(c, to), keys()[who])
	switch {
	case who == "stranger" || door.Legal(was.To, to) != nil:
		if err == nil || out != (door.Outcome{}) {
			t.Fatalf("%s sets %s: got %+v, want a refusal", who, to, out)
		}
	case !door.Widens(c.Service, was.To, to):
		if out.Order == nil || m.b.State(c) != to || err != nil && m.ledger.fail == nil {
			t.Fatalf("%s sets %s: got %+v, %v; want it in force", who, to, out, err)
		}
	case out.Order != nil:
		t.Fatalf("%s sets %s: in force with one signature", who, to)
	case out.Proposal != nil:
		m.ids = append(m.ids, out.Proposal.ID)
	}
}

func (m *model) approve(t *rapid.T) {
	if len(m.ids) == 0 {
		t.Skip("nothing to approve")
	}
	who := rapid.SampledFrom([]string{"anna", "anna card", "bob", "carol", "querschott", "stranger"}).Draw(t, "who")
	id := rapid.SampledFrom(m.ids).Draw(t, "proposal")
	live := slices.ContainsFunc(m.b.Proposals(), func(p door.Proposal) bool { return p.ID == id })
	out, err := m.b.Approve(context.Background(), id, keys()[who])
	if out.Order != nil && (!live || who == "querschott" || who == "stranger") {
		t.Fatalf("%s approves %s: got %+v, %v", who, id, out, err)
	}
}

func (m *model) withdraw(t *rapid.T) {
	for _, p := range m.b.Proposals() {
		if err := m.b.Withdraw(context.Background(), p.ID, keys()["bob"]); err != nil {
			t.Fatal(err)
		}
		raw, err := door.Cosign(p.Note, note.VerifierList(
			verifier("anna"), verifier("anna card"), verifier("bob"), verifier("carol"), verifier("querschott"),
		), keys()["bob"])
		if err != nil {
			t.Fatal(err)
		}
		if out, err := m.b.Submit(context.Background(), raw); out.Order != nil || err == nil {
			t.Fatalf("a withdrawn proposal: got %+v, %v", out, err)
		}
	}
}

// replay sends something that was signed earlier, perhaps hours ago.
func (m *model) replay(t *rapid.T) {
	if len(m.notes) == 0 {
		t.Skip("nothing to replay")
	}
	_, _ = m.b.Submit(context.Background(), rapid.SampledFrom(m.notes).Draw(t, "note"))
}

// check compares every door with what it was, and asks whether the move from there was legal.
func (m *model) check() {
	for _, c := range []querschott.Compartment{eau, vsdm} {
		was := m.doors[c]
		o, _ := m.b.Current(c)
		m.doors[c] = o
		if m.b.State(c) != o.To {
			m.t.Fatalf("the state is %s, the order says %s", m.b.State(c), o.To)
		}
		if o == was || was == (door.Order{}) && o == (door.Order{Compartment: c}) {
			continue
		}
		if o.Actor == "" { // restarted, and ledger and file tell different stories
			if o.Epoch < was.Epoch || door.Widens(c.Service, was.To, o.To) {
				m.t.Fatalf("a restart made %+v of %+v", o, was)
			}
			continue
		}
		if o.Epoch != was.Epoch+1 || o.From != was.To || o.From == o.To || o.Inverse != o.From {
			m.t.Fatalf("%+v does not follow %+v", o, was)
		}
		if h := m.b.History(c); h[len(h)-1] != o {
			m.t.Fatalf("the history ends with %+v, in force is %+v", h[len(h)-1], o)
		}
		if !door.Widens(c.Service, o.From, o.To) {
			continue
		}
		if l := m.ledger.of(c); l[len(l)-1] != o {
			m.t.Fatalf("the ledger's last order is %+v, in force is %+v", l[len(l)-1], o)
		}
		if o.Approver == "" || o.Approver == o.Actor || o.Actor == door.MachineActor && !slices.Contains([]querschott.Actor{
			"anna, bob", "anna, carol", "bob, anna", "bob, carol", "carol, anna", "carol, bob",
		}, o.Approver) {
			m.t.Fatalf("this opening has %s and %q behind it", o.Actor, o.Approver)
		}
	}
}

func verifier(who string) note.Verifier {
	v, err := note.NewVerifier(keys()[who].vkey)
	if err != nil {
		panic(err)
	}
	return v
}
