package api

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/zeta"
)

func everything() []Route { return append(append(Own(), VSDM()...), Desk()...) }

func newAPI(t testing.TB) *API {
	t.Helper()
	a, err := New(Config{
		Version: "v1.2.3", Servers: []string{"https://vsdm.example"}, Groups: Groups(), Routes: everything(), Health: NewHealth(time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// faults are what is structurally wrong with an OpenAPI 3.1 document. It reads the JSON as anybody would who has no types.
func faults(text []byte) (list []string) {
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		return []string{err.Error()}
	}
	wrong := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if v, _ := d["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		wrong("openapi is %v", d["openapi"])
	}
	info, _ := d["info"].(map[string]any)
	if info["title"] == nil || info["title"] == "" || info["version"] == nil || info["version"] == "" {
		wrong("info has no title or no version")
	}
	references(d, d, wrong)
	tags := map[any]bool{}
	all, _ := d["tags"].([]any)
	for _, tag := range all {
		tags[object(tag)["name"]] = true
	}
	ids := map[any]bool{}
	paths := object(d["paths"])
	if len(paths) == 0 {
		wrong("there are no paths")
	}
	schemes := object(object(d["components"])["securitySchemes"])
	for path, item := range paths {
		for method, op := range object(item) {
			at := method + " " + path
			o := object(op)
			if id := o["operationId"]; id == nil || ids[id] {
				wrong("%s: operationId %v is missing or there twice", at, o["operationId"])
			}
			ids[o["operationId"]] = true
			named, _ := o["tags"].([]any)
			for _, tag := range named {
				if !tags[tag] {
					wrong("%s: tag %v is not declared", at, tag)
				}
			}
			needs, _ := o["security"].([]any)
			for _, need := range needs {
				for scheme := range object(need) {
					if schemes[scheme] == nil {
						wrong("%s: security scheme %s is not declared", at, scheme)
					}
				}
			}
			parameters(at, path, o, wrong)
			responses(at, object(o["responses"]), wrong)
		}
	}
	for name, s := range object(object(d["components"])["schemas"]) {
		if !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(name) {
			wrong("component %s has no good name", name)
		}
		required, _ := object(s)["required"].([]any)
		for _, r := range required {
			if n, _ := r.(string); object(object(s)["properties"])[n] == nil {
				wrong("component %s requires %v, which it has not", name, r)
			}
		}
	}
	return list
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// references resolves every $ref.
func references(v any, root map[string]any, wrong func(string, ...any)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			references(e, root, wrong)
		}
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			path, local := strings.CutPrefix(ref, "#/")
			var at any = root
			for part := range strings.SplitSeq(path, "/") {
				at = object(at)[part]
			}
			if !local || at == nil {
				wrong("%s leads nowhere", ref)
			}
		}
		for _, e := range v {
			references(e, root, wrong)
		}
	}
}

func parameters(at, path string, op map[string]any, wrong func(string, ...any)) {
	list, _ := op["parameters"].([]any)
	declared := map[string]bool{}
	for _, p := range list {
		o := object(p)
		name, _ := o["name"].(string)
		in, _ := o["in"].(string)
		if name == "" || !slices.Contains([]string{"path", "query", "header", "cookie"}, in) || o["schema"] == nil || declared[in+" "+name] {
			wrong("%s: parameter %v", at, p)
		}
		declared[in+" "+name] = true
		if in == "path" && (o["required"] != true || !strings.Contains(path, "{"+name+"}")) {
			wrong("%s: path parameter %s is optional or not in the path", at, name)
		}
	}
	for _, m := range regexp.MustCompile(`\{([^}]*)\}`).FindAllStringSubmatch(path, -1) {
		if !declared["path "+m[1]] {
			wrong("%s: %s is not declared", at, m[0])
		}
	}
}

func responses(at string, all map[string]any, wrong func(string, ...any)) {
	good := false
	for status, r := range all {
		n, err := strconv.Atoi(status)
		if err != nil || n < 100 || n > 599 {
			wrong("%s: %q is no status", at, status)
		}
		good = good || n < 400
		if text, _ := object(r)["description"].(string); text == "" {
			wrong("%s: nobody says what %s means", at, status)
		}
		for mime, media := range object(object(r)["content"]) {
			if !strings.Contains(mime, "/") || object(media)["schema"] == nil {
				wrong("%s: %s as %q has no schema", at, status, mime)
			}
		}
	}
	if !good {
		wrong("%s never succeeds", at)
	}
}

func TestDocumentIsSound(t *testing.T) {
	text, err := newAPI(t).Document().bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults(text) {
		t.Error(f)
	}
	if n := strings.Count(string(text), `"operationId"`); n != len(everything()) {
		t.Errorf("%d operations, want %d", n, len(everything()))
	}
}

func TestSoundnessCanFail(t *testing.T) {
	text, err := newAPI(t).Document().bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"version":       {`"3.1.0"`, `"3.0.3"`},
		"title":         {`"title": "Querschott"`, `"title": ""`},
		"reference":     {`"#/components/schemas/Problem"`, `"#/components/schemas/Nothing"`},
		"foreign":       {`"#/components/schemas/Problem"`, `"https://example.com/problem.json"`},
		"id":            {`"getLiveness"`, `"getHealth"`},
		"tag":           {`"name": "operations"`, `"name": "operation"`},
		"scheme":        {`"presence": []`, `"absence": []`},
		"description":   {`"description": "Ready."`, `"description": ""`},
		"status":        {`"428":`, `"4xx":`},
		"required":      {`"live",`, `"alive",`},
		"path":          {`"/catalog.json":`, `"/catalog/{id}.json":`},
		"parameter":     {`"in": "query"`, `"in": "body"`},
		"no JSON":       {`{`, `[`},
		"no good at it": {`"200": {` + "\n" + `            "description": "All values."`, `"400": {` + "\n" + `            "description": "All values."`},
	} {
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if changed == string(text) {
			t.Errorf("%s: the document has no %s", name, change[0])
		}
		if len(faults([]byte(changed))) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestRoutesThatSayTooLittle(t *testing.T) {
	two := Text{"eins", "one"}
	good := func() Route {
		return Route{
			Method: "GET", Path: "/things/{id}", ID: "getThing", Group: "g", Title: two, About: two,
			Inputs: []Input{{Name: "id", In: "path", Required: true, About: two}}, Answers: []Answer{{Status: 200, About: two}},
			Refuses: []querschott.Code{querschott.CodeNotFound, querschott.CodeUnknownHere},
		}
	}
	groups := []Group{{"g", two}}
	d, err := build(Info{}, nil, groups, []Route{good()})
	if err != nil {
		t.Fatal(err)
	}
	op := (*d.Paths["/things/{id}"])["get"]
	if text := op.Responses["404"].Description; !strings.Contains(text, "not-found: ") || !strings.Contains(text, "unknown-recipient: ") {
		t.Errorf("404 means %q", text)
	}
	for name, change := range map[string]func(*Route){
		"method":           func(r *Route) { r.Method = "get" },
		"path":             func(r *Route) { r.Path = "things" },
		"id":               func(r *Route) { r.ID = "get thing" },
		"group":            func(r *Route) { r.Group = "h" },
		"German":           func(r *Route) { r.Title.DE = "" },
		"English":          func(r *Route) { r.About.EN = "" },
		"answer":           func(r *Route) { r.Answers = nil },
		"status":           func(r *Route) { r.Answers[0].Status = 99 },
		"status twice":     func(r *Route) { r.Answers = append(r.Answers, r.Answers[0]) },
		"meaning":          func(r *Route) { r.Answers[0].About = Text{} },
		"who":              func(r *Route) { r.Who = "password" },
		"parameter":        func(r *Route) { r.Inputs = nil },
		"parameter's name": func(r *Route) { r.Inputs[0].Name = "no" },
		"optional in path": func(r *Route) { r.Inputs[0].Required = false },
		"place":            func(r *Route) { r.Inputs[0].In = "body" },
		"input's meaning":  func(r *Route) { r.Inputs[0].About = Text{} },
		"unknown code":     func(r *Route) { r.Refuses = []querschott.Code{"because"} },
		"two meanings":     func(r *Route) { r.Answers = append(r.Answers, Answer{Status: 404, About: two}) },
		"a body of no kind": func(r *Route) {
			r.Body = struct {
				C chan int `json:"c"`
			}{}
		},
		"a field without name": func(r *Route) {
			r.Answers[0].Mimes, r.Answers[0].Body = []string{"application/json"}, struct{ X int }{}
		},
		"a JSON of its own": func(r *Route) {
			r.Body = json.Number("1")
			r.Answers[0].Mimes, r.Answers[0].Body = []string{"a/b"}, ownJSON{}
		},
	} {
		r := good()
		change(&r)
		if _, err := build(Info{}, nil, groups, []Route{r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	again, other := good(), good()
	other.Path, other.Inputs = "/others", nil
	again.ID = "again"
	for name, second := range map[string]Route{"id": other, "method and path": again} {
		if _, err := build(Info{}, nil, groups, []Route{good(), second}); err == nil {
			t.Errorf("two routes with one %s: no error", name)
		}
	}
}

type ownJSON struct{}

func (ownJSON) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

func TestTwoTypesOfOneName(t *testing.T) {
	type Problem struct {
		X int `json:"x"`
	}
	r := Own()[0]
	r.Answers[0].Body = Problem{}
	if _, err := build(Info{}, nil, Groups(), []Route{r}); err == nil {
		t.Error("two types share a schema")
	}
}

// TestSchemasAreWhatIsSent compares each schema with the JSON of values that are empty and full.
func TestSchemasAreWhatIsSent(t *testing.T) {
	catalog := func(form vsdm.Form) json.RawMessage {
		d, err := vsdm.Catalog{
			Form: form, Environment: "test", Updated: time.Date(2026, 4, 24, 0, 0, 0, 0, time.UTC), Revision: 1,
			Instances: []vsdm.Instance{{ID: "vsdm-1", Type: "vsdm", URL: "https://vsdm.example"}},
			Routing:   map[string]map[querschott.IK]string{"vsdm": {"109500969": "vsdm-1"}},
		}.Document()
		if err != nil {
			t.Fatal(err)
		}
		return d.Body
	}
	resource, err := zeta.NewProtectedResource("https://vsdm.example", "https://as.example", "vsdservice").Document()
	if err != nil {
		t.Fatal(err)
	}
	components := newAPI(t).Document().Components.Schemas
	for name, values := range map[string][]any{
		"Problem":           {Problem{}, Problem{Incident: "i", StatusPage: "s"}},
		"Report":            {Report{}},
		"Reason":            {Reason{}},
		"GateError":         {GateError{}, json.RawMessage(zeta.DoorClosed(time.Minute, "https://status.example").Body())},
		"Catalog":           {catalog(vsdm.FormSchema), catalog(vsdm.FormOpenAPI)},
		"ProtectedResource": {json.RawMessage(resource.Body)},
	} {
		s := components[name]
		if s == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		for _, v := range values {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal(text, &members); err != nil {
				t.Fatal(err)
			}
			for m := range members {
				if s.Properties[m] == nil {
					t.Errorf("%s: %s is sent and not described", name, m)
				}
			}
			for _, r := range s.Required {
				if _, ok := members[r]; !ok {
					t.Errorf("%s: %s is required and not sent: %s", name, r, text)
				}
			}
		}
	}
}

func TestWordsOfTheHouse(t *testing.T) {
	s := &schemas{named: map[string]*Schema{}, types: map[string]reflect.Type{}}
	for _, v := range []any{
		querschott.CodeInternal, querschott.EAU, querschott.Open, querschott.IK("109500969"),
		querschott.Compartment{Insurer: "109500969", Service: querschott.EAU},
		time.Unix(1_777_000_000, 0).UTC(),
	} {
		schema, err := s.of(reflect.TypeOf(v))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		word := strings.Trim(string(text), `"`)
		if schema.Type != "string" || len(schema.Enum) > 0 && !slices.Contains(schema.Enum, word) ||
			schema.Pattern != "" && !regexp.MustCompile(schema.Pattern).MatchString(word) || reflect.DeepEqual(schema, &Schema{Type: "string"}) {
			t.Errorf("%T: %s is not in %+v", v, text, schema)
		}
	}
	type self struct {
		Next *self            `json:"next,omitempty"`
		List []map[string]int `json:"list"`
		Bits uint8            `json:"bits"`
		Part float64          `json:"part"`
		Yes  bool             `json:"yes"`
		Off  int              `json:"-"`
	}
	if _, err := s.of(reflect.TypeFor[self]()); err != nil {
		t.Fatal(err)
	}
	o := s.named["self"]
	if got, want := typeOf(o.Properties["list"]), "{integer}[]"; got != want {
		t.Errorf("list is %s, want %s", got, want)
	}
	if o.Properties["next"].Ref != "#/components/schemas/self" || o.Properties["-"] != nil || !slices.Equal(o.Required, []string{"list", "bits", "part", "yes"}) {
		t.Errorf("%+v", o)
	}
}

// TestEveryCodeHasAMeaning compares the table of codes with the root package and with what the gate answers.
func TestEveryCodeHasAMeaning(t *testing.T) {
	code, err := os.ReadFile("../../code.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{} // constant -> code
	for _, m := range regexp.MustCompile(`(?m)^\t(Code\w+)\s+Code = "([^"]+)"`).FindAllStringSubmatch(string(code), -1) {
		named[m[1]] = m[2]
		if _, ok := refusalOf(querschott.Code(m[2])); !ok {
			t.Errorf("code %s has no meaning", m[2])
		}
	}
	if len(named) != len(refusals) || len(named) < 14 {
		t.Errorf("%d codes, %d meanings", len(named), len(refusals))
	}
	gate, err := os.ReadFile("../../gate/http/refuse.go")
	if err != nil {
		t.Fatal(err)
	}
	statuses := regexp.MustCompile(`querschott\.(Code\w+):\s+\{(\d{3}),`).FindAllStringSubmatch(string(gate), -1)
	if len(statuses) != len(refusals) {
		t.Errorf("the gate answers %d codes, %d are described", len(statuses), len(refusals))
	}
	for _, m := range statuses {
		if r, _ := refusalOf(querschott.Code(named[m[1]])); strconv.Itoa(r.Status) != m[2] {
			t.Errorf("%s: the gate answers %s, described is %d", named[m[1]], m[2], r.Status)
		}
	}
}

// TestProblemIsTheGates compares the members of a problem with those that the gate writes.
func TestProblemIsTheGates(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../gate/http/refuse.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == "problem" {
			for _, f := range s.Type.(*ast.StructType).Fields.List {
				text, _ := strconv.Unquote(f.Tag.Value)
				theirs = append(theirs, reflect.StructTag(text).Get("json"))
			}
		}
		return true
	})
	for f := range reflect.TypeFor[Problem]().Fields() {
		ours = append(ours, f.Tag.Get("json"))
	}
	if !slices.Equal(theirs, ours) {
		t.Errorf("the gate writes %q, described is %q", theirs, ours)
	}
}
