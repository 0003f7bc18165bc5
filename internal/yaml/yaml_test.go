package yaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type sample struct {
	Title string           `yaml:"title"`
	Count int8             `yaml:"count"`
	Share float64          `yaml:"share"`
	On    bool             `yaml:"on"`
	Tags  []string         `yaml:"tags"`
	Map   map[string][]int `yaml:"map"`
	Inner *inner           `yaml:"inner"`
	Raw   *Node            `yaml:"raw"`
	out   int
}

type inner struct {
	A string `yaml:"a"`
}

func TestDecode(t *testing.T) {
	docs, err := Parse([]byte("---\n# a comment\ntitle: 'x: y'\ncount: -3\nshare: 1.5\non: true\ntags: [a, 'b']\nmap:\n  k: [1, 2]\ninner:\n  a: |\n    two\n    lines\nraw: {b: ~}\n---\ntitle: second\n---\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 {
		t.Fatalf("got %d documents, want 2", len(docs))
	}
	got := sample{out: 1}
	if err := docs[0].Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := sample{
		Title: "x: y", Count: -3, Share: 1.5, On: true, Tags: []string{"a", "b"}, Map: map[string][]int{"k": {1, 2}},
		Inner: &inner{"two\nlines\n"}, out: 1,
		Raw: &Node{Kind: Map, Line: 14, Entries: []Entry{{"b", 14, &Node{Line: 14, Kind: Null}}}},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); d != "" {
		t.Error(d)
	}
	if docs[1].Line != 16 {
		t.Errorf("the second document begins on line %d, want 16", docs[1].Line)
	}
}

func TestFaultsNameTheirLine(t *testing.T) {
	for _, c := range []struct {
		name, text string
		line       int
		word       string
	}{
		{"unknown key", "title: a\ntitel: b\n", 2, `unknown key "titel"`},
		{"twice", "title: a\n\ntitle: b\n", 3, "title"},
		{"text for number", "count: many\n", 1, "whole number"},
		{"number too large", "\ncount: 128\n", 2, "8 bits"},
		{"decimal for whole", "count: 1.5\n", 1, "whole number"},
		{"number for text", "title: 5\n", 1, "a text was expected"},
		{"text for truth", "on: maybe\n", 1, "true or false"},
		{"text for decimal", "share: x\n", 1, "a number"},
		{"scalar for list", "tags: a\n", 1, "a list was expected"},
		{"list for map", "map: [a]\n", 1, "a mapping was expected"},
		{"list for struct", "inner: [a]\n", 1, "a mapping was expected"},
		{"wrong inside list", "tags:\n  - a\n  - [b]\n", 3, "a text was expected"},
		{"wrong inside map", "map:\n  k:\n    - x\n", 3, "whole number"},
		{"anchor", "title: &a b\n", 1, "anchors"},
		{"alias", "tags: [*a]\n", 1, ""},
		{"tag", "title: !!str a\n", 1, "anchors"},
		{"merge", "inner:\n  <<: {a: b}\n", 2, "anchors"},
		{"complex key", "? [a]\n: b\n", 2, ""},
		{"null key", "~: b\n", 1, "plain text"},
		{"tab", "inner:\n\ta: b\n", 2, ""},
		{"not closed", "title: 'a\n", 1, ""},
		{"deep", "raw: " + strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2), 1, "deep"},
		{"deeper", "raw: " + strings.Repeat("[", 100_000), 1, "deep"},
		{"many dashes", strings.Repeat("- ", 100_000), 1, "deep"},
		{"not UTF-8", "title: \xff\n", 0, "UTF-8"},
		{"too long", strings.Repeat("# comment\n", 1<<17), 0, "longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, err := Parse([]byte(c.text))
			if err == nil {
				err = docs[0].Decode(&sample{})
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v, want an error of line %d", err, c.line)
			}
			if e.Line != c.line || !strings.Contains(e.Text, c.word) {
				t.Errorf("got %v, want line %d: ...%s...", e, c.line, c.word)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a: b\n---\nc: [d, {e: f}]\n")
	f.Add("a: &x [1, *x]\n? b\n: c\n<<: d\n- e")
	f.Add("a: |\n  b\n c: >-\n  d\n'e': \"\\u00e4\"")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := Parse([]byte(text))
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T is no *Error", err)
			}
			return
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		for _, d := range docs {
			if err := within(d, lines, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// within checks that a node is bounded and that its lines are lines of the file.
func within(n *Node, lines, depth int) error {
	if n.Line < 0 || n.Line > lines+1 || depth > maxDepth {
		return fmt.Errorf("line %d of %d, depth %d", n.Line, lines, depth)
	}
	for _, i := range n.Items {
		if err := within(i, lines, depth+1); err != nil {
			return err
		}
	}
	for _, e := range n.Entries {
		if err := within(e.Value, lines, depth+1); err != nil {
			return err
		}
	}
	return nil
}
