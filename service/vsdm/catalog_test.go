package vsdm

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// schema is as much of JSON Schema as the published definition of the catalog uses.
type schema struct {
	Ref        string             `json:"$ref"`
	Defs       map[string]*schema `json:"$defs"`
	Type       string             `json:"type"`
	Pattern    string             `json:"pattern"`
	Minimum    *float64           `json:"minimum"`
	MinProps   int                `json:"minProperties"`
	Enum       []string           `json:"enum"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Additional json.RawMessage    `json:"additionalProperties"`
}

// faults says what a value breaks.
func (s *schema) faults(root *schema, at string, v any) (list []string) {
	if s.Ref != "" {
		return root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")].faults(root, at, v)
	}
	switch v := v.(type) {
	case string:
		if s.Type != "string" || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) || s.Enum != nil && !slices.Contains(s.Enum, v) {
			list = append(list, at+": "+v)
		}
	case float64:
		if s.Type != "integer" || v != float64(int64(v)) || s.Minimum != nil && v < *s.Minimum {
			list = append(list, at+": number")
		}
	case map[string]any:
		if s.Type != "object" || len(v) < s.MinProps {
			list = append(list, at+": object")
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				list = append(list, at+": lacks "+name)
			}
		}
		for name, member := range v {
			list = append(list, s.member(root, at+"."+name, name, member)...)
		}
	default:
		list = append(list, at+": of another type")
	}
	return list
}

func (s *schema) member(root *schema, at, name string, v any) []string {
	if p := s.Properties[name]; p != nil {
		return p.faults(root, at, v)
	}
	var other schema
	switch string(s.Additional) {
	case "false":
		return []string{at + ": not allowed"}
	case "", "true":
		return nil
	}
	if err := json.Unmarshal(s.Additional, &other); err != nil {
		return []string{err.Error()}
	}
	return other.faults(root, at, v)
}

func publishedSchema(t *testing.T) *schema {
	t.Helper()
	shared(t, "bundles") // skips when the material is missing
	root := os.Getenv("QUERSCHOTT_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	data, err := os.ReadFile(filepath.Join(root, "data", "vsdm2", "openapi", "catalog.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func members(t *testing.T, d Document) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(d.Body, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCatalog(t *testing.T) {
	w, root := newWorld(t), publishedSchema(t)
	for _, form := range []Form{FormSchema, FormOpenAPI} {
		c := w.s.Catalog(form, "test", "https://test.vsdm.kassen.example", spring, 47)
		d, err := c.Document()
		if err != nil {
			t.Fatal(err)
		}
		m := members(t, d)
		faults := root.faults(root, "catalog", m)
		switch form {
		case FormSchema:
			if len(faults) > 0 || m["format_version"] != "0.9.2" || m["updated_at"] != float64(spring.Unix()) {
				t.Errorf("%v, %v", faults, m)
			}
		case FormOpenAPI: // the definitions disagree in exactly this
			slices.Sort(faults)
			if want := []string{"catalog.revision: not allowed", "catalog: lacks updated_at"}; !slices.Equal(faults, want) || m["revision"] != 47.0 || m["format_version"] != "1.0.0" {
				t.Errorf("%v, %v", faults, m)
			}
		}
		routes, _ := m["routing"].(map[string]any)["vsdm"].(map[string]any)
		if len(routes) != 3 || routes[string(merged)] != "vsdm-1" {
			t.Errorf("routes: %v", routes)
		}
		again, err := w.s.Catalog(form, "test", "https://test.vsdm.kassen.example", spring, 47).Document()
		if err != nil || again.ETag != d.ETag || string(again.Body) != string(d.Body) {
			t.Errorf("the same catalog is another document: %v", err)
		}
		if later, err := w.s.Catalog(form, "test", "https://test.vsdm.kassen.example", spring.Add(time.Second), 48).Document(); err != nil || later.ETag == d.ETag {
			t.Errorf("another catalog has the same tag: %v", err)
		}
	}
}

func TestCatalogRefuses(t *testing.T) {
	w := newWorld(t)
	for what, spoil := range map[string]func(*Catalog){
		"form":               func(c *Catalog) { c.Form = "yaml" },
		"environment":        func(c *Catalog) { c.Environment = "live" },
		"early":              func(c *Catalog) { c.Updated = time.Unix(earliestUpdate-1, 0) },
		"no instance":        func(c *Catalog) { c.Instances, c.Routing = nil, nil },
		"type":               func(c *Catalog) { c.Instances[0].Type = "VSDM" },
		"address":            func(c *Catalog) { c.Instances[0].URL = "/vsdm" },
		"id":                 func(c *Catalog) { c.Instances[0].ID = "" },
		"one instance twice": func(c *Catalog) { c.Instances = append(c.Instances, c.Instances[0]) },
		"dangling route":     func(c *Catalog) { c.Routing["vsdm"][nobody] = "vsdm-2" },
		"route to another type": func(c *Catalog) {
			c.Instances = append(c.Instances, Instance{"epa-1", "epa", "https://epa.example"})
			c.Routing["vsdm"][nobody] = "epa-1"
		},
		"revision":              func(c *Catalog) { c.Form, c.Revision = FormOpenAPI, 0 },
		"gemdev in the OpenAPI": func(c *Catalog) { c.Form, c.Environment = FormOpenAPI, "gemdev" },
	} {
		c := w.s.Catalog(FormSchema, "test", "https://test.vsdm.kassen.example", spring, 1)
		spoil(&c)
		if _, err := c.Document(); !errors.Is(err, ErrCatalog) {
			t.Errorf("%s: %v", what, err)
		}
	}
	c := w.s.Catalog(FormSchema, "gemdev", "https://test.vsdm.kassen.example", time.Unix(earliestUpdate, 0), 0)
	if _, err := c.Document(); err != nil {
		t.Error(err)
	}
}

func TestDocuments(t *testing.T) {
	w := newWorld(t)
	catalog, err := w.s.Catalog(FormSchema, "test", "https://test.vsdm.kassen.example", spring, 1).Document()
	if err != nil {
		t.Fatal(err)
	}
	resource, err := ProtectedResource("https://test.vsdm.kassen.example", "https://pdp.example", "vsdservice")
	if err != nil {
		t.Fatal(err)
	}
	m := members(t, resource)
	if m["resource"] != "https://test.vsdm.kassen.example" || m["zeta_asl_use"] != "not_supported" || m["dpop_bound_access_tokens_required"] != true ||
		len(m["authorization_servers"].([]any)) != 1 || len(m["scopes_supported"].([]any)) != 1 || len(m["api_versions_supported"].([]any)) != 1 {
		t.Errorf("%v", m)
	}
	if _, err := ProtectedResource("vsdm", "https://pdp.example"); err == nil {
		t.Error("a resource without an address")
	}
	documents := map[string]*Document{CatalogPath: &catalog, zeta.PathProtectedResource: &resource}
	ask := func(method, path string, match ...string) (*service.Answer, error) {
		return documents[path].Answer(t.Context(), &service.Request{Method: method, Header: http.Header{"If-None-Match": match}})
	}
	for path, want := range map[string]string{CatalogPath: "max-age=3600", zeta.PathProtectedResource: "public, max-age=86400"} {
		a, err := ask(http.MethodGet, path)
		if err != nil || a.Status != http.StatusOK || a.Header.Get("Cache-Control") != want || a.Header.Get("Content-Type") != "application/json" || len(a.Body) == 0 {
			t.Fatalf("%s: %v, %v", path, a, err)
		}
		if a.Facts.Data != ledger.DataConfiguration || a.Facts.Outcome != ledger.OutcomeSuccess || a.Facts.Records != 0 {
			t.Errorf("%s: %+v", path, a.Facts)
		}
		etag := a.Header.Get("ETag")
		for match, status := range map[string]int{
			etag: 304, "W/" + etag: 304, "*": 304, `"x", ` + etag: 304, `"x"`: 200, "x": 200, "0": 200, "": 200, etag[1:]: 200,
		} {
			a, err := ask(http.MethodGet, path, match)
			if err != nil || a.Status != status || (status == 304) != (a.Body == nil) || a.Header.Get("ETag") != etag {
				t.Errorf("%s, %q: %v, %v", path, match, a.Status, err)
			}
		}
		if _, err := ask(http.MethodPost, path); querschott.CodeOf(err) != querschott.CodeMethod {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := catalog.Answer(t.Context(), &service.Request{Method: http.MethodGet, Path: "x"}); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("%v", err)
	}
}
