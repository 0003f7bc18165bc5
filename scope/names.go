package scope

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

// names gives the pseudonyms of one log dense ordinals from 1 on, in the order in which they first came. 0 is nobody.
//
// Its file has a row of 24 bytes for each: the pseudonym and the index of the entry in which it first came, big endian.
type names struct {
	fs   disk.FS
	path string

	keys  []ledger.Pseudonym // of ordinal-1
	first []uint64           // where ordinal-1 came first
	slots []uint32           // open addressing by the pseudonym's first bytes, which are as good as random; 0 is free

	file  disk.File // nil until something is saved
	saved int       // rows in the file
	sum   hash.Hash // over the saved rows
}

const nameRow = 24

var errNames = errors.New("a file of names is not what was written")

func newNames(fsys disk.FS, path string) *names {
	return &names{fs: fsys, path: path, slots: make([]uint32, 64), sum: sha256.New()}
}

// find returns the ordinal of a pseudonym, 0 if it has none.
func (n *names) find(p ledger.Pseudonym) uint32 {
	mask := uint64(len(n.slots) - 1)
	for at := binary.LittleEndian.Uint64(p[:]) & mask; ; at = (at + 1) & mask {
		o := n.slots[at]
		if o == 0 || n.keys[o-1] == p {
			return o
		}
	}
}

// add returns the ordinal of a pseudonym and gives it one if it has none.
func (n *names) add(p ledger.Pseudonym, index uint64) uint32 {
	if p == (ledger.Pseudonym{}) {
		return 0
	}
	if o := n.find(p); o != 0 {
		return o
	}
	n.keys, n.first = append(n.keys, p), append(n.first, index)
	if 4*len(n.keys) > 3*len(n.slots) {
		n.slots = make([]uint32, 2*len(n.slots))
		for i := range n.keys {
			n.put(uint32(i + 1))
		}
	} else {
		n.put(uint32(len(n.keys)))
	}
	return uint32(len(n.keys))
}

func (n *names) put(o uint32) {
	mask := uint64(len(n.slots) - 1)
	at := binary.LittleEndian.Uint64(n.keys[o-1][:]) & mask
	for n.slots[at] != 0 {
		at = (at + 1) & mask
	}
	n.slots[at] = o
}

// save makes all rows durable and returns their digest.
func (n *names) save() (rows int, digest [32]byte, err error) {
	if n.saved < len(n.keys) {
		if err := n.write(); err != nil {
			return 0, digest, fmt.Errorf("couldn't save %s: %w", n.path, err)
		}
	}
	n.sum.Sum(digest[:0])
	return n.saved, digest, nil
}

func (n *names) write() (err error) {
	if n.file == nil {
		if n.file, err = n.fs.Create(n.path); err != nil {
			return err
		}
		if err := n.fs.SyncDir(filepath.Dir(n.path)); err != nil {
			return err
		}
	}
	b := make([]byte, 0, nameRow*(len(n.keys)-n.saved))
	for i := n.saved; i < len(n.keys); i++ {
		b = append(b, n.keys[i][:]...)
		b = binary.BigEndian.AppendUint64(b, n.first[i])
	}
	if _, err := n.file.WriteAt(b, int64(n.saved)*nameRow); err != nil {
		return err
	}
	if err := n.file.Sync(); err != nil {
		return err
	}
	_, _ = n.sum.Write(b)
	n.saved = len(n.keys)
	return nil
}

// load reads as many rows as the newest segments know of and compares their digest. Rows behind them are cut off: what they
// stand for is read from the ledger again.
func (n *names) load(rows int, digest [32]byte) error {
	if rows == 0 {
		return nil
	}
	f, err := n.fs.Open(n.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errNames
		}
		return err
	}
	n.file = f
	for n.saved < rows {
		b := make([]byte, nameRow*min(rows-n.saved, 1<<16))
		if _, err := f.ReadAt(b, int64(n.saved)*nameRow); err != nil {
			return fmt.Errorf("%w: %s ends too early", errNames, n.path)
		}
		_, _ = n.sum.Write(b)
		for ; len(b) > 0; b = b[nameRow:] {
			n.add(ledger.Pseudonym(b), binary.BigEndian.Uint64(b[16:]))
			n.saved++
		}
	}
	if [32]byte(n.sum.Sum(nil)) != digest || len(n.keys) != rows {
		return fmt.Errorf("%w: %s", errNames, n.path)
	}
	return f.Truncate(int64(rows) * nameRow)
}

func (n *names) close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}
