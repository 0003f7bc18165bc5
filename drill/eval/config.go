package eval

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/querschott/querschott/drill/attack"
)

// Config says what is measured.
type Config struct {
	Seeds       int
	First       uint64 // the first seed; the others follow
	Days        int    // of each world
	WarmUp      int    // days of it before anything is counted; 0: half
	Staff       int
	Unexplained float64
	Families    []*attack.Family
	Copies      int                // attacks of each family in each world; default 1
	Without     []string           // detectors that do not run
	Compare     bool               // also watch without containing anything: simple methods, each detector left out, labels shuffled
	Budget      float64            // alarms that are looked at on a working day, for 30,000 staff; default 16
	Workers     int                // worlds at the same time; 0: one per processor
	Progress    func(done, of int) // called by one goroutine at a time
}

// The sizes that are possible.
const (
	maxSeeds = 1000
	maxDays  = 400
	maxStaff = 60_000
	minStaff = 30
	fullSize = 30_000 // staff that the budget is for
)

func (c *Config) check() error {
	if c.WarmUp == 0 {
		c.WarmUp = c.Days / 2
	}
	if c.Copies == 0 {
		c.Copies = 1
	}
	if c.Budget == 0 {
		c.Budget = 16
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case c.Seeds < 1 || c.Seeds > maxSeeds:
		return fmt.Errorf("between 1 and %d seeds are possible", maxSeeds)
	case c.Days < 2 || c.Days > maxDays || c.WarmUp < 1 || c.WarmUp >= c.Days:
		return fmt.Errorf("between 2 and %d days are possible, of which at least one is counted and one warms up", maxDays)
	case c.Staff < minStaff || c.Staff > maxStaff:
		return fmt.Errorf("between %d and %d staff are possible", minStaff, maxStaff)
	case !(c.Unexplained >= 0 && c.Unexplained <= 0.5):
		return errors.New("the share of accesses without a reason lies between 0 and 0.5")
	case c.Copies < 1 || c.Copies > 50:
		return errors.New("between 1 and 50 attacks of each family are possible")
	case !(c.Budget > 0):
		return errors.New("the budget of alarms is above 0")
	}
	return nil
}

// begin is the first day of a seed's world: a Monday of the year, so that holidays, the ends of quarters and summer time fall
// everywhere.
func begin(seed uint64) time.Time {
	return time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*int(seed*11%52))
}
