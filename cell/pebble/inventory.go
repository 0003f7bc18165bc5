package pebble

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/querschott/querschott/cell"
)

// The engine takes a manifest that was cut short for one that a crash interrupted, and goes on with less. So a store that
// was closed, and a checkpoint, hold an inventory: every file with its size and checksum. Open checks and removes it. A
// store that crashed has none, and there a cut manifest cannot be told from an interrupted one.
const (
	inventoryName = "INVENTORY"
	inventoryTemp = inventoryName + ".new"
)

// takeInventory lists the files in dir, one "name size checksum" a line.
func takeInventory(disk vfs.FS, dir string) (string, error) {
	names, err := disk.List(dir)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	slices.Sort(names)
	for _, name := range names {
		if name == "LOCK" || strings.HasPrefix(name, inventoryName) {
			continue
		}
		st, err := disk.Stat(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if st.IsDir() {
			continue
		}
		sum, err := checksum(disk, filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s %d %08x\n", name, st.Size(), sum)
	}
	return out.String(), nil
}

// checksum returns the CRC-32C of a file, 0 of a table: the engine checks those itself, block by block.
func checksum(disk vfs.FS, name string) (uint32, error) {
	if filepath.Ext(name) == ".sst" {
		return 0, nil
	}
	f, err := disk.Open(name)
	if err != nil {
		return 0, err
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, err = io.Copy(h, f)
	return h.Sum32(), errors.Join(err, f.Close())
}

// writeInventory makes the inventory durable; the files must not change afterwards.
func writeInventory(disk vfs.FS, dir string) error {
	list, err := takeInventory(disk, dir)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, inventoryTemp)
	f, err := disk.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(list))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(temp, filepath.Join(dir, inventoryName)); err != nil {
		return err
	}
	return syncDir(disk, dir)
}

// checkInventory compares the directory with its inventory, if it has one, and removes the inventory.
func checkInventory(disk vfs.FS, dir string) error {
	f, err := disk.Open(filepath.Join(dir, inventoryName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	got, err := takeInventory(disk, dir)
	if err != nil {
		return err
	}
	if err := compareInventory(string(want), got); err != nil {
		return err
	}
	if err := disk.Remove(filepath.Join(dir, inventoryName)); err != nil {
		return err
	}
	return syncDir(disk, dir)
}

func compareInventory(want, got string) error {
	for line := range strings.Lines(want) {
		if !strings.Contains("\n"+got, "\n"+line) {
			return fmt.Errorf("%w: %s is missing (name, bytes, CRC)", cell.ErrDamaged, strings.TrimSpace(line))
		}
	}
	for line := range strings.Lines(got) {
		if !strings.Contains("\n"+want, "\n"+line) {
			return fmt.Errorf("%w: %s is unknown (name, bytes, CRC)", cell.ErrDamaged, strings.TrimSpace(line))
		}
	}
	return nil
}

func syncDir(disk vfs.FS, dir string) error {
	d, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
