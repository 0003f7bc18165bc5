package door

import (
	"fmt"

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
		return querschott.Refuse(querschott.CodeInvalid, "there is no door state %s", to)
	}
	if from == to {
		return querschott.Refuse(querschott.CodeConflict, "the door is already %s", to)
	}
	return nil
}

// inverse is the move that undoes one: back to the state before.
func inverse(from querschott.DoorState) querschott.DoorState { return from }

func fileName(c querschott.Compartment, kind string) string {
	return fmt.Sprintf("%s-%s.%s", c.Insurer, c.Service, kind)
}
