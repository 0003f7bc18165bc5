package proxy

import (
	"bytes"
	"testing"
)

// Every byte at every place, beside every neighbour that could borrow from it.
func TestPlainFindsTheFirstByteWithAMeaning(t *testing.T) {
	slow := func(b []byte) int {
		return max(bytes.IndexFunc(append(bytes.Clone(b), '"'), func(r rune) bool { return r == '"' || r == '\\' || r < ' ' }), 0)
	}
	for _, around := range []byte{'a', ' ', '!', '#', '[', ']', 0x7f} {
		for at := range 20 {
			for c := range 128 {
				for length := at + 1; length <= 20; length += 3 {
					b := bytes.Repeat([]byte{around}, length)
					b[at] = byte(c)
					if got, want := plain(b), slow(b); got != want {
						t.Fatalf("%q: got %d, want %d", b, got, want)
					}
				}
			}
			for c := 0x80; c <= 0xff; c++ { // part of a character: never a meaning
				b := bytes.Repeat([]byte{around}, 20)
				b[at] = byte(c)
				if got := plain(b); got != len(b) {
					t.Fatalf("%q: got %d", b, got)
				}
			}
		}
	}
}
