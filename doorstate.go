package querschott

import "fmt"

// DoorState says what may pass a compartment's door. The zero value is Hold: a state that nobody knows takes mail in and
// lets nothing out.
type DoorState uint8

// The door states.
//
//	          | mail in                         | reads      | writes over HTTP
//	Open      | accept, deliver now             | serve      | accept, apply now
//	Hold      | accept, deliver later           | refuse 503 | accept 202, apply later
//	ReadOnly  | accept, deliver later           | serve      | accept 202 where the standard allows it, else 503
//	Closed    | transient refusal, never a 5xx  | refuse 503 | refuse 503
const (
	Hold DoorState = iota
	Open
	ReadOnly
	Closed
)

var doorNames = [...]string{Hold: "hold", Open: "open", ReadOnly: "read-only", Closed: "closed"}

// ParseDoorState reads "open", "hold", "read-only" or "closed".
func ParseDoorState(s string) (DoorState, error) {
	for i, n := range doorNames {
		if n == s {
			return DoorState(i), nil
		}
	}
	return Hold, fmt.Errorf("unknown door state %q; known are open, hold, read-only, closed", printable(s))
}

func (s DoorState) String() string {
	if int(s) < len(doorNames) {
		return doorNames[s]
	}
	return fmt.Sprintf("DoorState(%d)", uint8(s))
}

// AcceptsMail reports whether arriving mail is taken in.
func (s DoorState) AcceptsMail() bool { return s != Closed }

// Delivers reports whether what was taken in goes on to the cell.
func (s DoorState) Delivers() bool { return s == Open }

// ServesReads reports whether reads are answered.
func (s DoorState) ServesReads() bool { return s == Open || s == ReadOnly }

// MarshalText writes the state's name.
func (s DoorState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *DoorState) UnmarshalText(b []byte) (err error) {
	*s, err = ParseDoorState(string(b))
	return err
}
