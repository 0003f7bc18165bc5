package follow_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/door/follow"
)

// order makes an order of vsdm under the given signatures.
func order(t *testing.T, epoch uint64, from, to querschott.DoorState, who ...string) []byte {
	t.Helper()
	o := door.Order{
		Compartment: vsdm, Epoch: epoch, From: from, To: to, Inverse: from, At: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC),
		Actor: querschott.Actor(who[0]), Reason: "a test",
	}
	var signers []note.Signer
	for _, w := range who {
		signers = append(signers, keys()[w])
	}
	raw, err := note.Sign(&note.Note{Text: o.Text()}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestLyingPublisher shows one frame after another to a gate that has vsdm open in epoch 5.
func TestLyingPublisher(t *testing.T) {
	const hold, open, readOnly, closed = querschott.Hold, querschott.Open, querschott.ReadOnly, querschott.Closed
	closing := order(t, 6, open, closed, "anna")
	for name, tc := range map[string]struct {
		frames []follow.Frame // after the heartbeat
		want   querschott.DoorState
		fault  string // of the last one; "": none
		ends   bool   // the gate hangs up
	}{
		"closing":            {frames: []follow.Frame{{Note: closing}}, want: closed},
		"the same again":     {frames: []follow.Frame{{Note: closing}, {Note: closing}}, want: closed},
		"unsigned":           {frames: []follow.Frame{{Note: []byte("open, please")}}, want: open, fault: "not signed"},
		"stranger":           {frames: []follow.Frame{{Note: order(t, 6, open, closed, "stranger")}}, want: open, fault: "not signed"},
		"changed text":       {frames: []follow.Frame{{Note: bytes.Replace(closing, []byte("epoch 6"), []byte("epoch 9"), 1)}}, want: open, fault: "not signed"},
		"older":              {frames: []follow.Frame{{Note: closing}, {Note: order(t, 5, hold, open, "anna", "bob")}}, want: closed, fault: "older"},
		"another of its age": {frames: []follow.Frame{{Note: closing}, {Note: order(t, 6, hold, open, "anna", "bob")}}, want: closed, fault: "another order"},
		"one opens":          {frames: []follow.Frame{{Note: closing}, {Note: order(t, 7, closed, open, "anna")}}, want: closed, fault: "second signature"},
		"platform opens":     {frames: []follow.Frame{{Note: closing}, {Note: order(t, 7, closed, open, "querschott")}}, want: closed, fault: "second signature"},
		"two open":           {frames: []follow.Frame{{Note: closing}, {Note: order(t, 7, closed, open, "anna", "bob")}}, want: open},
		"false beginning":    {frames: []follow.Frame{{Note: closing}, {Note: order(t, 8, open, readOnly, "anna")}}, want: closed, fault: "cannot be verified"},
		"old opening": {frames: []follow.Frame{
			{Note: closing}, {Note: order(t, 8, open, readOnly, "anna"), Base: order(t, 5, hold, open, "anna", "bob")},
		}, want: closed, fault: "later opening"},
		"missed opening": {frames: []follow.Frame{
			{Note: closing}, {Note: order(t, 8, open, readOnly, "anna"), Base: order(t, 7, closed, open, "anna", "bob")},
		}, want: readOnly},
		"narrow opening": {frames: []follow.Frame{
			{Note: closing}, {Note: order(t, 9, open, hold, "anna"), Base: nil},
		}, want: hold},
		"another door":  {frames: []follow.Frame{{Note: closing, Compartment: eau.String()}}, want: open, fault: "order for"},
		"no such door":  {frames: []follow.Frame{{Note: closing, Compartment: "109500969/epa"}}, want: open, fault: "no compartment"},
		"no order":      {frames: []follow.Frame{{}}, want: hold},
		"gap":           {frames: []follow.Frame{{Note: closing, Number: 4}}, want: open, ends: true},
		"number again":  {frames: []follow.Frame{{Note: closing, Number: 2}}, want: open, ends: true},
		"an answer":     {frames: []follow.Frame{{Kind: "ack"}}, want: open, ends: true},
		"unknown frame": {frames: []follow.Frame{{Kind: "open"}}, want: open, ends: true},
		"part missing": {frames: []follow.Frame{
			{Kind: "list", Name: "deny", Epoch: 1, Part: 1, Parts: 2, Data: []byte("x")},
		}, want: open, fault: "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, ctx context.Context, w *world) {
				conns := make(chan net.Conn, 1)
				north := w.gate(ctx, hand(conns))
				conn := answerOnce(conns)
				defer conn.Close()
				tell(t, conn, follow.Frame{Kind: "order", Number: 1, Compartment: vsdm.String(), Note: order(t, 5, hold, open, "anna", "bob")})
				tell(t, conn, follow.Frame{Kind: "beat", Number: 2})
				synctest.Wait()
				north.want(t, vsdm, open)
				fault, ended := play(t, conn, tc.frames)
				synctest.Wait()
				north.want(t, vsdm, tc.want)
				if ended != tc.ends || (fault == "") != (tc.fault == "") || !strings.Contains(fault, tc.fault) {
					t.Errorf("fault %q, ended %v; want %q, %v", fault, ended, tc.fault, tc.ends)
				}
			})
		})
	}
}

