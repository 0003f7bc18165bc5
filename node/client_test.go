package node

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// TestClientSignsOnlyWhatWasAsked speaks to a node that is in wrong hands: it drafts other orders than were asked for, and
// shows other proposals than it wants to have signed.
func TestClientSignsOnlyWhatWasAsked(t *testing.T) {
	h := newHouse(t, 2)
	c, other := h.compartment(0, querschott.EAU), h.compartment(1, querschott.EAU)
	ask := DraftRequest{Compartment: c, To: querschott.Closed, Reason: "phishing", Incident: "VF-1", Expires: time.Now().Add(time.Hour), Actor: anna}
	honest := door.Order{
		Compartment: c, Epoch: 1, To: querschott.Closed, At: time.Now().UTC().Truncate(time.Microsecond),
		Expires: ask.Expires.UTC().Truncate(time.Microsecond), Actor: anna, Reason: ask.Reason, Incident: ask.Incident,
	}
	var draft door.Order
	submitted := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/doors/draft", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"text": draft.Text()})
	})
	mux.HandleFunc("POST /v1/doors/submit", func(w http.ResponseWriter, _ *http.Request) {
		submitted++
		_, _ = w.Write([]byte("{}"))
	})
	l, err := net.Listen("unix", NewClient(h.cfg).path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	client := NewClient(h.cfg)

	lies := map[string]func(*door.Order){
		"another door":     func(o *door.Order) { o.Compartment = other },
		"another state":    func(o *door.Order) { o.To = querschott.Open },
		"another reason":   func(o *door.Order) { o.Reason = "all is well" },
		"another incident": func(o *door.Order) { o.Incident = "VF-2" },
		"another actor":    func(o *door.Order) { o.Actor = ben },
		"no end":           func(o *door.Order) { o.Expires = time.Time{} },
		"a later end":      func(o *door.Order) { o.Expires = o.Expires.Add(time.Hour) },
	}
	for name, lie := range lies {
		draft = honest
		lie(&draft)
		if _, err := client.Order(t.Context(), ask, h.signer(anna)); err == nil || !strings.Contains(err.Error(), "nothing was signed") || submitted > 0 {
			t.Errorf("%s: %v, %d orders were signed", name, err, submitted)
		}
	}
	draft = honest
	if _, err := client.Order(t.Context(), ask, h.signer(anna)); err != nil || submitted != 1 {
		t.Errorf("the order that was asked for: %v, %d were signed", err, submitted)
	}

	operators, err := LoadOperators(h.cfg.Operators)
	if err != nil {
		t.Fatal(err)
	}
	known, err := verifiers(operators...)
	if err != nil {
		t.Fatal(err)
	}
	delete(lies, "no end") // a proposal does not show it
	delete(lies, "a later end")
	shown := door.Proposal{Compartment: c, To: querschott.Closed, Actor: anna, Reason: ask.Reason, Incident: ask.Incident}
	for name, lie := range lies {
		o := honest
		lie(&o)
		if shown.Note, err = door.Sign(o, h.signer(anna)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Approve(t.Context(), shown, known, h.signer(ben)); err == nil || submitted != 1 {
			t.Errorf("a proposal with %s was cosigned", name)
		}
	}
	if shown.Note, err = door.Sign(honest, h.signer(anna)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Approve(t.Context(), shown, known, h.signer(ben)); err != nil || submitted != 2 {
		t.Errorf("the proposal that was shown: %v", err)
	}
}
