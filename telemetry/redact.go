package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// leaves lists the attributes whose values may leave the house, scrubbed. Of every other one only the name leaves: a list
// of what is forbidden would be incomplete with the first new line of code.
var leaves = map[string]bool{
	"attempts": true, "cause": true, "code": true, "compartment": true, "count": true, "err": true, "failures": true,
	"fix": true, "insurer": true, "level": true, "limit": true, "mended": true, "needed": true, "outcome": true, "page": true,
	"part": true, "reason": true, "reference": true, "route": true, "seq": true, "service": true, "signal": true, "state": true,
	"status": true, "took": true, "type": true, "version": true,
}

const (
	withheld = "[withheld]"
	maxText  = 500 // bytes of one text
	maxDepth = 4   // of groups
)

// telling is what may not stand in a text, whatever says it: mail addresses, tokens, hashes and long paths, numbers of
// insured persons, Telematik-IDs and other long numbers, network addresses. An IK has nine digits and names an insurer.
var telling = regexp.MustCompile(strings.Join([]string{
	`[^\s@<>"'=,;(]+@[^\s@<>"',;)]+`,
	`[A-Za-z0-9_+/=.~%-]{32,}`,
	`(?i:\b[a-z][0-9]{9})\b`,
	`\b[1-9][0-9]?-[0-9A-Za-z][!-~]{5,}`,
	`[0-9]{10,}`,
	`\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b(?::[0-9]{1,5})?`,
	`\[?(?i:[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,}|[0-9a-f]{0,4}::[0-9a-f]{0,4})\]?(?::[0-9]{1,5})?`,
}, "|"))

// scrub takes out of a text what could name somebody, and cuts it to so many bytes.
func scrub(text string, limit int) string {
	if room := 4 * limit; len(text) > room { // what is cut off below needs no look, but a match must not be cut in two
		text = text[:room]
	}
	if text = strings.ToValidUTF8(text, "?"); suspicious(text) {
		text = telling.ReplaceAllString(text, withheld)
	}
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// suspicious reports whether telling could find anything. Most texts are a few plain words, and the look costs a fraction.
func suspicious(text string) bool {
	digits, run, colons := 0, 0, 0
	for _, c := range []byte(text) {
		digit := c >= '0' && c <= '9'
		switch {
		case c == '@' || digits > 0 && (c == '-' || c == '.'):
			return true
		case c == ':':
			colons++
		}
		if digits++; !digit {
			digits = 0
		}
		if run++; c == ' ' {
			run = 0
		}
		if digits > 8 || run > 31 || colons > 1 {
			return true
		}
	}
	return false
}

// redacted hands a line on without what could name somebody. It never waits and never fails: a queue stands behind it.
type redacted struct {
	next slog.Handler
	made *atomic.Uint64
}

func (h *redacted) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *redacted) Handle(ctx context.Context, r slog.Record) error {
	h.made.Add(1)
	clean := slog.NewRecord(r.Time, r.Level, scrub(r.Message, maxText), 0)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(cleaned(a, 0))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h *redacted) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = cleaned(a, 0)
	}
	return &redacted{h.next.WithAttrs(clean), h.made}
}

func (h *redacted) WithGroup(name string) slog.Handler {
	return &redacted{h.next.WithGroup(scrub(name, maxWord)), h.made}
}

// cleaned returns an attribute as it may leave.
func cleaned(a slog.Attr, depth int) slog.Attr {
	key, v := scrub(a.Key, maxWord), a.Value.Resolve()
	if v.Kind() == slog.KindGroup && depth < maxDepth {
		inner := make([]slog.Attr, len(v.Group()))
		for i, m := range v.Group() {
			inner[i] = cleaned(m, depth+1)
		}
		return slog.Attr{Key: key, Value: slog.GroupValue(inner...)}
	}
	if !leaves[a.Key] {
		return slog.String(key, withheld)
	}
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindDuration, slog.KindTime:
		return slog.Attr{Key: key, Value: v}
	case slog.KindString:
		return slog.String(key, scrub(v.String(), maxText))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error, fmt.Stringer:
			return slog.String(key, scrub(fmt.Sprint(x), maxText))
		}
	case slog.KindGroup, slog.KindLogValuer: // too deep
	}
	return slog.String(key, withheld)
}
