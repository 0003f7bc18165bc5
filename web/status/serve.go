package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	lookEvery = time.Second
	maxAhead  = 5 * time.Minute // how far the platform's clock may be ahead of the page's
)

// Page shows what lies in a directory.
type Page struct {
	file  string
	key   note.Verifier
	now   func() time.Time
	log   *slog.Logger
	shown atomic.Pointer[shown]
	none  map[string][]byte // pages while there is no state, by path
	fault string            // of the last look; Run's
}

// shown is a state with everything that is served of it: an answer costs no more than sending it.
type shown struct {
	state        *State
	fresh, stale map[string][]byte
}

// NewPage makes the page of a directory. Run keeps it up to date.
func NewPage(dir string, key note.Verifier, now func() time.Time, log *slog.Logger) (*Page, error) {
	p := &Page{file: filepath.Join(dir, NoteName), key: key, now: now, log: log, none: map[string][]byte{}}
	for _, t := range []*texts{german, english} {
		html, err := render(nil, t, moment{key: key.Name()})
		if err != nil {
			return nil, err
		}
		p.none["/"+t.file] = html
	}
	return p, nil
}

// Run looks for a newer state every second. What is refused, or cannot be read, changes nothing on the page.
func (p *Page) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		p.report(p.Look())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// report logs a fault when it begins and when it ends.
func (p *Page) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == p.fault {
		return
	}
	if p.fault = text; err != nil {
		p.log.Error("ALARM: the status in the directory is not shown; the last good one stays", "err", err)
	} else {
		p.log.Info("the status in the directory is shown again")
	}
}

// Look reads the file and takes it if it is signed and newer than what is shown.
func (p *Page) Look() error {
	file, err := readFile(p.file)
	if err != nil {
		return err
	}
	s, text, err := Open(file, p.key)
	if err != nil {
		return err
	}
	if ahead := s.AsOf.Sub(p.now()); ahead > maxAhead {
		return fmt.Errorf("the state is of a time that is %s ahead: one of two clocks is wrong", ahead.Round(time.Second))
	}
	if before := p.shown.Load(); before != nil {
		switch by := s.AsOf.Compare(before.state.AsOf.Time); {
		case by < 0:
			return fmt.Errorf("the state of %s is older than the one that is shown, of %s: it was put back", s.AsOf.Format(instantLayout), before.state.AsOf.Format(instantLayout))
		case by == 0:
			return nil
		}
	}
	next, err := prepare(s, text, file, p.key.Name())
	if err == nil {
		p.shown.Store(next)
	}
	return err
}

func prepare(s *State, text, file []byte, key string) (*shown, error) {
	next := &shown{state: s, fresh: map[string][]byte{}, stale: map[string][]byte{}}
	l, err := Lage(s)
	if err != nil {
		return nil, err
	}
	for _, to := range []map[string][]byte{next.fresh, next.stale} {
		to["/"+NoteName], to["/"+JSONName], to["/"+LageName], to["/"+LageName+"/"] = file, text, l, l
	}
	for _, t := range []*texts{german, english} {
		for stale, to := range map[bool]map[string][]byte{false: next.fresh, true: next.stale} {
			if to["/"+t.file], err = render(s, t, moment{stale: stale, key: key}); err != nil {
				return nil, err
			}
		}
	}
	return next, nil
}

// readFile reads a plain file; anything else in its place could hang.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err == nil && st.Size() > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return data, errors.Join(err, f.Close())
}

// ServeHTTP answers from memory.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "405: only GET", http.StatusMethodNotAllowed)
		return
	}
	path := r.URL.Path
	if path == "/" {
		path = "/" + german.file
	}
	from, code := p.none, http.StatusServiceUnavailable
	if s := p.shown.Load(); s != nil {
		from, code = s.fresh, http.StatusOK
		if s.state.Stale(p.now()) {
			from = s.stale
		}
	}
	body, ok := from[path]
	switch {
	case ok:
	case code == http.StatusOK:
		http.NotFound(w, r)
		return
	default: // data are not there yet either
		http.Error(w, "503: there is no verified state yet", code)
		return
	}
	h.Set("Cache-Control", "no-cache")
	switch path {
	case "/" + NoteName:
		h.Set("Content-Type", "text/plain; charset=utf-8")
	case "/" + JSONName, "/" + LageName, "/" + LageName + "/":
		h.Set("Content-Type", "application/json")
		h.Set("Access-Control-Allow-Origin", "*") // public data
	default:
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy+"; frame-ancestors 'none'")
	}
	w.WriteHeader(code)
	_, _ = w.Write(body) // who has gone gets nothing
}
