package node

import (
	"testing"

	"github.com/querschott/querschott"
)

// TestMailForAServiceThatTheInsurerDoesNotHave is kept as mail; it must not be refused until its sender gives up.
func TestMailForAServiceThatTheInsurerDoesNotHave(t *testing.T) {
	h := newHouse(t, 2)
	list, err := LoadInsurers(h.cfg.Insurers)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Services, list[1].Services = []querschott.Service{querschott.Letter}, nil // the second has only an address
	if err := SaveInsurers(h.cfg.Insurers, list); err != nil {
		t.Fatal(err)
	}
	n := h.run()
	n.openAll()
	for i := range 2 {
		mails := h.notes(i, 2)
		n.send(mails...)
		for k := range mails {
			mails[k].Compartment.Service = querschott.Mail
		}
		n.arrive(mails...)
	}
	if got := n.Status(); got.Mail.Accepted != 4 || len(got.Trouble) != 0 {
		t.Errorf("%d accepted, trouble %v", got.Mail.Accepted, got.Trouble)
	}
}
