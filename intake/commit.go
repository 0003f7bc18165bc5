package intake

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// A group commit has two stages: the sealer turns what is pending into one buffer, the writer puts the buffer on every
// copy and syncs. While the writer waits for the disk the sealer goes on filling the next buffer; there is no timer.

const (
	maxFlightBytes   = 4 << 20
	maxFlightEntries = 4096
	retryPrepare     = time.Second
)

// pending is a message whose sender waits.
type pending struct {
	ctx     context.Context // of the sender; nothing is sealed for one that has gone
	a       Arrival
	context *seal.Context
	binding Binding
	done    chan outcome
}

// pendings are used again only after their answer was taken.
var pendings = sync.Pool{New: func() any { return &pending{done: make(chan outcome, 1)} }}

type outcome struct {
	receipt Receipt
	err     error
}

// flight is one group commit on its way to the disk.
type flight struct {
	act     *activeSegment
	off     int64
	buf     []byte
	entries []entry
	waiters []*pending // by entry
	twins   []*seal.Context
	closing bool                     // the segment takes no more: write its index
	touched []querschott.Compartment // whose listeners must hear of it; owned by the writer
}

// room is how far the flight reaches with the twins of its contexts.
func (f *flight) room() int64 {
	return f.off + int64(len(f.buf)) + int64(len(f.twins))*recordSize(seal.EncSize)
}

func (f *flight) full() bool {
	return len(f.buf) >= maxFlightBytes || len(f.entries) >= maxFlightEntries
}

// activeSegment is the segment being filled. The sealer owns all fields but failed and entries.
type activeSegment struct {
	*segment
	end      int64
	count    uint64
	contexts map[[16]byte]uint32 // where in the segment a context stands
	failed   atomic.Bool         // a write failed: what follows must not be promised
	entries  []entry             // durable entries; owned by the writer
}

// sealer is the first stage.
type sealer struct {
	j       *Journal
	act     *activeSegment
	flight  *flight    // being filled; nil: none
	spare   []*pending // memory of the last batch
	end     int64      // behind the flight at hand, twins included
	scratch []byte     // plaintext of the entry being sealed
	aad     []byte
}

func (j *Journal) seal() {
	defer close(j.flights)
	s := &sealer{j: j}
	defer func() { clear(s.scratch[:cap(s.scratch)]) }()
	for s.step() {
	}
	s.send()
	if s.act != nil {
		j.flights <- &flight{act: s.act, closing: true}
	}
}

// step waits for messages, or for the writer to take the flight at hand; false means that the journal stops and nothing
// is left.
func (s *sealer) step() bool {
	batch, closed := s.take()
	if len(batch) == 0 {
		if closed {
			return false
		}
		return s.wait()
	}
	for _, p := range batch {
		s.add(p)
	}
	clear(batch)
	s.spare = batch[:0]
	if s.flight != nil { // a steady stream must not keep it from an idle writer
		select {
		case s.j.flights <- s.flight:
			s.sent()
		default:
		}
	}
	return true
}

func (s *sealer) take() (batch []*pending, closed bool) {
	j := s.j
	j.pendingMu.Lock()
	defer j.pendingMu.Unlock()
	if len(j.pending) > 0 {
		batch, j.pending, j.pendingBytes = j.pending, s.spare, 0
	}
	return batch, j.closed
}

func (s *sealer) wait() bool {
	var flights chan *flight
	if s.flight != nil {
		flights = s.j.flights
	}
	select {
	case flights <- s.flight:
		s.sent()
	case <-s.j.submit:
		if s.act != nil && s.act.failed.Load() {
			_ = s.rotate() // whoever comes next meets the same error; until then trouble is shown
		}
	case <-s.j.stop:
	}
	return true
}

// send hands the flight over, as soon as the writer takes it.
func (s *sealer) send() {
	if s.flight != nil {
		s.j.flights <- s.flight
		s.sent()
	}
}

func (s *sealer) sent() {
	s.act.end = s.end // the flight belongs to the writer
	s.flight = nil
}

// add seals one message into the flight.
func (s *sealer) add(p *pending) {
	if err := p.ctx.Err(); err != nil {
		p.done <- outcome{err: err}
		return
	}
	if !s.fits(p) {
		if err := s.rotate(); err != nil {
			s.j.refuse([]*pending{p}, err)
			return
		}
	}
	if s.flight != nil && s.flight.full() {
		s.send()
	}
	if s.flight == nil {
		s.flight = s.j.newFlight(s.act)
	}
	if err := s.seal(p); err != nil {
		p.done <- outcome{err: err}
	} else {
		s.flight.waiters = append(s.flight.waiters, p)
	}
	s.end = s.flight.room()
}

// fits reports whether the active segment can take a message, whatever has to be written with it.
func (s *sealer) fits(p *pending) bool {
	a := s.act
	if a == nil || a.failed.Load() || a.head.number <= s.j.floor.Load() || a.count >= maxEntries {
		return false
	}
	end := a.end
	if s.flight != nil {
		end = s.flight.room()
	}
	return end+space(p.a.plainSize()) <= a.head.size
}

// space is what a message of n bytes may need: its entry, its context and the context's twin, and the same for the context
// that replaces one which turns out to be used up.
func space(n int) int64 {
	return recordSize(n+64) + 4*recordSize(seal.EncSize)
}

