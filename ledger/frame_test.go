package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/querschott/querschott/ledger/proof"
	"github.com/querschott/querschott/ledger/tile"
)

// aFrame is a commit of two entries in two logs.
func aFrame() []byte {
	b := beginFrame(nil)
	for i := range 2 {
		b = append(b, 0, 0, 1, byte(i), 7, 234, 0, 3)
		b = append(b, make([]byte, LeafSize)...)
		b = append(b, "abc"...)
	}
	for i := range 2 {
		b = appendHead(b, logID{256 + uint32(i), 2026}, 1, tile.Hash{byte(i)})
	}
	c := &commit{Commit: proof.Commit{Seq: 5, Time: 6, Heads: 2}, chain: tile.Grow(tile.Tree{}, []tile.Hash{{1}})}
	return endFrame(b, c, 2026, 2)
}

func TestFrame(t *testing.T) {
	b := aFrame()
	f, err := parseFrame(append(bytes.Clone(b), "what follows"...))
	if err != nil {
		t.Fatal(err)
	}
	if f.seq != 5 || len(f.entries) != 2 || string(f.entries[1].sealed) != "abc" || f.entries[1].id != (logID{257, 2026}) ||
		f.heads[1].root != (tile.Hash{1}) || f.year != 2026 || f.size != 1 || !bytes.Equal(f.raw, b) {
		t.Errorf("got %+v", f)
	}
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			if _, err := parseFrame(bad); err == nil {
				t.Errorf("bit %d of byte %d can be changed", bit, i)
			}
		}
		if _, err := parseFrame(b[:i]); err == nil {
			t.Errorf("cut off at %d", i)
		}
	}
	if !laterFrame(append([]byte("rubble"), b...), 4) || laterFrame(b, 5) || laterFrame(nil, 0) {
		t.Error("later frames are not told from earlier ones")
	}
}

func TestStateRoundTrip(t *testing.T) {
	s := &state{seq: 9, pos: walPosition{3, 4096}, logs: []logState{
		{logID{109500969, 2026}, tile.Tree{Size: 3, Peaks: []tile.Hash{{1}, {2}}}, 77, []tile.Hash{{3}}},
	}}
	e := (&Leaf{Kind: KindDoorChange, Service: "eau", Insurer: "109500969", Action: ActionHold, Epoch: 8, Stages: aPlan}).Bytes()
	s.epochs.note(e)
	got, err := parseState(s.marshal())
	if err != nil || !bytes.Equal(got.marshal(), s.marshal()) || got.epochs[0].mark != (DoorMark{8, ActionHold, aPlan}) {
		t.Errorf("got %+v, %v", got, err)
	}
	// One of the version before lacks the stages, and is read.
	before := append([]byte(stateBefore), s.marshal()[len(stateMagic):]...)
	got, err = parseState(before[:len(before)-stagesSize])
	if err != nil || got.epochs[0].mark != (DoorMark{8, ActionHold, Stages{}}) {
		t.Errorf("of the version before: got %+v, %v", got, err)
	}
}

var aPlan = Stages{Share: 10, Plan: [8]uint8{10, 100}, Every: time.Minute}

func FuzzParseFrame(f *testing.F) {
	f.Add(aFrame())
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseFrame(b); err == nil && len(g.raw) > len(b) {
			t.Error("longer than what it was read from")
		}
		laterFrame(b, 3)
	})
}

func FuzzParseState(f *testing.F) {
	f.Add((&state{seq: 1}).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseState(b); err == nil && bytes.HasPrefix(b, []byte(stateMagic)) && !bytes.Equal(s.marshal(), b) {
			t.Errorf("%x was read as %+v", b, s)
		}
	})
}

func FuzzParsePayload(f *testing.F) {
	f.Add(appendPayload(nil, &Entry{Actor: "a", Detail: []Field{{"b", "c"}}}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePayload(b)
		if err != nil {
			return
		}
		e := &Entry{Actor: p.Actor, Credential: p.Credential, RequestID: p.RequestID, Detail: p.Detail}
		if again, err := parsePayload(appendPayload(nil, e, p.Persons)); err != nil || again.RequestID != p.RequestID {
			t.Errorf("%x was read as %+v, %v", b, p, err)
		}
	})
}
