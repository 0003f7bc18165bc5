package pruefziffer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestFourForms(t *testing.T) {
	k := keys(t)
	for range 200 { // until every form has had both of its characters
		n := issue(t, k, Card{Person: person}, iat)
		for _, s := range []string{n.URL(), n.Standard(), strings.TrimRight(n.URL(), "="), strings.TrimRight(n.Standard(), "=")} {
			got, err := Parse(s)
			if err != nil || *got.b != *n.b {
				t.Fatalf("%s: %v", s, err)
			}
		}
		if len(n.URL()) != 64 || len(n.Standard()) != 64 {
			t.Fatal("not 64 characters")
		}
	}
	whole := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, Size))
	for name, s := range map[string]string{
		"nothing": "", "short": whole[:62], "long": whole + "A", "46 octets": base64.StdEncoding.EncodeToString(make([]byte, 46)),
		"48 octets": base64.StdEncoding.EncodeToString(make([]byte, 48)), "both alphabets": "-" + whole[1:],
		"bits that are too many": whole[:62] + "-=", "line break": whole[:30] + "\n" + whole[30:62] + "=", "padding within": whole[:30] + "=" + whole[31:],
		"no base64": strings.Repeat("!", 64), "hex": strings.Repeat("de", 47),
	} {
		if _, err := Parse(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(whole[:62] + "v="); err == nil {
		t.Error("the last character has bits that the text does not need, and they are not zero")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("3iAhIiMkJSYnKCkqK9tdqGZodlt0jgLVPAyvij/Z4TgIYdc0J2BXsH17f3mEfdI=")
	f.Add("WDExMDU5Mjk4MzE3Mzc0NTg2ODdVWDFFXjY2RxR9A_lLr1icRLPCLThLtVlhSU8")
	k, err := NewKeys('X', Legacy())
	if err == nil {
		err = k.Add(2, secret(5), 0, iat) // nobody has issued with it
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if s = strings.TrimRight(s, "="); s != strings.TrimRight(n.URL(), "=") && s != strings.TrimRight(n.Standard(), "=") {
			t.Fatalf("%q is one text too many", s)
		}
		if facts, err := k.Verify(n, Claim{Person: person}, iat); err == nil {
			t.Fatalf("it verifies: %+v", facts)
		}
	})
}
