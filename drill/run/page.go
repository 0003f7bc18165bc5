package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/web/status"
)

// StatusPage is what the public could see. What was not looked at is null.
type StatusPage struct {
	Informed   *float64 `json:"informed_after_s_p99"` // from a door's order to close until the page showed it
	Slowest    *float64 `json:"informed_after_s_max"`
	Doors      int      `json:"doors"` // that were ordered to close
	Shown      int      `json:"shown"` // of them
	Others     *bool    `json:"others_not_affected"`
	AllClear   *bool    `json:"all_clear"`
	Up         *bool    `json:"up_while_platform_down"`
	OwnProcess bool     `json:"own_process"` // the page was another process than the drill
	trouble    string
}

const (
	showWithin = time.Minute // a door's change
	lookPage   = 100 * time.Millisecond
	darkPage   = 3 * time.Second // the page is looked at while the platform is down
)

// public is the status page under way, and who looks at it. It shares nothing with the platform but a directory and a key.
type public struct {
	key    note.Verifier
	url    string
	report *StatusPage
	stop   func()

	mu    sync.Mutex // guards what follows
	asked map[querschott.Compartment]time.Time
	after map[querschott.Compartment]time.Duration
}

// openPage starts the page of a platform that publishes, and has somebody look at it; nil: it publishes nothing.
func (s *stage) openPage(ctx context.Context) (*public, error) {
	st, err := s.p.node.Status(ctx)
	if err != nil || st.Public == nil || len(st.Public.Dirs) == 0 {
		return nil, err
	}
	p := &public{asked: map[querschott.Compartment]time.Time{}, after: map[querschott.Compartment]time.Duration{}, report: &StatusPage{}}
	if p.key, err = note.NewVerifier(st.Public.Key); err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var end func()
	if s.opt.Program != "" {
		p.report.OwnProcess = true
		p.url, end, err = pageProcess(serving, s.opt.Program, st.Public.Dirs[0].Dir, st.Public.Key)
	} else {
		p.url, end, err = pageHere(serving, st.Public.Dirs[0].Dir, p.key)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("couldn't start the status page: %w", err)
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		p.watch(serving)
	}()
	p.stop = sync.OnceFunc(func() {
		stop()
		<-watching
		end()
	})
	s.opt.Progress("the public status page is at %s", p.url)
	return p, nil
}

// pageProcess starts the page as a process with an empty environment. It ends with the context; end waits for that.
func pageProcess(ctx context.Context, program, dir, key string) (at string, end func(), err error) {
	own, err := os.MkdirTemp("", "querschott-page-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(own) } // holds a public key only
	file := filepath.Join(own, "status.vkey")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		remove()
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, program, "status-page", "serve", dir, "--key", file, "--listen", "127.0.0.1:0")
	cmd.Dir, cmd.Env = own, []string{}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if i := strings.Index(line, "http://"); i >= 0 {
		at = strings.TrimSpace(line[i:])
	}
	if at == "" {
		err = errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		remove()
		return "", nil, fmt.Errorf("it says no address: %w", err)
	}
	return at, func() {
		_ = cmd.Wait() // it was killed
		remove()
	}, nil
}

// pageHere serves the page from this process, from the directory alone.
func pageHere(ctx context.Context, dir string, key note.Verifier) (at string, end func(), err error) {
	p, err := status.NewPage(dir, key, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: patience}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })      // ends with the context, without an error
	wg.Go(func() { _ = server.Serve(l) }) // ends when it is closed
	return "http://" + l.Addr().String() + "/", func() {
		_ = server.Close()
		wg.Wait()
	}, nil
}

// get fetches a part of the page as anybody can.
func (p *public) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the page %s answers %s", path, resp.Status)
	}
	return body, err
}

// look reads what the page shows now, and verifies it.
func (p *public) look(ctx context.Context) (*status.State, error) {
	file, err := p.get(ctx, status.NoteName)
	if err != nil {
		return nil, err
	}
	s, _, err := status.Open(file, p.key)
	return s, err
}

// watch notes when the page first shows what was ordered.
func (p *public) watch(ctx context.Context) {
	for wait(ctx, lookPage) == nil {
		s, err := p.look(ctx)
		if err != nil {
			continue // what is never seen fails its condition
		}
		now := time.Now()
		seen := doorsOn(s, shut)
		p.mu.Lock()
		for c, at := range p.asked {
			if _, known := p.after[c]; !known && seen[c] {
				p.after[c] = now.Sub(at)
			}
		}
		p.mu.Unlock()
	}
}

// ordered notes that a door is ordered to close now.
func (p *public) ordered(c querschott.Compartment) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[c] = time.Now()
}

// doorsOn lists the doors of a state that are as asked for.
func doorsOn(s *status.State, are func(*status.Door) bool) map[querschott.Compartment]bool {
	list := map[querschott.Compartment]bool{}
	for _, in := range s.Insurers {
		for i := range in.Doors {
			if d := &in.Doors[i]; are(d) {
				list[querschott.Compartment{Insurer: in.IK, Service: d.Service}] = true
			}
		}
	}
	return list
}

func shut(d *status.Door) bool { return d.Door != querschott.Open }

// again are doors that are open to everybody again.
func again(d *status.Door) bool { return d.AllClear }

