package pruefziffer

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"
	"time"
)

// versionOne makes a number of version 1 from its parts, as the service before this one did.
func versionOne(k []byte, head string) Number {
	n := Number{b: new([Size]byte)}
	copy(n.b[:], head)
	mac := hmac.New(sha256.New, k)
	mac.Write(n.b[:v1MAC])
	copy(n.b[v1MAC:], mac.Sum(nil))
	return n
}

func TestVersion1(t *testing.T) {
	sample, err := Parse("WDExMDU5Mjk4MzE3Mzc0NTg2ODdVWDFFXjY2RxR9A/lLr1icRLPCLThLtVlhSU8=")
	if err != nil || sample.Version() != 1 || sample.Operator() != 'X' || string(sample.b[:v1MAC]) != "X1105929831737458687UX1" {
		t.Fatalf("the published example: %v", err)
	}
	k, err := NewKeys('X', Legacy())
	if err == nil {
		err = k.Add(1, secret(3), 0, iat)
	}
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Unix(1737458687, 0)
	head := "X1105929831737458687UX1"
	value := CardValue{1}
	claim := Claim{Person: "X110592983"}
	for name, tc := range map[string]struct {
		n    Number
		c    Claim
		now  time.Time
		want error
	}{
		"all is well":       {versionOne(secret(3), head), claim, issued, nil},
		"value is ignored":  {versionOne(secret(3), head), Claim{Person: "X110592983", Value: &value}, issued, nil},
		"just not too late": {versionOne(secret(3), head), claim, issued.Add(1215*time.Second - 1), nil},
		"too late":          {versionOne(secret(3), head), claim, issued.Add(1215 * time.Second), ErrTime},
		"too early":         {versionOne(secret(3), head), claim, issued.Add(-30 * time.Second), ErrTime},
		"value is demanded": {versionOne(secret(3), head), Claim{Person: "X110592983", Value: &value, Strict: true}, issued, ErrValue},
		"another person":    {versionOne(secret(3), head), Claim{Person: "X110592984"}, issued, ErrOther},
		"another secret":    {versionOne(secret(4), head), claim, issued, ErrDamaged},
		"published example": {sample, claim, issued, ErrDamaged},
		"another operator":  {versionOne(secret(3), "X1105929831737458687UY1"), claim, issued, ErrForeign},
		"no key":            {versionOne(secret(3), "X1105929831737458687UX2"), claim, issued, ErrNoKey},
		"key of no version": {versionOne(secret(3), "X1105929831737458687UX/"), claim, issued, ErrNoKey},
		"no time":           {versionOne(secret(3), "X110592983173745868xUX1"), claim, issued, ErrDamaged},
		"signed time":       {versionOne(secret(3), "X110592983+737458687UX1"), claim, issued, ErrDamaged},
		"no reason":         {versionOne(secret(3), "X11059298317374586870X1"), claim, issued, ErrDamaged},
	} {
		if _, err := k.Verify(tc.n, tc.c, tc.now); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	n := versionOne(secret(3), head)
	for bit := range Size * 8 {
		changed := Number{b: new([Size]byte)}
		*changed.b = *n.b
		changed.b[bit/8] ^= 1 << (bit % 8)
		if _, err := k.Verify(changed, claim, issued); err == nil {
			t.Errorf("it verifies with bit %d changed", bit)
		}
	}
	if _, err := keys(t).Verify(n, claim, issued); !errors.Is(err, ErrLegacy) {
		t.Errorf("where version 1 is not accepted: %v", err)
	}
	if keys(t).own.versions[2].secret != nil {
		t.Error("the secret is kept although nobody needs it")
	}
}
