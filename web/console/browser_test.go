package console

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/wait"
)

// axe-core is fetched with npm, once per machine, and checked against the registry's digest of this version.
const (
	axeVersion   = "4.14.1"
	axeIntegrity = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

const chromium = "/usr/bin/chromium"

// missing skips the test, or fails it where nothing may be missing.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// newChromium starts a browser with a profile of its own.
func newChromium(t *testing.T) context.Context {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		missing(t, "there is no browser: %v", err)
	}
	ctx, cancel := wait.Context(t)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.WSURLReadTimeout(time.Hour), // it starts when a busy machine lets it
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("headless", true), chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("accept-lang", "de-DE,de"),
	)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	return ctx
}

// tab opens one more tab: in the browser that ctx belongs to, or in a new one.
func tab(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	do(t, ctx)
	watchConsole(t, ctx)
	return ctx
}

// watchConsole fails the test for everything that the browser complains about, a violated Content-Security-Policy first.
func watchConsole(t *testing.T, ctx context.Context) {
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			refused := strings.Contains(m.String(), "responded with a status of 4") || strings.Contains(m.String(), "status of 502") // a page that says what was wrong
			if m.IsException() || strings.Contains(m.String(), "Content Security Policy") || strings.Contains(m.String(), "error") && !refused {
				t.Errorf("the browser complains: %s", m)
			}
		}
	}()
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); <-done })
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func run[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	x, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// until waits for a JavaScript expression to be true.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	// Not by animation frames: a tab behind another one has none.
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(2*time.Second))
	_, err := chromedp.Run(ctx, poll)
	end, limited := t.Deadline()
	for err != nil && ctx.Err() == nil && (!limited || time.Until(end) > 20*time.Second) { // a page that goes takes the question with it
		_, err = chromedp.Run(ctx, poll)
	}
	if err != nil {
		html, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 1500)`))
		t.Fatalf("waiting for %s: %v\n%s", expression, err, html)
	}
}

func (h *house) loginInBrowser(t *testing.T, ctx context.Context, who querschott.Actor) {
	t.Helper()
	token, _, err := h.access.Link(who)
	if err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate(h.server.URL+"/login/"+token), chromedp.Click(chromedp.CSS("form[action^='/login'] button")))
	until(t, ctx, `document.querySelector(".who .name")?.textContent.includes("`+string(who)+`")`)
}

func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("QUERSCHOTT_SHOTS")
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// incident makes some doors abnormal in every way there is.
func (h *house) incident() {
	eau, letter, mail := querschott.EAU, querschott.Letter, querschott.Mail
	h.clk.add(3 * time.Minute)
	h.move(h.c(0, eau), querschott.Closed, "Gestohlenes Kennwort einer Sachbearbeiterin")
	h.clk.add(20 * time.Second)
	h.move(h.c(0, letter), querschott.Closed, "Gestohlenes Kennwort einer Sachbearbeiterin")
	h.move(h.c(0, mail), querschott.Hold, "Gestohlenes Kennwort einer Sachbearbeiterin")
	h.clk.add(time.Minute)
	h.move(h.c(3, eau), querschott.Hold, "Auffällige Absender, wird geprüft")
	h.move(h.c(5, letter), querschott.ReadOnly, "Wartung des Bestands")
	h.move(h.c(7, mail), querschott.Closed, "Schadsoftware in Anhängen")
	h.clk.add(4 * time.Minute)
	_, err := h.book.Set(context.Background(), requestOpen(h.c(0, letter)), h.signers["bert"])
	if err != nil {
		h.t.Fatal(err)
	}
	h.say(func(s *Snapshot) {
		s.Compartments = map[querschott.Compartment]Compartment{
			h.c(0, eau):    {Waiting: 12, Oldest: h.clk.now().Add(-9 * time.Minute)},
			h.c(3, eau):    {Waiting: 1204, Oldest: h.clk.now().Add(-6 * time.Minute)},
			h.c(0, mail):   {Waiting: 31, Oldest: h.clk.now().Add(-8 * time.Minute)},
			h.c(1, eau):    {Waiting: 2},
			h.c(4, letter): {Waiting: 77, Trouble: "cell: no space left on device"},
		}
		s.Totals.Waiting, s.Totals.Refused, s.Totals.Accepted = 1326, 341, 1_048_213
	})
}

// TestScreenshots draws what a person should look at, into the directory that QUERSCHOTT_SHOTS names.
func TestScreenshots(t *testing.T) {
	if os.Getenv("QUERSCHOTT_SHOTS") == "" {
		t.Skip("QUERSCHOTT_SHOTS names no directory")
	}
	h := newHouse(t, 80, querschott.EAU, querschott.Letter, querschott.Mail)
	h.incident()
	ctx := tab(t, newChromium(t))
	h.loginInBrowser(t, ctx, "anna")
	pages := map[string]string{
		"matrix": "/", "mark": "/?mark=1", "door": doorPath(h.c(0, querschott.Letter)) + "?to=open", "proposals": "/proposals",
		"bulk": "/doors?to=closed&s=eau", "link": "/login/x", "login": "/login", "invitation": "/invitation",
	}
	for _, scheme := range []string{"light", "dark"} {
		setScheme(t, ctx, scheme)
		for _, width := range []int64{1280, 390} {
			do(t, ctx, chromedp.EmulateViewport(width, map[int64]int64{1280: 900, 390: 844}[width]))
			for name, path := range pages {
				do(t, ctx, chromedp.Navigate(h.server.URL+path))
				if !slices.Contains([]string{"bulk", "link", "login", "invitation"}, name) {
					until(t, ctx, `!document.getElementById("live").hidden`)
				}
				shoot(t, ctx, fmt.Sprintf("%s-%d-%s", name, width, scheme))
			}
		}
	}
}

func setScheme(t *testing.T, ctx context.Context, scheme string) {
	t.Helper()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// axe returns axe-core's source.
func axe(t *testing.T) string {
	t.Helper()
	return fileOf(t, fetched(t, "axe-core", axeVersion, axeIntegrity), "package/axe.min.js")
}

// fetched returns a package of npm.
func fetched(t *testing.T, pack, version, integrity string) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "querschott")
	name := filepath.Join(dir, pack+"-"+version+".tgz")
	if _, err := os.Stat(name); err != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		fetch := exec.CommandContext(t.Context(), "npm", "pack", pack+"@"+version, "--silent", "--pack-destination", dir)
		if out, err := fetch.CombinedOutput(); err != nil {
			missing(t, "couldn't fetch %s: %v\n%s", pack, err, out)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha512.Sum512(data); base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		t.Fatalf("%s is not %s %s as published", name, pack, version)
	}
	return data
}

func fileOf(t *testing.T, tgz []byte, name string) string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(tgz))
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		head, err := tr.Next()
		if err != nil {
			t.Fatalf("looking for %s: %v", name, err)
		}
		if head.Name == name {
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}

type violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"`
}

