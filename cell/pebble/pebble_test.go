package pebble_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/cell/pebble"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, dir string, o pebble.Options) *pebble.Store {
	t.Helper()
	s, err := pebble.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s cell.Store, key, value string) {
	t.Helper()
	var b cell.Batch
	b.Put([]byte(key), []byte(value))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	shared := pebble.NewShared(8<<20, 100)
	defer shared.Close()
	celltest.Run(t, func(t *testing.T) cell.Store {
		return open(t, t.TempDir(), pebble.Options{Shared: shared})
	})
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cells", "109500969")
	s := open(t, dir, pebble.Options{})
	put(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v; want mode 0700", st, err)
	}
	s = open(t, dir, pebble.Options{MustExist: true})
	defer s.Close()
	if v, err := s.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("after reopening: %q, %v", v, err)
	}
	if s.Size() <= 0 {
		t.Errorf("Size = %d", s.Size())
	}
	if _, err := pebble.Open(dir, pebble.Options{}); err == nil || errors.Is(err, cell.ErrDamaged) {
		t.Errorf("a second opening of the same directory: %v, want an error about the lock", err)
	}
}

func TestCheckpoint(t *testing.T) {
	base := t.TempDir()
	s := open(t, filepath.Join(base, "cell"), pebble.Options{})
	defer s.Close()
	put(t, s, "before", "1")
	backup := filepath.Join(base, "backup")
	if err := s.Checkpoint(backup); err != nil {
		t.Fatal(err)
	}
	put(t, s, "after", "2")
	if err := s.Checkpoint(backup); err == nil {
		t.Error("a checkpoint went into a directory that exists")
	}
	copied := filepath.Join(base, "copied")
	if err := os.CopyFS(copied, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	logs, _ := filepath.Glob(filepath.Join(copied, "*.log"))
	if err := os.Remove(logs[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open(copied, pebble.Options{}); !errors.Is(err, cell.ErrDamaged) {
		t.Errorf("a backup that was copied in part: %v", err)
	}
	b := open(t, backup, pebble.Options{MustExist: true})
	defer b.Close()
	if got := celltest.Dump(t, b, nil, nil); len(got) != 1 || got[0].Key != "before" {
		t.Errorf("the checkpoint holds %v", got)
	}
}

// acked is what writers got an acknowledgement for.
type acked struct {
	mu   sync.Mutex
	keys []string
}

func (a *acked) add(k string) { a.mu.Lock(); a.keys = append(a.keys, k); a.mu.Unlock() }

func (a *acked) snapshot() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.keys...)
}

// write commits pairs of keys until the store fails or stop is closed, and returns the failure.
func write(s cell.Store, w int, a *acked, stop <-chan struct{}) error {
	value := bytes.Repeat([]byte{byte(w)}, 2000)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		k := fmt.Sprintf("%02d/%06d", w, i)
		var b cell.Batch
		b.Put([]byte("a/"+k), value)
		b.Put([]byte("b/"+k), value)
		if err := s.Commit(&b); err != nil {
			return err
		}
		a.add(k)
	}
}

// checkSurvivors opens a disk after a crash: everything acknowledged is there and no batch is there by half.
func checkSurvivors(t *testing.T, fs vfs.FS, want []string) {
	t.Helper()
	s := open(t, "cell", pebble.Options{FS: fs, Logger: quiet, MustExist: true})
	defer s.Close()
	a, b := map[string]bool{}, map[string]bool{}
	for _, p := range celltest.Dump(t, s, nil, nil) {
		if k, ok := strings.CutPrefix(p.Key, "a/"); ok {
			a[k] = true
		} else {
			b[strings.TrimPrefix(p.Key, "b/")] = true
		}
	}
	for _, k := range want {
		if !a[k] || !b[k] {
			t.Fatalf("%s was acknowledged and is lost", k)
		}
	}
	if len(a) != len(b) {
		t.Errorf("half a batch survived: %d and %d keys", len(a), len(b))
	}
	for k := range a {
		if !b[k] {
			t.Errorf("half a batch survived: %s", k)
		}
	}
}

// TestAcknowledgedCommitsSurviveCrashes takes the disk away while eight writers commit, looks at what is left and goes on
// on it.
func TestAcknowledgedCommitsSurviveCrashes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var a acked
	rng := rand.New(rand.NewPCG(1, 2))
	for crash := range 9 {
		s := open(t, "cell", pebble.Options{FS: fs, Logger: quiet})
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				if err := write(s, 8*crash+w, &a, stop); err != nil {
					t.Error(err)
				}
			})
		}
		waitFor(&a, (crash+1)*250)
		want := a.snapshot()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: crash % 3 * 50, RNG: rng})
		close(stop)
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkSurvivors(t, crashed, want)
		fs, a = crashed, acked{keys: want}
	}
}

