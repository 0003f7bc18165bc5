package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/service"
)

func serveOperations(t testing.TB, checks ...Check) http.Handler {
	t.Helper()
	a, err := New(Config{
		Version: "v1.2.3", Groups: Groups(), Routes: everything(), Health: NewHealth(time.Now, checks...),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "querschott_build_info 1\n")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.Operations()
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestAnswersAreDescribed asks every route of every node and looks the answer up in the document.
func TestAnswersAreDescribed(t *testing.T) {
	document := newAPI(t).Document()
	ill := Check{Name: "journal", Live: true, Probe: func() string { return "no-room" }}
	for name, h := range map[string]http.Handler{"well": serveOperations(t), "ill": serveOperations(t, ill)} {
		for _, r := range Own() {
			w := get(h, r.Path)
			again := get(h, r.Path, "If-None-Match", w.Header().Get("ETag"))
			for _, w := range []*httptest.ResponseRecorder{w, again} {
				described := (*document.Paths[r.Path])["get"].Responses[strconv.Itoa(w.Code)]
				if described == nil {
					t.Errorf("%s: %s answers %d, which is not described", name, r.Path, w.Code)
					continue
				}
				mime, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
				if _, ok := described.Content[mime]; !ok && (mime != "" || len(described.Content) > 0) {
					t.Errorf("%s: %s answers %d as %q, which is not described", name, r.Path, w.Code, mime)
				}
				for h := range described.Headers {
					if w.Header().Get(h) == "" {
						t.Errorf("%s: %s answers %d without %s", name, r.Path, w.Code, h)
					}
				}
			}
		}
	}
}

func TestDescriptionIsServed(t *testing.T) {
	h := serveOperations(t)
	w := get(h, PathDocument)
	for _, f := range faults(w.Body.Bytes()) {
		t.Error(f)
	}
	for _, path := range Paths() {
		w := get(h, path)
		if w.Code != 200 || w.Header().Get("Content-Security-Policy") != "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" ||
			w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if w := get(h, path, "If-None-Match", `"other", W/`+w.Header().Get("ETag")); w.Code != 304 || w.Body.Len() != 0 {
			t.Errorf("%s, known: %d with %d bytes", path, w.Code, w.Body.Len())
		}
		if w := get(h, path, "If-None-Match", `"other"`); w.Code != 200 {
			t.Errorf("%s, changed: %d", path, w.Code)
		}
		r := httptest.NewRequest("POST", path, nil)
		post := httptest.NewRecorder()
		if h.ServeHTTP(post, r); post.Code != 405 {
			t.Errorf("%s: posting is answered %d", path, post.Code)
		}
	}
}

func TestPageSpeaksBothLanguages(t *testing.T) {
	h := serveOperations(t)
	for _, tc := range []struct{ target, accept, want string }{
		{"/api", "", "de"},
		{"/api", "en-GB,en;q=0.9,de;q=0.5", "en"},
		{"/api", "de;q=0.5,en;q=0.4", "de"},
		{"/api", "fr", "de"},
		{"/api", "en;q=x,de;q=0.1", "de"},
		{"/api", "en;q=NaN", "de"},
		{"/api?lang=en", "de", "en"},
		{"/api?lang=de", "en", "de"},
		{"/api?lang=fr", "en", "en"},
	} {
		w := get(h, tc.target, "Accept-Language", tc.accept)
		if got := w.Header().Get("Content-Language"); got != tc.want || !strings.Contains(w.Body.String(), `<html lang="`+tc.want+`">`) {
			t.Errorf("%s for %q: %s", tc.target, tc.accept, got)
		}
		if chosen := strings.Contains(tc.target, "lang=de") || strings.Contains(tc.target, "lang=en"); chosen == (w.Header().Get("Vary") != "") {
			t.Errorf("%s: Vary is %q", tc.target, w.Header().Get("Vary"))
		}
	}
}

func TestPageSaysEverythingAndNeedsNothing(t *testing.T) {
	h := serveOperations(t)
	for _, language := range []string{"de", "en"} {
		page := get(h, "/api?lang="+language).Body.String()
		for _, r := range everything() {
			if !strings.Contains(page, "<code>"+r.Method+" "+r.Path+"</code>") || !strings.Contains(page, r.Title.in(language)) {
				t.Errorf("%s: the page lacks %s %s", language, r.Method, r.Path)
			}
		}
		for _, r := range refusals {
			if !strings.Contains(page, "<code>"+string(r.Code)+"</code>") {
				t.Errorf("%s: the page lacks code %s", language, r.Code)
			}
		}
		for _, never := range []string{"<script", "<style", " style=", "javascript:", " onclick", "http://", "https://", "<img", "[]</a>", "&lt;no value"} {
			if strings.Contains(page, never) {
				t.Errorf("%s: the page has %q", language, never)
			}
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			if ids[m[1]] {
				t.Errorf("%s: id %s is there twice", language, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`(?:href="#|aria-labelledby=")([^"]+)"`).FindAllStringSubmatch(page, -1) {
			if !ids[m[1]] {
				t.Errorf("%s: %s leads nowhere", language, m[1])
			}
		}
		for _, tag := range []string{"table", "section", "article", "tr", "td", "th", "ul", "div", "main", "a", "code", "p"} {
			open, closed := len(regexp.MustCompile(`<`+tag+`[ >]`).FindAllString(page, -1)), strings.Count(page, "</"+tag+">")
			if open != closed || open == 0 {
				t.Errorf("%s: %d <%s> and %d ends", language, open, tag, closed)
			}
		}
	}
}

func TestTextsOfThePage(t *testing.T) {
	de, en := labels("de"), labels("en")
	for key := range de {
		if de[key] == "" || en[key] == "" {
			t.Errorf("text %q is missing", key)
		}
	}
	template, err := files.ReadFile("templates/page.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\.L\.([a-z]+)`).FindAllStringSubmatch(string(template), -1) {
		if de[m[1]] == "" {
			t.Errorf("the page wants text %q", m[1])
		}
	}
}

func TestDescriptionBehindTheGate(t *testing.T) {
	a := newAPI(t)
	ask := func(method, path string, query url.Values, header http.Header) (*service.Answer, error) {
		return a.Answer(t.Context(), &service.Request{Method: method, Path: path, Query: query, Header: header})
	}
	for _, path := range Paths() {
		answer, err := ask("GET", path, nil, http.Header{})
		if err != nil || answer.Status != 200 || len(answer.Body) == 0 || answer.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %+v, %v", path, answer, err)
			continue
		}
		again, err := ask("HEAD", path, nil, http.Header{"If-None-Match": {answer.Header.Get("ETag")}})
		if err != nil || again.Status != 304 || len(again.Body) != 0 {
			t.Errorf("%s, known: %+v, %v", path, again, err)
		}
	}
	answer, err := ask("GET", PathPage, url.Values{"lang": {"en"}}, http.Header{})
	if err != nil || answer.Header.Get("Content-Language") != "en" {
		t.Errorf("%v, %v", answer.Header, err)
	}
	if _, err := ask("GET", "/api/../code.go", nil, http.Header{}); querschott.CodeOf(err) != querschott.CodeNotFound {
		t.Errorf("another path: %v", err)
	}
	if _, err := ask("DELETE", PathPage, nil, http.Header{}); querschott.CodeOf(err) != querschott.CodeMethod {
		t.Errorf("another method: %v", err)
	}
}

func TestHealth(t *testing.T) {
	var journal, ledger atomic.Pointer[string]
	say := func(p *atomic.Pointer[string], s string) { p.Store(&s) }
	say(&journal, "")
	say(&ledger, "")
	synctest.Test(t, func(t *testing.T) {
		h := serveOperations(t,
			Check{Name: "journal", Probe: func() string { return *journal.Load() }},
			Check{Name: "ledger", Live: true, Probe: func() string { return *ledger.Load() }})
		look := func(path string, status int, want ...Reason) {
			t.Helper()
			<-time.After(lookEvery)
			w := get(h, path)
			var r Report
			if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if w.Code != status || !slices.Equal(r.Reasons, want) || (w.Header().Get("Retry-After") != "") != (status == 503) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		look(PathHealth, 200)
		look(PathLive, 200)
		say(&journal, "no-room")
		look(PathHealth, 503, Reason{"journal", "no-room"})
		look(PathLive, 200, Reason{"journal", "no-room"})
		say(&ledger, "cannot-write")
		look(PathHealth, 503, Reason{"journal", "no-room"}, Reason{"ledger", "cannot-write"})
		look(PathLive, 503, Reason{"journal", "no-room"}, Reason{"ledger", "cannot-write"})
		say(&journal, "open /data/secret: no such file, X123456780")
		say(&ledger, strings.Repeat("a", maxWhy+1))
		look(PathHealth, 503, Reason{"journal", "internal"}, Reason{"ledger", "internal"})
		say(&journal, "")
		say(&ledger, "")
		look(PathHealth, 200)
	})
}

func TestHealthLooksOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks int
		h := NewHealth(time.Now, Check{Name: "journal", Probe: func() string { looks++; return "" }})
		for range 100 {
			h.Look()
		}
		if looks != 1 {
			t.Errorf("%d looks within a second", looks)
		}
		<-time.After(lookEvery)
		if h.Look(); looks != 2 {
			t.Errorf("%d looks after a second", looks)
		}
	})
}

func TestACheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hang atomic.Bool
		h := NewHealth(time.Now, Check{Name: "journal", Probe: func() string {
			if hang.Load() {
				<-release
			}
			return ""
		}})
		done := make(chan struct{})
		hold := func() {
			hang.Store(true)
			go func() { h.Look(); close(done) }()
			synctest.Wait()
		}
		hold()
		if r := h.Look(); r.Ready || !r.Live || r.Reasons[0].Why != "not-known-yet" {
			t.Errorf("before the first look ends: %+v", r)
		}
		hang.Store(false)
		close(release)
		<-done
		if r := h.Look(); !r.Ready || !r.Live {
			t.Errorf("after it: %+v", r)
		}
		release, done = make(chan struct{}), make(chan struct{})
		<-time.After(lookEvery)
		hold()
		if r := h.Look(); !r.Ready {
			t.Errorf("a look that takes a moment: %+v", r)
		}
		<-time.After(stuck)
		if r := h.Look(); r.Ready || !r.Live || r.Reasons[0] != (Reason{"health", "a-check-hangs"}) {
			t.Errorf("after ten seconds: %+v", r)
		}
		<-time.After(dead)
		if r := h.Look(); r.Ready || r.Live {
			t.Errorf("after a minute more: %+v", r)
		}
		close(release)
		<-done
		if r := h.Look(); !r.Ready || !r.Live {
			t.Errorf("when it goes on: %+v", r)
		}
	})
}

