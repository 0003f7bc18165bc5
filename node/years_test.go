package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/ledger"
)

// TestNewYearWithoutTheKeyFile lets a node run over New Year while its key file lies in a safe.
func TestNewYearWithoutTheKeyFile(t *testing.T) {
	h := newHouse(t, 2)
	eve := time.Date(time.Now().Year(), 12, 31, 23, 59, 50, 0, time.UTC)
	var ahead atomic.Int64
	h.opt.Now = func() time.Time { return eve.Add(time.Duration(ahead.Load())) }
	n := h.run()
	c := h.compartment(0, querschott.EAU)
	n.move(querschott.Open, c)
	if err := os.Rename(h.cfg.Keyring.Key, h.cfg.Keyring.Key+".away"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []time.Duration{time.Second, 12 * time.Second, -5 * time.Second} { // over New Year, and set back
		ahead.Store(int64(step))
		mails := h.notes(0, 2)
		n.send(mails...)
		n.arrive(mails...)
	}
	origins := map[string]bool{}
	for _, o := range n.ledger.Origins() {
		origins[o] = true
	}
	for _, year := range []int{eve.Year(), eve.Year() + 1} {
		if o := ledger.InsurerOrigin(h.cfg.Domain, c.Insurer, year); !origins[o] {
			t.Errorf("there is no log %s", o)
		}
	}
}

func TestNextYearIsProvidedForInTime(t *testing.T) {
	ring, cs := keyring(t, 2)
	y := newYears(ring, []Insurer{{IK: cs[0].Insurer}, {IK: cs[1].Insurer}})
	may := time.Date(2030, 5, 1, 0, 0, 0, 0, time.UTC)
	if err := y.provide(may); err != nil {
		t.Fatal(err)
	}
	before, err := y.secret(cs[0].Insurer, 2031)
	if err != nil {
		t.Fatal(err)
	}
	ring.Freeze() // as if no secret could be made any more
	if err := y.provide(may.AddDate(0, 7, 29)); err != nil {
		t.Errorf("the coming year was provided for, and is asked for again: %v", err)
	}
	if err := y.provide(may.AddDate(1, 0, 0)); err == nil || y.trouble(may.AddDate(1, 0, 0)) != "" {
		t.Errorf("in May no secret can be made: error %v, and trouble %q is too early", err, y.trouble(may.AddDate(1, 0, 0)))
	}
	december := time.Date(2031, 12, 15, 0, 0, 0, 0, time.UTC)
	if err := y.provide(december); err == nil || y.trouble(december) == "" {
		t.Errorf("in December no secret can be made, and nobody is told: %v", err)
	}
	if after, err := y.secret(cs[0].Insurer, 2031); err != nil || string(after) != string(before) {
		t.Errorf("a secret has changed: %v", err)
	}
}

// TestInsurerTakenOffTheListKeepsItsMail removes an insurer while mail for it waits.
func TestInsurerTakenOffTheListKeepsItsMail(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	mails, others := h.notes(0, 3), h.notes(1, 2)
	n.send(mails...)
	n.stop()
	list, err := LoadInsurers(h.cfg.Insurers)
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveInsurers(h.cfg.Insurers, list[1:]); err != nil {
		t.Fatal(err)
	}

	n = h.run()
	n.openAll()
	n.send(others...)
	n.arrive(others...)
	gone := h.compartment(0, querschott.EAU)
	trouble := n.Status().Trouble
	if len(trouble) != 1 || *trouble[0].Compartment != gone || !strings.HasPrefix(trouble[0].Text, "3 messages wait") {
		t.Errorf("trouble %+v, want 3 messages of %s", trouble, gone)
	}
	n.stop()
	if err := SaveInsurers(h.cfg.Insurers, list); err != nil {
		t.Fatal(err)
	}

	n = h.run()
	n.openRest()
	n.arrive(mails...)
	if trouble := n.Status().Trouble; len(trouble) != 0 {
		t.Errorf("trouble %+v", trouble)
	}
}

// openRest opens what is not open.
func (r *live) openRest() {
	r.h.tb.Helper()
	for _, c := range r.Compartments() {
		if r.Door(c).To != querschott.Open {
			r.move(querschott.Open, c)
		}
	}
}

func TestBackupKeepsOutOfTheNodesDirectories(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	link := filepath.Join(h.dir, "link")
	if err := os.Symlink(h.cfg.Intake.Copies[0], link); err != nil {
		t.Fatal(err)
	}
	client := NewClient(h.cfg)
	for _, dir := range []string{
		h.cfg.Data, filepath.Join(h.cfg.Data, "doors", "backup"), filepath.Join(h.cfg.Intake.Copies[0], "a", "b"),
		filepath.Join(link, "backup"), filepath.Join(h.dir, "x", "..", "data", "backup"),
	} {
		if _, err := client.Backup(t.Context(), dir); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("a backup to %s: %v", dir, err)
		}
		if err := client.LedgerExport(t.Context(), h.origin(""), dir); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("an export to %s: %v", dir, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(h.dir, "backup")
	if _, err := n.Backup(ctx, dir); err == nil {
		t.Error("a backup that nobody waits for was made")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a backup that failed has left something: %v", err)
	}
	if err := os.Rename(h.cfg.Keyring.Key, h.cfg.Keyring.Key+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Backup(t.Context(), dir); err != nil {
		t.Errorf("a backup without the key file: %v", err)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	if _, err := Open(t.Context(), h.cfg, h.opt); err == nil || !strings.Contains(err.Error(), "another node is running on") {
		t.Errorf("a second start: %v", err)
	}
	n.stop()
	if err := os.Remove(h.cfg.Insurers); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), h.cfg, h.opt); err == nil || !strings.Contains(err.Error(), "querschott insurer add") {
		t.Errorf("a start without insurers: %v", err)
	}
	long := *h.cfg
	long.Data = filepath.Join(h.dir, strings.Repeat("long", 25))
	if _, err := Open(t.Context(), &long, h.opt); err == nil || !strings.Contains(err.Error(), "choose a shorter data directory") {
		t.Errorf("a data directory with a long path: %v", err)
	}
	found := false
	for _, f := range long.Check(time.Now(), nil) {
		found = found || f.Severity == Fault && strings.Contains(f.Text, "control socket")
	}
	if !found {
		t.Error("the check does not find that the socket's path is too long")
	}
}

// TestPartThatEndsIsSaid has the outbox fail while the node goes on taking mail in.
func TestPartThatEndsIsSaid(t *testing.T) {
	h := newHouse(t, 1)
	n := h.open()
	if err := n.outStore.Close(); err != nil { // before the outbox has looked into it: later it may have no reason to
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	h.until("a start", func() bool { return Running(t.Context(), h.cfg) })
	h.until("the outbox's end", func() bool { return len(n.Status().Trouble) > 0 })
	if got := n.Status().Trouble[0].Text; !strings.HasPrefix(got, "the outbox has ended") {
		t.Errorf("trouble %q", got)
	}
	c := h.compartment(0, querschott.EAU)
	if _, err := n.Order(t.Context(), door.Request{Compartment: c, To: querschott.Closed, Reason: "test"}, anna, h.signer(anna)); err != nil {
		t.Errorf("a door does not close any more: %v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the node ended without saying what had failed")
	}
	_ = n.Close() // the outbox's store is closed already
}

func TestPseudonymsOfAccessEvents(t *testing.T) {
	ring, cs := keyring(t, 2)
	first, second := cs[0].Insurer, cs[1].Insurer
	y := newYears(ring, []Insurer{{IK: first}, {IK: second}})
	may := time.Date(2030, 5, 1, 0, 0, 0, 0, time.UTC)
	if err := y.provide(may); err != nil {
		t.Fatal(err)
	}
	const person = querschott.KVNR("A123456780")
	got := y.pseudonym(first, person, may)
	if len(got) != 32 || strings.Contains(got, "123456780") {
		t.Errorf("%q is no pseudonym", got)
	}
	if y.pseudonym(first, "", may) != "" {
		t.Error("nobody has a pseudonym")
	}
	if again := y.pseudonym(first, person, time.Date(2030, 6, 30, 23, 59, 59, 0, time.UTC)); again != got {
		t.Error("it changes within a quarter")
	}
	seen := map[string]string{got: "the same"}
	for name, other := range map[string]string{
		"another person":   y.pseudonym(first, "B234567895", may),
		"another insurer":  y.pseudonym(second, person, may),
		"another quarter":  y.pseudonym(first, person, may.AddDate(0, 3, 0)),
		"another year":     y.pseudonym(first, person, may.AddDate(1, 0, 0)),
		"no known insurer": y.pseudonym("", person, may),
	} {
		if as, twice := seen[other]; twice || other == "" {
			t.Errorf("%s has the pseudonym of %s: %q", name, as, other)
		}
		seen[other] = name
	}
}
