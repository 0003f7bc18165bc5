package cms

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/querschott/querschott/wire/internal/shared"
)

func sha(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNormalise(t *testing.T) {
	for _, tc := range []struct {
		name, ber, der string
		want           Problem
	}{
		{"DER stays", "30 06 02 01 05 04 01 ff", "30 06 02 01 05 04 01 ff", ""},
		{"indefinite length", "30 80 02 01 05 00 00", "30 03 02 01 05", ""},
		{"nested indefinite lengths", "30 80 a0 80 02 01 05 00 00 00 00", "30 05 a0 03 02 01 05", ""},
		{"length with leading zeros", "30 82 00 04 02 81 01 05", "30 03 02 01 05", ""},
		{"octet string in pieces", "24 80 04 02 01 02 04 01 03 00 00", "04 03 01 02 03", ""},
		{"octet string in pieces, definite", "24 07 04 02 01 02 04 01 03", "04 03 01 02 03", ""},
		{"pieces in pieces", "24 80 24 80 04 01 01 00 00 04 01 02 00 00", "04 02 01 02", ""},
		{"no pieces", "24 80 00 00", "04 00", ""},
		{"text in pieces", "2c 80 04 01 41 04 01 42 00 00", "0c 02 41 42", ""},
		{"application class is no string", "64 80 04 01 41 00 00", "64 03 04 01 41", ""},
		{"tag over 30", "bf 81 01 80 02 01 05 00 00", "bf 81 01 03 02 01 05", ""},
		{"contents that look like an end", "30 80 04 02 00 00 00 00", "30 04 04 02 00 00", ""},
		{"nothing", "", "", Format},
		{"identifier only", "30", "", Format},
		{"no end", "30 80 02 01 05", "", Format},
		{"half an end", "30 80 02 01 05 00", "", Format},
		{"broken end", "30 80 00 01", "", Format},
		{"an end outside", "00 00", "", Format},
		{"an end inside a definite length", "30 02 00 00", "", Format},
		{"too short", "30 05 02 01 05", "", Format},
		{"child longer than its parent", "30 03 02 05 01 02 03 04 05", "", Format},
		{"indefinite child longer than its parent", "30 04 30 80 02 00 00 00", "", Format},
		{"octets after the end", "30 00 00", "", Format},
		{"primitive of indefinite length", "04 80 00 00", "", Format},
		{"huge length", "04 84 ff ff ff ff 00", "", Format},
		{"length of 126 octets", "04 fe 00", "", Format},
		{"a piece that is no octet string", "24 80 02 01 05 00 00", "", Format},
		{"a bit string in pieces", "23 80 03 02 00 01 00 00", "", Unsupported},
		{"endless tag", "1f ff ff ff ff ff 01 00", "", Format},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Normalise(unhex(t, tc.ber))
			if ProblemOf(err) != tc.want {
				t.Fatalf("got %v, want problem %q", err, tc.want)
			}
			if !bytes.Equal(got, unhex(t, tc.der)) {
				t.Errorf("got %x, want %s", got, tc.der)
			}
		})
	}
}

func TestNormaliseBounds(t *testing.T) {
	for name, ber := range map[string][]byte{
		"depth":            bytes.Repeat([]byte{0x30, 0x80}, 1000),
		"depth of strings": bytes.Repeat([]byte{0x24, 0x80}, 1000),
		"elements":         append([]byte{0x30, 0x80}, bytes.Repeat([]byte{0x05, 0x00}, MaxElements)...),
		"size":             make([]byte, MaxSize+1),
	} {
		if _, err := Normalise(ber); ProblemOf(err) != Limit {
			t.Errorf("%s: got %v, want problem %q", name, err, Limit)
		}
	}
}

// inPieces writes a document again as KIM client modules do: indefinite lengths, the content in pieces.
func inPieces(t testing.TB, der []byte, piece int) []byte {
	t.Helper()
	n := normaliser{src: der}
	if err := n.element(0); err != nil {
		t.Fatal(err)
	}
	out, _ := n.writePieces(nil, 0, 0, piece)
	return out
}

func (n *normaliser) writePieces(out []byte, i, depth, piece int) ([]byte, int) {
	e := &n.elements[i]
	switch {
	case e.ident[0] == tagOctetString && depth == 4:
		out = append(out, 0x24, 0x80)
		for rest := e.leaf; len(rest) > 0; {
			k := min(piece, len(rest))
			out = append(appendLength(append(out, 0x04), k), rest[:k]...)
			rest = rest[k:]
		}
		return append(out, 0, 0), e.end
	case !e.constructed || depth > 4:
		return n.write(out, i)
	}
	out = append(append(out, e.ident...), 0x80)
	for next := i + 1; next < e.end; {
		out, next = n.writePieces(out, next, depth+1, piece)
	}
	return append(out, 0, 0), e.end
}

func TestPiecesAreOneContent(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef\r\n"), 1500)
	der := sign(t, ecdsaIdentity(), long)
	for _, piece := range []int{1, 999, 1000, len(long)} {
		ber := inPieces(t, der, piece)
		if back, err := Normalise(ber); err != nil || !bytes.Equal(back, der) {
			t.Fatalf("pieces of %d: not the same document again (%v)", piece, err)
		}
		if sd, _ := verify(t, ber); !bytes.Equal(sd.Content, long) {
			t.Errorf("pieces of %d: not the same content", piece)
		}
	}
	dir := t.TempDir()
	writeFile(t, dir, "ber", inPieces(t, der, 1000))
	mustOpenssl(t, dir, "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "ber", "-out", "content")
	if !bytes.Equal(readFile(t, dir, "content"), long) {
		t.Error("openssl reads another content")
	}
}

// FuzzParse: no octets make the reader panic, and normalising is idempotent.
func FuzzParse(f *testing.F) {
	for _, id := range identities() {
		der := sign(f, id, content)
		f.Add(der)
		f.Add(inPieces(f, der, 20))
	}
	f.Add([]byte{0x24, 0x80, 0x04, 0x00, 0x00, 0x00})
	if octets := shared.Optional(f, "data/kim/smime/inputEmail.txt.02.signedcms"); octets != nil {
		f.Add(octets)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		der, err := Normalise(octets)
		if err != nil {
			if ProblemOf(err) == "" {
				t.Fatalf("an error without a problem: %v", err)
			}
			return
		}
		if again, err := Normalise(der); err != nil || !bytes.Equal(again, der) {
			t.Fatalf("normalised octets change again (%v)", err)
		}
		sd, err := Parse(octets)
		if err == nil {
			_, err = sd.Verify()
		}
		if err != nil && ProblemOf(err) == "" {
			t.Fatalf("an error without a problem: %v", err)
		}
	})
}

var benchContent = bytes.Repeat([]byte("<value value=\"0123456789\"/>\n"), 24<<10/28)

func BenchmarkSign(b *testing.B) {
	for name, id := range identities() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(benchContent, id.cert, id.key, signingTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseVerify(b *testing.B) {
	for name, id := range identities() {
		for form, octets := range map[string][]byte{"DER": sign(b, id, benchContent), "BER": inPieces(b, sign(b, id, benchContent), 1000)} {
			b.Run(name+"/"+form, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := verdict(octets); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
