package vsdm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
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

// issueLog is the issue log of one compartment.
type issueLog struct {
	c     querschott.Compartment
	space cell.Space
	store cell.Store
	box   *seal.Box
	key   []byte // of pseudonyms
}

// newIssueLog derives the log's keys from its secret.
func newIssueLog(c querschott.Compartment, store cell.Store, secret []byte) (*issueLog, error) {
	if len(secret) != secretSize {
		return nil, fmt.Errorf("the secret of the issue log of %s has %d bytes, it should have %d", c, len(secret), secretSize)
	}
	boxKey := derive(secret, "querschott vsdm issue log v1: box")
	defer clear(boxKey)
	return &issueLog{
		c: c, space: cell.ServiceSpace(c.Service), store: store, box: seal.NewBox(boxKey),
		key: derive(secret, "querschott vsdm issue log v1: persons"),
	}, nil
}

func derive(secret []byte, label string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(label))
	return mac.Sum(nil)
}

func (l *issueLog) person(k querschott.KVNR) (id [16]byte) {
	mac := hmac.New(sha256.New, l.key)
	mac.Write([]byte(k.Reveal()))
	copy(id[:], mac.Sum(nil))
	return id
}

var partNumber = []byte("number")

func (l *issueLog) issuedKey(h hash) []byte {
	return cell.Key(l.space, cell.KindIndex, partNumber, h[:])
}

func (l *issueLog) shownKey(h hash) []byte { return cell.Key(l.space, cell.KindSeen, partNumber, h[:]) }

// sealed makes the value of a key: a time in the clear, by which old entries are found, and the rest. Both are bound to the
// key, so an entry cannot be moved to another number.
func (l *issueLog) sealed(key []byte, at time.Time, plain []byte) []byte {
	b := make([]byte, 8, 8+len(plain)+seal.BoxOverhead)
	binary.BigEndian.PutUint64(b, uint64(at.UnixMicro())) //nolint:gosec // after 1970
	return l.box.Seal(b, l.aad(key, b[:8]), plain)
}

func (l *issueLog) aad(key, at []byte) []byte {
	const label = "querschott vsdm issue log v1\x00"
	b := make([]byte, 0, len(label)+len(l.c.Insurer)+len(key)+len(at))
	return append(append(append(append(b, label...), l.c.Insurer...), key...), at...)
}

// open returns what sealed made, or cell.ErrNotFound.
func (l *issueLog) open(key []byte) (at time.Time, plain []byte, err error) {
	b, err := l.store.Get(key)
	if err != nil {
		return at, nil, err
	}
	if len(b) < 8 {
		return at, nil, l.damaged()
	}
	if plain, err = l.box.Open(nil, l.aad(key, b[:8]), b[8:]); err != nil {
		return at, nil, l.damaged()
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b))).UTC(), plain, nil //nolint:gosec // authentic, from sealed
}

func (l *issueLog) damaged() error {
	return fmt.Errorf("an entry in the issue log of %s: %w", l.c, seal.ErrDamaged)
}

// put adds an entry to a batch.
func (l *issueLog) put(b *cell.Batch, h hash, e *Issued) {
	key := l.issuedKey(h)
	plain := make([]byte, 0, 3+len(e.Person)+len(e.Presence)+4+len(e.Actor)+len(e.Request))
	plain = append(plain, entryLayout, e.Operator, e.Key)
	plain = append(append(plain, e.Person[:]...), e.Presence[:]...)
	plain = appendText(appendText(plain, string(e.Actor)), e.Request)
	b.Put(key, l.sealed(key, e.At, plain))
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) //nolint:gosec // bounded by who calls
}

// get returns the entry of a number, or cell.ErrNotFound.
func (l *issueLog) get(h hash) (*Issued, error) {
	at, b, err := l.open(l.issuedKey(h))
	if err != nil {
		return nil, err
	}
	e := &Issued{Insurer: l.c.Insurer, At: at}
	fixed := 3 + len(e.Person) + len(e.Presence)
	if len(b) < fixed || b[0] != entryLayout {
		return nil, l.damaged()
	}
	e.Operator, e.Key = b[1], b[2]
	copy(e.Person[:], b[3:])
	copy(e.Presence[:], b[3+len(e.Person):])
	actor, rest, ok := cutText(b[fixed:])
	request, rest, ok2 := cutText(rest)
	if !ok || !ok2 || len(rest) > 0 {
		return nil, l.damaged()
	}
	e.Actor, e.Request = querschott.Actor(actor), request
	return e, nil
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
func (s *Service) issue(q *question, r *service.Request, e *Insured, now time.Time) (*given, error) {
	value, err := pruefziffer.CardValueOf(e.Record.Coverage.Period.Start.Compact(), e.Record.Street())
	if err != nil {
		return nil, fmt.Errorf("couldn't issue a check number: %w", err)
	}
	log, err := s.issueLog(q.chamber)
	if err != nil {
		return nil, err
	}
	n, err := s.cfg.Numbers.Issue(pruefziffer.Card{Person: q.person, Value: value, Blocked: e.CardBlocked}, now)
	if err != nil {
		return nil, fmt.Errorf("couldn't issue a check number: %w", err)
	}
	g := &given{number: n, hash: n.Hash(), entry: Issued{
		Insurer: log.c.Insurer, Person: log.person(q.person), Actor: r.Caller.Actor, At: now,
		Operator: n.Operator(), Key: keyVersion(n), Presence: r.Presence.Hash, Request: r.ID[:min(len(r.ID), maxRequest)],
	}}
	var b cell.Batch
	log.put(&b, g.hash, &g.entry)
	if err := log.store.Commit(&b); err != nil {
		return nil, fmt.Errorf("couldn't log a check number in %s: %w", log.c, err)
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
	log, err := s.issueLog(ch)
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
	return log.store.Commit(&b)
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
func (s *Service) Prune(c querschott.Compartment, before time.Time) (int, error) {
	ch := s.chambers[c]
	if ch == nil {
		return 0, errNoTenant(c)
	}
	l, err := s.issueLog(ch)
	if err != nil {
		return 0, err
	}
	if _, err := l.prune(cell.Key(l.space, cell.KindSeen, partNumber), before); err != nil {
		return 0, err
	}
	return l.prune(cell.Key(l.space, cell.KindIndex, partNumber), before)
}

func (l *issueLog) prune(prefix []byte, before time.Time) (n int, err error) {
	var b cell.Batch
	err = l.store.Scan(prefix, cell.PrefixEnd(prefix), func(k, v []byte) error {
		if len(v) < 8 || binary.BigEndian.Uint64(v) >= uint64(before.UnixMicro()) { //nolint:gosec // after 1970
			return nil // a damaged entry is left to who looks for it
		}
		b.Delete(k)
		if n++; b.Len() < pruneBatch {
			return nil
		}
		err := l.store.Commit(&b)
		b.Reset()
		return err
	})
	if err == nil {
		err = l.store.Commit(&b)
	}
	if err != nil {
		return 0, fmt.Errorf("couldn't prune the issue log of %s: %w", l.c, err)
	}
	return n, nil
}
