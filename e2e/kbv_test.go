//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/node"
	eaustore "github.com/querschott/querschott/service/eau"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// demonstration is a running 'querschott demo'.
type demonstration struct {
	cmd            *exec.Cmd
	stdout, stderr *record
	file           demo.File
	ended          chan struct{}
	err            error // valid after ended
}

// startDemo starts a demonstration without an attack in a directory and waits until it is ready.
func startDemo(t testing.TB, dir string, flags ...string) *demonstration {
	t.Helper()
	name := filepath.Join(dir, "demo.json")
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	d := &demonstration{
		cmd: exec.Command("querschott", append([]string{"demo", "--data", dir, "--calm"}, flags...)...), stdout: &record{}, stderr: &record{},
		ended: make(chan struct{}),
	}
	d.cmd.Stdout, d.cmd.Stderr = d.stdout, d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		d.err = d.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it has ended already, unless the test failed
		<-d.ended
	})
	eventually(t, "the demonstration is ready", func() bool {
		select {
		case <-d.ended:
			t.Fatalf("the demonstration ended: %v\n%s%s", d.err, d.stdout, d.stderr)
		default:
		}
		data, err := os.ReadFile(name)
		return err == nil && json.Unmarshal(data, &d.file) == nil
	})
	return d
}

// interrupt ends a demonstration as Ctrl-C does; it must end with code 0.
func (d *demonstration) interrupt(t testing.TB) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	if d.err != nil {
		t.Fatalf("the demonstration ended with %v\n%s%s", d.err, d.stdout, d.stderr)
	}
}

func (d *demonstration) config(t testing.TB) *node.Config {
	t.Helper()
	cfg, err := node.LoadConfig(d.file.Config)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// kept is what a cell should know of one published file.
type kept struct {
	name   string
	doc    eau.Document
	octets []byte
	result string
	misuse bool // its identifier was used before for another file
}

// expectations says what KP5-06 makes of files that come in this order.
func expectations(t *testing.T, files []string) []kept {
	t.Helper()
	hashes, identifiers := map[[32]byte]bool{}, map[string][32]byte{}
	var list []kept
	for _, name := range files {
		octets, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, _ := eau.Read(octets)
		k := kept{name: filepath.Base(name), doc: doc, octets: octets, result: "stored"}
		if doc.Kind == eau.KindCancellation {
			k.result = "cancellation"
		}
		first, used := identifiers[doc.Identifier]
		switch {
		case hashes[doc.Hash]:
			k.result = "duplicate"
		case used && first != doc.Hash:
			k.misuse = true
		}
		if !used {
			identifiers[doc.Identifier] = doc.Hash
		}
		hashes[doc.Hash] = true
		list = append(list, k)
	}
	return list
}

// TestPublishedDocuments mails every published sick note and cancellation of the KBV to one insurer and finds each in the
// cell, its octets unaltered, duplicates and misused identifiers marked (KBV Technische Anlage eAU, KP5-06).
func TestPublishedDocuments(t *testing.T) {
	t.Parallel()
	files := append(shared(t, "data/eau/valid/*.xml"), shared(t, "data/eau/storno/*.xml")...)
	d := startDemo(t, t.TempDir(), "--rate", "0")
	to := d.file.Insurers[0]
	out := command(t, append([]string{"-o", "json", "send", "--demo", filepath.Join(d.file.Dir, "demo.json"), "--to", string(to.IK)}, files...)...)
	var sent []struct {
		File      string
		MessageID string `json:"message_id"`
		Answer    string
		Error     string
	}
	if err := json.Unmarshal([]byte(out), &sent); err != nil || len(sent) != len(files) {
		t.Fatalf("send printed %s: %v", out, err)
	}
	client := node.NewClient(d.config(t))
	eventually(t, "everything is delivered", func() bool {
		s, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Mail.Accepted == uint64(len(files)) && s.Mail.Waiting == 0
	})
	flagged, err := client.Flagged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.interrupt(t)

	c := querschott.Compartment{Insurer: to.IK, Service: querschott.EAU}
	v := openVaults(t, d.config(t), c)
	defer v.close(t)
	duplicates, misused := 0, 0
	for n, want := range expectations(t, files) {
		messages := slices.DeleteFunc(v.person(t, c, want.doc.Person), func(s stored) bool { return "<"+s.MessageID+">" != sent[n].MessageID })
		if len(messages) != 1 {
			t.Errorf("%s is in the cell %d times", want.name, len(messages))
			continue
		}
		got := messages[0]
		misuse := slices.Contains(got.Findings, "the identifier was used before for another document")
		if got.Result == eaustore.Recreated { // the same sick note under another identifier is among the published ones
			got.Result = eaustore.Stored
		}
		if got.Result != want.result || got.Document != want.doc.Identifier || misuse != want.misuse {
			t.Errorf("%s: result %s, want %s; identifier %s, want %s; misuse %t, want %t", want.name, got.Result, want.result,
				got.Document, want.doc.Identifier, misuse, want.misuse)
		}
		if !bytes.Equal(content(t, got.Body), want.octets) {
			t.Errorf("%s has been altered", want.name)
		}
		listed := slices.ContainsFunc(flagged[c], func(f intake.Flag) bool { return f.Seq == got.Seq })
		if want.misuse && !listed {
			t.Errorf("%s uses another document's identifier and 'spool --flagged' does not list it", want.name)
		}
		if want.result == "duplicate" {
			duplicates++
		}
		if want.misuse {
			misused++
		}
	}
	// The ready-made cases: four originals with five identical copies; five identifiers, each with further documents.
	if duplicates < 5 || misused < 5 {
		t.Errorf("got %d duplicates and %d misused identifiers; the published files have more", duplicates, misused)
	}
	t.Logf("%d files, %d duplicates, %d misused identifiers", len(files), duplicates, misused)
}

// content takes the document out of a mail as it came.
func content(t *testing.T, mail []byte) []byte {
	t.Helper()
	a, err := kim.Document(mail)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.Parse(a.P7S)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(); err != nil {
		t.Errorf("the signature no longer fits: %v", err)
	}
	return signed.Content
}
