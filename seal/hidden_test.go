package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func TestKeysPrintAsSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.age")
	must(t, NewPassphraseFile(path, []byte("correct horse"), 4))
	ring, err := CreateKeyring(crashdisk.New(), ringPath,
		Passphrase(func() ([]byte, error) { return []byte("correct horse"), nil }, path))
	must(t, err)
	must(t, ring.AddCompartment(eau))
	keys := unlockOne(t, ring, eau)
	dk, _, err := keys.NewDataKey(PersonID{})
	must(t, err)
	boxKey := []byte("0123456789abcdefGHIJKLMNOPQRSTUV")
	box := NewBox(boxKey)
	contexts := NewContexts(ring.Public, (&clock{}).now)
	x, err := contexts.For(eau)
	must(t, err)
	seed, err := keys.own.versions[1].kem.Bytes()
	must(t, err)
	secrets := [][]byte{boxKey, seed, keys.own.index, []byte(ring.identity.String()), []byte("correct horse")}

	type holder struct { // package fmt does not ask methods of unexported fields
		Exported any
		hidden   any
	}
	for _, v := range []any{ring, keys, dk, &dk, box, x} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("look", "key", v, "holder", holder{v, v})
		slog.New(slog.NewTextHandler(&log, nil)).Info("look", "key", v, "holder", holder{v, v})
		asJSON, err := json.Marshal(map[string]any{"key": v, "holder": holder{v, v}})
		must(t, err)
		out := log.String() + string(asJSON)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			if got := fmt.Sprintf(verb, v); got != masked {
				t.Errorf("%T under %s prints %q", v, verb, got)
			}
			out += fmt.Sprintf(verb, holder{v, v})
		}
		for i, s := range secrets {
			for _, form := range []string{
				string(s), hex.EncodeToString(s), base64.StdEncoding.EncodeToString(s),
				strings.Trim(fmt.Sprintf("%d", s), "[]"), strings.Trim(fmt.Sprintf("%#v", s), "[]byte{}"),
			} {
				if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
					t.Errorf("%T prints secret %d", v, i)
				}
			}
		}
		if strings.Count(string(asJSON), masked) != 2 {
			t.Errorf("%T in JSON: %s", v, asJSON)
		}
	}
}
