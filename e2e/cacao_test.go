//go:build e2e

package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott/node"
)

// heldAgainst is what the foreign programs say of one playbook.
type heldAgainst struct {
	Name       string
	Draft7     []string
	Strict     []string
	Signatures []bool
}

// TestForeignPlaybooks has ajv hold every playbook that the program exports, plain and signed, against the published CACAO 2.0
// schemas, and @cyclonedx/sign verify its signatures; both must say no to spoiled ones. What the foreign program signs with an
// operator's key is imported.
func TestForeignPlaybooks(t *testing.T) {
	dir := peers(t)
	i := install(t, 1)
	i.serve(t)
	anna, ben := filepath.Join(i.dir, "operators", "anna.key"), filepath.Join(i.dir, "operators", "ben.key")
	var list []node.PlaybookView
	if err := json.Unmarshal([]byte(i.run(t, "-o", "json", "playbook", "list")), &list); err != nil || len(list) < 5 {
		t.Fatalf("%d playbooks, %v", len(list), err)
	}
	var good []playbookCase
	for _, v := range list {
		file := filepath.Join(t.TempDir(), "playbook.json")
		plain := i.run(t, "playbook", "show", v.ID)
		if err := os.WriteFile(file, []byte(plain), 0o600); err != nil {
			t.Fatal(err)
		}
		good = append(good, playbookCase{v.Name, json.RawMessage(plain)})
		i.run(t, "playbook", "sign", file, "--key", anna)
		i.run(t, "playbook", "sign", file, "--key", ben, "--insurer", "109500969")
		good = append(good, playbookCase{v.Name + ", signed", read(t, file)})
		if len(v.Doors) == 0 {
			i.run(t, "playbook", "import", file)
		}
	}
	bad := spoiledPlaybooks(t, good[1].Playbook)
	answers, signed := askCACAO(t, dir, append(slices.Clone(good), bad...), good[0].Playbook, list[0].ID, anna)
	judgePlaybooks(t, answers, len(good))

	foreign := filepath.Join(t.TempDir(), "foreign.json")
	if err := os.WriteFile(foreign, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := i.run(t, "playbook", "import", foreign); !strings.Contains(out, "[anna]") {
		t.Errorf("signed by the foreign program and imported: %s", out)
	}
}

type playbookCase struct {
	Name     string          `json:"name"`
	Playbook json.RawMessage `json:"playbook"`
}

// askCACAO asks the foreign programs about the cases, and has them sign a playbook as anna.
func askCACAO(t *testing.T, dir string, cases []playbookCase, plain json.RawMessage, id, keyFile string) ([]heldAgainst, json.RawMessage) {
	t.Helper()
	parts := strings.SplitN(strings.TrimSpace(string(read(t, keyFile))), "+", 5)
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		t.Fatalf("%s is no Ed25519 key: %v", keyFile, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed[1:]))
	if err != nil {
		t.Fatal(err)
	}
	var about struct{ Modified string }
	if err := json.Unmarshal(plain, &about); err != nil {
		t.Fatal(err)
	}
	at := "2026-11-29T18:00:00.000Z"
	in := map[string]any{"cases": cases, "schemas": cacaoSchemas(t), "sign": map[string]any{
		"playbook": plain, "key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"metadata": map[string]any{
			"type": "jss", "id": "jss--6f2c1f3e-6f0a-4c3e-9b0b-7d1f5a9e2c11", "created": at, "modified": at, "signee": "anna",
			"related_to": id, "related_version": about.Modified,
		},
	}}
	var said struct {
		Answers []heldAgainst
		Signed  json.RawMessage
	}
	startForeign(t, dir, "cacao.mjs", "").report(t, in, &said)
	if len(said.Answers) != len(cases) {
		t.Fatalf("%d answers to %d cases", len(said.Answers), len(cases))
	}
	return said.Answers, said.Signed
}

func cacaoSchemas(t *testing.T) (list []json.RawMessage) {
	t.Helper()
	for _, name := range append(shared(t, "data/cacao/schemas/*/*.json"), shared(t, "data/cacao/schemas/playbook.json")...) {
		list = append(list, read(t, name))
	}
	return list
}

// spoiledPlaybooks are the negative control: each must be refused by the schemas, or by the signatures if its name says so.
func spoiledPlaybooks(t *testing.T, signed json.RawMessage) (list []playbookCase) {
	t.Helper()
	step := func(top map[string]any, kind string) map[string]any {
		flow := top["workflow"].(map[string]any)
		for _, id := range slices.Sorted(maps.Keys(flow)) {
			if s := flow[id].(map[string]any); s["type"] == kind {
				return s
			}
		}
		t.Fatalf("no step of type %s", kind)
		return nil
	}
	signature := func(top map[string]any) map[string]any { return top["signatures"].([]any)[1].(map[string]any) }
	for name, change := range map[string]func(top map[string]any){
		"other version":         func(top map[string]any) { top["spec_version"] = "cacao-1.1" },
		"no start":              func(top map[string]any) { delete(top, "workflow_start") },
		"a time in local time":  func(top map[string]any) { top["modified"] = "2026-11-29T19:00:00+01:00" },
		"no identifier":         func(top map[string]any) { top["created_by"] = "anna" },
		"unknown property":      func(top map[string]any) { top["querschott"] = true },
		"action without agent":  func(top map[string]any) { delete(step(top, "action"), "agent") },
		"end that goes on":      func(top map[string]any) { step(top, "end")["on_completion"] = top["workflow_start"] },
		"unknown step property": func(top map[string]any) { step(top, "action")["ttl_s"] = 60 },
		"unknown command property": func(top map[string]any) {
			step(top, "action")["commands"].([]any)[0].(map[string]any)["querschott"] = "x"
		},
		"signature by thumbprint and key": func(top map[string]any) { signature(top)["thumbprint"] = "x" },
		"forged: other name":              func(top map[string]any) { top["name"] = "another" },
		"forged: other signee":            func(top map[string]any) { signature(top)["signee"] = "carol" },
		"forged: order":                   func(top map[string]any) { step(top, "action")["timeout"] = 6000 },
	} {
		var top map[string]any
		if err := json.Unmarshal(signed, &top); err != nil {
			t.Fatal(err)
		}
		change(top)
		data, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, playbookCase{name, data})
	}
	return list
}

func judgePlaybooks(t *testing.T, answers []heldAgainst, good int) {
	t.Helper()
	for n, a := range answers {
		broken := fmt.Sprint(a.Draft7, a.Strict)
		switch {
		case n < good && (len(a.Draft7)+len(a.Strict) > 0 || slices.Contains(a.Signatures, false)):
			t.Errorf("%s: %s, signatures %v", a.Name, broken, a.Signatures)
		case n < good && strings.HasSuffix(a.Name, ", signed") != (len(a.Signatures) == 2):
			t.Errorf("%s has %d signatures", a.Name, len(a.Signatures))
		case n >= good && strings.HasPrefix(a.Name, "forged") && !slices.Contains(a.Signatures, false):
			t.Errorf("%s: the foreign program verified %v", a.Name, a.Signatures)
		case n >= good && !strings.HasPrefix(a.Name, "forged") && len(a.Strict) == 0:
			t.Errorf("%s: the schemas have nothing against it", a.Name)
		}
	}
}
