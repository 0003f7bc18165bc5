package console

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/querschott/querschott"
)

// pathOf fills in a route's pattern.
var pathOf = strings.NewReplacer("{ik}", string(ik(1)), "{service}", "desk", "{ref}", "VF-2026-0001", "{token}", "none", "{hash}", "0", "{name}", "console.css", "{$}", "")

// drillTexts are what an exercise is called in each language, in the page and in its title.
var drillTexts = map[string][2]string{
	"de": {`class="mode"><span>ÜBUNG`, "<title>ÜBUNG · "}, "en": {`class="mode"><span>EXERCISE`, "<title>EXERCISE · "},
}

// unmarked says what an answer of a node in drill mode lacks.
func unmarked(r response, language string) string {
	switch mark := drillTexts[language]; {
	case r.header.Get(ModeHeader) != "drill":
		return "the header"
	case !strings.HasPrefix(r.header.Get("Content-Type"), "text/html"):
		return ""
	case !strings.Contains(r.body, mark[0]):
		return "the line above the page"
	case !strings.Contains(r.body, mark[1]):
		return "the title"
	}
	return ""
}

// TestEveryPageOfADrillSaysSo walks all routes, by GET and by POST, as a stranger and as an operator, in both languages.
func TestEveryPageOfADrillSaysSo(t *testing.T) {
	r := newRoomWith(t, 1, func(cfg *Config) { cfg.Mode = ModeDrill })
	r.attack("Auffälliger Abruf")
	for language := range drillTexts {
		pages := map[string]int{}
		for _, route := range r.console.routes() {
			method, pattern, found := strings.Cut(route.pattern, " ")
			if !found {
				method, pattern = http.MethodGet, "/nothing"
			}
			for who, b := range map[string]*browser{"a stranger": r.browser(), "an operator": r.operator("anna")} {
				b.post("/language", url.Values{"language": {language}, "back": {"/login"}})
				path := pathOf.Replace(pattern)
				if strings.ContainsAny(path, "{}") {
					t.Fatalf("this test does not know how to fill in %s", pattern)
				}
				req := b.request(method, path, nil)
				if method == http.MethodPost {
					req = b.form(path, url.Values{})
				}
				ctx, cancel := context.WithCancel(req.Context())
				got := answer(t, b, req.WithContext(ctx), pattern == "/events")
				cancel()
				if what := unmarked(got, language); what != "" {
					t.Errorf("%s %s, %s, %s: %s is missing\n%s", method, path, who, language, what, got.body)
				}
				if strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
					pages[who]++
				}
			}
		}
		if pages["a stranger"] < 20 || pages["an operator"] < 20 {
			t.Errorf("only %v pages were looked at", pages)
		}
	}
	foreign := r.browser().request(http.MethodGet, "/", nil)
	foreign.Host = "elsewhere.example"
	if got := r.browser().do(foreign); got.status != http.StatusMisdirectedRequest || unmarked(got, "de") != "" {
		t.Errorf("under a foreign name: %d, %q is missing", got.status, unmarked(got, "de"))
	}
}

// answer reads an answer, of a stream only its head.
func answer(t *testing.T, b *browser, req *http.Request, stream bool) response {
	t.Helper()
	if !stream {
		return b.do(req)
	}
	got, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	return response{got.StatusCode, got.Header, ""}
}

// TestPagesOfModesSayWhich covers the pages that the walk does not come to, and the modes that are none.
func TestPagesOfModesSayWhich(t *testing.T) {
	drill := newHouseWith(t, 3, all, func(_ *house, cfg *Config) { cfg.Mode = ModeDrill })
	for name, page := range everyPage(t, drill, "en") {
		if name != "nobody" && unmarked(page, "en") != "" {
			t.Errorf("%s: %s is missing", name, unmarked(page, "en"))
		}
	}
	real := newHouse(t, 1, querschott.EAU)
	if got := real.browser().get("/login"); got.header.Get(ModeHeader) != "" || strings.Contains(got.body, `class="mode"`) {
		t.Error("the login page of the real thing is marked")
	}
}

// TestBrokenPageIsMarked takes the templates away: what is left says in both languages what it is.
func TestBrokenPageIsMarked(t *testing.T) {
	h := newHouseWith(t, 1, []querschott.Service{querschott.EAU}, func(_ *house, cfg *Config) { cfg.Mode = ModeDrill })
	h.console.templates = template.New("empty")
	got := h.browser().get("/login")
	for _, want := range []string{"ÜBUNG", "EXERCISE", "Interner Fehler", "Internal error", "login"} {
		if got.status != http.StatusInternalServerError || !strings.Contains(got.body, want) {
			t.Errorf("status %d without %q:\n%s", got.status, want, got.body)
		}
	}
}
