package vsdm

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal/pruefziffer"
)

// Verdict is what the issue log says about a check number that somebody shows as evidence.
type Verdict string

// The verdicts. A number that is presented as evidence is good with the first two only.
const (
	// VerdictIssued: issued here for this person to this actor, valid, shown for the first time.
	VerdictIssued Verdict = "issued"
	// VerdictReused: as issued, but shown before: normal while the actor repeats a request.
	VerdictReused Verdict = "reused"
	// VerdictUnissued: it opens under our key and we did not issue it. The key is stolen, or somebody inside uses it.
	VerdictUnissued Verdict = "unissued"
	// VerdictUnlogged: it opens under our key and is older than the log (Config.LogFrom), which therefore cannot tell.
	VerdictUnlogged Verdict = "unlogged"
	// VerdictOtherActor: issued to somebody else: the evidence was sold or stolen.
	VerdictOtherActor Verdict = "other-actor"
	// VerdictOtherPerson: issued for somebody else's card.
	VerdictOtherPerson Verdict = "other-person"
	// VerdictExpired: issued as shown, but not valid at this time.
	VerdictExpired Verdict = "expired"
	// VerdictForeignOperator: of another operator of VSDM, who alone could tell.
	VerdictForeignOperator Verdict = "foreign-operator"
	// VerdictUnreadable: it has our letter, is not in the log and opens under no key that we have. Anybody can make one up,
	// so it says nothing about our keys.
	VerdictUnreadable Verdict = "unreadable"
	// VerdictMalformed: it is no check number.
	VerdictMalformed Verdict = "malformed"
)

// Good reports whether the number is good evidence.
func (v Verdict) Good() bool { return v == VerdictIssued || v == VerdictReused }

// Critical reports whether the verdict tells of a crime: of a stolen key, or of evidence in the wrong hands.
func (v Verdict) Critical() bool {
	return v == VerdictUnissued || v == VerdictOtherActor || v == VerdictOtherPerson
}

// Shown is a check number as somebody shows it.
type Shown struct {
	Number pruefziffer.Number
	Person querschott.KVNR  // whose record is addressed
	Actor  querschott.Actor // who shows it
}

// Finding is a verdict with what the log knows.
type Finding struct {
	Verdict Verdict
	Issued  *Issued   // nil if it was not issued here
	First   time.Time // when it was first shown; zero if it was not
}

// Check compares a number with the issue log. Whose insured the person is plays no part: it may have changed since the card
// was read. A good first presentation is durable when it returns.
//
// No door is asked, and no key of a compartment is needed. An error says that there is no verdict: the log could not be read,
// its entry is damaged, or the keys of the numbers are not at hand.
func (s *Service) Check(p Shown) (*Finding, error) {
	now := s.cfg.Now()
	says, fault := s.cfg.Numbers.Verify(p.Number, pruefziffer.Claim{Person: p.Person}, now)
	switch {
	case errors.Is(fault, pruefziffer.ErrMalformed):
		return &Finding{Verdict: VerdictMalformed}, nil
	case errors.Is(fault, pruefziffer.ErrForeign):
		return &Finding{Verdict: VerdictForeignOperator}, nil
	case errors.Is(fault, pruefziffer.ErrForgotten):
		return nil, fmt.Errorf("couldn't check a number: %w", fault)
	}
	h := p.Number.Hash()
	log, e, err := s.lookUp(h)
	if err != nil {
		return nil, err
	}
	if e == nil {
		switch {
		case says == nil: // it is not authentic
			return &Finding{Verdict: VerdictUnreadable}, nil
		case says.Issued.Before(s.cfg.LogFrom):
			return &Finding{Verdict: VerdictUnlogged}, nil
		}
		return &Finding{Verdict: VerdictUnissued}, nil
	}
	f := &Finding{Issued: e}
	person := log.person(p.Person)
	switch {
	case subtle.ConstantTimeCompare(person[:], e.Person[:]) != 1:
		f.Verdict = VerdictOtherPerson
	case subtle.ConstantTimeCompare([]byte(p.Actor), []byte(e.Actor)) != 1:
		f.Verdict = VerdictOtherActor
	case errors.Is(fault, pruefziffer.ErrTime) || errors.Is(fault, pruefziffer.ErrNoKey):
		f.Verdict = VerdictExpired // a key outlives all numbers that were issued under it
	default:
		if err := s.show(log, h, f, now); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// show judges a good number by whether it was shown before, and keeps that it was.
func (s *Service) show(log *sealer, h hash, f *Finding, now time.Time) error {
	lock := &s.shown[h[0]%uint8(len(s.shown))]
	lock.Lock()
	defer lock.Unlock()
	key := logKey(cell.KindSeen, h)
	value, err := s.cfg.Issues.Get(key)
	if err == nil {
		f.Verdict = VerdictReused
		_, f.First, _, err = s.unseal(key, value)
		return err
	}
	if !errors.Is(err, cell.ErrNotFound) {
		return fmt.Errorf("couldn't read the issue log: %w", err)
	}
	var b cell.Batch
	b.Put(key, log.seal(key, now, nil))
	if err := s.cfg.Issues.Commit(&b); err != nil {
		return fmt.Errorf("couldn't keep that a check number was shown: %w", err)
	}
	f.Verdict, f.First = VerdictIssued, now
	return nil
}
