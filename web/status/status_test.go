package status

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
)

var evening = time.Date(2023, 4, 24, 20, 0, 0, 0, time.UTC)

func newKey(t *testing.T) (note.Signer, note.Verifier) {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, "status.querschott.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// night is a state with one insurer of each kind: shut, opening in stages and open again, not affected.
func night(asOf time.Time) *State {
	since := At(asOf.Add(-time.Hour))
	return &State{
		Format: Format, Platform: "querschott.example", AsOf: At(asOf), NextUpdateAt: At(asOf.Add(2 * time.Minute)),
		Insurers: []Insurer{
			{IK: "109500969", Name: "Musterkasse <script>alert(1)</script>", NotAffected: []querschott.Service{querschott.EPA}, Doors: []Door{
				{Service: querschott.EAU, Door: querschott.Hold, Cause: Attack, Since: &since, Incident: "VF-2023-0424"},
				{Service: querschott.VSDM, Door: querschott.Closed, Cause: Maintenance, Since: &since},
				{Service: querschott.Desk, Door: querschott.ReadOnly, Cause: Precaution},
			}},
			{IK: querschott.IKFromNumber(withDigit(10950001)), Name: "Beispielkasse", NotAffected: []querschott.Service{querschott.EAU}, Doors: []Door{
				{Service: querschott.EAU, Door: querschott.Open, Cause: Disturbance, Since: &since, AllClear: true},
				{Service: querschott.VSDM, Door: querschott.Open, Cause: Attack, Since: &since, Share: 10},
			}},
			{IK: querschott.IKFromNumber(withDigit(10950002)), Name: "Ruhige Kasse", NotAffected: []querschott.Service{querschott.EAU, querschott.VSDM}, Doors: []Door{}},
		},
	}
}

// calm is a state in which nothing was ever shut.
func calm(asOf time.Time) *State {
	s := night(asOf)
	s.Insurers = s.Insurers[2:]
	return s
}

func withDigit(first uint32) uint32 {
	eight := fmt.Sprintf("%08d", first)
	return first*10 + uint32(querschott.IKCheckDigit(eight)-'0')
}

func sign(t *testing.T, s *State, key note.Signer) []byte {
	t.Helper()
	file, err := Sign(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSignAndOpen(t *testing.T) {
	key, public := newKey(t)
	want := night(evening)
	got, text, err := Open(sign(t, want, key), public)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read back otherwise (-want +got):\n%s", d)
	}
	if !bytes.Contains(text, []byte(`"asOf": "2023-04-24T20:00:00.000Z"`)) {
		t.Errorf("times are not written with milliseconds: %s", text)
	}
}

func TestHostileFilesAreRefused(t *testing.T) {
	key, public := newKey(t)
	other, _ := newKey(t)
	good := sign(t, night(evening), key)
	signed := func(text string) []byte {
		file, err := note.Sign(&note.Note{Text: text + "\n"}, key)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	changed := func(change func(*State)) []byte {
		s := night(evening)
		change(s)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return signed(string(text))
	}
	for name, file := range map[string][]byte{
		"nothing": nil, "no signature": []byte("{}\n"), "another's key of the same name": sign(t, night(evening), other),
		"one byte changed": bytes.Replace(good, []byte("attack"), []byte("attacK"), 1), "cut off": good[:len(good)/2],
		"too large": append(bytes.Repeat([]byte(" "), maxFile), good...), "no JSON": signed("hello"), "a list": signed("[]"), "empty": signed("{}"),
		"another format":       changed(func(s *State) { s.Format = "querschott-status/9" }),
		"no platform":          changed(func(s *State) { s.Platform = "" }),
		"never out of date":    changed(func(s *State) { s.NextUpdateAt = At(evening.AddDate(1, 0, 0)) }),
		"out of date at once":  changed(func(s *State) { s.NextUpdateAt = s.AsOf }),
		"unknown exercise":     changed(func(s *State) { s.Exercise = "x" }),
		"no such insurer":      changed(func(s *State) { s.Insurers[0].IK = "109500960" }),
		"insurer twice":        changed(func(s *State) { s.Insurers[1].IK = s.Insurers[0].IK }),
		"no name":              changed(func(s *State) { s.Insurers[0].Name = "" }),
		"turned name":          changed(func(s *State) { s.Insurers[0].Name = "A\u202eB" }),
		"unknown service":      changed(func(s *State) { s.Insurers[0].Doors[0].Service = "x" }),
		"unknown cause":        changed(func(s *State) { s.Insurers[0].Doors[0].Cause = "hackers" }),
		"sentence as incident": changed(func(s *State) { s.Insurers[0].Doors[0].Incident = "Frau Muster" }),
		"door twice":           changed(func(s *State) { s.Insurers[0].Doors[1].Service = querschott.EAU }),
		"shut and clear":       changed(func(s *State) { s.Insurers[0].Doors[0].AllClear = true }),
		"open and not clear":   changed(func(s *State) { s.Insurers[1].Doors[0].AllClear = false }),
		"shut, not affected":   changed(func(s *State) { s.Insurers[0].NotAffected[0] = querschott.EAU }),
	} {
		if _, _, err := Open(file, public); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	bad := night(evening)
	bad.Insurers[0].Name = "a\nb"
	if _, err := Sign(bad, key); err == nil {
		t.Error("a state that nobody may see was signed")
	}
}

func FuzzOpen(f *testing.F) {
	secret, public, err := note.GenerateKey(rand.Reader, "status.test")
	if err != nil {
		f.Fatal(err)
	}
	key, err := note.NewSigner(secret)
	if err != nil {
		f.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(night(evening))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, text string) { // what the holder of the key may write never ends a page
		file, err := note.Sign(&note.Note{Text: text + "\n"}, key)
		if err != nil {
			return
		}
		s, raw, err := Open(file, v)
		if err != nil {
			return
		}
		if _, err := prepare(s, raw, file, v.Name()); err != nil {
			t.Errorf("taken, and not shown: %v", err)
		}
	})
}

// site is a page over a directory, with a clock.
type site struct {
	t    *testing.T
	dir  string
	now  time.Time
	page *Page
}

func newSite(t *testing.T, public note.Verifier) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), now: evening}
	var err error
	if s.page, err = NewPage(s.dir, public, func() time.Time { return s.now }, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) put(file []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, NoteName), file, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) get(path string) (code int, body string) {
	w := httptest.NewRecorder()
	s.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.String()
}

