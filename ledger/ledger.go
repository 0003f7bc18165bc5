// Package ledger is the tamper-evident record of every access, attempt and change of the platform.
//
// Its promises:
//
//   - What [Ledger.Append] acknowledged is durable, stands under a signed head, and comes with a receipt that anybody can
//     verify offline with one public key. A crash loses nothing that was acknowledged.
//   - No two signed heads of one log have the same size and different roots.
//   - The order in which one caller's entries are acknowledged is their order in the log.
//   - A leaf holds no content and no number of a person, only pseudonyms and a salted commitment. What it commits to
//     lies sealed in payload files of its own, which can be deleted without breaking one proof.
//
// There is one log per insurer and year (origin <domain>/ledger/<ik>/<year>), one for what concerns no insurer
// (<domain>/ledger/platform/<year>), and one whose leaves are the commits (<domain>/ledger/commits/<year>). All share one
// write-ahead log. A commit is whatever had queued while the commit before was being synced: its leaf is the Merkle root over
// the heads of all logs that it touched, and the head of the log of commits is signed inside the same sync.
//
// Formats: C2SP tlog-tiles, signed-note, tlog-checkpoint and tlog-proof; RFC 6962 hashes. [Ledger.Export] writes what
// other people's verifiers read.
//
// On disk, under Config.Dir: wal/<n>.wal are preallocated segments of signed commits, written over again once the packs
// have what stands in them (some wait for that as *.tmp until the ledger is closed, with the sealed payloads that they
// hold); packs/<log>-<n>.pack hold the tiles and entry bundles of 65,536 entries each, packs/<log>-<n>.payload their sealed
// payloads; state is the signed summary of the packs from which a start goes on, so that only the WAL's tail is replayed;
// lock keeps a second process out.
package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// Config says where a ledger lies and with which keys it works.
type Config struct {
	FS     disk.FS
	Dir    string // made when absent; nothing else may lie in it
	Domain string // first part of every origin, such as "betreiber.example"; no spaces, no '+'

	// Seed is the Ed25519 seed (32 bytes) that signs every head.
	Seed []byte
	// Public takes the seed's place for whoever only looks, on a view of the disk that keeps changes to itself: then nothing
	// can be appended, and there are neither checkpoints nor proofs.
	Public ed25519.PublicKey
	// Secret returns the secret (32 bytes or more) of one insurer ("" for the platform) and year, the same at every
	// call. An error fails the Append that needs it. It may be called from many goroutines. With Public it may be nil: then
	// all payloads stay sealed.
	Secret func(insurer querschott.IK, year int) ([]byte, error)
	// Now is the clock that decides in which year's log an entry goes; nil means time.Now.
	Now func() time.Time

	// SegmentSize is the size of a WAL segment in bytes; 0 means 16 MiB. No commit is larger.
	SegmentSize int64
	// SnapshotBytes is after how many bytes of WAL the packs are synced and the state is written; 0 means 64 MiB.
	SnapshotBytes int64
}

// Entry is what happened, as the caller knows it. Personal data stands in its payload only.
type Entry struct {
	Kind        Kind
	At          time.Time              // zero: when it is appended
	Compartment querschott.Compartment // Insurer "" for what concerns the whole platform; Service may be ""
	Action      Action
	Data        DataClass
	Records     uint32 // how many records were reached
	Outcome     Outcome
	Reason      ReasonKind
	Role        querschott.Role
	Purpose     Purpose
	Actor       querschott.Actor
	Credential  querschott.CredentialID
	Person      querschott.KVNR   // may be ""
	Persons     []querschott.KVNR // of an answer about many: the leaf commits to the whole sorted list
	Epoch       uint64            // of the compartment's door
	Stages      Stages            // of a door's change: how it opens
	RequestID   string
	Detail      []Field // identifiers and numbers, never contents
}

// Errors that callers may want to know.
var (
	ErrClosed   = errors.New("the ledger is closed")
	ErrTooLarge = errors.New("a ledger entry is too large")
	ErrNoLog    = errors.New("there is no such log")
	ErrNoEntry  = errors.New("there is no such entry")
	ErrNoKey    = errors.New("it takes the ledger's private key")
)

// Ledger is an open ledger. All methods may be called by many goroutines.
type Ledger struct {
	cfg    Config
	key    ed25519.PrivateKey // nil: it is only looked at
	public ed25519.PublicKey
	lock   *lock
	wal    *wal
	writer *writer
	packer *packer

	requests sync.Pool // *request

	mu       sync.RWMutex // guards the maps
	logs     map[logID]*log
	byOrigin map[string]*log

	epochMu sync.Mutex
	backups atomic.Int32 // under way; WAL segments are not retired meanwhile
	epochs  epochs       // of everything that is acknowledged
}

