package disk

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// TestLockedChangesAreNotLost counts in a file by many goroutines, each with a lock of its own, as commands do.
func TestLockedChangesAreNotLost(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "count")
	if err := WriteFile(OS{}, name, []byte("0")); err != nil {
		t.Fatal(err)
	}
	count := func() error {
		release, err := Lock(dir)
		if err != nil {
			return err
		}
		data, err := ReadFile(OS{}, name, 10)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(data))
		if err != nil {
			return err
		}
		if err := WriteFile(OS{}, name, []byte(strconv.Itoa(n+1))); err != nil {
			return err
		}
		return release()
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := count(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if data, err := os.ReadFile(name); err != nil || string(data) != "50" {
		t.Errorf("counted %s, want 50: %v", data, err)
	}
	if _, err := Lock(name + ".not"); err == nil {
		t.Error("a directory that is not there was locked")
	}
}

// TestReadFileThatMayOnlyBeRead reads what the administrator keeps writable by himself only.
func TestReadFileThatMayOnlyBeRead(t *testing.T) {
	const kernel = "/proc/sys/kernel/osrelease" // not even root may write it
	if _, err := os.Stat(kernel); err != nil {
		t.Skip(err)
	}
	if f, err := (OS{}).Open(kernel); err == nil {
		_ = f.Close()
		t.Skip(kernel, "can be written here")
	}
	if _, err := ReadFile(OS{}, kernel, 1<<10); err != nil {
		t.Error(err)
	}
	if _, err := ReadFile(OS{}, filepath.Join(t.TempDir(), "missing"), 1); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}