// violations runs axe-core on the page as it is.
func violations(t *testing.T, ctx context.Context, source string) []violation {
	t.Helper()
	run(t, ctx, chromedp.Evaluate[string](source+";'ok'"))
	found := run(t, ctx, chromedp.Evaluate[string](`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
		.then((r) => JSON.stringify(r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary)}))))`,
		chromedp.EvalAwaitPromise))
	var list []violation
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// cellText is what a person reads in a cell of the matrix.
func cellText(h *house, n int, s querschott.Service) string {
	return `document.querySelector('td[data-c="` + h.c(n, s).String() + `"] .inside').innerText`
}

func TestTwoOperatorsInBrowsers(t *testing.T) {
	h := newHouse(t, 12, querschott.EAU, querschott.Letter, querschott.Mail)
	door := h.c(0, querschott.EAU)
	closer := tab(t, newChromium(t))
	h.loginInBrowser(t, closer, "anna")
	viewer := tab(t, closer) // the same browser: one session, two tabs
	do(t, viewer, chromedp.Navigate(h.server.URL+"/"))
	until(t, viewer, `!document.getElementById("live").hidden`)
	until(t, viewer, cellText(h, 0, querschott.EAU)+` === "offen"`)

	do(t, closer, chromedp.Navigate(h.server.URL+doorPath(door)), chromedp.Click(chromedp.CSS("input[value=closed]")),
		chromedp.SetValue(chromedp.CSS("#reason"), `Kennwort <b>gestohlen</b>`), chromedp.Click(chromedp.CSS(".order button")))
	until(t, closer, `document.getElementById("obeyed")?.innerText.includes("gehorchten")`)
	until(t, viewer, cellText(h, 0, querschott.EAU)+` === "geschlossen"`)
	until(t, viewer, `document.getElementById("say").textContent === "Ahorn Nordmark, eAU: geschlossen, von anna." && document.title.startsWith("(1)")`)
	until(t, viewer, `document.getElementById("aside").innerText.includes("geschlossen")`)

	// An operator who has the door's page open is told, and the form is left alone.
	second := tab(t, newChromium(t))
	h.loginInBrowser(t, second, "bert")
	do(t, second, chromedp.Navigate(h.server.URL+doorPath(door)))
	until(t, second, `!document.getElementById("live").hidden && document.getElementById("changed").hidden`)

	do(t, closer, chromedp.Navigate(h.server.URL+doorPath(door)), chromedp.Click(chromedp.CSS("input[value=open]")),
		chromedp.SetValue(chromedp.CSS("#reason"), "bereinigt"), chromedp.Click(chromedp.CSS(".order button")))
	until(t, closer, `document.querySelector("a[href='/proposals'].nowhere, .preview a[href='/proposals']") !== null`)
	until(t, second, `!document.getElementById("changed").hidden && document.getElementById("props").textContent === "1"`)
	do(t, closer, chromedp.Navigate(h.server.URL+doorPath(door)))
	until(t, closer, `document.querySelector("button[value=approve]").disabled`)

	do(t, second, chromedp.Navigate(h.server.URL+"/proposals"), chromedp.Click(chromedp.CSS("input[name=id]")), chromedp.Click(chromedp.CSS("button[value=approve]")))
	until(t, second, `document.getElementById("obeyed") !== null`)
	until(t, viewer, cellText(h, 0, querschott.EAU)+` === "offen"`)
	if o, _ := h.book.Current(door); o.To != querschott.Open || o.Actor != "anna" || o.Approver != "bert" {
		t.Errorf("in force: %+v", o)
	}
}

func TestMatrixInABrowser(t *testing.T) {
	h := newHouse(t, 12, querschott.EAU, querschott.Letter, querschott.Mail)
	h.incident()
	ctx := tab(t, newChromium(t))
	h.loginInBrowser(t, ctx, "anna")
	until(t, ctx, `!document.getElementById("live").hidden`)
	shown := `[...document.querySelectorAll("#matrix tbody tr")].filter((r) => !r.hidden).length`

	// The filter works without asking the server, and says what it hides.
	do(t, ctx, chromedp.Click(chromedp.CSS("input[name=only]")))
	until(t, ctx, shown+` === 5 && location.search === "?only=1" && document.getElementById("hidden").innerText.includes("7")`)
	h.move(h.c(11, querschott.EAU), querschott.Closed, "neu") // a row that becomes abnormal appears
	until(t, ctx, shown+` === 6`)
	h.move(h.c(11, querschott.EAU), querschott.Open, "vorbei") // none vanishes under the hand
	until(t, ctx, cellText(h, 11, querschott.EAU)+` === "offen" && `+shown+` === 6`)
	do(t, ctx, chromedp.Click(chromedp.CSS("input[name=only]")))

	// Arrow keys walk through the cells; one of them is a tab stop.
	run(t, ctx, chromedp.Evaluate[bool](`document.querySelector("td a.cell").focus(), true`))
	do(t, ctx, chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowRight))
	until(t, ctx, `document.activeElement.closest("td")?.cellIndex === 2 && document.activeElement.closest("tr").sectionRowIndex === 1 &&
		document.querySelectorAll("#matrix a.cell[tabindex='0']").length === 1`)

	// A column is marked, a cell of it taken out again; the preview names the rest.
	do(t, ctx, chromedp.Navigate(h.server.URL+"/?mark=1"))
	until(t, ctx, `document.querySelector("button[value=closed]").disabled`)
	do(t, ctx, chromedp.Click(chromedp.CSS("input[name=s][value=eau]")), chromedp.Click(chromedp.CSS(`td[data-c="`+h.c(1, querschott.EAU).String()+`"] input`)))
	until(t, ctx, `document.getElementById("marked").innerText.startsWith("11 ")`)
	do(t, ctx, chromedp.Click(chromedp.CSS("button[value=hold]")))
	until(t, ctx, `document.querySelectorAll("input[name=door]").length === 10`) // one of the eleven is on hold already
}

