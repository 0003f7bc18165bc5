package api

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
)

// Text is a text for people, in both languages.
type Text struct{ DE, EN string }

func (t Text) in(language string) string {
	if language == "de" {
		return t.DE
	}
	return t.EN
}

func (t Text) missing() bool { return t.DE == "" || t.EN == "" }

// Group is a part of the API.
type Group struct {
	Name  string // a word
	Title Text
}

// Route describes one operation.
type Route struct {
	Method  string // upper case
	Path    string // parameters in braces
	ID      string // operationId: unique, a word in camel case
	Group   string // name of its group
	Title   Text
	About   Text   // who may call it, and what it promises
	Who     string // security scheme: "" for everybody, "token", "presence" or "staff"
	Inputs  []Input
	Body    any      // zero value of what is sent; nil: no body, or none of JSON
	Sends   []string // mime types of a body that is not one JSON object
	Answers []Answer
	Refuses []querschott.Code // refusals as problems (RFC 9457)
}

// Input is a parameter.
type Input struct {
	Name     string
	In       string // path, query, header
	About    Text
	Required bool
	Pattern  string
	Enum     []string
}

// Answer is what one status means that is no problem.
type Answer struct {
	Status  int
	About   Text
	Mimes   []string // of the body; empty: there is none
	Body    any      // zero value of what is answered; nil: not JSON of ours
	Headers []Input
}

// Problem is a refusal as our own APIs answer it (RFC 9457).
type Problem struct {
	Type       string          `json:"type" doc:"urn:querschott:problem: and the code"`
	Title      string          `json:"title" doc:"the status in words"`
	Status     int             `json:"status" doc:"the HTTP status"`
	Detail     string          `json:"detail" doc:"what happened, for people; never a number of a person"`
	Instance   string          `json:"instance" doc:"urn:uuid: and the id of the request, which the operator finds in the ledger"`
	Code       querschott.Code `json:"code" doc:"the reason, for programs"`
	Incident   string          `json:"incident,omitempty" doc:"reference of the incident, when a door is not open"`
	StatusPage string          `json:"status_page,omitempty" doc:"public status page, when a door is not open"`
}

// refusal is what a code means from outside.
type refusal struct {
	Code   querschott.Code
	Status int
	About  Text
}

// refusals lists all codes in the order in which they are shown.
var refusals = []refusal{
	{querschott.CodeInvalid, 400, Text{"Die Anfrage ist nicht zu verstehen.", "The request cannot be understood."}},
	{querschott.CodeUnauthorized, 401, Text{"Niemand wurde erkannt.", "Nobody was identified."}},
	{querschott.CodeForbidden, 403, Text{"Erkannt, aber nicht erlaubt.", "Identified, and not allowed."}},
	{querschott.CodeNotFound, 404, Text{"Das gibt es nicht.", "There is no such thing."}},
	{querschott.CodeUnknownHere, 404, Text{"Diese Krankenkasse wird hier nicht bedient.", "This insurer is not served here."}},
	{querschott.CodeMethod, 405, Text{"Diese Methode gibt es hier nicht; Allow nennt die erlaubten.", "There is no such method here; Allow names those that are."}},
	{querschott.CodeConflict, 409, Text{"Der Stand hat sich inzwischen geändert.", "The state has changed meanwhile."}},
	{querschott.CodeTooLarge, 413, Text{"Größer als erlaubt.", "Larger than allowed."}},
	{querschott.CodeTooMany, 429, Text{"Zu viele Anfragen; Retry-After sagt, wann wieder.", "Too many requests; Retry-After says when to come back."}},
	{querschott.CodeInternal, 500, Text{"Ein Fehler bei uns; die Kennung der Anfrage führt den Betreiber zu ihm.", "A fault of ours; the request's id leads the operator to it."}},
	{querschott.CodeUpstream, 502, Text{"Der Dienst dahinter hat nicht brauchbar geantwortet.", "The service behind gave no usable answer."}},
	{querschott.CodeDoorClosed, 503, Text{"Die Tür der Abteilung ist geschlossen; Retry-After sagt, wann wieder zu fragen ist.", "The compartment's door is closed; Retry-After says when to ask again."}},
	{querschott.CodeDoorHeld, 503, Text{"Die Tür der Abteilung hält zurück; Retry-After sagt, wann wieder zu fragen ist.", "The compartment's door holds back; Retry-After says when to ask again."}},
	{querschott.CodeNoRoom, 503, Text{"Es ist kein Platz, oder der Zugriff kann nicht verzeichnet werden.", "There is no room, or the access cannot be recorded."}},
}

