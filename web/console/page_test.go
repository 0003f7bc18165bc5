package console

import (
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/local"
)

// headers are those of every answer; pages have them all.
var headers = map[string]string{
	"Content-Security-Policy":    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'",
	"X-Content-Type-Options":     "nosniff",
	"Referrer-Policy":            "no-referrer",
	"Cross-Origin-Opener-Policy": "same-origin",
	"X-Frame-Options":            "DENY",
	"Cache-Control":              "no-store",
}

// everyPage renders each kind of page once, in one language, with a door in every state and words that try to be HTML.
func everyPage(t *testing.T, h *house, language string) map[string]response {
	t.Helper()
	anna, bert := h.operator("anna"), h.operator("bert")
	for _, b := range []*browser{anna, bert} {
		if r := b.post("/language", map[string][]string{"language": {language}, "back": {"/proposals"}}); r.status != http.StatusOK {
			t.Fatalf("choosing a language: %d", r.status)
		}
	}
	eau, vsdm := h.c(0, querschott.EAU), h.c(1, querschott.VSDM)
	pages := map[string]response{
		"result narrow":  anna.post(doorPath(eau), h.order(eau, "closed", nasty)),
		"result propose": anna.post(doorPath(eau), h.order(eau, "open", nasty)),
		"result failed":  anna.post(doorPath(eau), h.order(eau, "closed", nasty)),
		"hold":           anna.post(doorPath(vsdm), h.order(vsdm, "hold", nasty)),
		"form again":     anna.post(doorPath(eau), h.order(eau, "hold", "")),
		"matrix":         anna.get("/"),
		"matrix empty":   anna.get("/?q=%3Cscript%3Enobody&only=1&sort=name"),
		"mark":           anna.get("/?mark=1"),
		"door mine":      anna.get(doorPath(eau)),
		"door":           bert.get(doorPath(eau) + "?to=closed"),
		"door open":      bert.get(doorPath(h.c(2, querschott.Letter))),
		"proposals mine": anna.get("/proposals"),
		"proposals":      bert.get("/proposals"),
		"bulk":           anna.get("/doors?to=open&s=eau&s=vsdm"),
		"bulk again":     anna.post("/doors", map[string][]string{"to": {"hold"}, "door": {h.c(2, querschott.EAU).String() + "@1"}, "reason": {""}}),
		"nothing":        anna.get("/doors?to=open"),
		"not found":      anna.get("/nothing<script>"),
		"foreign":        anna.post("/logout", map[string][]string{"csrf": {"x"}}),
		"link":           anna.post("/login/used", nil),
		"login":          anna.get("/login/" + `"><script>`),
		"withdrawn":      bert.post("/proposals", map[string][]string{"id": {h.book.Proposals()[0].ID}, "do": {"withdraw"}}),
		"nobody":         h.browser().get("/"),
		"login form":     anna.get("/login"),
		"login wrong":    anna.post("/login", map[string][]string{"name": {nasty}, "password": {nasty}, "code": {nasty}, "next": {"/" + nasty}}),
		"invitation":     anna.get("/invitation"),
		"not invited":    anna.post("/invitation", map[string][]string{"token": {nasty}}),
	}
	token := h.invite(local.Account{Name: "carla", Role: querschott.RoleOperator})
	pages["enrolment"] = anna.post("/invitation", map[string][]string{"token": {token}})
	second := map[string][]string{"token": {token}, "password": {password}, "again": {nasty}, "secret": {secretField.FindStringSubmatch(pages["enrolment"].body)[1]}}
	pages["enrolment wrong"] = anna.post("/invitation", second)
	second["again"], second["code"] = second["password"], []string{h.authenticator(second["secret"][0])}
	pages["recovery codes"] = anna.post("/invitation", second)
	h.say(func(s *Snapshot) {
		s.Journal, s.RoomHours, s.Totals.Lost, s.Totals.Rejected = nasty, 2, 1, 1
		s.Compartments = map[querschott.Compartment]Compartment{h.c(2, querschott.Letter): {Waiting: 3, Oldest: h.clk.now(), Trouble: nasty}}
	})
	pages["trouble"] = anna.get("/")
	pages["door trouble"] = anna.get(doorPath(h.c(2, querschott.Letter)))
	pages["logout"] = anna.post("/logout", nil)
	return pages
}

const nasty = `<script>alert(1)</script> "quoted' & </td>`

