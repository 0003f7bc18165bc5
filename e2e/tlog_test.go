//go:build e2e

package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tileDir reads an exported log as x/mod's tlog wants it. In C2SP tlog-tiles the height is always 8 and is not part of
// the path.
type tileDir string

func (tileDir) Height() int                     { return 8 }
func (tileDir) SaveTiles([]tlog.Tile, [][]byte) {}
func (d tileDir) read(t tlog.Tile) ([]byte, error) {
	path := strings.Replace(t.Path(), "tile/8/data/", "tile/entries/", 1)
	return os.ReadFile(filepath.Join(string(d), filepath.FromSlash(strings.Replace(path, "tile/8/", "tile/", 1))))
}

func (d tileDir) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, t := range tiles {
		var err error
		if data[i], err = d.read(t); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// acceptedByTlog has x/mod's tlog, the checksum database's own reader, judge an exported log: the checkpoint's signature,
// the tree above every entry, and the entries themselves. It returns their number.
func acceptedByTlog(dir, origin, vkey string) (int64, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, err
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return 0, err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return 0, err
	}
	var said string
	var tree tlog.Tree
	var root string
	if _, err := fmt.Sscanf(n.Text, "%s\n%d\n%s\n", &said, &tree.N, &root); err != nil {
		return 0, fmt.Errorf("couldn't read the checkpoint %q: %w", n.Text, err)
	}
	if said != origin {
		return 0, fmt.Errorf("the checkpoint is one of %s, not of %s", said, origin)
	}
	if tree.Hash, err = tlog.ParseHash(root); err != nil {
		return 0, err
	}
	hashes := tlog.TileHashReader(tree, tileDir(dir))
	for at := int64(0); at < tree.N; {
		width := min(tree.N-at, 256)
		bundle, err := tileDir(dir).read(tlog.Tile{H: 8, L: -1, N: at / 256, W: int(width)})
		if err != nil {
			return 0, err
		}
		for end := at + width; at < end; at++ {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return 0, fmt.Errorf("entry %d is cut off", at)
			}
			size := int(binary.BigEndian.Uint16(bundle))
			stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, at)})
			if err != nil {
				return 0, err
			}
			if stored[0] != tlog.RecordHash(bundle[2:2+size]) {
				return 0, fmt.Errorf("entry %d is not what the tree holds", at)
			}
			bundle = bundle[2+size:]
		}
		if len(bundle) > 0 {
			return 0, fmt.Errorf("%d bytes follow entry %d", len(bundle), at-1)
		}
	}
	return tree.N, nil
}

// acceptedByTessera has Tessera's fsck, in its own module, judge exported logs: <dir>/<n> with the key in <dir>/<n>.vkey.
func acceptedByTessera(t *testing.T, dir string) {
	t.Helper()
	module := filepath.Join("tessera", "go.mod")
	if _, err := os.Stat(module); err != nil {
		t.Fatal(err)
	}
	cmd := goTest(t, "tessera", "^TestLogs$")
	cmd.Env = append(os.Environ(), "QUERSCHOTT_LOGS="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLogs") {
		t.Errorf("Tessera's fsck: %v\n%s", err, out)
	}
}
