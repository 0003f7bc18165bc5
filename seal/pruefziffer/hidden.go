package pruefziffer

import (
	"fmt"
	"io"
	"log/slog"
)

const masked = "[secret]"

// hidden is embedded in every type that holds keys or numbers, which keep what is secret behind a pointer.
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
