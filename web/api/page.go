package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// view is the page in one language.
type view struct {
	Language, Other string
	Version         string
	L               map[string]string
	Groups          []groupView
	Schemas         []schemaView
	Codes           []codeView
}

type groupView struct {
	Name, Title string
	Routes      []routeView
}

type routeView struct {
	ID, Method, Path, Title, About, Who string
	Inputs                              []inputView
	Answers                             []answerView
}

type inputView struct {
	Name, In, About string
	Required        bool
}

type answerView struct {
	Status      int
	About       []string
	Mimes       []string
	Schema      string
	HeaderNames []string
}

type schemaView struct {
	Name   string
	Fields []fieldView
}

type fieldView struct {
	Name, Type, Schema, About string // Schema: the component it refers to
	Required                  bool
}

type codeView struct {
	Code   string
	Status int
	About  string
}

func labels(language string) map[string]string {
	texts := map[string]Text{
		"title": {"Schnittstellen", "APIs"},
		"lead": {
			"Die eigenen HTTP-Schnittstellen dieser Plattform, aus dem laufenden Programm beschrieben.",
			"This platform's own HTTP APIs, described by the running program.",
		},
		"machine":  {"Für Programme: OpenAPI 3.1", "For programs: OpenAPI 3.1"},
		"contents": {"Inhalt", "Contents"}, "inputs": {"Eingaben", "Inputs"}, "answers": {"Antworten", "Answers"},
		"name": {"Name", "Name"}, "place": {"Ort", "Place"}, "meaning": {"Bedeutung", "Meaning"}, "status": {"Status", "Status"},
		"form": {"Form", "Form"}, "needed": {"nötig", "required"}, "optional": {"möglich", "optional"}, "schemas": {"Formen", "Schemas"},
		"type": {"Typ", "Type"}, "codes": {"Gründe einer Abweisung", "Reasons for a refusal"}, "code": {"Grund", "Code"},
		"codes.lead": {
			"Eigene Schnittstellen weisen mit application/problem+json (RFC 9457) ab; code nennt den Grund.",
			"Own APIs refuse with application/problem+json (RFC 9457); code names the reason.",
		},
		"who": {"Wer", "Who"}, "headers": {"Kopfzeilen:", "Headers:"}, "none": {"ohne Inhalt", "no body"}, "skip": {"Zum Inhalt", "To the content"},
		"who.": {"Jeder; niemand wird erkannt.", "Everybody; nobody is identified."}, "path": {"Pfad", "path"}, "query": {"Anfrage", "query"},
		"who.token":    {"Access-Token mit DPoP-Nachweis.", "Access token with a DPoP proof."},
		"who.staff":    {"Access-Token mit DPoP-Nachweis, oder angemeldet mit Passwort und zweitem Faktor; das Gerät eines Lieferanten mit seinem Zertifikat.", "Access token with a DPoP proof, or logged in with password and second factor; a supplier's machine by its certificate."},
		"who.presence": {"Access-Token mit DPoP-Nachweis, und PoPP-Token.", "Access token with a DPoP proof, and a PoPP token."},
		"header":       {"Kopfzeile", "header"}, "language": {"English", "Deutsch"},
	}
	out := map[string]string{}
	for key, t := range texts {
		out[key] = t.in(language)
	}
	return out
}

func (a *API) view(language string) view {
	v := view{Language: language, Other: "en", Version: a.cfg.Version, L: labels(language)}
	if language == "en" {
		v.Other = "de"
	}
	for _, g := range a.cfg.Groups {
		gv := groupView{Name: g.Name, Title: g.Title.in(language)}
		for _, r := range a.cfg.Routes {
			if r.Group == g.Name {
				gv.Routes = append(gv.Routes, a.routeView(r, language, v.L))
			}
		}
		if len(gv.Routes) > 0 {
			v.Groups = append(v.Groups, gv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.document.Components.Schemas)) {
		v.Schemas = append(v.Schemas, schemaOf(name, a.document.Components.Schemas[name]))
	}
	for _, r := range refusals {
		v.Codes = append(v.Codes, codeView{string(r.Code), r.Status, r.About.in(language)})
	}
	return v
}

func (a *API) routeView(r Route, language string, l map[string]string) routeView {
	rv := routeView{ID: r.ID, Method: r.Method, Path: r.Path, Title: r.Title.in(language), About: r.About.in(language), Who: l["who."+r.Who]}
	for _, in := range r.Inputs {
		rv.Inputs = append(rv.Inputs, inputView{in.Name, l[in.In], in.About.in(language), in.Required})
	}
	op := (*a.document.Paths[r.Path])[strings.ToLower(r.Method)]
	for _, answer := range r.Answers {
		av := answerView{Status: answer.Status, About: []string{answer.About.in(language)}, Mimes: answer.Mimes}
		for _, h := range answer.Headers {
			av.HeaderNames = append(av.HeaderNames, h.Name)
		}
		for _, m := range op.Responses[strconv.Itoa(answer.Status)].Content {
			av.Schema = component(m.Schema)
		}
		rv.Answers = append(rv.Answers, av)
	}
	for _, c := range r.Refuses {
		rf, _ := refusalOf(c) // the document was made of them
		text := string(c) + ": " + rf.About.in(language)
		if i := slices.IndexFunc(rv.Answers, func(a answerView) bool { return a.Status == rf.Status }); i >= 0 {
			rv.Answers[i].About = append(rv.Answers[i].About, text)
			continue
		}
		rv.Answers = append(rv.Answers, answerView{Status: rf.Status, About: []string{text}, Mimes: []string{problemMime}, Schema: "Problem"})
	}
	slices.SortStableFunc(rv.Answers, func(a, b answerView) int { return a.Status - b.Status })
	return rv
}

// component returns the name of the component that a schema refers to, "" for none.
func component(s *Schema) string { return strings.TrimPrefix(s.Ref, "#/components/schemas/") }

func schemaOf(name string, s *Schema) schemaView {
	v := schemaView{Name: name}
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[field]
		v.Fields = append(v.Fields, fieldView{
			Name: field, Type: typeOf(p), Schema: inner(p), About: p.Description, Required: slices.Contains(s.Required, field),
		})
	}
	return v
}

// inner finds the component inside lists and maps.
func inner(s *Schema) string {
	switch {
	case s.Items != nil:
		return inner(s.Items)
	case s.Additional != nil:
		return inner(s.Additional)
	}
	return component(s)
}

// typeOf writes a schema in a few words.
func typeOf(s *Schema) string {
	switch {
	case s.Ref != "":
		return component(s)
	case s.Items != nil:
		return typeOf(s.Items) + "[]"
	case s.Additional != nil:
		return "{" + typeOf(s.Additional) + "}"
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, " | ")
	case s.Format != "":
		return s.Format
	case s.Pattern != "":
		return s.Type + " " + s.Pattern
	case s.Type == "":
		return "any"
	}
	return s.Type
}
