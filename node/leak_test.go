package node

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/querschott/querschott"
)

// search returns the files below a directory that hold one of the words as raw bytes, in either case, or in base64.
func search(t *testing.T, dir string, words ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, w := range words {
			if holds(data, w) {
				found = append(found, path+" holds "+w)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func holds(data []byte, word string) bool {
	for _, form := range []string{word, strings.ToLower(word), base64.StdEncoding.EncodeToString([]byte(word))} {
		if bytes.Contains(data, []byte(form)) {
			return true
		}
	}
	return false
}

// TestNothingLeaks runs mail through a node that logs everything, and looks for the person's number, the diagnosis's text,
// the subject, the addresses and the password in the log, in answers and in every byte that the node has written.
func TestNothingLeaks(t *testing.T) {
	h := newHouse(t, 2)
	n := h.run()
	in := h.world.Insurers()[0]
	first, _ := in.Persons()
	person := h.world.Person(first)
	mails := h.notes(0, 2)
	stored := h.notes(1, 1)[0] // of an insurer whose door stays on hold
	words := []string{
		person.Number.Reveal(), person.Family + "<", mails[0].Subject, mails[0].Document.String(), string(mails[0].From),
		mails[0].MessageID, stored.Subject,
	}
	n.move(querschott.Open, h.compartment(0, querschott.EAU), h.compartment(0, querschott.Letter))
	n.send(mails...)
	n.send(mails[0]) // a duplicate
	n.send(stored)
	n.arrive(mails...)
	letter, err := h.world.Practices()[0].Letter(person, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n.send(letter)
	n.arrive(letter)
	words = append(words, letter.Subject)

	var answers []string
	answers = append(answers, h.refusals(n)...)
	list, err := NewClient(h.cfg).LedgerShow(t.Context(), h.origin(in.IK), 0, 1000)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	if _, err := n.Backup(t.Context(), filepath.Join(h.dir, "backup")); err != nil {
		t.Fatal(err)
	}
	n.stop()

	for _, w := range append(words, h.password) {
		if holds([]byte(h.log.String()), w) {
			t.Errorf("the log holds %q", w)
		}
		for _, a := range answers {
			if w != string(mails[0].From) && holds([]byte(a), w) {
				t.Errorf("an answer holds %q: %s", w, a)
			}
		}
	}
	dirs := append([]string{h.cfg.Data, filepath.Join(h.dir, "backup")}, h.cfg.Intake.Copies...)
	for _, dir := range dirs {
		for _, f := range search(t, dir, append(words, h.password)...) {
			t.Error(f)
		}
	}
	if found := search(t, h.dir, h.password); len(found) > 0 {
		t.Errorf("the password: %v", found)
	}
	if !holds(mails[0].Body, mails[0].Subject) || !strings.Contains(h.log.String(), "level=DEBUG") {
		t.Error("this test looks for what cannot be found")
	}
}

// refusals collects what the entrance answers to logins and mails that it does not take.
func (h *house) refusals(n *live) (answers []string) {
	h.tb.Helper()
	keep := func(err error) {
		if err == nil {
			h.tb.Error("a fault was not refused")
			return
		}
		answers = append(answers, err.Error())
	}
	wrong := n.anonymous()
	keep(wrong.Auth(sasl.NewPlainClient("", relayUser, h.password+"x")))
	keep(wrong.Mail("a@praxis.kim.telematik-test", nil))
	c := n.client()
	if err := c.Mail("a@praxis.kim.telematik-test", nil); err != nil {
		h.tb.Fatal(err)
	}
	keep(c.Rcpt("nobody@nowhere.kim.telematik-test", nil))
	return answers
}
