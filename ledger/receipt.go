package ledger

import (
	"crypto/ed25519"
	"time"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// commit is one group commit as its receipts share it. It never changes.
type commit struct {
	proof.Commit
	signer *proof.Signer // of the log of commits
	index  uint64        // in it
	heads  *tile.Span    // the tree over the touched heads
	chain  *tile.Span    // the growth of the log of commits: one leaf
	sig    [ed25519.SignatureSize]byte
}

// Receipt says where an entry stands, and proves it. It holds on to the hashes of the commit that the entry came in, so
// keep what Marshal returns rather than the receipt.
type Receipt struct {
	Origin string
	Index  uint64

	commit *commit
	span   *tile.Span // the growth of the entry's log
	head   uint32     // position of that log among the commit's heads
	leaf   [LeafSize]byte
}

// Time is when the commit was made.
func (r *Receipt) Time() time.Time { return time.UnixMicro(r.commit.Commit.Time).UTC() }

// Leaf returns the entry's leaf, which whoever verifies the receipt needs.
func (r *Receipt) Leaf() []byte { return append([]byte(nil), r.leaf[:]...) }

// Marshal returns the receipt as a tlog-proof file for [proof.VerifyReceipt].
func (r *Receipt) Marshal() []byte {
	c := r.commit
	out := proof.Receipt{
		Origin: r.Origin, Index: r.Index, Size: r.span.New.Size, Path: r.span.Path(r.Index),
		Commit: c.Commit, Head: r.head, HeadPath: c.heads.Path(uint64(r.head)),
		CommitIndex: c.index, CommitPath: c.chain.Path(c.index),
		Checkpoint: c.signer.Note(c.chain.New.Size, c.chain.Root, c.sig),
	}
	return out.Marshal()
}

// VKey returns the key that the receipt is verified with: that of the log of commits.
func (r *Receipt) VKey() string { return r.commit.signer.VKey() }
