package proof_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"

	"filippo.io/torchwood"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

const domain = "betreiber.example"

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))

// The test vector of C2SP signed-note.
func TestSignedNoteVector(t *testing.T) {
	const vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
	msg := "This is an example message.\n\n— example.com/foo " +
		"Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
	v, err := proof.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(msg), note.VerifierList(v))
	if err != nil || n.Text != "This is an example message.\n" {
		t.Errorf("got %+v, %v", n, err)
	}
	if _, err := proof.OpenCheckpoint([]byte(msg), v); err == nil {
		t.Error("a note that is no checkpoint was opened as one")
	}
}

// signed makes a log of n leaves and returns the receipt's and the proof's parts for the last.
func receipt(t testing.TB, n, heads int) (file, leaf []byte, vkey string) {
	t.Helper()
	var leaves []tile.Hash
	for i := range n {
		leaf = fmt.Appendf(nil, "entry %d", i)
		leaves = append(leaves, tile.Leaf(leaf))
	}
	origin := domain + "/ledger/109500969/2026"
	log := tile.Grow(tile.Tree{}, leaves)
	all := make([]tile.Hash, heads)
	all[heads/2] = proof.HeadLeaf(origin, log.New.Size, log.New.Root())
	top := tile.Grow(tile.Tree{}, all)
	c := proof.Commit{Seq: 9, Time: 1_780_000_000_000_000, Heads: uint32(heads), Root: top.New.Root()}
	chain := tile.Grow(tile.Tree{}, []tile.Hash{{1}, {2}, {3}, {4}, tile.Leaf(c.Bytes())})
	s := proof.NewSigner(domain+"/ledger/commits/2026", key)
	r := proof.Receipt{
		Origin: origin, Index: uint64(n - 1), Size: log.New.Size, Path: log.Path(uint64(n - 1)), Commit: c,
		Head: uint32(heads / 2), HeadPath: top.Path(uint64(heads / 2)), CommitIndex: 4, CommitPath: chain.Path(4),
		Checkpoint: s.Note(5, chain.New.Root(), s.Sign(5, chain.New.Root())),
	}
	return r.Marshal(), leaf, s.VKey()
}

func TestReceipt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, heads := rapid.IntRange(1, 600).Draw(rt, "entries"), rapid.IntRange(1, 100).Draw(rt, "heads")
		file, leaf, vkey := receipt(t, n, heads)
		r, err := proof.VerifyReceipt(file, leaf, vkey)
		if err != nil {
			rt.Fatal(err)
		}
		if r.Index != uint64(n-1) || r.Size != uint64(n) || r.Commit.Seq != 9 {
			rt.Fatalf("got %+v", r)
		}
		if _, err := proof.VerifyReceipt(file, append(leaf, 'x'), vkey); err == nil {
			rt.Fatal("another entry passed")
		}
	})
}

// No bit of a receipt, of the entry or of the key can change without being noticed.
func TestReceiptEveryBit(t *testing.T) {
	file, leaf, vkey := receipt(t, 7, 5)
	everyBit(t, "receipt", file, func(b []byte) error { _, err := proof.VerifyReceipt(b, leaf, vkey); return err })
	everyBit(t, "entry", leaf, func(b []byte) error { _, err := proof.VerifyReceipt(file, b, vkey); return err })
	for i := range file {
		if _, err := proof.VerifyReceipt(file[:i], leaf, vkey); err == nil {
			t.Errorf("a receipt cut off after %d bytes passed", i)
		}
	}
}

func TestProofEveryBit(t *testing.T) {
	file, leaf, vkey := plainProof(77, 13)
	if _, err := proof.Verify(file, leaf, vkey); err != nil {
		t.Fatal(err)
	}
	everyBit(t, "proof", file, func(b []byte) error { _, err := proof.Verify(b, leaf, vkey); return err })
	everyBit(t, "entry", leaf, func(b []byte) error { _, err := proof.Verify(file, b, vkey); return err })
}

func everyBit(t *testing.T, what string, data []byte, verify func([]byte) error) {
	t.Helper()
	if err := verify(data); err != nil {
		t.Fatalf("the untouched %s fails: %v", what, err)
	}
	for i := range data {
		for bit := range 8 {
			b := bytes.Clone(data)
			b[i] ^= 1 << bit
			if verify(b) == nil {
				t.Errorf("%s: bit %d of byte %d (%q) can be changed", what, bit, i, data[i])
			}
		}
	}
}

func plainProof(size int, index uint64) (file, leaf []byte, vkey string) {
	leaves := make([]tile.Hash, size)
	for i := range leaves {
		leaves[i] = tile.Leaf(fmt.Appendf(nil, "entry %d", i))
	}
	tree := tile.Grow(tile.Tree{}, leaves)
	s := proof.NewSigner(domain+"/ledger/109500969/2026", key)
	root := tree.New.Root()
	p := proof.Proof{Index: index, Path: tree.Path(index), Checkpoint: s.Note(uint64(size), root, s.Sign(uint64(size), root))}
	return p.Marshal(), fmt.Appendf(nil, "entry %d", index), s.VKey()
}

// torchwood, which isn't ours, accepts proofs and checkpoints.
func TestTorchwood(t *testing.T) {
	for _, size := range []int{1, 2, 255, 256, 257, 1000} {
		file, leaf, vkey := plainProof(size, uint64(size/2))
		v, err := note.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(v.Name()), torchwood.SingleVerifierPolicy(v))
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(leaf), file); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		p, err := proof.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := torchwood.VerifyCheckpoint(p.Checkpoint, policy)
		if err != nil {
			t.Fatal(err)
		}
		want, err := proof.ParseCheckpoint(got.String())
		if err != nil || want.Origin != got.Origin || want.Size != uint64(got.N) || want.Root != got.Hash {
			t.Errorf("torchwood reads %+v, we read %+v, %v", got, want, err)
		}
	}
	file, leaf, vkey := receipt(t, 100, 9)
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	r, err := proof.VerifyReceipt(file, leaf, vkey)
	if err != nil {
		t.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(v.Name()), torchwood.SingleVerifierPolicy(v))
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(r.Commit.Bytes()), file); err != nil {
		t.Errorf("a receipt is no proof of its commit: %v", err)
	}
}

