package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// rule is a Rule, made ready.
type rule struct {
	Rule
	action   ledger.Action
	data     ledger.DataClass
	purpose  ledger.Purpose
	template []segment
	insurer  []finder
	person   []finder
	pointers []pointer   // of records and then of persons
	xpaths   []xpathRule // the same, for XML
}

// rules are the settings' rules, made ready.
type rules struct {
	list    []*rule
	other   *rule // for what no rule fits
	service querschott.Service
	names   map[string]querschott.IK // in lower case
}

var actions = map[string]ledger.Action{
	"read": ledger.ActionRead, "search": ledger.ActionSearch, "create": ledger.ActionCreate, "update": ledger.ActionUpdate,
	"delete": ledger.ActionDelete, "execute": ledger.ActionExecute,
}

var methodActions = map[string]ledger.Action{
	http.MethodGet: ledger.ActionRead, http.MethodHead: ledger.ActionRead, http.MethodPost: ledger.ActionCreate,
	http.MethodPut: ledger.ActionUpdate, http.MethodPatch: ledger.ActionUpdate, http.MethodDelete: ledger.ActionDelete,
}

var dataClasses = map[string]ledger.DataClass{
	"none": ledger.DataNone, "insurance-data": ledger.DataInsured, "record": ledger.DataRecord, "contact": ledger.DataContact,
	"account": ledger.DataAccount, "sick-note": ledger.DataSickNote, "doctor-letter": ledger.DataDoctorLetter,
	"message": ledger.DataMessage,
}

var serviceData = map[querschott.Service]ledger.DataClass{
	querschott.EPA: ledger.DataRecord, querschott.VSDM: ledger.DataInsured, querschott.App: ledger.DataAccount,
	querschott.Desk: ledger.DataInsured,
}

var purposes = map[string]ledger.Purpose{
	"": ledger.PurposeNone, "treatment": ledger.PurposeTreatment, "payment": ledger.PurposePayment,
	"operations": ledger.PurposeOperations, "patient-request": ledger.PurposePatientRequest, "emergency": ledger.PurposeEmergency,
	"security": ledger.PurposeSecurity, "audit": ledger.PurposeAudit,
}

// compile checks the settings and makes their rules ready.
func (s *Settings) compile() (*rules, error) {
	errs := s.check()
	rs := &rules{service: querschott.Service(s.Service), names: map[string]querschott.IK{}}
	if len(s.Insurers) > maxNames {
		errs = errors.Join(errs, fmt.Errorf("insurers: there are more than %d", maxNames))
	}
	for _, text := range s.Insurers {
		name, number, _ := strings.Cut(text, "=")
		ik, err := querschott.ParseIK(number)
		if name = strings.ToLower(name); err != nil || !isName(name) || name == "" {
			errs = errors.Join(errs, fmt.Errorf("insurers: %q is not written name=IK", text))
		} else if _, twice := rs.names[name]; twice {
			errs = errors.Join(errs, fmt.Errorf("insurers: %q stands there twice", name))
		}
		rs.names[name] = ik
	}
	rs.other = &rule{Rule: Rule{Fields: "unknown", Insurer: s.Insurer}, data: serviceData[rs.service]}
	var err error
	if rs.other.insurer, err = s.insurerFinders(s.Insurer, nil); err != nil {
		errs = errors.Join(errs, fmt.Errorf("insurer: %w", err))
	}
	seen := map[string]bool{}
	for i := range s.Rules {
		r, err := s.compileRule(s.Rules[i], rs.service)
		if seen[s.Rules[i].Name] {
			err = errors.Join(err, errors.New("another rule has the same name"))
		}
		seen[s.Rules[i].Name] = true
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("rules: %q: %w", s.Rules[i].Name, err))
		}
		rs.list = append(rs.list, r)
	}
	return rs, errs
}

