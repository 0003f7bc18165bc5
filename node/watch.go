package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/telemetry"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/watch/ocsf"
	"github.com/querschott/querschott/watch/sigma"
)

// settings makes the detectors' configuration from the files that it names.
func (c *WatchConfig) settings() (cfg watch.Config, err error) {
	cfg.Policy = watch.DefaultPolicy()
	if c.Policy != "" {
		f, err := os.Open(c.Policy)
		if err != nil {
			return cfg, fmt.Errorf("watch.policy: %w", err)
		}
		cfg.Policy, err = watch.ParsePolicy(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return cfg, fmt.Errorf("watch.policy: %s: %w", c.Policy, err)
		}
	}
	if c.OwnRules || len(c.Rules) > 0 {
		engine, err := sigma.New(sigma.Config{Dirs: c.Rules, Own: c.OwnRules})
		if err != nil {
			return cfg, fmt.Errorf("watch.rules: %w", err)
		}
		cfg.Also = append(cfg.Also, engine)
	}
	if c.Canaries != "" {
		if cfg.Canaries, err = ReadPseudonyms(c.Canaries); err != nil {
			return cfg, fmt.Errorf("watch.canaries: %w", err)
		}
	}
	return cfg, nil
}

// maxPseudonyms bounds a file of pseudonyms.
const maxPseudonyms = 1 << 20

// ReadPseudonyms reads a file with one pseudonym a line; # begins a remark.
func ReadPseudonyms(file string) (list []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			list = append(list, line)
		}
		if len(list) > maxPseudonyms {
			return nil, fmt.Errorf("%s has more than %d lines", file, maxPseudonyms)
		}
	}
	return list, lines.Err()
}

func rotated(file string, i int) string { return file + "." + strconv.Itoa(i) }

// alarmBook is the file of alarms, and the newest of them in memory.
type alarmBook struct {
	path string
	max  int64

	mu     sync.Mutex // guards what follows
	newest []*watch.Alarm
	lost   uint64 // that could not be written
	dirty  bool   // what was written since the file was synced
}

const (
	alarmsHeld = 10_000
	alarmsKeep = 3 // renamed files
	alarmFile  = "alarms.ndjson"

	findingFile = "findings.ocsf.ndjson"
)

// openAlarmBook reads the newest alarms of the files that are there.
func openAlarmBook(path string, most int64) (*alarmBook, error) {
	b := &alarmBook{path: path, max: most}
	for i := alarmsKeep; i >= 0; i-- {
		name := path
		if i > 0 {
			name = rotated(path, i)
		}
		if err := b.read(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return b, nil
}

func (b *alarmBook) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		a := &watch.Alarm{}
		if err := json.Unmarshal(lines.Bytes(), a); err != nil {
			continue // the torn last line of a crash
		}
		b.keep(a)
	}
	return lines.Err()
}

func (b *alarmBook) keep(a *watch.Alarm) {
	if len(b.newest) >= alarmsHeld {
		b.newest = append(b.newest[:0], b.newest[alarmsHeld/10:]...)
	}
	b.newest = append(b.newest, a)
}

// add keeps an alarm and writes it down.
func (b *alarmBook) add(a *watch.Alarm) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(a)
	line, err := json.Marshal(a)
	if err == nil {
		err = appendLine(b.path, append(line, '\n'), b.max)
	}
	b.dirty = true
	if err != nil {
		b.lost++
	}
	return err
}

