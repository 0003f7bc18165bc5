package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// newDeskHouse is a house whose insurers have desks.
func newDeskHouse(t *testing.T, more ...func(*Config)) (*house, *mint) {
	t.Helper()
	h := newHouseWith(t, 2, []querschott.Service{querschott.EAU, querschott.VSDM, querschott.Desk}, func(c *Config) {
		for _, f := range more {
			f(c)
		}
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key = "127.0.0.1:0", "server.crt", "server.key"
		c.HTTP.DevIssuers, c.HTTP.AccessLog = true, "access.ndjson"
	})
	m := newMint(t)
	h.opt.DevIssuer = m.issuer()
	return h, m
}

// clerk is an insurer's employee with an access token.
type clerk struct {
	r       *live
	m       *mint
	client  *http.Client
	key     *ecdsa.PrivateKey
	name    string
	insurer querschott.IK
	now     func() time.Time
	nonce   string             // that the entrance asked for last
	change  func(*zeta.Access) // spoils the token
}

func (r *live) clerk(m *mint, i int, name string) *clerk {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.h.clientTLS(), ForceAttemptHTTP2: true}}
	r.h.tb.Cleanup(client.CloseIdleConnections)
	return &clerk{r: r, m: m, client: client, key: newKey(r.h.tb), name: name, insurer: r.h.world.Insurers()[i].IK, now: time.Now}
}

func (c *clerk) ask(ctx context.Context, path string, insurer querschott.IK, body any) *drill.DeskAnswer {
	c.r.h.tb.Helper()
	now := c.now()
	base := c.r.Addresses().HTTP
	claims := zeta.Access{
		Issuer: accessIssuer, Issued: now.Unix(), Expires: now.Add(5 * time.Minute).Unix(), Audience: []string{base}, Scope: "desk",
		Subject: c.name, Profession: ident.ProfessionInsurer, Organization: string(c.insurer), Client: "arbeitsplatz", Address: "127.0.0.1",
		Product: "test", ProductVersion: "1", ACR: zeta.Substantial, ID: rand.Text(), Session: "s1",
		Confirmation: zeta.Confirmation{Thumbprint: thumbprint(c.r.h.tb, &c.key.PublicKey)},
	}
	if c.change != nil {
		c.change(&claims)
	}
	call := drill.DeskCall{URL: base, Path: path, Insurer: insurer, Access: c.m.sign(zeta.TypeAccess, claims), Key: c.key, Body: body, Nonce: c.nonce}
	answer, err := call.Do(ctx, c.client, now)
	if err != nil {
		c.r.h.tb.Fatal(err)
	}
	if answer.Nonce != "" {
		c.nonce = answer.Nonce
	}
	return answer
}

func thumbprint(tb testing.TB, key *ecdsa.PublicKey) string {
	tb.Helper()
	public, err := jose.KeyOf(key)
	if err != nil {
		tb.Fatal(err)
	}
	return public.Thumbprint()
}

const why = desk.Reason("case:VG-2026-0815")

// alike gives the first persons of an insurer one name and date of birth.
func (r *live) alike(i, persons int, family string) {
	r.h.tb.Helper()
	for k := range persons {
		record := r.h.world.MasterData(r.h.person(i, k+20))
		record.Patient.Name.Family, record.Patient.Name.Own, record.Patient.Born = family, family, "1980-03-01"
		record.Patient.Name.Given = fmt.Sprintf("Anna %c", 'A'+k)
		record.Patient.Name.Text = record.Patient.Name.Given + " " + family
		if _, err := r.PutInsured(r.h.compartment(i, querschott.VSDM), record); err != nil {
			r.h.tb.Fatal(err)
		}
	}
}

