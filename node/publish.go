package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/web/status"
)

// StatusConfig configures the public status page.
type StatusConfig struct {
	Publish []string `yaml:"publish" json:"publish" doc:"Directories into which the signed state of the doors is written for the public, at every change and every half minute; empty: nobody is told. They are meant for mounts of other people's hosts, two at least, which share nothing with this platform: 'querschott status-page serve' shows one, and any web server can serve the files as they are. 'querschott status-page key' prints the public key."`
}

func (c *StatusConfig) validate(w *wrongs) {
	seen := map[string]bool{}
	for _, dir := range c.Publish {
		if dir == "" || seen[dir] {
			w.add("status.publish: %q is empty or stands there twice", dir)
		}
		seen[dir] = true
	}
}

// Times of publishing.
const (
	publishEvery = 30 * time.Second
	publishHolds = 2 * time.Minute        // a state, until it is out of date
	publishCalm  = 250 * time.Millisecond // between two states, when many doors move
	publishEnd   = 2 * time.Second        // for directories that do not answer when the node stops
	clearFor     = 72 * time.Hour         // an all-clear is shown
)

// publisher writes the public state into directories. Doors know nothing of it, and no directory waits for another.
type publisher struct {
	key  note.Signer
	vkey string
	dirs []*outlet
	last time.Time // of the state before; run's
}

// outlet is one directory. A write into it may hang: it is a foreign host's.
type outlet struct {
	dir  string
	next chan map[string][]byte // the latest state that is not written yet

	mu    sync.Mutex // guards what follows
	since time.Time  // of the oldest state that is not written; zero: none waits
	at    time.Time  // of the last state that was written
	fault string
}

// PublicStatus is how the public is told.
type PublicStatus struct {
	Key  string      `json:"key"` // C2SP vkey that verifies the signed file
	Dirs []Published `json:"directories"`
}

// Published is how one directory of the public status is.
type Published struct {
	Dir   string    `json:"dir"`
	At    time.Time `json:"at,omitzero"` // of the last state that was written
	Fault string    `json:"fault,omitempty"`
}

func (n *Node) openPublisher(context.Context) error {
	s, vkey, err := n.signer("status." + n.cfg.Domain)
	if err != nil {
		return err
	}
	n.public = &publisher{key: s, vkey: vkey}
	for _, dir := range n.cfg.Status.Publish {
		n.public.dirs = append(n.public.dirs, &outlet{dir: dir, next: make(chan map[string][]byte, 1)})
	}
	return nil
}

