package intake

import (
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// A group commit has two stages: the sealer turns what is pending into one buffer, the writer puts the buffer on every
// copy and syncs. While the writer waits for the disk the sealer fills the next buffer; there is no timer.

const (
	maxFlightBytes   = 4 << 20
	maxFlightEntries = 4096
	retryPrepare     = time.Second
)

type pending struct {
	a       *Arrival
	context *seal.Context
	binding Binding
	done    chan outcome
}

type outcome struct {
	receipt Receipt
	err     error
}

// flight is one group commit on its way to the disk.
type flight struct {
	act     *activeSegment
	off     int64
	buf     []byte
	entries []found
	waiters []*pending
	closing bool // the segment takes no more: write its index
}

// activeSegment is the segment being filled. The sealer owns all fields but failed.
type activeSegment struct {
	*segment
	end      int64
	count    uint64
	contexts map[[16]byte]uint32 // where in the segment a context stands
	failed   atomic.Bool         // a write failed: what follows must not be promised
	entries  []found             // durable entries; owned by the writer
}

// take waits for pending messages; nil means that the journal stops and nothing is left.
func (j *Journal) take() []*pending {
	for {
		j.pendingMu.Lock()
		batch, closed := j.pending, j.closed
		j.pending = nil
		j.pendingMu.Unlock()
		if len(batch) > 0 {
			return batch
		}
		if closed {
			return nil
		}
		select {
		case <-j.submit:
		case <-j.stop:
		}
	}
}

// seal is the first stage.
func (j *Journal) seal() {
	defer close(j.flights)
	defer func() { clear(j.scratch[:cap(j.scratch)]) }()
	var act *activeSegment
	for batch := j.take(); batch != nil; batch = j.take() {
		for len(batch) > 0 {
			if act == nil || act.failed.Load() || !act.fits(batch[0]) {
				next, err := j.rotate(act, batch[0])
				if err != nil {
					j.refuse(batch, err)
					break
				}
				act = next
			}
			f := &flight{act: act, off: act.end, buf: j.buffer()}
			batch = j.fill(f, batch)
			j.flights <- f
		}
	}
	if act != nil {
		j.flights <- &flight{act: act, closing: true}
	}
}

// space is more than a message may need: its entry, its context and the context's twin, and room for a context that turns
// out to be used up.
func space(p *pending) int64 {
	plain := len(p.a.Sender) + len(p.a.Recipient) + len(p.a.MessageID) + len(p.a.Body) + 64
	return recordSize(plain) + 4*recordSize(seal.EncSize)
}

func (a *activeSegment) fits(p *pending) bool {
	return a.end+space(p) <= a.head.size && a.count < maxEntries
}

// fill seals as many messages as one flight takes and returns the rest.
func (j *Journal) fill(f *flight, batch []*pending) []*pending {
	var twins []*seal.Context
	reserved := int64(0) // for twins
	for len(batch) > 0 && len(f.buf) < maxFlightBytes && len(f.entries) < maxFlightEntries {
		p := batch[0]
		if f.off+int64(len(f.buf))+reserved+space(p) > f.act.head.size || f.act.count >= maxEntries {
			break
		}
		batch = batch[1:]
		fresh, err := j.appendEntry(f, p)
		if err != nil {
			p.done <- outcome{err: err}
			continue
		}
		if fresh {
			twins = append(twins, p.context)
			reserved += recordSize(seal.EncSize)
		}
		f.waiters = append(f.waiters, p)
	}
	for _, c := range twins {
		j.appendContext(f, c)
	}
	f.act.end = f.off + int64(len(f.buf))
	return batch
}

// appendEntry seals one message into the flight. It reports whether the message's context is new in this segment.
func (j *Journal) appendEntry(f *flight, p *pending) (fresh bool, err error) {
	at, known := f.act.contexts[p.context.ID]
	if !known {
		at = uint32(f.off) + uint32(len(f.buf))
		j.appendContext(f, p.context)
		f.act.contexts[p.context.ID] = at
	}
	f.act.count++
	h := header{
		kind: kindEntry, seq: f.act.head.firstSeq() + f.act.count - 1, received: p.a.Received.UnixMicro(),
		ik: p.a.Compartment.Insurer.Number(), service: p.a.Compartment.Service.Code(),
		contextOff: at, context: p.context.ID, binding: p.binding,
	}
	start := len(f.buf)
	f.buf = grow(f.buf, headerSize)
	j.scratch = appendPlain(j.scratch[:0], p.a)
	sealed, counter, ok := p.context.Seal(f.buf, h.aad(), j.scratch)
	if !ok { // used up since it was handed out
		f.buf = f.buf[:start]
		f.act.count--
		if p.context, err = j.cfg.Contexts.For(p.a.Compartment); err != nil {
			return false, fmt.Errorf("couldn't seal to %s: %w", p.a.Compartment, err)
		}
		return j.appendEntry(f, p)
	}
	f.buf, h.counter = sealed, counter
	h.finish(f.buf[start:], f.act.head)
	f.buf = pad(f.buf, start)
	f.entries = append(f.entries, found{h, f.off + int64(start)})
	return !known, nil
}

// finish fills in what depends on the body behind the header.
func (h *header) finish(record []byte, s segmentHead) {
	h.bodyLen = uint32(len(record) - headerSize)
	h.bodyCRC = crc32.Checksum(record[headerSize:], castagnoli)
	h.put(record, s)
}

func (j *Journal) appendContext(f *flight, c *seal.Context) {
	start := len(f.buf)
	f.buf = append(grow(f.buf, headerSize), c.Enc...)
	h := header{kind: kindContext, context: c.ID}
	h.finish(f.buf[start:], f.act.head)
	f.buf = pad(f.buf, start)
}

func grow(b []byte, n int) []byte { return append(b, make([]byte, n)...) }

func pad(b []byte, start int) []byte {
	return grow(b, int(recordSize(len(b)-start-headerSize))-(len(b)-start))
}

// rotate closes the active segment and takes the prepared one.
func (j *Journal) rotate(old *activeSegment, p *pending) (*activeSegment, error) {
	if space(p) > j.cfg.Segment-dataStart {
		return nil, querschott.Refuse(querschott.CodeTooLarge, "the message is larger than a segment of the journal")
	}
	var next *segment
	select {
	case next = <-j.ready:
	case err := <-j.failed:
		return nil, err
	case <-j.stop:
		return nil, errClosed
	}
	if old != nil {
		j.flights <- &flight{act: old, closing: true}
	}
	return &activeSegment{segment: next, end: dataStart, contexts: map[[16]byte]uint32{}}, nil
}

// prepare keeps one zero-filled segment ready. When there is no room it says so to whoever asks and tries again.
func (j *Journal) prepare() {
	for {
		j.mu.Lock()
		number := j.last + 1
		j.mu.Unlock()
		s, err := createSegment(j.cfg.Copies, segmentHead{journal: j.id, number: number, size: j.cfg.Segment})
		if err != nil {
			err = &querschott.Error{Code: querschott.CodeNoRoom, Public: "the intake has no room at the moment", Err: err}
			j.setTrouble(err)
			if !j.tellFailure(err) {
				return
			}
			continue
		}
		j.setTrouble(nil)
		j.mu.Lock()
		j.segments[number], j.last = s, number
		j.mu.Unlock()
		j.trim()
		select {
		case j.ready <- s:
		case <-j.stop:
			return
		}
	}
}

// tellFailure answers whoever waits for a segment, until it is time to try again. It returns false when the journal stops.
func (j *Journal) tellFailure(err error) bool {
	again := time.NewTimer(retryPrepare)
	defer again.Stop()
	for {
		select {
		case j.failed <- err:
		case <-again.C:
			return true
		case <-j.stop:
			return false
		}
	}
}

func (j *Journal) refuse(batch []*pending, err error) {
	j.mu.Lock()
	j.stats.Refused += uint64(len(batch))
	j.mu.Unlock()
	for _, p := range batch {
		p.done <- outcome{err: err}
	}
}

// buffer returns an empty buffer, a used one if there is one.
func (j *Journal) buffer() []byte {
	select {
	case b := <-j.buffers:
		return b[:0]
	default:
		return nil
	}
}

// recycle keeps a flight's buffer for a later one, unless a single large message has blown it up.
func (j *Journal) recycle(buf []byte) {
	if cap(buf) > 2*maxFlightBytes {
		return
	}
	select {
	case j.buffers <- buf:
	default:
	}
}

// write is the second stage.
func (j *Journal) write() {
	for f := range j.flights {
		switch {
		case f.closing:
			j.finishSegment(f.act)
		case f.act.failed.Load():
			j.refuse(f.waiters, errAbandoned)
		default:
			j.land(f)
		}
		j.recycle(f.buf)
	}
}

var errAbandoned = querschott.Refuse(querschott.CodeNoRoom, "a copy of the journal could not be written")

// land makes a flight durable on every copy and acknowledges it.
func (j *Journal) land(f *flight) {
	if err := f.act.writeAll(f.buf, f.off); err != nil {
		f.act.failed.Store(true)
		err = &querschott.Error{Code: querschott.CodeNoRoom, Public: "a copy of the journal could not be written", Err: err}
		j.setTrouble(err)
		j.refuse(f.waiters, err)
		return
	}
	now := j.cfg.Now()
	f.act.entries = append(f.act.entries, f.entries...)
	j.mu.Lock()
	for i, p := range f.waiters {
		e := f.entries[i]
		j.stats.Bytes += recordSize(int(e.h.bodyLen))
		j.queueOf(p.a.Compartment).push(ref{e.h.seq, f.act.segment, e.off, e.h.bodyLen, e.h.received})
	}
	f.act.waiting += len(f.waiters)
	j.stats.Appended += uint64(len(f.waiters))
	arrived := j.arrived
	j.mu.Unlock()
	for i, p := range f.waiters {
		p.done <- outcome{receipt: Receipt{Seq: f.entries[i].h.seq, Copies: len(j.cfg.Copies), At: now}}
		if arrived != nil {
			arrived(p.a.Compartment)
		}
	}
}

func (s *segment) writeAll(buf []byte, off int64) error {
	if len(s.files) == 1 {
		return writeSync(s.files[0], buf, off)
	}
	errs := make(chan error, len(s.files))
	for _, f := range s.files {
		go func() { errs <- writeSync(f, buf, off) }()
	}
	var err error
	for range s.files {
		err = errors.Join(err, <-errs)
	}
	return err
}

func writeSync(f disk.File, buf []byte, off int64) error {
	if _, err := f.WriteAt(buf, off); err != nil {
		return err
	}
	return f.Sync()
}

// finishSegment closes a segment that is full, or that a copy has failed on.
func (j *Journal) finishSegment(act *activeSegment) {
	j.writeIndex(act.segment, act.entries)
	j.mu.Lock()
	act.open = false
	j.mu.Unlock()
	j.trim()
}
