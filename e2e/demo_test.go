//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/node"
)

// reportFields are the fields of a report, exactly.
var reportFields = []string{
	"attack", // null: it is calm
	"doors.changes", "doors.close_p99_ms", "insurers", "ledger.entries", "ledger.verified", "mail.accepted", "mail.delivered",
	"mail.duplicates", "mail.lost", "mail.refused_transient", "mail.rejected", "mail.waiting", "seconds",
	"vsdm.checked", "vsdm.errors", "vsdm.not_modified", "vsdm.p99_ms", "vsdm.records", "vsdm.refused",
}

// parseReport reads a report and checks that it has exactly its fields.
func parseReport(t *testing.T, data string) demo.Report {
	t.Helper()
	var tree map[string]any
	var r demo.Report
	if err := json.Unmarshal([]byte(data), &tree); err != nil {
		t.Fatalf("the report is no JSON: %v\n%s", err, data)
	}
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, v := range tree {
		inner, ok := v.(map[string]any)
		if !ok {
			got = append(got, name)
		}
		for field := range inner {
			got = append(got, name+"."+field)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(reportFields, got); d != "" {
		t.Errorf("fields of the report (-want +got):\n%s", d)
	}
	if r.Mail.Lost != 0 || r.Mail.Rejected != 0 || !r.Ledger.Verified || r.Mail.Accepted != r.Mail.Delivered+r.Mail.Waiting {
		t.Errorf("the report says %s", data)
	}
	return r
}

// TestDemo runs a demonstration with everything that it writes, ends it as Ctrl-C does, and runs another one on the same
// directory.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	report := filepath.Join(t.TempDir(), "report.json")
	d := startDemo(t, dir, "--rate", "20", "--report", report)
	eventually(t, "the demonstration says when it was ready", func() bool { return strings.Contains(d.stdout.String(), "ready after") })
	t.Log(regexp.MustCompile(`ready after [0-9.]+ s`).FindString(d.stdout.String()))
	client := node.NewClient(d.config(t))
	m := sendToDemo(t, d)
	closed, held := doorsOf(d, 0), doorsOf(d, 1)
	order := func(to querschott.DoorState, who string, c querschott.Compartment) {
		command(t, "--config", d.file.Config, "door", "set", c.String(), to.String(), "--key", filepath.Join(dir, "operators", who+".key"),
			"--reason", "drill", "--incident", "VF-3")
	}
	eventually(t, "mail is delivered", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Mail.Delivered >= 100
	})
	order(querschott.Closed, "anna", closed)
	order(querschott.Hold, "ben", held)
	order(querschott.Open, "ben", closed) // waits for anna: a proposal
	command(t, "--config", d.file.Config, "backup", filepath.Join(t.TempDir(), "backup"))
	command(t, "--config", d.file.Config, "login", "anna")
	exportAll(t, d)
	trusted(t, d)
	d.interrupt(t)
	trusted(t, d)
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	first := parseReport(t, string(data))
	if first.Doors.Changes != 2 || first.Insurers != 80 || first.Doors.CloseP99 <= 0 {
		t.Errorf("the report says %s", data)
	}
	silent(t, d)

	rerun(t, dir, closed, held, first)
	findLetter(t, d, m)
}

// rerun runs the demonstration once more in the same directory: doors keep their states, the ledger goes on.
func rerun(t *testing.T, dir string, closed, held querschott.Compartment, first demo.Report) {
	t.Helper()
	d := startDemo(t, dir, "--rate", "20", "--for", "15s", "--report", "-") // time enough to ask it something
	doors, err := node.NewClient(d.config(t)).Doors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range doors {
		want := querschott.Open
		switch v.Compartment {
		case closed:
			want = querschott.Closed
		case held:
			want = querschott.Hold
		}
		if v.To != want {
			t.Errorf("%s is %s, want %s", v.Compartment, v.To, want)
		}
		if waits := v.Pending != ""; waits != (v.Compartment == closed) {
			t.Errorf("%s: a proposal is pending: %t", v.Compartment, waits)
		}
	}
	<-d.ended
	if d.err != nil {
		t.Fatalf("the demonstration ended with %v\n%s%s", d.err, d.stdout, d.stderr)
	}
	second := parseReport(t, d.stdout.String())
	if second.Ledger.Entries <= first.Ledger.Entries || second.Seconds < 15 {
		t.Errorf("the ledger had %d entries and has %d, after %.1f s", first.Ledger.Entries, second.Ledger.Entries, second.Seconds)
	}
	silent(t, d)
	trusted(t, d)
}

func doorsOf(d *demonstration, insurer int) querschott.Compartment {
	return querschott.Compartment{Insurer: d.file.Insurers[insurer].IK, Service: querschott.EAU}
}

