package outbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell/celltest"
)

func TestRelayTakesMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: s.relay(), Workers: 1})
		mails := letters("a", "one.example", 7)
		mails[3].From = "kasse@example"
		mustPut(t, o, mails...)
		wantStatus(t, o, 7, 0)
		if st := o.Status(); st.Next.After(time.Now()) || !st.Oldest.Equal(time.Now()) {
			t.Errorf("next %v, oldest %v; want both now", st.Next, st.Oldest)
		}
		stop := start(t, o)
		pass(time.Second)
		wantStatus(t, o, 0, 0)
		got := s.got()
		slices.SortFunc(got, func(a, b accepted) int { return strings.Compare(a.to, b.to) })
		if len(got) != len(mails) {
			t.Fatalf("the relay has %d mails, want %d", len(got), len(mails))
		}
		for i, m := range mails {
			if got[i].from != m.From || got[i].to != m.To || got[i].body != string(m.Body) {
				t.Errorf("mail %d: the relay has %+v, put was %q", i, got[i], m.Body)
			}
		}
		if n := s.callCount(); n != 1 {
			t.Errorf("%d connections for seven mails, want one", n)
		}
		mustPut(t, o, mails...)
		pass(time.Hour)
		if n := len(s.got()); n != len(mails) {
			t.Errorf("mail that was sent was sent again when put again: %d", n)
		}
		stop()
		if diff := cmp.Diff(map[string]int{"s": 7, "p": 7}, keysOf(t, store)); diff != "" {
			t.Errorf("keys left (-want +got):\n%s", diff)
		}
	})
}

func TestIdleConnectionThatTheRelayEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.server.ReadTimeout, s.server.WriteTimeout = 2*time.Second, time.Second // a pipe has nowhere to leave a farewell
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay(), Workers: 1})
		start(t, o)
		mustPut(t, o, letter("a", practice))
		pass(5 * time.Second)
		mustPut(t, o, letter("b", practice))
		pass(time.Second)
		if n := len(s.got()); n != 2 {
			t.Errorf("the relay has %d mails, want both without a pause", n)
		}
	})
}

func TestBackOffOfOneMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(*smtp.Conn, string) error { return transientReply() }
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay()})
		start(t, o)
		mustPut(t, o, letter("a", practice))
		pass(36 * time.Hour)
		tries := s.tries()
		if len(tries) < 12 {
			t.Fatalf("%d attempts in 36 hours", len(tries))
		}
		want := time.Minute
		for i := 1; i < len(tries); i++ {
			got := tries[i].Sub(tries[i-1])
			// A domain pauses for itself from its third failure on, for no longer than its mail does.
			if got < want*8/10-time.Second || got > want+time.Second {
				t.Errorf("pause %d was %v, want %v less a fifth at most", i, got, want)
			}
			want = min(2*want, 4*time.Hour)
		}
		wantStatus(t, o, 1, 0)
		s.set(func() { s.onRcpt = nil })
		pass(5 * time.Hour)
		wantStatus(t, o, 0, 0)
	})
}

func TestRefusedMailIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(_ *smtp.Conn, to string) error {
			if strings.HasPrefix(to, "p001@") {
				return permanentReply()
			}
			return nil
		}
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: s.relay(), Workers: 1})
		stop := start(t, o)
		begun := time.Now()
		mails := letters("a", "one.example", 3)
		mustPut(t, o, mails...)
		pass(100 * time.Hour)
		wantStatus(t, o, 0, 1)
		if n := len(s.got()); n != 2 {
			t.Errorf("the relay has %d mails, want the two others", n)
		}
		stop()

		o = open(t, store, Options{Relay: s.relay()})
		wantStatus(t, o, 0, 1)
		failed, err := o.Failed()
		if err != nil {
			t.Fatal(err)
		}
		want := []Refused{{
			ID: "a-001", To: "p001@one.example", Created: mails[1].Created, At: begun, Attempts: 1,
			Code: 550, Reason: "SMTP error 550: no such user",
		}}
		equal := cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Second })
		if diff := cmp.Diff(want, failed, equal); diff != "" {
			t.Errorf("Failed (-want +got):\n%s", diff)
		}
		mustPut(t, o, mails[1])
		wantStatus(t, o, 0, 1)

		s.set(func() { s.onRcpt = nil })
		start(t, o)
		if err := o.Retry(context.Background(), "a-001"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		wantStatus(t, o, 0, 0)
		if n := len(s.got()); n != 3 {
			t.Errorf("the relay has %d mails after Retry, want 3", n)
		}
		for _, id := range []string{"a-001", "a-000", "unknown"} {
			if err := o.Retry(context.Background(), id); querschott.CodeOf(err) != querschott.CodeNotFound {
				t.Errorf("Retry(%q) of a mail that is not refused: %v", id, err)
			}
		}
	})
}

func TestRelayDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.down = true
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: s.relay()})
		start(t, o)
		mustPut(t, o, letters("a", "one.example", 50)...)
		mustPut(t, o, letters("b", "two.example", 50)...)
		commits := store.Commits()
		pass(24 * time.Hour)
		if n := s.callCount(); n < 24*12 || n > 24*20 {
			t.Errorf("%d calls in a day, want one about every five minutes", n)
		}
		if n := store.Commits(); n != commits {
			t.Errorf("%d commits while the relay was down: waiting mail should cost nothing", n-commits)
		}
		st := o.Status()
		if st.Relay == "" || !st.Next.After(time.Now()) || st.Queued != 100 {
			t.Errorf("status while the relay is down: %+v", st)
		}
		s.set(func() { s.down = false })
		pass(5*time.Minute + time.Second)
		if n := len(s.got()); n != 100 || o.Status().Relay != "" {
			t.Errorf("five minutes after it came back the relay has %d mails and is called %q", n, o.Status().Relay)
		}
	})
}

func TestConnectionDiesInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		deaths := 0
		s.onData = func(c *smtp.Conn, _ string) error {
			if deaths++; deaths > 2 {
				return nil
			}
			_ = c.Conn().Close()
			return errors.New("dead")
		}
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay(), Workers: 1})
		start(t, o)
		mustPut(t, o, letter("a", practice))
		pass(time.Second)
		wantStatus(t, o, 1, 0)
		pass(10 * time.Minute)
		wantStatus(t, o, 0, 0)
		// The server of this test counts what it read even when it could not answer.
		if n := len(s.got()); n < 1 {
			t.Errorf("the relay has %d mails", n)
		}
	})
}

// A domain whose recipients hang takes half of the connections; mail to the others goes on.
func TestSlowDomainDoesNotStopOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(_ *smtp.Conn, to string) error {
			if strings.HasSuffix(to, "@slow.example") {
				<-s.hung
			}
			return nil
		}
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay(), Workers: 2})
		start(t, o)
		mustPut(t, o, letters("a", "slow.example", 200)...)
		pass(time.Second)
		mustPut(t, o, letters("b", "good.example", 200)...)
		pass(time.Second)
		if n := len(s.got()); n != 200 {
			t.Errorf("the good domain has %d of 200 mails after a second", n)
		}
		pass(time.Hour)
		wantStatus(t, o, 200, 0)
		// Five minutes for an answer, three tries before the domain pauses, then single ones.
		if n := s.callCount(); n > 12 {
			t.Errorf("%d connections for a domain that hangs", n)
		}
		if st := o.Status(); st.Relay != "" {
			t.Errorf("a slow domain made the relay look bad: %s", st.Relay)
		}
	})
}

// A full mailbox says nothing about its neighbours.
func TestFullMailboxDoesNotPauseItsDomain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		s.onRcpt = func(_ *smtp.Conn, to string) error {
			if to < "p010" {
				return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}
			}
			return nil
		}
		o := open(t, celltest.NewMemory(), Options{Relay: s.relay()})
		start(t, o)
		mustPut(t, o, letters("a", "one.example", 30)...)
		pass(time.Second)
		wantStatus(t, o, 10, 0)
	})
}