func TestPageKeepsTheLastGoodState(t *testing.T) {
	key, public := newKey(t)
	other, _ := newKey(t)
	s := newSite(t, public)
	if err := s.page.Look(); err == nil {
		t.Error("an empty directory is no fault")
	}
	for path, want := range map[string]int{"/": 503, "/en.html": 503, "/status.json": 503, "/nowhere": 503} {
		if code, body := s.get(path); code != want || strings.Contains(body, english.calm) || strings.Contains(body, german.calm) {
			t.Errorf("without a state %s answers %d: %s", path, code, body)
		}
	}
	first := sign(t, calm(evening), key)
	s.put(first)
	if err := s.page.Look(); err != nil {
		t.Fatal(err)
	}
	if code, body := s.get("/"); code != 200 || !strings.Contains(body, german.calm) {
		t.Fatalf("the first state: %d %s", code, body)
	}
	second := sign(t, night(evening.Add(time.Second)), key)
	s.put(second)
	if err := s.page.Look(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"the first one again": first, "nothing": {}, "another key's": sign(t, calm(evening.Add(time.Minute)), other), "a part": second[:100],
		"one of the future": sign(t, calm(evening.Add(time.Hour)), key),
	} {
		s.put(file)
		if err := s.page.Look(); err == nil {
			t.Errorf("%s is no fault", name)
		}
		if _, body := s.get("/status.note"); body != string(second) {
			t.Errorf("after %s the page shows %s", name, body)
		}
	}
	if err := os.Remove(filepath.Join(s.dir, NoteName)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, NoteName), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.page.Look(); err == nil {
		t.Error("a pipe is no fault")
	}
	if code, body := s.get("/en.html"); code != 200 || !strings.Contains(body, "Services of 2 of the 3 health insurers") {
		t.Errorf("the last good state is not shown: %d", code)
	}
}

func TestPageSaysThatItIsOutOfDate(t *testing.T) {
	key, public := newKey(t)
	s := newSite(t, public)
	s.put(sign(t, calm(evening), key))
	if err := s.page.Look(); err != nil {
		t.Fatal(err)
	}
	if _, body := s.get("/"); strings.Contains(body, "veraltet") || !strings.Contains(body, `class="calm"`) {
		t.Errorf("a fresh state: %s", body)
	}
	s.now = evening.Add(2*time.Minute + time.Millisecond)
	for path, want := range map[string]string{"/": "Dieser Stand ist veraltet.", "/en.html": "This state is out of date."} {
		_, body := s.get(path)
		if !strings.Contains(body, want) || !strings.Contains(body, `role="alert"`) || strings.Contains(body, `class="calm"`) {
			t.Errorf("%s does not say %q: %s", path, want, body)
		}
	}
	s.put(sign(t, calm(s.now), key))
	if err := s.page.Look(); err != nil {
		t.Fatal(err)
	}
	if _, body := s.get("/"); strings.Contains(body, "veraltet") {
		t.Error("a new state is out of date")
	}
}

