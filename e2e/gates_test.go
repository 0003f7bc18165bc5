//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
)

// gatesLease is short enough for a test to wait for its end, and long enough for a heartbeat on a machine with much to do.
const gatesLease = 20 * time.Second

// TestGates runs a node with the book and a gate that follows it, each a process of its own, made with the commands of the manual.
// Somebody asks at the gate while the operators decide at the book, the link is cut and mended, and the gate is killed.
func TestGates(t *testing.T) {
	t.Parallel()
	w := newPair(t)
	w.decides(t)
	w.denies(t)
	w.cut(t)
	w.killed(t)
	w.north.stop(t)
	w.main.stop(t)
}

// pair is a book and a gate in front of a service, and a practice that asks at the gate.
type pair struct {
	book        *installation
	gate        *entrance
	link        *cable
	main, north *process
	x           *practice
	c           querschott.Compartment
	behind      atomic.Int64 // requests that reached the service
}

func newPair(t *testing.T) *pair {
	t.Helper()
	w := &pair{}
	service := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		w.behind.Add(1)
		out.Header().Set("Content-Type", "application/fhir+json")
		_, _ = fmt.Fprint(out, `{"resourceType":"Patient","id":"1"}`) // whoever asked has gone
	}))
	t.Cleanup(service.Close)
	w.gate = gateFor(t, service.URL+"/fhir", "--domain", "north.querschott.example")
	w.c = querschott.Compartment{Insurer: w.gate.world.Insurers()[0].IK, Service: querschott.EPA}
	w.found(t)
	w.main, _ = w.book.serve(t)
	w.introduce(t)
	w.main.stop(t)
	w.main, _ = w.book.serve(t)
	w.north, _ = w.gate.serve(t)
	w.x = w.gate.practice(t, 0)
	w.until(t, 2)
	return w
}