// publish makes the public state at every change of a door and twice a minute.
func (n *Node) publish(ctx context.Context) error {
	p := n.public
	if len(p.dirs) == 0 {
		<-ctx.Done()
		return nil
	}
	ended := make(chan struct{}, len(p.dirs))
	for _, o := range p.dirs {
		go func() {
			o.run(ctx, n.opt.Now)
			ended <- struct{}{}
		}()
	}
	changes, unsubscribe := n.doors.Subscribe(1) // one is enough to know that something has changed
	defer unsubscribe()
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	calm := time.NewTicker(publishCalm)
	defer calm.Stop()
	for ctx.Err() == nil {
		if err := n.publishNow(); err != nil {
			n.log.Error("ALARM: the public status cannot be made", "err", err)
			for _, o := range p.dirs {
				o.failed(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-calm.C:
			select {
			case <-ctx.Done():
			case <-changes:
			case <-tick.C:
			}
		}
	}
	patience := time.NewTimer(publishEnd)
	defer patience.Stop()
	for range p.dirs {
		select {
		case <-ended:
		case <-patience.C: // whoever hangs in a foreign file system ends with the process
			return nil
		}
	}
	return nil
}

// publishNow signs the present state and hands it to every directory.
func (n *Node) publishNow() error {
	s := n.publicState()
	file, err := status.Sign(s, n.public.key)
	if err != nil {
		return err
	}
	files, err := status.Files(s, n.public.key.Name())
	if err != nil {
		return err
	}
	files[status.NoteName] = file
	for _, o := range n.public.dirs {
		o.offer(files, s.AsOf.Time)
	}
	return nil
}

// publicState is what the public may know of the doors.
func (n *Node) publicState() *status.State {
	p := n.public
	now := status.At(n.opt.Now())
	if !now.After(p.last) { // a later state has a later time, also in the same millisecond
		now = status.At(p.last.Add(time.Millisecond))
	}
	p.last = now.Time
	s := &status.State{
		Format: status.Format, Platform: n.cfg.Domain, Exercise: n.mode(), AsOf: now, NextUpdateAt: status.At(now.Add(publishHolds)), Insurers: []status.Insurer{},
	}
	for _, in := range n.insurers {
		public := status.Insurer{IK: in.IK, Name: in.Name, NotAffected: []querschott.Service{}, Doors: []status.Door{}}
		for _, c := range compartments([]Insurer{in}) {
			o, _ := n.current(c)
			share := n.doors.Share(c)
			d, show := publicDoor(o, share, n.doors.History(c), now.Time)
			if _, there := n.cells[c.Insurer]; !there && d.Door != querschott.Closed { // mail waits, and nothing is answered
				started := status.At(n.started)
				d, show = status.Door{Door: querschott.Hold, Cause: status.Disturbance, Since: &started}, true
			}
			if d.Service = c.Service; show {
				public.Doors = append(public.Doors, d)
			}
			if !show || d.AllClear {
				public.NotAffected = append(public.NotAffected, c.Service)
			}
		}
		s.Insurers = append(s.Insurers, public)
	}
	return s
}

// publicDoor is what may be known of one door, and whether there is something to know: a door that is open and was not shut
// lately is only not affected.
func publicDoor(o door.Order, share int, before []door.Order, now time.Time) (d status.Door, show bool) {
	d = status.Door{Door: o.To, Cause: causeOf(o), Incident: status.Reference(o.Incident)}
	if !o.At.IsZero() {
		at := status.At(o.At)
		d.Since = &at
	}
	if o.To != querschott.Open {
		return d, true
	}
	if share < 100 {
		d.Share = share
	} else {
		d.AllClear = o.Epoch > 1 && o.From != querschott.Open && now.Sub(o.At) < clearFor
	}
	for _, b := range slices.Backward(before) { // why it was shut, if that was since the node started
		if b.Epoch < o.Epoch && b.To != querschott.Open {
			d.Cause = causeOf(b)
			if d.Incident == "" {
				d.Incident = status.Reference(b.Incident)
			}
			break
		}
	}
	return d, d.AllClear || share < 100
}

// causeWords are how an order's reason may begin to say to the public why, before a colon.
var causeWords = map[string]status.Cause{
	"attack": status.Attack, "angriff": status.Attack, "disturbance": status.Disturbance, "störung": status.Disturbance,
	"maintenance": status.Maintenance, "wartung": status.Maintenance, "precaution": status.Precaution, "vorsorge": status.Precaution,
}

// causeOf returns what the public is told as cause. The reason itself is nobody else's business; what it does not say is
// precaution, and a door that nobody has shut is disturbed.
func causeOf(o door.Order) status.Cause {
	if o.Epoch == 0 || o.Actor == "" {
		return status.Disturbance
	}
	word, _, _ := strings.Cut(o.Reason, ":")
	if c, ok := causeWords[strings.ToLower(strings.TrimSpace(word))]; ok {
		return c
	}
	return status.Precaution
}

// offer hands the latest state over, in place of one that still waits.
func (o *outlet) offer(files map[string][]byte, at time.Time) {
	o.mu.Lock()
	if o.since.IsZero() {
		o.since = at
	}
	o.mu.Unlock()
	select {
	case <-o.next:
	default:
	}
	o.next <- files // there is room: nobody else offers
}

func (o *outlet) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = err.Error()
}

// run writes what is offered.
func (o *outlet) run(ctx context.Context, now func() time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case files := <-o.next:
			at := now()
			err := writePublic(o.dir, files)
			o.mu.Lock()
			o.fault = ""
			if err != nil {
				o.fault = err.Error()
			} else {
				o.at, o.since = at, time.Time{}
			}
			o.mu.Unlock()
		}
	}
}

// writePublic replaces the files of a directory, each at once. The signed one comes first: it is what is believed. Nothing in the
// directory leads out of it: it may be a foreign host's.
func writePublic(dir string, files map[string][]byte) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // public
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	names := []string{status.NoteName}
	for name := range files {
		if name != status.NoteName {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	for _, name := range names {
		if err := writePublicFile(root, filepath.FromSlash(name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// writePublicFile writes a file that everybody may read.
func writePublicFile(root *os.Root, name string, data []byte) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // nobody's link is followed
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return nil
}

// state says how the directories are.
func (p *publisher) state() *PublicStatus {
	s := &PublicStatus{Key: p.vkey, Dirs: []Published{}}
	for _, o := range p.dirs {
		o.mu.Lock()
		s.Dirs = append(s.Dirs, Published{Dir: o.dir, At: o.at, Fault: o.fault})
		o.mu.Unlock()
	}
	return s
}

// trouble names the directories in which the public is told nothing new.
func (p *publisher) trouble(now time.Time) (list []Trouble) {
	for _, o := range p.dirs {
		o.mu.Lock()
		text := o.fault
		if waits := now.Sub(o.since); text == "" && !o.since.IsZero() && waits > publishHolds {
			text = "nothing was written for " + waits.Round(time.Second).String()
		}
		o.mu.Unlock()
		if text != "" {
			list = append(list, Trouble{
				Text: fmt.Sprintf("the public status is not written to %s: %s", o.dir, text),
				Fix:  "look at the mount and its rights; the page there says by itself that it is out of date",
			})
		}
	}
	return list
}
