package object

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEach(t *testing.T) {
	for _, tc := range []struct {
		doc  string
		want error
	}{
		{`{}`, nil},
		{" \t\r\n{ } ", nil},
		{`{"a":1,"b":[1,{"c":null}],"d":"\u00e4\ud83d\ude00\n"}`, nil},
		{`{"a":-0.5e+10}`, nil},
		{``, ErrSyntax},
		{`[]`, ErrSyntax},
		{`"a"`, ErrSyntax},
		{`{} {}`, ErrSyntax},
		{`{}x`, ErrSyntax},
		{`{"a":1,}`, ErrSyntax},
		{`{"a" 1}`, ErrSyntax},
		{`{"a":01}`, ErrSyntax},
		{`{"a":1.}`, ErrSyntax},
		{`{"a":+1}`, ErrSyntax},
		{`{"a":nul}`, ErrSyntax},
		{`{"a":"` + "\x01" + `"}`, ErrSyntax},
		{`{"a":"` + "\xff" + `"}`, ErrSyntax},
		{`{"a":"\ud83d"}`, ErrSyntax},
		{`{"a":"\x41"}`, ErrSyntax},
		{`{"a":"`, ErrSyntax},
		{`{"a":"\`, ErrSyntax},
		{`{"\u0061":1}`, ErrSyntax},
		{"{\"a\":1\x00}", ErrSyntax},
		{`{"a":1,"a":1}`, ErrDuplicate},
		{`{"b":{"a":1,"a":1}}`, ErrDuplicate},
		{`{"b":[{"a":1,"a":1}]}`, ErrDuplicate},
		{`{"a":1,"A":1}`, nil},
		{`{"a":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`, nil},
		{`{"a":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, ErrLimit},
		{`{"a":[` + strings.Repeat("1,", MaxItems-1) + `1]}`, nil},
		{`{"a":[` + strings.Repeat("1,", MaxItems) + `1]}`, ErrLimit},
	} {
		err := Each(tc.doc, func(string, Value) error { return nil })
		if !errors.Is(err, tc.want) {
			t.Errorf("Each(%q) = %v, want %v", tc.doc, err, tc.want)
		}
	}
}

func TestValues(t *testing.T) {
	doc := `{"text":"a\"\u00e4\ud83d\ude00/\/\n","n":-12,"big":9223372036854775808,"float":1.5,"yes":true,"no":false,"none":null,"list":["a", "b"],"inner":{"x":1 , "y":2}}`
	err := Each(doc, func(name string, v Value) error {
		text, textErr := v.Text()
		n, intErr := v.Int()
		b, boolErr := v.Bool()
		switch name {
		case "text":
			if text != "a\"ä😀//\n" || textErr != nil {
				t.Errorf("Text() = %q, %v", text, textErr)
			}
		case "n":
			if n != -12 || intErr != nil || textErr == nil {
				t.Errorf("Int() = %d, %v", n, intErr)
			}
		case "big", "float":
			if intErr == nil {
				t.Errorf("%s: Int() = %d, want an error", name, n)
			}
		case "yes", "no":
			if b != (name == "yes") || boolErr != nil {
				t.Errorf("%s: Bool() = %v, %v", name, b, boolErr)
			}
		case "none":
			if !v.Null() || boolErr == nil || v.Each(nil) == nil || v.Items(nil) == nil {
				t.Errorf("null is %v", v)
			}
		case "list":
			var got []string
			err := v.Items(func(v Value) error {
				s, err := v.Text()
				got = append(got, s)
				return err
			})
			if err != nil || !reflect.DeepEqual(got, []string{"a", "b"}) {
				t.Errorf("Items() = %q, %v", got, err)
			}
		case "inner":
			var got string
			err := v.Each(func(name string, v Value) error { got += name + string(v); return nil })
			if err != nil || got != "x1y2" {
				t.Errorf("Each() = %q, %v", got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is accepted, encoding/json accepts and understands in the same way.
func FuzzEach(f *testing.F) {
	f.Add(`{"a":1,"b":[1,{"c":null}],"d":"\u00e4\ud83d\ude00\n"}`)
	f.Add(`{"a":"\/", "b":{"b":-1.5E-3}}`)
	f.Add(`{"a":1,"a":2}`)
	f.Fuzz(func(t *testing.T, doc string) {
		got := map[string]any{}
		err := Each(doc, func(name string, v Value) error {
			var value any
			if err := json.Unmarshal([]byte(v), &value); err != nil {
				t.Fatalf("value %q of %q: %v", v, doc, err)
			}
			if text, err := v.Text(); err == nil && text != value {
				t.Fatalf("text of %q is %q, want %q", v, text, value)
			}
			got[name] = value
			return nil
		})
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatalf("%q was accepted: %v", doc, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q read as %v, want %v", doc, got, want)
		}
	})
}
