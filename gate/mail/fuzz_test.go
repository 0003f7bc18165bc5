package mail

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// script is a connection on which everything has been said already.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *script) Close() error                { return nil }
func (s *script) LocalAddr() net.Addr         { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// How a fuzzed session begins: bits of its first octet.
const (
	fuzzSecured = 1 << iota
	fuzzRelay
	fuzzLoggedIn
	fuzzIntakeFails
	fuzzClosed
	fuzzLedgerFails
)

// FuzzSession runs whole sessions. Whatever is said: every answer is in the table, nothing is promised that the intake
// does not have, a failure of ours is never a 5xx, and nothing stays behind.
func FuzzSession(f *testing.F) {
	envelope := "MAIL FROM:<" + practice + "> SIZE=100 RET=HDRS ENVID=x\r\nRCPT TO:<" + eauBox + "> NOTIFY=SUCCESS ORCPT=rfc822;a+40b\r\n"
	f.Add([]byte("\x07EHLO x\r\n" + envelope + "DATA\r\n" + eau() + ".\r\nQUIT\r\n"))
	f.Add([]byte("\x07EHLO x\r\n" + envelope + "BDAT 10\r\n0123456789BDAT 3 LAST\r\n\r\n."))
	f.Add([]byte("\x05EHLO x\r\n" + envelope + "DATA\r\n\n.\r\nx\r.\r\n.\r\n"))
	f.Add([]byte("\x0fEHLO x\r\n" + envelope + "DATA\r\n" + eau() + ".\r\n"))
	f.Add([]byte("\x17EHLO x\r\n" + envelope + "DATA\r\n" + eau() + ".\r\n"))
	f.Add([]byte("\x27EHLO x\r\n" + envelope + "DATA\r\n" + eau() + ".\r\n"))
	f.Add([]byte("\x01EHLO x\r\nAUTH PLAIN " + plainResponse(practice, password) + "\r\n" + envelope))
	f.Add([]byte("\x01EHLO x\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nAUTH LOGIN YQ==\r\n=\r\n"))
	f.Add([]byte("\x00EHLO x\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\n"))
	f.Add([]byte("\x07HELO x\r\nRSET\r\nVRFY y\r\nNOOP\r\nRCPT TO:<@a,@b:c@d>\r\nBDAT 99999999999 LAST\r\n"))
	table := documented(f)
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 0 {
			fuzzSession(t, table, said[0], said[1:])
		}
	})
}

func fuzzSession(t *testing.T, table map[string]bool, mode byte, said []byte) {
	w := newWorld(t)
	if mode&fuzzIntakeFails != 0 {
		w.before = onStep("append", errInjected)
	}
	if mode&fuzzLedgerFails != 0 {
		w.before = onStep("record", errInjected)
	}
	if mode&fuzzClosed != 0 {
		w.closeDoors(one, querschott.MailServices()...)
	}
	cfg := w.config()
	cfg.Limits.MaxMail, cfg.Limits.Errors = 4000, 1000
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc := &script{in: bytes.NewReader(said)}
	c := newSession(context.Background(), srv, nc, netip.Addr{})
	c.secured = mode&fuzzSecured != 0
	if mode&fuzzLoggedIn != 0 {
		user := practice
		if mode&fuzzRelay != 0 {
			user = relay
		}
		credential, _ := cfg.Authenticate(user, password)
		c.credential = &credential
	}
	c.serve(false)

	promised := 0
	for line := range strings.Lines(nc.out.String()) {
		m := answerLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("answered %q", line)
		}
		enhanced := m[2]
		if enhanced == "" {
			enhanced = "-"
		}
		if !table[m[1]+" "+enhanced] {
			t.Fatalf("answered %q, which is not in the table", line)
		}
		if strings.Contains(line, "accepted, receipt") {
			promised++
		}
	}
	ends := bytes.Count(said, []byte("\r\n.\r\n")) + bytes.Count(bytes.ToUpper(said), []byte("LAST"))
	got := w.got()
	switch failing := mode&(fuzzIntakeFails|fuzzLedgerFails|fuzzClosed) != 0; {
	case failing && promised > 0:
		t.Fatal("promised although a step failed or the door was closed")
	case !failing && (promised != got[0] || promised != got[1]):
		t.Fatalf("%d promised; taken in, recorded, notified: %v", promised, got)
	case got[0] > ends:
		t.Fatalf("%d taken in, but only %d messages ended", got[0], ends)
	}
	if s := srv.Stats(); s.Panics != 0 || !srv.memory.TryAcquire(srv.cfg.Limits.BodyMemory) {
		t.Fatalf("a panic, or memory stayed behind: %+v\n%s", s, w.log.String())
	}
}

var answerLine = regexp.MustCompile(`^(\d{3})[ -](?:([245]\.\d\.\d+) )?[ -~]*\r\n$`)

func FuzzEnvelope(f *testing.F) {
	f.Add("FROM:<a@b> SIZE=1 ENVID=a+2Bb")
	f.Add("from: <@x:a@b>")
	f.Fuzz(func(t *testing.T, arg string) {
		path, parameters, ok := cutPath(arg, "FROM:")
		if !ok {
			return
		}
		if mailbox(path) && (strings.ContainsAny(path, "\r\n <>\"\x00") || strings.Count(path, "@") != 1) {
			t.Errorf("%q is taken for an address", path)
		}
		for _, value := range parameters {
			if s, ok := decodeXtext(value); ok && !printable(s) {
				t.Errorf("%q decodes to %q", value, s)
			}
		}
	})
}

func FuzzLoneDot(f *testing.F) {
	f.Add([]byte("a\n.\r\nb"))
	f.Add([]byte("a\r\n.\r\nb"))
	lone := regexp.MustCompile(`(^|[\r\n])\.[\r\n]`)
	f.Fuzz(func(t *testing.T, octets []byte) {
		// The plainest description: cut out what is right, look whether a lone dot is left.
		rest := octets
		if bytes.HasPrefix(rest, []byte(".\r\n")) {
			rest = append([]byte("\r\n"), rest[3:]...)
		}
		for bytes.Contains(rest, []byte("\r\n.\r\n")) {
			rest = bytes.ReplaceAll(rest, []byte("\r\n.\r\n"), []byte("\r\n"))
		}
		if got, want := loneDot(octets), lone.Match(rest); got != want {
			t.Errorf("loneDot(%q) = %v, want %v", octets, got, want)
		}
	})
}