// seal appends the message's entry to the flight, and its context if it is new in this segment.
func (s *sealer) seal(p *pending) error {
	f, a := s.flight, s.act
	at, known := a.contexts[p.context.ID]
	if !known {
		at = uint32(f.off) + uint32(len(f.buf))
		f.appendContext(p.context)
		a.contexts[p.context.ID] = at
		f.twins = append(f.twins, p.context)
	}
	h := header{
		kind: kindEntry, seq: a.head.firstSeq() + a.count, received: p.a.Received.UnixMicro(),
		ik: p.a.Compartment.Insurer.Number(), service: p.a.Compartment.Service.Code(),
		contextOff: at, context: p.context.ID, binding: p.binding, settled: uint32(f.off),
	}
	start := len(f.buf)
	s.scratch = appendPlain(s.scratch[:0], &p.a)
	s.aad = h.aad(s.aad[:0])
	sealed, counter, ok := p.context.Seal(grow(f.buf, headerSize), s.aad, s.scratch)
	if !ok { // used up since it was handed out
		fresh, err := s.j.cfg.Contexts.For(p.a.Compartment)
		if err != nil {
			return fmt.Errorf("couldn't seal to %s: %w", p.a.Compartment, err)
		}
		p.context = fresh
		return s.seal(p)
	}
	h.counter = counter
	h.finish(sealed[start:], a.head)
	f.buf = pad(sealed, start)
	f.entries = append(f.entries, h.entry(f.off+int64(start)))
	a.count++
	return nil
}

// finish fills in what depends on the body behind the header.
func (h *header) finish(record []byte, s segmentHead) {
	h.bodyLen = uint32(len(record) - headerSize)
	h.bodyCRC = crc32.Checksum(record[headerSize:], castagnoli)
	h.put(record, s)
}

func (f *flight) appendContext(c *seal.Context) {
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

// rotate closes the active segment and takes the prepared one. On an error the active one stays.
func (s *sealer) rotate() error {
	s.send()
	next, err := s.j.next()
	if err != nil {
		return err
	}
	if s.act != nil {
		s.j.flights <- &flight{act: s.act, closing: true}
	}
	s.act = &activeSegment{segment: next, end: dataStart, contexts: map[[16]byte]uint32{}}
	return nil
}

// next waits for a segment that may be written to.
func (j *Journal) next() (*segment, error) {
	for {
		select {
		case s := <-j.ready:
			if s.head.number > j.floor.Load() {
				return s, nil
			}
			j.release(s)
		case err := <-j.failed:
			return nil, err
		case <-j.stop:
			return nil, errClosed
		}
	}
}

// release says that nothing will be added to a segment any more.
func (j *Journal) release(s *segment) {
	j.mu.Lock()
	s.open = false
	j.mu.Unlock()
	j.trim()
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
		j.segments[number] = s
		j.last, j.highest = max(j.last, number), number
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

// newFlight returns an empty flight, a used one if there is one.
func (j *Journal) newFlight(act *activeSegment) *flight {
	select {
	case f := <-j.used:
		f.act, f.off = act, act.end
		return f
	default:
		return &flight{act: act, off: act.end}
	}
}

// recycle keeps a flight for a later one, unless a single large message has blown it up.
func (j *Journal) recycle(f *flight) {
	if f.closing || cap(f.buf) > 2*maxFlightBytes {
		return
	}
	clear(f.waiters)
	clear(f.twins)
	*f = flight{buf: f.buf[:0], entries: f.entries[:0], waiters: f.waiters[:0], twins: f.twins[:0], touched: f.touched[:0]}
	select {
	case j.used <- f:
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
		j.recycle(f)
	}
}

var errAbandoned = querschott.Refuse(querschott.CodeNoRoom, "a copy of the journal could not be written")

// land makes a flight durable on every copy and acknowledges it.
func (j *Journal) land(f *flight) {
	for _, c := range f.twins {
		f.appendContext(c)
	}
	if err := f.act.write(f.buf, f.off); err != nil {
		f.act.failed.Store(true)
		err = &querschott.Error{Code: querschott.CodeNoRoom, Public: "a copy of the journal could not be written", Err: err}
		j.setTrouble(err)
		j.refuse(f.waiters, err)
		j.wake() // the sealer takes another segment, and making the one behind it shows whether the trouble is over
		return
	}
	now := j.cfg.Now()
	f.act.entries = append(f.act.entries, f.entries...)
	arrived := j.enlist(f)
	for i, p := range f.waiters {
		p.done <- outcome{receipt: Receipt{Seq: f.entries[i].seq, Copies: len(j.cfg.Copies), At: now}}
	}
	if arrived != nil {
		for _, c := range f.touched {
			arrived(c)
		}
	}
}

// enlist queues a flight's entries for delivery and returns who wants to hear of it.
func (j *Journal) enlist(f *flight) (arrived func(querschott.Compartment)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, p := range f.waiters {
		e := &f.entries[i]
		j.stats.Bytes += recordSize(int(e.bodyLen))
		q := j.queueOf(p.a.Compartment)
		q.push(e.ref(f.act.segment))
		if !q.told {
			q.told = true
			f.touched = append(f.touched, p.a.Compartment)
		}
	}
	for _, c := range f.touched {
		j.queues[c].told = false
	}
	f.act.waiting += len(f.waiters)
	j.stats.Appended += uint64(len(f.waiters))
	return j.arrived
}

// finishSegment closes a segment that is full, or that a copy has failed on.
func (j *Journal) finishSegment(act *activeSegment) {
	j.writeIndex(act.segment, act.entries)
	j.release(act.segment)
	if act.failed.Load() {
		j.mendSoon()
	}
}
