package pruefziffer

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNothingIsPrinted(t *testing.T) {
	k := keys(t, Legacy())
	n := issue(t, k, Card{Person: person}, iat)
	type holder struct {
		keys   *Keys
		number Number
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", k, "number", n)
	data, err := json.Marshal(struct {
		K *Keys
		N Number
	}{k, n})
	if err != nil {
		t.Fatal(err)
	}
	octets := strings.Trim(fmt.Sprintf("%d", n.b[:8]), "[]")
	for _, s := range []string{
		fmt.Sprint(k, n), fmt.Sprintf("%v %+v %#v %x %s %q %d", k, k, k, k, k, k, k), fmt.Sprintf("%v %+v %#v %x %s %q %d", n, n, n, n, n, n, n),
		log.String(), string(data),
	} {
		if !strings.Contains(s, masked) {
			t.Errorf("%s is not masked", s)
		}
	}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %x", k, n, n, n), fmt.Sprintf("%v %+v", holder{k, n}, holder{k, n}), log.String()} {
		if strings.Contains(s, octets) || strings.Contains(s, n.URL()[:8]) || strings.Contains(s, hex.EncodeToString(n.b[:4])) {
			t.Errorf("%s shows the number", s)
		}
	}
}
