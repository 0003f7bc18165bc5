package drill

import (
	"iter"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
)

// Promise is one 250: the platform has said that it has this message.
type Promise struct {
	Binding     intake.Binding
	Compartment querschott.Compartment
	Receipt     string // the text of the answer, at most 64 octets of it
	At          time.Time
}

// Books are the promises that senders were given, in the order in which they came; about 100 bytes each. A promise stays
// for as long as the books do. All methods may be called at the same time.
type Books struct {
	mu     sync.Mutex // guards everything below
	n      int
	chunks []*chunk
}

const (
	chunkRows  = 4096
	maxReceipt = 64
)

// chunk holds rows and, one after another, their receipts.
type chunk struct {
	rows [chunkRows]row
	text []byte
}

type row struct {
	binding   intake.Binding
	at        int64 // Unix microseconds
	ik        uint32
	text      uint32 // offset in chunk.text
	textBytes uint8
	service   byte
}

// Add writes down a promise.
func (b *Books) Add(p Promise) {
	receipt := p.Receipt[:min(len(p.Receipt), maxReceipt)]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n%chunkRows == 0 {
		b.chunks = append(b.chunks, &chunk{})
	}
	c := b.chunks[len(b.chunks)-1]
	c.rows[b.n%chunkRows] = row{
		binding: p.Binding, at: p.At.UnixMicro(), ik: p.Compartment.Insurer.Number(), service: p.Compartment.Service.Code(),
		text: uint32(len(c.text)), textBytes: uint8(len(receipt)),
	}
	c.text = append(c.text, receipt...)
	b.n++
}

// Len returns the number of promises.
func (b *Books) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// At returns the i-th promise, counted from 0.
func (b *Books) At(i int) Promise {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chunks[i/chunkRows]
	return c.promise(&c.rows[i%chunkRows])
}

// slot returns a number for the compartment of the i-th promise, without the work of writing its name.
func (b *Books) slot(i uint32) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.chunks[i/chunkRows].rows[i%chunkRows]
	return uint64(r.ik)<<8 | uint64(r.service)
}

// All returns the promises that there are when it is called; those that come meanwhile are left out.
func (b *Books) All() iter.Seq[Promise] {
	n := b.Len()
	return func(yield func(Promise) bool) {
		for i := range n {
			if !yield(b.At(i)) {
				return
			}
		}
	}
}

func (c *chunk) promise(r *row) Promise {
	service, _ := querschott.ServiceFromCode(r.service) // written by Add: a service that has no code comes back as ""
	return Promise{
		Binding: r.binding, Compartment: querschott.Compartment{Insurer: querschott.IKFromNumber(r.ik), Service: service},
		Receipt: string(c.text[r.text:][:r.textBytes]), At: time.UnixMicro(r.at),
	}
}
