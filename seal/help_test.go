package seal

import (
	"encoding/binary"
	"path/filepath"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

var (
	eau    = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	letter = querschott.Compartment{Insurer: "109500969", Service: querschott.Letter}
	other  = querschott.Compartment{Insurer: "101575519", Service: querschott.EAU}
)

const (
	ringPath = "keys/keyring.age"
	pubPath  = "keys/keyring.pub"
)

// keyFile makes a plain key file.
func keyFile(t testing.TB) Unlock {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.txt")
	must(t, NewKeyFile(path))
	return KeyFile(path)
}

// newKeyring makes a keyring with three compartments on a disk in memory.
func newTestKeyring(t testing.TB) (*Keyring, *crashdisk.Disk, Unlock) {
	t.Helper()
	d, unlock := crashdisk.New(), keyFile(t)
	k, err := CreateKeyring(d, ringPath, unlock)
	must(t, err)
	must(t, k.AddCompartments(eau, letter, other))
	return k, d, unlock
}

func unlockOne(t testing.TB, k *Keyring, c querschott.Compartment) *Keys {
	t.Helper()
	keys, err := k.Unlock(c)
	must(t, err)
	return keys[c]
}

func newTestKeys(t testing.TB, c querschott.Compartment) (*Keys, *Contexts, *clock) {
	t.Helper()
	keys, pub, err := NewKeys(c)
	must(t, err)
	clk := &clock{t: time.Date(2023, 4, 25, 8, 0, 0, 0, time.UTC)}
	return keys, NewContexts(always(pub), clk.now), clk
}

func always(pub PublicKey) func(querschott.Compartment) (PublicKey, error) {
	return func(querschott.Compartment) (PublicKey, error) { return pub, nil }
}

// clock is moved by hand, from one goroutine.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) move(d time.Duration) { c.t = c.t.Add(d) }

// entry is a sealed entry as a journal keeps it.
type entry struct {
	enc     []byte
	id      [16]byte
	counter uint32
	aad     []byte
	sealed  []byte
	plain   string
}

func (e entry) open(k *Keys) ([]byte, error) {
	return k.Open(nil, e.enc, e.id, e.counter, e.aad, e.sealed)
}

func sealEntry(t testing.TB, s *Contexts, c querschott.Compartment, plain string, seq uint64) entry {
	t.Helper()
	x, err := s.For(c)
	must(t, err)
	aad := entryAAD(c, "praxis@example.kim", "<1@example>", seq)
	sealed, counter, ok := x.Seal(nil, aad, []byte(plain))
	if !ok {
		t.Fatal("a context straight from For sealed nothing")
	}
	return entry{x.Enc, x.ID, counter, aad, sealed, plain}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entryAAD is associated data as a journal might give it: the compartment, the sender, the message's id and the
// entry's sequence number. Every field is preceded by its length, so no two different inputs give the same bytes.
func entryAAD(c querschott.Compartment, sender, messageID string, seq uint64) []byte {
	const label = "querschott entry v1"
	b := make([]byte, 0, 5*4+len(label)+len(c.Insurer)+len(c.Service)+len(sender)+len(messageID)+8)
	b = appendField(b, label)
	b = appendField(b, string(c.Insurer))
	b = appendField(b, string(c.Service))
	b = appendField(b, sender)
	b = appendField(b, messageID)
	return binary.BigEndian.AppendUint64(b, seq)
}
