package ledger

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger/tile"
)

// state is what a start needs to know of everything before the WAL's tail. The file is signed with the ledger's key, so
// that only a whole older directory can be put in its place; against that help witnesses.
type state struct {
	seq    uint64      // last commit in the packs
	pos    walPosition // behind its frame
	logs   []logState  // ascending
	epochs epochs
}

type logState struct {
	id         logID
	tree       tile.Tree
	payloadEnd uint32
	level2     []tile.Hash
}

type epochState struct {
	compartment querschott.Compartment
	mark        DoorMark
}

// epochs are the newest recorded orders of doors, ascending by compartment.
type epochs []epochState

// note keeps the epoch of a door, if the leaf is of a door's change.
func (e *epochs) note(leaf []byte) {
	if Kind(leaf[1]) != KindDoorChange {
		return
	}
	l, err := ParseLeaf(leaf)
	if err != nil || l.Insurer == "" || l.Service == "" {
		return // not of a compartment, or of a later version, which this one can't read
	}
	c := querschott.Compartment{Insurer: l.Insurer, Service: l.Service}
	i, found := slices.BinarySearchFunc(*e, c, func(e epochState, c querschott.Compartment) int {
		return e.compartment.Compare(c)
	})
	if !found {
		*e = slices.Insert(*e, i, epochState{compartment: c})
	}
	if !found || l.Epoch >= (*e)[i].mark.Epoch {
		(*e)[i].mark = DoorMark{Epoch: l.Epoch, Action: l.Action, Stages: l.Stages}
	}
}

const (
	stateName    = "state"
	stateMagic   = "querschott ledger state v3\n"
	stateBefore  = "querschott ledger state v2\n" // without stages: what opened in stages is not remembered to do so
	stateMaximum = 1 << 30
)

func (s *state) marshal() []byte {
	be := binary.BigEndian
	b := []byte(stateMagic)
	b = be.AppendUint64(be.AppendUint64(be.AppendUint64(b, s.seq), s.pos.seg), uint64(s.pos.off))
	b = be.AppendUint32(b, uint32(len(s.logs)))
	for _, g := range s.logs {
		b = be.AppendUint16(be.AppendUint32(b, g.id.owner), g.id.year)
		b = be.AppendUint32(be.AppendUint64(b, g.tree.Size), g.payloadEnd)
		b = appendHashes(b, g.tree.Peaks)
		b = appendHashes(b, g.level2)
	}
	b = be.AppendUint32(b, uint32(len(s.epochs)))
	for _, e := range s.epochs {
		b = be.AppendUint32(b, e.compartment.Insurer.Number())
		b = append(b, e.compartment.Service.Code(), byte(e.mark.Action))
		b = be.AppendUint64(b, e.mark.Epoch)
		var stages [stagesSize]byte
		e.mark.Stages.put(stages[:])
		b = append(b, stages[:]...)
	}
	return b
}

func appendHashes(b []byte, hashes []tile.Hash) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(hashes)))
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

func parseState(b []byte) (*state, error) {
	r := reader{b: b}
	magic := string(r.take(uint64(len(stateMagic))))
	if magic != stateMagic && magic != stateBefore {
		return nil, errors.New("not a ledger's state")
	}
	s := &state{seq: r.u64(), pos: walPosition{r.u64(), int64(r.u64())}}
	hashes := func() []tile.Hash {
		n := r.u32()
		if uint64(n)*hashSize > uint64(len(r.b)) {
			r.bad = true
			return nil
		}
		out := make([]tile.Hash, n)
		for i := range out {
			out[i] = r.hash()
		}
		return out
	}
	for n := r.u32(); n > 0 && !r.bad; n-- {
		s.logs = append(s.logs, logState{
			logID{r.u32(), r.u16()}, tile.Tree{Size: r.u64()}, r.u32(), nil,
		})
		g := &s.logs[len(s.logs)-1]
		g.tree.Peaks, g.level2 = hashes(), hashes()
	}
	for n := r.u32(); n > 0 && !r.bad; n-- {
		e := epochState{compartment: querschott.Compartment{Insurer: querschott.IKFromNumber(r.u32())}}
		code := r.take(2)
		e.mark.Epoch = r.u64()
		if magic == stateMagic {
			if b := r.take(stagesSize); !r.bad {
				e.mark.Stages = stagesFrom(b)
			}
		}
		if r.bad {
			break
		}
		var err error
		if e.compartment.Service, err = querschott.ServiceFromCode(code[0]); err != nil {
			return nil, err
		}
		e.mark.Action = Action(code[1])
		s.epochs = append(s.epochs, e)
	}
	if r.bad || len(r.b) > 0 {
		return nil, errors.New("the ledger's state has the wrong length")
	}
	return s, nil
}

func (s *state) write(fs disk.FS, dir string, key ed25519.PrivateKey) error {
	b := s.marshal()
	return disk.WriteFile(fs, filepath.Join(dir, stateName), append(b, ed25519.Sign(key, b)...))
}

// readState returns nil when there is none.
func readState(fsys disk.FS, dir string, key ed25519.PublicKey) (*state, error) {
	name := filepath.Join(dir, stateName)
	b, err := disk.ReadFile(fsys, name, stateMaximum)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", name, err)
	}
	at := len(b) - ed25519.SignatureSize
	if at < 0 || !ed25519.Verify(key, b[:at], b[at:]) {
		return nil, fmt.Errorf("%s isn't signed with this ledger's key, or is damaged: %w", name, querschott.ErrHalt)
	}
	s, err := parseState(b[:at])
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", name, errors.Join(err, querschott.ErrHalt))
	}
	return s, nil
}

// restore puts the state's trees into the ledger's logs.
func (s *state) restore(l *Ledger) {
	for _, st := range s.logs {
		g := l.log(st.id)
		g.pack.tree, g.pack.filed, g.pack.payloadEnd = st.tree, st.tree.Size, st.payloadEnd
		g.publish(st.tree)
		whole := tile.Grow(tile.Tree{}, st.level2)
		for h := 0; len(st.level2)>>h > 0; h += tile.Height {
			_, nodes := whole.Level(h)
			g.pack.upper = append(g.pack.upper, slices.Clone(nodes))
		}
	}
}
