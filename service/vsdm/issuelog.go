package vsdm

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/service"
)

// Issued is what the issue log knows about one check number. The number itself is not kept.
type Issued struct {
	Insurer  querschott.IK    // through whose compartment it was issued
	Person   [16]byte         // pseudonym in the issue log of that insurer
	Actor    querschott.Actor // to whom it was given
	At       time.Time        // to the microsecond
	Operator byte             // letter
	Key      uint8            // key version
	Presence [32]byte         // SHA-256 of the PoPP token
	Request  string           // id of the request; finds the ledger's entry
}

// hash is the SHA-256 of a number's octets.
type hash = [sha256.Size]byte

const (
	secretSize  = 32
	entryLayout = 1
	maxRequest  = 64 // octets of a request's id
)

// sealer seals what one insurer's part of the log says.
type sealer struct {
	insurer querschott.IK
	box     *seal.Box
	key     []byte // of pseudonyms
}

// newSealer derives an insurer's keys from its secret.
func newSealer(insurer querschott.IK, secret []byte) (*sealer, error) {
	if len(secret) != secretSize {
		return nil, fmt.Errorf("the secret of the issue log of %s has %d bytes, it should have %d", insurer, len(secret), secretSize)
	}
	boxKey := derive(secret, "querschott vsdm issue log v1: box")
	defer clear(boxKey)
	return &sealer{insurer, seal.NewBox(boxKey), derive(secret, "querschott vsdm issue log v1: persons")}, nil
}

func derive(secret []byte, label string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(label))
	return mac.Sum(nil)
}

func (l *sealer) person(k querschott.KVNR) (id [16]byte) {
	mac := hmac.New(sha256.New, l.key)
	mac.Write([]byte(k.Reveal()))
	copy(id[:], mac.Sum(nil))
	return id
}

// partNumber is the first part of all keys of the log.
var partNumber = []byte("number")

func logKey(k cell.Kind, h hash) []byte {
	return cell.Key(cell.ServiceSpace(querschott.VSDM), k, partNumber, h[:])
}

// clearSize is the part of a value in the clear: the time (microseconds), by which old entries are found, and the IK, which
// says whose secret opens the rest.
const clearSize = 8 + 4

// seal makes the value of a key. All of it is bound to the key, so an entry cannot be moved to another number.
func (l *sealer) seal(key []byte, at time.Time, plain []byte) []byte {
	b := make([]byte, clearSize, clearSize+len(plain)+seal.BoxOverhead)
	binary.BigEndian.PutUint64(b, uint64(at.UnixMicro())) //nolint:gosec // after 1970
	binary.BigEndian.PutUint32(b[8:], l.insurer.Number())
	return l.box.Seal(b, logAAD(key, b), plain)
}

func logAAD(key, open []byte) []byte {
	const label = "querschott vsdm issue log v1\x00"
	return slices.Concat([]byte(label), key, open[:clearSize])
}

var errLogDamaged = fmt.Errorf("an entry of the issue log: %w", seal.ErrDamaged)

// unseal is the inverse of seal. It finds whose entry it is.
func (s *Service) unseal(key, value []byte) (l *sealer, at time.Time, plain []byte, err error) {
	if len(value) < clearSize {
		return nil, at, nil, errLogDamaged
	}
	insurer := querschott.IKFromNumber(binary.BigEndian.Uint32(value[8:]))
	ch := s.chambers[querschott.Compartment{Insurer: insurer, Service: querschott.VSDM}]
	if ch == nil {
		return nil, at, nil, errLogInsurer
	}
	if l, err = s.sealer(ch); err != nil {
		return nil, at, nil, err
	}
	if plain, err = l.box.Open(nil, logAAD(key, value), value[clearSize:]); err != nil {
		return nil, at, nil, errLogDamaged
	}
	return l, time.UnixMicro(int64(binary.BigEndian.Uint64(value))).UTC(), plain, nil //nolint:gosec // authentic, from seal
}

// errLogInsurer says that an entry was made for an insurer that is not here any more, or is damaged.
var errLogInsurer = errors.New("an entry of the issue log is of an insurer that is not on this platform")

// put adds an entry to a batch.
func (l *sealer) put(b *cell.Batch, h hash, e *Issued) {
	key := logKey(cell.KindIndex, h)
	plain := make([]byte, 0, 3+len(e.Person)+len(e.Presence)+4+len(e.Actor)+len(e.Request))
	plain = append(plain, entryLayout, e.Operator, e.Key)
	plain = append(append(plain, e.Person[:]...), e.Presence[:]...)
	plain = appendText(appendText(plain, string(e.Actor)), e.Request)
	b.Put(key, l.seal(key, e.At, plain))
}

// lookUp returns the entry of a number and whose it is, nil if there is none.
func (s *Service) lookUp(h hash) (*sealer, *Issued, error) {
	key := logKey(cell.KindIndex, h)
	value, err := s.cfg.Issues.Get(key)
	if errors.Is(err, cell.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't read the issue log: %w", err)
	}
	l, at, b, err := s.unseal(key, value)
	if err != nil {
		return nil, nil, err
	}
	e := &Issued{Insurer: l.insurer, At: at}
	fixed := 3 + len(e.Person) + len(e.Presence)
	if len(b) < fixed || b[0] != entryLayout {
		return nil, nil, errLogDamaged
	}
	e.Operator, e.Key = b[1], b[2]
	copy(e.Person[:], b[3:])
	copy(e.Presence[:], b[3+len(e.Person):])
	actor, rest, ok := cutText(b[fixed:])
	request, rest, ok2 := cutText(rest)
	if !ok || !ok2 || len(rest) > 0 {
		return nil, nil, errLogDamaged
	}
	e.Actor, e.Request = querschott.Actor(actor), request
	return l, e, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) //nolint:gosec // bounded by who calls
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}

