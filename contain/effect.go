package contain

import "github.com/querschott/querschott"

// does is how far the alarms of a detector may lead.
type does uint8

const (
	page        does = iota // a person looks; the zero value, and so what rules lead to that the catalogue does not know
	hold                    // the credential
	holdAndDoor             // the credential, and the door when several of them read on
	door                    // the door at once, besides the credential
)

// effect is what the catalogue of detectors says about one of them.
type effect struct {
	does   does
	to     querschott.DoorState // of the door
	family string               // of its method
	counts counted
}

// counted is which events, and what of them, raise a signal. Two signals are independent if their families differ and nothing counts for
// both: whoever works through a campaign gives more reasons because he reaches more persons, and that is one thing seen twice.
type counted uint16

// What may be counted.
const (
	withReason    counted = 1 << iota // how much somebody reaches with a reason: persons, reasons, persons of one reason, reasons of colleagues
	withoutReason                     // how much somebody reaches without one
	whom                              // that a person is one whom nobody looks for, whatever is counted
	refused                           // what was refused, or should have been
	written
	cards
	tokens
	registered // what was agreed beforehand about a job or a ticket
)

// reached is everything that somebody reaches, whatever the reason.
const reached = withReason | withoutReason

// effects are those of the catalogue. Reads are stopped by hold: mail is taken in all the same. A burst of writes is stopped by
// read-only. Nobody's account is locked for failed logins, and a flood is a matter of rates.
var effects = map[string]effect{
	"D1":  {holdAndDoor, querschott.Hold, "cap", reached},
	"D2":  {hold, 0, "registration", registered},
	"D3":  {holdAndDoor, querschott.Hold, "trap", whom},
	"D4":  {holdAndDoor, querschott.Hold, "boundary", refused},
	"D5":  {hold, 0, "boundary", refused},
	"D8":  {hold, 0, "baseline", cards},
	"D10": {holdAndDoor, querschott.Hold, "baseline", withoutReason},
	"D11": {door, querschott.ReadOnly, "writes", written},
	"D14": {hold, 0, "token", tokens},
	"D15": {hold, 0, "baseline", withoutReason},
	"D16": {hold, 0, "registration", registered},
	"R1":  {hold, 0, "reasons", withReason},
	"R2":  {hold, 0, "baseline", withReason},
	"R3":  {hold, 0, "baseline", reached},
	"R4":  {hold, 0, "reasons", withReason},
}

// independent reports whether two signals say more than each of them.
func (g *signal) independent(h *signal) bool { return g.family != h.family && g.counts&h.counts == 0 }