func TestWithoutJavaScript(t *testing.T) {
	h := newHouse(t, 6, querschott.EAU, querschott.Letter)
	ctx := tab(t, newChromium(t))
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	token, _, err := h.access.Link("anna")
	if err != nil {
		t.Fatal(err)
	}
	click := func(selector string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(selector)) }
	do(t, ctx, chromedp.Navigate(h.server.URL+"/login/"+token), click("form[action^='/login'] button"),
		click("a[href='/?mark=1']"), click("input[name=i]"), click("button[value=closed]"),
		chromedp.SetValue(chromedp.CSS("#reason"), "ohne JavaScript"), click(".order button"), click(".list a"))
	for _, s := range []querschott.Service{querschott.EAU, querschott.Letter} {
		if got := h.book.State(h.c(0, s)); got != querschott.Closed {
			t.Errorf("%s is %s", h.c(0, s), got)
		}
	}
}

func TestAccessibility(t *testing.T) {
	source := axe(t)
	h := newHouseWith(t, 20, []querschott.Service{querschott.EAU, querschott.Letter, querschott.Mail}, func(_ *house, cfg *Config) { cfg.Mode = ModeDrill })
	h.incident()
	ctx := tab(t, newChromium(t))
	h.loginInBrowser(t, ctx, "anna")
	h.say(func(s *Snapshot) { s.Journal, s.RoomHours = "a copy is missing", 3 })
	pages := []string{
		"/", "/?mark=1&q=aok", "/proposals", doorPath(h.c(0, querschott.Letter)), doorPath(h.c(4, querschott.Letter)), doorPath(h.c(0, querschott.EAU)) + "?to=open",
		"/doors?to=open&s=eau", "/doors?to=nothing", "/login/x", "/login", "/invitation",
	}
	for _, as := range []struct {
		width  int64
		scheme string
	}{{1280, "light"}, {1280, "dark"}, {390, "light"}} {
		setScheme(t, ctx, as.scheme)
		do(t, ctx, chromedp.EmulateViewport(as.width, 900))
		for _, path := range pages {
			do(t, ctx, chromedp.Navigate(h.server.URL+path))
			for _, v := range violations(t, ctx, source) {
				if v.Impact == "serious" || v.Impact == "critical" {
					t.Errorf("%s %d %s: %s (%s): %s\n%s", path, as.width, as.scheme, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
				}
			}
			if wide := run(t, ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`)); wide > 0 {
				t.Errorf("%s %d: the page is %d px wider than the screen", path, as.width, wide)
			}
		}
	}
}

// TestAxeFinds keeps the check above honest: on a page with two known faults axe must find exactly these.
func TestAxeFinds(t *testing.T) {
	source := axe(t)
	ctx := tab(t, newChromium(t))
	do(t, ctx, chromedp.Navigate(`data:text/html,<html lang="en"><title>x</title><main><h1>x</h1><p style="color:%23bbb">pale</p><img src="data:,"></main>`))
	got := map[string]string{}
	for _, v := range violations(t, ctx, source) {
		got[v.ID] = v.Impact
	}
	if diff := cmp.Diff(map[string]string{"color-contrast": "serious", "image-alt": "critical"}, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
