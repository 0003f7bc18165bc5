package node

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/wire/kim"
)

// newCanaryHouse is a house with one insurer that has every service which canary traffic knows.
func newCanaryHouse(tb testing.TB, change ...func(*Config)) *house {
	tb.Helper()
	change = append([]func(*Config){func(c *Config) {
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key, c.HTTP.AccessLog = "127.0.0.1:0", "server.crt", "server.key", "access.ndjson"
		c.HTTP.DevIssuers, c.Watch.Per = true, 1_000_000_000
	}}, change...)
	h := newHouseWith(tb, 1, []querschott.Service{querschott.EAU, querschott.Letter, querschott.VSDM, querschott.Desk}, change...)
	h.opt.DevIssuer = newMint(tb).issuer()
	return h
}

// makeCanaries has the node make canaries and store what they are asked for.
func (r *live) makeCanaries() {
	r.h.tb.Helper()
	if done, err := r.RotateCanaries(r.h.tb.Context(), CanaryRotation{}); err != nil || done.Stored != 2 {
		r.h.tb.Fatalf("made %+v, %v", done, err)
	}
}

// canaryEntries lists the ledger's entries of canary traffic for one compartment.
func (r *live) canaryEntries(c querschott.Compartment) (found []ledger.Entered) {
	r.h.tb.Helper()
	for e, err := range r.ledger.Scan(r.h.origin(c.Insurer), 0, 10_000) {
		if err != nil {
			r.h.tb.Fatal(err)
		}
		if e.Payload != nil && e.Leaf.Service == c.Service && slices.ContainsFunc(e.Payload.Detail, func(f ledger.Field) bool { return f.Name == ledger.DetailCanary }) {
			found = append(found, *e)
		}
	}
	return found
}

// fallen waits until a door has gone back to hold, and checks why.
func (r *live) fallen(c querschott.Compartment, why string) {
	r.h.tb.Helper()
	r.h.until("the door falls back", func() bool { return r.Door(c).To == querschott.Hold })
	if o := r.Door(c); o.Actor != door.MachineActor || !strings.HasSuffix(o.Reason, " % was bad: canary traffic: "+why) {
		r.h.tb.Errorf("%s was held by %s: %s", c, o.Actor, o.Reason)
	}
}