// An employee looks a person up, reads master data and sick notes; each look has one entry with its reason, and events that
// count everybody who was shown.
func TestDesk(t *testing.T) {
	h, m := newDeskHouse(t)
	n := h.run()
	n.openAll()
	n.alike(0, 3, "Nebelsteiger")
	mails := h.notes(0, 1)
	n.send(mails...)
	n.arrive(mails...)
	sick := mails[0].About()
	if _, err := n.PutInsured(h.compartment(0, querschott.VSDM), h.world.MasterData(sick)); err != nil {
		t.Fatal(err)
	}
	x := n.clerk(m, 0, "c.mueller")
	var requests []string
	look := func(path string, body, into any, entry ledger.Leaf, persons int) {
		t.Helper()
		got := x.ask(t.Context(), path, x.insurer, body)
		if got.Status != http.StatusOK || json.Unmarshal(got.Body, into) != nil {
			t.Fatalf("%s: %d %s", path, got.Status, got.Body)
		}
		e := h.entryOf(n, x.insurer, got.RequestID)
		if e == nil {
			t.Fatalf("%s: the ledger has no entry", path)
		}
		if e.Leaf.Action != entry.Action || e.Leaf.Data != entry.Data || e.Leaf.Records != entry.Records || e.Leaf.Role != querschott.RoleStaff ||
			e.Leaf.Service != querschott.Desk || e.Leaf.Outcome != ledger.OutcomeSuccess || len(e.Payload.Persons) != persons ||
			e.Payload.Actor != querschott.Actor(string(x.insurer)+"/c.mueller") || !slices.Contains(e.Payload.Detail, ledger.Field{Name: "reason", Value: string(why)}) {
			t.Errorf("%s: the entry is %+v, %+v", path, e.Leaf, e.Payload)
		}
		requests = append(requests, got.RequestID)
	}
	var hits desk.Hits
	look(desk.PathSearch, desk.SearchRequest{Reason: why, Family: "nebelsteiger", Born: "1980-03-01"}, &hits,
		ledger.Leaf{Action: ledger.ActionSearch, Data: ledger.DataInsured, Records: 3}, 3)
	if len(hits.Hits) != 3 {
		t.Errorf("hits: %+v", hits)
	}
	look(desk.PathSearch, desk.SearchRequest{Reason: why, Family: "Nebelsteiger", Born: "1980-03-01", Given: "b"}, &hits,
		ledger.Leaf{Action: ledger.ActionSearch, Data: ledger.DataInsured, Records: 1}, 1)
	var person desk.Person
	look(desk.PathPerson, desk.PersonRequest{Reason: why, Person: sick.Number}, &person,
		ledger.Leaf{Action: ledger.ActionRead, Data: ledger.DataInsured, Records: 1}, 1)
	if person.Family != sick.Family || person.Person != sick.Number.Reveal() || len(person.Covers) != 1 || person.Covers[0].Insurer != x.insurer {
		t.Errorf("master data: %+v", person)
	}
	var notes desk.SickNotes
	look(desk.PathSickNotes, desk.PersonRequest{Reason: why, Person: sick.Number}, &notes,
		ledger.Leaf{Action: ledger.ActionRead, Data: ledger.DataSickNote, Records: 1}, 1)
	if len(notes.Notes) != 1 || notes.Notes[0].Sender != string(mails[0].From) || notes.Notes[0].Until == "" {
		t.Fatalf("sick notes: %+v", notes)
	}
	var doc desk.Document
	look(desk.PathSickNote, desk.NoteRequest{Reason: why, Person: sick.Number, Note: notes.Notes[0].Note}, &doc,
		ledger.Leaf{Action: ledger.ActionRead, Data: ledger.DataSickNote, Records: 1}, 1)
	if !strings.Contains(doc.FHIR, sick.Number.Reveal()) || !strings.Contains(doc.FHIR, "<Bundle") {
		t.Errorf("the document is %.200s", doc.FHIR)
	}
	n.stop()
	persons := map[string]int{}
	for _, e := range h.events("access.ndjson") {
		if e.Service != querschott.Desk || e.Cause == "nonce" {
			continue
		}
		if e.ReasonRef != string(why) || e.Tenant != x.insurer || e.Insurer != x.insurer || e.Person == "" || e.Records != 1 {
			t.Errorf("event %+v", e)
		}
		persons[e.RequestID]++
	}
	for i, want := range []int{3, 1, 1, 1, 1} {
		if persons[requests[i]] != want {
			t.Errorf("request %d has events of %d persons, want %d", i, persons[requests[i]], want)
		}
	}
	if log := h.read("access.ndjson"); strings.Contains(log, sick.Number.Reveal()) || strings.Contains(log, "ebelsteiger") {
		t.Error("the events name a person")
	}
}

