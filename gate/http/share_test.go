package http

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// TestShareOfCallers: about so many as the share says are let in, always the same ones, and more at every larger share.
func TestShareOfCallers(t *testing.T) {
	c := querschott.Compartment{Insurer: "109500969", Service: querschott.VSDM}
	o := door.Order{Compartment: c, To: querschott.Open, Stages: door.DefaultPlan}
	const callers = 4000
	for _, share := range []int{10, 50, 100} {
		s := &Server{cfg: Config{Share: func(querschott.Compartment) int { return share }, ShareKey: []byte("key")}}
		in := 0
		for i := range callers {
			who := querschott.CredentialID(fmt.Sprint("practice", i))
			first, again := s.meets(o, who).To, s.meets(o, who).To
			if first != again {
				t.Fatalf("%s meets %s, then %s", who, first, again)
			}
			if first == querschott.Open {
				in++
			}
		}
		if got := in * 100 / callers; got < share-3 || got > share+3 {
			t.Errorf("at %d %% %d %% were let in", share, got)
		}
	}
}

// TestFallingBackCutsAnswers: when a door falls back a stage, the answers under way of those who are not among the share any more
// are cut, and no others.
func TestFallingBackCutsAnswers(t *testing.T) {
	for _, stays := range []bool{true, false} {
		key := keyFor("c-practice", desk, 10, stays)
		var share atomic.Int64
		share.Store(100)
		w := open(t, func(c *Config) {
			c.ShareKey, c.Share = key, func(querschott.Compartment) int { return int(share.Load()) }
		})
		w.set(func() { o := w.doors[desk]; o.Stages = door.DefaultPlan; w.doors[desk] = o })
		f := feeding(w)
		go func() { f.pieces <- piece(1) }()
		_, r := begin(t, w, true, "practice")
		expect(t, r, 1)
		share.Store(10)
		o, _ := w.door(desk)
		if err := w.srv.Obey(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if stays {
			f.pieces <- piece(2)
			expect(t, r, 2)
			close(f.pieces)
		}
		if rest, err := io.ReadAll(r); (err == nil) != stays || len(rest) != 0 {
			t.Errorf("among the share %v: the end is %q, %v", stays, rest, err)
		}
		<-f.closed
		w.await(func() bool { return w.srv.Stats().InFlight == 0 })
		if cut := w.srv.Stats().Cut; (cut == 0) != stays {
			t.Errorf("among the share %v: %d answers were cut", stays, cut)
		}
	}
}

// keyFor finds a key with which a credential is among a share, or is not.
func keyFor(who querschott.CredentialID, c querschott.Compartment, share int, in bool) []byte {
	for i := 0; ; i++ {
		key := fmt.Append(nil, i)
		if (pointOf(key, who, c)*100 < share*door.Points) == in {
			return key
		}
	}
}