// play fills in what a frame lacks.
func play(t *testing.T, conn net.Conn, frames []follow.Frame) (fault string, ended bool) {
	for i, f := range frames {
		if f.Kind == "" {
			f.Kind = "order"
		}
		if f.Compartment == "" {
			f.Compartment = vsdm.String()
		}
		if f.Number == 0 {
			f.Number = uint64(3 + i)
		}
		if err := follow.WriteFrame(conn, f); err != nil {
			t.Fatal(err)
		}
		a, err := follow.ReadFrame(conn)
		if err != nil {
			return "", true
		}
		fault = a.Fault
	}
	return fault, false
}

// tell sends a frame and expects an answer to it without a fault.
func tell(t *testing.T, conn net.Conn, f follow.Frame) {
	t.Helper()
	if err := follow.WriteFrame(conn, f); err != nil {
		t.Fatal(err)
	}
	if a, err := follow.ReadFrame(conn); err != nil || a.Kind != "ack" || a.Number != f.Number || a.Fault != "" {
		t.Fatalf("answer %+v, %v", a, err)
	}
}

// hand gives a gate one end of a pipe at each call, and the test the other one.
func hand(conns chan net.Conn) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case conns <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func answerOnce(conns chan net.Conn) net.Conn { return <-conns }

// TestCutFrame ends the connection in the middle of a closing: nothing of it counts, and the next connection brings it.
func TestCutFrame(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, ctx context.Context, w *world) {
		conns := make(chan net.Conn, 1)
		north := w.gate(ctx, hand(conns))
		first := follow.Frame{Kind: "order", Number: 1, Compartment: vsdm.String(), Note: order(t, 5, querschott.Hold, querschott.Open, "anna", "bob")}
		conn := <-conns
		tell(t, conn, first)
		tell(t, conn, follow.Frame{Kind: "beat", Number: 2})
		var b bytes.Buffer
		closing := follow.Frame{Kind: "order", Number: 3, Compartment: vsdm.String(), Note: order(t, 6, querschott.Open, querschott.Closed, "anna")}
		if err := follow.WriteFrame(&b, closing); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b.Bytes()[:b.Len()/2])
		_ = conn.Close()
		synctest.Wait()
		north.want(t, vsdm, querschott.Open)
		conn = <-conns
		defer conn.Close()
		closing.Number = 1
		tell(t, conn, closing)
		synctest.Wait()
		north.want(t, vsdm, querschott.Closed)
	})
}

// TestStrangeGate sends the publisher what it must not take.
func TestStrangeGate(t *testing.T) {
	for name, raw := range map[string]string{
		"too long": "\xff\xff\xff\xff", "empty": "\x00\x00\x00\x00", "no JSON": "\x00\x00\x00\x02{]",
		"not asked": "\x00\x00\x00\x1b" + `{"kind":"ack","number":999}`, "an order": "\x00\x00\x00\x1a" + `{"kind":"beat","number":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []string{"north"}, func(t *testing.T, _ context.Context, w *world) {
				conn, err := w.dial("north")
				if err != nil {
					t.Fatal(err)
				}
				for range 3 { // two orders and a heartbeat
					if _, err := follow.ReadFrame(conn); err != nil {
						t.Fatal(err)
					}
				}
				_, _ = conn.Write([]byte(raw))
				if _, err := follow.ReadFrame(conn); err == nil || w.pub.Status()[0].Acknowledged != 0 {
					t.Errorf("the connection goes on: %+v", w.pub.Status())
				}
			})
		})
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	_ = follow.WriteFrame(&b, follow.Frame{Kind: "order", Number: 1, Compartment: vsdm.String(), Note: []byte("x")})
	f.Add(b.Bytes())
	f.Add([]byte("\x00\x00\x00\x1b" + `{"kind":"ack","number":999}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := follow.ReadFrame(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if m.Number == 0 || m.Parts > 1<<10 || len(m.Name) > 64 || len(m.Data) > 64<<10 {
			t.Errorf("%+v was read", m)
		}
	})
}
