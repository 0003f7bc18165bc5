package node

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
)

func TestMailFromDoorToCell(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	c := h.compartment(0, querschott.EAU)
	if got := n.Status(); got.Doors.States[querschott.Hold] != 6 || got.Doors.KeysInMemory != 0 {
		t.Errorf("a new node has the doors %v and %d keys in memory", got.Doors.States, got.Doors.KeysInMemory)
	}

	mails := h.notes(0, 5)
	n.send(mails...)
	if got := n.Spool(); got.Messages != 5 || len(got.Backlogs) != 1 || got.Backlogs[0].Compartment != c || got.Bytes < 5*10_000 {
		t.Errorf("on hold the spool is %+v", got)
	}
	if got := n.Spool(); got.RoomHours == nil || *got.RoomHours <= 0 || len(got.Copies) != 2 || got.Copies[0].Free <= 0 {
		t.Errorf("the room is %+v", got)
	}

	n.move(querschott.Open, c)
	n.arrive(mails...)
	h.until("counters", func() bool { return n.Status().Mail.Delivered == 5 })
	s := n.Status()
	if s.Mail.Accepted != 5 || s.Mail.Waiting != 0 || s.Mail.Outgoing != 0 || s.Insurers != 2 || s.Doors.KeysInMemory != 1 || len(s.Trouble) != 0 {
		t.Errorf("status %+v", s)
	}
	for _, m := range mails { // without a relay the notifications are in the senders' mailboxes
		if boxes, err := n.outbox.Count(string(m.From)); err != nil || boxes == 0 {
			t.Errorf("%s was not notified: %v", m.From, err)
		}
	}
	if got := n.Spool(); got.Messages != 0 || got.Bytes != 0 {
		t.Errorf("after delivery the spool is %+v", got)
	}
	if unknown, err := UnknownFiles(h.cfg.Data); err != nil || len(unknown) > 0 {
		t.Errorf("files that the trust table does not name: %v %v", unknown, err)
	}
}

