package querschott_test

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/querschott/querschott"

// floors says who may import whom: a package imports only packages that stand lower. Tens are the floors of the house;
// units order the parts of one floor that build on each other. Any other sub-package stands on its parent's floor and
// may import the parent, never a sibling. The floor of a package is that of its longest prefix here.
var floors = map[string]int{
	"":            0, // the root: the words
	"wire":        10,
	"seal":        20,
	"ledger/tile": 30, "ledger/proof": 31, "ledger": 32, // verifiers are built without the writer
	"cell":    40,
	"insured": 45, // how insured persons lie in a cell, for all services
	"intake":  50, "outbox": 50,
	"sicknote":    55, // how sick notes lie in a cell, for all services
	"door":        60,
	"access":      65,
	"ident":       70,
	"service":     80,
	"gate":        90,
	"watch":       100,
	"scope":       110,
	"contain":     120,
	"incident":    130,
	"notify":      140,
	"web":         150,
	"telemetry":   155,
	"node":        160,
	"drill":       170,
	"drill/demo":  171, // plays with the dev issuers beside it
	"drill/crowd": 171, // who is there for the attacks beside it
	"drill/run":   172,
	"drill/eval":  172,
	"cmd":         180,
	"e2e":         190,
}

// never lists imports that would be wrong whatever the floors say.
var never = []struct{ from, to, why string }{
	{"gate", "watch", "defence never stands in the way: a hanging detector slows no sick note"},
	{"gate", "contain", "defence never stands in the way: a hanging playbook slows no sick note"},
	{"intake", "door", "intake never asks a door"},
	{"web/status", "cell", "the status page outlives the platform"},
	{"web/status", "ledger", "the status page outlives the platform"},
	{"web/status", "seal", "the status page outlives the platform"},
}

// notNames are names under which everything finds a place and nothing can be found.
var notNames = []string{"util", "utils", "common", "helper", "helpers", "model", "models", "types", "manager", "handler", "handlers", "processor"}

// largeInterfaces lists interfaces of more than four methods, each with its reason.
var largeInterfaces = map[string]string{
	"internal/disk.FS":   "a file system is these operations; crashdisk implements it a second time",
	"internal/disk.File": "an open file is these operations; crashdisk implements it a second time",
}

const (
	maxFunction     = 100 // lines
	maxFile         = 600 // lines
	maxMethods      = 4
	maxDependencies = 25
)

// source is one Go file of the module.
type source struct {
	name      string // path from the root, with slashes
	dir       string // "" for the root package
	test      bool
	generated bool
	text      []byte
	ast       *ast.File
	fset      *token.FileSet
}

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// sources parses every Go file of this module, once for all tests.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// parsed leaves out nested modules, test data and what Go ignores.
var parsed = sync.OnceValues(func() ([]source, error) {
	var all []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if base := d.Name(); base == "testdata" || base[0] == '.' || base[0] == '_' {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		s, err := parse(name)
		all = append(all, s)
		return err
	})
	return all, err
})

func parse(name string) (source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return source{}, err
	}
	s := source{name: filepath.ToSlash(name), test: strings.HasSuffix(name, "_test.go"), text: text, fset: token.NewFileSet()}
	if s.dir = path.Dir(s.name); s.dir == "." {
		s.dir = ""
	}
	s.ast, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s.generated = ast.IsGenerated(s.ast)
	return s, nil
}

