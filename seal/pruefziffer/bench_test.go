package pruefziffer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"io"
	"testing"
)

// BenchmarkNumbers measures issuing and verifying, and beside them the floor: the cipher alone with a random nonce.
func BenchmarkNumbers(b *testing.B) {
	k := keys(b)
	value := amselweg(b)
	n := issue(b, k, Card{Person: person, Value: value}, iat)
	b.Run("issue", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Issue(Card{Person: person, Value: value}, iat); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Verify(n, Claim{Person: person, Value: &value, Strict: true}, iat); err != nil {
				b.Fatal(err)
			}
		}
	})
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	var nonce [ivSize]byte
	plain, sealed := make([]byte, plainSize), make([]byte, 0, Size)
	b.Run("seal floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := io.ReadFull(rand.Reader, nonce[:]); err != nil {
				b.Fatal(err)
			}
			sealed = aead.Seal(sealed[:0], nonce[:], plain, nil)
		}
	})
	b.Run("open floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := aead.Open(plain[:0], nonce[:], sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
