//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/querschott/querschott/drill"
)

// foreignReport is what it reports.
type foreignReport struct {
	Resource                          string
	AuthorizationServers              []string
	TokenType                         string
	Claims                            struct{ Typ, Sub, Scope string }
	Bound, ForgedVerifies, NonceRetry bool
	Presence                          struct {
		ActorID, InsurerID string
		PatientIsAsked     bool
	}

	First, Unchanged, XML                                                               foreignAnswer
	Replayed, ForeignKey, WrongMethod, WrongTarget, WrongHash, Bearer, Forged, Unsigned foreignAnswer
	ForeignActor, WithoutPresence, Revoked                                              foreignAnswer
}

// TestForeignClient has a practice's program made of oauth4webapi, dpop and jose find the issuer, get tokens, check a card
// and be refused in every way that a client can be wrong in. Then an insurer's workplace made of the same parts reads at the
// desk of the same demonstration.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	dir := peers(t)
	d := startDemo(t, filepath.Join(t.TempDir(), "demo"), "--rate", "0", "--checks", "0")
	note := sendToDemo(t, d) // before the practice is revoked
	world := drill.NewWorld(1, drill.DefaultInsurers, drill.DefaultPersons)
	in := world.Insurers()[3]
	first, _ := in.Persons()
	who := world.Person(first + 5)
	actor := d.file.Practice.Telematik

	eventually(t, "the person's master data are in the cell", func() bool { // they come while the demonstration runs
		return exec.CommandContext(t.Context(), plain, "vsdm", "get", "--demo", filepath.Join(d.file.Dir, "demo.json"),
			"--ik", string(in.IK), "--kvnr", who.Number.Reveal()).Run() == nil
	})
	client := startForeign(t, dir, "client.mjs", d.file.CA, d.file.HTTP, d.file.Issuer, string(in.IK), who.Number.Reveal(), actor)
	if line := client.line(t); line != "ready for revocation" {
		t.Fatalf("the client says %q", line)
	}
	command(t, "--config", d.file.Config, "revoke", "add", "subject", actor, "--reason", "token store stolen",
		"--key", filepath.Join(filepath.Dir(d.file.Config), "operators", "anna.key"))
	var r foreignReport
	client.report(t, "go on", &r)
	r.tokens(t, d, string(in.IK), actor)
	r.answers(t)
	r.refusals(t)
	foreignDesk(t, d, dir, note)
	silent(t, d)
}

// tokens judges what the client saw of the issuers.
func (r *foreignReport) tokens(t *testing.T, d *demonstration, ik, actor string) {
	t.Helper()
	if r.Resource != d.file.HTTP || len(r.AuthorizationServers) != 1 || r.AuthorizationServers[0] != d.file.Issuer {
		t.Errorf("discovery: resource %s of %v", r.Resource, r.AuthorizationServers)
	}
	if !strings.EqualFold(r.TokenType, "DPoP") || r.Claims.Sub != actor || r.Claims.Scope != "vsdservice" || !r.Bound {
		t.Errorf("access token: type %s, claims %+v, bound to the key: %t", r.TokenType, r.Claims, r.Bound)
	}
	if !r.NonceRetry {
		t.Error("a proof with a nonce that is nobody's got a token")
	}
	if r.ForgedVerifies {
		t.Error("a token with another signature verifies")
	}
	if r.Presence.ActorID != actor || r.Presence.InsurerID != ik || !r.Presence.PatientIsAsked {
		t.Errorf("PoPP token: %+v", r.Presence)
	}
}

// answers judges the checks that succeed.
func (r *foreignReport) answers(t *testing.T) {
	t.Helper()
	number := regexp.MustCompile(`^[A-Za-z0-9+/_=-]{60,}$`)
	tag := regexp.MustCompile(`^"?[0-9a-f]{64}"?$`)
	for name, tc := range map[string]struct {
		got       foreignAnswer
		status    int
		mediaType string
	}{
		"first":     {r.First, 200, "application/fhir+json"},
		"unchanged": {r.Unchanged, 304, ""},
		"xml":       {r.XML, 200, "application/fhir+xml"},
	} {
		if tc.got.Status != tc.status || !number.MatchString(tc.got.Pz) || !tag.MatchString(tc.got.ETag) || tc.got.RequestID == "" {
			t.Errorf("%s: %d, check number %q, entity tag %q, request %q: %.300s", name, tc.got.Status, tc.got.Pz, tc.got.ETag, tc.got.RequestID, tc.got.Body)
		}
		if !strings.HasPrefix(tc.got.Type, tc.mediaType) || tc.got.NamesPerson != (tc.status == 200) || (tc.got.Body == "") != (tc.status == 304) {
			t.Errorf("%s: type %s, body of %d bytes, names the person: %t", name, tc.got.Type, len(tc.got.Body), tc.got.NamesPerson)
		}
	}
	if r.First.ETag == r.XML.ETag || r.First.Pz == r.Unchanged.Pz {
		t.Error("two formats have one entity tag, or two checks one check number")
	}
}

// refusals judges the checks that must be refused.
func (r *foreignReport) refusals(t *testing.T) {
	t.Helper()
	mustRefuse(t, map[string]refusal{
		"replayed":        {r.Replayed, 401, "invalid_dpop_proof"},
		"foreignKey":      {r.ForeignKey, 401, "invalid_dpop_proof"},
		"wrongMethod":     {r.WrongMethod, 401, "invalid_dpop_proof"},
		"wrongTarget":     {r.WrongTarget, 401, "invalid_dpop_proof"},
		"wrongHash":       {r.WrongHash, 401, "invalid_dpop_proof"},
		"bearer":          {r.Bearer, 401, ""},
		"forged":          {r.Forged, 401, "invalid_token"},
		"unsigned":        {r.Unsigned, 401, "invalid_token"},
		"foreignActor":    {r.ForeignActor, 403, "access_denied"},
		"withoutPresence": {r.WithoutPresence, 400, ""},
		"revoked":         {r.Revoked, 403, "access_denied"},
	})
}
