package ledger

import (
	"encoding/binary"
	"slices"
	"time"
)

// Stages is how far a door has opened, and under which plan. The zero value is of everything that has no stages.
type Stages struct {
	Share uint8         // per cent, in force
	Plan  [8]uint8      // per cent, rising; zeros behind the last one
	Every time.Duration // an interval of the plan
}

// stagesSize is how many bytes of a leaf the stages take.
const stagesSize = 1 + 8 + 8

func (s Stages) put(b []byte) {
	b[0] = s.Share
	copy(b[1:], s.Plan[:])
	binary.BigEndian.PutUint64(b[9:], uint64(s.Every))
}

func stagesFrom(b []byte) Stages {
	return Stages{Share: b[0], Plan: [8]uint8(b[1:9]), Every: time.Duration(binary.BigEndian.Uint64(b[9:]))}
}

// Shares returns the plan without the zeros behind it.
func (s Stages) Shares() []int {
	var list []int
	for _, share := range s.Plan {
		if share == 0 {
			break
		}
		list = append(list, int(share))
	}
	return slices.Clip(list)
}