// Canary traffic of doors over HTTP goes through the entrance, with a credential that the stage lets in. Ledger and events say
// what it is; nobody takes it for an access. What is not as it was stored leads the door back.
func TestCanaryTraffic(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.run()
	n.openAll()
	n.makeCanaries()
	before := n.http.Stats().Outcomes
	for _, s := range []querschott.Service{querschott.VSDM, querschott.Desk} {
		c := h.compartment(0, s)
		n.move(querschott.Hold, c)
		n.openInStages(c, slowPlan)
		if err := n.tryDoor(c); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		list := n.canaryEntries(c)
		if len(list) != 1 {
			t.Fatalf("%s: %d entries of canary traffic in the ledger", c, len(list))
		}
		e := list[0]
		if e.Leaf.Kind != ledger.KindAccess || e.Leaf.Purpose != ledger.PurposeSecurity || e.Leaf.Role != querschott.RoleMachine || e.Leaf.Records != 1 ||
			e.Payload.Actor != door.MachineActor || !strings.HasPrefix(string(e.Payload.Credential), canaryCredential) {
			t.Errorf("%s: the ledger has %+v, %+v", c, e.Leaf, e.Payload)
		}
	}
	if got := n.http.Stats().Outcomes; len(before) != 0 || len(got) != 2 {
		t.Errorf("requests at the entrance: %v, before %v", got, before)
	}
	// Whoever is outside of the stage meets what the door was, the platform like anybody.
	c := h.compartment(0, querschott.VSDM)
	outside := querschott.CredentialID("outside")
	for n.http.LetsIn(c, outside) {
		outside += "x"
	}
	_, number, _ := n.canaryOf(c.Insurer)
	if status := n.comeWith(&pass{c: c, person: number, id: outside}, nil); status != http.StatusServiceUnavailable {
		t.Errorf("a credential outside of the stage was answered %d", status)
	}
	h.until("events", func() bool { return strings.Count(h.read("access.ndjson"), `"canary":true`) == 3 })
	h.until("the detectors are shown them", func() bool { return n.WatchStatus().Counts.Events >= 3 })
	if s := n.WatchStatus(); len(s.Explained) != 0 || s.Counts.Lost != 0 {
		t.Errorf("the early warning has counted %+v, %d lost", s.Explained, s.Counts.Lost)
	}
	if alarms := n.alarms.book.list(AlarmQuery{}); len(alarms) != 0 {
		t.Errorf("alarms: %v", alarms[0])
	}
	for _, e := range h.events("access.ndjson") {
		if e.Canary != strings.HasPrefix(string(e.Credential), canaryCredential) && e.Status == http.StatusOK || e.Canary && e.Purpose != "security" {
			t.Errorf("event %+v", e)
		}
	}

	index, number, _ := n.canaryOf(c.Insurer)
	if _, err := n.PutInsured(c, n.invented(c.Insurer, index+77, number)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []querschott.Service{querschott.Desk, querschott.VSDM} {
		c := h.compartment(0, s)
		n.move(querschott.Hold, c)
		n.openInStages(c, "10,100 every 1s")
		n.fallen(c, errNotStored.Error())
	}
	// Without the master data the desk has nothing to show, and its entrance can be tried all the same.
	c = h.compartment(0, querschott.Desk)
	n.move(querschott.Open, c)
	had := len(n.canaryEntries(c))
	if err := n.tryDoor(c); err != nil || len(n.canaryEntries(c)) != had+1 {
		t.Errorf("%s: %v, %d entries, before %d", c, err, len(n.canaryEntries(c)), had)
	}
}

// An insurer that has no canaries has canary traffic all the same.
func TestCanaryTrafficWithoutCanaries(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.run()
	n.openAll()
	for _, s := range []querschott.Service{querschott.VSDM, querschott.Desk, querschott.EAU} {
		c := h.compartment(0, s)
		if err := n.tryDoor(c); err != nil || len(n.canaryEntries(c)) == 0 {
			t.Errorf("%s: %v, %d entries", c, err, len(n.canaryEntries(c)))
		}
	}
}

// comeWith sends a request for master data with a pass, changed before it leaves, and returns the answer's status.
func (r *live) comeWith(p *pass, change func(*http.Request)) int {
	r.h.tb.Helper()
	if !p.from.IsValid() {
		p.from = netip.MustParseAddr("127.0.0.1")
	}
	defer r.canary.issue(p)()
	q, err := r.canaryRequest(r.h.tb.Context(), p.c, p.person)
	if err != nil {
		r.h.tb.Fatal(err)
	}
	q.Header.Set("Authorization", canaryScheme+p.secret)
	if change != nil {
		change(q)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.h.clientTLS(), DisableKeepAlives: true}}
	answer, err := client.Do(q)
	if err != nil {
		r.h.tb.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		r.h.tb.Fatal(err)
	}
	return answer.StatusCode
}

