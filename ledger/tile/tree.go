// Package tile is the arithmetic of RFC 6962 Merkle trees that grow by batches, and the names of their tiles.
//
// It promises the hashes of RFC 6962 §2.1 (SHA-256) and the tile coordinates of C2SP tlog-tiles (tile height 8). It keeps
// no files and no keys; everything in it is immutable once made, so that many goroutines may share it.
package tile

import (
	"crypto/sha256"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash of a leaf or node.
type Hash = tlog.Hash

// Leaf hashes one entry: SHA-256(0x00 || entry) (RFC 6962 §2.1).
func Leaf(entry []byte) Hash {
	var buf [512]byte
	b := append(buf[:0], 0)
	return sha256.Sum256(append(b, entry...))
}

// Node hashes two children: SHA-256(0x01 || left || right) (RFC 6962 §2.1).
func Node(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// Tree is all that is needed to extend a tree: its size in leaves and the roots of its complete subtrees, largest
// (leftmost) first. The zero value is the empty tree. Peaks are never changed in place.
type Tree struct {
	Size  uint64
	Peaks []Hash // one for each bit set in Size
}

// Root returns the tree's root; that of the empty tree is SHA-256 of nothing.
func (t Tree) Root() Hash {
	if t.Size == 0 {
		return sha256.Sum256(nil)
	}
	return fold(t.Peaks)
}

// fold joins complete subtrees, largest first, to the root over them.
func fold(peaks []Hash) Hash {
	h := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		h = Node(peaks[i], h)
	}
	return h
}

// peak returns the peak of the given height, which must be one of the tree's.
func (t Tree) peak(height int) Hash {
	return t.Peaks[bits.OnesCount64(t.Size>>(height+1))]
}

// Span is one growth step of a tree: every complete node that came into being by it. With the peaks of the tree before
// it holds all that inclusion proofs of the added leaves need.
type Span struct {
	Old, New Tree
	Root     Hash   // of New
	nodes    []Hash // height 0 first; at height h the nodes [Old.Size>>h, New.Size>>h)
}

// Grow appends leaf hashes to a tree.
func Grow(old Tree, leaves []Hash) *Span {
	peaks, nodes := room(old, len(leaves))
	s := &Span{}
	s.grow(old, leaves, make([]Hash, peaks), make([]Hash, 0, nodes))
	return s
}

// GrowAll appends leaf hashes to several trees and fills in a span for each. The spans share their memory, and the trees that
// come out of them share theirs.
func GrowAll(spans []Span, old []Tree, leaves [][]Hash) {
	peaks, nodes := 0, 0
	for i := range old {
		p, n := room(old[i], len(leaves[i]))
		peaks, nodes = peaks+p, nodes+n
	}
	allPeaks, allNodes := make([]Hash, peaks), make([]Hash, nodes) // trees outlive spans
	for i := range spans {
		p, n := room(old[i], len(leaves[i]))
		spans[i].grow(old[i], leaves[i], allPeaks[:p:p], allNodes[:0:n])
		allPeaks, allNodes = allPeaks[p:], allNodes[n:]
	}
}

// room returns how many peaks a grown tree has and how many complete nodes come into being.
func room(old Tree, leaves int) (peaks, nodes int) {
	n := old.Size + uint64(leaves)
	for h := 0; n>>h > 0; h++ {
		nodes += int(n>>h - old.Size>>h)
	}
	return bits.OnesCount64(n), nodes
}

func (s *Span) grow(old Tree, leaves, peaks, nodes []Hash) {
	n := old.Size + uint64(len(leaves))
	s.Old, s.New, s.nodes = old, Tree{n, peaks}, append(nodes, leaves...)
	below := s.nodes
	for h := 1; n>>h > 0; h++ {
		first, end, belowFirst := old.Size>>h, n>>h, old.Size>>(h-1)
		at := len(s.nodes)
		for j := first; j < end; j++ {
			var left Hash
			if 2*j < belowFirst {
				left = old.peak(h - 1)
			} else {
				left = below[2*j-belowFirst]
			}
			s.nodes = append(s.nodes, Node(left, below[2*j+1-belowFirst]))
		}
		below = s.nodes[at:]
	}
	i := 0
	for h := bits.Len64(n) - 1; h >= 0; h-- {
		if n>>h&1 == 1 {
			s.New.Peaks[i] = s.node(h, n>>h-1)
			i++
		}
	}
	s.Root = s.New.Root()
}

// Level returns the complete nodes at a height that the span added, and the index of the first.
func (s *Span) Level(height int) (first uint64, nodes []Hash) {
	at := 0
	for h := range height {
		at += int(s.New.Size>>h - s.Old.Size>>h)
	}
	first = s.Old.Size >> height
	return first, s.nodes[at : at+int(s.New.Size>>height-first)]
}

// node returns a complete node that the span added or that is a peak of the tree before it.
func (s *Span) node(height int, index uint64) Hash {
	first, nodes := s.Level(height)
	if index < first {
		return s.Old.peak(height)
	}
	return nodes[index-first]
}

// Path returns the inclusion proof of an added leaf in the tree after the span, leaf sibling first (RFC 6962 §2.1.1).
// The index must lie in [Old.Size, New.Size).
func (s *Span) Path(index uint64) []Hash {
	var path []Hash
	n := s.New.Size
	for h := 0; (n-1)>>h > 0; h++ {
		j, last := index>>h, (n-1)>>h
		switch {
		case j&1 == 1:
			path = append(path, s.node(h, j-1))
		case j+1 < last:
			path = append(path, s.node(h, j+1))
		case j+1 == last:
			path = append(path, s.edge(h))
		}
	}
	return path
}

// edge returns the rightmost node at a height, complete or not.
func (s *Span) edge(height int) Hash {
	n := s.New.Size
	if n&(1<<height-1) == 0 {
		return s.node(height, n>>height-1)
	}
	return fold(s.New.Peaks[bits.OnesCount64(n>>height):])
}
