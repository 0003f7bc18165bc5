package ledger

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// secrets are the keys of one log, all derived from the secret of one insurer and year. Destroying that secret makes
// every payload of the log unreadable and every pseudonym meaningless.
type secrets struct {
	pseudonyms *macs
	box        *seal.Box

	mu    sync.RWMutex // guards known
	known [ofCredential + 1]map[string]Pseudonym
}

const maxKnown = 8192 // actors or credentials per log; then all are forgotten

// named returns the pseudonym of an actor or credential. They come again and again, so their pseudonyms are kept.
func (s *secrets) named(h *mac, what byte, called string) Pseudonym {
	s.mu.RLock()
	p, ok := s.known[what][called]
	s.mu.RUnlock()
	if ok {
		return p
	}
	p = h.of(what, called)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[what]
	if len(known) >= maxKnown {
		clear(known)
	}
	known[called] = p
	return p
}

func newSecrets(root []byte) (*secrets, error) {
	if len(root) < 32 {
		return nil, fmt.Errorf("a log's secret has at least 32 bytes, got %d", len(root))
	}
	pseudonym, err := hkdf.Expand(sha256.New, root, "querschott ledger pseudonyms v1", 32)
	if err != nil {
		return nil, err
	}
	payload, err := hkdf.Expand(sha256.New, root, "querschott ledger payloads v1", 32)
	if err != nil {
		return nil, err
	}
	defer clear(payload)
	s := &secrets{pseudonyms: newMACs(pseudonym), box: seal.NewBox(payload)}
	for i := range s.known {
		s.known[i] = map[string]Pseudonym{}
	}
	return s, nil
}

// What a pseudonym stands for is part of what is hashed, so that equal strings in different roles don't match.
const (
	ofActor byte = iota + 1
	ofCredential
	ofPerson
	ofPersons
	ofRequest
)

// macs keeps keyed hashes ready, because keying one costs as much as using it.
type macs struct{ pool sync.Pool }

type mac struct {
	hash.Hash
	buf []byte
}

func newMACs(key []byte) *macs {
	m := &macs{}
	m.pool.New = func() any { return &mac{Hash: hmac.New(sha256.New, key), buf: make([]byte, 0, 128)} }
	return m
}

func (m *macs) get() *mac { return m.pool.Get().(*mac) }

func (m *macs) put(h *mac) { m.pool.Put(h) }

// of returns the pseudonym of a string, zero for the empty one.
func (h *mac) of(what byte, s string) Pseudonym {
	if s == "" {
		return Pseudonym{}
	}
	h.buf = append(append(h.buf[:0], what), s...)
	return h.sum()
}

// persons returns the pseudonym of one person, or the commitment to a sorted list of several.
func (h *mac) persons(list []querschott.KVNR) Pseudonym {
	switch len(list) {
	case 0:
		return Pseudonym{}
	case 1:
		return h.of(ofPerson, list[0].Reveal())
	}
	h.buf = append(h.buf[:0], ofPersons)
	for _, p := range list {
		h.buf = appendText(h.buf, p.Reveal())
	}
	return h.sum()
}

func (h *mac) sum() Pseudonym {
	h.Reset()
	_, _ = h.Write(h.buf)
	clear(h.buf)
	h.buf = h.Sum(h.buf[:0])
	return Pseudonym(h.buf[:16])
}
