package node

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), ConfigFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestExampleIsTheDefault(t *testing.T) {
	var got Config
	if err := yaml.UnmarshalWithOptions([]byte(Example(Default())), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("the example is not the default (-want +got):\n%s", diff)
	}
}

// TestExampleHasEveryField changes every field in turn: the example must tell, and the file must say it back.
func TestExampleHasEveryField(t *testing.T) {
	each(reflect.TypeFor[Config](), nil, func(index []int, name string, doc string) {
		if doc == "" {
			t.Errorf("%s has no documentation", name)
		}
		want := Default()
		f := reflect.ValueOf(&want).Elem().FieldByIndex(index)
		fill(t, name, f)
		var got Config
		text := Example(want)
		if err := yaml.UnmarshalWithOptions([]byte(text), &got, yaml.Strict()); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
			t.Errorf("%s does not come back (-want +got):\n%s", name, diff)
		}
	})
}

// fill gives a field a value that is hard to write; a list of structs gets two elements.
func fill(t *testing.T, name string, f reflect.Value) {
	t.Helper()
	switch {
	case f.Kind() == reflect.String:
		f.SetString("/x: #\"y\\")
	case f.Kind() == reflect.Int || f.Kind() == reflect.Int64:
		f.SetInt(123 << 10)
	case f.Kind() == reflect.Bool:
		f.SetBool(!f.Bool())
	case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String:
		f.Set(reflect.ValueOf([]string{"one: two", "#three, four", ""}))
	case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
		f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		fill(t, name, f.Index(0))
		fill(t, name, f.Index(1))
	case f.Kind() == reflect.Struct:
		for i := range f.NumField() {
			field := f.Type().Field(i)
			if field.Tag.Get("doc") == "" {
				t.Errorf("%s.%s has no documentation", name, field.Name)
			}
			fill(t, name+"."+field.Name, f.Field(i))
		}
	default:
		t.Fatalf("%s is a %s, which this test does not know", name, f.Kind())
	}
}

// each visits the leaves of a configuration.
func each(typ reflect.Type, index []int, fn func(index []int, name, doc string)) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() {
			continue
		}
		at := append(append([]int{}, index...), i)
		if f.Type.Kind() == reflect.Struct {
			each(f.Type, at, fn)
			continue
		}
		fn(at, typ.Name()+"."+f.Name, f.Tag.Get("doc"))
	}
}

