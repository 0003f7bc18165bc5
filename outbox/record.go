package outbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/querschott/querschott/cell"
)

// The kinds of the outbox's keys; the package comment says what is under them.
const (
	kindMail   cell.Kind = 'm'
	kindDue    cell.Kind = 'd'
	kindAge    cell.Kind = 'a'
	kindFailed cell.Kind = 'f'
	kindDone   cell.Kind = 'p'
	kindBox    cell.Kind = 'b'
	kindList   cell.Kind = 'l'
)

// The first byte of what is under cell.KindSeen.
const (
	seenQueued = 'q'
	seenDone   = 'd'
)

type (
	idHash [sha256.Size]byte // of a mail's ID
	ref    [24]byte          // names a mail inside the outbox; sorts by the time of the Put
	laneID [8]byte           // of a recipient domain
	boxID  [16]byte          // of a recipient address
)

var lastRef = ref(bytes.Repeat([]byte{0xff}, len(ref{})))

func newRef(at time.Time, id idHash) ref {
	var r ref
	binary.BigEndian.PutUint64(r[:], micros(at))
	copy(r[8:], id[:])
	return r
}

func (r ref) time() time.Time { return fromMicros(binary.BigEndian.Uint64(r[:])) }
func (r ref) String() string  { return hex.EncodeToString(r[:]) }

func minRef(a, b ref) ref {
	if bytes.Compare(a[:], b[:]) < 0 {
		return a
	}
	return b
}

func parseRef(s string) (ref, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(ref{}) {
		return ref{}, false
	}
	return ref(b), true
}

func hashID(id string) idHash { return sha256.Sum256([]byte(id)) }

func laneOf(address string) laneID {
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	sum := sha256.Sum256([]byte(domain))
	return laneID(sum[:8])
}

func boxOf(address string) boxID {
	sum := sha256.Sum256([]byte(strings.ToLower(address)))
	return boxID(sum[:16])
}

func mailKey(r ref) []byte     { return cell.Key(cell.SpaceOutbox, kindMail, r[:]) }
func ageKey(r ref) []byte      { return cell.Key(cell.SpaceOutbox, kindAge, r[:]) }
func failedKey(r ref) []byte   { return cell.Key(cell.SpaceOutbox, kindFailed, r[:]) }
func seenKey(id idHash) []byte { return cell.Key(cell.SpaceOutbox, cell.KindSeen, id[:]) }

func dueKey(l laneID, at uint64, r ref) []byte {
	return cell.Key(cell.SpaceOutbox, kindDue, l[:], cell.Uint64(at), r[:])
}

func doneKey(at time.Time, id idHash) []byte {
	return cell.Key(cell.SpaceOutbox, kindDone, cell.Uint64(micros(at)), id[:])
}

func boxKey(b boxID, r ref) []byte  { return cell.Key(cell.SpaceOutbox, kindBox, b[:], r[:]) }
func listKey(b boxID, r ref) []byte { return cell.Key(cell.SpaceOutbox, kindList, b[:], r[:]) }

// malformed says that the store holds something that the outbox did not write.
func malformed(what string) error {
	return fmt.Errorf("malformed %s in the outbox: %w", what, cell.ErrDamaged)
}

// partsOf returns the parts of a key if they have these lengths.
func partsOf(key []byte, lengths ...int) ([][]byte, bool) {
	_, _, parts, err := cell.ParseKey(key)
	if err != nil || len(parts) != len(lengths) {
		return nil, false
	}
	for i, n := range lengths {
		if len(parts[i]) != n {
			return nil, false
		}
	}
	return parts, true
}

// job is a mail that is due, as the index has it.
type job struct {
	lane     laneID
	at       uint64 // Unix microseconds
	ref      ref
	size     uint32 // bytes of the body
	attempts uint32 // that failed so far
}

func (j job) key() []byte { return dueKey(j.lane, j.at, j.ref) }

func (j job) value() []byte { return binary.BigEndian.AppendUint32(size32(j.size), j.attempts) }

func size32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func parseDue(key, value []byte) (job, error) {
	parts, ok := partsOf(key, len(laneID{}), 8, len(ref{}))
	if !ok || len(value) != 8 {
		return job{}, malformed("entry of what is due")
	}
	return job{
		lane: laneID(parts[0]), at: binary.BigEndian.Uint64(parts[1]), ref: ref(parts[2]),
		size: binary.BigEndian.Uint32(value), attempts: binary.BigEndian.Uint32(value[4:]),
	}, nil
}

