package access_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
)

func event(records uint32) querschott.Access {
	return querschott.Access{
		Time: time.Date(2026, 11, 23, 13, 0, 0, 123000, time.UTC), Service: querschott.VSDM, Insurer: "109500969",
		Actor: "1-20012345", Credential: "<c&1>", Role: querschott.RolePractice, Action: "read", Person: "00ff", Records: records,
		Bytes: 17, Status: 200, Outcome: "success", RequestID: "r", Epoch: 7, Took: 12,
	}
}

// writeAll runs a file over the events and returns its count of lost ones and its alarms.
func writeAll(t *testing.T, cfg access.FileConfig, events ...querschott.Access) (lost uint64, alarms []error) {
	t.Helper()
	cfg.Alarm = func(err error, _ uint64) { alarms = append(alarms, err) }
	f, err := access.OpenFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := access.NewStream("g1")
	sub := s.Subscribe("file", len(events)+1)
	for _, e := range events {
		s.Publish(e)
	}
	sub.Close()
	if err := f.Run(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	return f.Lost(), alarms
}

func readAll(t *testing.T, path string) (events []querschott.Access, faults []error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r := access.NewReader(f)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return events, faults
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		events = append(events, e)
	}
}

func TestFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.ndjson")
	in := []querschott.Access{event(1), event(2), event(3)}
	if lost, alarms := writeAll(t, access.FileConfig{Path: path}, in...); lost != 0 || alarms != nil {
		t.Fatalf("%d lost, alarms %v", lost, alarms)
	}
	got, faults := readAll(t, path)
	for i := range in {
		in[i].Seq, in[i].Gate = uint64(i+1), "g1"
	}
	if d := cmp.Diff(in, got); d != "" || faults != nil {
		t.Errorf("read back (-want +got):\n%s%v", d, faults)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v), want 0600", st.Mode(), err)
	}
}

func TestFileRotatesBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	var lines [4]int
	for i := range 4 { // each run appends; the size that lies there already counts
		writeAll(t, access.FileConfig{Path: path, Max: 500, Keep: 2}, event(uint32(i)))
	}
	for i, name := range []string{"a", "a.1", "a.2", "a.3"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err == nil {
			lines[i] = strings.Count(string(data), "\n")
		}
	}
	if lines != [4]int{1, 1, 1, 0} {
		t.Errorf("lines per file are %v, want one in each of three", lines)
	}
	got, _ := readAll(t, path)
	if len(got) != 1 || got[0].Records != 3 {
		t.Errorf("the current file has %v, want the last event", got)
	}
}

func TestFileCutsOffATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeAll(t, access.FileConfig{Path: path}, event(1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, whole[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, faults := readAll(t, path); len(got) != 1 || len(faults) != 1 {
		t.Errorf("%d events and faults %v, want 1 and 1", len(got), faults)
	}
	writeAll(t, access.FileConfig{Path: path}, event(2))
	if got, faults := readAll(t, path); len(got) != 2 || faults != nil {
		t.Errorf("%d events and faults %v, want 2 and none", len(got), faults)
	}
}

func TestFileLeavesForeignFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letter.txt")
	if err := os.WriteFile(path, []byte("Dear reader"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := access.OpenFile(access.FileConfig{Path: path, Alarm: func(error, uint64) {}}); err == nil {
		t.Error("a foreign file was opened for events")
	}
	if data, _ := os.ReadFile(path); string(data) != "Dear reader" {
		t.Errorf("the file has %q", data)
	}
}

// A disk that fails costs events, which are counted and told, and nothing else. When it is back, so are the events.
func TestFileFailureIsAnAlarm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	alarms := make(chan uint64, 10)
	cfg := access.FileConfig{
		Path: filepath.Join(dir, "a"), Max: 1, Now: func() time.Time { return now },
		Alarm: func(_ error, lost uint64) { alarms <- lost },
	}
	now = now.Add(time.Hour)
	f, err := access.OpenFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := access.NewStream("g1")
	sub := s.Subscribe("file", 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx, sub) }()
	await := func(what string, f func() uint64, want uint64) {
		t.Helper()
		for range 1_000_000 {
			if f() == want {
				return
			}
			<-time.After(time.Millisecond)
		}
		t.Fatalf("%s never became %d", what, want)
	}
	written := func() uint64 {
		events, _ := readAll(t, cfg.Path)
		return uint64(len(events))
	}
	s.Publish(event(1))
	await("written", written, 1)
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	s.Publish(event(2)) // the next file cannot be begun
	await("lost", f.Lost, 1)
	s.Publish(event(3))
	await("lost", f.Lost, 2)
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	s.Publish(event(4))
	await("written", written, 2)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(alarms) != 1 || <-alarms != 1 {
		t.Error("the alarm was not told exactly once, with one event lost")
	}
	got, faults := readAll(t, cfg.Path)
	if len(got) != 2 || got[0].Records != 1 || got[1].Records != 4 || faults != nil {
		t.Errorf("the file has %v, %v; want the events before and after the failure", got, faults)
	}
}

func TestReaderRefuses(t *testing.T) {
	const good = `{"seq":1,"gate":"g","t":"2026-11-23T13:00:00Z","service":"vsdm","outcome":"success"}`
	for name, line := range map[string]string{
		"nothing":         "",
		"no JSON":         "hello",
		"two objects":     good + good,
		"array":           "[" + good + "]",
		"null":            "null",
		"unknown key":     `{"kvnr":"A123456789"}`,
		"no number":       strings.Replace(good, `"seq":1`, `"seq":0`, 1),
		"no time":         strings.Replace(good, `"t":"2026-11-23T13:00:00Z",`, "", 1),
		"no outcome":      strings.Replace(good, "success", "", 1),
		"unknown service": strings.Replace(good, "vsdm", "weather", 1),
		"negative bytes":  strings.Replace(good, `"seq":1`, `"seq":1,"bytes":-1`, 1),
		"odd status":      strings.Replace(good, `"seq":1`, `"seq":1,"status":7`, 1),
		"too long":        strings.Replace(good, "success", strings.Repeat("s", access.MaxLine), 1),
		"far too long":    strings.Replace(good, "success", strings.Repeat("s", 5*access.MaxLine), 1),
	} {
		r := access.NewReader(strings.NewReader(line + "\n" + good + "\n"))
		_, err := r.Next()
		le, ok := errors.AsType[*access.LineError](err)
		if !ok || le.Line != 1 || strings.Contains(err.Error(), "A123456789") {
			t.Errorf("%s: got %v, want an error in line 1 that does not repeat it", name, err)
		}
		if e, err := r.Next(); err != nil || e.Seq != 1 {
			t.Errorf("%s: the line behind it gave %v, %v", name, e, err)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v at the end, want io.EOF", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"seq":1,"gate":"g","t":"2026-11-23T13:00:00Z","service":"vsdm","outcome":"success"}` + "\n{"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := access.NewReader(strings.NewReader(string(data)))
		var events []querschott.Access
		for lines := 0; ; lines++ {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if lines > len(data) {
				t.Fatal("the reader never ends")
			}
			if err == nil {
				events = append(events, e)
			}
		}
		path := filepath.Join(t.TempDir(), "a")
		if lost, _ := writeAll(t, access.FileConfig{Path: path}, events...); lost != 0 {
			t.Skip("a line grew over the limit when it was written anew")
		}
		for i := range events {
			events[i].Seq, events[i].Gate = uint64(i+1), "g1"
		}
		got, faults := readAll(t, path)
		if d := cmp.Diff(events, got); d != "" || faults != nil {
			t.Errorf("what was read is not what is read again:\n%s%v", d, faults)
		}
	})
}

func TestFileOnStandardOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func(was *os.File) { os.Stdout = was }(os.Stdout)
	os.Stdout = out
	writeAll(t, access.FileConfig{Path: "-", Max: 1}, event(1), event(2))
	if got, faults := readAll(t, path); len(got) != 2 || faults != nil {
		t.Errorf("standard output has %v, %v", got, faults)
	}
	if err := out.Close(); err != nil {
		t.Errorf("standard output was closed: %v", err)
	}
}