func (s *Settings) compileRule(in Rule, service querschott.Service) (*rule, error) {
	r := &rule{Rule: in, data: serviceData[service]}
	var errs error
	wrong := func(format string, args ...any) { errs = errors.Join(errs, fmt.Errorf(format, args...)) }
	if in.Name == "" || !isName(in.Name) {
		wrong("a name has 1 to %d letters, digits, '-', '_', '.'", maxWord)
	}
	if len(in.Fields) > maxWord {
		wrong("fields has more than %d letters", maxWord)
	}
	var err error
	if r.template, err = parseTemplate(in.Path); err != nil || in.Path == "" {
		wrong("path %q cannot be understood", in.Path)
	}
	var ok bool
	if r.action, ok = actions[in.Action]; !ok && in.Action != "" {
		wrong("action: %q is unknown", in.Action)
	}
	if r.purpose, ok = purposes[in.Purpose]; !ok {
		wrong("purpose: %q is unknown", in.Purpose)
	}
	if in.Data != "" {
		if r.data, ok = dataClasses[in.Data]; !ok {
			wrong("data: %q is unknown", in.Data)
		}
	}
	where := in.Insurer
	if len(where) == 0 {
		where = s.namedIn(r.template)
	}
	if r.insurer, err = s.insurerFinders(where, r.template); err != nil {
		wrong("insurer: %w", err)
	}
	if r.person, err = parseFinders(in.Person, r.template); err != nil {
		wrong("person: %w", err)
	}
	return r, errors.Join(errs, r.compileCount())
}

// namedIn returns the general places of the insurer that a path has: one may be a variable that only some paths hold.
func (s *Settings) namedIn(template []segment) []string {
	return slices.DeleteFunc(slices.Clone(s.Insurer), func(where string) bool {
		name, ok := strings.CutPrefix(where, "path:")
		return ok && !slices.ContainsFunc(template, func(t segment) bool { return t.free && t.name == name })
	})
}

func (s *Settings) insurerFinders(where []string, template []segment) ([]finder, error) {
	if template == nil {
		where = s.namedIn(nil)
	}
	list, err := parseFinders(where, template)
	for _, f := range list {
		if f.inBody() {
			return nil, errors.New("an insurer is not looked for in a body: use path, query, header, host or value")
		}
	}
	return list, err
}

func (r *rule) compileCount() (err error) {
	persons := r.Persons
	switch r.Count {
	case countFHIR:
		if r.Records != "" && r.Records != recordsMatches {
			return fmt.Errorf("records: %q is not 'matches'", r.Records)
		}
	case countJSON:
		if r.Records == "" {
			return errors.New("records: a JSON pointer is needed")
		}
	case countXML:
		return r.compileXPath()
	case countLines:
		if r.Records != "" {
			return errors.New("records: every line is one")
		}
	case countEvents, countOne, countNone:
		if r.Records != "" || len(persons) > 0 {
			return errors.New("records and persons: the answer is not read")
		}
	default:
		return fmt.Errorf("count: %q is unknown", r.Count)
	}
	if r.Count == countFHIR && len(persons) > 0 {
		return errors.New("persons: FHIR answers need none")
	}
	if len(persons) >= maxPointers {
		return fmt.Errorf("persons: at most %d", maxPointers-1)
	}
	records := r.Records
	if r.Count == countFHIR {
		records = ""
	}
	for _, text := range append([]string{records}, persons...) {
		p, err := parsePointer(text)
		if err != nil {
			return err
		}
		r.pointers = append(r.pointers, p)
	}
	return nil
}

func (r *rule) compileXPath() error {
	for _, text := range append([]string{r.Records}, r.Persons...) {
		x, err := parseXPath(text)
		if err != nil {
			return err
		}
		r.xpaths = append(r.xpaths, x)
	}
	return nil
}

// fits reports whether the rule describes the request.
func (r *rule) fits(v *view) ([]variable, bool) {
	method := v.method
	if method == http.MethodHead && !slices.Contains(r.Methods, method) {
		method = http.MethodGet
	}
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return nil, false
	}
	for _, name := range r.Has {
		if !v.has(name) {
			return nil, false
		}
	}
	return fitPath(r.template, v.path)
}

// actionOf returns what the request does.
func (r *rule) actionOf(method string) ledger.Action {
	if r.action != ledger.ActionNone {
		return r.action
	}
	if a, ok := methodActions[method]; ok {
		return a
	}
	return ledger.ActionExecute
}
