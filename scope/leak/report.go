package leak

import (
	"cmp"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope"
)

// GradeLeft is the evidence grade of persons whose data were seen outside.
const GradeLeft scope.Grade = "E5"

// Report is everything that is known of a dump. It names no person.
type Report struct {
	Files      []File   `json:"files"`
	Rows       uint64   `json:"rows"`       // with a person's number, every repetition
	Unreadable uint64   `json:"unreadable"` // rows without one, or beyond all bounds
	Persons    int      `json:"persons"`    // different ones
	Insurers   []Share  `json:"insurers"`   // by IK; a person whom two insurers know counts with both
	Unknown    int      `json:"unknown"`    // persons whom neither the ledger nor the history knows
	Canaries   int      `json:"canaries"`   // invented persons of this platform: surely a copy of its data
	Windows    []Window `json:"windows"`    // when the copies were made, the earliest first; at most a hundred
	More       int      `json:"windows_left_out,omitempty"`
	Strange    uint64   `json:"strange_values"` // that the history does not have of their person: invented, or it is not complete
	Ranking    *Ranking `json:"ranking,omitempty"`
}

// Share is what a dump has of one insurer's persons.
type Share struct {
	Insurer  querschott.IK `json:"insurer"`
	Persons  int           `json:"persons"`
	Canaries int           `json:"canaries"`
	Ledger   int           `json:"by_ledger"`  // known by the insurer's logs
	History  int           `json:"by_history"` // known by the history
	Grade    scope.Grade   `json:"grade"`
}

// Known is what the platform knows of the numbers of a dump.
type Known struct {
	Owners   []Owner  `json:"owners"`
	Canaries []Owner  `json:"canaries"`
	Ranking  *Ranking `json:"ranking"`
}

// Owner is an insurer, and who of the numbers is known there, as places among them.
type Owner struct {
	Insurer querschott.IK `json:"insurer"`
	Persons []uint32      `json:"persons"`
}

const maxWindows = 100

// Report says what is known of the dump. known is the platform's answer; nil if it was not asked.
func (d *Dump) Report(known *Known) *Report {
	r := &Report{Files: slices.Clone(d.files), Persons: len(d.numbers), Insurers: []Share{}, Windows: d.Date(), Strange: d.strange}
	for i := range d.files {
		r.Rows, r.Unreadable = r.Rows+d.files[i].Rows, r.Unreadable+d.files[i].Unreadable
	}
	if n := len(r.Windows); n > maxWindows {
		r.Windows, r.More = r.Windows[:maxWindows], n-maxWindows
	}
	shares := map[querschott.IK]*tallied{}
	of := func(in querschott.IK) *tallied {
		if shares[in] == nil {
			shares[in] = &tallied{persons: map[uint32]struct{}{}}
		}
		return shares[in]
	}
	if known != nil {
		r.Ranking = known.Ranking
		for _, o := range known.Owners {
			of(o.Insurer).add(o.Persons, &of(o.Insurer).Ledger)
		}
		for _, o := range known.Canaries {
			of(o.Insurer).add(o.Persons, &of(o.Insurer).Canaries)
			r.Canaries += len(o.Persons)
		}
	}
	for mark, who := range d.persons {
		if i, ok := d.history.of[mark]; ok {
			s := of(d.history.insurers[i])
			s.add([]uint32{who}, &s.History)
		}
	}
	somewhere := map[uint32]struct{}{}
	for in, s := range shares {
		for who := range s.persons {
			somewhere[who] = struct{}{}
		}
		s.Insurer, s.Persons, s.Grade = in, len(s.persons), GradeLeft
		r.Insurers = append(r.Insurers, s.Share)
	}
	r.Unknown = r.Persons - len(somewhere)
	slices.SortFunc(r.Insurers, func(x, y Share) int { return cmp.Compare(x.Insurer, y.Insurer) })
	return r
}

type tallied struct {
	Share
	persons map[uint32]struct{}
}

func (s *tallied) add(persons []uint32, count *int) {
	*count += len(persons)
	for _, who := range persons {
		s.persons[who] = struct{}{}
	}
}
