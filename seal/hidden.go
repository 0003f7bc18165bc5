package seal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Errors of this package. They are compared with errors.Is; none of them carries anything secret.
var (
	ErrForgotten     = errors.New("the compartment's keys have been forgotten")
	ErrDamaged       = errors.New("it does not open: damaged, or sealed for another place or under another key")
	ErrNoKeyVersion  = errors.New("sealed under a key version that is not at hand")
	ErrNoCompartment = errors.New("the keyring has no such compartment")
	ErrNoSecret      = errors.New("the keyring has no such secret, and making one is not allowed")
	ErrWithdrawn     = errors.New("the compartment's private keys have been withdrawn")
	ErrShredded      = errors.New("the keys have been shredded")
	ErrFrozen        = errors.New("the keyring is frozen: nothing may be added to it")
	ErrTampered      = errors.New("the keyring has been tampered with or rolled back")
)

const masked = "[secret]"

// hidden is embedded in every type that holds keys. A struct that keeps such a type in an unexported field is printed by
// package fmt without asking these methods, so the key types also keep everything secret behind a pointer.
type hidden struct{}

// String returns "[secret]".
func (hidden) String() string { return masked }

// GoString returns "[secret]".
func (hidden) GoString() string { return masked }

// Format writes "[secret]" under every verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// LogValue returns "[secret]".
func (hidden) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalJSON returns "[secret]" as a JSON string.
func (hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// MarshalText returns "[secret]".
func (hidden) MarshalText() ([]byte, error) { return []byte(masked), nil }
