package node

import (
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
)

// testLease ends only when a test moves the gate's clock: on a busy machine nothing may be heard for seconds.
const testLease = 10 * time.Minute

// twin is a node with the book and a gate that follows it, of the same insurers.
type twin struct {
	book, gate *house
	mint       *mint
	main       *live
	ahead      atomic.Int64 // of the gate's clock
}

// newTwin starts the node with the book; the gate is not started.
func newTwin(t *testing.T) *twin {
	t.Helper()
	w := &twin{}
	w.book, w.mint = newVSDMHouse(t, 1, func(c *Config) { c.Console.Listen, c.Doors.Lease = "", Duration(testLease) })
	w.gate, _ = newVSDMHouse(t, 1, func(c *Config) {
		c.Domain, c.Console.Listen, c.Doors.Lease = "gate.querschott.example", "", Duration(testLease)
	})
	w.gate.opt.DevIssuer = w.mint.issuer()
	w.gate.opt.Now = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	d, f := &w.book.cfg.Doors.Gates, &w.gate.cfg.Doors.Follow
	book, err := NewLinkCertificate(d.Certificate, d.Key, "book", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gate, err := NewLinkCertificate(f.Certificate, f.Key, "north", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.Listen, d.Known, f.Pins = freeAddress(t), []KnownGate{{Name: "north", Pins: []string{gate}}}, []string{book}
	w.main = w.book.run()
	keys, err := w.main.BookKeys()
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveBookKeys(f.Keys, keys); err != nil {
		t.Fatal(err)
	}
	f.Address = w.main.Addresses().Gates
	return w
}

// connected waits until the gate has everything.
func (w *twin) connected(c querschott.Compartment) {
	w.book.until("the gate", func() bool { e := w.main.Enforced(c); return e.Gates == 2 })
}

// lose stops the node with the book, and lets the gate's lease run out.
func (w *twin) lose() {
	w.main.stop()
	w.ahead.Add(int64(testLease + time.Second))
}

// serving runs the gate with an open door and the master data of one person, whom a practice has asked about there.
func (w *twin) serving() (vsdm querschott.Compartment, north *live, x *reader, p drill.Person) {
	w.book.tb.Helper()
	vsdm, north = w.book.compartment(0, querschott.VSDM), w.gate.run()
	w.connected(vsdm)
	w.main.move(querschott.Open, vsdm)
	north.deliver(0, 1)
	x, p = north.reader(w.mint), w.gate.person(0, 0)
	if got := x.check(w.book.tb.Context(), p); got.Status != 200 {
		w.book.tb.Fatalf("at the gate with the door open: %+v", got)
	}
	return vsdm, north, x, p
}

func TestGateFollowsTheBook(t *testing.T) {
	w := newTwin(t)
	vsdm, north, x, p := w.serving()
	out, err := w.main.Order(t.Context(), door.Request{Compartment: vsdm, To: querschott.Closed, Reason: "test"}, anna, w.book.signer(anna))
	if err != nil || out.Order == nil {
		t.Fatalf("closing: %+v, %v", out, err)
	}
	if got := x.check(t.Context(), p); got.Status != 503 {
		t.Errorf("at the gate after the closing was acknowledged: %d", got.Status)
	}
	if e := w.main.Enforced(vsdm); e.Gates != 2 || e.Of != 2 || e.Epoch != 2 || e.Since.IsZero() || !strings.HasPrefix(e.String(), "2 of 2 gates enforce epoch 2 since 20") {
		t.Errorf("enforced: %+v", e)
	}
	if h := north.doors.History(vsdm); len(h) != 2 || h[1].To != querschott.Closed || h[1].Actor != anna {
		t.Errorf("the gate remembers %+v", h)
	}
	w.refusesOrders(t, north, vsdm)
}

// TestGateFollowsTheDenyList holds a practice at the book: the gate refuses it on the next request, also after its restart,
// until it is released.
func TestGateFollowsTheDenyList(t *testing.T) {
	w := newTwin(t)
	vsdm, north, x, p := w.serving()
	held := ident.Revocation{Dimension: ident.BySubject, Value: string(x.practice.TelematikID()), Reason: "test"}
	c := NewClient(w.book.cfg)
	if err := c.Deny(t.Context(), w.book.signer(anna), held); err != nil {
		t.Fatal(err)
	}
	if e, err := c.DenyEnforced(t.Context()); err != nil || e.Gates != 2 || e.Of != 2 || len(e.Missing) != 0 {
		t.Fatalf("the deny list: %+v, %v", e, err)
	}
	if got := x.check(t.Context(), p); got.Status != 403 {
		t.Errorf("at the gate, held at the book: %d", got.Status)
	}
	if err := NewClient(w.gate.cfg).Admit(t.Context(), w.gate.signer(ben), held); querschott.CodeOf(err) != querschott.CodeNotFound || !strings.Contains(err.Error(), w.gate.cfg.Doors.Follow.Address) {
		t.Errorf("released at the gate: %v", err)
	}
	if v, err := c.Gates(t.Context()); err != nil || len(v.Gates) != 2 || v.Gates[1].Missing || v.Gates[1].Doors != v.Gates[1].Of || v.Gates[1].Deny != 1 {
		t.Errorf("the gates: %+v, %v", v, err)
	}
	north.stop()
	again := w.gate.open() // before it has heard from anybody
	if len(again.Denied()) != 1 {
		t.Errorf("a gate that starts denies %+v", again.Denied())
	}
	_, old, _ := w.main.denied.Edition()
	forged, err := note.Sign(&note.Note{Text: denyEdition(w.book.cfg.Domain, old)}, again.machine)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.takeList(denyList, 1, forged); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("a list that somebody else has signed: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	north = w.gate.run()
	w.connected(vsdm)
	if err := c.Admit(t.Context(), w.book.signer(ben), held); err != nil {
		t.Fatal(err)
	}
	if e, err := c.DenyEnforced(t.Context()); err != nil || e.Gates != 2 || len(north.Denied()) != 0 {
		t.Errorf("released: %+v, %v, the gate denies %+v", e, err, north.Denied())
	}
}

// refusesOrders gives orders to the gate itself.
func (w *twin) refusesOrders(t *testing.T, north *live, c querschott.Compartment) {
	t.Helper()
	wanted := func(what string, err error) {
		t.Helper()
		if querschott.CodeOf(err) != querschott.CodeForbidden || !strings.Contains(err.Error(), w.gate.cfg.Doors.Follow.Address) {
			t.Errorf("%s at the gate: %v", what, err)
		}
	}
	_, err := north.Order(t.Context(), door.Request{Compartment: c, To: querschott.Hold, Reason: "test"}, anna, w.gate.signer(anna))
	wanted("an order", err)
	next := north.Door(c).Next(door.Request{Compartment: c, To: querschott.Open, Reason: "test"}, anna, time.Now())
	raw, err := note.Sign(&note.Note{Text: next.Text()}, w.book.signer(anna), w.book.signer(ben))
	if err != nil {
		t.Fatal(err)
	}
	_, err = north.doors.Submit(t.Context(), raw) // signed well, and at the wrong place
	wanted("a signed order", err)
	_, err = north.doors.Set(t.Context(), door.Request{Compartment: c, To: querschott.Hold, Reason: "test"}, north.machine)
	wanted("containment's order", err)
	_, err = north.BookKeys()
	wanted("its keys", err)
}

// TestGateWithoutContact cuts the link, stops either side and starts it again.
func TestGateWithoutContact(t *testing.T) {
	w := newTwin(t)
	vsdm, eau := w.book.compartment(0, querschott.VSDM), w.book.compartment(0, querschott.EAU)
	north := w.gate.run()
	w.connected(vsdm)
	w.main.move(querschott.Open, vsdm)
	w.main.move(querschott.Closed, eau)
	w.gate.until("the book's orders", func() bool {
		return north.doors.State(vsdm) == querschott.Open && north.doors.State(eau) == querschott.Closed
	})
	w.lose()
	w.gate.until("the end of the lease", func() bool { o, _ := north.current(vsdm); return o.To == querschott.Hold })
	w.gate.until("the book here", func() bool { return north.doors.State(vsdm) == querschott.Hold })
	if got := north.doors.State(eau); got != querschott.Closed {
		t.Errorf("what was closed is %s without contact", got)
	}
	if tr := north.followTrouble(); len(tr) != 1 || !strings.Contains(tr[0].Text, "lease has run out") || tr[0].Fix == "" {
		t.Errorf("trouble: %+v", tr)
	}
	north.stop()

	north = w.gate.run() // without the book
	if a, b := north.doors.State(vsdm), north.doors.State(eau); a != querschott.Hold || b != querschott.Closed {
		t.Errorf("a gate that starts without contact has %s and %s", a, b)
	}
	w.book.cfg.Doors.Gates.Listen = w.gate.cfg.Doors.Follow.Address
	w.main = w.book.run()
	w.connected(vsdm)
	w.gate.until("the doors as they are in the book", func() bool { o, _ := north.current(vsdm); return o.To == querschott.Open })
	if got := north.doors.State(eau); got != querschott.Closed {
		t.Errorf("what is closed became %s", got)
	}
	w.gate.until("no trouble with contact", func() bool { return len(north.followTrouble()) == 0 })
}

// TestStrangersAtTheGates connects with a certificate that nobody knows, and has the gate meet somebody else's.
func TestStrangersAtTheGates(t *testing.T) {
	w := newTwin(t)
	f := &w.gate.cfg.Doors.Follow
	good := *f
	f.Certificate, f.Key = filepath.Join(w.gate.dir, "rogue.pem"), filepath.Join(w.gate.dir, "rogue.key")
	if _, err := NewLinkCertificate(f.Certificate, f.Key, "north", time.Now()); err != nil {
		t.Fatal(err)
	}
	rogue := w.gate.run()
	w.book.until("a stranger", func() bool { return w.main.gates.strangers.Load() > 0 })
	if e := w.main.Enforced(w.book.compartment(0, querschott.VSDM)); e.Gates != 1 || e.Of != 2 || len(e.Missing) != 1 || e.Missing[0] != "north" {
		t.Errorf("with a stranger under the gate's name: %+v", e)
	}
	rogue.stop()

	*f = good
	f.Pins = []string{strings.Repeat("ab", 32)}
	fooled := w.gate.run()
	w.gate.until("the pin is missed", func() bool { return strings.Contains(w.gate.log.String(), "its key has another pin") })
	if o, _ := fooled.current(w.gate.compartment(0, querschott.VSDM)); o.To != querschott.Hold || o.Epoch != 0 {
		t.Errorf("the gate obeys somebody else: %+v", o)
	}
	plain, err := net.Dial("tcp", w.main.Addresses().Gates)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close() //nolint:errcheck // nothing was said on it
	if _, err := plain.Write([]byte("\x00\x00\x00\x10{\"kind\":\"beat\"}")); err != nil {
		t.Fatal(err)
	}
	if n, _ := plain.Read(make([]byte, 1)); n != 0 {
		b := make([]byte, 64)
		if n, _ := plain.Read(b); strings.Contains(string(b[:n]), "order") {
			t.Errorf("without TLS the book says %q", b[:n])
		}
	}
}

func TestCheckGate(t *testing.T) {
	if err := CheckGate("north-2", "book.example:7443"); err != nil {
		t.Error(err)
	}
	for name, address := range map[string]string{"North": "a:1", "": "a:1", "../north": "a:1", "north": "book.example", "east": ":7443", "west": ""} {
		if CheckGate(name, address) == nil {
			t.Errorf("a gate %q of a book at %q is made", name, address)
		}
	}
}
