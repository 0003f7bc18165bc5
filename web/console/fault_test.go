package console

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/incident"
)

// mute are files of those packages whose refusals no page can cause, with the reason.
var mute = map[string]string{
	"climb.go":     "steps come from the platform itself",
	"emergency.go": "the key for emergencies is used on the command line",
}

// refusals reads the sources of the packages whose refusals pages show: keys, with the number of arguments that the text takes.
func refusals(t *testing.T) map[string]int {
	t.Helper()
	keys := map[string]int{}
	verb := regexp.MustCompile(`%[.0-9]*[a-z]`)
	literal := func(e ast.Expr) string {
		text := ""
		ast.Inspect(e, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				s, _ := strconv.Unquote(l.Value)
				text += s
			}
			return true
		})
		return text
	}
	take := func(where token.Position, key, format string) {
		n := len(verb.FindAllString(format, -1))
		if before, ok := keys[key]; ok && before != n {
			t.Errorf("%s: %s takes %d arguments here, %d elsewhere", where, key, n, before)
		}
		keys[key] = n
	}
	files := token.NewFileSet()
	for _, dir := range []string{"../../door", "../../incident", "../../node", "."} {
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("no sources in %s: %v", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(filepath.Base(name), "texts_") {
				continue
			}
			f, err := parser.ParseFile(files, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if kv, ok := n.(*ast.KeyValueExpr); ok {
					if k, ok := kv.Key.(*ast.Ident); ok && k.Name == "Key" && dir != "../../node" && dir != "." {
						if key := literal(kv.Value); key != "" {
							take(files.Position(n.Pos()), key, "")
						}
					}
				}
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				called := ""
				switch f := call.Fun.(type) {
				case *ast.Ident:
					called = f.Name
				case *ast.SelectorExpr:
					called = f.Sel.Name
				}
				switch at := files.Position(call.Pos()); {
				case called == "RefuseAs" && len(call.Args) >= 3 && literal(call.Args[1]) != "":
					take(at, literal(call.Args[1]), literal(call.Args[2]))
				case called == "dated" || called == "refuse" && dir == "../../incident":
					if key := literal(call.Args[0]); !strings.HasSuffix(key, "-") {
						take(at, key, literal(call.Args[1]))
					}
				case called == "needs" && len(call.Args) == 3:
					take(at, "entry.needs-"+literal(call.Args[1]), "%s")
				case called == "Refuse" && (dir == "../../door" || dir == "../../incident") && mute[filepath.Base(name)] == "":
					t.Errorf("%s: a page can show this refusal, and it has no key", at)
				}
				return true
			})
		}
	}
	return keys
}

func TestEveryRefusalHasWordsInBothLanguages(t *testing.T) {
	keys := refusals(t)
	if len(keys) < 70 {
		t.Errorf("only %d refusals were found", len(keys))
	}
	for tag, texts := range catalogue() {
		for key, n := range keys {
			if text, ok := texts["fault."+key]; !ok || strings.Count(text, "%s") != n {
				t.Errorf("%s: fault.%s is %q and takes %d arguments", tag, key, text, n)
			}
		}
	}
	for key := range germanFaults() {
		if k, ok := strings.CutPrefix(key, "fault."); ok && k != "internal" {
			if _, used := keys[k]; !used {
				t.Errorf("nothing refuses with %s", k)
			}
		}
	}
	for key, text := range englishFaults() {
		if german := germanFaults()[key]; german == text && !strings.HasPrefix(key, "part.") {
			t.Errorf("%s is the same in both languages: %q", key, text)
		}
	}
}

func refusal(code querschott.Code, key string, args ...any) error {
	return &querschott.Error{Code: code, Key: key, Args: args}
}

