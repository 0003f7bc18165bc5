package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
)

// canaryPatience is how long canary traffic may take before it counts as failed.
const canaryPatience = 5 * time.Second

// readCanary is the canary traffic of a door that opens in stages: the platform reads the master data of one of the insurer's
// canary persons from behind the door, with the keys and the cell that callers' requests use, and compares every byte with what
// was stored. That it does so is in the ledger first. It tells no detector, as it is no caller. Without canaries there, or for a
// service that reads no master data, there is no such traffic, and nil is returned.
func (n *Node) readCanary(c querschott.Compartment) error {
	if n.alarms == nil || c.Service != querschott.VSDM && c.Service != querschott.Desk {
		return nil
	}
	kept := n.alarms.canaries.kept(c.Insurer)
	at := querschott.Compartment{Insurer: c.Insurer, Service: querschott.VSDM}
	if o, ok := n.doors.Current(at); len(kept) == 0 || !ok || !o.To.ServesReads() {
		return nil
	}
	number := n.alarms.canaries.number(c.Insurer, kept[0])
	ctx, cancel := context.WithTimeout(context.Background(), canaryPatience)
	defer cancel()
	n.alarms.storing.Lock()
	stored := n.alarms.stored[number]
	n.alarms.storing.Unlock()
	if !stored {
		return nil
	}
	if err := n.recordCanary(ctx, c, number); err != nil {
		return fmt.Errorf("canary traffic: the ledger took no entry: %w", err)
	}
	vault, err := n.vaults.Vault(at)
	if err != nil {
		return errors.New("canary traffic: the keys are not in memory")
	}
	e, _, err := insured.Get(vault, insured.Name(c.Insurer), number)
	if err != nil {
		return errors.New("canary traffic: what was stored cannot be read")
	}
	if !bytes.Equal(e.Record.Encode(), n.invented(c.Insurer, kept[0], number).Encode()) {
		return errors.New("canary traffic: what is read is not what was stored")
	}
	return nil
}

// recordCanary is the ledger's entry before a canary is read.
func (n *Node) recordCanary(ctx context.Context, c querschott.Compartment, number querschott.KVNR) error {
	o, _ := n.doors.Current(c)
	return n.append(ctx, ledger.Entry{
		Kind: ledger.KindAccess, At: n.opt.Now(), Compartment: c, Action: ledger.ActionRead, Data: ledger.DataInsured, Records: 1,
		Outcome: ledger.OutcomeSuccess, Role: querschott.RoleMachine, Purpose: ledger.PurposeSecurity, Actor: door.MachineActor,
		Person: number, Epoch: o.Epoch, Detail: []ledger.Field{{Name: "canary_traffic", Value: "stage"}},
	})
}
