package http

import (
	"fmt"
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