func TestPageShowsWhatItMustAndNoMore(t *testing.T) {
	key, public := newKey(t)
	s := newSite(t, public)
	s.put(sign(t, night(evening), key))
	if err := s.page.Look(); err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		"/":        {`lang="de"`, `id="109500969-eau"`, "angehalten", "Angriff", "VF-2023-0424", "Nicht betroffen:", "Entwarnung", "24.04.2023, 21:00:00 Uhr", "bisher für 10 % der Anfragen", "teils offen", "Ruhige Kasse", "nicht noch einmal senden"},
		"/en.html": {`lang="en"`, `id="109500969-eau"`, "on hold", "attack", "All clear", "24 April 2023, 21:00:00 CEST", "so far for 10 % of requests", "read only"},
	} {
		_, body := s.get(path)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s holds what an insurer is called as markup", path)
		}
	}
	w := httptest.NewRecorder()
	s.page.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", http.NoBody))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %d", w.Code)
	}
	if code, _ := s.get("/../etc/passwd"); code != 404 {
		t.Errorf("another path answers %d", code)
	}
}

// A consumer that knows gematik's description alone reads outage in each member of appStatus, and every value of a cause.
func TestLage(t *testing.T) {
	data, err := Lage(night(evening))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		AppStatus map[string]struct {
			Outage                     string
			HasMaintenance             bool
			HasSubComponentMaintenance bool
			AffectedFunctions          []struct {
				Function, ImpactDesc, Outage string
				Critical                     int
				HasMaintenance               bool
			}
		}
		Cause []map[string]string
		X     []struct {
			Insurer              struct{ IK, Name string }
			Service, Door, Cause string
			NotAffected          []string
			AsOf, NextUpdateAt   time.Time
			AllClear             bool
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	outages := map[string]string{}
	for name, a := range got.AppStatus {
		outages[name] = a.Outage
		if a.AffectedFunctions == nil {
			t.Errorf("%s has no list of functions", name)
		}
	}
	want := map[string]string{"erezept": "none", "epa": "none", "kim": "partial", "wanda": "none", "ogd": "none", "vsdm": "partial", "tianschluss": "none"}
	if d := cmp.Diff(want, outages); d != "" {
		t.Errorf("outages (-want +got):\n%s", d)
	}
	if v := got.AppStatus["vsdm"]; !v.HasMaintenance || len(v.AffectedFunctions) != 1 || v.AffectedFunctions[0].Critical != 1 {
		t.Errorf("vsdm: %+v", v)
	}
	if got.Cause == nil || len(got.X) != 5 {
		t.Fatalf("cause %v, %d doors", got.Cause, len(got.X))
	}
	if x := got.X[0]; x.Insurer.IK != "109500969" || x.Service != "eau" || x.Door != "hold" || x.Cause != "attack" || !x.AsOf.Equal(evening) || x.AllClear || len(x.NotAffected) != 1 {
		t.Errorf("x: %+v", x)
	}
	if got.X[2].Door != "readonly" || !got.X[3].AllClear {
		t.Errorf("x: %+v", got.X)
	}
	for _, f := range []string{"appStatus", "cause", "x"} {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil || members[f] == nil || len(members) != 3 {
			t.Errorf("members: %v %v", members, err)
		}
	}
	all := night(evening)
	all.Insurers = all.Insurers[:1]
	if v := applicationOf(all, applications["vsdm"]); v.Outage != outageFull {
		t.Errorf("no insurer's cards can be checked, and the outage is %q", v.Outage)
	}
	if k := applicationOf(all, applications["kim"]); k.Outage != outagePartial || k.Restrictions[0].Critical != 0 {
		t.Errorf("mail that is taken in: %+v", k)
	}
}

// TestPages compares the pages with golden files, which the browser tests of the console look at; QUERSCHOTT_UPDATE=1 writes them.
func TestPages(t *testing.T) {
	drill := night(evening)
	drill.Exercise = "drill"
	for name, tc := range map[string]struct {
		state *State
		at    moment
	}{
		"calm": {state: calm(evening)}, "restricted": {state: drill}, "stale": {state: night(evening), at: moment{stale: true}}, "file": {state: calm(evening), at: moment{static: true}}, "none": {},
	} {
		tc.at.key = "status.querschott.example"
		for _, texts := range []*texts{german, english} {
			got, err := render(tc.state, texts, tc.at)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+"."+texts.Lang+".html")
			if os.Getenv("QUERSCHOTT_UPDATE") != "" {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (-golden +got), QUERSCHOTT_UPDATE=1 writes it:\n%s", file, d)
			}
		}
	}
}

