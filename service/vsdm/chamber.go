package vsdm

import (
	"errors"
	"fmt"
	"sync"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

// chamber is the service's side of one compartment.
type chamber struct {
	c   querschott.Compartment
	iks map[querschott.IK]string // the insurer's IKs with the names of records at them

	mu  sync.Mutex // guards log
	log *issueLog  // nil until needed

	writing sync.Mutex     // one writer of records at a time
	shown   [32]sync.Mutex // one presentation of a number at a time, by its hash
}

// errShut is the refusal of requests whose door has shut meanwhile.
var errShut = querschott.Refuse(querschott.CodeDoorClosed, "the service is closed for the moment; try again later")

// still says whether an answer that was made with a vault may be given, and what to do about an error that came up with it.
// After the door was shut nothing is given, also if it was opened again.
func (s *Service) still(ch *chamber, v *cell.Vault, err error) error {
	if errors.Is(err, seal.ErrForgotten) {
		return errShut
	}
	now, shut := s.cfg.Vault(ch.c)
	switch {
	case shut != nil:
		return shut
	case now != v:
		return errShut
	}
	return err
}

// issueLog returns the issue log of a compartment. It needs no door.
func (s *Service) issueLog(ch *chamber) (*issueLog, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.log != nil {
		return ch.log, nil
	}
	store, err := s.cfg.Cell(ch.c.Insurer)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the issue log of %s: %w", ch.c, err)
	}
	secret, err := s.cfg.Secret(ch.c.Insurer)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the issue log of %s: %w", ch.c, err)
	}
	ch.log, err = newIssueLog(ch.c, store, secret)
	return ch.log, err
}
