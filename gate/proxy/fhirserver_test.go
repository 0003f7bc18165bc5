package proxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fhirForTests is a small FHIR server that exists for these tests only. It keeps what it is given, pages its bundles, answers
// in JSON or XML, and echoes over WebSocket.
type fhirForTests struct {
	t    testing.TB
	base string // of the links in bundles; "": as the caller addressed it

	mu       sync.Mutex
	patients []string // KVNR, which is the id as well
	created  int
	seen     []*http.Request
	bodies   [][]byte
}

func newFHIRForTests(t testing.TB, patients int) *fhirForTests {
	s := &fhirForTests{t: t}
	for i := range patients {
		s.patients = append(s.patients, kvnr(i))
	}
	return s
}

// kvnr makes numbers whose check digit nobody looks at.
func kvnr(i int) string { return fmt.Sprintf("%c%09d", 'A'+i%26, 100_000_000+i) }

func (s *fhirForTests) last() (*http.Request, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[len(s.seen)-1], s.bodies[len(s.bodies)-1]
}

func (s *fhirForTests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "websocket" {
		s.echo(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.seen, s.bodies = append(s.seen, r.Clone(r.Context())), append(s.bodies, body)
	s.mu.Unlock()
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/fhir/"), "/")
	switch {
	case r.URL.Path == "/fhir/metadata":
		s.send(w, r, 200, map[string]any{"resourceType": "CapabilityStatement", "status": "active"})
	case r.Method == http.MethodPost && path[len(path)-1] == "_search":
		query, _ := parseQuery(string(body))
		s.search(w, r, path[0], query.Get("patient"), 0)
	case r.Method == http.MethodPost:
		s.mu.Lock()
		s.created++
		id := s.created
		s.mu.Unlock()
		w.Header().Set("Location", s.link(r)+"/"+path[0]+"/"+strconv.Itoa(id)+"/_history/1")
		w.WriteHeader(http.StatusCreated)
	case path[0] == "events":
		s.events(w)
	case len(path) == 2 && path[0] == "Patient":
		s.patient(w, r, path[1])
	case len(path) == 1:
		offset, _ := strconv.Atoi(r.URL.Query().Get("_offset"))
		s.search(w, r, path[0], r.URL.Query().Get("patient"), offset)
	default:
		s.notFound(w, r)
	}
}

func (s *fhirForTests) link(r *http.Request) string {
	if s.base != "" {
		return s.base
	}
	return r.Header.Get("X-Forwarded-Proto") + "://" + r.Host + "/fhir"
}

func (s *fhirForTests) notFound(w http.ResponseWriter, r *http.Request) {
	s.send(w, r, http.StatusNotFound, map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{"severity": "error"}}})
}

func patientForTests(id string) map[string]any {
	return map[string]any{
		"resourceType": "Patient", "id": id,
		"identifier": []any{map[string]any{"system": "http://fhir.de/sid/gkv/kvid-10", "value": id}},
	}
}

func (s *fhirForTests) patient(w http.ResponseWriter, r *http.Request, id string) {
	if !slices.Contains(s.patients, id) {
		s.notFound(w, r)
		return
	}
	w.Header().Set("ETag", `W/"1"`)
	if r.Header.Get("If-None-Match") == `W/"1"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.send(w, r, http.StatusOK, patientForTests(id))
}

// search answers 10 entries a page: the patients themselves, or one observation of each.
func (s *fhirForTests) search(w http.ResponseWriter, r *http.Request, kind, who string, offset int) {
	const page = 10
	var entries []any
	for i := offset; i < min(offset+page, len(s.patients)); i++ {
		id := s.patients[i]
		if who != "" && !strings.Contains(who, id) {
			continue
		}
		found := patientForTests(id)
		if kind != "Patient" {
			found = map[string]any{"resourceType": kind, "id": "o" + id, "subject": map[string]any{"reference": "Patient/" + id}}
		}
		entries = append(entries, map[string]any{
			"fullUrl": s.link(r) + "/" + kind + "/" + id, "resource": found, "search": map[string]any{"mode": "match"},
		})
	}
	links := []any{map[string]any{"relation": "self", "url": s.link(r) + "/" + kind}}
	if offset+page < len(s.patients) && who == "" {
		next := s.link(r) + "/" + kind + "?_offset=" + strconv.Itoa(offset+page)
		links = append(links, map[string]any{"relation": "next", "url": next})
	}
	s.send(w, r, http.StatusOK, map[string]any{
		"resourceType": "Bundle", "type": "searchset", "total": len(s.patients), "link": links, "entry": entries,
	})
}

func (s *fhirForTests) events(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		_, _ = fmt.Fprintf(w, ": heartbeat\n\nid: %d\ndata: {\"n\": %d}\ndata: more\n\n", i, i)
		w.(http.Flusher).Flush()
	}
}

func (s *fhirForTests) send(w http.ResponseWriter, r *http.Request, status int, resource map[string]any) {
	var b bytes.Buffer
	if strings.Contains(r.Header.Get("Accept"), "xml") {
		w.Header().Set("Content-Type", "application/fhir+xml; charset=utf-8")
		b.WriteString(xml.Header)
		resourceXML(&b, resource)
	} else {
		w.Header().Set("Content-Type", "application/fhir+json; charset=utf-8")
		if err := json.NewEncoder(&b).Encode(resource); err != nil {
			s.t.Error(err)
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the caller may have gone
}

// resourceXML writes a resource in FHIR's XML: elements in the order of their names, primitive values as attributes.
func resourceXML(b *bytes.Buffer, resource map[string]any) {
	kind := resource["resourceType"].(string)
	b.WriteString("<" + kind + ` xmlns="http://hl7.org/fhir">`)
	elementsXML(b, resource)
	b.WriteString("</" + kind + ">")
}

func elementsXML(b *bytes.Buffer, m map[string]any) {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values, many := m[name].([]any)
		if !many {
			values = []any{m[name]}
		}
		for _, value := range values {
			if name != "resourceType" {
				elementXML(b, name, value)
			}
		}
	}
}

func elementXML(b *bytes.Buffer, name string, value any) {
	inner, isObject := value.(map[string]any)
	switch {
	case isObject && inner["resourceType"] != nil:
		b.WriteString("<" + name + ">")
		resourceXML(b, inner)
		b.WriteString("</" + name + ">")
	case isObject:
		b.WriteString("<" + name + ">")
		elementsXML(b, inner)
		b.WriteString("</" + name + ">")
	default:
		b.WriteString("<" + name + ` value="`)
		_ = xml.EscapeText(b, fmt.Append(nil, value)) // a buffer takes everything
		b.WriteString(`"/>`)
	}
}

// echo switches to WebSocket and sends back every byte.
func (s *fhirForTests) echo(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen, s.bodies = append(s.seen, r.Clone(r.Context())), append(s.bodies, nil)
	s.mu.Unlock()
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		accept(r.Header.Get("Sec-Websocket-Key")))
	_, _ = io.Copy(conn, rw)
}
