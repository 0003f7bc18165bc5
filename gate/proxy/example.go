package proxy

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Example returns the default settings for an upstream as commented YAML, made from the doc tags. It stands at the left
// margin; a file that has it below a key indents every line.
func Example(upstream string) string {
	var b strings.Builder
	writeFields(&b, reflect.ValueOf(Default(upstream)), "", "", true)
	return b.String()
}

// writeFields writes the fields of a struct; first is what stands before the first key. Without docs, empty fields are left
// out.
func writeFields(b *strings.Builder, v reflect.Value, indent, first string, docs bool) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		if !docs && value.IsZero() {
			continue
		}
		if docs && indent == "" && i > 0 {
			b.WriteString("\n")
		}
		if docs {
			for _, line := range wrap(f.Tag.Get("doc"), 110-len(indent)) {
				fmt.Fprintf(b, "%s# %s\n", indent, line)
			}
		}
		lead := indent
		if first != "" {
			lead, first = first, ""
		}
		writeField(b, value, indent, lead+f.Tag.Get("yaml")+":")
	}
}

func writeField(b *strings.Builder, value reflect.Value, indent, key string) {
	switch x := value.Interface().(type) {
	case []string:
		quoted := make([]string, len(x))
		for i, s := range x {
			quoted[i] = strconv.Quote(s)
		}
		fmt.Fprintf(b, "%s [%s]\n", key, strings.Join(quoted, ", "))
	case string:
		fmt.Fprintf(b, "%s %q\n", key, x)
	case time.Duration:
		fmt.Fprintf(b, "%s %s\n", key, x)
	case []Rule:
		writeRuleDocs(b, indent+"  ")
		b.WriteString(key + "\n")
		for _, r := range x {
			writeFields(b, reflect.ValueOf(r), indent+"    ", indent+"  - ", false)
		}
	default:
		if value.Kind() == reflect.Struct {
			b.WriteString(key + "\n")
			writeFields(b, value, indent+"  ", "", true)
			return
		}
		fmt.Fprintf(b, "%s %v\n", key, x)
	}
}

func writeRuleDocs(b *strings.Builder, indent string) {
	t := reflect.TypeFor[Rule]()
	for i := range t.NumField() {
		f := t.Field(i)
		text := f.Tag.Get("yaml") + ": " + f.Tag.Get("doc")
		for j, line := range wrap(text, 106-len(indent)) {
			if j > 0 {
				line = "  " + line
			}
			fmt.Fprintf(b, "#%s%s\n", indent, line)
		}
	}
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
