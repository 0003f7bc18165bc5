package desk

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/service"
)

const reason = `"reason":"case:VG-2026-0815"`

func code(err error) querschott.Code {
	if err == nil {
		return ""
	}
	return querschott.CodeOf(err)
}

func TestSearchRequests(t *testing.T) {
	for body, want := range map[string]querschott.Code{
		`{` + reason + `,"family":"Müller","born":"1980-03-01"}`:                   "",
		`{` + reason + `,"family":"Müller","born":"1980-03-01","given":"Anna"}`:    "",
		`{"family":"Müller","born":"1980-03-01"}`:                                  querschott.CodeInvalid, // no reason
		`{"reason":"","family":"Müller","born":"1980-03-01"}`:                      querschott.CodeInvalid,
		`{"reason":"because","family":"Müller","born":"1980-03-01"}`:               querschott.CodeInvalid,
		`{"reason":"case:ab","family":"Müller","born":"1980-03-01"}`:               querschott.CodeInvalid,
		`{"reason":"case:it was asked","family":"Müller","born":"1980-03-01"}`:     querschott.CodeInvalid,
		`{"reason":"case:X110592983","family":"Müller","born":"1980-03-01"}`:       querschott.CodeInvalid, // a number of a person
		`{"reason":"case:no/x110592983/1","family":"Müller","born":"1980-03-01"}`:  querschott.CodeInvalid,
		`{"reason":"case:a\nb","family":"Müller","born":"1980-03-01"}`:             querschott.CodeInvalid,
		`{"reason":"vip:VG-2026-0815","family":"Müller","born":"1980-03-01"}`:      querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller"}`:                                       querschott.CodeInvalid,
		`{` + reason + `,"born":"1980-03-01"}`:                                     querschott.CodeInvalid,
		`{` + reason + `,"family":"*","born":"1980-03-01"}`:                        querschott.CodeInvalid,
		`{` + reason + `,"family":"M%","born":"1980-03-01"}`:                       querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-03-01","given":"A?"}`:      querschott.CodeInvalid,
		`{` + reason + `,"family":" - ","born":"1980-03-01"}`:                      querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-02-31"}`:                   querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"19*"}`:                          querschott.CodeInvalid,
		`{` + reason + `,"family":["Müller","Meier"],"born":"1980-03-01"}`:         querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-03-01","limit":1000}`:      querschott.CodeInvalid, // nothing that is not described
		`{` + reason + `,"family":"Müller","born":"1980-03-01"}{"family":"Meier"}`: querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-03-01"}]`:                  querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-03-01"}}x`:                 querschott.CodeInvalid,
		`[]`: querschott.CodeInvalid, ``: querschott.CodeInvalid, `null`: querschott.CodeInvalid,
		`{` + reason + `,"family":"` + strings.Repeat("x", 201) + `","born":"1980-03-01"}`:      querschott.CodeInvalid,
		`{` + reason + `,"family":"Müller","born":"1980-03-01"}` + strings.Repeat(" ", MaxBody): querschott.CodeTooLarge,
	} {
		if _, err := parse[SearchRequest]([]byte(body)); code(err) != want {
			t.Errorf("%.120s: %v, want %q", body, err, want)
		}
	}
}

func TestPersonRequests(t *testing.T) {
	for body, want := range map[string]querschott.Code{
		`{` + reason + `,"person":"X110592983"}`:          "",
		`{"person":"X110592983"}`:                         querschott.CodeInvalid,
		`{` + reason + `,"person":"X110592984"}`:          querschott.CodeInvalid, // check digit
		`{` + reason + `,"person":"x110592983"}`:          querschott.CodeInvalid,
		`{` + reason + `,"person":""}`:                    querschott.CodeInvalid,
		`{` + reason + `,"person":"X110592983 "}`:         querschott.CodeInvalid,
		`{` + reason + `,"person":["X110592983"]}`:        querschott.CodeInvalid,
		`{` + reason + `,"persons":["X110592983"]}`:       querschott.CodeInvalid,
		`{` + reason + `,"person":"X110592983","all":1}`:  querschott.CodeInvalid,
		`{` + reason + `,"person":"X110592983\u0000X11"}`: querschott.CodeInvalid,
	} {
		_, err := parse[PersonRequest]([]byte(body))
		if code(err) != want {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "1059298") {
			t.Errorf("%s: the error names the person: %v", body, err)
		}
	}
	for note, want := range map[string]querschott.Code{
		"0000000000000017": "", "17": querschott.CodeInvalid, "../master/109500969": querschott.CodeInvalid, "000000000000001g": querschott.CodeInvalid,
		"": querschott.CodeInvalid, "+000000000000017": querschott.CodeInvalid, "0x00000000000017": querschott.CodeInvalid,
	} {
		body, _ := json.Marshal(map[string]string{"reason": "case:VG-1", "person": "X110592983", "note": note})
		if _, err := parse[NoteRequest](body); code(err) != want {
			t.Errorf("note %q: %v, want %q", note, err, want)
		}
	}
}

// Nothing that is asked for stands in an address.
func TestOnlyTheBodyCounts(t *testing.T) {
	good := `{` + reason + `,"person":"X110592983"}`
	for what, change := range map[string]func(*service.Request){
		"path":  func(r *service.Request) { r.Path = "X110592983" },
		"query": func(r *service.Request) { r.Query = url.Values{"person": {"X110592983"}} },
		"get":   func(r *service.Request) { r.Method = http.MethodGet },
		"form":  func(r *service.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"none":  func(r *service.Request) { r.Header.Del("Content-Type") },
	} {
		r := &service.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: strings.NewReader(good)}
		if what == "path" {
			if _, err := read[PersonRequest](r); err != nil {
				t.Errorf("a good request: %v", err)
			}
			r.Body = strings.NewReader(good)
		}
		change(r)
		if _, err := read[PersonRequest](r); err == nil {
			t.Errorf("%s: it was read", what)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{` + reason + `,"family":"Müller","born":"1980-03-01"}`))
	f.Add([]byte(`{` + reason + `,"person":"X110592983","note":"0000000000000017"}`))
	f.Add([]byte(`{"reason":"case:X110592983","person":"X110592983"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(r Reason, err error) {
			if err != nil {
				if code(err) == querschott.CodeInternal {
					t.Errorf("not a refusal: %v", err)
				}
				return
			}
			if !reasonForm.MatchString(string(r)) || numberForm.MatchString(string(r)) {
				t.Errorf("the reason %q was taken", r)
			}
		}
		if q, err := parse[SearchRequest](body); q == nil || q.check() == nil || err != nil {
			var r Reason
			if q != nil {
				r = q.Reason
			}
			check(r, err)
		}
		if q, err := parse[PersonRequest](body); err == nil {
			check(q.Reason, nil)
			if _, err := querschott.ParseKVNR(q.Person.Reveal()); err != nil {
				t.Errorf("a wrong number was taken: %v", err)
			}
		} else {
			check("", err)
		}
		if q, err := parse[NoteRequest](body); err == nil {
			if _, err := q.seq(); err != nil {
				t.Error(err)
			}
		}
	})
}