func TestKeysLeaveMemory(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	all := n.Compartments()
	n.openAll()
	if got := n.Status().Doors.KeysInMemory; got != len(all) {
		t.Fatalf("with %d open doors the keys of %d are in memory", len(all), got)
	}
	for i, c := range all {
		to := []querschott.DoorState{querschott.Hold, querschott.Closed}[i%2]
		n.move(to, c) // in force and obeyed when it returns
		if got, want := n.Status().Doors.KeysInMemory, len(all)-i-1; got != want {
			t.Errorf("after %s was set to %s the keys of %d compartments are in memory, want %d", c, to, got, want)
		}
	}
	n.move(querschott.Open, all[0])
	if got := n.Status().Doors.KeysInMemory; got != 1 {
		t.Errorf("after one door was opened again the keys of %d compartments are in memory", got)
	}
	if err := os.Rename(h.cfg.Keyring.Key, h.cfg.Keyring.Key+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := n.Order(t.Context(), door.Request{Compartment: all[1], To: querschott.Open, Reason: "test"}, anna, h.signer(anna), h.signer(ben))
	if err == nil || n.Status().Doors.KeysInMemory != 1 {
		t.Errorf("without the key file a door opened: %v, %d keys", err, n.Status().Doors.KeysInMemory)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	delivers, waits, closed := h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU), h.compartment(1, querschott.Letter)
	n.move(querschott.Open, delivers, closed)
	n.move(querschott.Closed, closed)
	there, waiting := h.notes(0, 4), h.notes(1, 3)
	n.send(there...)
	n.send(waiting...)
	n.arrive(there...)
	before := map[querschott.Compartment]door.Order{}
	for _, c := range n.Compartments() {
		before[c] = n.Door(c)
	}
	n.stop()

	n = h.run()
	for c, o := range before {
		if got := n.Door(c); got.To != o.To || got.Epoch != o.Epoch {
			t.Errorf("%s was %s in epoch %d and is %s in epoch %d", c, o.To, o.Epoch, got.To, got.Epoch)
		}
	}
	if got := n.Status().Doors.KeysInMemory; got != 1 {
		t.Errorf("%d keys in memory, want that of the open door", got)
	}
	if got := n.count(there); got != 4 {
		t.Errorf("%d of 4 are marked as delivered", got)
	}
	seen := map[intake.Binding]bool{}
	if err := n.WaitingBindings(func(c querschott.Compartment, b intake.Binding) { seen[b] = c == waits }); err != nil {
		t.Fatal(err)
	}
	for _, m := range waiting {
		if !seen[m.Binding()] {
			t.Errorf("a message does not wait any more")
		}
	}
	n.move(querschott.Open, waits)
	n.arrive(waiting...)
	h.until("3 deliveries and no more", func() bool { return n.Status().Pump.Delivered == 3 })
	if got := n.Status().Pump; got.Duplicates != 0 {
		t.Errorf("after the restart %+v, want no duplicates", got)
	}
}

// TestDoorFilesAreNotBelieved rolls back, removes, changes and exchanges the files of doors between two runs.
func TestDoorFilesAreNotBelieved(t *testing.T) {
	h := newHouse(t, 3)
	n := h.run()
	file := func(c querschott.Compartment) string {
		return filepath.Join(h.cfg.Data, "doors", string(c.Insurer)+"-"+string(c.Service)+".order")
	}
	read := func(c querschott.Compartment) []byte {
		b, err := os.ReadFile(file(c))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(c querschott.Compartment, b []byte) {
		if err := os.WriteFile(file(c), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rolledBack, closedBack, gone, closedGone := h.compartment(0, querschott.EAU), h.compartment(0, querschott.Letter),
		h.compartment(0, querschott.Mail), h.compartment(1, querschott.EAU)
	changed, exchanged, kept := h.compartment(1, querschott.Letter), h.compartment(1, querschott.Mail), h.compartment(2, querschott.EAU)
	n.openAll()
	old, oldClosed := read(rolledBack), read(closedBack)
	n.move(querschott.Hold, rolledBack)
	n.move(querschott.Closed, closedBack, closedGone)
	n.stop()

	write(rolledBack, old)
	write(closedBack, oldClosed)
	for _, c := range []querschott.Compartment{gone, closedGone} {
		if err := os.Remove(file(c)); err != nil {
			t.Fatal(err)
		}
	}
	write(changed, []byte(strings.Replace(string(read(changed)), "test", "tost", 1)))
	write(exchanged, read(kept))

	n = h.run()
	for _, tc := range []struct {
		what string
		c    querschott.Compartment
		want querschott.DoorState
	}{
		{"an opening from before a hold", rolledBack, querschott.Hold},
		{"an opening from before a closing", closedBack, querschott.Closed},
		{"a removed opening", gone, querschott.Hold},
		{"a removed closing", closedGone, querschott.Closed},
		{"a changed opening", changed, querschott.Hold},
		{"another door's opening", exchanged, querschott.Hold},
		{"an untouched opening", kept, querschott.Open},
	} {
		if got := n.Door(tc.c).To; got != tc.want {
			t.Errorf("%s: the door is %s, want %s", tc.what, got, tc.want)
		}
	}
	if !strings.Contains(h.log.String(), "the order of a door cannot be trusted") {
		t.Error("the log does not say it")
	}
	told := func() (list []string) {
		for _, x := range n.Status().Trouble {
			if x.Compartment != nil && x.Fix != "" && strings.Contains(x.Text, "could not be trusted") {
				list = append(list, x.Compartment.String())
			}
		}
		return list
	}
	want := []string{rolledBack.String(), closedBack.String(), gone.String(), closedGone.String(), changed.String(), exchanged.String()}
	if got := told(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("status and doctor tell of %v, want %v", got, want)
	}
	n.move(querschott.Open, rolledBack, closedBack, gone, closedGone, changed, exchanged)
	if got := told(); len(got) > 0 {
		t.Errorf("opened again, and still told of: %v", got)
	}
}

func TestSecondNodeOnTheSameDirectory(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	second, err := Open(t.Context(), h.cfg, h.opt)
	if err == nil {
		t.Fatal(errors.Join(errors.New("a second node opened"), second.Close()))
	}
	if !strings.Contains(err.Error(), "lock") && !strings.Contains(err.Error(), "another") {
		t.Errorf("the error does not say why: %v", err)
	}
	n.openAll()
	mails := h.notes(0, 2)
	n.send(mails...)
	n.arrive(mails...) // the first one is not harmed
	if _, err := NewClient(h.cfg).Status(t.Context()); err != nil {
		t.Errorf("the first one's socket is gone: %v", err)
	}
	n.stop()
	h.run()
}

// TestDamagedCellFloodsItsOwnInsurer damages one insurer's store.
func TestDamagedCellFloodsItsOwnInsurer(t *testing.T) {
	h := newHouse(t, 3)
	n := h.run()
	n.openAll()
	before := h.notes(0, 2)
	n.send(before...)
	n.arrive(before...)
	backup := filepath.Join(h.dir, "backup")
	if _, err := n.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	n.stop()
	ik := h.world.Insurers()[0].IK
	dir := filepath.Join(h.cfg.Data, "cells", string(ik))
	damage(t, dir)

	n = h.run()
	sick, healthy := h.notes(0, 3), h.notes(1, 3)
	n.send(sick...)
	n.send(healthy...)
	n.arrive(healthy...)
	c := h.compartment(0, querschott.EAU)
	if got := n.journal.Waiting(c); got != 3 {
		t.Errorf("%d messages wait for the damaged cell, want 3", got)
	}
	told := 0
	for _, x := range n.Status().Trouble {
		if x.Compartment != nil && x.Compartment.Insurer == ik && strings.Contains(x.Text, "cell") {
			told++
		} else {
			t.Errorf("trouble that is none: %+v", x)
		}
	}
	if told != 3 {
		t.Errorf("%d compartments tell their trouble, want 3", told)
	}
	if !strings.Contains(h.log.String(), "ALARM") {
		t.Error("nobody is alarmed")
	}
	if s := n.consoleSnapshot(); s.Compartments[c].Trouble == "" || s.Compartments[c].Waiting != 3 {
		t.Errorf("the operators' page shows %+v", s.Compartments[c])
	}
	n.stop()

	// As the manual says: put the store back from a backup.
	if err := os.Rename(dir, filepath.Join(h.dir, "damaged")); err != nil {
		t.Fatal(err)
	}
	n = h.run()
	if got := n.journal.Waiting(c); got != 3 || len(n.Status().Trouble) != 3 || !strings.Contains(h.log.String(), "is gone") {
		t.Errorf("without the store %d messages wait, want 3, and the trouble is %v, want that of 3 compartments", got, n.Status().Trouble)
	}
	n.stop()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an empty store stands in the place of the lost one: %v", err)
	}
	if err := copyTree(t.Context(), filepath.Join(backup, "data", "cells", string(ik)), dir); err != nil {
		t.Fatal(err)
	}
	n = h.run()
	n.arrive(sick...)
	n.arrive(before...)
	if got := n.Status().Trouble; len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

// damage overwrites what a store cannot do without.
func damage(t *testing.T, dir string) {
	t.Helper()
	done := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "MANIFEST") {
			return err
		}
		done++
		return os.WriteFile(path, []byte("this is no manifest"), 0o600)
	})
	if err != nil || done == 0 {
		t.Fatalf("damaged %d files: %v", done, err)
	}
}

func TestOneOperatorCannotOpen(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	c := h.compartment(0, querschott.EAU)
	request := door.Request{Compartment: c, To: querschott.Open, Reason: "test"}
	a := h.signer(anna)
	console, err := n.consoleSigner(anna)
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.Order(t.Context(), request, anna, a)
	if err != nil || out.Proposal == nil || out.Order != nil {
		t.Fatalf("one signature: %+v, %v", out, err)
	}
	// Her own key and the console's key for her are one person.
	if out, err := n.Order(t.Context(), request, anna, a, console); err == nil && out.Order != nil {
		t.Error("one operator with two keys opened a door")
	}
	if _, err := n.doors.Approve(t.Context(), n.doors.Proposals()[0].ID, console); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("she approved her own proposal with her other key: %v", err)
	}
	if _, err := n.Order(t.Context(), request, anna); err == nil {
		t.Error("an order without a signature")
	}
	if got := n.Door(c).To; got != querschott.Hold {
		t.Errorf("the door is %s", got)
	}
	if _, err := n.consoleSigner("mallory"); querschott.CodeOf(err) != querschott.CodeForbidden {
		t.Errorf("a signer for a stranger: %v", err)
	}
	second, err := n.consoleSigner(ben)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.doors.Approve(t.Context(), n.doors.Proposals()[0].ID, second); err != nil || out.Order == nil {
		t.Errorf("the second operator's approval: %+v, %v", out, err)
	}
}

