//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott/outbox"
	"github.com/querschott/querschott/wire/kim"
)

// swaks says how one run of swaks is made.
type swaks struct {
	implicit bool   // TLS from the start
	plain    bool   // no TLS
	auth     string // mechanism; "": none
	user     string
	password string
	from, to string
	data     string // file
	want     int    // swaks' exit code
	wants    []string
}

// Exit codes of swaks.
const (
	swaksMail = 23
	swaksRcpt = 24
	swaksData = 26
	swaksAuth = 28
)

// run runs swaks and returns what both sides said.
func (s swaks) run(t *testing.T, i *installation, starttls, implicit string) string {
	t.Helper()
	args := []string{"--from", s.from, "--to", s.to, "--ehlo", "praxis.example", "--no-hints", "--no-info-hints", "--suppress-data"}
	switch {
	case s.plain:
		args = append(args, "--server", starttls)
	case s.implicit:
		args = append(args, "--server", implicit, "--tls-on-connect")
	default:
		args = append(args, "--server", starttls, "--tls")
	}
	if !s.plain {
		args = append(args, "--tls-verify", "--tls-ca-path", filepath.Join(i.dir, "ca.crt"))
	}
	if s.auth != "" {
		args = append(args, "--auth", s.auth, "--auth-user", s.user, "--auth-password", s.password)
	}
	if s.data != "" {
		args = append(args, "--data", "@"+s.data)
	}
	cmd := exec.CommandContext(t.Context(), need(t, "swaks"), args...)
	out, err := cmd.CombinedOutput()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if err != nil && exit == nil {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != s.want {
		t.Errorf("swaks ended with %d, want %d", code, s.want)
	}
	for _, w := range s.wants {
		if !regexp.MustCompile(`(?m)^(` + w + `)\r?$`).Match(out) {
			t.Errorf("nobody answered %s", w)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	return string(out)
}

const accepted = `250 2\.0\.0 accepted, receipt [0-9]+, 2 copies`

func TestSwaks(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	i := install(t, 2)
	practice, about := i.world.Practices()[0], i.world.Person(0)
	first, second := i.world.Insurers()[0], i.world.Insurers()[1]
	user, to := string(practice.KIM), string(first.Address)
	password := i.account(t, user)
	i.set(t, map[string]string{"intake.max_mail": "256KiB"})
	p, at := i.serve(t)
	i.openAll(t)
	i.run(t, "door", "set", string(second.IK), "closed", "--key", filepath.Join(i.dir, "operators", "ben.key"),
		"--reason", "password found on sale", "--incident", "VF-2026-7")

	letter := func(t *testing.T) string {
		m, err := practice.SickNote(about, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return file(t, m.Body)
	}
	good := swaks{auth: "PLAIN", user: user, password: password, from: user, to: to, wants: []string{accepted}}
	change := func(fn func(*swaks)) swaks {
		s := good
		fn(&s)
		return s
	}
	foreign := file(t, []byte("From: somebody.else@praxis.kim.telematik-test\r\nReply-To: "+user+"\r\nTo: "+to+
		"\r\nMessage-ID: <1@praxis.kim.telematik-test>\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n\r\n"))
	large := file(t, []byte("From: "+user+"\r\nReply-To: "+user+"\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 300<<10/72)))
	for name, s := range map[string]swaks{
		"STARTTLS, AUTH PLAIN":     good,
		"implicit TLS, AUTH PLAIN": change(func(s *swaks) { s.implicit = true }),
		"STARTTLS, AUTH LOGIN":     change(func(s *swaks) { s.auth = "LOGIN" }),
		"implicit TLS, AUTH LOGIN": change(func(s *swaks) { s.auth, s.implicit = "LOGIN", true }),
		"wrong password": change(func(s *swaks) {
			s.password, s.want, s.wants = "wrong", swaksAuth, []string{`535 5\.7\.8 user name or password is wrong`}
		}),
		"wrong password, LOGIN": change(func(s *swaks) {
			s.auth, s.password, s.want, s.wants = "LOGIN", "wrong", swaksAuth, []string{`535 5\.7\.8 user name or password is wrong`}
		}),
		"no login": change(func(s *swaks) {
			s.auth, s.want, s.wants = "", swaksMail, []string{`530 5\.7\.0 authenticate first`}
		}),
		"no TLS": change(func(s *swaks) {
			s.auth, s.plain, s.want, s.wants = "", true, swaksMail, []string{`530 5\.7\.0 begin with STARTTLS`}
		}),
		"unknown recipient": change(func(s *swaks) {
			s.to, s.want, s.wants = "nobody@"+first.Address.Domain(), swaksRcpt, []string{`550 5\.1\.1 no such recipient here`}
		}),
		"somebody else's MAIL FROM": change(func(s *swaks) {
			s.from, s.want, s.wants = string(i.world.Practices()[1].KIM), swaksMail, []string{`550 5\.7\.1 MAIL FROM must be the authenticated user \(A_23421\)`}
		}),
		"somebody else's From": change(func(s *swaks) {
			s.data, s.want = foreign, swaksData
			s.wants = []string{`550 5\.7\.1 From and Sender must equal MAIL FROM, Reply-To must be a KIM address \(A_23422\)`}
		}),
		"closed door": change(func(s *swaks) {
			s.to, s.want = string(second.Address), swaksRcpt
			s.wants = []string{`451 4\.3\.2 closed for now, keep the message and repeat after 15 minutes; incident VF-2026-7; ` +
				`see https://status\.e2e\.querschott\.example/`}
		}),
		"larger than SIZE": change(func(s *swaks) {
			s.data, s.want, s.wants = large, swaksData, []string{`552 5\.3\.4 the message is larger than announced under SIZE`}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			if s.data == "" {
				s.data = letter(t)
			}
			text := s.run(t, i, at.StartTLS, at.TLS)
			if !strings.Contains(text, fmt.Sprintf("250-SIZE %d", 256<<10)) || !strings.Contains(text, "250-DSN") {
				t.Errorf("EHLO offers no SIZE or DSN:\n%s", text)
			}
		})
	}
	p.stop(t)
	for what, text := range map[string]string{"a password": password, "a sender": user, "a recipient": to} {
		if strings.Contains(p.log.String(), text) {
			t.Errorf("the log names %s", what)
		}
	}
}

// TestSwaksClosedService closes one service of an insurer: the refusal comes when the header is known, after DATA, and
// the insurer's other mail passes.
func TestSwaksClosedService(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	i := install(t, 1)
	practice, about := i.world.Practices()[0], i.world.Person(0)
	user, in := string(practice.KIM), i.world.Insurers()[0]
	s := swaks{auth: "LOGIN", user: user, password: i.account(t, user), from: user, to: string(in.Address), implicit: true}
	_, at := i.serve(t)
	i.openAll(t)
	i.run(t, "door", "set", string(in.IK)+"/eau", "closed", "--key", filepath.Join(i.dir, "operators", "anna.key"), "--reason", "test")

	sick, err := practice.SickNote(about, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.data, s.want = file(t, sick.Body), swaksData
	s.wants = []string{`451 4\.3\.2 closed for now, keep the message and repeat after 15 minutes; incident none; see https://status\.e2e\.querschott\.example/`}
	s.run(t, i, at.StartTLS, at.TLS)
	other, err := practice.Letter(about, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.data, s.want, s.wants = file(t, other.Body), 0, []string{accepted}
	s.run(t, i, at.StartTLS, at.TLS)
}

// TestSwaksNotification asks for a notification and reads it from the practice's mailbox.
func TestSwaksNotification(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	i := install(t, 1)
	practice, in := i.world.Practices()[0], i.world.Insurers()[0]
	user := string(practice.KIM)
	m, err := practice.SickNote(i.world.Person(0), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	password := i.account(t, user)
	p, at := i.serve(t)
	// swaks has no option for it: the parameter stands in what swaks takes for the address, whose closing bracket then
	// closes the notification's original recipient instead.
	s := swaks{auth: "PLAIN", user: user, password: password, from: user, to: string(in.Address) + "> NOTIFY=SUCCESS ORCPT=rfc822;insurer", data: file(t, m.Body)}
	s.wants = []string{`250 2\.1\.5 recipient`, accepted}
	s.run(t, i, at.StartTLS, at.TLS)
	eventually(t, "the notification has left", func() bool {
		st, err := i.client(t).Status(t.Context())
		return err == nil && st.Mail.Outgoing == 0
	})
	p.stop(t)
	reports := notifications(t, i, user)
	if len(reports) != 1 {
		t.Fatalf("got %d notifications", len(reports))
	}
	r := reports[0]
	if r.InReplyTo != m.MessageID || r.ReportingMTA != hostname || len(r.Recipients) != 1 ||
		r.Recipients[0].Final != string(in.Address) || r.Recipients[0].Action != "delivered" || r.Recipients[0].Status != "2.0.0" ||
		r.Header.Get("X-KIM-Dienstkennung") != "eAU;Lieferung;V1.2" {
		t.Errorf("got %+v", r)
	}
}

// notifications reads the mailbox of an address out of the outbox of a node that has stopped.
func notifications(t *testing.T, i *installation, address string) []kim.Report {
	t.Helper()
	box, done := openOutbox(t, i.load(t))
	defer done()
	return readReports(t, box, address)
}

func readReports(t *testing.T, box *outbox.Outbox, address string) []kim.Report {
	t.Helper()
	list, err := box.List(address)
	if err != nil {
		t.Fatal(err)
	}
	var reports []kim.Report
	for _, e := range list {
		body, err := box.Get(address, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kim.ParseReport(body)
		if err != nil {
			t.Fatalf("%v:\n%s", err, body)
		}
		reports = append(reports, r)
	}
	return reports
}

func file(t *testing.T, octets []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mail")
	if err := os.WriteFile(name, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
