package proxy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

const (
	// maxPersons of one answer or piece: their numbers fit into one entry of the ledger. A piece has no room for more.
	maxPersons = 3000
	maxNamed   = 1000 // of one request, which stand in the same entry
	maxOthers  = 200  // persons under names of the service's own
	maxTypes   = 16
)

// found is what was found in a request or an answer: records, persons, kinds of resources.
type found struct {
	records  uint32
	unknown  bool // the number of records is not known
	persons  []querschott.KVNR
	others   []string // persons under names of the service's own
	omitted  int      // others that had no room
	types    []kindCount
	included uint32

	seen map[string]struct{} // nil while the names are few
}

// kindCount is how many resources of a kind there are.
type kindCount struct {
	name string
	n    uint32
}

// fewNames are compared one by one faster than they are put into a set.
const fewNames = 8

// person adds a person who was named in one of the ways of FHIR: a KVNR, "system|KVNR", "Patient/ID", a URL that ends so.
func (f *found) person(text string) {
	if i := strings.LastIndexByte(text, '|'); i >= 0 {
		text = text[i+1:]
	}
	if i := strings.LastIndex(text, "Patient/"); i >= 0 {
		text = text[i+len("Patient/"):]
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), "/")
	if text == "" || !isName(text) {
		return
	}
	kvnr, ok := asKVNR(text)
	if ok {
		text = kvnr.Reveal()
	}
	f.add(text, ok)
}

// add adds a person by KVNR or by a name of the service's own.
func (f *found) add(name string, kvnr bool) {
	if f.knows(name) {
		return
	}
	if !kvnr && len(f.others) >= maxOthers {
		f.omitted++
		return
	}
	if f.seen != nil {
		f.seen[name] = struct{}{}
	}
	if kvnr {
		f.persons = append(f.persons, querschott.KVNR(name))
		return
	}
	f.others = append(f.others, name)
}

func (f *found) knows(name string) bool {
	if f.seen == nil && len(f.persons)+len(f.others) < fewNames {
		return slices.Contains(f.persons, querschott.KVNR(name)) || slices.Contains(f.others, name)
	}
	if f.seen == nil {
		f.seen = map[string]struct{}{}
		for _, p := range f.persons {
			f.seen[string(p)] = struct{}{}
		}
		for _, o := range f.others {
			f.seen[o] = struct{}{}
		}
	}
	_, known := f.seen[name]
	return known
}

// isName reports whether text may stand in the ledger as the name of a person in the service's own words.
func isName(text string) bool {
	return len(text) <= maxWord && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:", r)
	})
}

// asKVNR recognises a KVNR by its pattern. The check digit is left alone: a number with a wrong one was asked for all the
// same.
func asKVNR(s string) (querschott.KVNR, bool) {
	if len(s) != 10 || (s[0]|0x20) < 'a' || (s[0]|0x20) > 'z' || strings.Trim(s[1:], "0123456789") != "" {
		return "", false
	}
	if s[0] >= 'a' {
		s = strings.ToUpper(s)
	}
	return querschott.KVNR(s), true
}

func (f *found) kind(name string, n uint32) {
	i := f.indexOf(name)
	if i < 0 && (len(f.types) >= maxTypes || !isName(name)) {
		name = "other"
		i = f.indexOf(name)
	}
	if i < 0 {
		i = len(f.types)
		f.types = append(f.types, kindCount{name: name})
	}
	f.types[i].n += n
}

func (f *found) indexOf(kind string) int {
	return slices.IndexFunc(f.types, func(k kindCount) bool { return k.name == kind })
}

// merge adds what else was found.
func (f *found) merge(g *found) {
	f.records += g.records
	f.unknown = f.unknown || g.unknown
	f.included += g.included
	f.omitted += g.omitted
	for _, p := range g.persons {
		f.add(p.Reveal(), true)
	}
	for _, o := range g.others {
		f.add(o, false)
	}
	for _, k := range g.types {
		f.kind(k.name, k.n)
	}
}

// detail is what the ledger's entry says besides numbers and persons.
func (f *found) detail() []ledger.Field {
	var d []ledger.Field
	if f.unknown {
		d = append(d, ledger.Field{Name: "records", Value: "unknown"})
	}
	if len(f.types) > 0 {
		kinds := make([]string, len(f.types))
		for i, k := range f.types {
			kinds[i] = k.name + " " + strconv.FormatUint(uint64(k.n), 10)
		}
		slices.Sort(kinds)
		d = append(d, ledger.Field{Name: "resources", Value: strings.Join(kinds, ", ")})
	}
	if f.included > 0 {
		d = append(d, ledger.Field{Name: "included", Value: strconv.FormatUint(uint64(f.included), 10)})
	}
	if len(f.others) > 0 {
		names := strings.Join(f.others, " ")
		if f.omitted > 0 {
			names += " and " + strconv.Itoa(f.omitted) + " more"
		}
		d = append(d, ledger.Field{Name: "upstream-persons", Value: names})
	}
	return d
}
