package demo_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/demo"
)

// TestPicture takes the README's picture: the page of a demonstration with one door closed and one on hold. It runs only
// when QUERSCHOTT_PICTURE names the file to write.
func TestPicture(t *testing.T) {
	file := os.Getenv("QUERSCHOTT_PICTURE")
	if file == "" {
		t.Skip("QUERSCHOTT_PICTURE names no file")
	}
	r := start(t, 60)
	insurers := r.File().Insurers
	r.until(t, func(l demo.Line) bool { return l.Delivered > 300 })
	r.move(t, querschott.Compartment{Insurer: insurers[1].IK, Service: querschott.EAU}, querschott.Closed)
	r.move(t, querschott.Compartment{Insurer: insurers[0].IK, Service: querschott.EAU}, querschott.Hold)
	r.until(t, func(l demo.Line) bool { return l.Waiting > 60 })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860),
		chromedp.Flag("headless", true), chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("accept-lang", "en-GB,en"),
	)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, stop = chromedp.NewContext(ctx)
	defer stop()
	if err := chromedp.Do(ctx, chromedp.Navigate(r.File().Operators[0].URL), chromedp.Click(chromedp.CSS("main form button")), chromedp.WaitVisible(chromedp.CSS("table"))); err != nil {
		t.Fatal(err)
	}
	r.until(t, func(l demo.Line) bool { return l.Waiting > 80 })
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
