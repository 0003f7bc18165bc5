package proxy

import (
	"bytes"
	"strings"
)

// resource is a FHIR resource that is being read.
type resource struct {
	kind    string // resourceType, "" while it is not known
	id      string
	counted bool
	begun   bool // it has content besides its type
	inner   bool // it holds other resources
	entry   bool // it is the resource of an entry
}

// countable reports whether the resource is a record itself, as far as it is known.
func (r *resource) countable() bool {
	switch r.kind {
	case "Bundle", "OperationOutcome", "CapabilityStatement":
		return false
	case "Parameters", "":
		return !r.inner
	}
	return true
}

// entry is an entry of a bundle, or a parameter, that is being read. Whether its resource counts is known at its end.
type entry struct {
	mode    string // search.mode
	pending uint32
}

// resources counts the resources of a FHIR answer: those of a bundle, one by one, at any depth; one for a single resource;
// none for an OperationOutcome.
type resources struct {
	found       found
	onlyMatches bool
	stack       []resource
	entries     []entry
	fhir        bool   // some resource had a type
	referred    string // the last reference to a person; most of an answer's are the same
}

func (t *resources) begin() {
	for i := range t.stack {
		t.stack[i].inner = true
	}
	t.stack = append(t.stack, resource{entry: len(t.entries) > 0})
}

func (t *resources) current() *resource { return &t.stack[len(t.stack)-1] }

func (t *resources) setKind(kind string) {
	t.current().kind = kind
	t.fhir = true
}

func (t *resources) endResource() {
	r := *t.current()
	t.stack = t.stack[:len(t.stack)-1]
	if r.kind == "Patient" {
		t.found.person(r.id)
	}
	if !r.countable() {
		return
	}
	if r.kind == "" {
		r.kind = "untyped"
	}
	t.found.kind(r.kind, 1)
	switch {
	case r.counted:
	case r.entry:
		t.entries[len(t.entries)-1].pending++
	default:
		t.found.records++
	}
}

func (t *resources) beginEntry() { t.entries = append(t.entries, entry{}) }

func (t *resources) setMode(mode string) {
	if len(t.entries) > 0 {
		t.entries[len(t.entries)-1].mode = mode
	}
}

func (t *resources) endEntry() {
	e := t.entries[len(t.entries)-1]
	t.entries = t.entries[:len(t.entries)-1]
	if e.mode == "include" {
		t.found.included += e.pending
		if t.onlyMatches {
			return
		}
	}
	t.found.records += e.pending
}

// settle counts what is still open, since its first content is about to leave. A resource that has not said its type by then
// is counted as one, even if it turns out to be a bundle.
func (t *resources) settle() {
	for i := range t.stack {
		if r := &t.stack[i]; !r.counted && r.begun && r.countable() {
			r.counted = true
			t.found.records++
		}
	}
	for i := range t.entries {
		t.found.records += t.entries[i].pending
		t.entries[i].pending = 0
	}
}

// take returns what was found since the last call.
func (t *resources) take() found {
	t.settle()
	f := t.found
	t.found, t.referred = found{}, ""
	return f
}

// isKVNRSystem reports whether identifiers of the system are KVNR: http://fhir.de/sid/gkv/kvid-10, and its older and private
// forms, which end alike.
func isKVNRSystem(system string) bool { return strings.HasSuffix(system, "/kvid-10") }

// identifier adds a person if the identifier is a KVNR.
func (t *resources) identifier(f *fhirFrame) {
	if f.kvnr {
		t.found.person(f.value)
	}
}

func (t *resources) reference(ref []byte) {
	if string(ref) == t.referred {
		return
	}
	if bytes.HasPrefix(ref, []byte("Patient/")) || bytes.Contains(ref, []byte("/Patient/")) {
		t.referred = string(ref)
		t.found.person(t.referred)
	}
}

// intern makes strings of the usual words without a copy of each.
func intern(text []byte) string {
	for _, usual := range []string{"Patient", "Observation", "Coverage", "Bundle", "Encounter", "Condition", "match", "include"} {
		if string(text) == usual {
			return usual
		}
	}
	return string(text)
}

