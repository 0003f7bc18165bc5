package node

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
)

// A card check over TLS, from the request to the ledger.
func TestCardCheck(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	n.deliver(0, 3)
	x := n.reader(m)
	who, now := h.person(0, 0), time.Now()

	first := x.check(t.Context(), who)
	if first.Status != http.StatusOK || first.ETag == "" || len(first.Number) != 64 || !bytes.Contains(first.Body, []byte(who.Number.Reveal())) {
		t.Fatalf("got %d, %q, %q: %s", first.Status, first.ETag, first.Number, first.Body)
	}
	again := x.check(t.Context(), who, func(c *drill.CardCheck) { c.Known = first.ETag })
	if again.Status != http.StatusNotModified || len(again.Number) != 64 || again.Number == first.Number || len(again.Body) > 0 {
		t.Errorf("with the entity tag: %d, %q", again.Status, again.Number)
	}
	xml := x.check(t.Context(), who, func(c *drill.CardCheck) { c.Accept = "application/fhir+xml" })
	if xml.Status != http.StatusOK || !bytes.HasPrefix(bytes.TrimSpace(xml.Body), []byte("<")) || xml.ETag == first.ETag {
		t.Errorf("as XML: %d %.80s", xml.Status, xml.Body)
	}
	for name, tc := range map[string]struct {
		who    drill.Person
		change func(*drill.CardCheck)
		status int
		text   string
	}{
		"nobody's number":     {h.person(0, 4), func(*drill.CardCheck) {}, 404, "VSDSERVICE_UNKNOWN_KVNR"},
		"another insurer's":   {drill.Person{Person: who.Person, Insurer: h.world.Insurers()[1]}, func(*drill.CardCheck) {}, 404, "VSDSERVICE_UNKNOWN_KVNR"},
		"an insurer not here": {drill.Person{Person: who.Person, Insurer: &drill.Insurer{IK: "109500969"}}, func(*drill.CardCheck) {}, 400, "VSDSERVICE_UNKNOWN_IK"},
		"no profile version":  {who, func(c *drill.CardCheck) { c.Version = "" }, 400, "VSDSERVICE_MISSING_PROFILE_VERSION"},
		"another key":         {who, func(c *drill.CardCheck) { c.Key = newKey(t) }, 401, "invalid_dpop_proof"},
		"another presence":    {who, func(c *drill.CardCheck) { c.Presence += "x" }, 403, "access_denied"},
		"no presence":         {who, func(c *drill.CardCheck) { c.Presence = "" }, 400, "PoPP header missing"},
		"another issuer's":    {who, func(c *drill.CardCheck) { c.Access = newMint(t).access(x.practice, x.key, c.URL, now) }, 401, "invalid_token"},
		"for somebody else":   {who, func(c *drill.CardCheck) { c.Access = m.access(x.practice, x.key, "https://other.example", now) }, 401, "insufficient_scope"},
		"another's presence": {who, func(c *drill.CardCheck) {
			c.Presence = m.presence(h.world.Practices()[1], who.Number, who.Insurer.IK, now)
		}, 403, "access_denied"},
		"a media type unheard of": {who, func(c *drill.CardCheck) { c.Accept = "text/html" }, 406, "SERVICE_UNSUPPORTED_MEDIATYPE"},
	} {
		if got := x.check(t.Context(), tc.who, tc.change); got.Status != tc.status || !bytes.Contains(got.Body, []byte(tc.text)) || got.Number != "" {
			t.Errorf("%s: %d %.300s", name, got.Status, got.Body)
		}
	}
	n.stop()
	if log := h.log.String(); strings.Contains(log, who.Number.Reveal()) || strings.Contains(log, string(x.practice.TelematikID())) {
		t.Error("the log names a person or a practice")
	}
}

// The ledger has the entry of an answer by the time that the caller has the answer.
func TestEntryBeforeAnswer(t *testing.T) {
	h, m := newVSDMHouse(t, 1)
	n := h.run()
	n.openAll()
	n.deliver(0, 2)
	x := n.reader(m)
	for k := range 3 { // the third is known to nobody
		who := h.person(0, k)
		got := x.check(t.Context(), who)
		e := h.entryOf(n, who.Insurer.IK, got.RequestID)
		if e == nil {
			t.Fatalf("check %d: answered %d, and the ledger has no entry of request %s", k, got.Status, got.RequestID)
		}
		outcome, records := ledger.OutcomeSuccess, uint32(1)
		if k == 2 {
			outcome, records = ledger.OutcomeDenied, 0
		}
		if e.Leaf.Outcome != outcome || e.Leaf.Records != records || e.Leaf.Service != querschott.VSDM || e.Payload.Actor != x.practice.TelematikID() ||
			len(e.Payload.Persons) != 1 || e.Payload.Persons[0] != who.Number || e.Leaf.Role != querschott.RolePractice || e.Leaf.Epoch == 0 {
			t.Errorf("check %d: the entry is %+v, %+v", k, e.Leaf, e.Payload)
		}
	}
}

