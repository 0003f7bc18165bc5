package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/local"
)

// look draws the page as it is in every scheme and width, and lets axe examine it.
func look(t *testing.T, ctx context.Context, source, name string) {
	t.Helper()
	for _, as := range []struct {
		width  int64
		scheme string
	}{{390, "light"}, {390, "dark"}, {1280, "dark"}, {1280, "light"}} {
		setScheme(t, ctx, as.scheme)
		do(t, ctx, chromedp.EmulateViewport(as.width, 900))
		for _, v := range violations(t, ctx, source) {
			t.Errorf("%s %d %s: %s (%s): %s\n%s", name, as.width, as.scheme, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
		}
		if wide := run(t, ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`)); wide > 0 {
			t.Errorf("%s %d: the page is %d px wider than the screen", name, as.width, wide)
		}
		if os.Getenv("QUERSCHOTT_SHOTS") != "" {
			shoot(t, ctx, fmt.Sprintf("%s-%d-%s", name, as.width, as.scheme))
		}
	}
}

// TestFromInvitationToMatrix is the whole way of an operator whose identity provider is dead, without JavaScript.
func TestFromInvitationToMatrix(t *testing.T) {
	source := axe(t)
	c := newCorp(t)
	h := c.console(t)
	c.Close()
	ctx := tab(t, newChromium(t))
	token := h.invite(local.Account{Name: "anna", Role: querschott.RoleOperator})
	click := func(selector string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(selector)) }
	fill := func(id, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SetValue(chromedp.CSS("#"+id), text)
	}
	do(t, ctx, chromedp.Navigate(h.server.URL+"/"))
	look(t, ctx, source, "login-first")
	do(t, ctx, click("form[action='/login/provider'] button"))
	until(t, ctx, `document.getElementById("problem")?.innerText.includes("antwortet nicht")`)
	look(t, ctx, source, "login-provider-dead")
	do(t, ctx, click("a[href='/invitation']"), fill("token", token), click("main button"))
	until(t, ctx, `document.querySelector("svg.qr") !== null`)
	look(t, ctx, source, "enrolment")
	shown := scan(t, ctx)
	at, err := url.Parse(shown)
	if err != nil || at.Scheme != "otpauth" || at.Path != "/kassen.example:anna" {
		t.Fatalf("the picture says %q: %v", shown, err)
	}
	do(t, ctx, fill("password", password), fill("again", password), fill("code", "000000"), click("main form button"))
	until(t, ctx, `document.getElementById("problem")?.innerText.includes("nicht der Code")`)
	look(t, ctx, source, "enrolment-wrong")
	do(t, ctx, fill("password", password), fill("again", password), fill("code", h.authenticator(at.Query().Get("secret"))), click("main form button"))
	until(t, ctx, `document.querySelectorAll(".recovery li").length === 10`)
	look(t, ctx, source, "recovery")
	h.clk.add(time.Minute)
	do(t, ctx, click("a[href='/login']"), fill("name", "anna"), fill("password", "falsch"), fill("code", "000000"), click("form[action='/login'] button"))
	until(t, ctx, `document.getElementById("problem")?.innerText.includes("ist falsch")`)
	look(t, ctx, source, "login-wrong")
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, fill("password", password), fill("code", h.authenticator(at.Query().Get("secret"))), click("form[action='/login'] button"), click("a[href='/?mark=1']"))
}

// TestStatusPagesInBrowser looks at the public pages as web/status has them in its golden files: the browser is here.
func TestStatusPagesInBrowser(t *testing.T) {
	pages, err := filepath.Glob("../status/testdata/*.html")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	source := axe(t)
	ctx := tab(t, newChromium(t))
	for _, page := range pages {
		at, err := filepath.Abs(page)
		if err != nil {
			t.Fatal(err)
		}
		do(t, ctx, chromedp.Navigate((&url.URL{Scheme: "file", Path: at}).String()))
		until(t, ctx, `document.querySelector("h1") !== null && getComputedStyle(document.querySelector("main")).maxWidth !== "none"`) // with its style
		look(t, ctx, source, "status-"+filepath.Base(page))
		until(t, ctx, `(document.querySelector("details")?.setAttribute("open", ""), true)`)
		for _, v := range violations(t, ctx, source) {
			t.Errorf("%s, all insurers: %s (%s): %s\n%s", page, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
		}
	}
}

// TestProviderBringsBack sees that a browser keeps the session that is given on the way back from another site.
func TestProviderBringsBack(t *testing.T) {
	c := newCorp(t)
	h := c.console(t)
	ctx := tab(t, newChromium(t))
	do(t, ctx, chromedp.Navigate(h.server.URL+"/login"))
	c.mu.Lock()
	c.sub, c.sendBack = "anna", h.server.URL
	c.mu.Unlock()
	do(t, ctx, chromedp.Click(chromedp.CSS("form[action='/login/provider'] button")))
	until(t, ctx, `location.pathname === "/" && document.querySelector(".who .name")?.textContent.includes("anna")`)
}

// jsQR reads the picture, so that not only our own reader can. It is fetched with npm as axe-core is.
const (
	scannerVersion   = "1.4.0"
	scannerIntegrity = "dxLob7q65Xg2DvstYkRpkYtmKm2sPJ9oFhrhmudT1dZvNFFTlroai3AWSpLey/w5vMcLBXRgOJsbXpdN9HzU/A=="
)

// scan takes a picture of the screen, as a telephone would, and returns what the QR code in it says.
func scan(t *testing.T, ctx context.Context) string {
	t.Helper()
	shot := run(t, ctx, chromedp.CaptureScreenshot())
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	size := picture.Bounds().Size()
	pixels := make([]byte, 0, 4*size.X*size.Y)
	for y := range size.Y {
		for x := range size.X {
			r, g, b, _ := picture.At(x, y).RGBA()
			pixels = append(pixels, byte(r>>8), byte(g>>8), byte(b>>8), 0xff)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jsQR.cjs"), []byte(fileOf(t, fetched(t, "jsqr", scannerVersion, scannerIntegrity), "package/dist/jsQR.js")), 0o600); err != nil {
		t.Fatal(err)
	}
	const program = `const read = require(process.argv[1]); const px = Buffer.from(require("fs").readFileSync(0, "utf8"), "base64");
		const found = read(new Uint8ClampedArray(px), Number(process.argv[2]), Number(process.argv[3])); process.stdout.write(found ? found.data : "");`
	cmd := exec.CommandContext(t.Context(), "node", "-e", program, filepath.Join(dir, "jsQR.cjs"), fmt.Sprint(size.X), fmt.Sprint(size.Y))
	cmd.Stdin = strings.NewReader(base64.StdEncoding.EncodeToString(pixels))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
