package contain

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// codesInUse reads the sources for the codes that reasons are made with.
func codesInUse(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	take := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			code, _ := strconv.Unquote(l.Value)
			found[code] = true
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && fn.Name == "because" {
					take(n.Args[0])
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Code" {
					take(n.Value)
				}
			}
			return true
		})
	}
	return found
}

// TestEveryReasonHasWords: whatever judge and engine say can be said in both languages, and nothing else is in the table.
func TestEveryReasonHasWords(t *testing.T) {
	used := codesInUse(t)
	if len(used) < 25 {
		t.Errorf("only %d codes were found", len(used))
	}
	for code := range used {
		if w, ok := reasons[code]; !ok || w.de == "" || w.en == "" || w.de == w.en || strings.Count(w.de, "%s") != strings.Count(w.en, "%s") {
			t.Errorf("%s has not the words of two languages: %+v", code, w)
		}
	}
	for code := range reasons {
		if !used[code] {
			t.Errorf("nothing gives the reason %s", code)
		}
	}
}

func TestReasonInBothLanguages(t *testing.T) {
	low := because("low")
	for _, x := range []struct {
		reason Reason
		de, en string
	}{
		{full(Reason{Code: "too-far", Of: &low}), "so weit geht das Urteil nicht: die Schwere ist gering", "the judge does not go so far: its severity is low"},
		{full(Reason{Code: "unsigned", About: "109500969"}), "Kasse 109500969 hat das Drehbuch nicht unterschrieben", "insurer 109500969 has not signed the playbook"},
		{
			full(Reason{Code: "failed", About: "no answer within 30s"}),
			"sehen Sie in das Protokoll des Knotens und sperren oder schließen Sie von Hand (no answer within 30s)",
			"no answer within 30s; see the node's log, and hold or close by hand",
		},
		{Reason{}, "", ""},
	} {
		data, err := json.Marshal(x.reason)
		if err != nil {
			t.Fatal(err)
		}
		var got Reason
		if err := json.Unmarshal(data, &got); err != nil || got.In("de") != x.de || got.String() != x.en || got.Text != x.en {
			t.Errorf("%s: %q, %q, %v", data, got.In("de"), got, err)
		}
	}
	var old Reason
	if err := json.Unmarshal([]byte(`"its severity is low"`), &old); err != nil || old.String() != "its severity is low" || old.In("de") != old.String() {
		t.Errorf("a reason of an earlier run is %+v, %v", old, err)
	}
}
