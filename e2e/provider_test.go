//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
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
	cmd := script(t.Context(), dir, "provider.mjs", e.dir+"/ca.crt", e.base, string(in.IK))
	var stderr record
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	name, err := lines.ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the provider ended early: %v\n%s", err, &stderr)
	}
	name = strings.TrimSpace(name)
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
	if err := json.NewEncoder(stdin).Encode(map[string]any{"person": map[string]string{"number": who.Number.Reveal(), "family": who.Family}}); err != nil {
		t.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the provider ended with %v\n%s", err, &stderr)
	}
	var got map[string]deskAnswer
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("the client reports %q: %v", text, err)
	}
	for what, want := range map[string]struct {
		status int
		text   string
	}{
		"c.mueller":             {200, who.Number.Reveal()},
		"without.second.factor": {401, "insufficient_user_authentication"},
		"elsewhere":             {401, "invalid_token"},
		"1-2PRACTICE":           {401, "invalid_token"},
		"idToken":               {401, "invalid_token"},
		"bearer":                {401, ""},
		"foreignKey":            {401, "invalid_dpop_proof"},
		"cards":                 {401, "insufficient_scope"},
	} {
		a := got[what]
		if a.Status != want.status || !strings.Contains(a.Authenticate+a.Body, want.text) || a.NamesPerson != (want.status == 200) {
			t.Errorf("%s: %d, want %d with %q: %s %.300s", what, a.Status, want.status, want.text, a.Authenticate, a.Body)
		}
	}
	list := entries(t, e.client(t))[got["c.mueller"].RequestID]
	if len(list) != 1 || list[0].Actor != querschott.Actor(in.IK+"/c.mueller") || list[0].Outcome != ledger.OutcomeSuccess.String() {
		t.Errorf("the ledger says %+v", list)
	}
	p.stop(t)
}
