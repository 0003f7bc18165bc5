package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/querschott/querschott/node"
)

// invoke runs a command as main does and returns what it prints, what it says went wrong, and its exit code.
func invoke(t *testing.T, args ...string) (out, fault string, code int) {
	t.Helper()
	root := newRoot()
	var stdout bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stdout)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		fault = err.Error()
	}
	return stdout.String(), fault, exitCode(err)
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	site := filepath.Join(dir, "site")
	config := filepath.Join(site, node.ConfigFile)
	noProof := filepath.Join(dir, "no.proof")
	if err := os.WriteFile(noProof, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, vkey, err := node.SignerFromSeed("kassen.example/ledger/commits/2026", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		args []string
		code int
		text string // of what went wrong
	}{
		{"a directory is made", []string{"init", site}, 0, ""},
		{"it is there already", []string{"init", site}, exitRefused, "exists already; nothing was changed"},
		{"a domain that is none", []string{"init", filepath.Join(dir, "x"), "--domain", "a b"}, exitUsage, "--domain \"a b\": must be a name"},
		{"an operator who cannot be called so", []string{"init", filepath.Join(dir, "x"), "--operator", "a b"}, exitUsage, "--operator \"a b\": an operator's name"},
		{"the platform as an operator", []string{"init", "gate", "--upstream", "http://127.0.0.1/fhir", filepath.Join(dir, "x"), "--operator", "querschott"}, exitUsage, "is the platform itself"},
		{"a domain of a gate that is none", []string{"init", "gate", "--upstream", "http://127.0.0.1/fhir", filepath.Join(dir, "x"), "--domain", "ä"}, exitUsage, "--domain"},
		{"a proof that is none", []string{"ledger", "check", noProof, noProof, "--vkey", vkey}, exitFound, "the proof does not hold"},
		{"a proof of reach that is none", []string{"verify", "scope", noProof, "--vkey", vkey}, exitFound, "proof"},
		{"a key that is none", []string{"ledger", "check", noProof, noProof, "--vkey", "x"}, exitUsage, "--vkey: "},
		{"a key that is none", []string{"verify", "scope", noProof, "--vkey", "x"}, exitUsage, "--vkey: "},
		{"a ledger that was never there", []string{"ledger", "verify", "--data", site}, exitNotRunning, "never was"},
		{"a directory that is none of a node", []string{"ledger", "verify", "--data", dir}, exitUsage, "there is no configuration"},
		{"an option is missing", []string{"ledger", "check", "a", "b"}, exitUsage, `"vkey" not set; see 'querschott ledger check --help'`},
		{"an option is missing", []string{"verify", "scope", "a"}, exitUsage, `"vkey" not set; see 'querschott verify scope --help'`},
		{"an insurer", []string{"--config", config, "insurer", "add", "109500969", "--name", "A", "--address", "a@a.kim.telematik"}, 0, ""},
		{"the same once more", []string{"--config", config, "insurer", "add", "109500969", "--name", "B", "--address", "b@a.kim.telematik"}, exitRefused, "there is an insurer 109500969 already; to change it, edit " + site},
		{"its address", []string{"--config", config, "insurer", "add", "108018007", "--name", "B", "--address", "A@a.kim.telematik"}, exitRefused, "belongs to 109500969 and to 108018007"},
		{"an operator who is there", []string{"--config", config, "operator", "add", "anna", "--dir", dir}, exitRefused, "there is an operator anna already"},
		{"no mails are not fewer than none", []string{"demo", "--rate", "-1"}, exitUsage, "cannot be below 0"},
		{"nobody is insured", []string{"demo", "--insured", "0"}, exitUsage, "not below 1"},
		{"a report that could not be written", []string{"demo", "--for", "1s", "--report", filepath.Join(dir, "no", "report.json")}, exitUsage, "there is no directory"},
	} {
		if out, fault, code := invoke(t, tc.args...); code != tc.code || !strings.Contains(fault, tc.text) {
			t.Errorf("%s: exit code %d, want %d; %q, want %q; %s", tc.what, code, tc.code, fault, tc.text, out)
		}
	}
}

// TestDamagedConfiguration sees a configuration that cannot be read reported as a finding, for people and for scripts.
func TestDamagedConfiguration(t *testing.T) {
	config := filepath.Join(t.TempDir(), node.ConfigFile)
	for text, want := range map[string]string{
		"":                       "there is nothing in it",
		"# only a remark\n":      "there is nothing in it",
		"mail: [\n":              "[1:7]",
		"windows: open\n":        `unknown field "windows"`,
		"log: {level: \"loud\"}": `log.level: "loud" is not one of`,
	} {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, check := range [][]string{{"config", "check"}, {"doctor"}} {
			out, _, code := invoke(t, append([]string{"--config", config, "-o", "json"}, check...)...)
			var got struct {
				OK       bool           `json:"ok"`
				Findings []node.Finding `json:"findings"`
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v of %q: %v: %s", check, text, err, out)
			}
			if code != exitFound || got.OK || len(got.Findings) != 1 || got.Findings[0].Severity != node.Fault || got.Findings[0].Fix == "" ||
				!strings.Contains(got.Findings[0].Text, want) {
				t.Errorf("%v of %q: exit code %d, %+v, want %q", check, text, code, got, want)
			}
		}
		if _, fault, code := invoke(t, "--config", config, "serve"); code != exitFailed || !strings.Contains(fault, want) {
			t.Errorf("serve with %q: exit code %d, %q, want %q", text, code, fault, want)
		}
	}
}

func TestCompletionOfDoors(t *testing.T) {
	site := filepath.Join(t.TempDir(), "site")
	config := filepath.Join(site, node.ConfigFile)
	for _, args := range [][]string{
		{"init", site},
		{"--config", config, "insurer", "add", "109500969", "--name", "A", "--address", "a@a.kim.telematik"},
	} {
		if _, fault, code := invoke(t, args...); code != 0 {
			t.Fatal(fault)
		}
	}
	for want, args := range map[string][]string{
		"109500969\n109500969/eau\n109500969/letter\n109500969/mail\nall\n:4\n":                                {"door", "set", ""},
		"109500969\n109500969/eau\n109500969/letter\n109500969/mail\nall\nclosed\nhold\nopen\nread-only\n:4\n": {"door", "set", "109500969/eau", ""},
		"text\njson\n:4\n": {"status", "-o", ""},
	} {
		out, _, _ := invoke(t, append([]string{"__complete", "--config", config}, args...)...)
		if !strings.HasPrefix(out, want) {
			t.Errorf("%v is completed with\n%s\nwant\n%s", args, out, want)
		}
	}
}
