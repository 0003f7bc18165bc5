package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott/ledger/tile"
)

const (
	packAfter    = 1 << 20  // what gather is unless states are written more often
	packLimit    = 32 << 20 // bytes of WAL that may wait in memory; then the writer waits
	snapshotMost = 16384    // commits between two states: bounds the replay at a start
	packPause    = time.Millisecond

	keptSheets = 128
	keptFrame  = 256 << 10 // bytes
)

// job is one durable commit on its way into the packs.
type job struct {
	sheet
	commit *commit
	chain  *log // the log of commits
	logs   []*log
	spans  []tile.Span // of logs
	pos    walPosition // behind the frame
}

// sheet is a WAL frame and whose its entries are.
type sheet struct {
	frame  []byte
	owners []*log // of the entries, in their order
}

// walPosition is where a frame ends.
type walPosition struct {
	seg uint64
	off int64
}

// packer carries durable commits into the pack files, and now and then makes these durable and retires the WAL behind.
// Its goroutine is the only one that writes packs and state.
type packer struct {
	l      *Ledger
	store  packStore
	gather int // bytes of WAL that gather before they go into the packs

	mu       sync.Mutex
	cond     *sync.Cond
	queue    []job
	bytes    int  // of the frames in queue
	wake     bool // somebody waits for the packs
	closing  bool
	attempts uint64 // rounds made so far
	err      error  // of the last round

	// The goroutine's.
	touched  map[*log]bool // logs with entries that are not in the files yet
	state    state         // as of the last commit that it took; its trees are filled in when it's written
	since    int64         // bytes of WAL since the last state
	commits  int           // commits since the last state
	oldest   uint64        // WAL segment
	pause    *time.Timer   // nil before the first
	finished chan error

	sheets chan sheet // for the writer to use again; a pool would be emptied by each garbage collection
}

// put queues a commit. It never waits.
func (p *packer) put(j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, j)
	p.bytes += len(j.frame)
	if p.bytes >= p.gather {
		p.cond.Broadcast()
	}
}

// admit returns when there is room for another commit. It fails when there is none and the packs can't be written.
func (p *packer) admit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.bytes > packLimit {
		if err := p.round(); err != nil {
			return err
		}
	}
	return nil
}

// round waits for the next attempt of the goroutine and returns its result. The caller holds mu.
func (p *packer) round() error {
	for at := p.attempts; at == p.attempts; {
		p.wake = true
		p.cond.Broadcast()
		p.cond.Wait()
	}
	return p.err
}

// until returns when the packs hold the log up to a size that has been durable before the call.
func (p *packer) until(g *log, size uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for g.pack.size() < size {
		if err := p.round(); err != nil {
			return err
		}
	}
	return nil
}

func (p *pack) size() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.filed
}

func (p *packer) run() {
	for {
		p.mu.Lock()
		for p.bytes < p.gather && !p.wake && !p.closing {
			p.cond.Wait()
		}
		closing, asked := p.closing, p.wake
		p.wake = false
		jobs, bytes := p.queue, p.bytes
		p.queue = nil
		p.mu.Unlock()

		err := p.pack(jobs, closing, asked)

		p.mu.Lock()
		if err == nil {
			p.bytes -= bytes
		}
		p.err = err
		p.attempts++
		p.cond.Broadcast()
		p.mu.Unlock()
		if closing {
			p.finished <- err
			return
		}
	}
}

// pack takes commits and writes them to the packs: of each log what fills chunks, or everything when somebody asks for it
// or it becomes much. What it couldn't write it keeps for the next time.
func (p *packer) pack(jobs []job, closing, asked bool) error {
	for i := range jobs {
		p.absorb(&jobs[i])
		runtime.Gosched() // who waits for a commit goes first
	}
	due := p.l.key != nil && (p.since >= p.l.cfg.SnapshotBytes || p.commits >= snapshotMost || closing && p.commits > 0) // the state is signed
	all := due || closing || asked || p.waiting() > packLimit
	for g := range p.touched {
		n := len(g.pack.waiting.lengths)
		if !all {
			n = g.pack.whole()
		}
		if n == 0 {
			continue
		}
		if err := p.store.flush(g, n); err != nil {
			return fmt.Errorf("couldn't write packs of log %s: %w", g.origin, err)
		}
		if len(g.pack.waiting.lengths) == 0 {
			delete(p.touched, g)
		}
		p.breathe(closing || asked)
	}
	if due {
		return p.snapshot(closing || asked)
	}
	return nil
}