func TestFaultIsSaidInTheLanguageOfThePage(t *testing.T) {
	h := newHouse(t, 1, querschott.EAU)
	de, en := h.console.locales["de"], h.console.locales["en"]
	at := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	eau := h.c(0, querschott.EAU)
	for want, err := range map[string]error{
		"Die Tür ist schon geschlossen. Es ist nichts zu tun.":                                                                                     door.Legal(querschott.Closed, querschott.Closed),
		"Grund: mehr als 400 Bytes. Fassen Sie sich kürzer.":                                                                                       refusal(querschott.CodeInvalid, "order.word-long", door.Part("reason"), 400),
		"Ein Eintrag der Art „Entscheidung“ braucht einen Text.":                                                                                   refusal(querschott.CodeInvalid, "entry.needs-text", incident.Decision),
		"Die Rolle Leitung hat bert. Sie wird übergeben, nicht vergeben.":                                                                          refusal(querschott.CodeConflict, "case.role-taken", incident.Lead, querschott.Actor("bert")),
		"Die Anordnung ist älter als 60 min. Ordnen Sie neu an.":                                                                                   refusal(querschott.CodeConflict, "order.old", time.Hour),
		"Zwei Personen haben die Tür bis 24.11.2026 02:00:00 UTC geöffnet; auch diese Anordnung muss dann enden. Geben Sie eine kürzere Dauer an.": refusal(querschott.CodeInvalid, "order.until", at),
		"Die Abteilung " + string(eau.Insurer) + " eAU gibt es auf diesem Knoten nicht. Laden Sie die Übersicht neu.":                              fmt.Errorf("wrapped: %w", refusal(querschott.CodeNotFound, "door.unknown", eau)),
		de.T("error.conflict"): querschott.Refuse(querschott.CodeConflict, "words that no page knows"),
		de.T("fault.internal"): errors.New("disk on fire"),
	} {
		if got := de.Fault(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if en.Fault(err) == want {
			t.Errorf("the English page says %q", want)
		}
	}
	if got := de.Technical(errors.New("disk on fire")); got != "disk on fire" {
		t.Errorf("the details are %q", got)
	}
	long := strings.Repeat("ä", 4000)
	if got := de.Fault(refusal(querschott.CodeNotFound, "case.unknown", long)); len(got) > 300 {
		t.Errorf("what somebody typed comes back with %d bytes", len(got))
	}
}

// TestRefusalsOnPages looks at what operators get to see: in German no word of English, in either language what to do.
func TestRefusalsOnPages(t *testing.T) {
	r := newRoom(t, 2)
	c := r.attack("x")
	anna := r.operator("anna")
	eau := r.c(0, querschott.EAU)
	stale := r.order(eau, "hold", "x")
	r.move(eau, querschott.Closed, "x")
	r.move(r.c(1, querschott.EAU), querschott.Closed, "x")
	for language, want := range map[string]map[string]string{
		"de": {
			"reason": "Nennen Sie einen Grund", "moved": "hat sich inzwischen bewegt", "same": "Die Tür ist schon geschlossen", "bulk": "Nennen Sie einen Grund",
			"hours": "ganze Zahl von Stunden, von 1 bis 720", "case": "Lesen Sie die neuen Einträge", "no case": "Den Vorfall VF-2026-0999 gibt es nicht", "person": "Nehmen Sie sie heraus",
			"held": "Unter diesem Namen ist niemand mehr gesperrt", "proposal": "Diesen Vorschlag gibt es nicht mehr",
		},
		"en": {
			"reason": "Give a reason", "moved": "has moved meanwhile", "same": "The door is closed already", "bulk": "Give a reason",
			"hours": "whole number of hours, from 1 to 720", "case": "Read the new entries", "no case": "There is no incident VF-2026-0999", "person": "Take it out",
			"held": "Nobody is held under that name any more", "proposal": "This proposal is no longer there",
		},
	} {
		anna.post("/language", url.Values{"language": {language}, "back": {"/"}})
		hours := r.order(r.c(1, querschott.Letter), "hold", "x")
		hours.Set("hours", "0.5")
		got := map[string]response{
			"reason":   anna.post(doorPath(eau), r.order(eau, "hold", "")),
			"moved":    anna.post(doorPath(eau), maps.Clone(stale)),
			"same":     anna.post(doorPath(eau), r.order(eau, "closed", "x")),
			"bulk":     anna.post("/doors", url.Values{"to": {"hold"}, "door": {eau.String() + "@2"}}),
			"hours":    anna.post(doorPath(r.c(1, querschott.Letter)), hours),
			"case":     anna.post("/incidents/"+c.Ref, url.Values{"kind": {"decision"}, "version": {"1"}, "text": {"x"}, "why": {"x"}}),
			"no case":  anna.get("/incidents/VF-2026-0999"),
			"person":   anna.post("/incidents/"+c.Ref, url.Values{"kind": {"fact"}, "version": {fmt.Sprint(c.Version)}, "text": {"A123456780"}}),
			"held":     anna.post("/release", url.Values{"id": {"P-OTHER"}, "reason": {"x"}}),
			"proposal": anna.post("/proposals", url.Values{"id": {eau.String() + "@9-0"}, "do": {"approve"}}),
		}
		for name, p := range got {
			if p.status < 400 || !strings.Contains(p.body, want[name]) {
				t.Errorf("%s, %s: status %d, and no %q in\n%s", language, name, p.status, want[name], p.body)
			}
			if language == "de" && strings.Contains(p.body, `class="detail" lang="en"`) {
				t.Errorf("%s is said in English", name)
			}
		}
	}
}
