package contain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// TestEveryReasonIsGerman looks through the source for the reasons that judge and engine give: a German page shows none in English.
func TestEveryReasonIsGerman(t *testing.T) {
	found := 0
	need := func(where token.Position, e ast.Expr) {
		for _, text := range literals(e) {
			found++
			if text = strings.ReplaceAll(text, "%s", "109500969"); German(text) == text {
				t.Errorf("%s: %q has no German words", where, text)
			}
		}
	}
	files := token.NewFileSet()
	for _, name := range []string{"judge.go", "run.go", "keep.go"} {
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Why" {
					need(files.Position(n.Pos()), n.Value)
				}
			case *ast.AssignStmt:
				for i, l := range n.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok && s.Sel.Name == "Why" && len(n.Rhs) > i {
						need(files.Position(n.Pos()), n.Rhs[i])
					}
				}
			case *ast.ReturnStmt: // of the verdict
				if len(n.Results) == 2 {
					if s, ok := n.Results[0].(*ast.Ident); ok && (s.Name == "Asked" || s.Name == "Refused") {
						need(files.Position(n.Pos()), n.Results[1])
					}
				}
			}
			return true
		})
	}
	if found < 15 {
		t.Errorf("only %d reasons were found", found)
	}
	if got := German("the judge does not go so far: its severity is low"); got != "so weit geht das Urteil nicht: die Schwere ist gering" {
		t.Errorf("got %q", got)
	}
}

// literals are the texts in an expression that are a reason or the begin of one.
func literals(e ast.Expr) (list []string) {
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil && text != "" {
				list = append(list, text)
			}
		}
		return true
	})
	return list
}
