package pebble

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say how stores are opened. The zero value opens a store on the machine's disk with small caches of its own.
type Options struct {
	Shared    *Shared      // caches shared with other stores; nil: own ones
	Logger    *slog.Logger // for failures of the engine's background work; nil: slog.Default()
	MustExist bool         // refuse to make a new store: a missing directory of a known insurer is damage
	FS        vfs.FS       // nil: the machine's disk
}

// Shared is what many stores of one process use together: one cache of blocks and one of open files.
type Shared struct {
	cache *pebble.Cache
	files *pebble.FileCache
}

// The sizes of caches that a store opened without Shared gets.
const (
	ownCacheBytes = 8 << 20
	ownOpenFiles  = 100
)

// NewShared makes caches for cacheBytes bytes of blocks and for openFiles open files. The block cache takes memory as it
// fills. Close it after the stores.
func NewShared(cacheBytes int64, openFiles int) *Shared {
	return &Shared{cache: pebble.NewCache(cacheBytes), files: pebble.NewFileCache(runtime.GOMAXPROCS(0), openFiles)}
}

// Close gives the caches up; their memory is freed when the last store is closed too.
func (s *Shared) Close() {
	s.files.Unref()
	s.cache.Unref()
}

// Memtables start at 256 KiB and double up to this size, so that an idle store costs little. A batch of half of it or
// more does not go through the memtable.
const memTableBytes = 2 << 20

func (o Options) engine(shared *Shared, l *engineLog) *pebble.Options {
	e := &pebble.Options{
		FS:                          o.FS,
		Cache:                       shared.cache,
		FileCache:                   shared.files,
		ErrorIfNotExists:            o.MustExist,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		MaxManifestFileSize:         4 << 20,
		Logger:                      l,
		EventListener: &pebble.EventListener{
			BackgroundError: l.backgroundError,
			DataCorruption:  l.corruption,
		},
	}
	e.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range e.Levels {
		e.Levels[i].FilterPolicy = bloomFilter
	}
	return e
}

// engineLog hears everything the engine has to say and passes on what somebody must act on.
type engineLog struct {
	dir    string
	log    *slog.Logger
	fail   func(error) // breaks the store
	last   atomic.Int64
	silent atomic.Int64 // background errors since the last one that was logged
}

// Infof drops the engine's chatter.
func (*engineLog) Infof(string, ...any) {}

// Errorf reports what the engine calls an error.
func (l *engineLog) Errorf(format string, args ...any) {
	l.log.Error("cell engine", "dir", l.dir, "err", fmt.Sprintf(format, args...))
}

// Fatalf breaks this store instead of ending the process: a disk error of one insurer must not stop the others.
func (l *engineLog) Fatalf(format string, args ...any) { l.fail(fmt.Errorf(format, args...)) }

// backgroundError reports failing flushes and compactions, at most one in ten seconds. The engine repeats failed work at
// once, so the pause keeps a full disk from taking a whole processor; the engine's lock is held meanwhile.
func (l *engineLog) backgroundError(err error) {
	const quiet, pause = 10 * time.Second, 100 * time.Millisecond
	at, last := time.Now().UnixNano(), l.last.Load()
	if at-last < int64(quiet) || !l.last.CompareAndSwap(last, at) {
		l.silent.Add(1)
	} else {
		l.log.Error("cell engine: background work failed and is repeated", "dir", l.dir, "err", err,
			"unreported", l.silent.Swap(0))
	}
	<-time.After(pause)
}

// corruption reports damage without the keys around it. The read or compaction that met it fails with an error.
func (l *engineLog) corruption(i pebble.DataCorruptionInfo) {
	l.log.Error("cell engine: damaged file", "dir", l.dir, "file", i.Path)
}