// role is what a container means in a FHIR document.
type role uint8

const (
	roleOther role = iota
	roleResource
	roleEntries // array of entries or parameters
	roleEntry
	roleSearch
	roleIdentifiers
	roleIdentifier
	roleWrap // XML only: <resource>, which holds the resource's own element
)

// word is a member's name that means something here.
type word uint8

const (
	wordOther word = iota
	wordResourceType
	wordEntry
	wordParameter
	wordPart
	wordResource
	wordSearch
	wordMode
	wordIdentifier
	wordReference
	wordID
	wordSystem
	wordValue
)

func wordOf(name string) word {
	switch name {
	case "resourceType":
		return wordResourceType
	case "entry":
		return wordEntry
	case "parameter":
		return wordParameter
	case "part":
		return wordPart
	case "resource":
		return wordResource
	case "search":
		return wordSearch
	case "mode":
		return wordMode
	case "identifier":
		return wordIdentifier
	case "reference":
		return wordReference
	case "id":
		return wordID
	case "system":
		return wordSystem
	case "value":
		return wordValue
	}
	return wordOther
}

// fhirFrame is an open container.
type fhirFrame struct {
	role  role
	kvnr  bool   // the system of an identifier is that of KVNR
	value string // of an identifier
}

// fhirListener reads a FHIR document in JSON.
type fhirListener struct {
	resources
	frames [maxDepth]fhirFrame
	depth  int
	key    word // of the member that comes next
}

func (l *fhirListener) roleOf(array bool) role {
	if l.depth == 0 {
		if array {
			return roleOther
		}
		return roleResource
	}
	switch parent := l.frames[l.depth-1].role; {
	case parent == roleEntries && !array:
		return roleEntry
	case parent == roleIdentifiers && !array:
		return roleIdentifier
	case array && parent == roleResource && (l.key == wordEntry || l.key == wordParameter), array && parent == roleEntry && l.key == wordPart:
		return roleEntries
	case array && l.key == wordIdentifier:
		return roleIdentifiers
	case array:
		return roleOther
	case parent == roleEntry && l.key == wordResource:
		return roleResource
	case parent == roleEntry && l.key == wordSearch:
		return roleSearch
	case l.key == wordIdentifier:
		return roleIdentifier
	}
	return roleOther
}

func (l *fhirListener) open(array bool) {
	r := l.roleOf(array)
	l.frames[l.depth] = fhirFrame{role: r}
	l.depth++
	switch r {
	case roleResource:
		l.begin()
	case roleEntry:
		l.beginEntry()
	case roleEntries:
		l.current().inner = true
	default:
	}
}

func (l *fhirListener) end() {
	l.depth--
	switch f := &l.frames[l.depth]; f.role {
	case roleResource:
		l.endResource()
	case roleEntry:
		l.endEntry()
	case roleIdentifier:
		l.identifier(f)
	default:
	}
}

func (l *fhirListener) name(key []byte) {
	l.key = wordOf(string(key))
	if l.key != wordResourceType && l.key != wordEntry && l.key != wordParameter {
		l.content()
	}
}

// content notes that what comes next is content of a resource.
func (l *fhirListener) content() {
	if l.depth > 0 && l.frames[l.depth-1].role == roleResource {
		l.current().begun = true
	}
}

func (l *fhirListener) scalar(text []byte) {
	if l.depth == 0 {
		return
	}
	f := &l.frames[l.depth-1]
	if l.key != wordResourceType {
		l.content()
	}
	switch {
	case f.role == roleResource && l.key == wordResourceType:
		l.setKind(intern(text))
	case f.role == roleResource && l.key == wordID:
		l.current().id = string(text)
	case f.role == roleSearch && l.key == wordMode:
		l.setMode(intern(text))
	case l.key == wordReference:
		l.reference(text) // wherever it stands: whoever is referred to is named by the answer
	case f.role == roleIdentifier && l.key == wordSystem:
		f.kvnr = isKVNRSystem(string(text))
	case f.role == roleIdentifier && l.key == wordValue:
		f.value = string(text)
	}
}