// Who is not an employee of that insurer, has the wrong token or asks for nobody's number gets nothing, and it is recorded.
func TestDeskRefuses(t *testing.T) {
	h, m := newDeskHouse(t)
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	n.deliver(1, 1)
	mine, others := h.person(0, 0), h.person(1, 0)
	ask := desk.PersonRequest{Reason: why, Person: mine.Number}
	theirs := h.world.Insurers()[1].IK
	for what, tc := range map[string]struct {
		change func(*zeta.Access)
		path   querschott.IK
		body   any
		status int
		reason ledger.ReasonKind
	}{
		"another insurer":      {nil, theirs, desk.PersonRequest{Reason: why, Person: others.Number}, 403, ledger.ReasonNotAllowed},
		"another's person":     {nil, "", desk.PersonRequest{Reason: why, Person: others.Number}, 404, ledger.ReasonNotThere},
		"nobody":               {nil, "", desk.PersonRequest{Reason: why, Person: "X110592983"}, 404, ledger.ReasonNotThere},
		"no sick notes":        {nil, "", desk.NoteRequest{Reason: why, Person: mine.Number}, 400, ledger.ReasonInvalidInput},
		"no reason":            {nil, "", desk.PersonRequest{Person: mine.Number}, 400, ledger.ReasonInvalidInput},
		"a practice":           {func(c *zeta.Access) { c.Profession = "1.2.276.0.76.4.50" }, "", ask, 403, ledger.ReasonNotAllowed},
		"the institution":      {func(c *zeta.Access) { c.Organization = "Kasse" }, "", ask, 403, ledger.ReasonNotAllowed},
		"scope of card checks": {func(c *zeta.Access) { c.Scope = "vsdservice" }, "", ask, 401, ledger.ReasonNotIdentified},
		"no second factor":     {func(c *zeta.Access) { c.ACR = "" }, "", ask, 401, ledger.ReasonNotIdentified},
	} {
		x := n.clerk(m, 0, "c.mueller")
		x.change = tc.change
		if tc.path == "" {
			tc.path = x.insurer
		}
		got := x.ask(t.Context(), desk.PathPerson, tc.path, tc.body)
		if got.Status != tc.status || !bytes.Contains(got.Body, []byte("urn:querschott:problem:")) || bytes.Contains(got.Body, []byte(mine.Family)) ||
			bytes.Contains(got.Body, []byte(others.Number.Reveal())) {
			t.Errorf("%s: %d %s", what, got.Status, got.Body)
		}
		if tc.status == 401 { // nobody was identified: counted, not recorded one by one
			continue
		}
		e := h.entryOf(n, tc.path, got.RequestID)
		if e == nil { // refused before it was asked whose data it is about
			e = h.entryOf(n, "", got.RequestID)
		}
		if e == nil || e.Leaf.Reason != tc.reason || e.Leaf.Records != 0 || e.Leaf.Kind != ledger.KindAttempt {
			t.Errorf("%s: the entry is %+v", what, e)
		}
	}
	n.stop()
	foreign := 0
	for _, e := range h.events("access.ndjson") {
		if e.Cause == "foreign-insurer" && e.Tenant == h.world.Insurers()[0].IK && e.Insurer == theirs {
			foreign++
		}
	}
	if foreign != 1 {
		t.Errorf("%d events tell of the attempt on another insurer", foreign)
	}
}

// A machine that an insurer's jobs are done by reaches that insurer's desk by its certificate, and no machine another way.
func TestDeskByMachine(t *testing.T) {
	cert, pin := clientCertificate(t)
	anybodys, anybodysPin := clientCertificate(t)
	printer, printerPin := clientCertificate(t)
	stranger, _ := clientCertificate(t)
	h, _ := newDeskHouse(t)
	own, theirs := h.world.Insurers()[0].IK, h.world.Insurers()[1].IK
	for name, m := range map[string]Machine{
		"supplier": {Pins: []string{pin.String()}, Insurer: string(own), Services: []string{"desk"}},
		"anybodys": {Pins: []string{anybodysPin.String()}, Services: []string{"desk"}},
		"printer":  {Pins: []string{printerPin.String()}, Insurer: string(own), Services: []string{"epa"}},
	} {
		m.Name, m.Role = name, "partner"
		h.cfg.HTTP.Machines = append(h.cfg.HTTP.Machines, m)
	}
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	who := h.person(0, 0)
	for name, tc := range map[string]struct {
		cert   *tls.Certificate
		at     querschott.IK
		status int
	}{
		"the supplier": {&cert, own, 200}, "elsewhere": {&cert, theirs, 403}, "a machine of no insurer": {&anybodys, own, 403},
		"a machine for another service": {&printer, own, 403}, "a stranger": {&stranger, own, 401}, "nobody": {nil, own, 401},
	} {
		conf := h.clientTLS()
		if tc.cert != nil {
			conf.Certificates = []tls.Certificate{*tc.cert}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}}
		call := drill.DeskCall{URL: n.Addresses().HTTP, Path: desk.PathPerson, Insurer: tc.at, Body: desk.PersonRequest{Reason: "job:mailing-1", Person: who.Number}}
		a, err := call.Do(t.Context(), client, time.Now())
		client.CloseIdleConnections()
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != tc.status || bytes.Contains(a.Body, []byte(who.Family)) != (tc.status == 200) {
			t.Errorf("%s: %d, want %d: %s", name, a.Status, tc.status, a.Body)
		}
	}
	n.stop()
	for _, e := range h.events("access.ndjson") {
		if e.Outcome == "success" && (e.Actor != "machine:supplier" || e.Role != querschott.RolePartner || e.ReasonRef != "job:mailing-1" || e.Tenant != own) {
			t.Errorf("the event says %+v", e)
		}
	}
}

