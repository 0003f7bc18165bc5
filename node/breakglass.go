package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal/shares"
)

const (
	glassDir    = "break-glass" // in the data directory: orders that were signed while the node did not answer
	glassShares = 5
	glassLook   = time.Second
	maxGlass    = 10_000  // orders that are looked at
	maxOrder    = 8 << 10 // bytes of one
	maxVkey     = 1 << 10 // bytes of the public key's file
	glassAnswer = 5 * time.Second
)

func glassName(domain string) string { return "break-glass." + domain }

// NewBreakGlass makes the key for emergencies, writes its public half beside the configuration, and returns the shares of
// the private one, which is kept nowhere.
func NewBreakGlass(cfg *Config) ([]string, error) {
	if _, err := os.Stat(cfg.BreakGlass); err == nil {
		return nil, fmt.Errorf("there is a key for emergencies already, %s: remove it first to make the old shares worthless", cfg.BreakGlass)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	defer clear(seed)
	_, vkey, err := SignerFromSeed(glassName(cfg.Domain), seed)
	if err != nil {
		return nil, err
	}
	list, err := shares.Split(vkey, seed, glassShares)
	if err != nil {
		return nil, err
	}
	return list, disk.WriteFile(disk.OS{}, cfg.BreakGlass, []byte(vkey+"\n"))
}

// glassKey reads the public half; "" if there is none.
func (c *Config) glassKey() (string, error) {
	raw, err := disk.ReadFile(disk.OS{}, c.BreakGlass, maxVkey)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}

// BreakGlassSigner puts two shares together.
func BreakGlassSigner(cfg *Config, first, second string) (note.Signer, error) {
	vkey, err := cfg.glassKey()
	if err != nil {
		return nil, err
	}
	if vkey == "" {
		return nil, errors.New("there is no key for emergencies: make one with 'querschott break-glass init'")
	}
	seed, err := shares.Combine(vkey, first, second)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	s, got, err := SignerFromSeed(glassName(cfg.Domain), seed)
	if err == nil && got != vkey {
		err = errors.New("these shares give another key than that of this platform")
	}
	return s, err
}

// BreakGlass orders a door with the key for emergencies. If the node does not answer, what narrows is left for it to find;
// deferred then.
func BreakGlass(ctx context.Context, cfg *Config, d DraftRequest, s note.Signer) (m Moved, deferred bool, err error) {
	return breakGlass(ctx, cfg, d, s, glassAnswer)
}

func breakGlass(ctx context.Context, cfg *Config, d DraftRequest, s note.Signer, patience time.Duration) (m Moved, deferred bool, err error) {
	d.Actor = door.BreakGlassActor
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err = NewClient(cfg).Order(soon, d, s)
	if !errors.Is(err, ErrNotRunning) && soon.Err() == nil {
		return m, false, err
	}
	if d.To != querschott.Hold && d.To != querschott.Closed {
		return Moved{}, false, fmt.Errorf("without the node only hold and closed can be ordered: %w", err)
	}
	return Moved{}, true, leaveOrder(cfg, d, s)
}

// leaveOrder signs an order that follows the one on disk, and puts it where the node looks.
func leaveOrder(cfg *Config, d DraftRequest, s note.Signer) error {
	cur := door.Order{Compartment: d.Compartment}
	name := fmt.Sprintf("%s-%s.order", d.Compartment.Insurer, d.Compartment.Service)
	raw, err := disk.ReadFile(disk.OS{}, filepath.Join(cfg.Data, "doors", name), maxOrder)
	if err == nil {
		text, _, _ := strings.Cut(string(raw), "\n\n")
		cur, err = door.ParseOrder(text + "\n")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't read the order in force: %w", err)
	}
	r := door.Request{Compartment: d.Compartment, To: d.To, Reason: d.Reason, Incident: d.Incident}
	o := cur.Next(r, door.BreakGlassActor, time.Now())
	if err := door.Legal(o.From, o.To); err != nil {
		return err
	}
	if door.Widens(o.Compartment.Service, o.From, o.To) {
		return querschott.Refuse(querschott.CodeForbidden, "the key for emergencies opens nothing")
	}
	signed, err := door.Sign(o, s)
	if err != nil {
		return err
	}
	dir := filepath.Join(cfg.Data, glassDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return disk.WriteFile(disk.OS{}, filepath.Join(dir, name), signed)
}

// watchGlass looks for orders that were left, until the context ends.
func (n *Node) watchGlass(ctx context.Context) error {
	t := time.NewTicker(glassLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			n.takeGlass(ctx)
		}
	}
}

// takeGlass carries out the orders that were left. They are as good as their signatures, wherever they come from; only the
// key for emergencies may use this way, and only to narrow.
func (n *Node) takeGlass(ctx context.Context) {
	files, err := filepath.Glob(n.path(filepath.Join(glassDir, "*.order")))
	if err != nil || len(files) == 0 {
		return
	}
	for _, file := range files[:min(len(files), maxGlass)] {
		raw, err := disk.ReadFile(disk.OS{}, file, maxOrder)
		var out door.Outcome
		if err == nil {
			out, err = n.doors.SubmitEmergency(ctx, raw)
		}
		if out.Order == nil {
			n.log.Error("ALARM: an order for an emergency that was left was refused", "file", filepath.Base(file), "err", err,
				"fix", "look at the door and order it again")
			_ = os.Rename(file, strings.TrimSuffix(file, ".order")+".refused") // else it is looked at again
			continue
		}
		if err := os.Remove(file); err != nil {
			n.log.Warn("couldn't remove an order that was carried out", "file", filepath.Base(file), "err", err)
		}
	}
}

// glassProposed says and records that the key for emergencies was used to propose an opening.
func (n *Node) glassProposed(ctx context.Context, p *door.Proposal) error {
	if p == nil || p.Actor != door.BreakGlassActor {
		return nil
	}
	n.log.Error("ALARM: the key for emergencies was used to propose an opening", "compartment", p.Compartment.String(), "proposal", p.ID,
		"reason", p.Reason, "fix", "two operators approve or withdraw it: 'querschott door pending'")
	return n.append(ctx, ledger.Entry{
		Kind: ledger.KindNodeChange, At: n.opt.Now(), Compartment: p.Compartment, Action: ledger.ActionCreate, Data: ledger.DataDoorOrder,
		Outcome: ledger.OutcomeDeferred, Reason: ledger.ReasonOperator, Role: querschott.RoleOperator, Purpose: ledger.PurposeSecurity,
		Actor: door.BreakGlassActor, Detail: []ledger.Field{{Name: "proposal", Value: p.ID}, {Name: "why", Value: p.Reason}},
	})
}

// sayGlass is the alarm about each use of the key for emergencies.
func (n *Node) sayGlass(_ context.Context, o door.Order) error {
	if o.Actor == door.BreakGlassActor {
		n.log.Error("ALARM: the key for emergencies was used", "compartment", o.Compartment.String(), "state", o.To.String(),
			"epoch", o.Epoch, "incident", o.Incident, "reason", o.Reason)
	}
	return nil
}