func parseAge(key []byte) (ref, error) {
	parts, ok := partsOf(key, len(ref{}))
	if !ok {
		return ref{}, malformed("entry of an age")
	}
	return ref(parts[0]), nil
}

func queuedMark(r ref) []byte { return append([]byte{seenQueued}, r[:]...) }

// parseSeen returns where the mail is if it is not done.
func parseSeen(value []byte) (r ref, queued bool, err error) {
	switch {
	case len(value) == 1 && value[0] == seenDone:
		return ref{}, false, nil
	case len(value) == 1+len(r) && value[0] == seenQueued:
		return ref(value[1:]), true, nil
	}
	return ref{}, false, malformed("mark of a mail that was seen")
}

// The versions of the sealed values.
const (
	mailVersion    = 1
	refusedVersion = 1
)

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendEnvelope writes the time of creation (i64, Unix microseconds) and ID, sender and recipient, each after its length
// (uvarint).
func appendEnvelope(b []byte, m Mail) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created.UnixMicro()))
	return appendString(appendString(appendString(b, m.ID), m.From), m.To)
}

// reader takes values off the front of bytes; after the first that is not there it returns nothing but zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint(n uint64) (v uint64) {
	for _, c := range r.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (r *reader) string() string {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.failed = true
		return ""
	}
	r.take(uint64(used))
	return string(r.take(n))
}

func (r *reader) envelope() Mail {
	var m Mail
	m.Created = time.UnixMicro(int64(r.uint(8)))
	m.ID, m.From, m.To = r.string(), r.string(), r.string()
	return m
}

// encodeMail writes a version (u8), the envelope and the body.
func encodeMail(m Mail) []byte {
	b := make([]byte, 0, 64+len(m.ID)+len(m.From)+len(m.To)+len(m.Body))
	return append(appendEnvelope(append(b, mailVersion), m), m.Body...)
}

// decodeMail is the inverse of encodeMail. The body shares the bytes given.
func decodeMail(b []byte) (Mail, error) {
	r := reader{b: b}
	version := r.uint(1)
	m := r.envelope()
	if r.failed || version != mailVersion {
		return Mail{}, malformed("mail")
	}
	m.Body = r.b
	return m, nil
}

// refusal is why a mail was refused.
type refusal struct {
	envelope Mail // without a body
	size     uint32
	attempts uint32
	code     uint16
	at       time.Time
	reason   string
}

// encodeRefusal writes a version (u8), the envelope, size u32, attempts u32, code u16, time (i64, Unix microseconds) and
// the reason after its length (uvarint).
func encodeRefusal(f refusal) []byte {
	b := appendEnvelope([]byte{refusedVersion}, f.envelope)
	b = binary.BigEndian.AppendUint32(b, f.size)
	b = binary.BigEndian.AppendUint32(b, f.attempts)
	b = binary.BigEndian.AppendUint16(b, f.code)
	b = binary.BigEndian.AppendUint64(b, uint64(f.at.UnixMicro()))
	return appendString(b, f.reason)
}

// decodeRefusal is the inverse of encodeRefusal.
func decodeRefusal(b []byte) (refusal, error) {
	r := reader{b: b}
	version := r.uint(1)
	f := refusal{envelope: r.envelope()}
	f.size, f.attempts, f.code = uint32(r.uint(4)), uint32(r.uint(4)), uint16(r.uint(2))
	f.at = time.UnixMicro(int64(r.uint(8)))
	f.reason = r.string()
	if r.failed || version != refusedVersion || len(r.b) > 0 {
		return refusal{}, malformed("refusal")
	}
	return f, nil
}

// seal binds a value to its key.
func (o *Outbox) seal(key, plain []byte) []byte { return o.box.Seal(nil, associated(key), plain) }

// unseal opens the value of a key.
func (o *Outbox) unseal(key, sealed []byte) ([]byte, error) {
	return o.box.Open(nil, associated(key), sealed)
}

func associated(key []byte) []byte { return append([]byte("querschott/outbox/1\x00"), key...) }

func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

func fromMicros(us uint64) time.Time { return time.UnixMicro(int64(min(us, math.MaxInt64))) }