// within reports whether dir is the package or one below it.
func within(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

// internalRoot returns the directory whose tree may import dir: the parent of an element "internal".
func internalRoot(dir string) (root string, ok bool) {
	elements := strings.Split(dir, "/")
	i := slices.Index(elements, "internal")
	if i < 0 {
		return "", false
	}
	return strings.Join(elements[:i], "/"), true
}

func floorOf(dir string) (int, bool) {
	for ; dir != ""; dir = strings.TrimPrefix(path.Dir(dir), ".") {
		if f, ok := floors[dir]; ok {
			return f, true
		}
	}
	return 0, false
}

// importFault says why package from may not import package to, "" if it may.
func importFault(from, to string) string {
	for _, n := range never {
		if within(from, n.from) && within(to, n.to) {
			return n.why
		}
	}
	if root, ok := internalRoot(to); ok && (root == "" || within(from, root)) {
		return "" // a leaf for everybody, or for the packages around it
	}
	if root, ok := internalRoot(from); ok && root == "" {
		return "packages under internal are leaves and import only each other"
	}
	if to == "" {
		return ""
	}
	upper, ok := floorOf(from)
	if !ok {
		if from == "" {
			return "the root package imports nothing of the house"
		}
		return "the package is on no floor; give it one in the table of this test"
	}
	lower, ok := floorOf(to)
	switch {
	case !ok:
		return "the imported package is on no floor"
	case lower < upper:
		return ""
	case lower == upper && within(from, to):
		return "" // a part imports its whole
	case lower == upper:
		return fmt.Sprintf("both are on floor %d; packages of one floor do not import each other", upper/10)
	}
	return fmt.Sprintf("it is on floor %.1f and imports floor %.1f", float64(upper)/10, float64(lower)/10)
}

func TestImportOrder(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir != "" {
			_, known := floorOf(s.dir)
			if root, internal := internalRoot(s.dir); !known && (!internal || root != "") {
				t.Errorf("%s: the package is on no floor; give it one in the table of this test", s.name)
			}
		}
		if s.test {
			continue // a test may look at the house from above
		}
		for _, spec := range s.ast.Imports {
			to, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if !ok {
				continue
			}
			if why := importFault(s.dir, strings.TrimPrefix(to, "/")); why != "" {
				t.Errorf("%s:%d imports %s: %s", s.name, s.line(spec.Pos()), spec.Path.Value, why)
			}
		}
	}
}

func TestImportOrderCanFail(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		allowed  bool
	}{
		{"seal", "", true},
		{"", "seal", false},
		{"seal", "wire/kim", true},
		{"wire/kim", "seal", false},
		{"wire/kim", "wire/cms", false},
		{"wire/kim", "wire/internal/shared", true},
		{"cell/pebble", "cell", true},
		{"ledger", "ledger/proof", true},
		{"ledger/proof", "ledger", false},
		{"ledger/proof", "seal", true},
		{"cell", "cell/pebble", false},
		{"service/eau", "service/letter", false},
		{"gate/mail", "watch", false},
		{"gate/mail", "internal/disk", true},
		{"internal/disk", "seal", false},
		{"internal/disk/crashdisk", "internal/disk", true},
		{"cmd/querschott", "node", true},
		{"elsewhere", "seal", false},
		{"intake", "door", false},
		{"web/status", "seal", false},
		{"web/status", "internal/disk", true},
	} {
		if got := importFault(tc.from, tc.to) == ""; got != tc.allowed {
			t.Errorf("%s imports %s: allowed = %v, want %v", tc.from, tc.to, got, tc.allowed)
		}
	}
}

// The status page outlives the platform: nothing that it is built from, however far down, is cell, ledger, key or door.
func TestStatusPageIsBuiltWithoutThePlatform(t *testing.T) {
	imports := map[string][]string{}
	for _, s := range sources(t) {
		for _, spec := range s.ast.Imports {
			if to, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module); ok && !s.test {
				imports[s.dir] = append(imports[s.dir], strings.TrimPrefix(to, "/"))
			}
		}
	}
	const page = "web/status"
	if len(imports[page]) == 0 {
		t.Fatal("the status page is gone, or uses none of the house's words")
	}
	seen, next := map[string]bool{page: true}, []string{page}
	for len(next) > 0 {
		dir := next[0]
		next = next[1:]
		for _, to := range imports[dir] {
			if root, internal := internalRoot(to); to != "" && (!internal || root != "") {
				t.Errorf("%s imports %s: the status page is built from the words alone", dir, to)
			}
			if !seen[to] {
				seen[to], next = true, append(next, to)
			}
		}
	}
}

