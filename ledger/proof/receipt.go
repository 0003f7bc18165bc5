package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/querschott/querschott/ledger/tile"
)

// Receipt says that an entry stands in one insurer's log under a head that a signed commit covers. Its file is a
// tlog-proof of the commit in the log of commits. The extra data holds the way from the commit to the entry; nothing in
// it has to be trusted, because all of it is hashed into the commit.
type Receipt struct {
	Origin string // of the insurer's log
	Index  uint64 // of the entry in it
	Size   uint64 // of that log under the commit
	Path   []tile.Hash
	Root   tile.Hash // of that log at Size; not in the file, because it follows from the rest. Set by VerifyReceipt

	Commit   Commit
	Head     uint32 // position of the log's head among the commit's heads
	HeadPath []tile.Hash

	CommitIndex uint64 // of the commit in the log of commits
	CommitPath  []tile.Hash
	Checkpoint  []byte // signed note of the log of commits
}

const receiptVersion = 1

// Marshal writes the receipt as a tlog-proof file.
//
// Extra data, big endian: version 1, origin (uint8 length), index, size (uint64), path (uint8 count, 32 bytes each),
// the commit's sequence (uint64), time (int64) and heads (uint32), position of the head (uint32), its path (uint8
// count, 32 bytes each). The commit's root is not in it: it follows from the rest.
func (r *Receipt) Marshal() []byte {
	be := binary.BigEndian
	x := []byte{receiptVersion, byte(len(r.Origin))}
	x = append(x, r.Origin...)
	x = be.AppendUint64(be.AppendUint64(x, r.Index), r.Size)
	x = appendPath(x, r.Path)
	x = be.AppendUint64(be.AppendUint64(x, r.Commit.Seq), uint64(r.Commit.Time))
	x = be.AppendUint32(be.AppendUint32(x, r.Commit.Heads), r.Head)
	x = appendPath(x, r.HeadPath)
	p := Proof{Extra: x, Index: r.CommitIndex, Path: r.CommitPath, Checkpoint: r.Checkpoint}
	return p.Marshal()
}

func appendPath(b []byte, path []tile.Hash) []byte {
	b = append(b, byte(len(path)))
	for _, h := range path {
		b = append(b, h[:]...)
	}
	return b
}

// ParseReceipt reads a receipt and judges nothing; Commit.Root is left zero.
func ParseReceipt(file []byte) (*Receipt, error) {
	p, err := Parse(file)
	if err != nil {
		return nil, err
	}
	r := &Receipt{CommitIndex: p.Index, CommitPath: p.Path, Checkpoint: p.Checkpoint}
	x := p.Extra
	take := func(n int) []byte {
		if len(x) < n {
			x = nil
			return make([]byte, n) // the length of what Marshal writes gives it away below
		}
		b := x[:n]
		x = x[n:]
		return b
	}
	path := func() []tile.Hash {
		out := make([]tile.Hash, take(1)[0])
		for i := range out {
			out[i] = tile.Hash(take(len(out[i])))
		}
		return out
	}
	be := binary.BigEndian
	if take(1)[0] != receiptVersion {
		return nil, errors.New("not a receipt of the ledger")
	}
	r.Origin = string(take(int(take(1)[0])))
	r.Index, r.Size = be.Uint64(take(8)), be.Uint64(take(8))
	r.Path = path()
	r.Commit.Seq, r.Commit.Time = be.Uint64(take(8)), int64(be.Uint64(take(8)))
	r.Commit.Heads, r.Head = be.Uint32(take(4)), be.Uint32(take(4))
	r.HeadPath = path()
	if string(r.Marshal()) != string(file) {
		return nil, errors.New("a receipt's extra data is malformed")
	}
	return r, nil
}

// VerifyReceipt checks, offline, that the entry (the leaf's bytes) stands in the log that the receipt names, under a
// head signed with the verifier key of the log of commits. It returns the receipt with everything in it proved. The
// caller compares Origin with the insurer that it expects.
func VerifyReceipt(file, entry []byte, vkey string) (*Receipt, error) {
	v, err := NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	r, err := ParseReceipt(file)
	if err != nil {
		return nil, err
	}
	domain, _, ok := strings.Cut(v.Name(), "/ledger/commits/")
	if !ok {
		return nil, errors.New("the verifier key is not that of a log of commits")
	}
	if !strings.HasPrefix(r.Origin, domain+"/ledger/") {
		return nil, fmt.Errorf("a log %q is not of %q", r.Origin, domain)
	}
	root, err := rootFrom(tile.Leaf(entry), r.Index, r.Size, r.Path)
	if err != nil {
		return nil, fmt.Errorf("couldn't follow the path to the insurer's head: %w", err)
	}
	r.Root = root
	head := HeadLeaf(r.Origin, r.Size, root)
	r.Commit.Root, err = rootFrom(head, uint64(r.Head), uint64(r.Commit.Heads), r.HeadPath)
	if err != nil {
		return nil, fmt.Errorf("couldn't follow the path to the commit: %w", err)
	}
	p := Proof{Index: r.CommitIndex, Path: r.CommitPath, Checkpoint: r.Checkpoint}
	if _, err := p.Verify(tile.Leaf(r.Commit.Bytes()), v); err != nil {
		return nil, err
	}
	return r, nil
}