func TestLoadConfig(t *testing.T) {
	t.Run("absent fields have their defaults", func(t *testing.T) {
		file := writeConfig(t, "domain: kassen.example\nintake:\n  copies: [a, /b]\n")
		dir := filepath.Dir(file)
		got, err := LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		want := Default()
		want.Domain, want.Intake.Copies = "kassen.example", []string{"a", "/b"}
		want.dir, want.file = dir, file
		want.resolve()
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(Config{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got.Intake.Copies[0] != filepath.Join(dir, "a") || got.Intake.Copies[1] != "/b" || got.Outbox.RelayCA != "" {
			t.Errorf("paths %v, %q", got.Intake.Copies, got.Outbox.RelayCA)
		}
	})
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "domain: a\nmail:\n  hostnam: b\n", `[3:3] unknown field "hostnam"`},
		{"key that stands there twice", "domain: a\ndomain: b\n", "[2:1]"},
		{"wrong kind", "mail:\n  max_connections: many\n", "[2:20]"},
		{"no YAML", "domain: [\n", "couldn't read"},
		{"size", "intake:\n  segment: 64 megabytes\n", "is not a size"},
		{"domain with a plus", "domain: a+b\n", "domain: must be"},
		{"no copies", "intake:\n  copies: []\n", "at least one directory"},
		{"the same copy twice", "intake:\n  copies: [a, ./a]\n", "stands there twice"},
		{"small segment", "intake:\n  segment: 1KiB\n", "between 1MiB and 1GiB"},
		{"mail that fits into no segment", "intake:\n  segment: 8MiB\n  max_mail: 7MiB\n", "three quarters"},
		{"unknown way to unlock", "keyring:\n  unlock: finger\n", `"finger" is not one of key-file, passphrase`},
		{"unknown TLS of the relay", "outbox:\n  relay_tls: maybe\n", "outbox.relay_tls"},
		{"unknown level", "log:\n  level: loud\n", "log.level"},
		{"unknown format", "log:\n  format: xml\n", "log.format"},
		{"no connections", "mail:\n  max_connections: 0\n", "max_connections"},
		{"page in the clear", "console:\n  listen: 0.0.0.0:8080\n", "reachable from outside"},
		{"page on every address", "console:\n  listen: \":8080\"\n", "reachable from outside"},
		{"unknown TLS of the entrance", "http:\n  min_tls: \"1.1\"\n", "http.min_tls"},
		{"address without TLS", "http:\n  url: http://a.example\n", "http.url"},
		{"address with a path", "http:\n  url: https://a.example/b\n", "must have no path"},
		{"network without a length", "http:\n  proxies: [10.1.0.0]\n", "http.proxies"},
		{"pin that is none", "http:\n  machines: [{name: a, pins: [abc], role: partner}]\n", "64 hexadecimal"},
		{"machine without a name", "http:\n  machines: [{role: partner}]\n", "has no name"},
		{"role of a machine", "http:\n  machines: [{name: a, role: king}]\n", "\"king\" is not one of partner, practice, machine"},
		{"insurer of a machine", "http:\n  machines: [{name: a, role: partner, insurer: \"109500968\"}]\n", "check digit"},
		{"issuer that is no address", "http:\n  access_issuers: [{issuer: pdp}]\n", "http.access_issuers: issuer"},
		{"the same issuer twice", "http:\n  presence_issuers: [{issuer: \"https://a\"}, {issuer: \"https://a\"}]\n", "stands there twice"},
		{"issuer with two sources of keys", "http:\n  access_issuers: [{issuer: \"https://a\", keys: a.json, url: \"https://a/jwks\"}]\n", "both a file for its keys"},
		{"unknown source of keys", "http:\n  access_issuers: [{issuer: \"https://a\", source: hearsay}]\n", "\"hearsay\" is not one of"},
		{"no file of events is kept", "http:\n  access_log_keep: 0\n", "http.access_log_keep"},
		{"nobody may be reached", "http:\n  limits:\n    persons_day: 0\n", "http.limits.persons_day"},
		{"unknown field of an issuer", "http:\n  access_issuers:\n    - issuer: https://a\n      pin: b\n", "[4:7] unknown field \"pin\""},
		{"dev issuers for everybody", "http:\n  dev_issuers: true\n  dev_listen: 0.0.0.0:1\n", "give anybody every token"},
		{"proofs that live long", "http:\n  proof_age: 11m\n", "http.proof_age"},
		{"clocks far apart", "http:\n  leeway: 6m\n", "http.leeway"},
		{"length of time", "http:\n  leeway: 6\n", "is not a length of time"},
		{"no requests", "http:\n  limits:\n    concurrent: 0\n", "http.limits.concurrent"},
		{"no time", "http:\n  limits:\n    timeout: 1ms\n", "http.limits.timeout"},
		{"route without anything", "http:\n  routes: [{name: A}]\n", "who must say"},
		{"route without a path", "http:\n  routes: [{name: a, path: b}]\n", "path must begin"},
		{"route of a service by mail", "http:\n  routes: [{name: a, proxy: {service: eau}}]\n", "is not one of epa, vsdm, app, desk"},
		{"unknown field of a rule", "http:\n  routes:\n    - name: a\n      proxy:\n        rules:\n          - name: b\n            paht: /c\n", "[7:13] unknown field \"paht\""},
		{"unknown role", "http:\n  routes: [{name: a, roles: [king]}]\n", "http.routes: a: roles"},
		{"route with unknown callers", "http:\n  routes: [{name: a, who: [friends]}]\n", "http.routes: a: who"},
		{"route with unknown presence", "http:\n  routes: [{name: a, presence: maybe}]\n", "http.routes: a: presence"},
		{"route with errors of another form", "http:\n  routes: [{name: a, errors: html}]\n", "http.routes: a: errors"},
		{"route without upstream", "http:\n  routes: [{name: a}]\n", "proxy: upstream"},
		{"two routes of a name", "http:\n  routes: [{name: a}, {name: a}]\n", "http.routes: a stands there twice"},
		{"operator's letter", "vsdm:\n  letter: XX\n", "vsdm.letter"},
		{"key version", "vsdm:\n  key_version: 4\n", "vsdm.key_version"},
		{"no profiles", "vsdm:\n  profiles: []\n", "vsdm.profiles"},
		{"unknown profile", "vsdm:\n  profiles: [\"2.0\"]\n", "vsdm.profiles"},
		{"unknown catalog", "vsdm:\n  catalog: paper\n", "vsdm.catalog"},
		{"environment of the other form", "vsdm:\n  catalog: openapi\n  environment: gemdev\n", "vsdm.environment"},
		{"traces to nobody", "telemetry:\n  traces: true\n", "need a collector"},
		{"attacks to nobody", "telemetry:\n  attacks: true\n", "need a collector"},
		{"collector that is no address", "telemetry:\n  otlp: here\n", "telemetry.otlp"},
		{"large file", "#" + strings.Repeat("x", maxConfig), "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := LoadConfig(writeConfig(t, tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "nothing")); !os.IsNotExist(err) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := LoadConfig(writeConfig(t, "domain: a+b\nlog:\n  level: loud\n")); !strings.Contains(fmt.Sprint(err), "domain") || !strings.Contains(fmt.Sprint(err), "log.level") {
		t.Errorf("two faults are not both told: %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "localhost:80": true, "127.9.9.9:1": true,
		"0.0.0.0:80": false, ":80": false, "[::]:80": false, "example.org:80": false, "127.0.0.1": false, "": false,
	} {
		if got := loopback(address); got != want {
			t.Errorf("loopback(%q) = %v", address, got)
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, 1<<40).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "even") {
			want &^= 1<<20 - 1
		}
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Size
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%d is written %s and read as %d: %v", want, text, got, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"64MiB", "0", "1GiB", " 512KiB ", "1.5GiB", "-1", "+1", "1e3", "0x10", "007", "9999999999999999999", "1024GiB", "1025GiB", "1 MiB", "MiB", "1MB", "١"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			if s != 0 {
				t.Errorf("%q is an error and %d", text, s)
			}
			return
		}
		if s < 0 || s > 1<<40 {
			t.Errorf("%q is %d bytes", text, s)
		}
		again, _ := s.MarshalText()
		var back Size
		if err := back.UnmarshalText(again); err != nil || back != s {
			t.Errorf("%q is %d, written %s, read %d: %v", text, s, again, back, err)
		}
	})
}