// entryOf finds the entry of a request.
func (h *house) entryOf(n *live, insurer querschott.IK, request string) *ledger.Entered {
	h.tb.Helper()
	for e, err := range n.ledger.Scan(h.origin(insurer), 0, 10_000) {
		if err != nil {
			h.tb.Fatal(err)
		}
		if e.Payload != nil && e.Payload.RequestID == request {
			return e
		}
	}
	return nil
}

// A closed door refuses the next request, forgets the keys, and leaves the other insurer alone; two operators open it again.
func TestDoorOfCardChecks(t *testing.T) {
	h, m := newVSDMHouse(t, 2)
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	n.deliver(1, 1)
	x := n.reader(m)
	mine, others := h.person(0, 0), h.person(1, 0)
	c := h.compartment(0, querschott.VSDM)
	keys := n.Status().Doors.KeysInMemory
	for _, state := range []querschott.DoorState{querschott.Closed, querschott.Hold} {
		n.move(state, c)
		got := x.check(t.Context(), mine)
		if got.Status != http.StatusServiceUnavailable || got.RetryAfter == "" || !bytes.Contains(got.Body, []byte("temporarily_unavailable")) ||
			bytes.Contains(got.Body, []byte("OperationOutcome")) || !bytes.Contains(got.Body, []byte(h.cfg.Mail.StatusPage)) {
			t.Errorf("%s: %d, Retry-After %q: %s", state, got.Status, got.RetryAfter, got.Body)
		}
		if e := h.entryOf(n, c.Insurer, got.RequestID); e == nil || e.Leaf.Outcome != ledger.OutcomeDenied || e.Leaf.Reason != ledger.ReasonDoor {
			t.Errorf("%s: the ledger says %+v of the refusal", state, e)
		}
		if left := n.Status().Doors.KeysInMemory; left != keys-1 {
			t.Errorf("%s: keys of %d compartments in memory, want %d", state, left, keys-1)
		}
		if _, err := n.PutInsured(c, h.world.MasterData(mine)); err == nil {
			t.Errorf("%s: master data can be written", state)
		}
		if got := x.check(t.Context(), others); got.Status != http.StatusOK {
			t.Errorf("%s: the other insurer answers %d", state, got.Status)
		}
	}
	n.move(querschott.ReadOnly, c)
	if got := x.check(t.Context(), mine); got.Status != http.StatusOK {
		t.Errorf("read-only: %d %s", got.Status, got.Body)
	}
}

// A revocation acts on the next request, and after a restart.
func TestRevokedPracticeChecksNoCards(t *testing.T) {
	h, m := newVSDMHouse(t, 1)
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	if got := x.check(t.Context(), who); got.Status != http.StatusOK {
		t.Fatalf("before: %d %s", got.Status, got.Body)
	}
	deny := ident.Revocation{Dimension: ident.BySubject, Value: string(x.practice.TelematikID()), Reason: "test"}
	if err := NewClient(h.cfg).Deny(t.Context(), h.signer(anna), deny); err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		got := x.check(t.Context(), who)
		if got.Status != http.StatusForbidden || !bytes.Contains(got.Body, []byte("access_denied")) || bytes.Contains(got.Body, []byte(deny.Value)) {
			t.Errorf("%s: %d %s", when, got.Status, got.Body)
		}
	}
	refused("revoked")
	n.stop()
	n = h.run()
	x = n.reader(m)
	x.practice = h.world.Practices()[0]
	refused("after a restart")
	if err := NewClient(h.cfg).Admit(t.Context(), h.signer(ben), deny); err != nil {
		t.Fatal(err)
	}
	if got := x.check(t.Context(), who); got.Status != http.StatusOK {
		t.Errorf("admitted again: %d %s", got.Status, got.Body)
	}
}

