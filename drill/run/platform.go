package run

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
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
	world *drill.World
	node  *node.Client
	http  *http.Client
	tls   *tls.Config
}

// patience is how long one request may take.
const patience = 20 * time.Second

// Attach finds the platform that runs in a directory.
func Attach(ctx context.Context, dir string) (*Platform, error) {
	p := &Platform{}
	data, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	if err != nil {
		return nil, fmt.Errorf("couldn't find the platform in %s; is a demonstration running there? %w", dir, err)
	}
	if err := json.Unmarshal(data, &p.file); err != nil {
		return nil, fmt.Errorf("couldn't read demo.json: %w", err)
	}
	cfg, err := node.LoadConfig(p.file.Config)
	if err != nil {
		return nil, err
	}
	p.node = node.NewClient(cfg)
	s, err := p.node.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Mode == "" {
		return nil, errors.New("this node is a real one: a drill attacks only a demonstration, or a node whose configuration says drill: true")
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

// client is one caller's own connections.
func (p *Platform) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: p.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8}}
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
	stop = func() error {
		cancel()
		return errors.Join(<-ended, os.RemoveAll(dir))
	}
	if p, err = attachSoon(ctx, dir); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
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
	first, persons := in.Persons()
	persons = min(persons, most)
	now := time.Now()
	for from := 0; from < persons; from += atOnce {
		var files []node.ImportedFile
		for k := from; k < min(from+atOnce, persons); k++ {
			data, err := vsd.Render(p.world.MasterData(p.world.Person(first+k)), vsd.V11, vsd.JSON, vsd.Envelope{
				ID: vsd.NewID(now, [10]byte{byte(k), byte(k >> 8)}), Created: vsd.InstantOf(now),
			})
			if err != nil {
				return 0, err
			}
			files = append(files, node.ImportedFile{Name: fmt.Sprint(first + k), Data: data})
		}
		done, err := p.node.Import(ctx, files)
		if err != nil {
			return 0, err
		}
		for _, why := range done.Refused {
			return 0, fmt.Errorf("couldn't deliver master data: %s", why)
		}
	}
	return persons, nil
}

// signers are the two operators.
func (p *Platform) signers() (list []note.Signer, names []querschott.Actor, err error) {
	for _, o := range p.file.Operators {
		s, err := node.LoadOperatorKey(o.Key)
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

// epochs returns the order in force of every door.
func (p *Platform) doors(ctx context.Context) (map[querschott.Compartment]node.DoorView, error) {
	list, err := p.node.Doors(ctx)
	all := map[querschott.Compartment]node.DoorView{}
	for _, d := range list {
		all[d.Compartment] = d
	}
	return all, err
}
