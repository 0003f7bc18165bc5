package node

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Example returns the configuration as commented YAML, made from the doc tags.
func Example(cfg Config) string {
	var b strings.Builder
	b.WriteString("# Configuration of a Querschott node. Paths are relative to the directory of this file.\n")
	writeExample(&b, reflect.ValueOf(cfg), "", "", true, false)
	return b.String()
}

// lineWidth is where the comments of an example are broken.
const lineWidth = 110

// writeExample writes the fields of a struct. The first line begins with first, which is the indent or, for an element of
// a list, the indent with the list's dash.
func writeExample(b *strings.Builder, v reflect.Value, first, indent string, comments, sparse bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || sparse && empty(v.Field(i)) {
			continue
		}
		if indent == "" {
			b.WriteString("\n")
		}
		if comments {
			comment(b, indent, f.Tag.Get("doc"))
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				describe(b, indent, "#   ", f.Type.Elem())
			}
		}
		fmt.Fprintf(b, "%s%s:", first, key)
		writeValue(b, v.Field(i), indent, comments)
		first = indent
	}
}

// empty reports whether a field of a list's element says nothing.
func empty(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

func comment(b *strings.Builder, indent, text string) {
	for _, line := range wrap(text, lineWidth-len(indent)) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
}

// describe says what an element of a list of structs holds: the list may be empty, and its fields must be told all the same.
func describe(b *strings.Builder, indent, lead string, element reflect.Type) {
	for i := range element.NumField() {
		f := element.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		for k, line := range wrap(key+": "+f.Tag.Get("doc"), lineWidth-len(indent)-len(lead)) {
			if k > 0 {
				line = "  " + line
			}
			fmt.Fprintf(b, "%s%s%s\n", indent, lead, line)
		}
		switch inner := f.Type; {
		case inner.Kind() == reflect.Struct:
			describe(b, indent, lead+"  ", inner)
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			describe(b, indent, lead+"  ", inner.Elem())
		}
	}
}

// writeValue writes what stands behind a key's colon.
func writeValue(b *strings.Builder, v reflect.Value, indent string, comments bool) {
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := t.MarshalText()
		if err != nil {
			panic("node: an example's value cannot be written: " + err.Error()) // sizes and lengths of time always can
		}
		fmt.Fprintf(b, " %s\n", text)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		b.WriteString("\n")
		writeExample(b, v, indent+"  ", indent+"  ", comments, false)
	case reflect.Slice:
		writeList(b, v, indent)
	case reflect.String:
		fmt.Fprintf(b, " %s\n", strconv.Quote(v.String()))
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}

// writeList writes strings on one line, and structs below each other, without their comments: those stand above the list.
func writeList(b *strings.Builder, v reflect.Value, indent string) {
	if v.Len() > 0 && v.Type().Elem().Kind() == reflect.Struct {
		b.WriteString("\n")
		for i := range v.Len() {
			writeExample(b, v.Index(i), indent+"  - ", indent+"    ", false, true)
		}
		return
	}
	quoted := make([]string, v.Len())
	for i := range quoted {
		quoted[i] = strconv.Quote(v.Index(i).String())
	}
	fmt.Fprintf(b, " [%s]\n", strings.Join(quoted, ", "))
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