// found makes the node with the book. It has the gate's insurers, and no entrance of its own.
func (w *pair) found(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	w.book = &installation{program: "querschott", dir: dir, config: filepath.Join(dir, node.ConfigFile)}
	command(t, "init", dir, "--domain", "book.querschott.example")
	w.book.set(t, map[string]string{
		"mail.starttls": `""`, "mail.tls": `""`, "console.listen": `""`, "log.format": "json", "intake.segment": "4MiB", "intake.max_mail": "2MiB",
	})
	data, err := os.ReadFile(w.gate.load(t).Insurers)
	if err == nil {
		err = os.WriteFile(w.book.load(t).Insurers, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// introduce makes the two know each other.
func (w *pair) introduce(t *testing.T) {
	t.Helper()
	at := freeAddress(t)
	w.link = lay(t, at)
	w.book.set(t, map[string]string{"doors.lease": gatesLease.String(), "doors.listen": at})
	var made struct {
		Name, Dir string
		AtBook    string `json:"at_book"`
		AtGate    string `json:"at_gate"`
	}
	dir := filepath.Join(w.book.dir, "north")
	out := w.book.run(t, "-o", "json", "door", "gates", "add", "north", "--address", w.link.address(), "--dir", dir)
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Name != "north" || made.Dir != dir {
		t.Fatalf("door gates add printed %s: %v", out, err)
	}
	for _, name := range []string{"gate.pem", "gate.key", "book.yaml"} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(w.gate.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.book.replace(t, "doors", made.AtBook)
	w.gate.replace(t, "doors", made.AtGate)
}

// replace writes a section of the configuration anew.
func (i *installation) replace(t *testing.T, section, text string) {
	t.Helper()
	data, err := os.ReadFile(i.config)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	inside, found := false, false
	for line := range strings.Lines(string(data)) {
		if line != "\n" && !strings.HasPrefix(line, " ") {
			inside = strings.HasPrefix(line, section+":")
			found = found || inside
		}
		if !inside {
			kept = append(kept, line)
		}
	}
	if !found {
		t.Fatalf("the configuration has no section %s", section)
	}
	if err := os.WriteFile(i.config, []byte(strings.Join(kept, "")+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// gates is what the book says of its gates: how many enforce everything, and which are missing.
func (w *pair) gates(t *testing.T) (enforce int, missing string) {
	t.Helper()
	var v node.GatesView
	if err := json.Unmarshal([]byte(w.book.run(t, "-o", "json", "door", "gates")), &v); err != nil || len(v.Gates) != 2 || v.Lease != gatesLease {
		t.Fatalf("door gates: %+v, %v", v, err)
	}
	for _, g := range v.Gates {
		if g.Missing {
			missing += g.Name
		} else if g.Doors == g.Of && len(g.Faults) == 0 {
			enforce++
		}
	}
	return enforce, missing
}

// until waits until so many gates enforce everything.
func (w *pair) until(t *testing.T, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d gates enforce everything", want), func() bool { n, _ := w.gates(t); return n == want })
}

// ask asks at the gate. Only what is answered with 200 may have reached the service.
func (w *pair) ask(t *testing.T) int {
	t.Helper()
	status, reached := w.try(t)
	if reached != 0 && status != http.StatusOK || reached != 1 && status == http.StatusOK {
		t.Errorf("a request with status %d reached the service %d times", status, reached)
	}
	return status
}

// try asks at the gate, and says how often that reached the service.
func (w *pair) try(t *testing.T) (status int, reached int64) {
	t.Helper()
	before := w.behind.Load()
	got := w.x.through(t, w.c.Insurer, http.MethodGet, "/fhir/Patient/1", "")
	return got.status, w.behind.Load() - before
}

func (w *pair) wants(t *testing.T, when string, want int) {
	t.Helper()
	if got := w.ask(t); got != want {
		t.Errorf("%s: the gate answers %d, want %d", when, got, want)
	}
}

// order gives an order at the book, or has an entry made or removed there, and returns what the operator is told.
func (w *pair) order(t *testing.T, who string, args ...string) string {
	t.Helper()
	return w.book.run(t, append(args, "--key", filepath.Join(w.book.dir, "operators", who+".key"))...)
}

// moves has the door closed, or opened by two operators.
func (w *pair) moves(t *testing.T, to querschott.DoorState) string {
	t.Helper()
	if to != querschott.Open {
		return w.order(t, "anna", "door", "set", w.c.String(), to.String(), "--reason", "drill", "--incident", "VF-9")
	}
	w.order(t, "anna", "door", "set", w.c.String(), "open", "--reason", "over", "--stages", "none")
	return w.order(t, "ben", "door", "approve", "--all")
}

func wantText(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("the command does not say %q: %s", part, out)
		}
	}
}

// decides closes and opens the door at the book.
func (w *pair) decides(t *testing.T) {
	t.Helper()
	w.wants(t, "before anybody opened", http.StatusServiceUnavailable)
	wantText(t, w.moves(t, querschott.Open), "open, in force (epoch 1)", "2 of 2 gates enforce epoch 1 since 20")
	w.wants(t, "opened at the book", http.StatusOK)
	wantText(t, w.moves(t, querschott.Closed), "closed, in force (epoch 2)", "2 of 2 gates enforce epoch 2 since 20")
	w.wants(t, "closed at the book", http.StatusServiceUnavailable)
	wantText(t, w.moves(t, querschott.Open), "2 of 2 gates enforce epoch 3")
	w.wants(t, "opened again", http.StatusOK)
	if n, missing := w.gates(t); n != 2 || missing != "" {
		t.Errorf("%d gates enforce everything, missing: %q", n, missing)
	}
}

// denies shuts one practice out at the book, and not another one.
func (w *pair) denies(t *testing.T) {
	t.Helper()
	out := w.order(t, "anna", "revoke", "add", "subject", string(w.x.actor), "--reason", "drill")
	wantText(t, out, "in force: subject is refused", "2 of 2 gates enforce epoch 1")
	w.wants(t, "shut out at the book", http.StatusForbidden)
	other := w.gate.practice(t, 1).through(t, w.c.Insurer, http.MethodGet, "/fhir/Patient/1", "")
	if other.status != http.StatusOK {
		t.Errorf("another practice gets %+v", other)
	}
	wantText(t, w.order(t, "anna", "revoke", "remove", "subject", string(w.x.actor)), "2 of 2 gates enforce epoch 2")
	w.wants(t, "let in again", http.StatusOK)
}

// cut pulls the cable between the two and mends it.
func (w *pair) cut(t *testing.T) {
	t.Helper()
	w.link.pull()
	pulled := time.Now()
	var served time.Time // what was answered with 200 last was asked then
	cutOff := 0          // requests that were with the service when the lease ended: their answers stay inside
	eventually(t, "the gate holds and the book misses it", func() bool {
		asked := time.Now()
		status, reached := w.try(t)
		switch {
		case status == http.StatusOK:
			served = asked
		case reached > 0:
			cutOff++
		}
		_, missing := w.gates(t)
		return missing == "north" && status == http.StatusServiceUnavailable
	})
	if cutOff > 1 {
		t.Errorf("%d requests that were refused reached the service", cutOff)
	}
	if !served.IsZero() { // a busy machine may have asked nothing within the lease
		t.Logf("the gate served until %s after the cut; its lease is %s", served.Sub(pulled), gatesLease)
	}
	eventually(t, "the gate says itself that it holds", func() bool { return w.atGate(t) == querschott.Hold }) // a moment after it does
	wantText(t, w.book.run(t, "door", "gates"), "MISSING", "1 of 2 gates enforce every order")
	w.wants(t, "without contact", http.StatusServiceUnavailable)
	w.link.mend()
	w.until(t, 2)
	w.wants(t, "when the link is back", http.StatusOK)
}

// killed kills the gate behind a closed door and starts it without contact, and then with it. What is decided while it is
// away acts when it is back.
func (w *pair) killed(t *testing.T) {
	t.Helper()
	wantText(t, w.moves(t, querschott.Closed), "2 of 2 gates enforce epoch 4")
	w.link.pull()
	w.north.kill(t)
	w.north, _ = w.gate.serve(t)
	w.x = w.gate.practice(t, 0)
	w.wants(t, "killed and started without contact", http.StatusServiceUnavailable)
	if got := w.atGate(t); got != querschott.Closed {
		t.Errorf("a gate that was killed remembers that the closed door is %s", got)
	}
	out := w.order(t, "anna", "revoke", "add", "subject", string(w.x.actor), "--reason", "drill")
	wantText(t, out, "1 of 2 gates enforce epoch 3; not: north")
	w.link.mend()
	w.until(t, 2)
	if got := w.atGate(t); got != querschott.Closed {
		t.Errorf("with contact the closed door is %s", got)
	}
	wantText(t, w.moves(t, querschott.Open), "2 of 2 gates enforce epoch 5")
	w.wants(t, "shut out while the gate was away", http.StatusForbidden)
	wantText(t, w.order(t, "ben", "revoke", "remove", "subject", string(w.x.actor)), "2 of 2 gates enforce epoch 4")
	w.wants(t, "with everything as it was", http.StatusOK)
}

// atGate is what the gate itself says its door is.
func (w *pair) atGate(t *testing.T) querschott.DoorState {
	t.Helper()
	var list []node.DoorView
	if err := json.Unmarshal([]byte(w.gate.run(t, "-o", "json", "door", "list")), &list); err != nil || len(list) != 1 {
		t.Fatalf("door list at the gate: %+v, %v", list, err)
	}
	return list[0].To
}

// cable carries connections to an address until it is pulled: then what is sent arrives nowhere, and nobody is told.
type cable struct {
	l      net.Listener
	to     string
	pulled atomic.Bool
	all    sync.WaitGroup

	mu   sync.Mutex // guards ends
	ends map[net.Conn]bool
}

func lay(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{l: l, to: to, ends: map[net.Conn]bool{}}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close() // it was of use until here
		c.drop()
		c.all.Wait()
	})
	return c
}

func (c *cable) address() string { return c.l.Addr().String() }

func (c *cable) accept() {
	defer c.drop()
	for {
		near, err := c.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = near.Close() // nobody listens there
			continue
		}
		c.mu.Lock()
		c.ends[near], c.ends[far] = true, true
		c.mu.Unlock()
		c.all.Go(func() { c.carry(near, far) })
		c.all.Go(func() { c.carry(far, near) })
	}
}

// carry ends with either end. While the cable is pulled one end does not learn that the other one has gone.
func (c *cable) carry(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err == nil && !c.pulled.Load() {
			_, err = to.Write(buf[:n])
		}
		if err == nil {
			continue
		}
		if !c.pulled.Load() {
			_ = to.Close() // it may have ended by itself
		}
		return
	}
}

func (c *cable) pull() { c.pulled.Store(true) }

// mend ends what was interrupted; from then on connections are carried again.
func (c *cable) mend() {
	c.drop()
	c.pulled.Store(false)
}

func (c *cable) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.ends {
		_ = conn.Close() // it may have ended by itself
	}
	clear(c.ends)
}
