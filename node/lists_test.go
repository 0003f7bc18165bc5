package node

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

func TestInsurersRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "insurers.yaml")
	if list, err := LoadInsurers(file); err != nil || len(list) != 0 {
		t.Errorf("without a file: %v, %v", list, err)
	}
	want := []Insurer{
		{IK: "109500969", Name: `Kasse "Nord": #1`, Insured: 7, Services: []querschott.Service{querschott.EAU}, Addresses: []string{"eau@nord.kim.telematik"}},
		{IK: "100043205", Name: "Süd", Services: []querschott.Service{querschott.VSDM}, Addresses: []string{}},
	}
	if err := SaveInsurers(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := LoadInsurers(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantDoors := []string{"100043205/vsdm", "109500969/eau", "109500969/mail"}
	var doors []string
	for _, c := range compartments(got) {
		doors = append(doors, c.String())
	}
	if diff := cmp.Diff(wantDoors, doors); diff != "" {
		t.Errorf("compartments (-want +got):\n%s", diff)
	}
	if len(want[0].Services) != 1 {
		t.Error("compartments changed the list")
	}
}

func TestInsurersAreChecked(t *testing.T) {
	good := Insurer{IK: "109500969", Name: "Nord", Services: []querschott.Service{querschott.EAU}, Addresses: []string{"eau@nord.kim.telematik"}}
	for _, tc := range []struct {
		name string
		list []Insurer
		want string
	}{
		{"the same IK twice", []Insurer{good, {IK: good.IK}}, "stands in the list twice"},
		{"the same address twice", []Insurer{good, {IK: "100043205", Addresses: []string{"EAU@nord.KIM.telematik"}}}, "belongs to 109500969 and to 100043205"},
		{"wrong check digit", []Insurer{{IK: "109500968"}}, "109500968"},
		{"unknown service", []Insurer{{IK: good.IK, Services: []querschott.Service{"fax"}}}, "fax"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "insurers.yaml")
			if err := SaveInsurers(file, []Insurer{good}); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := SaveInsurers(file, tc.list); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
				t.Errorf("a list that is refused was written: %v", err)
			}
			if err := saveYAML(file, "", tc.list); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadInsurers(file); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("reading: got %v, want %q", err, tc.want)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "insurers.yaml")
	if err := os.WriteFile(file, []byte("- ik: \"109500969\"\n  nmae: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadInsurers(file); err == nil || !strings.Contains(err.Error(), `unknown field "nmae"`) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestOperatorsAreChecked(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"twice", "- name: anna\n  keys: []\n- name: anna\n  keys: []\n", "anna stands there twice"},
		{"the machine", "- name: querschott\n  keys: []\n", "no name that can be used"},
		{"without a name", "- keys: []\n", "no name that can be used"},
		{"unknown key", "- name: anna\n  key: x\n", "unknown field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "operators.yaml")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadOperators(file); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOperatorKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "anna.key")
	vkey, err := NewOperatorKey(file, "anna.example")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", st, err)
	}
	s, err := LoadOperatorKey(file)
	if err != nil || s.Name() != "anna.example" {
		t.Fatalf("%v, %v", s, err)
	}
	signed(t, s, vkey)
	if _, err := NewOperatorKey(file, "anna.example"); err == nil {
		t.Error("a key was overwritten")
	}
	if _, err := LoadOperatorKey(filepath.Join(dir, "ben.key")); !os.IsNotExist(err) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(file, []byte("PRIVATE+KEY+secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOperatorKey(file); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken key: %v", err)
	}
}

// signed checks that x/mod's own verifier takes the signer's notes.
func signed(t *testing.T, s note.Signer, vkey string) {
	t.Helper()
	raw, err := note.Sign(&note.Note{Text: "text\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(raw, note.VerifierList(v)); err != nil {
		t.Errorf("%s does not verify what %s signed: %v", vkey, s.Name(), err)
	}
}

func TestSignerFromSeed(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	s, vkey, err := SignerFromSeed("machine.example", seed)
	if err != nil {
		t.Fatal(err)
	}
	signed(t, s, vkey)
	if _, again, err := SignerFromSeed("machine.example", seed); err != nil || again != vkey {
		t.Errorf("the same seed makes %s and %s: %v", vkey, again, err)
	}
	if _, other, err := SignerFromSeed("other.example", seed); err != nil || other == vkey {
		t.Errorf("two names have one key: %v", err)
	}
	for _, bad := range [][]byte{nil, seed[:31], append(seed[:32:32], 0)} {
		if _, _, err := SignerFromSeed("x", bad); err == nil {
			t.Errorf("a seed of %d bytes", len(bad))
		}
	}
	if _, _, err := SignerFromSeed("a b+c", seed); err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a name that cannot be: %v", err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	h := newHouse(t, 2)
	if _, err := Init(h.dir, InitOptions{}); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second init: %v", err)
	}
	if _, err := h.cfg.AddOperator(anna, h.dir); err == nil {
		t.Error("a second anna")
	}
	for _, name := range []string{".", ConfigFile, "unlock.key", "data", "data/keyring.age", "operators/anna.key", "accounts.json"} {
		st, err := os.Stat(filepath.Join(h.dir, name))
		if err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
}
