// Package shares splits a secret so that any two of its parts give it back, and one of them tells nothing (Shamir, over
// GF(256) with the polynomial of AES).
//
// # Promises
//
//   - One share is consistent with every secret.
//   - A share that was mistyped, or is of another secret, is refused and not combined: each one carries a check value of
//     itself and a name of the secret.
package shares

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxShares is how many shares a secret may have.
const MaxShares = 255

const (
	prefix     = "querschott-share"
	secretSize = 32
	checkSize  = 4
)

// Split makes n shares of a secret of 32 bytes, any two of which give it back. The name says what the secret is; it is part
// of the check value of each share.
func Split(name string, secret []byte, n int) ([]string, error) {
	if len(secret) != secretSize || n < 2 || n > MaxShares {
		return nil, fmt.Errorf("couldn't split the secret: it must have %d bytes and 2 to %d shares", secretSize, MaxShares)
	}
	slope := make([]byte, secretSize)
	if _, err := rand.Read(slope); err != nil {
		return nil, fmt.Errorf("couldn't split the secret: %w", err)
	}
	defer clear(slope)
	list := make([]string, n)
	for i := range list {
		x, y := byte(i+1), make([]byte, secretSize)
		for k := range y {
			y[k] = secret[k] ^ mul(slope[k], x)
		}
		list[i] = format(name, x, y)
	}
	return list, nil
}

// Combine gives the secret back from two different shares.
func Combine(name string, first, second string) ([]byte, error) {
	x1, y1, err := parse(name, first)
	if err != nil {
		return nil, err
	}
	x2, y2, err := parse(name, second)
	if err != nil {
		return nil, err
	}
	if x1 == x2 {
		return nil, errors.New("these are the same share; two different ones are needed")
	}
	// The line through both points, where x is 0: (y1*x2 + y2*x1) / (x1 + x2), addition being exclusive or.
	secret, over := make([]byte, secretSize), inverse(x1^x2)
	for k := range secret {
		secret[k] = mul(mul(y1[k], x2)^mul(y2[k], x1), over)
	}
	return secret, nil
}

func format(name string, x byte, y []byte) string {
	return fmt.Sprintf("%s-%d-%x-%x", prefix, x, y, check(name, x, y))
}

func check(name string, x byte, y []byte) []byte {
	h := sha256.Sum256(append(append([]byte(name+"\x00"), x), y...))
	return h[:checkSize]
}

func parse(name, text string) (x byte, y []byte, err error) {
	bad := errors.New("this is not a share of this key, or it is mistyped")
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), prefix+"-")
	words := strings.Split(rest, "-")
	if !ok || len(words) != 3 {
		return 0, nil, bad
	}
	n, err := strconv.ParseUint(words[0], 10, 8)
	if err != nil || n == 0 {
		return 0, nil, bad
	}
	if y, err = hex.DecodeString(words[1]); err != nil || len(y) != secretSize || hex.EncodeToString(check(name, byte(n), y)) != words[2] {
		return 0, nil, bad
	}
	return byte(n), y, nil
}

// mul multiplies in GF(256), in the same time for all values.
func mul(a, b byte) (p byte) {
	for range 8 {
		p ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
		b >>= 1
	}
	return p
}

// inverse returns a^254, which is 1/a.
func inverse(a byte) byte {
	p := byte(1)
	for range 254 {
		p = mul(p, a)
	}
	return p
}
