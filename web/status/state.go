package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

// Format is what every file says of its form.
const Format = "querschott-status/1"

// Cause says why a door is not open.
type Cause string

// The causes.
const (
	Attack      Cause = "attack"
	Disturbance Cause = "disturbance"
	Maintenance Cause = "maintenance"
	Precaution  Cause = "precaution"
)

// Causes lists all causes.
func Causes() []Cause { return []Cause{Attack, Disturbance, Maintenance, Precaution} }

// Instant is a time in UTC with milliseconds, written as gematik's interfaces write it.
type Instant struct{ time.Time }

const instantLayout = "2006-01-02T15:04:05.000Z"

// At makes an instant of a time.
func At(t time.Time) Instant { return Instant{t.UTC().Truncate(time.Millisecond)} }

// MarshalJSON writes 2026-11-22T10:00:00.000Z.
func (i Instant) MarshalJSON() ([]byte, error) {
	return []byte(i.UTC().Format(`"` + instantLayout + `"`)), nil
}

// UnmarshalJSON reads exactly what MarshalJSON writes.
func (i *Instant) UnmarshalJSON(b []byte) (err error) {
	i.Time, err = time.Parse(`"`+instantLayout+`"`, string(b))
	return err
}

// State is what the page shows, and all that it knows.
type State struct {
	Format       string    `json:"format"`
	Platform     string    `json:"platform"`           // its domain
	Exercise     string    `json:"exercise,omitempty"` // "drill" or "demo": nothing of it is real
	AsOf         Instant   `json:"asOf"`
	NextUpdateAt Instant   `json:"nextUpdateAt"` // after it the state is out of date
	Insurers     []Insurer `json:"insurers"`
}

// Insurer is how the services of one insurer are.
type Insurer struct {
	IK          querschott.IK        `json:"ik"`
	Name        string               `json:"name"`
	NotAffected []querschott.Service `json:"notAffected"` // open to everybody
	Doors       []Door               `json:"doors"`       // that are not open, not yet open to everybody, or open again
}

// Door is how one service of an insurer is.
type Door struct {
	Service  querschott.Service   `json:"service"`
	Door     querschott.DoorState `json:"door"`
	Share    int                  `json:"share,omitempty"` // per cent of the callers to whom it is open; only while it opens in stages
	Cause    Cause                `json:"cause"`
	Since    *Instant             `json:"since,omitempty"`    // nil: never opened
	Incident string               `json:"incident,omitempty"` // reference, as refusals name it
	AllClear bool                 `json:"allClear"`           // it was shut, and is open to everybody again
}

// Limits of a state.
const (
	maxInsurers = 2000
	maxName     = 200
	maxFile     = 1_000_000
	maxValid    = 24 * time.Hour
)

var (
	platformName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,80}$`)
	reference    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`)
)

// Reference returns the reference of an incident, "" if it is none that may be published: what is not written like a reference
// may be a sentence about somebody.
func Reference(s string) string {
	if reference.MatchString(s) {
		return s
	}
	return ""
}

// check refuses a state that nobody should be shown.
func (s *State) check() error {
	switch {
	case s.Format != Format:
		return fmt.Errorf("its format is %.40q, known is %s", s.Format, Format)
	case !platformName.MatchString(s.Platform):
		return errors.New("its platform has no name")
	case s.Exercise != "" && s.Exercise != "drill" && s.Exercise != "demo":
		return errors.New("it is an exercise of an unknown kind")
	case s.AsOf.IsZero() || !s.AsOf.Before(s.NextUpdateAt.Time) || s.NextUpdateAt.Sub(s.AsOf.Time) > maxValid:
		return errors.New("its times are impossible")
	case len(s.Insurers) > maxInsurers:
		return errors.New("it has too many insurers")
	}
	known := map[querschott.IK]bool{}
	for i := range s.Insurers {
		in := &s.Insurers[i]
		if known[in.IK] {
			return errors.New("an insurer stands there twice")
		}
		known[in.IK] = true
		if err := in.check(); err != nil {
			return err
		}
	}
	return nil
}

func (in *Insurer) check() error {
	if _, err := querschott.ParseIK(string(in.IK)); err != nil {
		return err
	}
	if in.Name == "" || len(in.Name) > maxName || !utf8.ValidString(in.Name) || !printable(in.Name) {
		return errors.New("an insurer has no name that can be shown")
	}
	shut := map[querschott.Service]bool{}
	for _, d := range in.Doors {
		if _, err := querschott.ParseService(string(d.Service)); err != nil {
			return err
		}
		partly := d.Door == querschott.Open && d.Share > 0 && d.Share < 100
		switch {
		case shut[d.Service]:
			return errors.New("a door stands there twice")
		case !slices.Contains(Causes(), d.Cause):
			return fmt.Errorf("a door has the unknown cause %.40q", d.Cause)
		case d.Incident != Reference(d.Incident):
			return errors.New("an incident has no reference that can be shown")
		case d.Share != 0 && !partly, d.Door == querschott.Open && partly == d.AllClear, d.Door != querschott.Open && d.AllClear:
			return errors.New("a door is neither shut nor open again")
		}
		shut[d.Service] = true
	}
	seen := map[querschott.Service]bool{}
	for _, s := range in.NotAffected {
		if _, err := querschott.ParseService(string(s)); err != nil || seen[s] {
			return errors.New("a service that is not affected is unknown, or stands there twice")
		}
		seen[s] = true
	}
	for _, d := range in.Doors {
		if seen[d.Service] != d.AllClear {
			return errors.New("a door is shut and not affected")
		}
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// Stale reports whether the state is out of date.
func (s *State) Stale(now time.Time) bool { return now.After(s.NextUpdateAt.Time) }

// Sign makes the file.
func Sign(s *State, key note.Signer) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("couldn't sign the state: %w", err)
	}
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, err
	}
	file, err := note.Sign(&note.Note{Text: string(text) + "\n"}, key)
	if err == nil && len(file) > maxFile {
		err = fmt.Errorf("the state has %d bytes, at most %d can be shown", len(file), maxFile)
	}
	return file, err
}

// Open verifies a file and returns its state, and the JSON as it was signed.
func Open(file []byte, key note.Verifier) (*State, []byte, error) {
	if len(file) > maxFile {
		return nil, nil, fmt.Errorf("the file has more than %d bytes", maxFile)
	}
	n, err := note.Open(file, note.VerifierList(key))
	if err != nil {
		return nil, nil, fmt.Errorf("the file is not signed with the key of %s: %w", key.Name(), err)
	}
	s := &State{}
	if err := json.Unmarshal([]byte(n.Text), s); err != nil {
		return nil, nil, fmt.Errorf("the file holds no state: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, nil, fmt.Errorf("the file cannot be shown: %w", err)
	}
	return s, []byte(n.Text), nil
}