// An unknown number and one of another insurer are answered alike, to the byte.
func TestDeskTellsNothingOfOthers(t *testing.T) {
	h, m := newDeskHouse(t)
	n := h.run()
	n.openAll()
	n.deliver(1, 1)
	x := n.clerk(m, 0, "c.mueller")
	var bodies []string
	for _, who := range []querschott.KVNR{h.person(1, 0).Number, "X110592983"} {
		got := x.ask(t.Context(), desk.PathPerson, x.insurer, desk.PersonRequest{Reason: why, Person: who})
		bodies = append(bodies, strings.ReplaceAll(string(got.Body), got.RequestID, "-"))
	}
	if bodies[0] != bodies[1] {
		t.Errorf("another insurer's person: %s\nnobody: %s", bodies[0], bodies[1])
	}
}

// The desk obeys its own door and the doors of what it reads.
func TestDeskBehindDoors(t *testing.T) {
	h, m := newDeskHouse(t)
	n := h.run()
	n.openAll()
	mails := h.notes(0, 1)
	n.send(mails...)
	n.arrive(mails...)
	sick := mails[0].About()
	if _, err := n.PutInsured(h.compartment(0, querschott.VSDM), h.world.MasterData(sick)); err != nil {
		t.Fatal(err)
	}
	x := n.clerk(m, 0, "c.mueller")
	q := desk.PersonRequest{Reason: why, Person: sick.Number}
	status := func() [2]int {
		return [2]int{x.ask(t.Context(), desk.PathPerson, x.insurer, q).Status, x.ask(t.Context(), desk.PathSickNotes, x.insurer, q).Status}
	}
	for _, tc := range []struct {
		service querschott.Service
		to      querschott.DoorState
		want    [2]int
	}{
		{querschott.Desk, querschott.Closed, [2]int{503, 503}},
		{querschott.Desk, querschott.Hold, [2]int{503, 503}},
		{querschott.Desk, querschott.ReadOnly, [2]int{200, 200}},
		{querschott.VSDM, querschott.Closed, [2]int{503, 200}},
		{querschott.VSDM, querschott.ReadOnly, [2]int{200, 200}},
		{querschott.EAU, querschott.Hold, [2]int{200, 503}},
		{querschott.EAU, querschott.ReadOnly, [2]int{200, 200}},
		{querschott.EAU, querschott.Closed, [2]int{200, 503}},
	} {
		c := h.compartment(0, tc.service)
		n.move(tc.to, c)
		if got := status(); got != tc.want {
			t.Errorf("%s %s: master data and sick notes are answered %v, want %v", c, tc.to, got, tc.want)
		}
		if tc.to != querschott.ReadOnly && tc.service != querschott.Desk {
			path := desk.PathPerson
			if tc.service == querschott.EAU {
				path = desk.PathSickNotes
			}
			if got := x.ask(t.Context(), path, x.insurer, q); !bytes.Contains(got.Body, []byte(strings.ReplaceAll(c.String(), "/", "-"))) || got.RetryAfter == "" {
				t.Errorf("%s %s: the refusal does not name the door: %s", c, tc.to, got.Body)
			}
		}
		n.move(querschott.Open, c)
	}
	if keys, all := n.Status().Doors.KeysInMemory, len(n.Compartments()); keys != all {
		t.Errorf("keys of %d compartments in memory, want %d", keys, all)
	}
}

