// Package yaml reads YAML that people wrote, strictly: every fault names its line, nothing is skipped, nothing is guessed.
//
// It is the part of YAML 1.2 that configurations need: mappings with plain keys, sequences and scalars, in as many documents
// as a file holds. Anchors, aliases, merge keys, tags, complex keys and keys that stand twice are refused. Size and depth are
// bounded, so the files may come from strangers.
package yaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	goyaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxBytes = 1 << 20
	maxDepth = 64
)

// Kind is what a [Node] is.
type Kind uint8

// The kinds.
const (
	Null   Kind = iota // nothing, or null
	Bool               // true or false
	Number             // an integer or a decimal, as written
	String
	List
	Map
)

var kindNames = [...]string{"nothing", "true or false", "a number", "a text", "a list", "a mapping"}

func (k Kind) String() string { return kindNames[k] }

// Node is one value of a document.
type Node struct {
	Kind    Kind
	Line    int     // from 1
	Text    string  // of a scalar: a Bool in small letters, a Number as written
	Items   []*Node // of a List
	Entries []Entry // of a Map, in their order
}

// Entry is one key of a mapping with its value.
type Entry struct {
	Key   string
	Line  int // of the key
	Value *Node
}

// Error is a fault of a document.
type Error struct {
	Line int // from 1; 0: the file as a whole
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

// Faultf makes an [Error] about a line.
func Faultf(line int, format string, args ...any) error {
	return &Error{Line: line, Text: fmt.Sprintf(format, args...)}
}

// Parse reads all documents of a file; empty ones are left out. Errors are [*Error].
func Parse(data []byte) ([]*Node, error) {
	if len(data) > maxBytes {
		return nil, Faultf(0, "the file is longer than %d bytes", maxBytes)
	}
	if !utf8.Valid(data) {
		return nil, Faultf(0, "the file is not UTF-8")
	}
	if err := shallow(data); err != nil {
		return nil, err
	}
	file, err := parse(data)
	if err != nil {
		return nil, err
	}
	var docs []*Node
	for _, d := range file.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		n, err := convert(d.Body, 0)
		if err != nil {
			return nil, err
		}
		if n.Kind != Null {
			docs = append(docs, n)
		}
	}
	return docs, nil
}

// shallow refuses what would make the recursive parser deep: its depth costs stack before this package sees a node.
func shallow(data []byte) error {
	line, open, dashes := 1, 0, 0
	for _, c := range data {
		switch c {
		case '\n':
			line++
			dashes = 0
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '-', '?', '&', '!', ':':
			dashes++
		}
		if open > 8*maxDepth || dashes > 64*maxDepth {
			return Faultf(line, "nested too deeply")
		}
	}
	return nil
}

// parse calls the parser and gives its faults their line. The parser is somebody else's: a panic in it is a file that cannot
// be read, not the end of the process.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, Faultf(0, "the file cannot be read")
		}
	}()
	file, err = parser.ParseBytes(data, 0)
	if err == nil {
		return file, nil
	}
	if l, ok := errors.AsType[goyaml.Error](err); ok {
		return nil, Faultf(lineOf(l.GetToken()), "%s", l.GetMessage())
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return nil, Faultf(0, "%s", first)
}

func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

func convert(n ast.Node, depth int) (*Node, error) {
	line := lineOf(n.GetToken())
	if depth > maxDepth {
		return nil, Faultf(line, "nested too deeply")
	}
	out := &Node{Line: line}
	switch n := n.(type) {
	case *ast.NullNode:
		return out, nil
	case *ast.BoolNode:
		out.Kind, out.Text = Bool, strings.ToLower(n.Token.Value)
	case *ast.IntegerNode:
		out.Kind, out.Text = Number, n.Token.Value
	case *ast.FloatNode:
		out.Kind, out.Text = Number, n.Token.Value
	case *ast.InfinityNode:
		out.Kind, out.Text = String, n.Token.Value
	case *ast.NanNode:
		out.Kind, out.Text = String, n.Token.Value
	case *ast.StringNode:
		out.Kind, out.Text = String, n.Value
	case *ast.LiteralNode:
		out.Kind, out.Text = String, n.Value.Value
	case *ast.SequenceNode:
		return out, out.list(n.Values, depth)
	case *ast.MappingNode:
		return out, out.entries(n.Values, depth)
	case *ast.MappingValueNode:
		return out, out.entries([]*ast.MappingValueNode{n}, depth)
	default:
		return nil, Faultf(line, "anchors, aliases, tags and merge keys are not read here")
	}
	return out, nil
}

func (n *Node) list(values []ast.Node, depth int) error {
	n.Kind = List
	for _, v := range values {
		item, err := convert(v, depth+1)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, item)
	}
	return nil
}

func (n *Node) entries(values []*ast.MappingValueNode, depth int) error {
	n.Kind = Map
	seen := make(map[string]bool, len(values))
	for i, v := range values {
		line := lineOf(v.Key.GetToken())
		if i == 0 {
			n.Line = line // the token of a mapping is its first colon
		}
		key, err := convert(v.Key, depth+1)
		if err != nil {
			return err
		}
		if key.Kind == List || key.Kind == Map || key.Kind == Null {
			return Faultf(line, "a key is a plain text")
		}
		if seen[key.Text] {
			return Faultf(line, "%q stands twice", key.Text)
		}
		seen[key.Text] = true
		value, err := convert(v.Value, depth+1)
		if err != nil {
			return err
		}
		n.Entries = append(n.Entries, Entry{key.Text, line, value})
	}
	return nil
}
