package door

import (
	"time"

	"github.com/querschott/querschott"
)

// Widens reports whether a move lets something out of the compartment that did not go out before: arrivals are delivered,
// or reads are served. Such a move needs two operators, every other one. A service that arrives by mail serves no reads of
// its own, so read-only widens nothing there.
func Widens(s querschott.Service, from, to querschott.DoorState) bool {
	delivers := to.Delivers() && !from.Delivers()
	serves := to.ServesReads() && !from.ServesReads() && !s.ByMail()
	return delivers || serves
}

// Legal returns why a move is not allowed, nil if it is. Every state may follow every other one; who must agree is the
// business of [Widens].
func Legal(from, to querschott.DoorState) error {
	if to > querschott.Closed {
		return querschott.RefuseAs(querschott.CodeInvalid, "door.state", "there is no door state %s", to)
	}
	if from == to {
		return querschott.RefuseAs(querschott.CodeConflict, "door.already", "the door is already %s", to)
	}
	return nil
}

// undo returns which state undoes a move that follows this order, and when it must be undone at the latest; zero: never.
// What two operators have let out for a time may not stay out for longer because one of them narrows it: an opening until
// two o'clock that becomes read-only is on hold at two o'clock.
func (o Order) undo(to querschott.DoorState) (inverse querschott.DoorState, latest time.Time) {
	service := o.Compartment.Service
	if !o.Expires.IsZero() && !Widens(service, o.To, to) && Widens(service, o.Inverse, to) {
		return o.Inverse, o.Expires
	}
	return o.To, time.Time{}
}
