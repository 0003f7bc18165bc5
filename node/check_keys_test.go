package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/seal"
)

// TestCheckOpensTheKeyring damages keyring and key file in every way that stops a start; each is a finding with its fix, and the check
// changes nothing.
func TestCheckOpensTheKeyring(t *testing.T) {
	wrong := func() ([]byte, error) { return []byte("four other words"), nil }
	silent := func() ([]byte, error) { return nil, errors.New("no such file") }
	for _, tc := range []struct {
		what, unlock string
		ask          func() ([]byte, error)
		damage       func(t *testing.T, ring, key string)
		want         string // in the finding; "": none
		fix          string
		severity     Severity
	}{
		{"whole", "key-file", nil, nil, "", "", ""},
		{"whole, with a passphrase", "passphrase", passphrase, nil, "", "", ""},
		{"nobody to ask", "passphrase", nil, nil, "it takes a passphrase", "QUERSCHOTT_PASSPHRASE_FILE", Remark},
		{"another passphrase", "passphrase", wrong, nil, "cannot be unlocked", "QUERSCHOTT_PASSPHRASE_FILE", Fault},
		{"no passphrase file", "passphrase", silent, nil, "cannot be unlocked", "QUERSCHOTT_PASSPHRASE_FILE", Fault},
		{"another key", "key-file", nil, func(t *testing.T, _, key string) {
			remove(t, key)
			if err := seal.NewKeyFile(key); err != nil {
				t.Fatal(err)
			}
		}, "cannot be opened", "put the right one in its place", Fault},
		{"a key file that is none", "key-file", nil, func(t *testing.T, _, key string) { overwrite(t, key, []byte("AGE")) }, "cannot be unlocked", "keyring.key", Fault},
		{"the key file needs a passphrase", "key-file", nil, func(t *testing.T, _, key string) {
			remove(t, key)
			if err := seal.NewPassphraseFile(key, []byte("x"), 2); err != nil {
				t.Fatal(err)
			}
		}, "cannot be unlocked", "keyring.unlock", Fault},
		{"empty", "key-file", nil, func(t *testing.T, ring, _ string) { overwrite(t, ring, nil) }, "cannot be opened", "restore keyring.age", Fault},
		{"truncated", "key-file", nil, func(t *testing.T, ring, _ string) {
			data := contents(t, ring)
			overwrite(t, ring, data[:len(data)-100])
		}, "cannot be opened", "restore keyring.age", Fault},
		{"a bit", "passphrase", passphrase, func(t *testing.T, ring, _ string) {
			data := contents(t, ring)
			data[len(data)-20] ^= 1
			overwrite(t, ring, data)
		}, "cannot be opened", "restore keyring.age", Fault},
		{"a public half of another", "key-file", nil, func(t *testing.T, ring, _ string) {
			overwrite(t, seal.PublicPath(ring), []byte("{}"))
		}, "cannot be opened", "restore keyring.age", Fault},
		{"no public half, as a crash may leave it", "key-file", nil, func(t *testing.T, ring, _ string) { remove(t, seal.PublicPath(ring)) }, "", "", ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			h := newHouse(t, 1, func(c *Config) { c.Keyring.Unlock = tc.unlock })
			if tc.damage != nil {
				tc.damage(t, filepath.Join(h.cfg.Data, "keyring.age"), h.cfg.Keyring.Key)
			}
			before, _, err := hashTree(h.dir)
			if err != nil {
				t.Fatal(err)
			}
			var found []Finding
			for _, f := range h.cfg.Check(time.Now(), tc.ask) {
				if strings.Contains(f.Text, "keyring") {
					found = append(found, f)
				}
			}
			switch {
			case tc.want == "" && len(found) > 0, tc.want != "" && len(found) != 1:
				t.Errorf("found %+v", found)
			case tc.want != "" && (found[0].Severity != tc.severity || !strings.Contains(found[0].Text, tc.want) || !strings.Contains(found[0].Fix, tc.fix)):
				t.Errorf("found %+v, want %s %q, fix %q", found[0], tc.severity, tc.want, tc.fix)
			}
			if after, _, err := hashTree(h.dir); err != nil || cmp.Diff(before, after) != "" {
				t.Errorf("the check has changed %s, %v", cmp.Diff(before, after), err)
			}
		})
	}
}

// TestStartSaysThatTheKeyIsNotPrivate starts a node whose key file others can read.
func TestStartSaysThatTheKeyIsNotPrivate(t *testing.T) {
	h := newHouse(t, 1)
	h.run().stop()
	const said = `level=WARN msg="the keyring's key file is not private" what="`
	if text := h.log.String(); strings.Contains(text, said) {
		t.Errorf("a private key file: %s", text)
	}
	if err := os.Chmod(h.cfg.Keyring.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	h.run().stop()
	if text := h.log.String(); !strings.Contains(text, said+h.cfg.Keyring.Key+" can be read or written by others") || !strings.Contains(text, "chmod 600 "+h.cfg.Keyring.Key) {
		t.Errorf("a key file for everybody: %s", text)
	}
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func overwrite(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
