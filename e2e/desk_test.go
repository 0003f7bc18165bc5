//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/scope"
	"github.com/querschott/querschott/service/desk"
)

// deskReport is what it reports.
type deskReport struct {
	Served                                                                    int
	Search, Person, Notes, Note                                               foreignAnswer
	WithoutReason, Story, InTheAddress, ByGet, AsForm, Oversize               foreignAnswer
	Replayed, ForeignKey, WrongTarget, WrongMethod, WrongHash, Bearer, Forged foreignAnswer
	StrangersNumber, WrongScope, Practice, OverTheCap, ForeignInsurer         foreignAnswer
}

// deskCap is how many persons an employee may reach in a minute, as the manual says.
const deskCap = 20

// foreignDesk has a workplace of other people's parts read at the desk of a quiet demonstration whatever an employee may, and
// try what he may not; then the platform must know whom he reached, and the person who looked.
func foreignDesk(t *testing.T, d *demonstration, dir string, m letter) {
	t.Helper()
	world := drill.NewWorld(1, drill.DefaultInsurers, drill.DefaultPersons)
	in, other := world.Insurers()[2], world.Insurers()[5]
	first, _ := in.Persons()
	who := world.Person(first)
	if who.Number != m.person {
		t.Fatal("the letter is about another person")
	}
	theirs, _ := other.Persons()
	stranger := world.Person(theirs)
	var crowd []string
	for k := range deskCap + 3 {
		crowd = append(crowd, world.Person(first+1+k).Number.Reveal())
	}
	for _, verb := range []string{"show", "notes"} {
		eventually(t, "what is asked for is in the cell", func() bool { // it comes while the demonstration runs
			return exec.CommandContext(t.Context(), plain, "desk", verb, "--demo", filepath.Join(d.file.Dir, "demo.json"), "--ik", string(in.IK),
				"--kvnr", who.Number.Reveal(), "--reason", "case:VG-1").Run() == nil
		})
	}
	var r deskReport
	startForeign(t, dir, "desk.mjs", d.file.CA).report(t, map[string]any{
		"entrance": d.file.HTTP, "issuer": d.file.Issuer, "ik": in.IK, "other": other.IK, "stranger": stranger.Number.Reveal(), "crowd": crowd,
		"person": map[string]string{"number": who.Number.Reveal(), "family": who.Family, "given": who.Given, "born": string(who.Born)},
	}, &r)
	r.answers(t, who)
	r.refusals(t)
	r.traces(t, d, in.IK, who, world.Person(first+1))
}

