package intake

import (
	"time"

	"github.com/querschott/querschott"
)

// Arrival is one message for one compartment, as it came.
type Arrival struct {
	Compartment querschott.Compartment
	Sender      string // envelope sender (MAIL FROM), lower case
	Recipient   string // envelope recipient as the sender wrote it
	MessageID   string // of the outer header, without angle brackets; may be empty
	Received    time.Time
	Body        []byte // the whole message, headers included, CRLF lines
}

// Receipt says what was promised to the sender.
type Receipt struct {
	Seq    uint64    // place in the journal; rises, has gaps
	Copies int       // directories in which the arrival is durable
	At     time.Time // when the last of them was synced
}