// The caps are exact: 20 different persons a minute, 100 a quarter of an hour, 600 a day; whoever is shown in a list counts,
// and so does a number that nobody has.
func TestDeskCaps(t *testing.T) {
	h, m := newDeskHouse(t, func(c *Config) { c.Contain.Automatic = "off" }) // or who meets a cap is held
	begin := time.Now()
	var ahead atomic.Int64
	h.opt.Now = func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
	n := h.run()
	n.openAll()
	n.alike(0, 10, "Nebelsteiger")
	x := n.clerk(m, 0, "c.mueller")
	x.now = h.opt.Now
	fresh := 0
	another := func() int { // somebody whom this employee has not reached yet
		fresh++
		first := fmt.Sprintf("A%08d", fresh)
		who := querschott.KVNR(first + string(querschott.KVNRCheckDigit(first)))
		return x.ask(t.Context(), desk.PathPerson, x.insurer, desk.PersonRequest{Reason: why, Person: who}).Status
	}
	lookFor := func(family string) int {
		return x.ask(t.Context(), desk.PathSearch, x.insurer, desk.SearchRequest{Reason: why, Family: family, Born: "1980-03-01"}).Status
	}
	search := func() int { return lookFor("Nebelsteiger") }
	reached := 0
	reach := func(persons int) {
		t.Helper()
		for range persons {
			if status := another(); status != http.StatusNotFound {
				t.Fatalf("person %d is answered %d", reached+1, status)
			}
			reached++
		}
	}
	refused := func(what string) {
		t.Helper()
		if status := another(); status != http.StatusTooManyRequests {
			t.Fatalf("after %d persons, %s: one more is answered %d", reached, what, status)
		}
	}
	reach(11)
	if status := search(); status != http.StatusTooManyRequests {
		t.Errorf("11 persons and a list of 10 in one minute: %d", status)
	}
	if status := lookFor("Niemand"); status != http.StatusOK {
		t.Errorf("a search that finds nobody: %d", status)
	}
	reach(9) // the list that was refused counts nobody
	refused("20 in a minute")
	if hit, none := search(), lookFor("Niemand"); hit != http.StatusTooManyRequests || none != hit {
		t.Errorf("after the last person, a search that finds somebody is answered %d, one that finds nobody %d", hit, none)
	}
	ahead.Add(int64(61 * time.Second))
	if status := search(); status != http.StatusOK {
		t.Errorf("a list of 10: %d", status)
	}
	reached += 10
	reach(10)
	refused("20 in a minute, 10 of them in a list")
	if status := search(); status != http.StatusOK {
		t.Errorf("the same persons again: %d", status)
	}
	for range 3 {
		ahead.Add(int64(61 * time.Second))
		reach(20)
	}
	ahead.Add(int64(61 * time.Second))
	refused("100 in a quarter of an hour")
	for reached < 600 {
		ahead.Add(int64(16 * time.Minute))
		for range 5 {
			reach(20)
			ahead.Add(int64(61 * time.Second))
		}
	}
	ahead.Add(int64(16 * time.Minute))
	refused("600 in a day")
	if y := n.clerk(m, 0, "b.schmidt"); true { // a colleague has caps of his own
		y.now = h.opt.Now
		if got := y.ask(t.Context(), desk.PathSearch, y.insurer, desk.SearchRequest{Reason: why, Family: "Nebelsteiger", Born: "1980-03-01"}); got.Status != http.StatusOK {
			t.Errorf("a colleague: %d", got.Status)
		}
	}
	ahead.Store(int64(25*time.Hour) + ahead.Load())
	reach(1)
}

// A local account with a second factor reaches the desk, with the page's own token only.
func TestDeskBySession(t *testing.T) {
	h, _ := newDeskHouse(t)
	begin := time.Now()
	var ahead atomic.Int64
	h.opt.Now = func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	insurer := h.world.Insurers()[0].IK
	acc, err := h.cfg.OpenStaff(ident.NewSessions(h.opt.Now, 0, 0), h.opt.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := acc.Invite(local.Account{Name: "c.mueller", Role: querschott.RoleStaff, Insurer: insurer}, anna)
	if err != nil {
		t.Fatal(err)
	}
	if err := NewClient(h.cfg).ReloadAccounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, base: n.Addresses().HTTP, client: &http.Client{Transport: &http.Transport{TLSClientConfig: h.clientTLS()}}}
	defer b.client.CloseIdleConnections()
	_, shown := b.post("/session/enrolment", map[string]string{"token": token})
	const password = "a long enough password"
	secret := shown["secret"].(string)
	if status, got := b.post("/session/enrolment/finish", map[string]string{"token": token, "password": password, "code": authenticator(t, secret, h.opt.Now())}); status != http.StatusOK {
		t.Fatalf("%d %v", status, got)
	}
	ahead.Store(int64(time.Minute))
	status, in := b.post("/session", map[string]string{"name": "c.mueller", "password": password, "code": authenticator(t, secret, h.opt.Now())})
	if status != http.StatusOK {
		t.Fatalf("login: %d %v", status, in)
	}
	for csrf, want := range map[string]int{in["csrf"].(string): http.StatusOK, "": http.StatusForbidden} {
		body, err := json.Marshal(desk.PersonRequest{Reason: why, Person: h.person(0, 0).Number})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+desk.PathPerson+string(insurer), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(csrfHeader, csrf)
		for _, c := range b.cookies {
			req.AddCookie(c)
		}
		resp, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("with the csrf value %q: %d, want %d", csrf, resp.StatusCode, want)
		}
	}
}
