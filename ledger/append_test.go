package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

// BenchmarkPrepare measures what Append does in its caller's goroutine: pseudonyms, salt, commitment, sealing, leaf hash.
func BenchmarkPrepare(b *testing.B) {
	l, err := Open(Config{
		FS: crashdisk.New(), Dir: "d", Domain: "betreiber.example", Seed: make([]byte, 32), SegmentSize: 1 << 20,
		Secret: func(querschott.IK, int) ([]byte, error) { return bytes.Repeat([]byte{1}, 32), nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e := []Entry{{
		Kind: KindAccess, At: time.Unix(1_780_000_000, 0), Action: ActionRead, Records: 1, Outcome: OutcomeSuccess,
		Compartment: querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM},
		Actor:       "practice-17", Credential: "smcb:80276883110000000001", Person: "A000000018",
		RequestID: "6f1c2f9e-0000-4000-8000-000000000001", Detail: []Field{{"document", "doc-1"}},
	}}
	b.ReportAllocs()
	for b.Loop() {
		r := l.requests.Get().(*request)
		if err := l.fill(r, e); err != nil {
			b.Fatal(err)
		}
		l.recycle(r)
	}
}
