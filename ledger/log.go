package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// log is one log of the ledger. Its fields have four owners, so that none waits for another.
type log struct {
	id      logID
	insurer querschott.IK // "" for the platform's
	origin  string
	signer  *proof.Signer

	head atomic.Pointer[tile.Tree] // what is durable and signed; set by the writer's second stage

	// The writer's first stage's.
	tail     tile.Tree   // head, and what was sealed since
	pending  []tile.Hash // leaf hashes of the batch at hand
	position uint32      // of its head in the batch at hand

	pack pack // the packer's, with a lock for readers

	secrets atomic.Pointer[secrets] // nil until they are needed; set once, under mu

	mu   sync.Mutex
	note signedHead // the last checkpoint that somebody asked for
}

type signedHead struct {
	size uint64
	text []byte
}

// log returns a log, making it when nobody has asked for it before.
func (l *Ledger) log(id logID) *log {
	l.mu.RLock()
	g := l.logs[id]
	l.mu.RUnlock()
	if g != nil {
		return g
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.logs[id]; g != nil {
		return g
	}
	origin := id.origin(l.cfg.Domain)
	g = &log{id: id, insurer: id.insurer(), origin: origin, signer: proof.NewReader(origin, l.public)}
	if l.key != nil {
		g.signer = proof.NewSigner(origin, l.key)
	}
	g.head.Store(&tile.Tree{})
	l.logs[id] = g
	l.byOrigin[origin] = g
	return g
}

// publish makes a tree the log's head, before the writer runs.
func (g *log) publish(t tile.Tree) {
	g.tail = t
	g.head.Store(&t)
}

// grow goes on from what a batch added.
func (g *log) grow(s *tile.Span) {
	g.tail = s.New
	g.pending = g.pending[:0]
	if cap(g.pending) > 4096 {
		g.pending = nil
	}
}

// sorted returns all logs, in a fixed order.
func (l *Ledger) sorted() []*log {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.SortedFunc(maps.Values(l.logs), func(a, b *log) int { return a.id.compare(b.id) })
}

// find returns the log of an origin that has entries.
func (l *Ledger) find(origin string) (*log, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.byOrigin[origin]
	if g == nil || g.head.Load().Size == 0 {
		return nil, fmt.Errorf("%q: %w", origin, ErrNoLog)
	}
	return g, nil
}

// keys returns the log's secrets.
func (g *log) keys(cfg *Config) (*secrets, error) {
	if s := g.secrets.Load(); s != nil {
		return s, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.secrets.Load(); s != nil {
		return s, nil
	}
	root, err := cfg.Secret(g.id.insurer(), int(g.id.year))
	if err != nil {
		return nil, fmt.Errorf("couldn't get the secret of log %s: %w", g.origin, err)
	}
	s, err := newSecrets(root)
	if err != nil {
		return nil, err
	}
	g.secrets.Store(s)
	return s, nil
}

// checkpoint returns the signed note of the log's head, nil without a private key. Equal heads give equal bytes.
func (g *log) checkpoint() []byte {
	if !g.signer.Signs() {
		return nil
	}
	head := g.head.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.note.text == nil || g.note.size != head.Size {
		root := head.Root()
		g.note = signedHead{head.Size, g.signer.Note(head.Size, root, g.signer.Sign(head.Size, root))}
	}
	return append([]byte(nil), g.note.text...)
}