func TestEveryPage(t *testing.T) {
	for _, language := range []string{"de", "en"} {
		h := newHouse(t, 3, all...)
		for name, r := range everyPage(t, h, language) {
			name = language + ", " + name
			for key, want := range headers {
				if got := r.header.Get(key); got != want {
					t.Errorf("%s: %s: %q, want %q", name, key, got, want)
				}
			}
			if got := r.header.Get("Content-Type"); got != "text/html; charset=utf-8" {
				t.Errorf("%s: Content-Type %q", name, got)
			}
			if strings.Contains(r.body, "alert(1)</script") || strings.Contains(r.body, "[") && regexp.MustCompile(`\[[a-z.-]+\]`).MatchString(r.body) {
				t.Errorf("%s: a text is missing, or HTML came through:\n%s", name, r.body)
			}
			if name != language+", nobody" && !strings.Contains(r.body, `<html lang="`+language+`">`) {
				t.Errorf("%s: the page is in another language", name)
			}
			for _, fault := range faults(r.body) {
				t.Errorf("%s: %s", name, fault)
			}
		}
	}
}

// ownAddress is an address on this console, or the one that an authenticator app opens.
var ownAddress = regexp.MustCompile(`^(/([^/]|$)|#|otpauth://totp/)`)

var secretText = regexp.MustCompile(`<code class="secret">[A-Za-z2-7 -]+</code>`)

// faults parses a page and returns what must not be in it: inline script or style, references elsewhere, an id twice.
func faults(page string) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	ids, script := map[string]bool{}, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			return append(list, err.Error())
		}
		switch x := token.(type) {
		case xml.CharData:
			if script && strings.TrimSpace(string(x)) != "" {
				say("a script stands in the page")
			}
		case xml.EndElement:
			script = false
		case xml.StartElement:
			script = x.Name.Local == "script"
			if slices.Contains([]string{"style", "base", "iframe", "object"}, x.Name.Local) || x.Name.Local == "meta" && hasAttr(x, "http-equiv") {
				say("<%s> stands in the page", x.Name.Local)
			}
			for _, a := range x.Attr {
				switch key := a.Name.Local; {
				case key == "style" || strings.HasPrefix(key, "on"):
					say("<%s %s=%q>", x.Name.Local, key, a.Value)
				case (key == "src" || key == "href" || key == "action") && !ownAddress.MatchString(a.Value):
					say("%s=%q leads elsewhere", key, a.Value)
				case key == "id" && ids[a.Value]:
					say("id %q stands twice", a.Value)
				case key == "id":
					ids[a.Value] = true
				}
			}
		}
	}
}

func hasAttr(x xml.StartElement, name string) bool {
	return slices.ContainsFunc(x.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
}

func TestFaultsAreFound(t *testing.T) {
	for _, page := range []string{
		`<p style="color:red">x</p>`, `<a href="https://evil.example">x</a>`, `<a href="//evil.example">x</a>`, `<b id="x"></b><b id="x"></b>`,
		`<script>x</script>`, `<style>x</style>`, `<img onerror="x">`, `<meta http-equiv="refresh" content="1">`,
	} {
		if len(faults(page)) == 0 {
			t.Errorf("nothing was found in %s", page)
		}
	}
}

func TestAssets(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	for name, a := range h.console.assets {
		r := h.browser().get(a.url)
		if r.status != http.StatusOK || r.header.Get("Content-Security-Policy") != policy || !strings.Contains(r.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, r.status, r.header)
		}
		if got := r.header.Get("Content-Type"); !regexp.MustCompile(`^(text/(css|javascript)|image/svg)`).MatchString(got) {
			t.Errorf("%s: Content-Type %q", name, got)
		}
		if regexp.MustCompile(`url\(|@import|//[a-z]+\.`).MatchString(strings.ReplaceAll(r.body, `xmlns="http://www.w3.org/2000/svg"`, "")) {
			t.Errorf("%s refers to something else", name)
		}
	}
}

func TestLanguagesHaveTheSameTexts(t *testing.T) {
	de, en := german(), english()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(de)), slices.Sorted(maps.Keys(en))); diff != "" {
		t.Errorf("keys differ (-de +en):\n%s", diff)
	}
	verb := regexp.MustCompile(`%[a-z]`)
	for key := range de {
		if diff := cmp.Diff(verb.FindAllString(de[key], -1), verb.FindAllString(en[key], -1)); diff != "" {
			t.Errorf("%s takes different arguments (-de +en):\n%s", key, diff)
		}
		if strings.TrimSpace(de[key]) == "" || strings.TrimSpace(en[key]) == "" {
			t.Errorf("%s is empty", key)
		}
	}
}

// usedKeys returns the keys that templates and code name, and the beginnings of those that they put together.
func usedKeys(t *testing.T) (whole, prefix map[string]bool) {
	t.Helper()
	whole, prefix = map[string]bool{}, map[string]bool{}
	add := func(text string) {
		for _, m := range regexp.MustCompile(`"([a-z][a-z.-]*)"`).FindAllStringSubmatch(text, -1) {
			whole[m[1]] = true
			if strings.HasSuffix(m[1], ".") {
				prefix[m[1]] = true
			}
		}
	}
	templates, err := filepath.Glob("templates/*.html")
	if err != nil || len(templates) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, name := range templates {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range regexp.MustCompile(`(?s)\{\{.*?\}\}`).FindAllString(string(text), -1) {
			add(action)
		}
	}
	sources, _ := filepath.Glob("*.go")
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "texts_") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					add(`"` + s + `"`)
				}
			}
			return true
		})
	}
	return whole, prefix
}