// A proof works once, across a restart too.
func TestProofWorksOnce(t *testing.T) {
	h, m := newVSDMHouse(t, 1)
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	var sent *http.Request
	x.client.Transport = &keep{next: x.client.Transport, last: &sent}
	if got := x.check(t.Context(), who); got.Status != http.StatusOK {
		t.Fatalf("first: %d %s", got.Status, got.Body)
	}
	resp, err := x.client.Do(sent.Clone(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same request again: %s", resp.Status)
	}
}

// keep remembers the last request.
type keep struct {
	next http.RoundTripper
	last **http.Request
}

func (k *keep) RoundTrip(r *http.Request) (*http.Response, error) {
	*k.last = r
	return k.next.RoundTrip(r)
}

// The file of access events has one line for each access and attempt, and no number of a person.
func TestAccessLog(t *testing.T) {
	h, m := newVSDMHouse(t, 1, func(c *Config) { c.HTTP.AccessLog = "access.ndjson" })
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	x.check(t.Context(), who)
	x.check(t.Context(), who)
	x.check(t.Context(), h.person(0, 1))
	n.stop()
	var events []querschott.Access
	for i, e := range h.events("access.ndjson") {
		if e.Seq != uint64(i+1) {
			t.Errorf("event %d has the number %d", i+1, e.Seq)
		}
		if e.Role != querschott.RoleUnknown { // a gate that has just begun asks for a nonce first
			events = append(events, e)
		}
	}
	if len(events) != 3 {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for i, e := range events {
		if e.Service != querschott.VSDM || e.Insurer != who.Insurer.IK || e.Role != querschott.RolePractice || e.Address == "" {
			t.Errorf("event %d: %+v", i, e)
		}
		if raw, err := hex.DecodeString(e.Person); err != nil || len(raw) != 16 {
			t.Errorf("event %d: %q is no pseudonym", i, e.Person)
		}
	}
	if events[0].Person != events[1].Person || events[0].Person == events[2].Person {
		t.Error("pseudonyms do not tell persons apart")
	}
	if text := h.read("access.ndjson"); strings.Contains(text, who.Number.Reveal()) {
		t.Error("the file names a person")
	}
}

// Issuers for development are believed only where the configuration says so, and then it is said.
func TestDevIssuersNeedALineOfTheConfiguration(t *testing.T) {
	h, _ := newVSDMHouse(t, 1, func(c *Config) { c.HTTP.DevIssuers = false })
	n, err := Open(t.Context(), h.cfg, h.opt)
	if err == nil {
		_ = n.Close()
		t.Fatal("the node believes issuers for development")
	}
	if !strings.Contains(err.Error(), "http.dev_issuers") {
		t.Errorf("got %v", err)
	}
	h.cfg.HTTP.DevIssuers = true
	r := h.run()
	if list := r.Status().Trouble; len(list) != 1 || !strings.Contains(list[0].Text, "issuers for development") {
		t.Errorf("trouble %+v", list)
	}
	r.stop()
	h.opt.DevIssuer = nil // the line alone makes nobody an issuer
	r = h.run()
	if list := r.Status().Trouble; len(list) != 0 {
		t.Errorf("trouble %+v", list)
	}
	m := newMint(t)
	if got := r.reader(m).check(t.Context(), h.person(0, 0)); got.Status != http.StatusUnauthorized {
		t.Errorf("without issuers: %d %s", got.Status, got.Body)
	}
}

// A directory from before there was an HTTP entrance starts as it did.
func TestDirectoryWithoutTheNewSections(t *testing.T) {
	h := newHouse(t, 1)
	text := h.read(ConfigFile)
	var old []string
	skip := false
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") && line != "\n" {
			key, _, _ := strings.Cut(line, ":")
			skip = key == "http" || key == "vsdm" || key == "telemetry"
		}
		if !skip {
			old = append(old, line)
		}
	}
	if err := os.WriteFile(h.cfg.file, []byte(strings.Join(old, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(h.cfg.file)
	if err != nil {
		t.Fatal(err)
	}
	h.cfg = cfg
	n := h.run()
	n.openAll()
	mails := h.notes(0, 1)
	n.send(mails...)
	n.arrive(mails...)
	if at := n.Addresses(); at.HTTP != "" || at.Metrics != "" || n.Status().HTTP != nil {
		t.Errorf("it listens at %+v", at)
	}
}

// Metrics, health and the description of the APIs are at the operations address; the entrance tells strangers no reasons.
func TestOperations(t *testing.T) {
	h, m := newVSDMHouse(t, 1, func(c *Config) { c.Telemetry.Listen = "127.0.0.1:0" })
	n := h.run()
	n.openAll()
	n.deliver(0, 1)
	x := n.reader(m)
	who := h.person(0, 0)
	x.check(t.Context(), who)
	get := func(address string) (int, string) {
		t.Helper()
		resp, err := x.client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b.String()
	}
	operations := strings.TrimSuffix(n.Addresses().Metrics, "/metrics")
	h.until("the request in the metrics", func() bool {
		_, text := get(operations + "/metrics")
		return strings.Contains(text, `querschott_insurer_requests_total{insurer="`+string(who.Insurer.IK)+`",outcome="success",service="vsdm"} 1`)
	})
	if status, text := get(operations + "/healthz"); status != http.StatusOK || !strings.Contains(text, `"reasons":[]`) {
		t.Errorf("health: %d %s", status, text)
	}
	if status, text := get(n.Addresses().HTTP + "/healthz"); status != http.StatusOK || strings.Contains(text, "reasons") {
		t.Errorf("health at the entrance: %d %s", status, text)
	}
	if status, _ := get(n.Addresses().HTTP + "/metrics"); status != http.StatusNotFound {
		t.Errorf("metrics at the entrance: %d", status)
	}
	if _, text := get(operations + "/metrics"); strings.Contains(text, who.Number.Reveal()) || strings.Contains(text, string(x.practice.TelematikID())) {
		t.Error("the metrics name a person or a practice")
	}
}