func TestOperationsWithoutMetrics(t *testing.T) {
	a := newAPI(t)
	if w := get(a.Operations(), PathMetrics); w.Code != 404 {
		t.Errorf("metrics that are not there: %d", w.Code)
	}
	if w := get(serveOperations(t), PathMetrics); w.Code != 200 || !strings.Contains(w.Body.String(), "querschott_build_info") {
		t.Errorf("metrics: %d %s", w.Code, w.Body)
	}
}

func TestNewRefusesARouteThatSaysTooLittle(t *testing.T) {
	r := Own()[0]
	r.About = Text{}
	if _, err := New(Config{Groups: Groups(), Routes: []Route{r}}); err == nil || errors.Is(err, io.EOF) {
		t.Error("no error")
	}
}

func FuzzLanguageAndTags(f *testing.F) {
	f.Add("de;q=0.5, en", `"a", W/"b"`)
	f.Add("en;q=1e309", "*")
	f.Fuzz(func(t *testing.T, language, tags string) {
		if got := preferred(language); got != "de" && got != "en" {
			t.Errorf("%q wants %q", language, got)
		}
		if matches([]string{tags}, `"0123456789"`) && !strings.Contains(tags, `"0123456789"`) && !strings.Contains(tags, "*") {
			t.Errorf("%q matches", tags)
		}
	})
}
