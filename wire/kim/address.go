package kim

import (
	"errors"
	"strings"
)

// Address is a KIM mail address in lower case that keeps the rules of [ParseAddress].
type Address string

const (
	maxLocal  = 64
	maxDomain = 189

	productionSuffix = ".kim.telematik"
	testSuffix       = ".kim.telematik-test"
)

// The ways in which a string is not a KIM address.
var (
	ErrAddressForm   = errors.New("a KIM address is local@domain; the local part has letters, digits, dots, _ and - only")
	ErrAddressLength = errors.New("a KIM address has at most 64 octets before and 189 after the @")
	ErrAddressDomain = errors.New("a KIM address ends in .kim.telematik or .kim.telematik-test")
)

// ParseAddress reads a bare address (no display name, no angle brackets). Upper and lower case are the same address; the
// result is in lower case. The local part has 1 to 64 of the characters A-Z a-z 0-9 . _ -, the domain at most 189 octets
// and the suffix .kim.telematik or .kim.telematik-test.
func ParseAddress(s string) (Address, error) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" {
		return "", ErrAddressForm
	}
	if len(local) > maxLocal || len(domain) > maxDomain {
		return "", ErrAddressLength
	}
	for _, c := range []byte(local) {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return "", ErrAddressForm
		}
	}
	domain = strings.ToLower(domain)
	host, ok := strings.CutSuffix(domain, productionSuffix)
	if !ok {
		if host, ok = strings.CutSuffix(domain, testSuffix); !ok {
			return "", ErrAddressDomain
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if !hostLabel(label) {
			return "", ErrAddressForm
		}
	}
	return Address(strings.ToLower(local) + "@" + domain), nil
}

// Domain returns what follows the @.
func (a Address) Domain() string {
	_, domain, _ := strings.Cut(string(a), "@")
	return domain
}

// Local returns what precedes the @.
func (a Address) Local() string {
	local, _, _ := strings.Cut(string(a), "@")
	return local
}

// Test reports whether the address belongs to the test environment.
func (a Address) Test() bool { return strings.HasSuffix(string(a), testSuffix) }

func hostLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
