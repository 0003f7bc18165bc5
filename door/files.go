package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

func (b *Book) path(c querschott.Compartment, kind string) string {
	return filepath.Join(b.cfg.Dir, fmt.Sprintf("%s-%s.%s", c.Insurer, c.Service, kind))
}

func (b *Book) read(c querschott.Compartment, kind string) (*signed, error) {
	raw, err := disk.ReadFile(b.cfg.FS, b.path(c, kind), maxNote)
	if err != nil {
		return nil, err
	}
	s, err := b.roster.open(raw)
	if err != nil {
		return nil, err
	}
	if s.order.Compartment != c {
		return nil, fmt.Errorf("it is an order for %s", s.order.Compartment)
	}
	return s, nil
}

// store makes the door's files say what memory says, whatever has moved in the meantime.
func (b *Book) store(ctx context.Context, d *door) error {
	if b.cfg.Publisher != "" {
		return nil // what is in force is on disk where it was decided
	}
	if err := d.file.take(ctx); err != nil {
		return err
	}
	defer d.file.give()
	d.mu.Lock()
	order, proposal, step := d.current.Load(), d.proposal, d.step.Load()
	d.mu.Unlock()
	c := order.order.Compartment
	return errors.Join(b.replace(&d.onDisk.order, order, c, "order"), b.replace(&d.onDisk.proposal, proposal, c, "proposal"),
		b.replace(&d.onDisk.step, step, c, "stage"))
}

// storeAhead writes an order that is not in force yet, unless the door has moved since it was checked. The file of an order
// that overtakes this one is written afterwards.
func (b *Book) storeAhead(ctx context.Context, d *door, s *signed) error {
	if err := d.file.take(ctx); err != nil {
		return err
	}
	defer d.file.give()
	if err := b.checkNow(d, s); err != nil {
		return err
	}
	return b.replace(&d.onDisk.order, s, s.order.Compartment, "order")
}

// replace brings one file from what it holds to s. After a failure nobody knows what it holds, so the next call repeats it.
func (b *Book) replace(holds **signed, s *signed, c querschott.Compartment, kind string) error {
	if *holds == s {
		return nil
	}
	*holds = &signed{}
	if s == nil || s.raw == nil {
		if err := b.cfg.FS.Remove(b.path(c, kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("couldn't remove the %s's file: %w", kind, err)
		}
		if err := b.cfg.FS.SyncDir(b.cfg.Dir); err != nil {
			return fmt.Errorf("couldn't remove the %s's file for good: %w", kind, err)
		}
	} else if err := disk.WriteFile(b.cfg.FS, b.path(c, kind), s.raw); err != nil {
		return fmt.Errorf("couldn't write the %s's file: %w", kind, err)
	}
	*holds = s
	return nil
}
