package http

import (
	"context"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/service"
)

// A service whose keys are gone refuses before the gate has seen the door's move. The caller gets what a shut door says.
func TestServiceNoticesTheDoorFirst(t *testing.T) {
	w := open(t)
	w.set(func() {
		w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
			return nil, querschott.Refuse(querschott.CodeDoorHeld, "the compartment is not unlocked")
		}
	})
	got := w.ask(ask{method: "GET", target: "/desk/" + string(one), as: "practice"})
	if got.status != 503 || got.member("code") != string(querschott.CodeDoorHeld) || got.header.Get("Retry-After") == "" || got.member("status_page") == "" {
		t.Errorf("got %v, retry after %q", got, got.header.Get("Retry-After"))
	}
	if entries := w.take(); len(entries) != 1 {
		t.Errorf("got %d entries", len(entries))
	}
}
