package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

const (
	// canaryDomain is where canary mail comes from and goes to. It lies in the test domain of KIM, where no practice is.
	canaryDomain = "@canary.kim.telematik-test"
	canaryHeader = "X-Querschott-Canary: " // the first line of a canary mail; the mark follows
	canaryLook   = 20 * time.Millisecond

	resultCanary = "canary" // of a delivery
)

// canaryMail is one mail on its way through the platform.
type canaryMail struct {
	c       querschott.Compartment
	sender  string
	id      string // of the message, without angle brackets
	refused bool   // its service would not have stored it as a sick note or message; guarded by canaryTraffic.mu
}

// mark shows that a mail was written by this platform, for one compartment. Without the key nobody can make one.
func (t *canaryTraffic) mark(c querschott.Compartment, sender, id string) string {
	h := hmac.New(sha256.New, t.key)
	_, _ = fmt.Fprintf(h, "canary mail\x00%s\x00%s\x00%s", c, sender, id) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// marked reports whether a mail that is to be delivered is canary traffic.
func (t *canaryTraffic) marked(c querschott.Compartment, m *intake.Message) bool {
	line, ok := bytes.CutPrefix(m.Body, []byte(canaryHeader))
	if !ok {
		return false
	}
	want := t.mark(c, m.Sender, m.MessageID)
	return len(line) > len(want) && subtle.ConstantTimeCompare(line[:len(want)], []byte(want)) == 1
}

// orCanary puts what knows canary mail before a service: the service takes it on trial, with the keys and the cell that real
// mail meets, and nothing of that is stored. In the cell stays that the message was delivered, under no person.
func (n *Node) orCanary(take intake.Handler) intake.Handler {
	return func(ctx context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
		if !n.canary.marked(tx.Compartment, m) {
			return take(ctx, m, tx)
		}
		note, err := take(ctx, m, tx.Trial())
		if err != nil {
			return intake.Note{}, err
		}
		if note.Result != intake.ResultStored || len(note.Findings) > 0 {
			n.canary.refuse(tx.Compartment, m.MessageID)
		}
		return intake.Note{Result: resultCanary, Document: m.MessageID}, nil
	}
}

// delivered looks for canary mail that its service could not take at all.
func (t *canaryTraffic) delivered(list []intake.Delivery) {
	for _, d := range list {
		if d.Note.Result == resultCanary && len(d.Note.Findings) > 0 {
			t.refuse(d.Compartment, d.Note.Document)
		}
	}
}

func (t *canaryTraffic) refuse(c querschott.Compartment, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.onWay[c]; w != nil && w.id == id {
		w.refused = true
	}
}

// isCanary tells credentials of canary traffic from those of accounts.
func isCanary(c querschott.Credential) bool {
	return strings.HasPrefix(string(c.ID), canaryCredential)
}

// authenticate lets canary traffic in by its pass, and everybody else by the accounts. No account is of the canaries' domain.
func (n *Node) authenticate(user, password string) (querschott.Credential, bool) {
	if !strings.HasSuffix(strings.ToLower(user), canaryDomain) {
		return n.accounts.Authenticate(user, password)
	}
	p, ok := n.canary.spend(password)
	if !ok || p.sender == "" || p.sender != user {
		return querschott.Credential{}, false
	}
	return querschott.Credential{ID: p.id, Actor: querschott.Actor(p.sender), Role: querschott.RoleMachine}, true
}

// validSender says whether a sender who has logged in may still send.
func (n *Node) validSender(c querschott.Credential) bool {
	if !isCanary(c) {
		return n.accounts.Valid(c)
	}
	n.canary.mu.Lock()
	defer n.canary.mu.Unlock()
	for _, p := range n.canary.passes {
		if p.id == c.ID && p.sender != "" {
			return true
		}
	}
	return false
}

// recipient says whose a canary recipient is. There is one while its mail is handed in, and nobody else can know it.
func (t *canaryTraffic) recipient(address string) (querschott.IK, bool) {
	if !strings.HasSuffix(address, canaryDomain) {
		return "", false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.passes {
		if p.recipient != "" && subtle.ConstantTimeCompare([]byte(p.recipient), []byte(address)) == 1 {
			return p.c.Insurer, true
		}
	}
	return "", false
}

// tryMail hands in a canary mail at the mail entrance, and waits until the cell has it. One that waits behind real mail, which
// moves on, is looked for at the end of the next interval. There is none without a mail entrance, and while the door delivers
// nothing.
func (n *Node) tryMail(c querschott.Compartment) error {
	if o, ok := n.doors.Current(c); n.gate == nil || !ok || !o.To.Delivers() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.canary.patience)
	defer cancel()
	if w := n.canary.waiting(c); w != nil {
		if moves, err := n.follow(ctx, w); moves || err != nil {
			return err
		}
	}
	w, err := n.handIn(ctx, c)
	if err != nil {
		n.log.Warn("canary traffic did not get through the mail entrance", "compartment", c.String(), "err", err)
		return errors.New("the mail entrance does not take mail in")
	}
	_, err = n.follow(ctx, w)
	return err
}

func (t *canaryTraffic) waiting(c querschott.Compartment) *canaryMail {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.onWay[c]
}

// follow waits until a mail is in its cell. moves says that it is not there yet, and that what is before it goes on.
func (n *Node) follow(ctx context.Context, w *canaryMail) (moves bool, err error) {
	tick := time.NewTicker(canaryLook)
	defer tick.Stop()
	oldest := n.oldest(w.c)
	for {
		moved := n.oldest(w.c) != oldest
		in, err := n.Delivered(w.c, intake.BindingOf(w.sender, w.id))
		switch {
		case err != nil || in:
			return false, n.canary.arrived(w, err)
		case moved || n.stages.leaving():
			return true, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, n.canary.arrived(w, errors.New("a mail is not delivered"))
		}
	}
}

// arrived forgets a mail and says what is to be said about it.
func (t *canaryTraffic) arrived(w *canaryMail, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.onWay[w.c] == w {
		delete(t.onWay, w.c)
	}
	if err == nil && w.refused {
		return errors.New("the service could not read a mail")
	}
	return err
}

// oldest is when the message came that a compartment delivers next, in microseconds; 0 if nothing waits.
func (n *Node) oldest(c querschott.Compartment) int64 {
	for _, b := range n.journal.Backlogs() {
		if b.Compartment == c {
			return b.OldestUS
		}
	}
	return 0
}

// handIn gives a canary mail to the mail entrance, as a practice's system does: over the network, under TLS, with a login. Nobody
// asks for a notification, so none is written.
func (n *Node) handIn(ctx context.Context, c querschott.Compartment) (*canaryMail, error) {
	sender := string(c.Service) + "." + string(c.Insurer) + canaryDomain
	p := &pass{
		c: c, id: querschott.CredentialID(canaryCredential + c.String()), sender: sender,
		recipient: strings.ToLower(rand.Text()) + canaryDomain,
	}
	w := &canaryMail{c: c, sender: sender, id: strings.ToLower(rand.Text()) + canaryDomain}
	body, err := n.canaryBody(w, p.recipient)
	if err != nil {
		return nil, err
	}
	return w, n.give(ctx, p, w, body)
}

// give is one session at the mail entrance.
func (n *Node) give(ctx context.Context, p *pass, w *canaryMail, body []byte) error {
	defer n.canary.issue(p)()
	s, err := n.dialMail(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // what was said is over by then
	if err := s.Auth(smtp.PlainAuth("", p.sender, p.secret, n.cfg.Mail.Hostname)); err != nil {
		return err
	}
	if err := errors.Join(s.Mail(p.sender), s.Rcpt(p.recipient)); err != nil {
		return err
	}
	data, err := s.Data()
	if err != nil {
		return err
	}
	n.canary.send(w) // its delivery may be faster than the answer
	_, err = data.Write(body)
	if err := errors.Join(err, data.Close()); err != nil {
		return n.canary.arrived(w, err)
	}
	return nil
}

func (t *canaryTraffic) send(w *canaryMail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onWay[w.c] = w
}

// dialMail opens a session with TLS, at each of the node's addresses in turn.
func (n *Node) dialMail(ctx context.Context) (*smtp.Client, error) {
	n.canary.mu.Lock()
	all := append(n.sockets.starttls[:len(n.sockets.starttls):len(n.sockets.starttls)], n.sockets.implicit...)
	at := n.canary.tried % len(all)
	n.canary.tried++
	n.canary.mu.Unlock()
	dial := dialPlain
	if at >= len(n.sockets.starttls) {
		dial = func(ctx context.Context, a net.Addr) (net.Conn, error) { return dialOwn(ctx, a, n.canary.mail) }
	}
	conn, err := dial(ctx, all[at].Addr())
	if err != nil {
		return nil, err
	}
	if until, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(until)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s, err := smtp.NewClient(conn, n.cfg.Mail.Hostname)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if at < len(n.sockets.starttls) {
		err = s.StartTLS(trustOnly(n.canary.mail))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// canaryBody writes a sick note of a canary person, signed and wrapped as practices do, with the mark before it. Each service
// gets it under a Dienstkennung of its own.
func (n *Node) canaryBody(w *canaryMail, to string) ([]byte, error) {
	now := n.opt.Now()
	cert, key, err := canarySigner(now)
	if err != nil {
		return nil, err
	}
	index, number, _ := n.canaryOf(w.c.Insurer)
	who, today := n.invented(w.c.Insurer, index, number), eau.Date(now.Format(time.DateOnly))
	lives := who.Patient.Addresses[0]
	address := eau.Address{Street: lives.Lines[0].Street, Number: lives.Lines[0].Number, PostalCode: lives.PostalCode, City: lives.City}
	id := eau.NewUUID(eau.NamespaceDNS, w.id)
	signed, err := cms.Sign(eau.Generate(eau.Certificate{
		Identifier: id, Issued: now, Type: eau.First, From: today, Until: today, Determined: today,
		Payor: w.c.Insurer, PayorName: "Canary", TestNumber: "Y/400/2107/36/999",
		Person:    eau.Person{Number: number, Family: who.Patient.Name.Family, Given: who.Patient.Name.Given, Born: eau.Date(who.Patient.Born), Address: address},
		Doctor:    eau.Doctor{Number: "999999900", Family: "Canary", Given: "Canary", Profession: "Canary"},
		Practice:  eau.Practice{Number: "999999999", Name: "Canary", Phone: "0000", Address: address},
		Diagnoses: []eau.Diagnosis{{Code: "Z00.0", Certainty: "G"}},
	}), cert, key, now)
	if err != nil {
		return nil, err
	}
	name := kim.DocumentName{Test: true, ID: id.String()}
	kind := map[querschott.Service]kim.Dienstkennung{
		querschott.EAU: kim.EAUDelivery, querschott.Letter: {Application: "Arztbrief", Operation: "VHitG-Versand", Version: "1.2"},
	}[w.c.Service]
	if kind == (kim.Dienstkennung{}) {
		kind = kim.FreeMail
	}
	body, err := kim.Compose(kim.Delivery{
		From: kim.Address(w.sender), To: kim.Address(to), Dienstkennung: kind, Subject: name.String(), FileName: name.P7S(), Description: "eAU",
		P7S: signed, Sendersystem: "Querschott;canary", Date: now, MessageID: "<" + w.id + ">",
	})
	return append([]byte(canaryHeader+n.canary.mark(w.c, w.sender, w.id)+"\r\n"), body...), err
}

// canarySigner makes who signs a canary mail. His key is forgotten with it: nobody relies on the signature.
func canarySigner(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Querschott canary"}, SubjectKeyId: []byte{1},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
