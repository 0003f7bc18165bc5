package sigma

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/yaml"
	"github.com/querschott/querschott/watch"
)

// own are the rules of the house.
//
//go:embed rules/*.yml
var own embed.FS

const (
	maxFiles        = 10_000
	maxFileSize     = 1 << 20
	maxFaults       = 100 // that are told at once
	placeholderFile = "placeholders"
)

// loader turns files into rules that know each other.
type loader struct {
	detections detections
	docs       []*document
	rules      []*rule
	byRef      map[string]*rule
	faults     []error
}

func (l *loader) fault(err error) { l.faults = append(l.faults, err) }

// tree reads all rules below a directory. The name stands before the files' in errors.
func (l *loader) tree(root fs.FS, name string) {
	files := 0
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		ext := path.Ext(p)
		if err != nil || d.IsDir() || ext != ".yml" && ext != ".yaml" {
			return err
		}
		if files++; files > maxFiles {
			return fmt.Errorf("there are more than %d files", maxFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		full := filepath.Join(name, filepath.FromSlash(p))
		if info.Size() > maxFileSize {
			l.fault(&Error{full, 0, fmt.Sprintf("the file is longer than %d bytes", maxFileSize)})
			return nil
		}
		data, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		l.file(full, p == placeholderFile+ext, data)
		return nil
	})
	switch {
	case err != nil:
		l.fault(fmt.Errorf("couldn't read the rules in %s: %w", name, err))
	case files == 0:
		l.fault(fmt.Errorf("there are no rules (*.yml) in %s", name))
	}
}

func (l *loader) file(name string, placeholders bool, data []byte) {
	if placeholders {
		if err := l.addPlaceholders(name, data); err != nil {
			l.fault(err)
		}
		return
	}
	docs, faults := parse(name, data)
	l.docs = append(l.docs, docs...)
	l.faults = append(l.faults, faults...)
}

func (l *loader) addPlaceholders(name string, data []byte) error {
	docs, err := yaml.Parse(data)
	if err != nil {
		return located(name, err)
	}
	for _, d := range docs {
		var m map[string][]string
		if err := d.Decode(&m); err != nil {
			return located(name, err)
		}
		for k, v := range m {
			if _, twice := l.detections.placeholders[k]; twice {
				return &Error{name, d.Line, fmt.Sprintf("placeholder %q stands twice", k)}
			}
			l.detections.placeholders[k] = v
		}
	}
	return nil
}

// link compiles the documents and joins them: rules, then filters, then correlations.
func (l *loader) link() {
	for _, d := range l.docs {
		if d.Filter == nil {
			l.add(d)
		}
	}
	for _, d := range l.docs {
		if d.Filter != nil {
			if err := l.filter(d); err != nil {
				l.fault(err)
			}
		}
	}
	for _, r := range l.rules {
		if r.doc.Correlation != nil {
			if err := l.correlate(r); err != nil {
				l.fault(err)
			}
		}
	}
	if len(l.faults) == 0 {
		l.settle()
	}
}

// add makes a rule of a document and gives it its names.
func (l *loader) add(d *document) {
	r := &rule{doc: d, alarms: true}
	r.label()
	l.rules = append(l.rules, r)
	for _, ref := range [...]string{strings.ToLower(d.ID), d.Name} {
		if ref == "" {
			continue
		}
		if other := l.byRef[ref]; other != nil {
			l.fault(d.fault("", "%s:%d also calls itself %q", other.doc.file, other.doc.node.Line, ref))
			return
		}
		l.byRef[ref] = r
	}
	if d.Correlation != nil {
		return
	}
	source, err := d.Logsource.compile()
	if err != nil {
		l.fault(d.fault("logsource", "%v", err))
		return
	}
	t, err := l.detections.compile(d.Detection)
	if err != nil {
		l.fault(located(d.file, err))
		return
	}
	r.test = all(append(source, t))
}

// find returns the rule with an id or a name.
func (l *loader) find(d *document, n *yaml.Node) (*rule, error) {
	if n.Kind != yaml.String {
		return nil, &Error{d.file, n.Line, "a rule is named by its id or name"}
	}
	if r := l.byRef[n.Text]; r != nil {
		return r, nil
	}
	if r := l.byRef[strings.ToLower(n.Text)]; r != nil && uuidForm.MatchString(n.Text) {
		return r, nil
	}
	return nil, &Error{d.file, n.Line, fmt.Sprintf("no rule is called %q", n.Text)}
}