// The credential of canary traffic is good once, from where the platform comes, for one person of one compartment.
func TestCanaryCredentialIsOfNoUse(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.run()
	n.openAll()
	n.makeCanaries()
	n.deliver(0, 1)
	card, staff := h.compartment(0, querschott.VSDM), h.compartment(0, querschott.Desk)
	_, number, _ := n.canaryOf(card.Insurer)
	fresh := func(c querschott.Compartment) *pass { return &pass{c: c, person: number, id: "canary/x"} }
	if status := n.comeWith(fresh(staff), nil); status != http.StatusOK {
		t.Fatalf("the pass is answered %d", status)
	}
	again := fresh(card)
	if status := n.comeWith(fresh(card), nil); status != http.StatusOK {
		t.Fatalf("the pass is answered %d", status)
	}
	for _, tc := range []struct {
		what   string
		pass   *pass
		change func(*http.Request)
		want   int
	}{
		{"a second time", again, func(*http.Request) { n.canary.spend(again.secret) }, http.StatusUnauthorized},
		{"made up", fresh(card), func(q *http.Request) { q.Header.Set("Authorization", canaryScheme+"AAAAAAAAAAAAAAAAAAAAAAAAAA") }, http.StatusUnauthorized},
		{"empty", fresh(card), func(q *http.Request) { q.Header.Set("Authorization", canaryScheme) }, http.StatusUnauthorized},
		{"from elsewhere", &pass{c: card, person: number, id: "canary/x", from: netip.MustParseAddr("192.0.2.1")}, nil, http.StatusUnauthorized},
		{"at another service", fresh(card), func(q *http.Request) {
			q.Method, q.URL.Path, q.URL.RawQuery = http.MethodPost, desk.PathPerson+string(card.Insurer), ""
		}, http.StatusUnauthorized},
		{"of a mail", &pass{c: card, id: "canary/x", sender: "eau" + canaryDomain}, nil, http.StatusUnauthorized},
		{"for a real person", fresh(staff), func(q *http.Request) {
			real, err := n.canaryRequest(t.Context(), staff, h.person(0, 0).Number)
			if err != nil {
				t.Fatal(err)
			}
			q.Body, q.ContentLength = real.Body, real.ContentLength
		}, http.StatusForbidden},
		{"at another insurer", fresh(staff), func(q *http.Request) { q.URL.Path = desk.PathPerson + "101575519" }, http.StatusNotFound},
		{"for a search", fresh(staff), func(q *http.Request) {
			p := h.person(0, 0)
			ask := `{"reason":"case:VG-1234","family":"` + p.Family + `","born":"` + string(p.Born) + `"}`
			q.URL.Path = desk.PathSearch + string(staff.Insurer)
			q.Body, q.ContentLength = io.NopCloser(strings.NewReader(ask)), int64(len(ask))
		}, http.StatusForbidden},
	} {
		if got := n.comeWith(tc.pass, tc.change); got != tc.want {
			t.Errorf("%s: answered %d, want %d", tc.what, got, tc.want)
		}
	}
	if len(n.canary.passes) != 0 {
		t.Errorf("%d passes are left", len(n.canary.passes))
	}
}

// broken is a listener whose connections end at once while it is told to break them.
type broken struct {
	net.Listener
	on atomic.Bool
}

func (b *broken) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err == nil && b.on.Load() {
		err = c.Close()
	}
	return c, err
}

// An entrance that lets nobody in leads its doors back, though services, cells and pump work.
func TestBrokenEntrance(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.open()
	var all []*broken
	wrap := func(l *net.Listener) {
		b := &broken{Listener: *l}
		*l, all = b, append(all, b)
	}
	wrap(&n.sockets.http)
	wrap(&n.sockets.starttls[0])
	wrap(&n.sockets.implicit[0])
	r := h.runs(n)
	r.openAll()
	r.makeCanaries()
	doors := []querschott.Compartment{h.compartment(0, querschott.VSDM), h.compartment(0, querschott.Desk), h.compartment(0, querschott.EAU), h.compartment(0, querschott.Letter)}
	for _, b := range all {
		b.on.Store(true)
	}
	for _, c := range doors {
		r.move(querschott.Hold, c)
		r.openInStages(c, "10,100 every 1s")
	}
	for _, c := range doors {
		if c.Service.ByMail() {
			r.fallen(c, "the mail entrance does not take mail in")
		} else {
			r.fallen(c, "the HTTP entrance does not answer")
		}
	}
	for _, b := range all {
		b.on.Store(false)
	}
	for _, c := range doors {
		r.openInStages(c, "10,100 every 1s")
	}
	h.until("the doors open", func() bool {
		return !slices.ContainsFunc(doors, func(c querschott.Compartment) bool { return r.doors.Share(c) < 100 || r.Door(c).To != querschott.Open })
	})
}