// same reports whether a state shows exactly how the doors are: what is not open as shut, everything else as not affected.
func same(s *status.State, doors map[querschott.Compartment]node.DoorView) bool {
	closed, fine := doorsOn(s, shut), map[querschott.Compartment]bool{}
	for _, in := range s.Insurers {
		for _, service := range in.NotAffected {
			fine[querschott.Compartment{Insurer: in.IK, Service: service}] = true
		}
	}
	for c, d := range doors {
		if open := d.To == querschott.Open; open != fine[c] || open == closed[c] {
			return false
		}
	}
	return len(doors) > 0
}

// until looks at the page until it is as wanted, or its time is over.
func (p *public) until(ctx context.Context, within time.Duration, wanted func(*status.State) (bool, error)) (bool, error) {
	for end := time.Now().Add(within); time.Now().Before(end); {
		if s, err := p.look(ctx); err == nil {
			if good, err := wanted(s); good || err != nil {
				return good, err
			}
		}
		if err := wait(ctx, lookPage); err != nil {
			return false, err
		}
	}
	return false, nil
}

// pageRight compares the page with the doors while they are shut.
func (b *blackout) pageRight(ctx context.Context) error {
	if b.page == nil {
		return nil
	}
	right, err := b.page.until(ctx, showWithin, func(s *status.State) (bool, error) {
		doors, err := b.p.doors(ctx)
		return err == nil && same(s, doors), err
	})
	b.page.report.Others = &right
	return err
}

// pageClear waits for the all-clear of every door.
func (b *blackout) pageClear(ctx context.Context) error {
	if b.page == nil {
		return nil
	}
	all, err := b.page.until(ctx, showWithin, func(s *status.State) (bool, error) {
		good := doorsOn(s, again)
		return !slices.ContainsFunc(b.shut, func(c querschott.Compartment) bool { return !good[c] }), nil
	})
	b.page.report.AllClear = &all
	return err
}

// pageAlone shuts the doors of the first wave once more, ends the whole platform, and looks at the page: it must be there
// and say what was so at last. Only a platform of the drill's own is ended.
func (b *blackout) pageAlone(ctx context.Context) error {
	if b.page == nil || b.p.halt == nil {
		return nil
	}
	b.opt.Progress("doors close once more, and the platform is switched off")
	var doors []querschott.Compartment
	for _, c := range b.shut {
		if slices.ContainsFunc(b.p.world.Insurers()[:few], func(in *drill.Insurer) bool { return in.IK == c.Insurer }) {
			doors = append(doors, c)
		}
	}
	for _, c := range doors {
		if err := b.shutDoor(ctx, c); err != nil {
			return err
		}
	}
	last := map[querschott.Compartment]node.DoorView{}
	shown, err := b.page.until(ctx, showWithin, func(s *status.State) (good bool, err error) {
		last, err = b.p.doors(ctx)
		return err == nil && same(s, last), err
	})
	if err != nil {
		return err
	}
	if err := b.p.halt(); err != nil {
		return err
	}
	up := shown
	for _, at := range []string{b.p.file.HTTP, b.p.file.SMTPS} {
		if answers(ctx, at) {
			up, b.page.report.trouble = false, "the platform still answers at "+at
		}
	}
	for end := time.Now().Add(darkPage); up && time.Now().Before(end); {
		s, err := b.page.look(ctx)
		if up = err == nil && same(s, last); !up {
			break
		}
		for _, path := range []string{"", "en.html", status.LageName} {
			body, err := b.page.get(ctx, path)
			up = up && err == nil && strings.Contains(string(body), string(doors[0].Insurer))
		}
		if err := wait(ctx, lookPage); err != nil {
			return err
		}
	}
	b.page.report.Up = &up
	return nil
}

// answers reports whether somebody listens at an address.
func answers(ctx context.Context, at string) bool {
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		at = u.Host
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said on it
	return true
}

// result counts what was seen.
func (p *public) result() *StatusPage {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Doors, r.Shown = len(p.asked), len(p.after)
	var all []time.Duration
	for _, d := range p.after {
		all = append(all, d)
	}
	slices.Sort(all)
	if n := len(all); n > 0 {
		p99, most := all[int(math.Ceil(0.99*float64(n)))-1].Seconds(), all[n-1].Seconds()
		r.Informed, r.Slowest = &p99, &most
	}
	return r
}

// judgePage says whether the public was told.
func (b *blackout) judgePage() {
	r := b.report
	if b.page == nil {
		r.require("the public status page shows every closing in under 60 s", false, "the platform publishes nothing: name a directory in status.publish")
		return
	}
	s := b.page.result()
	r.Status = s
	r.require("the public status page shows every closing in under 60 s", s.Shown == s.Doors && s.Slowest != nil && *s.Slowest < showWithin.Seconds(),
		fmt.Sprintf("%d of %d, p99 %s, the last after %s", s.Shown, s.Doors, seconds(s.Informed), seconds(s.Slowest)))
	r.require("the public status page shows untouched insurers as not affected", s.Others != nil && *s.Others, "")
	r.require("every closed entry of the public status page gets its all-clear", s.AllClear != nil && *s.AllClear, "")
	if b.p.halt == nil {
		r.Unseen = append(r.Unseen, "status page up while the platform is down: only a throwaway platform is switched off")
		return
	}
	r.require("status page up while the platform is down", s.Up != nil && *s.Up, s.trouble)
}
