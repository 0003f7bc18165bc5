package scope

import (
	"errors"
	"math/bits"

	"github.com/querschott/querschott/ledger/tile"
)

// split is the largest power of two below n (RFC 6962 2.1).
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// rootOf returns the root over leaf hashes.
func rootOf(leaves []tile.Hash) tile.Hash {
	switch n := uint64(len(leaves)); n {
	case 0:
		return tile.Tree{}.Root()
	case 1:
		return leaves[0]
	default:
		k := split(n)
		return tile.Node(rootOf(leaves[:k]), rootOf(leaves[k:]))
	}
}

// rangePath returns the hashes that lead from the leaves [lo, hi) to the root, from left to right.
func rangePath(leaves []tile.Hash, lo, hi uint64, out []tile.Hash) []tile.Hash {
	n := uint64(len(leaves))
	switch {
	case hi == 0 || lo >= n:
		return append(out, rootOf(leaves))
	case lo == 0 && hi >= n:
		return out
	}
	k := split(n)
	out = rangePath(leaves[:k], min(lo, k), min(hi, k), out)
	return rangePath(leaves[k:], max(lo, k)-k, max(hi, k)-k, out)
}

var errRange = errors.New("the path doesn't fit the leaves")

// rangeRoot follows a path of rangePath from the leaves that begin at lo to the root of a tree of n leaves. Nothing may be
// left over.
func rangeRoot(n, lo uint64, leaves, path []tile.Hash) (tile.Hash, error) {
	count := uint64(len(leaves))
	if n == 0 || count == 0 || lo >= n || count > n-lo {
		return tile.Hash{}, errRange
	}
	c := climber{leaves: leaves, path: path}
	h := c.climb(n, lo, lo+count)
	if c.bad || len(c.leaves) > 0 || len(c.path) > 0 {
		return tile.Hash{}, errRange
	}
	return h, nil
}

type climber struct {
	leaves, path []tile.Hash
	bad          bool
}

func (c *climber) climb(n, lo, hi uint64) tile.Hash {
	switch {
	case hi == 0 || lo >= n:
		return c.take(&c.path)
	case n == 1:
		return c.take(&c.leaves)
	}
	k := split(n)
	left := c.climb(k, min(lo, k), min(hi, k))
	right := c.climb(n-k, max(lo, k)-k, max(hi, k)-k)
	return tile.Node(left, right)
}

func (c *climber) take(from *[]tile.Hash) (h tile.Hash) {
	if len(*from) == 0 {
		c.bad = true
		return h
	}
	h = (*from)[0]
	*from = (*from)[1:]
	return h
}