// A certificate whose time is over keeps callers out, so it keeps canary traffic out. A pass goes to nobody with another one.
func TestCanaryTrustsItsEntranceOnly(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.run()
	n.openAll()
	own := n.canary.http
	other, err := h.ca.Server("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	n.canary.http = other.Certificate
	if err := n.tryDoor(h.compartment(0, querschott.VSDM)); err == nil {
		t.Error("somebody else's certificate was accepted")
	}
	tc := trustOnly(own)
	tc.Time = func() time.Time { return own.NotAfter.Add(time.Hour) }
	conn, err := net.Dial("tcp", n.sockets.http.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := tls.Client(conn, tc).HandshakeContext(t.Context()); err == nil {
		t.Error("a certificate whose time is over was accepted")
	}
}

// Canary mail takes the way of real mail through entrance, journal and pump into the cell, at each address of the entrance. It
// is nobody's sick note, tells no sender anything, and is lost or doubled for no audit.
func TestCanaryMail(t *testing.T) {
	h := newCanaryHouse(t)
	n := h.run()
	n.openAll()
	n.makeCanaries()
	mails := h.notes(0, 2)
	n.send(mails...)
	n.arrive(mails...)
	for _, s := range querschott.MailServices() {
		c := h.compartment(0, s)
		for range 2 {
			if err := n.tryDoor(c); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		list := n.canaryEntries(c)
		if len(list) != 4 {
			t.Fatalf("%s: %d entries of canary traffic in the ledger, want an arrival and a delivery for each of two", c, len(list))
		}
		for _, e := range list {
			if e.Leaf.Kind != ledger.KindArrival && e.Leaf.Kind != ledger.KindDelivery || e.Leaf.Data != ledger.DataNone || e.Leaf.Records != 0 ||
				e.Leaf.Purpose != ledger.PurposeSecurity || e.Payload.Actor != door.MachineActor || len(e.Payload.Persons) > 0 {
				t.Errorf("%s: the ledger has %+v, %+v", c, e.Leaf, e.Payload)
			}
		}
	}
	if hit, err := NewClient(h.cfg).Preview(t.Context(), contain.Action{Kind: contain.ShutInsurer, Insurer: h.compartment(0, querschott.EAU).Insurer}); err != nil || hit.Mails != 2 || hit.Senders < 1 || hit.Senders > 2 {
		t.Errorf("the preview counts %+v, %v; want the two real mails", hit, err)
	}
	if s := n.outbox.Status(); uint64(s.Queued)+s.Local != 2 {
		t.Errorf("%d and %d mails are to leave, want the two notifications of real mail", s.Queued, s.Local)
	}
	h.until("the pump has counted what it has delivered", func() bool { return n.pump.Stats().Delivered >= 8 })
	if s := n.pump.Stats(); s.Duplicates != 0 || s.Flagged != 0 || s.Damaged != 0 || s.Delivered != 8 {
		t.Errorf("the pump says %+v", s)
	}
	if got := n.count(mails); got != 2 {
		t.Errorf("%d of 2 real mails are there", got)
	}
	if n.journal.Waiting(h.compartment(0, querschott.EAU)) != 0 || len(n.canary.onWay) != 0 || len(n.canary.passes) != 0 {
		t.Error("something of the canary traffic is left")
	}
	// Nobody's: the cell has no message beside the real ones.
	store, err := n.cell(h.compartment(0, querschott.EAU).Insurer)
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := n.canaryOf(h.compartment(0, querschott.EAU).Insurer)
	for _, s := range querschott.MailServices() {
		want := map[querschott.Service]int{querschott.EAU: 2}[s]
		if got := storedMessages(t, store, s); got != want {
			t.Errorf("%s: %d messages are stored, want %d", s, got, want)
		}
	}
	staff := h.compartment(0, querschott.Desk)
	if status := n.comeWith(&pass{c: staff, person: number, id: "canary/x"}, func(q *http.Request) {
		q.URL.Path = desk.PathSickNotes + string(staff.Insurer)
	}); status != http.StatusNotFound {
		t.Errorf("the desk was answered %d when it asked for the canary's sick notes", status)
	}
}

// storedMessages counts the records of a service in a cell.
func storedMessages(t *testing.T, store cell.Store, s querschott.Service) (found int) {
	t.Helper()
	prefix := cell.Key(cell.ServiceSpace(s), cell.KindRecord)
	if err := store.Scan(prefix, cell.PrefixEnd(prefix), func(_, _ []byte) error { found++; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

// A canary mail whose service cannot take it, and one that is not delivered, lead the door back. One that waits behind mail that
// is delivered does not, until it is its turn.
func TestCanaryMailLeadsBack(t *testing.T) {
	h := newHouse(t, 1)
	n := h.open()
	n.canary.patience = time.Second
	r := h.runs(n)
	c := h.compartment(0, querschott.EAU)
	r.move(querschott.Open, c)

	// What the service would not store as a sick note.
	w := &canaryMail{c: c, sender: "eau" + canaryDomain, id: "spoiled" + canaryDomain}
	p := &pass{c: c, id: "canary/x", sender: w.sender, recipient: "x" + canaryDomain}
	body, err := n.canaryBody(w, p.recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.give(t.Context(), p, w, body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	if moves, err := n.follow(t.Context(), w); moves || err == nil || err.Error() != "the service could not read a mail" {
		t.Errorf("mail that cannot be read: %v, %v", moves, err)
	}

	// What nobody delivers.
	r.move(querschott.Hold, c)
	if w, err = n.handIn(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if moves, err := n.follow(ctx, w); moves || err == nil || err.Error() != "a mail is not delivered" {
		t.Errorf("mail that stands still: %v, %v", moves, err)
	}

	// Behind real mail: it is not there yet, and then it is.
	mails := h.notes(0, 40)
	r.send(mails...)
	if w, err = n.handIn(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.openInStages(c, slowPlan)
	if moves, err := n.follow(t.Context(), w); !moves || err != nil {
		t.Errorf("behind mail that is delivered: %v, %v", moves, err)
	}
	for moves := true; moves; {
		if moves, err = n.follow(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	r.arrive(mails...)
}

// Nobody can send a mail that passes for canary traffic: neither to make a sick door look well, nor to have a real mail thrown away.
func TestForgedCanaryMail(t *testing.T) {
	h := newHouse(t, 1)
	n := h.run()
	n.openAll()
	c := h.compartment(0, querschott.EAU)
	sender := "eau." + string(c.Insurer) + canaryDomain
	if _, err := n.accounts.Add(sender, querschott.RolePractice); err != nil {
		t.Fatal(err)
	}
	password, err := n.accounts.Renew(sender)
	if err != nil {
		t.Fatal(err)
	}
	read := &pass{c: c, person: "Z999999990", id: "canary/x"}
	defer n.canary.issue(read)()
	for _, secret := range []string{"", "AAAAAAAAAAAAAAAAAAAAAAAAAA", password, read.secret} {
		if err := n.anonymous().Auth(sasl.NewPlainClient("", sender, secret)); err == nil {
			t.Errorf("somebody logged in as the platform")
		}
	}
	// A relay may send for anybody, knows the form and has seen a mark of another mail.
	sentinel := &canaryMail{c: c, sender: sender, id: "waits" + canaryDomain}
	n.canary.send(sentinel)
	list := h.notes(0, 3)
	for i, mark := range []string{n.canary.mark(c, sender, "another"+canaryDomain), strings.Repeat("0", 64), ""} {
		m := &list[i]
		m.From = kim.Address(sender)
		m.Body = append([]byte(canaryHeader+mark+"\r\n"), m.Body...)
		n.send(*m)
		in := func() bool {
			got, err := n.Delivered(c, intake.BindingOf(sender, messageID(m.Body)))
			return err == nil && got
		}
		h.until("delivery", in)
	}
	store, err := n.cell(c.Insurer)
	if err != nil {
		t.Fatal(err)
	}
	if got := storedMessages(t, store, querschott.EAU); got != len(list) {
		t.Errorf("%d of %d mails with forged marks are stored as what they are", got, len(list))
	}
	if got := n.canaryEntries(c); len(got) != 0 {
		t.Errorf("the ledger takes %d of them for canary traffic", len(got))
	}
	if n.canary.waiting(c) != sentinel || sentinel.refused {
		t.Error("a forged mail has changed the verdict about a real one")
	}
	// The recipients of canary mail are nobody's when none is handed in.
	x := n.client()
	if err := x.Mail(relayUser, nil); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaa" + canaryDomain, "canary" + canaryDomain, canaryDomain[1:] + canaryDomain} {
		if err := x.Rcpt(to, nil); err == nil {
			t.Errorf("mail to %s is taken", to)
		}
	}
}

func messageID(body []byte) string {
	h := kim.ReadHeader(body)
	return strings.Trim(h.MessageID, "<>")
}
