package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
)

const (
	denyList     = "deny"          // its name on the link to gates
	followedFile = "followed.deny" // the last edition that a gate took, as it was signed
	maxFollowed  = 64 << 20
	denyHeader   = "querschott-deny-edition/v1"
	denyLook     = 250 * time.Millisecond // how soon gates hear of a change that went past Deny and Admit
)

// denyEdition is what the platform signs for its gates.
func denyEdition(domain string, list []byte) string {
	return fmt.Sprintf("%s\n%s\n%s\n", denyHeader, domain, list)
}

// publishDenyList sends the deny list to the gates if it has changed.
func (n *Node) publishDenyList() {
	if n.gates == nil {
		return
	}
	if err := n.gates.deny(n); err != nil {
		n.log.Error("ALARM: gates do not get the deny list", "err", err, "fix", "see 'querschott door gates'")
	}
}

func (g *gates) deny(n *Node) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n.denied.Epoch() <= g.denied {
		return nil
	}
	epoch, list, err := n.denied.Edition()
	if err != nil {
		return err
	}
	raw, err := note.Sign(&note.Note{Text: denyEdition(n.cfg.Domain, list)}, n.machine)
	if err != nil {
		return fmt.Errorf("couldn't sign the deny list: %w", err)
	}
	if err := g.publisher.Publish(denyList, epoch, raw); err != nil {
		return err
	}
	g.denied = epoch
	return nil
}

// watchDenyList sends changes that went past this node's functions: a command that changed the file, a verifier that denied a
// stolen token.
func (n *Node) watchDenyList(ctx context.Context) error {
	tick := time.NewTicker(denyLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			n.publishDenyList()
		}
	}
}

// DenyEnforced says how many gates refuse whom the deny list names. It waits for gates that are connected, as long as ctx and
// the publisher's patience allow.
func (n *Node) DenyEnforced(ctx context.Context) Enforced {
	e := Enforced{Gates: 1, Of: 1, Epoch: n.denied.Epoch()}
	if n.gates == nil || e.Epoch == 0 {
		return e
	}
	_ = n.gates.publisher.Spread(ctx, denyList, e.Epoch) // who has not taken it is counted below
	for _, s := range n.gates.publisher.Status() {
		e.add(s.Name, s.Missing, listAt(s, denyList), e.Epoch)
	}
	return e
}

// listAt is what a gate said about a list, as if it were a door.
func listAt(s follow.GateStatus, name string) follow.DoorStatus {
	for _, l := range s.Lists {
		if l.Name == name {
			return follow.DoorStatus{Epoch: l.Epoch, Applied: l.Applied, Fault: l.Fault}
		}
	}
	return follow.DoorStatus{}
}

// rememberDenyList has a gate that starts refuse whom it refused before, until the node with the book says more.
func (n *Node) rememberDenyList() error {
	raw, err := disk.ReadFile(disk.OS{}, n.path(followedFile), maxFollowed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = n.followDenyList(raw)
	}
	if err != nil {
		return fmt.Errorf("couldn't take over the deny list of the book in %s; remove it if you trust the book, which sends it again: %w", n.path(followedFile), err)
	}
	return nil
}

// followDenyList takes over an edition if the platform with the book has signed it.
func (n *Node) followDenyList(raw []byte) (epoch uint64, err error) {
	keys, err := LoadBookKeys(n.cfg.Doors.Follow.Keys)
	if err != nil {
		return 0, err
	}
	v, err := note.NewVerifier(keys.Machine)
	if err != nil {
		return 0, err
	}
	signed, err := note.Open(raw, note.VerifierList(v))
	if err != nil {
		return 0, querschott.Refuse(querschott.CodeForbidden, "the deny list is not signed by the platform with the book")
	}
	lines := strings.SplitN(signed.Text, "\n", 3)
	if len(lines) != 3 || lines[0] != denyHeader || lines[1] != keys.Domain {
		return 0, querschott.Refuse(querschott.CodeForbidden, "what the platform has signed is no deny list of %s", keys.Domain)
	}
	return n.denied.Follow(bytes.TrimSuffix([]byte(lines[2]), []byte("\n")))
}

// takeList is how a gate takes a list from the link. It acts on the next request; disk and ledger follow.
func (n *Node) takeList(name string, epoch uint64, raw []byte) error {
	if name != denyList {
		return fmt.Errorf("this gate takes no list %.20q", name)
	}
	got, err := n.followDenyList(raw)
	if err != nil {
		n.log.Error("ALARM: a deny list from the book is refused", "epoch", epoch, "err", err, "fix", "compare doors.follow.keys with what the node with the book prints")
		return err
	}
	if got != epoch {
		return fmt.Errorf("the deny list has epoch %d and was sent as epoch %d", got, epoch)
	}
	if err := disk.WriteFile(disk.OS{}, n.path(followedFile), raw); err != nil {
		n.log.Error("the deny list of the book is in force, but a restart forgets it until the book sends it again", "err", err)
	}
	err = n.recordNode(context.Background(), ledger.ActionUpdate, ledger.KindNodeChange, ledger.DataAccount, ledger.Field{Name: "deny-list-of-the-book", Value: fmt.Sprint(epoch)})
	if err != nil {
		n.log.Error("the deny list of the book is in force, but the ledger has no entry of it", "err", err)
	}
	return nil
}
