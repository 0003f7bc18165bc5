//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	drillrun "github.com/querschott/querschott/drill/run"
	"github.com/querschott/querschott/node"
)

// refused runs a command that must fail, and wants to be told what to do.
func refused(t *testing.T, says string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), plain, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		t.Fatalf("querschott %s: %v", strings.Join(args, " "), err)
	}
	if !strings.Contains(out.String(), says) {
		t.Errorf("querschott %s does not say %q:\n%s", strings.Join(args, " "), says, &out)
	}
}

// From 'init' to a January that is passed, against a node that is started with 'serve': whatever is missing is said, with what to
// do; everything that the node says and writes is marked as an exercise.
func TestDrillAgainstANode(t *testing.T) {
	dir := t.TempDir()
	i := &installation{program: plain, dir: dir, config: filepath.Join(dir, node.ConfigFile)}
	january := []string{"drill", "run", "january-2023", "--data", dir}
	refused(t, "init --drill", january...)
	refused(t, "init --drill", "drill", "prepare", dir)
	command(t, "init", dir, "--drill")
	i.set(t, map[string]string{
		"http.listen": "127.0.0.1:0", "mail.starttls": "127.0.0.1:0", "mail.tls": "127.0.0.1:0", "console.listen": "127.0.0.1:0", "log.format": "json",
		"intake.segment": "4MiB", "intake.max_mail": "2MiB", "http.dev_issuers": "false",
	})
	refused(t, "http.dev_issuers: true", "drill", "prepare", dir)
	i.set(t, map[string]string{"http.dev_issuers": "true"})
	refused(t, "drill prepare "+dir, january...)
	command(t, "drill", "prepare", dir)
	command(t, "drill", "prepare", dir) // again
	refused(t, "other insurers already", "drill", "prepare", dir, "--seed", "2")
	refused(t, "serve --config", january...)
	p, _ := i.serve(t)
	refused(t, "stop it first", "drill", "prepare", dir)
	refused(t, "door set all open", january...)
	for _, args := range [][]string{{"set", "all", "open", "--key", filepath.Join(dir, "operators", "anna.key"), "--reason", "drill"}, {"approve", "--all", "--key", filepath.Join(dir, "operators", "ben.key")}} {
		command(t, append([]string{"--config", i.config, "door"}, args...)...)
	}
	cmd := exec.CommandContext(t.Context(), plain, append(january, "--report", "-")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r drillrun.Report
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("no report: %v, %v\n%s", jerr, err, &stderr)
	}
	passed := true
	for _, c := range r.Conditions {
		if passed = passed && c.Passed; !c.Passed && !c.Timed {
			t.Errorf("%s: %s", c.Text, c.Found)
		}
	}
	if passed != r.Passed || (err == nil) != r.Passed {
		t.Errorf("passed %t, conditions met %t, and the command ended with %v", r.Passed, passed, err)
	}
	if r.Mode != node.ModeDrill || !strings.Contains(stderr.String(), "EXERCISE / ÜBUNG") || r.Reached == 0 || r.Mail.Accepted == 0 || r.Cards.Done == 0 {
		t.Errorf("the report: %s\n%s", out, &stderr)
	}
	i.marked(t)
	p.stop(t)
}

// marked fails the test for what a node in drill mode says or has written without saying that it is an exercise.
func (i *installation) marked(t *testing.T) {
	t.Helper()
	c := i.client(t)
	s, err := c.Status(t.Context())
	if err != nil || s.Mode != node.ModeDrill {
		t.Errorf("status: mode %q, %v", s.Mode, err)
	}
	login, err := c.Login(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, login.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", s.Addresses.Console)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if _, err := page.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, `id="matrix"`) || !strings.Contains(text, "ÜBUNG") && !strings.Contains(text, "EXERCISE") {
		t.Errorf("the page does not say that it is an exercise:\n%.2000s", text)
	}
	before, err := (&http.Client{}).Get(s.Addresses.Console + "/login")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Body.Close()
	if page.Reset(); before.Header.Get("X-Querschott-Mode") != node.ModeDrill {
		t.Errorf("before the login the console says nothing of an exercise: %v", before.Header)
	}
	if _, err := page.ReadFrom(before.Body); err != nil || !strings.Contains(page.String(), `class="mode"`) {
		t.Errorf("the login page does not say that it is an exercise, %v:\n%.2000s", err, &page)
	}
	cases, err := c.Incidents(t.Context())
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d incidents, %v", len(cases), err)
	}
	for _, x := range cases {
		if e, err := c.Incident(t.Context(), x.Ref); err != nil || !e.Drill {
			t.Errorf("incident %s is not marked, %v", x.Ref, err)
		}
	}
	origins, err := c.LedgerOrigins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, o := range origins {
		if strings.Contains(o.Origin, "/ledger/commits/") {
			continue // heads of the other logs
		}
		const atOnce = 500
		for from := uint64(0); ; from += atOnce {
			list, err := c.LedgerShow(t.Context(), o.Origin, from, from+atOnce)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if e.Detail["mode"] != node.ModeDrill && e.Kind != "seal" {
					t.Errorf("an entry is not marked: %+v", e)
				}
			}
			if total += len(list); len(list) < atOnce {
				break
			}
		}
	}
	if total < 100 {
		t.Errorf("%d entries in %d logs", total, len(origins))
	}
}