// waitFor returns when n batches are acknowledged. The writers make progress, or the test times out.
func waitFor(a *acked, n int) {
	for len(a.snapshot()) < n {
		runtime.Gosched()
	}
}

// TestFailingDiskBreaksOnlyThisStore injects errors into the files that durability depends on. Every commit must return,
// none may be acknowledged falsely, and a start on the same disk must find what was acknowledged.
func TestFailingDiskBreaksOnlyThisStore(t *testing.T) {
	match := map[string]func(errorfs.Op) bool{
		"sync of the log":  func(o errorfs.Op) bool { return is(o, ".log", errorfs.OpFileSync, errorfs.OpFileSyncData) },
		"write to the log": func(o errorfs.Op) bool { return is(o, ".log", errorfs.OpFileWrite) },
		"a new log": func(o errorfs.Op) bool {
			return is(o, ".log", errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileClose)
		},
		"manifest": func(o errorfs.Op) bool {
			return strings.Contains(o.Path, "MANIFEST") && is(o, "", errorfs.OpFileSync, errorfs.OpFileWrite)
		},
	}
	for name, m := range match {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(o errorfs.Op) error {
				if m(o) {
					return errors.New("input/output error")
				}
				return nil
			})}
			s := open(t, "cell", pebble.Options{FS: errorfs.Wrap(mem, toggle), Logger: quiet})
			var a acked
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					if err := write(s, w, &a, nil); !errors.Is(err, cell.ErrDamaged) {
						t.Errorf("the failing store says %v", err)
					}
				})
			}
			waitFor(&a, 200)
			toggle.On()
			wg.Wait()
			if _, err := s.Get([]byte("a/00/000000")); !errors.Is(err, cell.ErrDamaged) || !strings.Contains(err.Error(), "cell") {
				t.Errorf("Get on a broken store: %v", err)
			}
			if err := s.Close(); !errors.Is(err, cell.ErrDamaged) {
				t.Errorf("Close of a broken store: %v", err)
			}
			checkSurvivors(t, mem.CrashClone(vfs.CrashCloneCfg{}), a.snapshot())
		})
	}
}

func is(o errorfs.Op, suffix string, kinds ...errorfs.OpKind) bool {
	for _, k := range kinds {
		if o.Kind == k && strings.HasSuffix(o.Path, suffix) {
			return true
		}
	}
	return false
}

// TestDamage removes, cuts and alters every file of a store in turn. Opening and reading must give the whole contents or
// an error that names the directory, never less than the contents and never a panic.
func TestDamage(t *testing.T) {
	base := t.TempDir()
	pristine := filepath.Join(base, "pristine")
	s := open(t, pristine, pebble.Options{})
	for i := range 40 {
		var b cell.Batch
		b.Put(fmt.Appendf(nil, "%03d", i), bytes.Repeat([]byte{byte(i)}, 4<<10))
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Closing and opening again gives each file its last form.
	s = open(t, pristine, pebble.Options{})
	put(t, s, "last", "in the log")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(pristine)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, e := range entries {
		for _, how := range []string{"removed", "emptied", "cut", "altered"} {
			t.Run(e.Name()+" "+how, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "cell-of-109500969")
				if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
					t.Fatal(err)
				}
				damage(t, filepath.Join(dir, e.Name()), how)
				n, err := readAll(dir)
				switch {
				case err == nil && n != 41:
					t.Errorf("opened without an error, with %d of 41 keys", n)
				case err != nil && !strings.Contains(err.Error(), dir):
					t.Errorf("the error does not name the directory: %v", err)
				case err != nil:
					refused++
					t.Log(err)
				}
			})
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}

func damage(t *testing.T, file, how string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "removed":
		err = os.Remove(file)
	case "emptied":
		err = os.Truncate(file, 0)
	case "cut":
		err = os.Truncate(file, int64(len(data)/2))
	case "altered":
		for i := len(data) / 3; i < len(data)/2; i++ {
			data[i] ^= 0x55
		}
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readAll(dir string) (n int, err error) {
	s, err := pebble.Open(dir, pebble.Options{Logger: quiet, MustExist: true})
	if err != nil {
		return 0, err
	}
	err = s.Scan(nil, nil, func(_, _ []byte) error { n++; return nil })
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return n, err
}

func TestMissingStoreIsDamage(t *testing.T) {
	for name, dir := range map[string]string{"empty": t.TempDir(), "absent": filepath.Join(t.TempDir(), "gone")} {
		_, err := pebble.Open(dir, pebble.Options{MustExist: true})
		if !errors.Is(err, cell.ErrDamaged) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "restore") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil {
			t.Errorf("%s: a store was begun", name)
		}
	}
}
