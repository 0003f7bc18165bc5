package eval

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/watch/sigma"
)

// The simple methods that ours are compared with. They are given every advantage that costs nothing: sliding or daily windows
// without memory limits, registered jobs left out.
const (
	fixedMost    = 300 // persons of one actor in a day
	sigmas       = 3.0 // standard deviations above the actor's own mean
	ownLeast     = 10  // own days before it says anything
	bucketRoom   = 40  // persons
	bucketLeak   = 10  // seconds for each
	prefix       = "baseline:"
	fixedName    = prefix + "more than 300 a day"
	ownName      = prefix + "three sigma of oneself"
	bucketName   = prefix + "leaky bucket of 40"
	sigmaName    = "sigma/value_count_baseline"
	sigmaShown   = prefix + "Sigma value_count, 60 an hour"
	baselineRule = `title: Data reached
name: reached_baseline
logsource:
    product: querschott
    category: health_record_access
detection:
    selection:
        result: reached
        subject|exists: true
    condition: selection
---
title: Many persons
name: value_count_baseline
correlation:
    type: value_count
    rules:
        - reached_baseline
    group-by:
        - who
    timespan: 1h
    condition:
        field: subject
        gte: 60
level: medium
`
)

// baseline reports whether a detector is a simple method.
func baseline(detector string) bool {
	return strings.HasPrefix(detector, prefix) || detector == sigmaName
}

// shown is a detector's name in the report.
func shown(detector string) string {
	if detector == sigmaName {
		return sigmaShown
	}
	return detector
}

// baselines makes all of them.
func baselines() (list []watch.Detector, err error) {
	dir, err := os.MkdirTemp("", "querschott-rules")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "baseline.yml"), []byte(baselineRule), 0o600); err != nil {
		return nil, err
	}
	rules, err := sigma.New(sigma.Config{Dirs: []string{dir}})
	if err != nil {
		return nil, err
	}
	return []watch.Detector{&daily{name: fixedName, by: map[string]*dayCount{}}, &daily{name: ownName, own: true, by: map[string]*dayCount{}}, &bucket{by: map[string]*drops{}}, rules}, nil
}

// counts reports whether the simple methods look at an event.
func counts(e *watch.Event) bool {
	return e.Result == watch.Reached && e.Subject != 0 && !e.Job && e.Role != querschott.RolePartner
}

func raise(e *watch.Event, name string, n float64) watch.Alarm {
	return watch.Alarm{
		Time: e.At, Actor: querschott.Actor(e.Who), Credential: e.Credential, Insurer: e.Tenant, Service: e.Service, Cause: "count", Detector: name,
		Kind: watch.Statistical, Severity: watch.Medium, Arithmetic: []watch.Number{{Name: "persons", Value: n, Unit: "persons"}},
		Events: watch.Span{First: e.At, Last: e.At, Count: int(n)},
	}
}

// daily counts an actor's different persons of a day, and compares them with a fixed number or with the actor's past.
type daily struct {
	name string
	own  bool
	by   map[string]*dayCount
}

type dayCount struct {
	day     int
	persons map[uint64]struct{}
	told    bool
	n       int // days behind
	sum, sq float64
}

func (d *daily) Name() string { return d.name }

func (d *daily) Stats() watch.Stats { return watch.Stats{Keys: len(d.by)} }

func (d *daily) Tick(_ time.Time, to []watch.Alarm) []watch.Alarm { return to }

func (d *daily) Observe(e *watch.Event, to []watch.Alarm) []watch.Alarm {
	if !counts(e) {
		return to
	}
	c := d.by[e.Who]
	if c == nil {
		c = &dayCount{persons: map[uint64]struct{}{}}
		d.by[e.Who] = c
	}
	if c.day != e.Day {
		if n := float64(len(c.persons)); n > 0 {
			c.n, c.sum, c.sq = c.n+1, c.sum+n, c.sq+n*n
		}
		clear(c.persons)
		c.day, c.told = e.Day, false
	}
	c.persons[e.Subject] = struct{}{}
	if c.told || float64(len(c.persons)) <= d.most(c) {
		return to
	}
	c.told = true
	return append(to, raise(e, d.name, float64(len(c.persons))))
}

// most is how many persons are not yet too many.
func (d *daily) most(c *dayCount) float64 {
	if !d.own {
		return fixedMost
	}
	if c.n < ownLeast {
		return 1e9
	}
	n := float64(c.n)
	mean := c.sum / n
	return mean + sigmas*sqrt(max(c.sq/n-mean*mean, 1))
}

// bucket overflows when different persons come faster than it leaks.
type bucket struct{ by map[string]*drops }

type drops struct {
	level   float64
	at      int64
	persons map[uint64]struct{} // in the bucket since it was empty
}

func (*bucket) Name() string { return bucketName }

func (b *bucket) Stats() watch.Stats { return watch.Stats{Keys: len(b.by)} }

func (b *bucket) Tick(_ time.Time, to []watch.Alarm) []watch.Alarm { return to }

func (b *bucket) Observe(e *watch.Event, to []watch.Alarm) []watch.Alarm {
	if !counts(e) {
		return to
	}
	d := b.by[e.Who]
	if d == nil {
		d = &drops{persons: map[uint64]struct{}{}}
		b.by[e.Who] = d
	}
	if d.level = max(0, d.level-float64(e.Sec-d.at)/bucketLeak); d.level == 0 {
		clear(d.persons)
	}
	d.at = max(d.at, e.Sec)
	if _, known := d.persons[e.Subject]; known {
		return to
	}
	d.persons[e.Subject] = struct{}{}
	if d.level++; d.level <= bucketRoom {
		return to
	}
	n := len(d.persons)
	d.level = 0
	clear(d.persons)
	return append(to, raise(e, bucketName, float64(n)))
}