// Cosignatures of witnesses may stand beside ours; a broken one of ours is never passed over.
func TestCosignatures(t *testing.T) {
	s := proof.NewSigner(domain+"/ledger/109500969/2026", key)
	root := tile.Tree{}.Root()
	signed := s.Note(0, root, s.Sign(0, root))
	w, err := torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := proof.NewVerifier(s.VKey())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	both, err := note.Sign(n, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.OpenCheckpoint(both, v); err != nil {
		t.Errorf("with a cosignature: %v", err)
	}
	other, err := proof.NewVerifier(w.Verifier().String())
	if err == nil {
		if _, err := proof.OpenCheckpoint(both, other); err == nil {
			t.Error("a cosignature counts as the log's own signature")
		}
	}
	for name, text := range map[string]string{
		"two lines": "o\n1\n", "leading zero": "o\n01\n" + root.String() + "\n", "sign": "o\n+1\n" + root.String() + "\n",
		"no origin": "\n1\n" + root.String() + "\n", "extension": "o\n1\n" + root.String() + "\nmore\n",
		"short root": "o\n1\nAAAA\n", "no newline": "o\n1\n" + root.String(),
	} {
		if c, err := proof.ParseCheckpoint(text); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func TestConsistency(t *testing.T) {
	leaves := make([]tile.Hash, 300)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range idx {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i := range leaves {
		leaves[i] = tile.Leaf(fmt.Appendf(nil, "entry %d", i))
		hs, err := tlog.StoredHashesForRecordHash(int64(i), leaves[i], reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
	}
	head := func(n int) proof.Checkpoint {
		return proof.Checkpoint{Origin: "o", Size: uint64(n), Root: tile.Grow(tile.Tree{}, leaves[:n]).New.Root()}
	}
	for _, c := range []struct{ old, new int }{{0, 0}, {0, 5}, {1, 1}, {1, 2}, {255, 256}, {128, 300}, {300, 300}} {
		var path []tile.Hash
		if c.old > 0 && c.old < c.new {
			p, err := tlog.ProveTree(int64(c.new), int64(c.old), reader)
			if err != nil {
				t.Fatal(err)
			}
			path = p
		}
		if err := proof.CheckConsistency(head(c.old), head(c.new), path); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if err := proof.CheckConsistency(head(c.old), head(c.new), append(slices.Clone(path), tile.Hash{})); err == nil {
			t.Errorf("%+v: a longer proof passed", c)
		}
		forked := head(c.old)
		forked.Root[0] ^= 1
		if err := proof.CheckConsistency(forked, head(c.new), path); err == nil {
			t.Errorf("%+v: a forked head passed", c)
		}
	}
	if err := proof.CheckConsistency(head(2), head(1), nil); err == nil {
		t.Error("a log that shrank passed")
	}
	if err := proof.CheckConsistency(head(1), proof.Checkpoint{Origin: "p", Size: 1, Root: head(1).Root}, nil); err == nil {
		t.Error("two logs passed as one")
	}
}

func TestForeignReceipt(t *testing.T) {
	file, leaf, vkey := receipt(t, 7, 5)
	other := proof.NewSigner(domain+"/ledger/commits/2027", key).VKey()
	if _, err := proof.VerifyReceipt(file, leaf, other); err == nil {
		t.Error("another year's key passed")
	}
	plain := proof.NewSigner(domain+"/ledger/109500969/2026", key).VKey()
	if _, err := proof.VerifyReceipt(file, leaf, plain); err == nil {
		t.Error("a log's key passed for that of the commits")
	}
	r, err := proof.ParseReceipt(file)
	if err != nil {
		t.Fatal(err)
	}
	r.Origin = "elsewhere.example/ledger/109500969/2026"
	if _, err := proof.VerifyReceipt(r.Marshal(), leaf, vkey); err == nil {
		t.Error("another platform's log passed")
	}
}

func FuzzParse(f *testing.F) {
	file, _, _ := receipt(f, 7, 5)
	f.Add(file)
	plain, _, _ := plainProof(3, 1)
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := proof.Parse(data)
		if err != nil {
			return
		}
		if d := cmp.Diff(data, p.Marshal()); d != "" {
			t.Errorf("read and written again (-read +written):\n%s", d)
		}
		if r, err := proof.ParseReceipt(data); err == nil && !bytes.Equal(r.Marshal(), data) {
			t.Error("a receipt has two spellings")
		}
	})
}

func FuzzVerifyReceipt(f *testing.F) {
	file, leaf, vkey := receipt(f, 7, 5)
	f.Add(file, leaf)
	f.Fuzz(func(t *testing.T, data, entry []byte) {
		if _, err := proof.VerifyReceipt(data, entry, vkey); err == nil && (!bytes.Equal(data, file) || !bytes.Equal(entry, leaf)) {
			t.Error("forged")
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := proof.ParseCheckpoint(text); err == nil && string(c.AppendText(nil)) != text {
			t.Errorf("%q was read as %+v", text, c)
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add(proof.Commit{Seq: 1, Time: 2, Heads: 3}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := proof.ParseCommit(b); err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Errorf("%x was read as %+v", b, c)
		}
	})
}
