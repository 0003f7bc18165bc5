package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/querschott/querschott/ledger/tile"
)

const header = "c2sp.org/tlog-proof@v1\n"

// Proof says that an entry stands in a log (C2SP tlog-proof).
type Proof struct {
	Extra      []byte // nil: no extra line. Not covered by the checkpoint
	Index      uint64
	Path       []tile.Hash // leaf sibling first
	Checkpoint []byte      // signed note
}

// Marshal writes the proof file.
func (p *Proof) Marshal() []byte {
	b := make([]byte, 0, len(header)+len(p.Extra)*4/3+45*len(p.Path)+len(p.Checkpoint)+64)
	b = append(b, header...)
	if p.Extra != nil {
		b = base64.StdEncoding.AppendEncode(append(b, "extra "...), p.Extra)
		b = append(b, '\n')
	}
	b = strconv.AppendUint(append(b, "index "...), p.Index, 10)
	b = append(b, '\n')
	for _, h := range p.Path {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// Parse reads a proof file. It accepts exactly what Marshal writes, with any signed note behind the empty line, and
// judges no signature.
func Parse(data []byte) (*Proof, error) {
	rest, ok := strings.CutPrefix(string(data), header)
	if !ok {
		return nil, errors.New("not a tlog-proof: the first line is missing")
	}
	p := &Proof{}
	var err error
	if after, ok := strings.CutPrefix(rest, "extra "); ok {
		var line string
		line, rest, _ = strings.Cut(after, "\n")
		if p.Extra, err = strict(line); err != nil {
			return nil, fmt.Errorf("couldn't read a tlog-proof's extra data: %w", err)
		}
	}
	line, rest, _ := strings.Cut(rest, "\n")
	if p.Index, err = strconv.ParseUint(strings.TrimPrefix(line, "index "), 10, 63); err != nil {
		return nil, errors.New("a tlog-proof has no index line")
	}
	for {
		line, after, ok := strings.Cut(rest, "\n")
		rest = after
		if line == "" && ok {
			break
		}
		h, err := parseHash(line)
		if err != nil || len(p.Path) == 63 {
			return nil, errors.New("a tlog-proof's path is malformed")
		}
		p.Path = append(p.Path, h)
	}
	p.Checkpoint = []byte(rest)
	if !bytes.Equal(p.Marshal(), data) {
		return nil, errors.New("a tlog-proof is not in its one spelling")
	}
	return p, nil
}

// Verify checks that the entry with this leaf hash stands in the log that the verifier is for, and returns the head
// under which it does.
func (p *Proof) Verify(leaf tile.Hash, v note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, v)
	if err != nil {
		return Checkpoint{}, err
	}
	root, err := rootFrom(leaf, p.Index, c.Size, p.Path)
	if err != nil {
		return Checkpoint{}, err
	}
	if root != c.Root {
		return Checkpoint{}, errors.New("the proof doesn't lead from the entry to the checkpoint")
	}
	return c, nil
}

// Verify checks a proof file of an entry against the verifier key of the entry's log.
func Verify(file, entry []byte, vkey string) (Checkpoint, error) {
	v, err := NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, err
	}
	p, err := Parse(file)
	if err != nil {
		return Checkpoint{}, err
	}
	return p.Verify(tile.Leaf(entry), v)
}

// CheckConsistency checks that a log of the newer head begins with the log of the older one (RFC 6962 §2.1.2).
func CheckConsistency(older, newer Checkpoint, path []tile.Hash) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("heads of two logs: %q and %q", older.Origin, newer.Origin)
	}
	if older.Size == 0 || older.Size == newer.Size {
		same := older.Size == 0 && older.Root == (tile.Tree{}).Root() || older == newer
		if !same || len(path) > 0 {
			return errors.New("the two heads are not consistent")
		}
		return nil
	}
	if older.Size > newer.Size {
		return errors.New("the older head is larger than the newer one")
	}
	err := tlog.CheckTree(slices.Clone(path), int64(newer.Size), newer.Root, int64(older.Size), older.Root)
	if err != nil {
		return fmt.Errorf("the two heads are not consistent: %w", err)
	}
	return nil
}

// rootFrom follows an inclusion path from a leaf to the root (RFC 9162 §2.1.3.2).
func rootFrom(leaf tile.Hash, index, size uint64, path []tile.Hash) (tile.Hash, error) {
	if index >= size {
		return tile.Hash{}, errors.New("the entry's index lies outside the tree")
	}
	h, last := leaf, size-1
	for _, p := range path {
		if last == 0 {
			return tile.Hash{}, errors.New("the path is too long")
		}
		if index&1 == 1 || index == last {
			h = tile.Node(p, h)
			for index&1 == 0 && index != 0 {
				index, last = index>>1, last>>1
			}
		} else {
			h = tile.Node(h, p)
		}
		index, last = index>>1, last>>1
	}
	if last != 0 {
		return tile.Hash{}, errors.New("the path is too short")
	}
	return h, nil
}
