package vsdm

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/seal"
)

// chamber is the service's side of one compartment.
type chamber struct {
	c   querschott.Compartment
	iks map[querschott.IK]string // the insurer's IKs with the names of records at them

	log     atomic.Pointer[sealer] // nil until needed
	writing sync.Mutex             // one writer of records at a time
}

// errShut is the refusal of requests whose door has shut meanwhile.
var errShut = querschott.Refuse(querschott.CodeDoorClosed, "the service is closed for the moment; try again later")

// still says whether an answer that was made with a vault may be given, and what to do about an error that came up with it.
// After the door was shut nothing is given, also if it was opened again.
func (s *Service) still(ch *chamber, v *cell.Vault, err error) error {
	now, shut := s.cfg.Vault(ch.c)
	switch {
	case shut != nil:
		return shut
	case now != v || errors.Is(err, seal.ErrForgotten):
		return errShut
	}
	return err
}

// sealer returns what seals an insurer's part of the issue log. It needs no door.
func (s *Service) sealer(ch *chamber) (*sealer, error) {
	if l := ch.log.Load(); l != nil {
		return l, nil
	}
	secret, err := s.cfg.Secret(ch.c.Insurer)
	if err != nil {
		return nil, fmt.Errorf("couldn't get the secret of the issue log of %s: %w", ch.c.Insurer, err)
	}
	l, err := newSealer(ch.c.Insurer, secret)
	if err == nil {
		ch.log.Store(l)
	}
	return l, err
}
