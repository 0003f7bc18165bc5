package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/scope"
)

// room adds a book of incidents to a house. released collects what was let in again.
type room struct {
	*house
	book     *incident.Book
	released []string
}

func newRoom(t *testing.T, insurers int) *room {
	t.Helper()
	return newRoomWith(t, insurers, func(*Config) {})
}

func newRoomWith(t *testing.T, insurers int, more func(*Config)) *room {
	t.Helper()
	r := &room{}
	r.house = newHouseWith(t, insurers, all, func(h *house, cfg *Config) {
		var err error
		r.book, err = incident.OpenBook(incident.Config{
			FS: crashdisk.New(), Dir: "incidents", Now: h.clk.now, Record: func(context.Context, incident.Recorded) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Cases = &Cases{Book: r.book, Name: func(string) string { return "P-7K2MQ3RA" }, Release: r.release}
		more(cfg)
	})
	return r
}

func (r *room) release(_ context.Context, who querschott.Actor, id, reason string) error {
	if id != "P-HELD" {
		return querschott.RefuseAs(querschott.CodeNotFound, "held.gone", "nobody is held under that name any more")
	}
	r.released = append(r.released, fmt.Sprint(who, " ", reason))
	return nil
}

// attack is a case in the middle, with everything that a page can show.
func (r *room) attack(text string) *incident.Case {
	r.t.Helper()
	at := r.clk.now()
	src := incident.Source{
		Actor: "erika.mustermann", Credential: "session-of-erika", Insurer: r.insurers[0].IK, Service: querschott.Desk, Cause: "cap-minute", Detector: "D1", Exact: true,
		Severity: "high", Numbers: []incident.Number{{Name: "persons", Value: 21, Unit: "persons/min"}, {Name: "limit", Value: 20, Unit: "persons/min"}}, First: at, Last: at, Events: 21,
	}
	c, err := r.book.Begin(r.t.Context(), incident.Entry{Kind: incident.Fact, By: "querschott", Text: text, Alarm: &src, Happened: at})
	for _, e := range []incident.Entry{
		{Kind: incident.RoleGiven, By: "anna", Role: incident.Lead, Person: "anna"},
		{Kind: incident.Assumption, By: "anna", Text: text, Happened: at.Add(-50 * time.Hour), Learned: at.Add(-time.Hour)},
		{Kind: incident.Question, By: "anna", Text: text},
		{Kind: incident.Decision, By: "anna", Text: text, Why: text},
		{Kind: incident.Finding, By: "anna", Evidence: &incident.Evidence{
			Grade: scope.GradeReached, Insurer: r.insurers[0].IK, Source: "scope", Coverage: 1,
			Logs: []scope.Head{{Origin: "k/ledger/1/2026", Size: 9, Root: "q83v"}}, Bounds: &scope.Bounds{Lower: 20, Best: 20, Upper: 21},
		}},
		{Kind: incident.Correction, By: "bert", Supersedes: 4, As: incident.Fact, Text: text, Why: text},
		{Kind: incident.Handover, By: "anna", Role: incident.Lead, Person: "bert"},
		{Kind: incident.Request, By: "bert", Wish: incident.Close, Why: text},
		{
			Kind: incident.Action, By: "querschott", Text: text, Why: text,
			TextDE: text + " ", WhyDE: text + " ",
		},
	} {
		if err != nil {
			r.t.Fatal(err)
		}
		c, err = r.book.Append(r.t.Context(), c.Ref, c.Version, e)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	shadow := src
	shadow.Actor, shadow.Exact, shadow.Severity, shadow.Detector, shadow.Cause = "P-4F", false, "medium", "R2", "reasons-sum"
	src.Actor = "P-7K2MQ3RA"
	r.say(func(s *Snapshot) {
		s.Warnings = []Warning{{Time: at.Add(-time.Hour), Source: shadow, Over: true, Folded: 3}, {Time: at, Source: src, Live: true, Case: c.Ref}}
		s.Held = []Held{{ID: "P-HELD", What: "session", Who: "P-7K2MQ3RA", Since: at, Until: at.Add(4 * time.Hour), Reason: text, Case: c.Ref, By: []querschott.Actor{"querschott"}}}
		s.Explained = []Explained{{r.c(0, querschott.Desk), 4020, 3655}, {r.c(len(r.insurers)-1, querschott.Desk), 10, 10}}
	})
	return c
}

func (r *room) pages(b *browser, ref string) map[string]response {
	return map[string]response{
		"matrix": b.get("/"), "warnings": b.get("/warnings"), "incidents": b.get("/incidents"), "room": b.get("/incidents/" + ref),
		"no room": b.get("/incidents/VF-2026-0999"), "refused": b.post("/incidents/"+ref, url.Values{"kind": {"decision"}, "version": {"9"}, "text": {nasty}}),
	}
}

func TestIncidentPages(t *testing.T) {
	for _, language := range []string{"de", "en"} {
		r := newRoom(t, 3)
		quiet := r.operator("bert").get("/")
		if strings.Contains(quiet.body, `class="chain"`) {
			t.Error("the matrix is not quiet when nothing has happened")
		}
		c := r.attack(nasty)
		b := r.operator("bert")
		b.post("/language", url.Values{"language": {language}, "back": {"/"}})
		for name, p := range r.pages(b, c.Ref) {
			for key, want := range headers {
				if p.header.Get(key) != want {
					t.Errorf("%s: %s: %q", name, key, p.header.Get(key))
				}
			}
			if strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, "erika") || strings.Contains(p.body, "[incident.") || strings.Contains(p.body, "[room.") {
				t.Errorf("%s, %s: HTML, a name or a missing text came through:\n%s", language, name, p.body)
			}
			for _, fault := range faults(p.body) {
				t.Errorf("%s, %s: %s", language, name, fault)
			}
		}
	}
}

// TestChainCountsOne says what there is one of as one says it.
func TestChainCountsOne(t *testing.T) {
	r := newRoom(t, 1)
	c, err := r.book.Begin(t.Context(), incident.Entry{Kind: incident.Fact, By: "anna", Text: "x"})
	if err == nil {
		_, err = r.book.Append(t.Context(), c.Ref, c.Version, incident.Entry{Kind: incident.Finding, By: "anna", Evidence: &incident.Evidence{
			Grade: scope.GradeReached, Insurer: r.insurers[0].IK, Source: "scope", Coverage: 1,
			Logs: []scope.Head{{Origin: "k/ledger/1/2026", Size: 9, Root: "q83v"}}, Bounds: &scope.Bounds{Lower: 1, Best: 1, Upper: 1},
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
	b := r.operator("bert")
	for language, wants := range map[string][]string{
		"de": {"<b>1</b> Person erreicht", "<b>1</b> Vorfall offen", "<b>0</b> Türen nicht offen", "<b>0</b> Frühwarnungen"},
		"en": {"<b>1</b> person reached", "<b>1</b> incident open", "<b>0</b> doors not open", "<b>0</b> early warnings"},
	} {
		b.post("/language", url.Values{"language": {language}, "back": {"/"}})
		page := b.get("/").body
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the chain does not say %q:\n%.2000s", language, want, page[strings.Index(page, `class="chain"`):])
			}
		}
	}
}

func TestIncidentPagesHoldNoText(t *testing.T) {
	r := newRoom(t, 3)
	c := r.attack(nasty)
	b := r.operator("bert")
	l := r.console.locales["de"]
	bare := map[string]string{}
	for key, text := range l.texts {
		bare[key] = strings.Repeat("%s ", strings.Count(text, "%s"))
		if strings.HasPrefix(key, "time.") {
			bare[key] = "15:04"
		}
	}
	l.texts = bare
	known := " Querschott test English Deutsch anna bert carla querschott UTC Personen min Grenze VF MB " + nasty + " "
	for _, i := range r.insurers {
		known += i.Name + " "
	}
	for name, p := range r.pages(b, c.Ref) {
		for _, word := range readable(t, p.body) {
			if !strings.Contains(known, word) && name != "matrix" {
				t.Errorf("%s: %q stands in no table of texts", name, word)
			}
		}
	}
}

func TestRoomIsWrittenByForm(t *testing.T) {
	r := newRoom(t, 2)
	anna, bert := r.operator("anna"), r.operator("bert")
	if p := anna.post("/incidents", url.Values{"kind": {"fact"}, "text": {"Anruf der Kasse"}}); p.status != http.StatusOK || !strings.Contains(p.body, "VF-2026-0001") {
		t.Fatalf("opening: %d\n%s", p.status, p.body)
	}
	const path = "/incidents/VF-2026-0001"
	form := func(kind string, version int, more ...string) url.Values {
		f := url.Values{"kind": {kind}, "version": {fmt.Sprint(version)}}
		for pair := range slices.Chunk(more, 2) {
			f.Set(pair[0], pair[1])
		}
		return f
	}
	for _, x := range []struct {
		who  *browser
		form url.Values
		want int
	}{
		{anna, form("fact", 1, "text", "Gerät gefunden", "happened", "2026-11-23T09:00", "learned", "2026-11-23T11:30"), 200},
		{anna, form("fact", 1, "text", "aus einem alten Fenster"), 409},
		{anna, form("fact", 2, "text", "x", "happened", "2026-11-24T09:00"), 400},
		{anna, form("fact", 2, "text", "x", "learned", "2027-01-01T09:00"), 400},
		{anna, form("fact", 2, "text", "x", "learned", "tomorrow"), 400},
		{anna, form("fact", 2, "text", "Keine Daten betroffen"), 400},
		{anna, form("fact", 2, "text", "betrifft A123456780"), 400},
		{anna, form("decision", 2, "text", "ohne Grund"), 400},
		{anna, form("evidence", 2, "text", "x"), 400},
		{anna, form("correction", 2, "text", "x"), 400},
		{anna, form("request", 2, "wish", "close", "why", "geklärt"), 200},
		{anna, form("approval", 3, "answers", "3"), 403},
		{bert, form("approval", 3, "answers", "9"), 400},
		{bert, form("approval", 3, "answers", "3", "csrf", "forged"), 403},
		{bert, form("approval", 3, "answers", "3"), 200},
		{anna, form("fact", 4, "text", "danach"), 409},
	} {
		if p := x.who.post(path, x.form); p.status != x.want {
			t.Errorf("%v: %d, want %d\n%s", x.form, p.status, x.want, p.body)
		}
	}
	if c, err := r.book.Case("VF-2026-0001"); err != nil || c.Status != incident.Closed || c.Version != 4 {
		t.Errorf("the case is %+v, %v", c, err)
	}
}

func TestReleaseIsForOperatorsOnly(t *testing.T) {
	r := newRoom(t, 1)
	r.attack("x")
	anna := r.operator("anna")
	good := func() url.Values { return url.Values{"id": {"P-HELD"}, "reason": {"Irrtum"}} }
	foreign := anna.form("/release", good())
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	foreign.Header.Set("Origin", "https://evil.example")
	forged := good()
	forged.Set("csrf", "x")
	for name, status := range map[string]int{
		"foreign page":   anna.do(foreign).status,
		"forged token":   anna.post("/release", forged).status,
		"not logged in":  r.browser().post("/release", good()).status,
		"by GET":         anna.get("/release?id=P-HELD&reason=x").status,
		"without reason": anna.post("/release", url.Values{"id": {"P-HELD"}}).status,
		"nobody":         anna.post("/release", url.Values{"id": {"P-OTHER"}, "reason": {"x"}}).status,
	} {
		if status < 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if len(r.released) != 0 {
		t.Fatalf("released: %v", r.released)
	}
	if p := anna.post("/release", good()); p.status != http.StatusOK || !slices.Equal(r.released, []string{"anna Irrtum"}) {
		t.Errorf("%d, released %v", p.status, r.released)
	}
}

// TestIncidentPagesInBrowser looks with axe in both languages, light, dark and narrow; QUERSCHOTT_SHOTS keeps the pictures.
func TestIncidentPagesInBrowser(t *testing.T) {
	r := newRoom(t, 12)
	c := r.attack("Auffälliger Abruf am Arbeitsplatz der Kasse")
	ctx := tab(t, newChromium(t))
	source := axe(t)
	r.loginInBrowser(t, ctx, "bert")
	for _, language := range []string{"de", "en"} {
		if language == "en" {
			do(t, ctx, chromedp.Navigate(r.server.URL+"/"), chromedp.Click(chromedp.CSS("button[value=en]")))
			until(t, ctx, `document.documentElement.lang === "en"`)
		}
		for name, path := range map[string]string{"chain": "/", "warnings": "/warnings", "incidents": "/incidents", "room": "/incidents/" + c.Ref} {
			for scheme, width := range map[string]int64{"light": 1280, "dark": 320} {
				setScheme(t, ctx, scheme)
				do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(r.server.URL+path))
				until(t, ctx, `!document.getElementById("live").hidden`)
				if wide := run(t, ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); int64(wide) > width {
					t.Errorf("%s: %d pixels wide on a screen of %d", name, wide, width)
				}
				for _, v := range violations(t, ctx, source) {
					t.Errorf("%s %s %s %d: %s (%s): %s\n%s", name, language, scheme, width, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
				}
				if os.Getenv("QUERSCHOTT_SHOTS") != "" {
					shoot(t, ctx, fmt.Sprintf("%s-%s-%d-%s", name, language, width, scheme))
				}
			}
		}
	}
	r.say(func(s *Snapshot) { s.Warnings = append(slices.Clone(s.Warnings), s.Warnings[1]) })
	do(t, ctx, chromedp.Navigate(r.server.URL+"/warnings"))
	until(t, ctx, `document.querySelectorAll("#warned li").length === 3`)
	r.say(func(s *Snapshot) { s.Warnings = append(slices.Clone(s.Warnings), s.Warnings[1]) })
	until(t, ctx, `document.querySelectorAll("#warned li").length === 4`) // by itself
}

// TestLiveAlarmsStayInSight floods the page with alarms on trial.
func TestLiveAlarmsStayInSight(t *testing.T) {
	r := newRoom(t, 2)
	r.attack("x")
	r.say(func(s *Snapshot) {
		live := s.Warnings[1]
		for range 2 * shownWarnings {
			s.Warnings = append(slices.Clip(s.Warnings), Warning{Time: r.clk.now(), Source: s.Warnings[0].Source})
		}
		if !live.Live {
			t.Fatal("this test takes another alarm for the live one")
		}
	})
	page := r.operator("anna").get("/warnings").body
	first, _, _ := strings.Cut(page[strings.Index(page, `<ul class="warned">`):], "</li>")
	if !strings.Contains(first, "scharf") || strings.Count(page, ">Probe<") != shownWarnings-1 {
		t.Errorf("the first alarm is not the live one, or the wrong number is on trial:\n%s", first)
	}
}
