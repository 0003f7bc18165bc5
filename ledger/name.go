package ledger

import (
	"cmp"
	"fmt"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger/proof"
)

// logID names one log of the ledger: who and which year. On disk it has six bytes.
type logID struct {
	owner uint32 // an insurer's IK as a number, or one of the two below
	year  uint16
}

// The owners that are no insurer. No valid IK has these numbers.
const (
	platform uint32 = 0
	commits  uint32 = 1
)

func (id logID) compare(o logID) int {
	return cmp.Or(cmp.Compare(id.owner, o.owner), cmp.Compare(id.year, o.year))
}

func (id logID) name() string {
	switch id.owner {
	case platform:
		return "platform"
	case commits:
		return "commits"
	}
	return string(querschott.IKFromNumber(id.owner))
}

// insurer is "" for the platform's and the commits' logs.
func (id logID) insurer() querschott.IK {
	if id.owner <= commits {
		return ""
	}
	return querschott.IKFromNumber(id.owner)
}

func (id logID) origin(domain string) string {
	return fmt.Sprintf("%s/ledger/%s/%d", domain, id.name(), id.year)
}

// fileName is the beginning of the names of all files of the log.
func (id logID) fileName() string { return fmt.Sprintf("%s-%d", id.name(), id.year) }

// leafSize is the length of every entry of the log.
func (id logID) leafSize() int {
	if id.owner == commits {
		return proof.CommitSize
	}
	return LeafSize
}

// InsurerOrigin returns the origin of an insurer's log of one year; of the platform's own log for the insurer "".
func InsurerOrigin(domain string, insurer querschott.IK, year int) string {
	return logID{insurer.Number(), uint16(year)}.origin(domain)
}

// CommitsOrigin returns the origin of the chain of commits of one year: the log whose key receipts are verified with.
func CommitsOrigin(domain string, year int) string {
	return logID{commits, uint16(year)}.origin(domain)
}