func refusalOf(c querschott.Code) (refusal, bool) {
	i := slices.IndexFunc(refusals, func(r refusal) bool { return r.Code == c })
	if i < 0 {
		return refusal{}, false
	}
	return refusals[i], true
}

const problemMime = "application/problem+json"

var (
	operationID = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	parameter   = regexp.MustCompile(`\{([a-z][a-zA-Z0-9_-]*)\}`)
	methods     = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
)

// build makes the document. It fails on a route that does not say everything: a mistake in the program.
func build(info Info, servers []Server, groups []Group, routes []Route) (*Document, error) {
	d := &Document{
		OpenAPI: "3.1.0", Info: info, Servers: servers, Paths: map[string]*PathItem{},
		Components: Components{Schemas: map[string]*Schema{}, SecuritySchemes: securitySchemes()},
	}
	s := &schemas{named: d.Components.Schemas, types: map[string]reflect.Type{}}
	if _, err := s.of(reflect.TypeFor[Problem]()); err != nil {
		return nil, err
	}
	for _, g := range groups {
		d.Tags = append(d.Tags, Tag{g.Name, g.Title.EN})
	}
	ids := map[string]bool{}
	for _, r := range routes {
		op, err := s.operation(r, groups)
		if err == nil && ids[r.ID] {
			err = errors.New("its id is another route's, too")
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't describe %s %s: %w", r.Method, r.Path, err)
		}
		ids[r.ID] = true
		item := d.Paths[r.Path]
		if item == nil {
			item = &PathItem{}
			d.Paths[r.Path] = item
		}
		method := strings.ToLower(r.Method)
		if (*item)[method] != nil {
			return nil, fmt.Errorf("couldn't describe %s %s: it is there twice", r.Method, r.Path)
		}
		(*item)[method] = op
	}
	return d, nil
}

func securitySchemes() map[string]*SecurityScheme {
	return map[string]*SecurityScheme{
		"token": {
			Type: "http", Scheme: "DPoP",
			Description: "Access token (RFC 9068) bound to a key; each request has a proof in the header DPoP (RFC 9449).",
		},
		"presence": {
			Type: "apiKey", In: "header", Name: "PoPP", Description: "Proof of patient presence (gemSpec_PoPP_Service 1.0.0).",
		},
		"certificate": {Type: "mutualTLS", Description: "Certificate of a machine that does one insurer's jobs (http.machines)."},
		"session": {
			Type: "apiKey", In: "cookie", Name: "__Host-querschott-session",
			Description: "Session of a person who has logged in with password and second factor (POST /session). Each request has the session's csrf value in the header X-Csrf-Token.",
		},
	}
}

func (s *schemas) operation(r Route, groups []Group) (*Operation, error) {
	if err := r.check(groups); err != nil {
		return nil, err
	}
	op := &Operation{
		ID: r.ID, Summary: r.Title.EN, Description: r.About.EN, Tags: []string{r.Group}, Responses: map[string]*Response{}, Security: r.security(),
	}
	for _, in := range r.Inputs {
		op.Parameters = append(op.Parameters, Parameter{
			Name: in.Name, In: in.In, Description: in.About.EN, Required: in.Required, Schema: &Schema{Type: "string", Pattern: in.Pattern, Enum: in.Enum},
		})
	}
	if len(r.Sends) > 0 {
		op.Body = &RequestBody{Required: true, Content: map[string]MediaType{}}
		for _, mime := range r.Sends {
			op.Body.Content[mime] = MediaType{}
		}
	}
	if r.Body != nil {
		body, err := s.of(reflect.TypeOf(r.Body))
		if err != nil {
			return nil, err
		}
		op.Body = &RequestBody{Required: true, Content: map[string]MediaType{"application/json": {body}}}
	}
	for _, a := range r.Answers {
		answer, err := s.answer(a)
		if err != nil {
			return nil, err
		}
		op.Responses[strconv.Itoa(a.Status)] = answer
	}
	return op, refuse(op, r.Refuses)
}

