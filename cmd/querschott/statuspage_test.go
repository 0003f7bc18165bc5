package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott/web/status"
)

// The page needs a directory and a public key: no configuration and no node.
func TestStatusPageServe(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	secret, public, err := note.GenerateKey(rand.Reader, "status.querschott.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	file, err := status.Sign(&status.State{Format: status.Format, Platform: "querschott.example", AsOf: status.At(now), NextUpdateAt: status.At(now.Add(time.Hour))}, signer)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "status.vkey")
	for name, data := range map[string][]byte{filepath.Join(dir, status.NoteName): file, key: []byte(public + "\n")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"status-page", "serve", dir},
		{"status-page", "serve", dir, "--key", filepath.Join(dir, status.NoteName)},
		{"status-page", "serve", dir, "--key", key, "--certificate", "cert.pem"},
	} {
		root := newRoot()
		root.SetArgs(args)
		if err := root.ExecuteContext(t.Context()); exitCode(err) != exitUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, said := io.Pipe()
	root := newRoot()
	root.SetOut(said)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"status-page", "serve", dir, "--key", key, "--listen", "127.0.0.1:0"})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimSpace(line[strings.Index(line, "http://"):])
	for { // the first look may not be over yet
		resp, err := http.Get(at + "en.html")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), "No service is restricted.") {
			break
		}
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s: %s", resp.Status, body)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with: %v", err)
	}
}