// breathe leaves the disk to the WAL between two files: its syncs wait for what the disk has been given before. It does not when
// somebody waits, when much has queued, or when states are so frequent that there is little to write.
func (p *packer) breathe(hurry bool) {
	p.mu.Lock()
	hurry = hurry || p.wake || p.closing || p.bytes > packLimit/4 || p.gather < packAfter
	p.mu.Unlock()
	if hurry {
		runtime.Gosched() // who waits for a commit goes first
		return
	}
	if p.pause == nil {
		p.pause = time.NewTimer(packPause)
	} else {
		p.pause.Reset(packPause)
	}
	<-p.pause.C
}

// waiting returns how many bytes wait in memory for the files.
func (p *packer) waiting() (bytes int) {
	for g := range p.touched {
		bytes += len(g.pack.waiting.entries) + len(g.pack.waiting.sealed)
	}
	return bytes
}

// absorb copies a commit's entries to what waits for the packs.
func (p *packer) absorb(j *job) {
	be := binary.BigEndian
	at := frameHeader
	for _, g := range j.owners {
		b := j.frame[at:]
		sealed := int(be.Uint16(b[6:]))
		leaf := b[entryHeader : entryHeader+LeafSize]
		g.pack.waiting.add(leaf, b[entryHeader+LeafSize:entryHeader+LeafSize+sealed])
		p.state.epochs.note(leaf)
		at += entryHeader + LeafSize + sealed
	}
	var heads []byte
	for i, g := range j.logs {
		g.pack.grow(&j.spans[i])
		p.touched[g] = true
		heads = appendCommitHead(heads, g.id, j.spans[i].New.Size)
	}
	j.chain.pack.waiting.add(j.commit.Bytes(), heads)
	j.chain.pack.grow(j.commit.chain)
	p.touched[j.chain] = true
	p.state.seq, p.state.pos = j.commit.Seq, j.pos
	p.since += int64(len(j.frame))
	p.commits++
	p.reuse(j.sheet)
}

// sheet returns an empty one for the frame of some requests.
func (p *packer) sheet(reqs []*request) (s sheet) {
	select {
	case s = <-p.sheets:
	default:
	}
	room, entries := int64(frameHeader+frameTail), 0
	for _, r := range reqs {
		room, entries = room+r.frameBytes(), entries+len(r.items)
	}
	return sheet{slices.Grow(s.frame[:0], int(room)), slices.Grow(s.owners[:0], entries)}
}

// reuse takes back the memory of a sheet.
func (p *packer) reuse(s sheet) {
	if cap(s.frame) > keptFrame {
		return
	}
	select {
	case p.sheets <- s:
	default:
	}
}

// A commit's payload, which isn't personal and not sealed, names the heads that it touched, so that the whole chain can
// be recomputed: owner uint32, year uint16, size uint64, each.
func appendCommitHead(b []byte, id logID, size uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, id.owner)
	b = binary.BigEndian.AppendUint16(b, id.year)
	return binary.BigEndian.AppendUint64(b, size)
}

// snapshot makes the packs durable, then the state that says so, then gives up the WAL behind it.
func (p *packer) snapshot(hurry bool) error {
	logs := p.l.sorted()
	if err := p.store.sync(logs, func() { p.breathe(hurry) }); err != nil {
		return fmt.Errorf("couldn't sync packs: %w", err)
	}
	p.state.logs = p.state.logs[:0]
	for _, g := range logs {
		if g.pack.filed > 0 { // and nothing waits
			p.state.logs = append(p.state.logs, logState{g.id, g.pack.tree, g.pack.payloadEnd, g.pack.level2()})
		}
	}
	if err := p.state.write(p.l.cfg.FS, p.l.cfg.Dir, p.l.key); err != nil {
		return fmt.Errorf("couldn't write the ledger's state: %w", err)
	}
	p.since, p.commits = 0, 0
	if p.oldest == p.state.pos.seg || p.l.backups.Load() > 0 {
		return nil
	}
	return p.retire()
}

// retire gives up the WAL's segments before the state.
func (p *packer) retire() error {
	w, first := p.l.wal, p.oldest
	for ; p.oldest < p.state.pos.seg; p.oldest++ {
		if err := w.retire(p.oldest); err != nil {
			return fmt.Errorf("couldn't retire a WAL segment: %w", err)
		}
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return fmt.Errorf("couldn't retire WAL segments: %w", err)
	}
	for seg := first; seg < p.oldest; seg++ {
		if err := w.keep(seg); err != nil {
			return fmt.Errorf("couldn't remove a WAL segment: %w", err)
		}
	}
	return nil
}

func (p *pack) level2() upper {
	if len(p.upper) == 0 {
		return nil
	}
	return p.upper[0]
}

// stop packs everything that was put, writes the state and ends the goroutine.
func (p *packer) stop() error {
	p.mu.Lock()
	p.closing = true
	p.cond.Broadcast()
	p.mu.Unlock()
	err := <-p.finished
	for _, g := range p.l.sorted() {
		err = errors.Join(err, p.store.close(g))
	}
	return err
}
