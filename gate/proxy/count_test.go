package proxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
)

// naive is what a naive reader understands of a FHIR answer.
type naive struct {
	Entry []struct {
		Resource *json.RawMessage `json:"resource"`
	} `json:"entry"`
}

// countNaively counts the records of a bundle with encoding/json.
func countNaively(t *rapid.T, doc []byte) (n uint32) {
	var typed struct {
		ResourceType string `json:"resourceType"`
	}
	if err := json.Unmarshal(doc, &typed); err != nil {
		t.Fatal(err)
	}
	switch typed.ResourceType {
	case "OperationOutcome":
		return 0
	case "Bundle":
		var d naive
		if err := json.Unmarshal(doc, &d); err != nil {
			t.Fatal(err)
		}
		for _, e := range d.Entry {
			if e.Resource != nil {
				n += countNaively(t, *e.Resource)
			}
		}
		return n
	}
	return 1
}

var kinds = rapid.SampledFrom([]string{"Patient", "Observation", "Coverage", "OperationOutcome", "Bundle"})

// drawResource makes a resource as ordered members, so that resourceType may come last.
func drawResource(t *rapid.T, depth int) map[string]any {
	kind := kinds.Draw(t, "kind")
	if depth == 0 {
		kind = "Bundle"
	}
	r := map[string]any{"resourceType": kind, "id": kvnr(rapid.IntRange(0, 50).Draw(t, "id"))}
	switch {
	case kind == "Bundle" && depth < 3:
		entries := []any{}
		for range rapid.IntRange(0, 6).Draw(t, "entries") {
			e := map[string]any{}
			if rapid.IntRange(0, 9).Draw(t, "has resource") > 0 {
				e["resource"] = drawResource(t, depth+1)
			}
			if mode := rapid.SampledFrom([]string{"", "match", "include", "outcome"}).Draw(t, "mode"); mode != "" {
				e["search"] = map[string]any{"mode": mode}
			}
			entries = append(entries, e)
		}
		r["entry"] = entries
	case kind == "Bundle":
		r["entry"] = []any{}
	case kind == "Observation":
		r["subject"] = map[string]any{"reference": "Patient/" + kvnr(rapid.IntRange(0, 50).Draw(t, "subject"))}
		r["note"] = []any{map[string]any{"text": rapid.SampledFrom([]string{`"entry":[{}]`, "}", `\`, "ä", "entry"}).Draw(t, "text")}}
		r["entry"] = rapid.SampledFrom([]any{"text", []any{1, 2}}).Draw(t, "decoy")
	case kind == "Patient":
		r["identifier"] = []any{map[string]any{"system": "http://fhir.de/sid/gkv/kvid-10", "value": r["id"]}}
	}
	return r
}

// inPieces feeds a counter with random pieces and takes after each, as for a long answer.
func inPieces(t *rapid.T, c counter, doc []byte) (found, error) {
	var all found
	for len(doc) > 0 {
		n := rapid.IntRange(1, len(doc)).Draw(t, "piece")
		if err := c.write(doc[:n]); err != nil {
			return all, err
		}
		in := c.take()
		all.merge(&in)
		doc = doc[n:]
	}
	err := c.finish()
	in := c.take()
	all.merge(&in)
	c.stop()
	return all, err
}

func whole(c counter, doc []byte) (found, error) {
	err := errors.Join(c.write(doc), c.finish())
	in := c.take()
	c.stop()
	return in, err
}

func personsIn(doc []byte) []querschott.KVNR {
	var all []querschott.KVNR
	for i := range 51 {
		// In the documents of this test every number of a Patient or behind "Patient/" is a person's.
		if n := kvnr(i); bytes.Contains(doc, []byte("Patient/"+n)) || bytes.Contains(doc, []byte(`"value":"`+n)) || bytes.Contains(doc, []byte(`<value value="`+n)) {
			all = append(all, querschott.KVNR(n))
		}
	}
	return all
}

func sorted(list []querschott.KVNR) []querschott.KVNR {
	slices.Sort(list)
	return list
}

// For random bundles the records counted are those that a naive reader counts: exactly if the answer is read whole, and
// never fewer if it goes in pieces.
func TestRandomBundles(t *testing.T) {
	r := &rule{Rule: Rule{Count: "fhir"}}
	rapid.Check(t, func(t *rapid.T) {
		resource := drawResource(t, 0)
		doc, err := json.Marshal(resource) // names sorted: resourceType comes after entry
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		resourceXML(&text, withoutDecoys(resource).(map[string]any))
		want, persons := countNaively(t, doc), sorted(personsIn(doc))
		for media, doc := range map[string][]byte{"application/fhir+json": doc, "application/fhir+xml": text.Bytes()} {
			got, err := whole(r.counterFor(media), doc)
			if err != nil || got.records != want || !slices.Equal(sorted(got.persons), persons) {
				t.Fatalf("%s: %d records, want %d; persons %v, want %v; %v", media, got.records, want, got.persons, persons, err)
			}
			got, err = inPieces(t, r.counterFor(media), doc)
			if err != nil || got.records < want || !slices.Equal(sorted(got.persons), persons) {
				t.Fatalf("%s in pieces: %d records, want at least %d; persons %v, want %v; %v", media, got.records, want, got.persons, persons, err)
			}
		}
	})
}

// withoutDecoys drops what XML cannot say, and what would be another element there.
func withoutDecoys(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range x {
			if name == "entry" && x["resourceType"] != "Bundle" {
				continue
			}
			out[name] = withoutDecoys(value)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = withoutDecoys(x[i])
		}
		return out
	}
	return v
}

// With the type in front, as servers write it, the count of a bundle in pieces is exact.
func TestBundleInPiecesIsExact(t *testing.T) {
	r := &rule{Rule: Rule{Count: "fhir"}}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "n")
		doc := []byte(`{"resourceType":"Bundle","entry":[` + strings.TrimSuffix(strings.Repeat(`{"resource":{"resourceType":"Patient","x":[1]},"search":{"mode":"match"}},`, n), ",") + `]}`)
		if got, err := inPieces(t, r.counterFor("application/json"), doc); err != nil || got.records != uint32(n) {
			t.Fatalf("%d records, want %d; %v", got.records, n, err)
		}
	})
}

// No record leaves uncounted: whatever of a bundle was fed, at least as many records are counted as have said more than
// their type.
func TestNoByteBeforeItsCount(t *testing.T) {
	r := &rule{Rule: Rule{Count: "fhir"}}
	entry := `{"resource":{"resourceType":"Patient","id":"A123456780"}}`
	doc := `{"resourceType":"Bundle","entry":[` + entry + "," + entry + "," + entry + `]}`
	c := r.counterFor("application/json")
	counted := uint32(0)
	for i := range len(doc) {
		if err := c.write([]byte{doc[i]}); err != nil {
			t.Fatal(err)
		}
		in := c.take()
		counted += in.records
		if begun := uint32(strings.Count(doc[:i+1], `"Patient","id":`)); counted < begun {
			t.Fatalf("after %q: %d counted, %d begun", doc[:i+1], counted, begun)
		}
	}
	if counted != 3 {
		t.Errorf("%d counted", counted)
	}
}

func TestLinesAndEventsInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"data: a", "data", "data:", "id: 1", ": data: x", "", "", "dataset: 1", "\u00e4", " "}), 0, 30).Draw(t, "lines")
		doc := strings.Join(parts, rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end"))
		lines := uint32(0)
		for l := range strings.SplitSeq(doc, "\n") {
			if strings.TrimSpace(l) != "" {
				lines++
			}
		}
		events := uint32(0)
		for e := range strings.SplitSeq("\n"+strings.ReplaceAll(doc, "\r\n", "\n"), "\n\n") {
			for l := range strings.SplitSeq(e, "\n") {
				if l == "data" || strings.HasPrefix(l, "data:") {
					events++
					break
				}
			}
		}
		if got, err := inPieces(t, (&rule{Rule: Rule{Count: "lines"}}).counterFor("text/plain"), []byte(doc)); err != nil || got.records != lines {
			t.Fatalf("%d lines, want %d of %q; %v", got.records, lines, doc, err)
		}
		if got, err := inPieces(t, (&rule{Rule: Rule{Count: "events"}}).counterFor("text/plain"), []byte(doc+"\n")); err != nil || got.records != events {
			t.Fatalf("%d events, want %d of %q; %v", got.records, events, doc, err)
		}
	})
}

// mute is a listener that only checks that what opens also ends.
type mute struct{ depth, deepest int }

func (m *mute) open(bool)     { m.depth++; m.deepest = max(m.deepest, m.depth) }
func (m *mute) end()          { m.depth-- }
func (m *mute) name([]byte)   {}
func (m *mute) scalar([]byte) {}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e-3,-0,true,false,null,"\u00e4\n"]}`, `[]`, `{}`, ` 0 `, `01`, `1.`, `-`, `"\x"`, `{"a"}`, `[1,]`, `{"a":1,}`, `tru`, "\"\x01\"",
		strings.Repeat("[", 70), `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}]}`, `"\ud800"`, `1e5`, `[1e]`, "",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, doc []byte, size int) {
		m := &mute{}
		s := scanner{hear: m}
		var err error
		for rest := doc; len(rest) > 0 && err == nil; {
			n := min(max(1, size%17), len(rest))
			err = s.write(rest[:n])
			rest = rest[n:]
		}
		if err == nil {
			err = s.finish()
		}
		if valid := json.Valid(doc); valid != (err == nil) && !tooDeep(doc) {
			t.Errorf("%q: %v, encoding/json says %v", doc, err, valid)
		}
		if err == nil && m.depth != 0 || m.deepest > maxDepth {
			t.Errorf("%q: depth %d, deepest %d", doc, m.depth, m.deepest)
		}
		for _, c := range []counter{(&rule{Rule: Rule{Count: "fhir"}}).counterFor(""), (&rule{Rule: Rule{Count: "fhir"}}).counterFor("application/ndjson")} {
			_ = c.write(doc)
			_ = c.finish()
			c.take()
			c.stop()
		}
	})
}

func tooDeep(doc []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(doc))
	for depth := 0; ; {
		tok, err := dec.Token()
		if err != nil {
			return bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > maxDepth
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return true
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// atPointer is a naive evaluation of a pointer with encoding/json. It does not know names that stand twice.
func atPointer(v any, p pointer) (n int) {
	if len(p) == 0 {
		return 1
	}
	switch x := v.(type) {
	case map[string]any:
		for name, value := range x {
			if p[0] == "*" || p[0] == name {
				n += atPointer(value, p[1:])
			}
		}
	case []any:
		for i, value := range x {
			if p[0] == "*" || isIndex(p[0], i) {
				n += atPointer(value, p[1:])
			}
		}
	}
	return n
}

func FuzzPointer(f *testing.F) {
	f.Add("/a/*/b", []byte(`{"a":[{"b":1},{"b":[2]},{"c":3}]}`))
	f.Add("", []byte(`1`))
	f.Add("/~0~1/0", []byte(`{"~/":["x"]}`))
	f.Add("/*/*", []byte(`[[1,2],{"a":3}]`))
	f.Fuzz(func(t *testing.T, text string, doc []byte) {
		p, err := parsePointer(text)
		if err != nil {
			return
		}
		n := 0
		s := scanner{hear: newFollower([]pointer{p}, func(int, []byte) { n++ })}
		if s.write(doc) != nil || s.finish() != nil {
			return
		}
		var v any
		if err := json.Unmarshal(doc, &v); err != nil {
			return // a number that is too large
		}
		if want := atPointer(v, p); n < want || n > want && !bytes.Contains(doc, []byte(`:`)) {
			t.Errorf("%q in %q: %d values, want %d", text, doc, n, want)
		}
	})
}

func FuzzXML(f *testing.F) {
	for _, seed := range []string{
		`<Patient xmlns="http://hl7.org/fhir"><id value="1"/></Patient>`, `<a><b></a></b>`, `<!DOCTYPE a><a/>`, `<a/><b/>`, `<?xml version="1.0" encoding="latin1"?><a/>`,
		`<Bundle><entry><resource><Patient/></resource><search><mode value="match"/></search></entry></Bundle>`, strings.Repeat("<a>", 70), `<a b="c" xmlns:d="e"><d:f/>&lt;</a>`,
	} {
		f.Add([]byte(seed), 3)
	}
	x, err := parseXPath("//*[@value]/@value")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte, size int) {
		count := (&rule{Rule: Rule{Count: "fhir"}}).counterFor("application/fhir+xml")
		var err error
		for rest := doc; len(rest) > 0 && err == nil; {
			n := min(max(1, size%17), len(rest))
			err = count.write(rest[:n])
			count.take()
			rest = rest[n:]
		}
		if err == nil {
			err = count.finish()
		}
		count.stop()
		if err == nil {
			if e := readXML(bytes.NewReader(doc), func(xml.Token, int) error { return nil }); !errors.Is(e, io.EOF) {
				t.Errorf("%q was counted, and cannot be read at once: %v", doc, e)
			}
		}
		_ = xpathFind(doc, []xpathRule{x}, func(int, string) {})
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("/fhir/kasse-a/Patient/1", "insurer=kasse-a", "kasse-a.fhir.example", "kasse-a")
	f.Add("/fhir/kasse-a%2fPatient/..%2e/1", "a=b;c=d", "x", "")
	s := Default("http://127.0.0.1/fhir")
	tenants(&s)
	rs, err := s.compile()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, query, host, header string) {
		parts, err := splitPath(path)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p == "" || p == "." || p == ".." || strings.ContainsAny(p, "/\\%;") {
				t.Errorf("%q became %q", path, parts)
			}
		}
		values, err := parseQuery(query)
		if err != nil {
			return
		}
		v := &view{method: "GET", path: parts, query: values, host: hostName(host), header: map[string][]string{"X-Insurer": {header}}, rule: rs.list[0]}
		v.variables, _ = fitPath(rs.list[0].template, parts)
		ik, err := rs.insurerOf(v)
		if err == nil && ik != "" && ik != one && ik != two {
			t.Errorf("an insurer that nobody has configured: %s", ik)
		}
		v.findPersons()
		for _, k := range v.persons.persons {
			if len(k) != 10 {
				t.Errorf("a number of %d letters", len(k))
			}
		}
	})
}