func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		o := open(t, celltest.NewMemory(), Options{
			Relay: s.relay(), Paused: true, Local: func(a string) bool { return strings.HasSuffix(a, "@here.example") },
		})
		start(t, o)
		mustPut(t, o, letter("a", practice), letter("b", "anna@HERE.example"))
		pass(time.Hour)
		if st := o.Status(); len(s.got()) != 0 || !st.Paused || st.Queued != 1 || !st.Next.IsZero() || st.Local != 1 {
			t.Errorf("paused: the relay has %d mails, status %+v", len(s.got()), st)
		}
		o.Resume()
		synctest.Wait()
		if st := o.Status(); len(s.got()) != 1 || st.Paused || st.Queued != 0 || st.Sent != 1 {
			t.Errorf("resumed: the relay has %d mails, status %+v", len(s.got()), st)
		}
		o.Pause()
		mustPut(t, o, letter("c", practice))
		pass(time.Hour)
		wantStatus(t, o, 1, 0)
	})
}

// When Run ends, a transaction under way is finished, and one that hangs is cut off after ten seconds.
func TestEndOfRun(t *testing.T) {
	for _, hang := range []time.Duration{5 * time.Second, time.Hour} {
		t.Run(hang.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newRelayServer(t)
				s.onData = func(*smtp.Conn, string) error {
					select {
					case <-time.After(hang):
					case <-s.hung:
					}
					return nil
				}
				store := celltest.NewMemory()
				o := open(t, store, Options{Relay: s.relay()})
				stop := start(t, o)
				mustPut(t, o, letter("a", practice))
				pass(time.Second)
				begun := time.Now()
				stop()
				if took := time.Since(begun); took > 11*time.Second {
					t.Errorf("Run ended after %v", took)
				}
				wantStatus(t, open(t, store, Options{Relay: s.relay()}), map[bool]int{true: 0, false: 1}[hang < grace], 0)
			})
		})
	}
}

func TestWrongPasswordRefusesNoMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newRelayServer(t)
		relay := s.relay()
		relay.User, relay.Password = "node", "wrong"
		store := celltest.NewMemory()
		o := open(t, store, Options{Relay: relay})
		stop := start(t, o)
		mustPut(t, o, letter("a", practice))
		pass(time.Hour)
		wantStatus(t, o, 1, 0)
		if st := o.Status(); !strings.Contains(st.Relay, "535") || strings.Contains(st.Relay, "wrong\"") {
			t.Errorf("the relay's trouble is %q", st.Relay)
		}
		stop()
		relay.Password = "right"
		o = open(t, store, Options{Relay: relay})
		start(t, o)
		pass(time.Second)
		wantStatus(t, o, 0, 0)
	})
}