func TestEveryTextIsUsed(t *testing.T) {
	whole, prefix := usedKeys(t)
	for key := range german() {
		stem := regexp.MustCompile(`\.(one|many|title)$`).ReplaceAllString(key, "")
		used := whole[key] || whole[stem]
		for p := range prefix {
			used = used || strings.HasPrefix(key, p)
		}
		if !used {
			t.Errorf("nothing uses the text %s", key)
		}
	}
}

// TestTemplatesHoldNoText draws every page with all texts taken away. What can still be read there is the insurers', the
// operators' or the book's; anything else would be in one language only.
func TestTemplatesHoldNoText(t *testing.T) {
	h := newHouse(t, 3, all...)
	verbs := regexp.MustCompile(`%[a-z]`)
	bare := map[string]string{}
	for key, text := range german() {
		if bare[key] = strings.Join(verbs.FindAllString(text, -1), " "); strings.HasPrefix(key, "time.") {
			bare[key] = "15:04"
		}
	}
	h.console.locales["de"].texts = bare
	known := " Querschott test English anna bert carla UTC Beginn des Betriebs " + nasty + " "
	for _, i := range h.insurers {
		known += i.Name + " "
	}
	for name, r := range everyPage(t, h, "de") {
		for _, word := range readable(t, secretText.ReplaceAllString(r.body, "")) {
			if !strings.Contains(known, word) {
				t.Errorf("%s: %q stands in no table of texts", name, word)
			}
		}
	}
	if got := readable(t, `<p>one <b lang="en">two <i>three</i> four</b> 5 <img alt="six"><input value="seven"></p>`); !slices.Equal(got, []string{"one", "six"}) {
		t.Errorf("this test reads %q", got)
	}
}

var wordForm = regexp.MustCompile(`\pL[\pL\pM]+`)

// readable returns the words of a page that a person reads, outside of passages marked as English.
func readable(t *testing.T, page string) (words []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	take := func(text string) {
		words = append(words, wordForm.FindAllString(text, -1)...)
	}
	foreign := 0 // depth within a passage in English
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := token.(type) {
		case xml.CharData:
			if foreign == 0 {
				take(string(x))
			}
		case xml.EndElement:
			foreign = max(0, foreign-1)
		case xml.StartElement:
			if foreign > 0 || slices.ContainsFunc(x.Attr, func(a xml.Attr) bool { return a.Name.Local == "lang" && a.Value == "en" }) {
				foreign++
				continue
			}
			for _, a := range x.Attr {
				if slices.Contains([]string{"alt", "title", "placeholder", "aria-label", "data-live", "data-stale", "data-bye", "data-ends", "data-one", "data-many", "data-none"}, a.Name.Local) {
					take(a.Value)
				}
			}
		}
	}
}

func TestLanguageOfARequest(t *testing.T) {
	for field, want := range map[string]string{
		"": "de", "en": "en", "en-GB,de;q=0.5": "en", "de-AT,en;q=0.9": "de", "fr,en;q=0.4,de;q=0.3": "en", "fr": "de",
		"en;q=0,de;q=0.1": "de", "en;q=nan": "de", "EN-us": "en", "en;q=2": "de",
	} {
		if got := preferred(field); got != want {
			t.Errorf("%q: %s, want %s", field, got, want)
		}
	}
	h := newHouse(t, 1, querschott.EAU)
	b := h.operator("anna")
	r := b.request("GET", "/", nil)
	r.Header.Set("Accept-Language", "en")
	if page := b.do(r).body; !strings.Contains(page, `<html lang="en">`) || !strings.Contains(page, "Abnormal first") {
		t.Error("the browser's language does not count")
	}
	if page := b.post("/language", map[string][]string{"language": {"en"}, "back": {"/proposals"}}).body; !strings.Contains(page, "Nothing is waiting.") {
		t.Errorf("the switch does not return to where it was:\n%s", page)
	}
	if page := b.post("/language", map[string][]string{"language": {"xx"}, "back": {"//evil.example/"}}).body; !strings.Contains(page, `<html lang="en">`) {
		t.Error("an unknown language changed something")
	}
}

func FuzzAcceptLanguage(f *testing.F) {
	f.Add("de-DE,de;q=0.9,en;q=0.8")
	f.Add(";;q=;,,=")
	f.Fuzz(func(t *testing.T, s string) {
		if got := preferred(s); got != "de" && got != "en" {
			t.Fatalf("%q: %q", s, got)
		}
	})
}