func TestPackagesAreNamedAndPromise(t *testing.T) {
	comment := map[string]bool{}
	for _, s := range sources(t) {
		comment[s.dir] = comment[s.dir] || s.ast.Doc != nil && strings.TrimSpace(s.ast.Doc.Text()) != ""
		if name := strings.TrimSuffix(s.ast.Name.Name, "_test"); slices.Contains(notNames, name) {
			t.Errorf("%s: package name %q says nothing; call it what a person of the field would", s.name, name)
		}
	}
	for dir, ok := range comment {
		if !ok {
			t.Errorf("package %q has no comment that states its promise", dir)
		}
	}
}

func TestLengths(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		if n := bytes.Count(s.text, []byte("\n")); n > maxFile {
			t.Errorf("%s has %d lines, allowed are %d", s.name, n, maxFile)
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			if lines := s.line(f.End()) - s.line(f.Pos()) + 1; lines > maxFunction {
				t.Errorf("%s:%d: function %s has %d lines, allowed are %d", s.name, s.line(f.Pos()), f.Name.Name, lines, maxFunction)
			}
			return true
		})
	}
}

func TestNoInitAndNoSleep(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s:%d: init() works behind the reader's back", s.name, s.line(n.Pos()))
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Sleep" {
					t.Errorf("%s:%d: time.Sleep; wait for an event, or inject the clock", s.name, s.line(n.Pos()))
				}
			}
			return true
		})
	}
}

func TestLargeInterfacesAreListed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				i, ok := typ.Type.(*ast.InterfaceType)
				if !ok {
					continue
				}
				name := s.dir + "." + typ.Name.Name
				if n := i.Methods.NumFields(); n > maxMethods {
					seen[name] = true
					if largeInterfaces[name] == "" {
						t.Errorf("%s:%d: interface %s has %d methods; split it, or list it in this test with a reason", s.name, s.line(typ.Pos()), name, n)
					}
				}
			}
		}
	}
	for name := range largeInterfaces {
		if !seen[name] {
			t.Errorf("%s is on the list of large interfaces and is none", name)
		}
	}
}

func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if os.IsNotExist(err) {
		t.Skip("no README.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go run ./cmd/querschott demo", "./test"} {
		if !hasLine(text, command) {
			t.Errorf("README.md does not have the command %q on a line of its own", command)
		}
	}
	if n := bytes.Count(text, []byte("\n")); n > 200 {
		t.Errorf("README.md has %d lines, allowed are 200", n)
	}
}

// hasLine reports whether a line is the command, bare, after a prompt or before a comment.
func hasLine(text []byte, command string) bool {
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		line, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(sc.Text()), "$ "), " #")
		if strings.TrimSpace(line) == command {
			return true
		}
	}
	return false
}

func TestDependenciesAreExplained(t *testing.T) {
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for sc := bufio.NewScanner(bytes.NewReader(table)); sc.Scan(); {
		if cells := strings.Split(sc.Text(), "|"); len(cells) == 6 && strings.Contains(cells[1], "`") {
			explained[strings.Trim(cells[1], " `")] = true
		}
	}
	required, direct := map[string]bool{}, map[string]bool{}
	for _, r := range mod.Require {
		required[r.Mod.Path] = true
		if r.Indirect {
			continue
		}
		direct[project(r.Mod.Path)] = true
		if !explained[r.Mod.Path] {
			t.Errorf("go.mod requires %s, and DEPENDENCIES.md does not say what for", r.Mod.Path)
		}
	}
	for name := range explained {
		if !required[name] {
			t.Errorf("DEPENDENCIES.md explains %s, which go.mod does not require", name)
		}
	}
	if n := len(direct); n > maxDependencies {
		t.Errorf("%d direct dependencies, allowed are %d", n, maxDependencies)
	}
}

// project returns who a module is counted to: OpenTelemetry is one project that is kept and released as many modules.
func project(module string) string {
	const many = "go.opentelemetry.io/"
	if strings.HasPrefix(module, many) {
		return many
	}
	return module
}
