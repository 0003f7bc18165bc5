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

// effect is what the catalogue of detectors says about one of them. Two signals are independent if both family and feature
// differ.
type effect struct {
	does            does
	to              querschott.DoorState // of the door
	family, feature string
}

// effects are those of the catalogue. Reads are stopped by hold: mail is taken in all the same. A burst of writes is stopped by
// read-only. Nobody's account is locked for failed logins, and a flood is a matter of rates.
var effects = map[string]effect{
	"D1":  {holdAndDoor, querschott.Hold, "volume", "persons"},
	"D2":  {hold, 0, "registration", "job"},
	"D3":  {holdAndDoor, querschott.Hold, "trap", "canary"},
	"D4":  {holdAndDoor, querschott.Hold, "boundary", "tenant"},
	"D5":  {hold, 0, "boundary", "person"},
	"D8":  {hold, 0, "practice", "cards"},
	"D10": {holdAndDoor, querschott.Hold, "baseline", "unexplained persons"},
	"D11": {door, querschott.ReadOnly, "writes", "writes"},
	"D14": {hold, 0, "token", "binding"},
	"D15": {hold, 0, "baseline", "unexplained persons of a group"},
	"D16": {hold, 0, "registration", "ticket"},
	"R1":  {hold, 0, "reasons", "persons of one reason"},
	"R2":  {hold, 0, "reasons", "number of reasons"},
	"R3":  {hold, 0, "baseline", "persons"},
	"R4":  {hold, 0, "reasons", "origin of reasons"},
}