// security says how callers identify themselves. An empty list says that nobody needs to.
func (r Route) security() *[]map[string][]string {
	list := []map[string][]string{}
	switch r.Who {
	case "token":
		list = append(list, map[string][]string{"token": {}})
	case "presence":
		list = append(list, map[string][]string{"token": {}, "presence": {}})
	case "staff":
		list = append(list, map[string][]string{"token": {}}, map[string][]string{"certificate": {}}, map[string][]string{"session": {}})
	}
	return &list
}

func (s *schemas) answer(a Answer) (*Response, error) {
	out := &Response{Description: a.About.EN}
	for _, h := range a.Headers {
		if out.Headers == nil {
			out.Headers = map[string]Header{}
		}
		out.Headers[h.Name] = Header{h.About.EN, &Schema{Type: "string", Pattern: h.Pattern, Enum: h.Enum}}
	}
	for _, mime := range a.Mimes {
		body := &Schema{Type: "string"}
		if a.Body != nil {
			var err error
			if body, err = s.of(reflect.TypeOf(a.Body)); err != nil {
				return nil, err
			}
		} else if strings.HasSuffix(mime, "json") {
			body = &Schema{Type: "object"}
		}
		if out.Content == nil {
			out.Content = map[string]MediaType{}
		}
		out.Content[mime] = MediaType{body}
	}
	return out, nil
}

// refuse adds the problems: one answer per status, which names its codes.
func refuse(op *Operation, codes []querschott.Code) error {
	for _, c := range codes {
		r, ok := refusalOf(c)
		if !ok {
			return fmt.Errorf("nobody says what code %s means", c)
		}
		status, text := strconv.Itoa(r.Status), fmt.Sprintf("%s: %s", c, r.About.EN)
		if known := op.Responses[status]; known != nil {
			if known.Content[problemMime].Schema == nil {
				return fmt.Errorf("status %s is both an answer and a problem", status)
			}
			known.Description += " " + text
			continue
		}
		op.Responses[status] = &Response{
			Description: text, Content: map[string]MediaType{problemMime: {&Schema{Ref: "#/components/schemas/Problem"}}},
		}
	}
	return nil
}

// check finds what a route does not say.
func (r Route) check(groups []Group) error {
	switch {
	case !slices.Contains(methods, r.Method):
		return errors.New("there is no such method")
	case !strings.HasPrefix(r.Path, "/"):
		return errors.New("its path does not begin with /")
	case !operationID.MatchString(r.ID):
		return errors.New("its id is no word")
	case !slices.ContainsFunc(groups, func(g Group) bool { return g.Name == r.Group }):
		return errors.New("its group is not known")
	case r.Title.missing() || r.About.missing():
		return errors.New("it lacks a text")
	case len(r.Answers) == 0:
		return errors.New("it has no answer")
	case !slices.Contains([]string{"", "token", "presence", "staff"}, r.Who):
		return errors.New("nobody knows how its callers identify themselves")
	}
	seen := map[int]bool{}
	for _, a := range r.Answers {
		if seen[a.Status] || a.About.missing() || a.Status < 200 || a.Status > 599 {
			return fmt.Errorf("status %d is there twice, says nothing or is none", a.Status)
		}
		seen[a.Status] = true
	}
	return r.checkInputs()
}

func (r Route) checkInputs() error {
	named := map[string]bool{}
	for _, in := range r.Inputs {
		if in.About.missing() || !slices.Contains([]string{"path", "query", "header"}, in.In) || in.In == "path" && !in.Required {
			return fmt.Errorf("input %s is not described", in.Name)
		}
		if in.In == "path" {
			named[in.Name] = true
		}
	}
	for _, m := range parameter.FindAllStringSubmatch(r.Path, -1) {
		if !named[m[1]] {
			return fmt.Errorf("path parameter %s is not described", m[1])
		}
		delete(named, m[1])
	}
	if len(named) > 0 {
		return errors.New("an input is not in the path")
	}
	return nil
}