var services = []querschott.Service{
	querschott.EAU, querschott.Letter, querschott.VSDM, querschott.EPA, querschott.App, querschott.Desk, querschott.Mail,
}

// compile returns what an event must be to come from a log source.
func (s *logsource) compile() ([]test, error) {
	if s.Product != "querschott" {
		return nil, fmt.Errorf("there are no events of product %q here, only of querschott", s.Product)
	}
	var tests []test
	if s.Category != "" {
		t, ok := categories[s.Category]
		if !ok {
			return nil, fmt.Errorf("there is no category %q", s.Category)
		}
		tests = append(tests, t)
	}
	if s.Service != "" {
		want := querschott.Service(s.Service)
		if !slices.Contains(services, want) {
			return nil, fmt.Errorf("there is no service %q", s.Service)
		}
		tests = append(tests, func(e *watch.Event) bool { return e.Service == want })
	}
	return tests, nil
}

// covers reports whether everything of another log source is of this one.
func (s *logsource) covers(o *logsource) bool {
	return (s.Product == "" || s.Product == o.Product) && (s.Category == "" || s.Category == o.Category) &&
		(s.Service == "" || s.Service == o.Service)
}

// filter adds a condition to the rules that it names.
func (l *loader) filter(d *document) error {
	f := d.Filter
	if f.Kind != yaml.Map {
		return &Error{d.file, f.Line, "a filter is a mapping"}
	}
	var names *yaml.Node
	for _, e := range f.Entries {
		if e.Key == "rules" {
			names = e.Value
		}
	}
	if names == nil || names.Kind != yaml.List || len(names.Items) == 0 {
		return &Error{d.file, f.Line, "a filter names its rules in a list"}
	}
	t, err := l.detections.compile(f, "rules")
	if err != nil {
		return located(d.file, err)
	}
	for i, n := range names.Items {
		r, err := l.find(d, n)
		switch {
		case err != nil:
			return err
		case r.doc.Correlation != nil:
			return &Error{d.file, n.Line, "filters are for rules about one event"}
		case slices.ContainsFunc(names.Items[:i], func(o *yaml.Node) bool { return o.Text == n.Text }):
			return &Error{d.file, n.Line, fmt.Sprintf("%q stands twice", n.Text)}
		case !d.Logsource.covers(r.doc.Logsource):
			return &Error{d.file, n.Line, fmt.Sprintf("rule %q has another log source than the filter", n.Text)}
		}
		if r.test != nil { // else it is already at fault
			r.test = all([]test{r.test, t})
		}
	}
	return nil
}

// settle decides which rules raise alarms.
func (l *loader) settle() {
	for _, r := range l.rules {
		if r.longest(0) > maxChain {
			l.fault(r.doc.fault("", "more than %d correlations stand on each other", maxChain))
			return
		}
		if len(r.outs) == 0 {
			if r.doc.Level == "informational" {
				l.fault(r.doc.fault("level", "nothing comes of it: informational raises no alarms, and no correlation refers to it"))
			}
			continue
		}
		r.alarms = r.doc.Level != "informational" && slices.ContainsFunc(r.outs, func(o out) bool {
			return o.to.doc.Generate || o.to.doc.Correlation.Generate
		})
	}
}

// longest returns how many correlations stand on a rule, as far as that matters.
func (r *rule) longest(depth int) int {
	most := depth
	for _, o := range r.outs {
		if most > maxChain {
			break
		}
		most = max(most, o.to.longest(depth+1))
	}
	return most
}

// load reads everything that a configuration names.
func load(cfg Config) ([]*rule, error) {
	l := &loader{byRef: map[string]*rule{}, detections: detections{map[string][]string{}}}
	if cfg.Own {
		sub, err := fs.Sub(own, "rules")
		if err != nil {
			return nil, err
		}
		l.tree(sub, "own")
	}
	for _, dir := range cfg.Dirs {
		l.tree(os.DirFS(dir), dir)
	}
	l.link()
	if len(l.faults) > maxFaults {
		l.faults = append(l.faults[:maxFaults], fmt.Errorf("and %d more", len(l.faults)-maxFaults))
	}
	return l.rules, errors.Join(l.faults...)
}
