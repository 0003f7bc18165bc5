package run

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/vsd"
)

// Platform is a running platform, seen from outside.
type Platform struct {
	file  demo.File
	mode  string // of the node: node.ModeDrill or node.ModeDemo
	bare  bool   // a node of its own: no demonstration fills its cells
	world *drill.World
	node  *node.Client
	http  *http.Client
	tls   *tls.Config
	halt  func() error // switches the platform off; nil: it is not the drill's

	mu    sync.Mutex // guards there, also while data are on their way
	there map[*drill.Insurer]int
}

// patience is how long one request may take.
const patience = 20 * time.Second

// Attach finds the platform that runs in a directory.
func Attach(ctx context.Context, dir string) (*Platform, error) {
	f, err := demo.Find(dir)
	if err != nil {
		return nil, err
	}
	p := &Platform{file: *f, there: map[*drill.Insurer]int{}}
	cfg, err := node.LoadConfig(p.file.Config)
	if err != nil {
		return nil, err
	}
	p.node = node.NewClient(cfg)
	s, err := p.node.Status(ctx)
	if errors.Is(err, node.ErrNotRunning) {
		return nil, fmt.Errorf("%w in %s: 'querschott serve --config %s' starts it, unless it is a demonstration", err, dir, p.file.Config)
	}
	if err != nil {
		return nil, err
	}
	if p.mode = s.Mode; p.mode == "" {
		return nil, errors.New("this node is a real one: a drill attacks only a demonstration, or a node whose configuration says drill: true")
	}
	if err := p.enter(&s.Addresses); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(p.file.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	p.tls = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	p.http = p.client()
	p.world = drill.NewWorld(p.file.Seed, drill.DefaultInsurers, p.file.Persons)
	return p, nil
}

// enter takes the addresses of a running node where the file names none.
func (p *Platform) enter(at *node.Addresses) error {
	p.bare = p.file.HTTP == ""
	var errs error
	for _, a := range []struct {
		at           *string
		now, lacking string
	}{
		{&p.file.HTTP, at.HTTP, "the node has no HTTP entrance: set http.listen"},
		{&p.file.SMTPS, at.TLS, "the node has no mail entrance: set mail.tls"},
		{&p.file.Issuer, at.Issuer, "the node has no issuers for development, so nobody in the drill gets a token: set http.dev_issuers: true"},
	} {
		if *a.at == "" {
			if *a.at = a.now; a.now == "" {
				errs = errors.Join(errs, errors.New(a.lacking))
			}
		}
	}
	if errs != nil {
		return fmt.Errorf("%w (in %s, and start it again)", errs, p.file.Config)
	}
	return nil
}

// serving refuses to begin while desks do not answer that the drill needs.
func (p *Platform) serving(ctx context.Context, insurers []*drill.Insurer) error {
	doors, err := p.doors(ctx)
	if err != nil {
		return err
	}
	shut := 0
	var one node.DoorView
	for _, in := range insurers {
		for _, s := range []querschott.Service{querschott.Desk, querschott.VSDM} {
			c := querschott.Compartment{Insurer: in.IK, Service: s}
			d, known := doors[c]
			if !known {
				return fmt.Errorf("the running node does not know %s: start it again, it takes in insurers when it starts", c)
			}
			if d.To != querschott.Open && d.To != querschott.ReadOnly {
				one = d
				shut++
			}
		}
	}
	if shut == 0 {
		return nil
	}
	return fmt.Errorf("%d doors that the drill goes through are shut (%s: %s), so nothing could be read; two operators open them: "+
		"'querschott --config %[4]s door set all open --key KEY --reason drill', then 'querschott --config %[4]s door approve --all --key KEY'",
		shut, one.Compartment, one.To, p.file.Config)
}

// client is one caller's own connections, with the caller's certificate, if there is one.
func (p *Platform) client(own ...tls.Certificate) *http.Client {
	conf := p.tls.Clone()
	conf.Certificates = own
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8}}
}

// throwawayPersons is how many insured persons a throwaway platform has.
const throwawayPersons = 6000

// Throwaway starts a platform in a temporary directory. stop ends and removes it.
func Throwaway(ctx context.Context, seed uint64) (p *Platform, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "querschott-drill-")
	if err != nil {
		return nil, nil, err
	}
	world, err := demo.Open(ctx, demo.Options{
		Dir: dir, Insured: throwawayPersons, Seed: seed, Drill: true, Version: "drill", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		_, err := world.Run(running, 0, func(demo.Line) {})
		ended <- err
	}()
	halt := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	stop = func() error { return errors.Join(halt(), os.RemoveAll(dir)) }
	if p, err = attachSoon(ctx, dir); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	p.halt = halt
	return p, stop, nil
}

// attachSoon finds a platform that is starting.
func attachSoon(ctx context.Context, dir string) (*Platform, error) {
	for {
		p, err := Attach(ctx, dir)
		if !errors.Is(err, node.ErrNotRunning) {
			return p, err
		}
		if err = wait(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// atOnce is how many persons' master data are delivered together.
const atOnce = 200

// know brings the master data of an insurer's first persons into its cell, and returns how many there are.
func (p *Platform) know(ctx context.Context, in *drill.Insurer, most int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, persons := in.Persons()
	persons = min(persons, most)
	for from := p.there[in]; from < persons; from += atOnce {
		var list []drill.Person
		for k := from; k < min(from+atOnce, persons); k++ {
			list = append(list, p.world.Person(first+k))
		}
		if err := p.deliver(ctx, list...); err != nil {
			return 0, err
		}
		p.there[in] = from + len(list)
	}
	return persons, nil
}

// deliver brings the master data of some persons into their cells.
func (p *Platform) deliver(ctx context.Context, persons ...drill.Person) error {
	now := time.Now()
	var files []node.ImportedFile
	for _, who := range persons {
		data, err := vsd.Render(p.world.MasterData(who), vsd.V11, vsd.JSON, vsd.Envelope{
			ID: vsd.NewID(now, [10]byte{byte(who.Index), byte(who.Index >> 8), byte(who.Index >> 16)}), Created: vsd.InstantOf(now),
		})
		if err != nil {
			return err
		}
		files = append(files, node.ImportedFile{Name: fmt.Sprint(who.Index), Data: data})
	}
	done, err := p.node.Import(ctx, files)
	if err != nil {
		return err
	}
	for _, why := range done.Refused {
		return fmt.Errorf("couldn't deliver master data: %s", why)
	}
	return nil
}

// signers are the two operators.
func (p *Platform) signers() (list []note.Signer, names []querschott.Actor, err error) {
	for _, o := range p.file.Operators {
		s, err := node.LoadOperatorKey(o.Key)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("this drill closes and opens doors, and the key of the operator %s is not there: put it at %s for the exercise", o.Name, o.Key)
		}
		if err != nil {
			return nil, nil, err
		}
		list, names = append(list, s), append(names, o.Name)
	}
	if len(list) < 2 {
		return nil, nil, errors.New("the platform has fewer than two operators")
	}
	return list, names, nil
}

// signer is the first operator whose key is here, nil if there is none.
func (p *Platform) signer() (note.Signer, error) {
	for _, o := range p.file.Operators {
		s, err := node.LoadOperatorKey(o.Key)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return s, err
	}
	return nil, nil
}

// doors returns the order in force of every door.
func (p *Platform) doors(ctx context.Context) (map[querschott.Compartment]node.DoorView, error) {
	list, err := p.node.Doors(ctx)
	all := map[querschott.Compartment]node.DoorView{}
	for _, d := range list {
		all[d.Compartment] = d
	}
	return all, err
}
