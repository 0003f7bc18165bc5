package node

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/gate/mail"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/outbox"
)

// dataOf says which kind of data a service's messages hold.
func dataOf(s querschott.Service) ledger.DataClass {
	switch s {
	case querschott.EAU:
		return ledger.DataSickNote
	case querschott.Letter:
		return ledger.DataDoctorLetter
	case querschott.Mail:
		return ledger.DataMessage
	case querschott.VSDM:
		return ledger.DataInsured
	case querschott.EPA:
		return ledger.DataRecord
	case querschott.App, querschott.Desk:
		return ledger.DataAccount
	default:
		return ledger.DataNone
	}
}

// recordArrival is the ledger's entry before a sender gets the 250.
func (n *Node) recordArrival(ctx context.Context, t mail.Taken) error {
	o, _ := n.doors.Current(t.Compartment)
	outcome := ledger.OutcomeSuccess
	if !o.To.Delivers() {
		outcome = ledger.OutcomeDeferred
	}
	binding := intake.BindingOf(t.Sender, t.MessageID)
	e := ledger.Entry{
		Kind: ledger.KindArrival, At: t.Received, Compartment: t.Compartment, Action: ledger.ActionReceive,
		Data: dataOf(t.Compartment.Service), Records: 1, Outcome: outcome, Role: t.Credential.Role,
		Purpose: ledger.PurposePayment, Actor: t.Credential.Actor, Credential: t.Credential.ID, Epoch: o.Epoch,
		RequestID: t.Reference,
		Detail: []ledger.Field{
			{Name: "seq", Value: strconv.FormatUint(t.Receipt.Seq, 10)},
			{Name: "copies", Value: strconv.Itoa(t.Receipt.Copies)},
			{Name: "bytes", Value: strconv.Itoa(t.Size)},
			{Name: "message", Value: hex.EncodeToString(binding[:])},
		},
	}
	if isCanary(t.Credential) {
		e.Actor = door.MachineActor
		markCanary(&e)
		return n.append(ctx, e)
	}
	if err := n.append(ctx, e); err != nil {
		return err
	}
	n.contain.recent.Mail(t.Received, t.Credential.Actor, t.Compartment)
	return nil
}

// markCanary makes an entry about a mail one about canary traffic: nobody's sick note, and no record of anybody.
func markCanary(e *ledger.Entry) {
	e.Data, e.Records, e.Purpose = ledger.DataNone, 0, ledger.PurposeSecurity
	e.Detail = append(e.Detail, ledger.Field{Name: ledger.DetailCanary, Value: "stage"})
}

// recordDeliveries is the ledger's entries before messages reach their cell.
func (n *Node) recordDeliveries(ctx context.Context, list []intake.Delivery) error {
	entries := make([]ledger.Entry, len(list))
	for i, d := range list {
		o, _ := n.doors.Current(d.Compartment)
		entries[i] = ledger.Entry{
			Kind: ledger.KindDelivery, At: n.opt.Now(), Compartment: d.Compartment, Action: ledger.ActionDeliver,
			Data: dataOf(d.Compartment.Service), Records: 1, Outcome: ledger.OutcomeSuccess, Role: querschott.RoleMachine,
			Purpose: ledger.PurposePayment, Actor: door.MachineActor, Person: d.Note.Person, Epoch: o.Epoch,
			Detail: []ledger.Field{
				{Name: "seq", Value: strconv.FormatUint(d.Seq, 10)},
				{Name: "result", Value: d.Note.Result},
				{Name: "document", Value: d.Note.Document},
			},
		}
		if d.Note.Result == resultCanary {
			markCanary(&entries[i])
		}
		if d.Note.Result == intake.ResultDuplicate {
			entries[i].Reason = ledger.ReasonDuplicate
		}
		if d.Note.Result == intake.ResultDamaged {
			entries[i].Outcome, entries[i].Reason = ledger.OutcomeFailed, ledger.ReasonOwnFailure
		}
	}
	n.stages.delivered(list)
	n.canary.delivered(list)
	return n.append(ctx, entries...)
}

var doorActions = map[querschott.DoorState]ledger.Action{
	querschott.Open: ledger.ActionOpen, querschott.Hold: ledger.ActionHold,
	querschott.ReadOnly: ledger.ActionReadOnly, querschott.Closed: ledger.ActionClose,
}

// recordOrder is the ledger's entry for a door's move.
func (n *Node) recordOrder(ctx context.Context, o door.Order) error {
	role, reason := querschott.RoleOperator, ledger.ReasonOperator
	if o.Actor == door.MachineActor {
		role, reason = querschott.RoleMachine, ledger.ReasonExpired
		if o.Reason != door.ReasonExpired {
			reason = ledger.ReasonPlaybook
		}
	}
	first := 0
	if shares := o.Stages.Shares(); len(shares) > 0 {
		first = shares[0]
	}
	err := n.append(ctx, ledger.Entry{
		Kind: ledger.KindDoorChange, At: o.At, Compartment: o.Compartment, Action: doorActions[o.To],
		Data: ledger.DataDoorOrder, Outcome: ledger.OutcomeSuccess, Reason: reason, Role: role,
		Purpose: ledger.PurposeSecurity, Actor: o.Actor, Epoch: o.Epoch, Stages: stagesOf(o.Stages, first),
		Detail: []ledger.Field{{Name: "order", Value: o.Text()}, {Name: "approver", Value: string(o.Approver)}},
	})
	return err
}

// recordNode is the ledger's entry for what happens to the node itself.
func (n *Node) recordNode(ctx context.Context, a ledger.Action, k ledger.Kind, d ledger.DataClass, detail ...ledger.Field) error {
	err := n.append(ctx, ledger.Entry{
		Kind: k, At: n.opt.Now(), Action: a, Data: d, Outcome: ledger.OutcomeSuccess, Role: querschott.RoleMachine,
		Purpose: ledger.PurposeOperations, Actor: door.MachineActor, Detail: detail,
	})
	return err
}

// notify puts a delivery status notification into the outbox.
func (n *Node) notify(ctx context.Context, d mail.DSN) error {
	if n.cfg.Drill {
		d.Body = append([]byte(drillHeader), d.Body...)
	}
	return n.outbox.Put(ctx, outbox.Mail{ID: d.ID, To: d.To, Body: d.Body, Created: d.Created})
}