// answers judges what an employee may see.
func (r *deskReport) answers(t *testing.T, who drill.Person) {
	t.Helper()
	var hits desk.Hits
	var person desk.Person
	var notes desk.SickNotes
	var note desk.Document
	for name, tc := range map[string]struct {
		got  foreignAnswer
		into any
	}{"search": {r.Search, &hits}, "person": {r.Person, &person}, "notes": {r.Notes, &notes}, "note": {r.Note, &note}} {
		if tc.got.Status != 200 || tc.got.RequestID == "" || !strings.Contains(tc.got.Cache, "no-store") {
			t.Errorf("%s: %d, request %q, to be kept: %q: %.300s", name, tc.got.Status, tc.got.RequestID, tc.got.Cache, tc.got.Body)
		} else if err := json.Unmarshal([]byte(tc.got.Body), tc.into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !slices.ContainsFunc(hits.Hits, func(h desk.Hit) bool { return h.Person == who.Number.Reveal() }) {
		t.Errorf("the search finds %d persons, and not who was looked for", len(hits.Hits))
	}
	if person.Person != who.Number.Reveal() || person.Family != who.Family || len(person.Covers) == 0 {
		t.Error("the master data are another person's, or without an insurance")
	}
	if len(notes.Notes) != 1 || note.Note.Note != notes.Notes[0].Note || !strings.Contains(note.FHIR, who.Number.Reveal()) {
		t.Errorf("%d sick notes; the document of %d octets is not of the first, or names somebody else", len(notes.Notes), len(note.FHIR))
	}
}

// refusals judges what must be refused.
func (r *deskReport) refusals(t *testing.T) {
	t.Helper()
	mustRefuse(t, map[string]refusal{
		"withoutReason":   {r.WithoutReason, 400, "reason"},
		"story":           {r.Story, 400, "reason"},
		"inTheAddress":    {r.InTheAddress, 400, "body"},
		"byGet":           {r.ByGet, 405, ""},
		"asForm":          {r.AsForm, 400, "application/json"},
		"oversize":        {r.Oversize, 413, ""},
		"strangersNumber": {r.StrangersNumber, 404, "nothing is recorded"},
		"replayed":        {r.Replayed, 401, "invalid_dpop_proof"},
		"foreignKey":      {r.ForeignKey, 401, "invalid_dpop_proof"},
		"wrongTarget":     {r.WrongTarget, 401, "invalid_dpop_proof"},
		"wrongMethod":     {r.WrongMethod, 401, "invalid_dpop_proof"},
		"wrongHash":       {r.WrongHash, 401, "invalid_dpop_proof"},
		"bearer":          {r.Bearer, 401, ""},
		"forged":          {r.Forged, 401, "invalid_token"},
		"wrongScope":      {r.WrongScope, 401, "insufficient_scope"},
		"practice":        {r.Practice, 403, ""},
		"overTheCap":      {r.OverTheCap, 429, "different persons"},
		"foreignInsurer":  {r.ForeignInsurer, 403, ""},
	})
	if r.Served != deskCap || r.OverTheCap.RetryAfter == "" {
		t.Errorf("%d persons were shown to one employee, want %d; to be tried again after %q s", r.Served, deskCap, r.OverTheCap.RetryAfter)
	}
}

// traces looks for the accesses where the person and the operators look for them: everything that was shown is there, and
// nobody else.
func (r *deskReport) traces(t *testing.T, d *demonstration, ik querschott.IK, who, first drill.Person) {
	t.Helper()
	employee := func(name string) querschott.Actor { return querschott.Actor(string(ik) + "/" + name) }
	got, actors := seenBy(t, d, who, employee("e.foreign"))
	insured, note := ledger.DataInsured.String(), ledger.DataSickNote.String()
	want := map[string]int{"reached " + insured: 2, "reached " + note: 2} // search and master data; list and document
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who saw the record (-want +got):\n%s", diff)
	}
	for _, name := range []string{"e.card", "e.curious", "e.guest"} {
		if _, saw := actors[employee(name)]; saw {
			t.Errorf("%s is among those who saw the record", name)
		}
	}
	_, others := seenBy(t, d, first, employee("e.curious"))
	for name, tc := range map[string]struct {
		credential querschott.CredentialID
		persons    uint64
		data       []string
	}{
		"e.foreign": {actors[employee("e.foreign")], 1, []string{insured, note}},
		"e.curious": {others[employee("e.curious")], deskCap, []string{insured}},
	} {
		if tc.credential == "" {
			t.Errorf("the record names no credential of %s", name)
			continue
		}
		var reached scope.Answer
		ask(t, &reached, "--config", d.file.Config, "-o", "json", "scope", "--credential", string(tc.credential), "--from", "1h", "--persons")
		if reached.Total != (scope.Bounds{Lower: tc.persons, Best: tc.persons, Upper: tc.persons}) || reached.Coverage != 1 {
			t.Errorf("%s reached %+v, want %d persons; coverage %v", name, reached.Total, tc.persons, reached.Coverage)
		}
		for i := range reached.Insurers {
			in := &reached.Insurers[i]
			if want := map[bool]scope.Grade{true: scope.GradeReached, false: scope.GradeExcluded}[in.Insurer == ik]; in.Grade != want {
				t.Errorf("%s at insurer %q: %s, want %s", name, in.Insurer, in.Grade, want)
			}
			for _, p := range in.Persons {
				if p.Result == scope.Reached && !slices.Equal(p.Data, tc.data) {
					t.Errorf("%s saw %v of a person, want %v", name, p.Data, tc.data)
				}
			}
		}
	}
}

// seenBy asks who saw a person's data, and counts what one actor did. It returns everybody with his credential.
func seenBy(t *testing.T, d *demonstration, who drill.Person, actor querschott.Actor) (map[string]int, map[querschott.Actor]querschott.CredentialID) {
	t.Helper()
	number := filepath.Join(t.TempDir(), "number")
	if err := os.WriteFile(number, []byte(who.Number.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	var seen scope.Sightings
	ask(t, &seen, "--config", d.file.Config, "-o", "json", "scope", "person", "--insurer", string(who.Insurer.IK), "--from", "1h", "--kvnr-file", number)
	did, all := map[string]int{}, map[querschott.Actor]querschott.CredentialID{}
	for _, s := range seen.List {
		if s.Actor == actor {
			did[s.Result.String()+" "+s.Data]++
		}
		all[s.Actor] = s.Credential
	}
	return did, all
}

// ask runs a command and reads the JSON that it prints.
func ask(t testing.TB, into any, args ...string) {
	t.Helper()
	out := command(t, args...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%v prints %.300q: %v", args, out, err)
	}
}