func TestJudge(t *testing.T) {
	reply := func(code, class, subject int) error {
		return fmt.Errorf("wrapped: %w", &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, 0}, Message: "x"})
	}
	cut := errors.New("connection reset")
	for _, c := range []struct {
		name string
		at   stage
		err  error
		want verdict
	}{
		{"taken", stageBody, nil, verdict{result: sent, relayOK: true}},
		{"no connection", stageConnect, cut, verdict{result: untouched, relay: true, hangUp: true}},
		{"greeting 554", stageConnect, reply(554, 5, 3), verdict{result: untouched, code: 554, relay: true, hangUp: true}},
		{"cut off at MAIL", stageMail, cut, verdict{result: later, relay: true, hangUp: true}},
		{"cut off at RCPT", stageRecipient, cut, verdict{result: later, domain: true, hangUp: true}},
		{"530 at MAIL", stageMail, reply(530, 5, 7), verdict{result: untouched, code: 530, relay: true, hangUp: true}},
		{"552 at MAIL", stageMail, reply(552, 5, 3), verdict{result: refused, code: 552, relayOK: true}},
		{"451 at MAIL", stageMail, reply(451, 4, 7), verdict{result: later, code: 451, relay: true}},
		{"550 at RCPT", stageRecipient, reply(550, 5, 1), verdict{result: refused, code: 550, relayOK: true}},
		{"450 of a domain", stageRecipient, reply(450, 4, 4), verdict{result: later, code: 450, domain: true, relayOK: true}},
		{"450 of an address", stageRecipient, reply(450, 4, 1), verdict{result: later, code: 450, relayOK: true}},
		{"452 of a mailbox", stageRecipient, reply(452, 4, 2), verdict{result: later, code: 452, relayOK: true}},
		{"452 of the system", stageBody, reply(452, 4, 3), verdict{result: later, code: 452, relay: true}},
		{"421 at DATA", stageBody, reply(421, 4, 4), verdict{result: later, code: 421, domain: true, relayOK: true, hangUp: true}},
		{"554 at the end", stageBody, reply(554, 5, 6), verdict{result: refused, code: 554, relayOK: true}},
	} {
		got := judge(c.at, c.err)
		got.reason = ""
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestClean(t *testing.T) {
	if got := clean("a\r\nb\x00\u00e4" + strings.Repeat("x", 300)); strings.ContainsAny(got, "\r\n\x00\u00e4") || len(got) != maxReply {
		t.Errorf("clean: %q", got)
	}
}

func TestRelayOptions(t *testing.T) {
	for _, c := range []struct {
		relay Relay
		ok    bool
	}{
		{Relay{Address: "mail.example:25"}, true},
		{Relay{Address: "mail.example:465", TLS: RelayImplicitTLS}, true},
		{Relay{Address: "localhost:25", TLS: RelayPlain}, true},
		{Relay{Address: "[::1]:25", TLS: RelayPlain}, true},
		{Relay{Address: "mail.example:25", TLS: RelayPlain}, false},
		{Relay{Address: "10.0.0.1:25", TLS: RelayPlain}, false},
		{Relay{Address: "mail.example"}, false},
		{Relay{Address: "mail.example:25", TLS: "ssl"}, false},
	} {
		_, err := Open(celltest.NewMemory(), testBox(), Options{Relay: &c.relay})
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.relay, err)
		}
	}
}

// certificate makes a certificate for 127.0.0.1 and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Over TLS, with and without a certificate that is trusted, and a relay that offers no TLS at all.
func TestRelayTLS(t *testing.T) {
	for _, c := range []struct {
		name           string
		tls            RelayTLS
		trusted, offer bool
		taken          int
	}{
		{"starttls", RelayStartTLS, true, true, 1},
		{"tls", RelayImplicitTLS, true, true, 1},
		{"starttls, not trusted", RelayStartTLS, false, true, 0},
		{"tls, not trusted", RelayImplicitTLS, false, true, 0},
		{"starttls, not offered", RelayStartTLS, true, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cert, pool := certificate(t)
				s := newRelayServer(t)
				s.server.AllowInsecureAuth = false
				if c.offer {
					s.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
				relay := s.relay()
				relay.TLS, relay.User, relay.Password = c.tls, "node", "right"
				relay.Config = &tls.Config{}
				if c.trusted {
					relay.Config.RootCAs = pool
				}
				s.implicit = c.tls == RelayImplicitTLS
				o := open(t, celltest.NewMemory(), Options{Relay: relay})
				start(t, o)
				mustPut(t, o, letter("a", practice))
				pass(10 * time.Second)
				if n := len(s.got()); n != c.taken {
					t.Errorf("the relay has %d mails, want %d; trouble: %s", n, c.taken, o.Status().Relay)
				}
				if (o.Status().Relay == "") != (c.taken == 1) {
					t.Errorf("the relay's trouble is %q", o.Status().Relay)
				}
			})
		})
	}
}
