package contain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a playbook's file.
const (
	MaxPlaybook = 256 << 10
	maxDepth    = 32
)

// Canonical returns JSON in the one form that is signed: RFC 8785 (JCS). What two readers could understand differently is
// refused: a name that stands twice in an object, text that is not Unicode, numbers beyond the doubles.
func Canonical(data []byte) ([]byte, error) {
	v, err := decodeJSON(data)
	if err != nil {
		return nil, err
	}
	return appendCanonical(nil, v)
}

// decodeJSON reads one bounded JSON value: nil, bool, float64, string, []any or map[string]any.
func decodeJSON(data []byte) (any, error) {
	if len(data) > MaxPlaybook {
		return nil, fmt.Errorf("it is longer than %d bytes", MaxPlaybook)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	if err := wholeEscapes(data); err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// wholeEscapes refuses halves of surrogate pairs, which the decoder would replace without a word.
func wholeEscapes(data []byte) error {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if i++; i >= len(data) || data[i] != 'u' {
			continue
		}
		r := escaped(data, i+1)
		if !utf16.IsSurrogate(r) {
			continue
		}
		if i+6 >= len(data) || data[i+5] != '\\' || data[i+6] != 'u' || utf16.DecodeRune(r, escaped(data, i+7)) == utf8.RuneError {
			return errors.New("it has half of a surrogate pair")
		}
		i += 10
	}
	return nil
}

func escaped(data []byte, at int) rune {
	if at+4 > len(data) {
		return 0
	}
	n, err := strconv.ParseUint(string(data[at:at+4]), 16, 16)
	if err != nil {
		return 0 // the decoder says so
	}
	return rune(n)
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return decodeObject(d, depth)
		}
		return decodeArray(d, depth)
	case json.Number:
		f, err := t.Float64()
		if err != nil {
			return nil, fmt.Errorf("the number %.30s is beyond what every reader understands alike", t)
		}
		return f, nil
	default:
		return t, nil
	}
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		key, ok := name.(string)
		if !ok {
			return nil, errors.New("it is no JSON: a name is a string")
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the name %.60q stands twice in one object", key)
		}
		if object[key], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}

func decodeArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func appendCanonical(b []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case float64:
		return appendNumber(b, v)
	case string:
		return appendString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		return appendObject(b, v)
	default:
		return nil, fmt.Errorf("%T is no JSON", v)
	}
}

// appendObject sorts names by their UTF-16 code units (RFC 8785, section 3.2.3).
func appendObject(b []byte, object map[string]any) (_ []byte, err error) {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y)))
	})
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		if b, err = appendCanonical(b, object[name]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendString escapes what must be and nothing else (RFC 8785, section 3.2.2.2).
func appendString(b []byte, s string) []byte {
	const short = "\b\t\n\f\r"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' && strings.ContainsRune(short, r):
			b = append(b, '\\', "btnfr"[strings.IndexRune(short, r)])
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// appendNumber writes a double as ECMAScript does (RFC 8785, section 3.2.2.3).
func appendNumber(b []byte, f float64) ([]byte, error) {
	switch abs := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, errors.New("a number has no end")
	case f == 0:
		return append(b, '0'), nil // minus zero too
	case abs >= 1e-6 && abs < 1e21:
		return strconv.AppendFloat(b, f, 'f', -1, 64), nil
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	sign := exponent[:1]
	return append(b, mantissa+"e"+sign+strings.TrimLeft(exponent[1:], "0")...), nil
}
