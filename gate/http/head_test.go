package http

import (
	"context"
	"net/http"
	"testing"

	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// HEAD says how long the answer to GET would be if the backend knows, and nothing if it does not.
func TestHeadLength(t *testing.T) {
	for says, want := range map[string]string{"4711": "4711", "": "", "-1": "", "many": ""} {
		w := open(t)
		w.set(func() {
			w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
				h := http.Header{}
				if says != "" {
					h.Set("Content-Length", says)
				}
				return &service.Answer{Status: 200, Header: h, Facts: service.Facts{Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess}}, nil
			}
		})
		got := w.ask(ask{method: "HEAD", target: "/desk/" + string(one), as: "practice"})
		if got.status != 200 || got.header.Get("Content-Length") != want {
			t.Errorf("backend says %q: got %v with length %q, want %q", says, got, got.header.Get("Content-Length"), want)
		}
	}
}
