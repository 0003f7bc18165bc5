package node

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/wait"
	"github.com/querschott/querschott/watch"
)

func TestAlarmsAreHeardInOrder(t *testing.T) {
	n := newHouse(t, 1).open()
	heard := make(chan string, 16)
	n.onAlarm(func(_ context.Context, a *watch.Alarm) { heard <- "first " + a.Detector })
	n.onAlarm(func(_ context.Context, a *watch.Alarm) { heard <- "second " + a.Detector })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.alarms.run(ctx) }()
	at := time.Now().UTC()
	for i := range 21 { // one person more than a clerk reaches in a minute
		n.stream.Publish(querschott.Access{
			Time: at, Service: querschott.Desk, Insurer: "109500969", Tenant: "109500969", Actor: "clerk", Credential: "c",
			Role: querschott.RoleStaff, Action: "read", Person: strconv.Itoa(i), Records: 1, Outcome: "success",
		})
	}
	for _, want := range []string{"first D1", "second D1"} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-wait.Over(t):
			t.Fatal("nobody heard of the alarm")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
