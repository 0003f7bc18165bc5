package watch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneFileEach: whoever looks for a detector finds it in a file of its own.
func TestOneFileEach(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]string{} // detector: file
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		detectors := namesOf(f)
		if len(detectors) > 1 {
			t.Errorf("%s has %v", name, detectors)
		}
		for _, d := range detectors {
			where[d] = name
		}
	}
	if got, want := len(where), 21; got != want {
		t.Errorf("%d detectors have a file of their own, want %d: %v", got, want, where)
	}
}

// namesOf returns what the methods Name of a file answer.
func namesOf(f *ast.File) (list []string) {
	for _, d := range f.Decls {
		fn, is := d.(*ast.FuncDecl)
		if !is || fn.Recv == nil || fn.Name.Name != "Name" || len(fn.Body.List) != 1 {
			continue
		}
		if r, is := fn.Body.List[0].(*ast.ReturnStmt); is {
			if lit, is := r.Results[0].(*ast.BasicLit); is {
				list = append(list, strings.Trim(lit.Value, `"`))
			}
		}
	}
	return list
}