const (
	defaultSegment  = 16 << 20
	defaultSnapshot = 64 << 20
	smallestSegment = 16 << 10
)

func (c *Config) complete() error {
	if c.SegmentSize == 0 {
		c.SegmentSize = defaultSegment
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = defaultSnapshot
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Public != nil && (c.Seed != nil || len(c.Public) != ed25519.PublicKeySize):
		return errors.New("a ledger is opened with a seed or with a public key")
	case c.Public == nil && len(c.Seed) != ed25519.SeedSize:
		return fmt.Errorf("the signing seed has %d bytes, got %d", ed25519.SeedSize, len(c.Seed))
	case c.Domain == "" || len(c.Domain) > 150 || strings.ContainsFunc(c.Domain, notInName):
		return fmt.Errorf("the ledger's domain %.40q can't be part of a key's name", c.Domain)
	case c.SegmentSize < smallestSegment || c.SegmentSize > 1<<30:
		return fmt.Errorf("a WAL segment has 16 KiB to 1 GiB, got %d bytes", c.SegmentSize)
	case c.Secret == nil && c.Public == nil:
		return errors.New("the ledger has no source of secrets")
	}
	return nil
}

// notInName keeps origins within what C2SP signed-note allows in a key's name, and within ASCII.
func notInName(r rune) bool { return r <= ' ' || r == '+' || r > '~' }

// Append makes entries durable, all in one commit and in their order, and returns their receipts in that order. An error
// that [disk.IsFull] knows says that there is no room: nothing was added, and later calls may succeed. One with
// [querschott.ErrHalt] says that the disk can't be trusted any more. When ctx ends first, the entries may or may not be
// committed.
func (l *Ledger) Append(ctx context.Context, entries ...Entry) ([]Receipt, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	if l.key == nil {
		return nil, fmt.Errorf("couldn't append to the ledger: %w", ErrNoKey)
	}
	r := l.requests.Get().(*request)
	if err := l.fill(r, entries); err != nil {
		l.recycle(r)
		return nil, err
	}
	if err := l.writer.put(r); err != nil {
		l.recycle(r)
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		return nil, err // the writer may still hold the request
	}
	receipts := r.receipts
	l.recycle(r)
	return receipts, nil
}

// Close commits what was queued, brings the packs up to date, and lets the directory go. Appends that come later fail
// with [ErrClosed].
func (l *Ledger) Close() error {
	if !l.writer.close() {
		return nil
	}
	return errors.Join(l.packer.stop(), l.wal.close(), l.lock.release())
}

// Origins returns the origins of all logs that have entries, the logs of commits included.
func (l *Ledger) Origins() []string {
	var out []string
	for _, g := range l.sorted() {
		if g.head.Load().Size > 0 {
			out = append(out, g.origin)
		}
	}
	return out
}

// VKey returns the key that checkpoints and proofs of a log are verified with.
func (l *Ledger) VKey(origin string) (string, error) {
	g, err := l.find(origin)
	if err != nil {
		return "", err
	}
	return g.signer.VKey(), nil
}

// Checkpoint returns the signed note of a log's head. It covers everything that was acknowledged before the call.
func (l *Ledger) Checkpoint(origin string) ([]byte, error) {
	g, err := l.find(origin)
	if err != nil {
		return nil, err
	}
	if note := g.checkpoint(); note != nil {
		return note, nil
	}
	return nil, fmt.Errorf("couldn't sign the head of %s: %w", origin, ErrNoKey)
}

// DoorMark is the newest order of a door that was recorded.
type DoorMark struct {
	Epoch  uint64
	Action Action // ActionOpen, ActionHold, ActionReadOnly or ActionClose
	Stages Stages // with the share of the newest step
}

// LastDoors returns the newest order of each door that a change was recorded of: the one with the highest epoch. A door
// file with a lower one has been rolled back.
func (l *Ledger) LastDoors() map[querschott.Compartment]DoorMark {
	l.epochMu.Lock()
	defer l.epochMu.Unlock()
	out := map[querschott.Compartment]DoorMark{}
	for _, e := range l.epochs {
		out[e.compartment] = e.mark
	}
	return out
}

func (l *Ledger) noteEpoch(leaf []byte) {
	if Kind(leaf[1]) != KindDoorChange {
		return
	}
	l.epochMu.Lock()
	defer l.epochMu.Unlock()
	l.epochs.note(leaf)
}
