package pruefziffer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/querschott/querschott"
)

// ErrPerson says that the person given has no KVNR.
var ErrPerson = errors.New("a check number needs a KVNR of ten characters")

// Layout of version 2 (A_27278): header, IV, ciphertext of five octets of card value, three of time, ten of KVNR, and tag.
const (
	ivSize    = 12
	plainSize = 5 + 3 + 10
	version2  = 0x80
	blocked   = 0x80 // in the first octet of the card value
	stepBits  = 3    // the time field counts steps of eight seconds
)

// Card says for whom and for which card a number is issued.
type Card struct {
	Person  querschott.KVNR
	Value   CardValue // of [CardValueOf]
	Blocked bool      // the card has been revoked; the number verifies as [ErrBlocked]
}

// Issue makes a number of version 2 for a card that was checked at now. The errors are [ErrNoKeys], [ErrForgotten],
// [ErrPerson], [ErrTimeRange], [ErrKeyWorn] and failures of the random source.
func (k *Keys) Issue(c Card, now time.Time) (Number, error) {
	if len(c.Person) != 10 {
		return Number{}, ErrPerson
	}
	if now.Before(Begin) || !now.Before(Last) {
		return Number{}, ErrTimeRange
	}
	n := Number{b: new([Size]byte)}
	if _, err := io.ReadFull(k.random, n.b[1:1+ivSize]); err != nil {
		return Number{}, fmt.Errorf("couldn't draw a nonce: %w", err)
	}
	err := k.use(func(o *ownKeys) error {
		if o.issuing == nil {
			return ErrNoKeys
		}
		return o.issuing.seal(n.b, k.operator, &c, now)
	})
	if err != nil {
		return Number{}, err
	}
	return n, nil
}

// seal fills the number, whose IV has been drawn.
func (v *version) seal(b *[Size]byte, operator byte, c *Card, now time.Time) error {
	if v.issued.Add(1) > mostIssued {
		return ErrKeyWorn
	}
	b[0] = version2 + (operator-'A')<<2 + v.number
	var plain [plainSize]byte
	copy(plain[:5], c.Value[:])
	plain[0] &^= blocked
	if c.Blocked {
		plain[0] |= blocked
	}
	steps := (now.Unix() - Begin.Unix()) >> stepBits
	plain[5], plain[6], plain[7] = byte(steps>>16), byte(steps>>8), byte(steps)
	copy(plain[8:], c.Person)
	v.aead.Seal(b[1+ivSize:1+ivSize], b[1:1+ivSize], plain[:], nil)
	return nil
}
