package local

import (
	"testing"
	"time"
)

// TestTOTPVectors are those of RFC 6238, appendix B, for SHA-1.
func TestTOTPVectors(t *testing.T) {
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := totp([]byte("12345678901234567890"), at/30, 8); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
		if got := totp([]byte("12345678901234567890"), at/30, 6); got != want[2:] {
			t.Errorf("at %d: %s, want %s", at, got, want[2:])
		}
	}
}

func TestTOTPWindow(t *testing.T) {
	secret := []byte("12345678901234567890")
	now := time.Unix(1111111111, 0)
	step := now.Unix() / 30
	for d := int64(-3); d <= 3; d++ {
		got := totpMatch(secret, now, totp(secret, step+d, totpDigits))
		if in := -1 <= d && d <= 1; in != (got == step+d) || !in && got != 0 {
			t.Errorf("code of step %+d: matches %d of %d", d, got, step)
		}
	}
	for _, code := range []string{"", "00000", "0000000", "94287082", "٩٤٢٨٧٠"} {
		if totpMatch(secret, now, code) != 0 {
			t.Errorf("code %q matches", code)
		}
	}
}
