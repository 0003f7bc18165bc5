package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/web/status"
)

// published reads the state in a directory until it satisfies, or the test ends.
func (r *live) published(dir, what string, good func(*status.State) bool) *status.State {
	r.h.tb.Helper()
	key, err := note.NewVerifier(r.public.vkey)
	if err != nil {
		r.h.tb.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := wait.Over(r.h.tb)
	for {
		if file, err := os.ReadFile(filepath.Join(dir, status.NoteName)); err == nil {
			s, _, err := status.Open(file, key)
			if err != nil {
				r.h.tb.Fatal(err) // a file is whole at every moment
			}
			if good(s) {
				return s
			}
		}
		select {
		case <-tick.C:
		case <-end:
			r.h.tb.Fatalf("never published: %s", what)
		}
	}
}

func doorOf(s *status.State, c querschott.Compartment) (d status.Door, open bool) {
	for _, in := range s.Insurers {
		if in.IK != c.Insurer {
			continue
		}
		for _, d := range in.Doors {
			if d.Service == c.Service {
				return d, false
			}
		}
		return d, true
	}
	return d, false
}

// The public sees a door close and open again in every directory, and learns nothing else; a directory that cannot be
// written to keeps no other one and no door waiting, and is said.
func TestPublicStatus(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, 2, func(c *Config) { c.Status.Publish = []string{blocked, one, two} })
	r := h.run()
	shut, other := h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU)
	r.move(querschott.Open, shut, other)
	for _, dir := range []string{one, two} {
		r.published(dir, "both doors are open", func(s *status.State) bool {
			d, _ := doorOf(s, shut)
			_, open := doorOf(s, other)
			return d.Service == "" && open
		})
	}
	if _, err := r.doors.Set(t.Context(), door.Request{Compartment: shut, To: querschott.Hold, Reason: "Angriff: anna saw the alarm D1", Incident: "VF-7"}, h.signer(anna)); err != nil {
		t.Fatal(err)
	}
	s := r.published(two, "a door is on hold", func(s *status.State) bool {
		d, _ := doorOf(s, shut)
		return d.Door == querschott.Hold && d.Service != ""
	})
	if d, _ := doorOf(s, shut); d.Cause != status.Attack || d.Incident != "VF-7" || d.Since == nil {
		t.Errorf("the door on hold: %+v", d)
	}
	if _, open := doorOf(s, other); !open {
		t.Error("the other insurer is affected")
	}
	for _, name := range []string{status.NoteName, "index.html", "en.html", status.LageName} {
		st, err := os.Stat(filepath.Join(two, name))
		if err != nil || st.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("%s cannot be read by others: %v %v", name, st, err)
		}
		text, err := os.ReadFile(filepath.Join(two, name))
		if err != nil || strings.Contains(string(text), "anna") || strings.Contains(string(text), "D1") {
			t.Errorf("%s says who closed a door, or why in words (%v): %s", name, err, text)
		}
	}
	r.move(querschott.Open, shut)
	s = r.published(one, "the all-clear", func(s *status.State) bool { d, _ := doorOf(s, shut); return d.AllClear })
	if d, _ := doorOf(s, shut); d.Cause != status.Attack {
		t.Errorf("the all-clear: %+v", d)
	}
	found := ""
	for _, tr := range r.Status().Trouble {
		found += tr.Text
	}
	if !strings.Contains(found, blocked) || strings.Contains(found, one) {
		t.Errorf("troubles: %s", found)
	}
	if p := r.Status().Public; p.Key == "" || len(p.Dirs) != 3 || p.Dirs[0].Fault == "" || p.Dirs[1].At.IsZero() {
		t.Errorf("public: %+v", p)
	}
}

// An insurer without its cell is no insurer that is not affected, though nobody has shut its doors.
func TestPublicStatusOfACellThatIsGone(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, 2, func(c *Config) { c.Status.Publish = []string{dir} })
	first := h.run()
	gone, other := h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU)
	first.move(querschott.Open, gone, other)
	first.stop()
	for _, lost := range []string{filepath.Join(h.cfg.Data, "cells", string(gone.Insurer)), filepath.Join(dir, status.NoteName)} {
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
	}
	s := h.run().published(dir, "the cell is gone", func(s *status.State) bool {
		d, _ := doorOf(s, gone)
		return d.Door == querschott.Hold && d.Service != ""
	})
	if d, _ := doorOf(s, gone); d.Cause != status.Disturbance {
		t.Errorf("the cell is gone: %+v", d)
	}
	if _, open := doorOf(s, other); !open {
		t.Error("the other insurer is affected")
	}
}

// Whoever writes into a directory of the public status has nothing written elsewhere.
func TestPublicStatusStaysInItsDirectory(t *testing.T) {
	files := map[string][]byte{status.NoteName: []byte("note"), status.LageName: []byte("state")}
	for _, link := range []string{"status", status.NoteName, status.NoteName + ".tmp"} {
		dir, elsewhere := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(elsewhere, "file"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		to := elsewhere
		if link != "status" {
			to = filepath.Join(elsewhere, "file")
		}
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		if err := writePublic(dir, files); (err != nil) != (link == "status") {
			t.Errorf("%s leads elsewhere: %v", link, err)
		}
		list, err := os.ReadDir(elsewhere)
		if text, bad := os.ReadFile(filepath.Join(elsewhere, "file")); err != nil || bad != nil || len(list) != 1 || string(text) != "mine" {
			t.Errorf("%s leads elsewhere, where lie %v, %q: %v", link, list, text, errors.Join(err, bad))
		}
		if text, err := os.ReadFile(filepath.Join(dir, status.NoteName)); err != nil || string(text) != "note" {
			t.Errorf("%s leads elsewhere, and the signed file is %q, %v", link, text, err)
		}
	}
}

// A directory whose writes do not come back keeps nobody waiting, and is said.
func TestPublicStatusThatHangs(t *testing.T) {
	dir := t.TempDir()
	o := &outlet{dir: dir, next: make(chan map[string][]byte, 1)}
	begin := time.Now()
	for range 3 {
		o.offer(nil, begin) // nobody takes them
	}
	p := &publisher{dirs: []*outlet{o}}
	if got := p.trouble(begin.Add(time.Second)); got != nil {
		t.Errorf("after a second: %v", got)
	}
	if got := p.trouble(begin.Add(time.Hour)); len(got) != 1 || !strings.Contains(got[0].Text, dir) {
		t.Errorf("after an hour: %v", got)
	}
}

func TestCauseOf(t *testing.T) {
	for reason, want := range map[string]status.Cause{
		"attack: x": status.Attack, "Angriff": status.Attack, "Störung: Netz": status.Disturbance, "MAINTENANCE: disks": status.Maintenance,
		"Wartung : abends": status.Maintenance, "attackers were seen": status.Precaution, "alarm D1/reads": status.Precaution,
	} {
		if got := causeOf(door.Order{Epoch: 1, Actor: anna, Reason: reason}); got != want {
			t.Errorf("%q: %s, want %s", reason, got, want)
		}
	}
	if got := causeOf(door.Order{Epoch: 3, Reason: "the order file could not be trusted"}); got != status.Disturbance {
		t.Errorf("a distrusted order: %s", got)
	}
}
