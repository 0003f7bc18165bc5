package pruefziffer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strconv"
	"time"

	"github.com/querschott/querschott"
)

// Results of [Keys.Verify], in the order of the checks.
var (
	ErrLegacy  = errors.New("check numbers of version 1 are not accepted here")
	ErrForeign = errors.New("the check number is of another operator")
	ErrNoKey   = errors.New("there is no key for the check number's prefix")
	ErrDamaged = errors.New("the check number does not open: changed, or of another key")
	ErrBlocked = errors.New("the card was blocked when the check number was issued")
	ErrTime    = errors.New("the check number is not valid at this time")
	ErrValue   = errors.New("the health card value is missing or is another one")
	ErrOther   = errors.New("the check number is of another person")
)

// A number is accepted between, not at, these bounds around its time of issue.
const (
	early = 30 * time.Second
	late  = 20*time.Minute + 15*time.Second
)

// Layout of version 1: KVNR, seconds in ten digits, reason, operator letter, key version in a digit, and the first 24
// octets of the HMAC over all that.
const (
	v1Time    = 10
	v1Reason  = 20
	v1Letter  = 21
	v1Version = 22
	v1MAC     = 23
)

// Claim is what the number must fit.
type Claim struct {
	Person querschott.KVNR // the addressed record's
	Value  *CardValue      // that the client sent, nil if none
	Strict bool            // a client without the card value is refused (enforce_hcv_check)
}

// Facts are what an authentic number says.
type Facts struct {
	Version    int // of the format
	KeyVersion uint8
	Issued     time.Time // rounded down to eight seconds in version 2
	Person     querschott.KVNR
}

// Verify judges a number. The facts are returned whenever the number is authentic, also together with [ErrBlocked],
// [ErrTime], [ErrValue] and [ErrOther]: a number of another person is evidence of an attack. Other errors are [ErrMalformed]
// (the zero Number), [ErrLegacy], [ErrForeign], [ErrNoKey], [ErrDamaged] and [ErrForgotten].
func (k *Keys) Verify(n Number, c Claim, now time.Time) (*Facts, error) {
	if n.b == nil {
		return nil, ErrMalformed
	}
	if n.Version() == 1 {
		return k.verifyLegacy(n, c, now)
	}
	if n.Operator() != k.operator {
		return nil, ErrForeign
	}
	var plain [plainSize]byte
	number := n.b[0] & 3
	err := k.use(func(o *ownKeys) error {
		v := o.versions[number]
		if v == nil || v.over(now) {
			return ErrNoKey
		}
		if _, err := v.aead.Open(plain[:0], n.b[1:1+ivSize], n.b[1+ivSize:], nil); err != nil {
			return ErrDamaged
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	steps := int64(plain[5])<<16 | int64(plain[6])<<8 | int64(plain[7])
	f := &Facts{
		Version: 2, KeyVersion: number, Person: querschott.KVNR(plain[8:]),
		Issued: time.Unix(Begin.Unix()+steps<<stepBits, 0).UTC(), // in 64 bits: steps * 8 needs 27
	}
	if plain[0]&blocked != 0 {
		return f, ErrBlocked
	}
	return f, f.judge(plain[:5], c, now)
}

// judge does the checks that come after authenticity. value is nil for numbers that have none.
func (f *Facts) judge(value []byte, c Claim, now time.Time) error {
	if !now.After(f.Issued.Add(-early)) || !now.Before(f.Issued.Add(late)) {
		return ErrTime
	}
	if c.Strict && (c.Value == nil || value == nil) {
		return ErrValue
	}
	if c.Value != nil && value != nil && subtle.ConstantTimeCompare(c.Value[:], value) != 1 {
		return ErrValue
	}
	if subtle.ConstantTimeCompare([]byte(f.Person), []byte(c.Person)) != 1 {
		return ErrOther
	}
	return nil
}

func (k *Keys) verifyLegacy(n Number, c Claim, now time.Time) (*Facts, error) {
	if !k.legacy {
		return nil, ErrLegacy
	}
	if n.b[v1Letter] != k.operator {
		return nil, ErrForeign
	}
	number := n.b[v1Version] - '0'
	if number > 3 {
		return nil, ErrNoKey
	}
	err := k.use(func(o *ownKeys) error {
		v := o.versions[number]
		if v == nil || v.over(now) {
			return ErrNoKey
		}
		mac := hmac.New(sha256.New, v.secret)
		mac.Write(n.b[:v1MAC])
		if !hmac.Equal(mac.Sum(nil)[:Size-v1MAC], n.b[v1MAC:]) {
			return ErrDamaged
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseUint(string(n.b[v1Time:v1Reason]), 10, 63)
	if err != nil || !capital(n.b[v1Reason]) {
		return nil, ErrDamaged // authentic and yet no number: somebody signs what they should not
	}
	f := &Facts{
		Version: 1, KeyVersion: number, Person: querschott.KVNR(n.b[:v1Time]),
		Issued: time.Unix(int64(seconds), 0).UTC(), //nolint:gosec // ten digits
	}
	return f, f.judge(nil, c, now)
}