// The sentences are right for one insurer and for many, and never say that others are well where there are none.
func TestCountsOfInsurersAreSentences(t *testing.T) {
	for _, tc := range []struct {
		n, of            int
		de, en, inTILage string
	}{
		{
			1, 1, "Dienste der Krankenkasse sind eingeschränkt.", "Services of the health insurer are restricted.",
			"Bei der einzigen Krankenkasse mit diesem Dienst eingeschränkt.",
		},
		{
			1, 2, "Dienste einer von 2 Krankenkassen sind eingeschränkt.|Die Dienste der anderen Krankenkasse sind nicht betroffen.",
			"Services of one of 2 health insurers are restricted.|The services of the other insurer are not affected.",
			"Bei einer von 2 Krankenkassen eingeschränkt, bei der anderen nicht.",
		},
		{
			1, 80, "Dienste einer von 80 Krankenkassen sind eingeschränkt.|Die Dienste der übrigen 79 Krankenkassen sind nicht betroffen.",
			"Services of one of 80 health insurers are restricted.|The services of the other 79 insurers are not affected.",
			"Bei einer von 80 Krankenkassen eingeschränkt, bei den anderen nicht.",
		},
		{
			4, 80, "Dienste von 4 der 80 Krankenkassen sind eingeschränkt.|Die Dienste der übrigen 76 Krankenkassen sind nicht betroffen.",
			"Services of 4 of the 80 health insurers are restricted.|The services of the other 76 insurers are not affected.",
			"Bei 4 der 80 Krankenkassen eingeschränkt, bei den anderen nicht.",
		},
		{
			79, 80, "Dienste von 79 der 80 Krankenkassen sind eingeschränkt.|Die Dienste der anderen Krankenkasse sind nicht betroffen.",
			"Services of 79 of the 80 health insurers are restricted.|The services of the other insurer are not affected.",
			"Bei 79 der 80 Krankenkassen eingeschränkt, bei der anderen nicht.",
		},
		{
			80, 80, "Dienste aller 80 Krankenkassen sind eingeschränkt.", "Services of all 80 health insurers are restricted.",
			"Bei allen 80 Krankenkassen eingeschränkt.",
		},
	} {
		s := calm(evening)
		s.Insurers = nil
		for i := range tc.of {
			in := Insurer{IK: querschott.IKFromNumber(withDigit(10950001 + uint32(i))), Name: fmt.Sprintf("Kasse %d", i), NotAffected: []querschott.Service{querschott.VSDM}, Doors: []Door{}}
			if i < tc.n {
				in.NotAffected, in.Doors = nil, []Door{{Service: querschott.VSDM, Door: querschott.Closed, Cause: Attack}}
			}
			s.Insurers = append(s.Insurers, in)
		}
		for said, texts := range map[string]*texts{tc.de: german, tc.en: english} {
			fresh, stale := view{T: texts}, view{T: texts}
			fresh.fill(s, texts, moment{})
			stale.fill(s, texts, moment{stale: true})
			head, rest, _ := strings.Cut(said, "|")
			if fresh.Head != head || fresh.Rest != rest {
				t.Errorf("%d of %d: %q, %q; want %q", tc.n, tc.of, fresh.Head, fresh.Rest, said)
			}
			if stale.Head != texts.last+" "+head || stale.Rest != "" { // nobody knows whether the others are still well
				t.Errorf("%d of %d, out of date: %q, %q", tc.n, tc.of, stale.Head, stale.Rest)
			}
		}
		if f, _ := functionOf(s, querschott.VSDM); f.Impact != tc.inTILage {
			t.Errorf("%d of %d: %q; want %q", tc.n, tc.of, f.Impact, tc.inTILage)
		}
	}
}

func TestFilesSayUntilWhenTheyHold(t *testing.T) {
	files, err := Files(night(evening), "status.querschott.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"index.html": "Diese Datei gilt bis 24.04.2023, 22:02:00 Uhr.", "en.html": "This file holds until 24 April 2023, 22:02:00 CEST.", "status/v2/tilage": `"readonly"`,
	} {
		if !bytes.Contains(files[name], []byte(want)) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
}
