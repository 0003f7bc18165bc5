package token

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// BenchmarkVerifyFloor is what one signature costs without any of us: the floor of BenchmarkIdentify/warm.
func BenchmarkVerifyFloor(b *testing.B) {
	s := newSigner(b, "")
	sum := sha256.Sum256([]byte("x"))
	signature, err := ecdsa.SignASN1(rand.Reader, s.private, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(&s.private.PublicKey, sum[:], signature) {
			b.Fatal("wrong signature")
		}
	}
}

// BenchmarkIdentify is one request with access token, proof and PoPP token. warm: both tokens are known; cold: none is.
// Proofs are made before the clock starts to run, and used once.
func BenchmarkIdentify(b *testing.B) {
	const proofs = 20_000
	for _, mode := range []string{"warm", "cold"} {
		b.Run(mode, func(b *testing.B) {
			w := newWorld(b)
			token, popp := w.access(b), w.presence(b)
			requests := make([]*Request, 0, min(b.N, proofs))
			for range cap(requests) {
				requests = append(requests, w.asks(b, token, popp))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i%len(requests) == 0 { // every proof was used
					b.StopTimer()
					w.v.proofs = newProofs(proofs * 16)
					b.StartTimer()
				}
				if mode == "cold" {
					w.v.tokens, w.v.presences = newResults[access](16), newResults[presence](16)
				}
				if _, err := w.v.Identify(b.Context(), requests[i%len(requests)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProofs is the memory alone, as full as 1,000 requests a second make it.
func BenchmarkProofs(b *testing.B) {
	p := newProofs(10_000_000)
	now := int64(1_000_000)
	for i := range 180_000 {
		p.accept(proofKey(hashOf(i)[:proofBytes]), now+int64(i/1000), now)
	}
	var keys [1 << 16]proofKey
	for i := range keys {
		keys[i] = proofKey(hashOf(1_000_000 + i)[:proofBytes])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.accept(keys[i%len(keys)], now+150, now)
		i++
	}
}