// given is a number on its way to the caller.
type given struct {
	number pruefziffer.Number
	hash   hash
	entry  Issued
}

// detail is what the ledger says of a number.
func (g *given) detail() []ledger.Field {
	return []ledger.Field{
		{Name: "number", Value: hex.EncodeToString(g.hash[:])},
		{Name: "number-key", Value: string(rune(g.entry.Operator)) + string(rune('0'+g.entry.Key))},
	}
}

// issue makes a number for the person and has the issue log keep it. When it returns, the entry is durable: the number may
// leave. If anything fails before it leaves, the log has a number that nobody was given, which does no harm.
func (s *Service) issue(q *question, r *service.Request, e *insured.Entry, now time.Time) (*given, error) {
	value, err := pruefziffer.CardValueOf(e.Record.Coverage.Period.Start.Compact(), e.Record.Street())
	if err != nil {
		return nil, fmt.Errorf("couldn't issue a check number: %w", err)
	}
	log, err := s.sealer(q.chamber)
	if err != nil {
		return nil, err
	}
	n, err := s.cfg.Numbers.Issue(pruefziffer.Card{Person: q.person, Value: value, Blocked: e.CardBlocked}, now)
	if err != nil {
		return nil, fmt.Errorf("couldn't issue a check number: %w", err)
	}
	g := &given{number: n, hash: n.Hash(), entry: Issued{
		Insurer: log.insurer, Person: log.person(q.person), Actor: r.Caller.Actor, At: now,
		Operator: n.Operator(), Key: keyVersion(n), Presence: r.Presence.Hash, Request: r.ID[:min(len(r.ID), maxRequest)],
	}}
	var b cell.Batch
	log.put(&b, g.hash, &g.entry)
	if err := s.cfg.Issues.Commit(&b); err != nil {
		return nil, fmt.Errorf("couldn't log a check number: %w", err)
	}
	return g, nil
}

// keyVersion reads the version of the key off a number that was issued here (A_27278: the last two bits of the first octet).
func keyVersion(n pruefziffer.Number) uint8 {
	first, err := base64.URLEncoding.DecodeString(n.URL()[:4])
	if err != nil {
		return 0 // not possible: the text was made by the encoder
	}
	return first[0] & 3
}

// Adopted is a number that another service issued under the same secret, such as one of VSDM 1.0.
type Adopted struct {
	Number pruefziffer.Number
	Person querschott.KVNR
	Issued Issued // Insurer and Person are set by Adopt
}

// Adopt puts numbers into an insurer's issue log that another service has issued under the same secret. Without them
// [Service.Check] would call them forged. It is durable on nil.
func (s *Service) Adopt(c querschott.Compartment, list []Adopted) error {
	ch := s.chambers[c]
	if ch == nil {
		return errNoTenant(c)
	}
	log, err := s.sealer(ch)
	if err != nil {
		return err
	}
	var b cell.Batch
	for i := range list {
		a := list[i]
		if a.Number.Version() == 0 || a.Issued.At.Unix() <= 0 || len(a.Issued.Actor) > maxActor || len(a.Issued.Request) > maxRequest {
			return fmt.Errorf("number %d of the list: %w", i+1, errAdopted)
		}
		a.Issued.Person, a.Issued.Operator = log.person(a.Person), a.Number.Operator()
		log.put(&b, a.Number.Hash(), &a.Issued)
	}
	return s.cfg.Issues.Commit(&b)
}

var errAdopted = errors.New("it is no check number, or has no time, or its actor or request is too long")

func errNoTenant(c querschott.Compartment) error {
	return fmt.Errorf("%w: compartment %s has no master data here", cell.ErrNotFound, c)
}

// pruneBatch is how many keys one commit of Prune removes.
const pruneBatch = 1000

// Prune removes the entries of numbers that were issued, or first shown, before a time, and returns how many numbers that
// were. A number that is shown afterwards counts as forged, so the time must lie before everything that is still to be
// checked: for the record service half an hour, for a practice's billing at least two quarters.
func (s *Service) Prune(ctx context.Context, before time.Time) (int, error) {
	if _, err := s.prune(ctx, cell.KindSeen, before); err != nil {
		return 0, err
	}
	return s.prune(ctx, cell.KindIndex, before)
}

func (s *Service) prune(ctx context.Context, kind cell.Kind, before time.Time) (n int, err error) {
	var b cell.Batch
	prefix := cell.Key(cell.ServiceSpace(querschott.VSDM), kind, partNumber)
	err = s.cfg.Issues.Scan(prefix, cell.PrefixEnd(prefix), func(k, v []byte) error {
		if len(v) < clearSize || binary.BigEndian.Uint64(v) >= uint64(before.UnixMicro()) { //nolint:gosec // after 1970
			return nil // a damaged entry is left to who looks for it
		}
		b.Delete(k)
		if n++; b.Len() < pruneBatch {
			return nil
		}
		err := errors.Join(ctx.Err(), s.cfg.Issues.Commit(&b))
		b.Reset()
		return err
	})
	if err == nil {
		err = s.cfg.Issues.Commit(&b)
	}
	if err != nil {
		return 0, fmt.Errorf("couldn't prune the issue log: %w", err)
	}
	return n, nil
}