// letter is one mail that the test itself has sent.
type letter struct {
	drill.Mail
	person querschott.KVNR
}

// sendToDemo sends a sick note of the demonstration's practice, signed with a certificate of our own.
func sendToDemo(t *testing.T, d *demonstration) letter {
	t.Helper()
	w := drill.NewWorld(1, drill.DefaultInsurers, drill.DefaultPersons)
	ca, err := drill.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Enrol(ca); err != nil {
		t.Fatal(err)
	}
	in := w.Insurers()[2]
	first, _ := in.Persons()
	about := w.Person(first)
	m, err := w.Practices()[0].SickNote(about, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(d.file.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := dial(t.Context(), d.file.SMTPS, &tls.Config{RootCAs: pool, ServerName: hostname}, d.file.Practice.Address, d.file.Practice.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hangUp()
	if _, err := c.deliver(string(m.From), string(m.To), m.Body); err != nil {
		t.Fatal(err)
	}
	return letter{m, about.Number}
}

// findLetter finds the letter in its cell after everything has ended.
func findLetter(t *testing.T, d *demonstration, m letter) {
	t.Helper()
	v := openVaults(t, d.config(t), m.Compartment)
	defer v.close(t)
	if found := copiesOf(v.person(t, m.Compartment, m.person), m.Mail); len(found) != 1 || string(found[0].Body) != string(m.Body) {
		t.Errorf("the letter of the first run is in the cell %d times", len(found))
	}
}

// trusted looks for files in the data directory that the trust table does not name.
func trusted(t *testing.T, d *demonstration) {
	t.Helper()
	unknown, err := node.UnknownFiles(d.config(t).Data)
	if err != nil {
		t.Fatal(err)
	}
	if len(unknown) > 0 {
		t.Errorf("the trust table does not name %v", unknown)
	}
}

// TestTrustTable compares the README with the table.
func TestTrustTable(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range node.Trust() {
		row := "| `" + r.Pattern + "` |"
		if !strings.Contains(string(readme), row) {
			t.Errorf("README.md has no row %s", row)
		}
		for _, cell := range []string{r.Holds, r.Lost, r.Back, r.Reader, r.Writer} {
			if cell == "" {
				t.Errorf("the row of %s has an empty cell", r.Pattern)
			}
		}
	}
}

// silent checks that what a demonstration prints names no insured person and no password.
func silent(t *testing.T, d *demonstration) {
	t.Helper()
	text := d.stdout.String() + d.stderr.String()
	if number := regexp.MustCompile(`\b[A-Z][0-9]{9}\b`).FindString(text); number != "" {
		t.Error("the number of an insured person is printed")
	}
	for what, secret := range map[string]string{"practice": d.file.Practice.Password, "relay": d.file.Relay.Password} {
		if secret == "" || strings.Contains(text, secret) {
			t.Errorf("the password of the %s is printed, or there is none", what)
		}
	}
	if strings.Contains(text, "DATA RACE") {
		t.Errorf("a data race:\n%s", text)
	}
}

// exportAll writes every log and has other people's verifiers judge them; then a changed entry must be noticed.
func exportAll(t *testing.T, d *demonstration) {
	t.Helper()
	dir := t.TempDir()
	origins, err := node.NewClient(d.config(t)).LedgerOrigins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, last := int64(0), ""
	for k, o := range origins {
		to := filepath.Join(dir, fmt.Sprint(k))
		command(t, "--config", d.file.Config, "ledger", "export", o.Origin, to)
		if err := os.WriteFile(to+".vkey", []byte(o.VKey), 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := acceptedByTlog(to, o.Origin, o.VKey)
		if err != nil {
			t.Errorf("%s: %v", o.Origin, err)
		}
		if n > 0 {
			entries, last = entries+n, to
		}
	}
	t.Logf("%d logs with %d entries exported", len(origins), entries)
	acceptedByTessera(t, dir)

	bundles, err := filepath.Glob(filepath.Join(last, "tile", "entries", "000.p", "*"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("no entries in %s: %v", last, err)
	}
	data, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	if err := os.WriteFile(bundles[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(origins, func(o node.LedgerOrigin) bool {
		return strings.HasSuffix(last, string(filepath.Separator)+fmt.Sprint(slices.Index(origins, o)))
	})
	if _, err := acceptedByTlog(last, origins[k].Origin, origins[k].VKey); err == nil {
		t.Error("a changed entry was not noticed")
	}
}

// goTest runs the tests of another module in a directory below this one.
func goTest(t *testing.T, dir, pattern string) *exec.Cmd {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", pattern, ".")
	cmd.Dir = dir
	return cmd
}
