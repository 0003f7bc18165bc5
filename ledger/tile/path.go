package tile

import (
	"fmt"
	"strconv"
)

// Width is the number of hashes in a full tile, and of entries in a full bundle.
const Width = 256

// Height is the number of tree levels in a tile.
const Height = 8

// Ref names one tile or entry bundle of a log.
type Ref struct {
	Level   int // 0 and up
	Entries bool
	N       uint64
	W       int // 1 to 256; under 256 for a partial tile
}

// Path returns the resource's path below the log's prefix (C2SP tlog-tiles).
func (r Ref) Path() string {
	level := "entries"
	if !r.Entries {
		level = strconv.Itoa(r.Level)
	}
	n := fmt.Sprintf("%03d", r.N%1000)
	for rest := r.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	if r.W < Width {
		n += fmt.Sprintf(".p/%d", r.W)
	}
	return "tile/" + level + "/" + n
}

// Set calls fn for every tile and bundle that a log of the given size serves: all full ones, and one partial one at each
// level that has a rest.
func Set(size uint64, fn func(Ref) error) error {
	refs := func(r Ref, count uint64) error {
		for r.N = range count / Width {
			r.W = Width
			if err := fn(r); err != nil {
				return err
			}
		}
		if rest := count % Width; rest > 0 {
			r.N, r.W = count/Width, int(rest)
			return fn(r)
		}
		return nil
	}
	if err := refs(Ref{Entries: true}, size); err != nil {
		return err
	}
	for level := 0; size>>(Height*level) > 0; level++ {
		if err := refs(Ref{Level: level}, size>>(Height*level)); err != nil {
			return err
		}
	}
	return nil
}
