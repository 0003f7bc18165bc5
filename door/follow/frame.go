package follow

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/querschott/querschott"
)

// Limits of what a peer may send.
const (
	maxFrame = 64 << 10
	maxPart  = 40 << 10 // of a list, so that it fits a frame in base64
	maxParts = 1 << 10
	maxName  = 64
	maxFault = 300
)

const (
	kindOrder = "order" // down: the order in force; without a note: there is none that is signed
	kindList  = "list"  // down: a part of a list
	kindBeat  = "beat"  // down: everything up to here was sent
	kindAck   = "ack"   // up: the frame of this number is obeyed, or was refused
)

// frame is what both sides send: four bytes of length, most significant first, and JSON.
type frame struct {
	Kind        string `json:"kind"`
	Number      uint64 `json:"number"` // down: rises by one from 1 on; up: of the frame that is answered
	Compartment string `json:"compartment,omitempty"`
	Note        []byte `json:"note,omitempty"`
	Base        []byte `json:"base,omitempty"` // the opening that the order narrows, where the publisher has it
	Step        []byte `json:"step,omitempty"`

	Name  string `json:"name,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Part  int    `json:"part,omitempty"`
	Parts int    `json:"parts,omitempty"`
	Data  []byte `json:"data,omitempty"`

	Applied time.Time `json:"applied,omitzero"`
	Fault   string    `json:"fault,omitempty"`
}

func writeFrame(w io.Writer, f frame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("couldn't write a frame: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a frame has at most %d bytes, this one has %d", maxFrame, len(body))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)) // one write: one packet
	return err
}

func readFrame(r io.Reader) (f frame, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return f, fmt.Errorf("a frame has 1 to %d bytes, this one says %d", maxFrame, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return f, fmt.Errorf("couldn't read a frame to its end: %w", err)
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return f, errors.New("a frame is not what it should be")
	}
	return f, f.check()
}

// check refuses what neither side sends.
func (f frame) check() error {
	switch {
	case f.Number == 0 || len(f.Name) > maxName || len(f.Fault) > 4*maxFault:
		return errors.New("a frame has a field outside its limits")
	case f.Kind == kindList && (f.Name == "" || f.Epoch == 0 || f.Parts < 1 || f.Parts > maxParts || f.Part < 0 || f.Part >= f.Parts):
		return errors.New("a part of a list is outside its limits")
	case f.Kind == kindOrder:
		_, err := querschott.ParseCompartment(f.Compartment)
		return err
	case f.Kind != kindList && f.Kind != kindBeat && f.Kind != kindAck:
		return fmt.Errorf("there is no frame %.20q", f.Kind)
	}
	return nil
}
