package sigma

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/querschott/querschott/internal/yaml"
)

// Error is why a rule is not loaded.
type Error struct {
	File string
	Line int // from 1; 0: the file as a whole
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// located puts a file's name to a fault in it.
func located(file string, err error) error {
	f, ok := errors.AsType[*yaml.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", file, err)
	}
	return &Error{file, f.Line, f.Text}
}

// document is one document of a file: a rule, a correlation or a filter. Keys that only describe are read so that a
// misspelt one is noticed.
type document struct {
	Title          string       `yaml:"title"`
	ID             string       `yaml:"id"`
	Name           string       `yaml:"name"`
	Related        []related    `yaml:"related"`
	Taxonomy       string       `yaml:"taxonomy"`
	Status         string       `yaml:"status"`
	Description    string       `yaml:"description"`
	License        string       `yaml:"license"`
	References     []string     `yaml:"references"`
	Author         string       `yaml:"author"`
	Date           string       `yaml:"date"`
	Modified       string       `yaml:"modified"`
	Fields         []string     `yaml:"fields"`
	FalsePositives *yaml.Node   `yaml:"falsepositives"`
	Level          string       `yaml:"level"`
	Tags           []string     `yaml:"tags"`
	Scope          []string     `yaml:"scope"`
	Logsource      *logsource   `yaml:"logsource"`
	Detection      *yaml.Node   `yaml:"detection"`
	Correlation    *correlating `yaml:"correlation"`
	Filter         *yaml.Node   `yaml:"filter"`
	Generate       bool         `yaml:"generate"`

	file string
	node *yaml.Node
}

type related struct {
	ID   string `yaml:"id"`
	Type string `yaml:"type"`
}

type logsource struct {
	Category   string `yaml:"category"`
	Product    string `yaml:"product"`
	Service    string `yaml:"service"`
	Definition string `yaml:"definition"`
}

type correlating struct {
	Type      string                           `yaml:"type"`
	Rules     []*yaml.Node                     `yaml:"rules"`
	Timespan  *yaml.Node                       `yaml:"timespan"`
	GroupBy   []*yaml.Node                     `yaml:"group-by"`
	Condition *yaml.Node                       `yaml:"condition"`
	Aliases   map[string]map[string]*yaml.Node `yaml:"aliases"`
	Generate  bool                             `yaml:"generate"`
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	dateForm = regexp.MustCompile(`^\d{4}-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])$`)
	tagForm  = regexp.MustCompile(`^[a-z0-9_-]+\.[a-z0-9._-]+$`)
	levels   = []string{"", "informational", "low", "medium", "high", "critical"}
	statuses = []string{"", "stable", "test", "experimental", "deprecated"}
	kinships = []string{"derived", "obsolete", "merged", "renamed", "similar"}
)

// line returns where a key of the document stands, the document's first line if it does not.
func (d *document) line(key string) int {
	for _, e := range d.node.Entries {
		if e.Key == key {
			return e.Line
		}
	}
	return d.node.Line
}

// fault makes an error about a key of the document.
func (d *document) fault(key, format string, args ...any) error {
	return &Error{d.file, d.line(key), fmt.Sprintf(format, args...)}
}

// ref is how the document calls itself in alarms.
func (d *document) ref() string {
	for _, s := range []string{d.Name, d.ID} {
		if s != "" {
			return s
		}
	}
	return d.Title
}

// parse reads the documents of a file and checks all of them that needs no other document.
func parse(file string, data []byte) ([]*document, []error) {
	nodes, err := yaml.Parse(data)
	if err != nil {
		return nil, []error{located(file, err)}
	}
	var docs []*document
	var faults []error
	for _, n := range nodes {
		d := &document{file: file, node: n}
		if err := n.Decode(d); err != nil {
			faults = append(faults, located(file, err))
			continue
		}
		if err := d.check(); err != nil {
			faults = append(faults, err)
			continue
		}
		docs = append(docs, d)
	}
	return docs, faults
}

func (d *document) check() error {
	kinds := 0
	for _, has := range []bool{d.Detection != nil, d.Correlation != nil, d.Filter != nil} {
		if has {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return d.fault("", "a document has one of detection, correlation and filter")
	case d.Title == "" || utf8.RuneCountInString(d.Title) > 256:
		return d.fault("title", "a title of 1 to 256 characters is needed")
	case utf8.RuneCountInString(d.Name) > 256:
		return d.fault("name", "a name has at most 256 characters")
	case utf8.RuneCountInString(d.Description) > 65535:
		return d.fault("description", "a description has at most 65,535 characters")
	case d.ID != "" && !uuidForm.MatchString(d.ID):
		return d.fault("id", "the id is no UUID")
	case d.Date != "" && !dateForm.MatchString(d.Date):
		return d.fault("date", "a date is YYYY-MM-DD")
	case d.Modified != "" && !dateForm.MatchString(d.Modified):
		return d.fault("modified", "a date is YYYY-MM-DD")
	case d.Taxonomy != "" && d.Taxonomy != "sigma" && d.Taxonomy != "querschott":
		return d.fault("taxonomy", "the fields of taxonomy %q are not known here", d.Taxonomy)
	case d.Status == "unsupported":
		return d.fault("status", "the rule says of itself that it cannot be used")
	case !slices.Contains(statuses, d.Status):
		return d.fault("status", "there is no status %q", d.Status)
	case !slices.Contains(levels, d.Level):
		return d.fault("level", "there is no level %q", d.Level)
	case d.Generate && d.Correlation == nil:
		return d.fault("generate", "generate is for correlations")
	case d.Correlation != nil && d.Logsource != nil:
		return d.fault("logsource", "a correlation has no log source of its own")
	case d.Correlation == nil && d.Logsource == nil:
		return d.fault("", "a log source is needed")
	}
	return d.checkLists()
}

func (d *document) checkLists() error {
	for _, t := range d.Tags {
		if !tagForm.MatchString(t) {
			return d.fault("tags", "%q is no tag (namespace.name)", t)
		}
	}
	for _, r := range d.Related {
		if !uuidForm.MatchString(r.ID) || !slices.Contains(kinships, r.Type) {
			return d.fault("related", "a related rule has a UUID and one of the types %v", kinships)
		}
	}
	if f := d.FalsePositives; f != nil && f.Kind != yaml.String && f.Kind != yaml.List && f.Kind != yaml.Null {
		return d.fault("falsepositives", "falsepositives is a text or a list of texts")
	}
	return nil
}
