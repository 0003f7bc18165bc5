package querschott

import (
	"fmt"
	"log/slog"
	"strings"
)

// IK is the nine-digit Institutionskennzeichen that names an insurer (§ 293 SGB V). The last digit checks digits three
// to eight.
type IK string

// ParseIK reads an IK and verifies its check digit.
func ParseIK(s string) (IK, error) {
	if len(s) != 9 || !digitsOnly(s) {
		return "", fmt.Errorf("an IK has nine digits, got %q", printable(s))
	}
	if want := IKCheckDigit(s[:8]); s[8] != want {
		return "", fmt.Errorf("IK %s: the check digit is %c, it should be %c", s, s[8], want)
	}
	return IK(s), nil
}

// IKCheckDigit returns the ninth digit for the first eight: digits three to eight, weighted 2,1,2,1,2,1, digit sums,
// modulo ten. It panics unless given eight digits.
func IKCheckDigit(first8 string) byte {
	if len(first8) != 8 || !digitsOnly(first8) {
		panic("querschott: IKCheckDigit wants eight digits")
	}
	return checkDigit([]byte(first8[2:]), 2)
}

// Number returns the IK as an integer, for layouts that store it in four bytes.
func (ik IK) Number() uint32 {
	var n uint32
	for _, c := range []byte(ik) {
		n = n*10 + uint32(c-'0')
	}
	return n
}

// IKFromNumber is the inverse of [IK.Number].
func IKFromNumber(n uint32) IK { return IK(fmt.Sprintf("%09d", n)) }

// KVNR is the unchangeable part of an insured person's number (§ 290 SGB V): a capital letter and nine digits, the last
// of which is a check digit. It prints masked, everywhere; [KVNR.Reveal] is the only way to the number.
type KVNR string

// ParseKVNR reads a KVNR and verifies its check digit. The error never contains the number.
func ParseKVNR(s string) (KVNR, error) {
	if len(s) != 10 || s[0] < 'A' || s[0] > 'Z' || !digitsOnly(s[1:]) {
		return "", fmt.Errorf("a KVNR is one capital letter and nine digits")
	}
	if s[9] != KVNRCheckDigit(s[:9]) {
		return "", fmt.Errorf("the KVNR's check digit is wrong")
	}
	return KVNR(s), nil
}

// KVNRCheckDigit returns the tenth character for the first nine: the letter as two digits (A = 01), weights 1,2,1,2...,
// digit sums, modulo ten. It panics unless given a capital letter and eight digits.
func KVNRCheckDigit(first9 string) byte {
	if len(first9) != 9 || first9[0] < 'A' || first9[0] > 'Z' || !digitsOnly(first9[1:]) {
		panic("querschott: KVNRCheckDigit wants a letter and eight digits")
	}
	letter := first9[0] - 'A' + 1
	digits := [10]byte{'0' + letter/10, '0' + letter%10}
	copy(digits[2:], first9[1:])
	return checkDigit(digits[:], 1)
}

// Reveal returns the whole number. Every call of it is a place where the number may leave the house.
func (k KVNR) Reveal() string { return string(k) }

// String masks all but the first letter and the last digit.
func (k KVNR) String() string {
	if len(k) != 10 {
		return "KVNR(?)"
	}
	return string(k[0]) + "********" + string(k[9])
}

// GoString keeps %#v from printing the number.
func (k KVNR) GoString() string { return "KVNR(" + k.String() + ")" }

// Format masks the number under every verb, %q and %x included.
func (k KVNR) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue masks the number in structured logs.
func (k KVNR) LogValue() slog.Value { return slog.StringValue(k.String()) }

func checkDigit(digits []byte, firstWeight int) byte {
	sum, weight := 0, firstWeight
	for _, c := range digits {
		p := int(c-'0') * weight
		sum += p/10 + p%10
		weight = 3 - weight
	}
	return byte('0' + sum%10)
}

func digitsOnly(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// printable cuts foreign text down to what may stand in an error message.
func printable(s string) string {
	if len(s) > 20 {
		s = s[:20] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
