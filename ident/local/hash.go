package local

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/querschott/querschott"
)

const (
	saltBytes = 16
	hashBytes = 32
)

// maxWaiting bounds how many attempts wait for a hash. With the standard parameters the last of them waits some seconds.
const maxWaiting = 32

// Params are the costs of one argon2id (RFC 9106).
type Params struct {
	Memory  uint32 `json:"memory"` // KiB
	Time    uint32 `json:"time"`   // passes
	Threads uint8  `json:"threads"`
}

// StandardParams are the second recommended option of RFC 9106, section 4, with one lane instead of four: a login takes one
// processor, not all of them.
func StandardParams() Params { return Params{Memory: 64 << 10, Time: 3, Threads: 1} }

func (p Params) check() error {
	if p.Threads < 1 || p.Threads > 8 || p.Time < 1 || p.Time > 16 || p.Memory < 8*uint32(p.Threads) || p.Memory > 256<<10 {
		return errors.New("argon2id takes 1 to 8 threads, 1 to 16 passes and 8 KiB per thread to 256 MiB")
	}
	return nil
}

// password is a password as it is kept.
type password struct {
	Params
	Salt []byte `json:"salt"`
	Hash []byte `json:"hash"`
}

func (p *password) check() error {
	if len(p.Salt) != saltBytes || len(p.Hash) != hashBytes {
		return errors.New("salt or hash has the wrong length")
	}
	return p.Params.check()
}

// hasher bounds the hashes that are computed at the same time. Each place holds the memory of one hash.
type hasher struct {
	places  chan struct{} // for everybody
	kept    chan struct{} // for known browsers only
	waiting chan struct{}
}

func newHasher(parallel int) *hasher {
	return &hasher{
		places:  make(chan struct{}, parallel),
		kept:    make(chan struct{}, 1),
		waiting: make(chan struct{}, maxWaiting+parallel+1),
	}
}

// make hashes a password for the first time.
func (h *hasher) make(ctx context.Context, p Params, text string) (password, error) {
	made := password{Params: p, Salt: make([]byte, saltBytes)}
	_, _ = rand.Read(made.Salt) // never fails: crypto/rand ends the program instead
	err := h.run(ctx, true, func() { made.Hash = made.derive(text) })
	return made, err
}

// compare reports in constant time whether the text is the password.
func (h *hasher) compare(ctx context.Context, known bool, p password, text string) (right bool, err error) {
	err = h.run(ctx, known, func() { right = subtle.ConstantTimeCompare(p.derive(text), p.Hash) == 1 })
	return right, err
}

func (p *password) derive(text string) []byte {
	return argon2.IDKey([]byte(text), p.Salt, p.Time, p.Memory, p.Threads, hashBytes)
}

// run waits for a place, as long as the context and the number of those who wait allow.
func (h *hasher) run(ctx context.Context, known bool, fn func()) error {
	kept := h.kept
	if !known {
		kept = nil
		select {
		case h.waiting <- struct{}{}:
			defer func() { <-h.waiting }()
		default:
			return querschott.Refuse(querschott.CodeTooMany, "too many people log in at this moment; try again in a few seconds")
		}
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case kept <- struct{}{}:
		defer func() { <-h.kept }()
	case <-ctx.Done():
		return fmt.Errorf("couldn't wait for a login's turn: %w", ctx.Err())
	}
	fn()
	return nil
}