// sync brings what was written to the disk, and the names of files that were begun. A renamed file is synced before its name.
func (b *alarmBook) sync() error {
	b.mu.Lock()
	dirty := b.dirty
	b.dirty = false
	b.mu.Unlock()
	if !dirty {
		return nil
	}
	err := errors.Join(syncFile(rotated(b.path, 1)), syncFile(b.path), disk.OS{}.SyncDir(filepath.Dir(b.path)))
	if err != nil {
		b.mu.Lock()
		b.dirty = true // the next time again
		b.mu.Unlock()
		return fmt.Errorf("couldn't sync the file of alarms: %w", err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// alarmsSync is how much of the newest alarms a power cut may take.
const alarmsSync = time.Second

// syncAlarms keeps the file of alarms on the disk, so that hearing of an alarm waits for no disk. It syncs once more at the end.
func (n *Node) syncAlarms(ctx context.Context) error {
	return repeat(ctx, alarmsSync, func(bool) error { return n.alarms.book.sync() }, func(err error) {
		n.log.Error("ALARM: a power cut would take the newest alarms", "err", err, "fix", "see the disk of the data directory")
	})
}

// repeat does something now and then, and once more at the end. It says what goes wrong once, until it goes well again.
func repeat(ctx context.Context, every time.Duration, do func(last bool) error, say func(error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failed := false; ; {
		last := ctx.Err() != nil
		err := do(last)
		if err != nil && !failed {
			say(err)
		}
		failed = err != nil
		if last {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// appendLine writes a line behind a file; a full file is renamed first.
func appendLine(path string, line []byte, most int64) (err error) {
	if st, err := os.Stat(path); err == nil && st.Size()+int64(len(line)) > most {
		for i := alarmsKeep; i > 0; i-- {
			from := path
			if i > 1 {
				from = rotated(path, i-1)
			}
			if err := os.Rename(from, rotated(path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], st.Size()-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...) // behind the torn line of a crash
		}
	}
	_, err = f.Write(line)
	return err
}

// AlarmQuery says which alarms are asked for.
type AlarmQuery struct {
	Since    time.Time     `json:"since,omitzero"`
	Detector string        `json:"detector,omitempty"`
	Insurer  querschott.IK `json:"insurer,omitempty"`
	Actor    string        `json:"actor,omitempty"`
	Live     bool          `json:"live,omitempty"`
	Most     int           `json:"most,omitempty"` // the newest; default 100
}

// list returns the alarms that are asked for, by time.
func (b *alarmBook) list(q AlarmQuery) []*watch.Alarm {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := []*watch.Alarm{}
	for _, a := range b.newest {
		if a.Time.Before(q.Since) || q.Detector != "" && a.Detector != q.Detector || q.Insurer != "" && a.Insurer != q.Insurer ||
			q.Actor != "" && string(a.Actor) != q.Actor || q.Live && a.Mode != watch.Live {
			continue
		}
		found = append(found, a)
	}
	if q.Most <= 0 {
		q.Most = 100
	}
	return found[max(0, len(found)-q.Most):]
}

// WatchStatus is what the early warning says of itself.
type WatchStatus struct {
	watch.Summary
	Live          []string              `json:"live"`           // what may lead to something
	Canaries      int                   `json:"canaries"`       // persons
	EventsDropped uint64                `json:"events_dropped"` // of the gate, for want of room
	AlarmsDropped uint64                `json:"alarms_not_acted_on"`
	AlarmsLost    uint64                `json:"alarms_not_written"`
	Blind         []string              `json:"blind"` // detectors that did not find what they were shown
	Feeds         map[string]FeedStatus `json:"feeds"`
}

// WatchStatus returns what the early warning says of itself.
func (n *Node) WatchStatus() WatchStatus {
	a := n.alarms
	s := WatchStatus{
		Summary: a.watch.Summary(), Live: a.live, Canaries: a.canaries.count(), AlarmsDropped: a.dropped.Load(), Blind: a.watch.Blind(), Feeds: map[string]FeedStatus{},
	}
	for _, sub := range n.stream.Stats().Subscribers {
		if sub.Name == alarmsSubscriber {
			s.EventsDropped = sub.Dropped
		}
	}
	a.book.mu.Lock()
	s.AlarmsLost = a.book.lost
	a.book.mu.Unlock()
	for name, f := range a.feeds {
		s.Feeds[name] = f.status()
	}
	return s
}

func (n *Node) controlWatchAlarms(r *http.Request) (any, error) {
	q, err := decode[AlarmQuery](r)
	if err != nil {
		return nil, err
	}
	return n.alarms.book.list(q), nil
}

// WatchStatus asks the running node for what its early warning says of itself.
func (c *Client) WatchStatus(ctx context.Context) (WatchStatus, error) {
	return get[WatchStatus](ctx, c, "/v1/watch", nil)
}

// WatchAlarms asks the running node for alarms.
func (c *Client) WatchAlarms(ctx context.Context, q AlarmQuery) ([]*watch.Alarm, error) {
	return post[[]*watch.Alarm](ctx, c, "/v1/watch/alarms", q)
}

// keepAlarm is the hearer that writes alarms down.
func (n *Node) keepAlarm(_ context.Context, al *watch.Alarm) {
	if err := n.alarms.book.add(al); err != nil {
		n.log.Error("ALARM: an alarm of the early warning couldn't be written", "detector", al.Detector, "err", err)
	}
	if n.cfg.Watch.OCSF {
		line, err := ocsf.Line(al, n.opt.Version)
		if err == nil {
			err = appendLine(n.path(findingFile), line, int64(n.cfg.Watch.Alarms))
		}
		if err != nil {
			n.log.Error("ALARM: an alarm of the early warning couldn't be written as OCSF", "detector", al.Detector, "err", err)
		}
	}
}

// How often the early warning looks after itself.
const (
	selfTestEvery = time.Hour
	canariesEvery = 10 * time.Minute
	pulseEvery    = 10 * time.Second
	pulseLate     = 30 * time.Second // after which the detectors are said to stand still
)

// keepWatch plays attacks to the detectors, looks whether they go on, and keeps the canaries where they belong.
func (n *Node) keepWatch(ctx context.Context) {
	insurers := make([]querschott.IK, len(n.insurers))
	for i, in := range n.insurers {
		insurers[i] = in.IK
	}
	tests, flocks, pulse := time.NewTicker(selfTestEvery), time.NewTicker(canariesEvery), time.NewTicker(pulseEvery)
	defer tests.Stop()
	defer flocks.Stop()
	defer pulse.Stop()
	n.selfTest(insurers)
	n.tendCanaries(ctx)
	stands := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tests.C:
			n.selfTest(insurers)
		case <-flocks.C:
			n.tendCanaries(ctx)
		case <-pulse.C:
			late := time.Since(n.alarms.watch.Beat()) > pulseLate
			if late && !stands {
				n.log.Error("ALARM: the early warning stands still; nobody looks at accesses", "since", n.alarms.watch.Beat())
				n.alarms.emit(&watch.Alarm{
					Time: n.opt.Now(), Actor: "detector:all", Detector: "D17", Cause: "blind", Kind: watch.Exact, Severity: watch.Critical, Mode: watch.Shadow,
					Arithmetic: []watch.Number{{Name: "standing", Value: time.Since(n.alarms.watch.Beat()).Seconds(), Unit: "s"}},
				})
			}
			stands = late
		}
	}
}

func (n *Node) selfTest(insurers []querschott.IK) {
	if blind := n.alarms.watch.SelfTest(insurers, n.opt.Now()); len(blind) > 0 {
		n.log.Error("ALARM: detectors of the early warning find nothing", "detectors", blind)
	}
}

// tendCanaries stores what is missing and tells the detectors the pseudonyms.
func (n *Node) tendCanaries(ctx context.Context) {
	if _, _, err := n.storeCanaries(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("canaries couldn't be stored", "err", err)
	}
	n.watchCanaries()
}

// measuredWatch is what metrics show of the early warning.
func (n *Node) measuredWatch() telemetry.Watch {
	if n.alarms == nil {
		return telemetry.Watch{}
	}
	s := n.WatchStatus()
	w := telemetry.Watch{
		Events: s.Counts.Events, Lost: s.Counts.Lost, Dropped: s.EventsDropped, Alarms: s.ByName, CAPEC: s.ByCAPEC, Over: s.Over, AlarmsDropped: s.AlarmsDropped,
		Evicted: s.Evicted, Blind: len(s.Blind), Canaries: s.Canaries,
	}
	for _, f := range s.Feeds {
		w.NotKept += f.NotKept
	}
	for _, e := range s.Explained {
		w.Explained = append(w.Explained, telemetry.Explained{Compartment: e.Of(), Share: e.Share})
	}
	return w
}
