package intake

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
)

// About is what is known of a stored message besides its octets.
type About struct {
	Seq       uint64    `json:"seq"`
	Received  time.Time `json:"received"`
	Sender    string    `json:"sender"`
	MessageID string    `json:"message_id"`
	Result    string    `json:"result"`
	Document  string    `json:"document,omitempty"`
	Findings  []string  `json:"findings,omitempty"`
	Facts     any       `json:"facts,omitempty"` // what the service has read
}

// Store puts a whole message into the cell, sealed under the person's data key; a message whose person is not known is
// sealed under a data key of its compartment. Its findings, which name nobody, also go into an open index, so that they
// can be shown.
func (t *Tx) Store(m *Message, n Note, facts any) error {
	a := About{
		Seq: m.Seq, Received: m.Received, Sender: m.Sender, MessageID: m.MessageID,
		Result: n.Result, Document: n.Document, Findings: n.Findings, Facts: facts,
	}
	head, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("couldn't encode what is known of message %d: %w", m.Seq, err)
	}
	value := binary.AppendUvarint(make([]byte, 0, len(head)+len(m.Body)+4), uint64(len(head)))
	value = append(append(value, head...), m.Body...)
	if err := t.Vault.PutRecord(t.Batch, n.Person, RecordName(m.Seq), 1, value); err != nil {
		return fmt.Errorf("couldn't seal message %d: %w", m.Seq, err)
	}
	return t.flag(m, n)
}

// RecordName is the name of a stored message.
func RecordName(seq uint64) string { return fmt.Sprintf("message/%016x", seq) }

// ParseStored splits what Store wrote. Facts comes back as JSON values.
func ParseStored(value []byte) (a About, message []byte, err error) {
	n, k := binary.Uvarint(value)
	if k <= 0 || n > uint64(len(value)-k) {
		return a, nil, errors.New("couldn't read a stored message: its head runs over its end")
	}
	if err := json.Unmarshal(value[k:k+int(n)], &a); err != nil {
		return a, nil, fmt.Errorf("couldn't read the head of a stored message: %w", err)
	}
	return a, value[k+int(n):], nil
}

// Flag is a message that was kept although something is wrong with it.
type Flag struct {
	Seq      uint64    `json:"seq"`
	Received time.Time `json:"received"`
	Result   string    `json:"result"`
	Findings []string  `json:"findings"`
}

func flagKey(c querschott.Compartment, parts ...[]byte) []byte {
	return cell.Key(cell.ServiceSpace(c.Service), cell.KindIndex, append([][]byte{[]byte("flagged")}, parts...)...)
}

func (t *Tx) flag(m *Message, n Note) error {
	if len(n.Findings) == 0 {
		return nil
	}
	value, err := json.Marshal(Flag{Seq: m.Seq, Received: m.Received, Result: n.Result, Findings: n.Findings})
	if err != nil {
		return fmt.Errorf("couldn't encode the findings of message %d: %w", m.Seq, err)
	}
	t.Put(flagKey(t.Compartment, binary.BigEndian.AppendUint64(nil, m.Seq)), value)
	return nil
}

// Flags lists up to limit flagged messages of a compartment, oldest first.
func Flags(store cell.Store, c querschott.Compartment, limit int) ([]Flag, error) {
	prefix := flagKey(c)
	var list []Flag
	err := store.Scan(prefix, cell.PrefixEnd(prefix), func(_, value []byte) error {
		if len(list) == limit {
			return cell.ErrStop
		}
		var f Flag
		if err := json.Unmarshal(value, &f); err != nil {
			return fmt.Errorf("couldn't read a flag of %s: %w", c, err)
		}
		list = append(list, f)
		return nil
	})
	if errors.Is(err, cell.ErrStop) {
		err = nil
	}
	return list, err
}

// Keep is the handler of messages that no service reads: they are stored as they came. A message that came before, with
// the same sender and message id, is stored again and noted as a duplicate.
func Keep(_ context.Context, m *Message, tx *Tx) (Note, error) {
	n := Note{Result: ResultStored}
	switch _, err := tx.Get(bindingKey(tx.Compartment, m.Binding)); {
	case err == nil:
		n.Result = ResultDuplicate
	case !errors.Is(err, cell.ErrNotFound):
		return Note{}, err
	}
	return n, tx.Store(m, n, nil)
}
