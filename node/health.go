package node

import (
	"context"
	"net/http"

	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// health says that the node answers. It says nothing of what troubles it: strangers read it.
func (n *Node) health(context.Context, *service.Request) (*service.Answer, error) {
	return &service.Answer{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}},
		Body: []byte("ok\n"), Facts: service.Facts{Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess},
	}, nil
}