func TestPassphrase(t *testing.T) {
	h := newHouse(t, 2, func(c *Config) { c.Keyring.Unlock = "passphrase" })
	asked := 0
	h.opt.Passphrase = func() ([]byte, error) { asked++; return passphrase() }
	n := h.run()
	n.openAll()
	mails := h.notes(0, 2)
	n.send(mails...)
	n.arrive(mails...)
	if asked != 1 {
		t.Errorf("the passphrase was asked for %d times, want once", asked)
	}
	n.stop()

	h.opt.Passphrase = func() ([]byte, error) { return []byte("hunter-two"), nil }
	_, err := Open(t.Context(), h.cfg, h.opt)
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("a wrong passphrase: %v", err)
	}
	h.opt.Passphrase = func() ([]byte, error) { return nil, errors.New("nobody is there") }
	if _, err := Open(t.Context(), h.cfg, h.opt); err == nil || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("without a passphrase: %v", err)
	}
}

// TestOpenFailsWhole lets the opening of every part fail and then opens the node whole: nothing stays locked or bound.
func TestOpenFailsWhole(t *testing.T) {
	h := newHouse(t, 2)
	h.run().stop()
	for part, file := range map[string]string{
		"lists": h.cfg.Insurers, "keyring": filepath.Join(h.cfg.Data, "keyring.age"), "mail entrance": h.cfg.Mail.Certificate,
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("- nonsense: {"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), h.cfg, h.opt); err == nil || !strings.Contains(err.Error(), "couldn't open the "+part) {
			t.Errorf("with nonsense in %s: %v", file, err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	far := *h.cfg
	far.Data = filepath.Join(h.dir, strings.Repeat("d", 100))
	if _, err := Open(t.Context(), &far, h.opt); err == nil || !strings.Contains(err.Error(), "choose a shorter data directory") {
		t.Errorf("with a long path: %v", err)
	}
	taken := h.run()
	other := newHouse(t, 2, func(c *Config) { c.Mail.TLS = taken.Addresses().TLS })
	if _, err := Open(t.Context(), other.cfg, other.opt); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("with a taken address: %v", err)
	}
	other.cfg.Mail.TLS = "127.0.0.1:0"
	other.run()
}

func TestRunRecordsStartAndStop(t *testing.T) {
	h := newHouse(t, 2)
	h.run().stop()
	n := h.run()
	actions := map[string]int{}
	for e, err := range n.ledger.Scan(h.origin(""), 0, 100) {
		if err != nil {
			t.Fatal(err)
		}
		actions[shown(e).Action]++
	}
	if actions["start"] < 1 || actions["stop"] != 1 {
		t.Errorf("the ledger has %v", actions)
	}
}

func TestConsoleAnswers(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	url, _, err := n.LoginLink(t.Context(), anna)
	if err != nil || !strings.HasPrefix(url, n.Addresses().Console+"/login/") {
		t.Fatalf("link %q: %v", url, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the link is answered with %s", resp.Status)
	}
	if _, _, err := n.LoginLink(t.Context(), "mallory"); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("a link for a stranger: %v", err)
	}
	n.SetAudit(Audit{Lost: 7})
	if got := n.consoleSnapshot().Totals.Lost; got != 7 {
		t.Errorf("the page shows %d lost", got)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	h := newHouse(t, 2)
	n := h.open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := n.Run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run of an ended context: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
