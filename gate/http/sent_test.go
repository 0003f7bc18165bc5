package http

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/service"
)

// lostWriter is a caller who has gone.
type lostWriter struct{ http.ResponseWriter }

func (lostWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

// A backend gets its body back when it has left whole, and never while somebody may still read it.
func TestBodyComesBack(t *testing.T) {
	w := newWorld(t)
	back := 0
	w.set(func() {
		w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
			return &service.Answer{Status: 200, Body: []byte("body"), Sent: func() { back++ }}, nil
		}
	})
	for _, tc := range []struct {
		name string
		lost bool
		door querschott.DoorState
		want int
	}{
		{"sent", false, querschott.Open, 1},
		{"caller has gone", true, querschott.Open, 0},
		{"refused", false, querschott.Closed, 0},
	} {
		back = 0
		w.move(querschott.Compartment{Insurer: one, Service: querschott.Desk}, tc.door)
		r := httptest.NewRequest("GET", "https://gate.example/desk/"+string(one)+"/x", nil)
		r.URL.Scheme, r.URL.Host = "", ""
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set("Authorization", "Test practice")
		rec := httptest.NewRecorder()
		var out http.ResponseWriter = rec
		if tc.lost {
			out = lostWriter{rec}
		}
		w.srv.ServeHTTP(out, r)
		if back != tc.want {
			t.Errorf("%s: the body came back %d times, want %d; answer %d", tc.name, back, tc.want, rec.Code)
		}
	}
}
