//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/node"
)

// TestForeignProvider lets an insurer's employees in by the insurer's own OpenID provider: they log in there, their tokens are
// bound to their keys, and the provider can speak for nobody else.
func TestForeignProvider(t *testing.T) {
	t.Parallel()
	dir := peers(t)
	e := installHTTP(t, 1, nil)
	in := e.world.Insurers()[0]
	provider := startForeign(t, dir, "provider.mjs", e.dir+"/ca.crt", e.base, string(in.IK))
	name := provider.line(t)
	e.set(t, map[string]string{"http.access_issuers": fmt.Sprintf("[{issuer: %q, staff: [%q]}]", name, in.IK)})
	if err := node.SaveInsurers(e.load(t).Insurers, []node.Insurer{{
		IK: in.IK, Name: in.Name, Insured: in.Insured, Services: []querschott.Service{querschott.VSDM, querschott.Desk}, Addresses: []string{string(in.Address)},
	}}); err != nil {
		t.Fatal(err)
	}
	p, _ := e.serve(t)
	e.openAll(t)
	e.deliver(t, 1)
	who := e.person(in, 0)
	var got map[string]foreignAnswer
	provider.report(t, map[string]any{"person": map[string]string{"number": who.Number.Reveal(), "family": who.Family}}, &got)
	own := got["c.mueller"]
	if own.Status != 200 || !strings.Contains(own.Body, who.Number.Reveal()) {
		t.Errorf("the employee was answered %d: %s %.300s", own.Status, own.Authenticate, own.Body)
	}
	mustRefuse(t, map[string]refusal{
		"without.second.factor": {got["without.second.factor"], 401, "insufficient_user_authentication"},
		"elsewhere":             {got["elsewhere"], 401, "invalid_token"},
		"1-2PRACTICE":           {got["1-2PRACTICE"], 401, "invalid_token"},
		"idToken":               {got["idToken"], 401, "invalid_token"},
		"bearer":                {got["bearer"], 401, ""},
		"foreignKey":            {got["foreignKey"], 401, "invalid_dpop_proof"},
		"cards":                 {got["cards"], 401, "insufficient_scope"},
	})
	list := entries(t, e.client(t))[own.RequestID]
	if len(list) != 1 || list[0].Actor != querschott.Actor(in.IK+"/c.mueller") || list[0].Outcome != ledger.OutcomeSuccess.String() {
		t.Errorf("the ledger says %+v", list)
	}
	p.stop(t)
}
