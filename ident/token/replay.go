package token

import (
	"encoding/binary"
	"errors"
	"sync"
)

const (
	proofShards = 16
	bucketSpan  = 10 // seconds
	proofBytes  = 16 // of a remembered proof
)

// proofKey is the beginning of SHA-256(thumbprint || 0 || jti).
type proofKey [proofBytes]byte

type verdict uint8

const (
	proofNew verdict = iota
	proofSeen
	proofNoRoom
)

// proofs remembers the proofs that were accepted for as long as they would be accepted again. They lie in buckets by the
// time when that ends, and leave a bucket at a time.
type proofs struct {
	shards [proofShards]proofShard
	max    int // of one shard
}

// proofShard is one part of the memory; mu guards the rest.
type proofShard struct {
	mu      sync.Mutex
	buckets map[int64]map[proofKey]struct{} // by the end in seconds, divided by bucketSpan
	count   int
	dropped int64 // the bucket of the last look for what is over
	closed  bool  // its memory was handed over
}

func newProofs(bound int) *proofs {
	p := &proofs{max: max(1, bound/proofShards)}
	for i := range p.shards {
		p.shards[i].buckets = map[int64]map[proofKey]struct{}{}
	}
	return p
}

// accept remembers a proof until expires, in seconds since 1970. Of any number of calls with the same key one gets proofNew.
func (p *proofs) accept(key proofKey, expires, now int64) verdict {
	s := &p.shards[key[0]%proofShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(now)
	for _, bucket := range s.buckets {
		if _, seen := bucket[key]; seen {
			return proofSeen
		}
	}
	if s.closed || s.count >= p.max {
		return proofNoRoom
	}
	s.remember(key, expires)
	return proofNew
}

func (s *proofShard) remember(key proofKey, expires int64) {
	n := expires / bucketSpan
	bucket := s.buckets[n]
	if bucket == nil {
		bucket = map[proofKey]struct{}{}
		s.buckets[n] = bucket
	}
	bucket[key] = struct{}{}
	s.count++
}

// drop forgets the buckets in which nothing would be accepted any more.
func (s *proofShard) drop(now int64) {
	if now/bucketSpan == s.dropped {
		return
	}
	s.dropped = now / bucketSpan
	for n, bucket := range s.buckets {
		if (n+1)*bucketSpan <= now {
			s.count -= len(bucket)
			delete(s.buckets, n)
		}
	}
}

func (p *proofs) len() int {
	n := 0
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n += s.count
		s.mu.Unlock()
	}
	return n
}

// A snapshot is a head of four numbers (version, window in seconds, fence, time of saving) and then, for every proof, the end
// of its bucket in seconds and its key. The fence is handed on: proofs of its time and before are not all in the snapshot.
const (
	snapshotVersion = 1
	snapshotHead    = 4 * 8
	snapshotEntry   = 8 + proofBytes
)

var errSnapshot = errors.New("not a memory of proofs")

// snapshot writes down everything that is remembered. From then on nothing is accepted.
func (p *proofs) snapshot(window, fence, now int64) []byte {
	b := make([]byte, 0, snapshotHead+p.len()*snapshotEntry)
	for _, n := range [...]int64{snapshotVersion, window, fence, now} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		s.closed = true
		s.drop(now)
		for n, bucket := range s.buckets {
			for key := range bucket {
				b = binary.BigEndian.AppendUint64(b, uint64((n+1)*bucketSpan-1))
				b = append(b, key[:]...)
			}
		}
		s.mu.Unlock()
	}
	return b
}

// restore takes over a snapshot of the same window: with another, proofs might have been forgotten too early.
func (p *proofs) restore(b []byte, window, now int64) (fence int64, err error) {
	if len(b) < snapshotHead || (len(b)-snapshotHead)%snapshotEntry != 0 ||
		binary.BigEndian.Uint64(b) != snapshotVersion || binary.BigEndian.Uint64(b[8:]) != uint64(window) {
		return 0, errSnapshot
	}
	fence = int64(binary.BigEndian.Uint64(b[16:]))
	if saved := int64(binary.BigEndian.Uint64(b[24:])); saved > now {
		return 0, errSnapshot
	}
	for b = b[snapshotHead:]; len(b) > 0; b = b[snapshotEntry:] {
		expires, key := int64(binary.BigEndian.Uint64(b)), proofKey(b[8:])
		if expires < now {
			continue
		}
		s := &p.shards[key[0]%proofShards]
		s.mu.Lock()
		if s.count >= p.max {
			s.mu.Unlock()
			return 0, errSnapshot
		}
		s.remember(key, expires)
		s.mu.Unlock()
	}
	return fence, nil
}
