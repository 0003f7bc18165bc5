package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/access"
	"github.com/querschott/querschott/internal/disk"
)

const (
	fedDir    = "fed"
	fedKeep   = 4 // renamed files of a source, besides the one that is written
	fedSync   = time.Second
	fedSecret = "watch/fed"
)

// fedPath is the record of a source's events.
func (c *Config) fedPath(machine string) string {
	return filepath.Join(c.Data, fedDir, machine+".ndjson")
}

// openRecord makes what a source tells outlive a restart. A record that cannot be written makes nobody blind: the detectors have
// the events, and only the next start does not know them.
func (n *Node) openRecord(f *feed) (err error) {
	if n.cfg.Watch.Record == 0 {
		return nil
	}
	if err := os.MkdirAll(n.path(fedDir), 0o700); err != nil {
		return err
	}
	f.record, err = access.OpenFile(access.FileConfig{
		Path: n.cfg.fedPath(f.cfg.Machine), Max: int64(n.cfg.Watch.Record) / (fedKeep + 1), Keep: fedKeep, Now: n.opt.Now, Ours: true,
		Least: int64(n.cfg.Intake.Segment) * 3, // as much as mail needs to go on
		Alarm: func(err error, lost uint64) {
			n.log.Error("ALARM: events of a foreign source are not kept; detectors have them, the next start does not", "source", f.cfg.Machine,
				"events", lost, "err", err, "fix", "make room on the disk of the data directory, or lower watch.record")
		},
	})
	return err
}

// keep puts down an event that the detectors have seen. The caller holds f.mu.
func (f *feed) keep(e *querschott.Access) {
	if f.record != nil {
		f.record.Put(e)
		f.unsynced = true
	}
}

// kept writes what was put down, and returns how much of a request's events could not be. The caller holds f.mu.
func (f *feed) kept(before uint64) int {
	if f.record == nil {
		return 0
	}
	f.record.Flush()
	return int(f.record.Lost() - before)
}

// lost is how many events were not kept since the start. The caller holds f.mu.
func (f *feed) lost() uint64 {
	if f.record == nil {
		return 0
	}
	return f.record.Lost()
}

// syncRecord brings what was kept to the disk.
func (f *feed) syncRecord(path string) error {
	f.mu.Lock()
	due := f.unsynced
	f.unsynced = false
	f.mu.Unlock()
	if !due {
		return nil
	}
	err := disk.OS{}.SyncDir(filepath.Dir(path))
	for i := fedKeep; i > 0; i-- {
		err = errors.Join(err, syncFile(rotated(path, i)))
	}
	if err = errors.Join(err, syncFile(path)); err != nil {
		f.mu.Lock()
		f.unsynced = true // the next time again
		f.mu.Unlock()
		return fmt.Errorf("couldn't sync the record of %s: %w", f.cfg.Machine, err)
	}
	return nil
}

// syncRecords keeps the records on the disk, so that no source waits for it. It syncs once more at the end.
func (n *Node) syncRecords(ctx context.Context) error {
	return repeat(ctx, fedSync, func(bool) (err error) {
		for name, f := range n.alarms.feeds {
			err = errors.Join(err, f.syncRecord(n.cfg.fedPath(name)))
		}
		return err
	}, func(err error) {
		n.log.Error("ALARM: a power cut would take the newest events of a foreign source", "err", err, "fix", "see the disk of the data directory")
	})
}

// wrote says which recorded events this source may have told by now. Whoever writes into a record speaks about nobody else than
// the source may, and moves no clock.
func (f *feed) wrote(now time.Time) func(*querschott.Access) bool {
	latest := now.Add(feedAhead)
	ours := func(name string) bool {
		return name == "" || f.cfg.SameIDs || strings.HasPrefix(name, f.cfg.Machine+"/")
	}
	return func(e *querschott.Access) bool {
		_, err := f.may(e)
		return err == nil && ours(string(e.Actor)) && ours(string(e.Credential)) && e.Gate == f.gate() && !e.Received.IsZero() && !e.Received.After(latest) && !e.Time.After(latest)
	}
}

// blinder makes keyed pseudonyms of what foreign sources call persons. They may send numbers: detectors, alarms and the record
// have none. As in the platform's own events a pseudonym lasts a quarter of a year.
type blinder struct{ key []byte }

func (b blinder) mac(text string, now time.Time) string {
	h := hmac.New(sha256.New, b.key)
	now = now.UTC()
	_, _ = fmt.Fprintf(h, "%dQ%d\x00%s", now.Year(), (now.Month()+2)/3, text) // never fails
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// person is the pseudonym of a person.
func (b blinder) person(text string, now time.Time) string {
	if text == "" {
		return ""
	}
	return b.mac(text, now)
}

// event takes the person out of an event, and every number of an insured person out of its texts.
func (b blinder) event(e *querschott.Access, now time.Time) {
	e.Person = b.person(e.Person, now)
	blind := func(text string) string { return b.text(text, now) }
	e.Actor, e.Credential = querschott.Actor(blind(string(e.Actor))), querschott.CredentialID(blind(string(e.Credential)))
	e.Role = querschott.Role(blind(string(e.Role)))
	for _, t := range []*string{
		&e.Profession, &e.Purpose, &e.ReasonRef, &e.Action, &e.Query, &e.Fields, &e.Outcome, &e.Cause, &e.RequestID, &e.Address, &e.Binding,
	} {
		*t = blind(*t)
	}
}

// kvnrLength is a letter and nine digits.
const kvnrLength = 10

// text replaces every KVNR in a text. What only looks like one is replaced too: it stays the same name for the same thing.
func (b blinder) text(text string, now time.Time) string {
	var blind strings.Builder
	from := 0
	for i := 0; i+kvnrLength <= len(text); i++ {
		if c := text[i] | 0x20; c < 'a' || c > 'z' || text[i+1] > '9' {
			continue // as nearly everything; the rest is looked at closely
		}
		k, err := querschott.ParseKVNR(strings.ToUpper(text[i : i+kvnrLength]))
		if err != nil {
			continue
		}
		blind.WriteString(text[from:i] + "~" + b.mac(k.Reveal(), now))
		i += kvnrLength - 1
		from = i + 1
	}
	if from == 0 {
		return text
	}
	return blind.String() + text[from:]
}
