package mail

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/kim"
)

// TestAnswersAreDocumented compares the table in the package comment with every answer that the code can make.
func TestAnswersAreDocumented(t *testing.T) {
	if d := cmp.Diff(documented(t), possible(t)); d != "" {
		t.Errorf("the table of answers (-) and the code (+) differ:\n%s", d)
	}
}

// documented returns the answers in the package comment.
func documented(t testing.TB) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t(\d{3}) (\S+)  `).FindAllStringSubmatch(string(text), -1) {
		answers[m[1]+" "+m[2]] = true
	}
	return answers
}

// possible returns all pairs of a code and an enhanced code that stand side by side in the code.
func possible(t testing.TB) map[string]bool {
	t.Helper()
	answers := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	add := func(exprs []ast.Expr) {
		for i := range len(exprs) - 1 {
			code, isCode := exprs[i].(*ast.BasicLit)
			enhanced, isText := exprs[i+1].(*ast.BasicLit)
			if isCode && isText && code.Kind == token.INT && enhanced.Kind == token.STRING && len(code.Value) == 3 {
				s, err := strconv.Unquote(enhanced.Value)
				if err != nil {
					t.Fatal(err)
				}
				if s == "" {
					s = "-"
				}
				answers[code.Value+" "+s] = true
			}
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				add(call.Args)
			}
			return true
		})
	}
	return answers
}

// TestForeignClient hands in mail with somebody else's client, over both kinds of listener and with both mechanisms.
func TestForeignClient(t *testing.T) {
	w := newWorld(t)
	g := w.start(nil)
	for name, tc := range map[string]struct {
		dial func() (*smtp.Client, error)
		auth sasl.Client
	}{
		"implicit TLS, PLAIN": {func() (*smtp.Client, error) { return smtp.DialTLS(g.implicit, clientTLS) }, sasl.NewPlainClient("", practice, password)},
		"STARTTLS, LOGIN":     {func() (*smtp.Client, error) { return smtp.DialStartTLS(g.starttls, clientTLS) }, sasl.NewLoginClient(practice, password)},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tc.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := c.Auth(tc.auth); err != nil {
				t.Fatal(err)
			}
			for _, extension := range []string{"SIZE", "DSN", "CHUNKING", "PIPELINING", "8BITMIME", "LIMITS"} {
				if ok, _ := c.Extension(extension); !ok {
					t.Errorf("%s is not offered", extension)
				}
			}
			if err := c.Mail(practice, &smtp.MailOptions{Size: 4000, Return: smtp.DSNReturnHeaders, EnvelopeID: "E+1"}); err != nil {
				t.Fatal(err)
			}
			err = c.Rcpt(eauBox, &smtp.RcptOptions{
				Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure},
				OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "asked@for",
			})
			if err != nil {
				t.Fatal(err)
			}
			body, err := c.Data()
			if err != nil {
				t.Fatal(err)
			}
			sent := eau() + ".a line that begins with a dot\r\n.\r\n"
			if _, err := body.Write([]byte(sent)); err != nil {
				t.Fatal(err)
			}
			answer, err := body.CloseWithResponse()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(answer.StatusText, ", 2 copies") {
				t.Errorf("answered %q", answer.StatusText)
			}
			want := intake.Arrival{
				Compartment: querschott.Compartment{Insurer: one, Service: querschott.EAU},
				Sender:      practice, Recipient: eauBox, MessageID: "4711@arzt", Body: []byte(sent),
			}
			got := w.last()
			got.Received = time.Time{}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("taken in (-want +got):\n%s", d)
			}
			if err := c.Quit(); err != nil {
				t.Error(err)
			}
		})
	}
	id := fmt.Sprintf("dsn.2.%d", w.last().Received.UnixMicro())
	report, err := kim.ParseReport(w.notices[id].Body)
	if err != nil {
		t.Fatal(err)
	}
	if w.notices[id].To != practice || report.InReplyTo != "<4711@arzt>" || report.EnvelopeID != "E+1" ||
		len(report.Recipients) != 1 || report.Recipients[0].Final != eauBox || report.Recipients[0].Original != "asked@for" {
		t.Errorf("notification to %s: %+v", w.notices[id].To, report)
	}
}

func TestNothingInTheClear(t *testing.T) {
	g := newWorld(t).start(nil)
	p := g.raw()
	greeting := p.do("EHLO practice", "250")
	if strings.Contains(greeting, "AUTH") || !strings.Contains(greeting, "STARTTLS") {
		t.Errorf("capabilities in the clear:\n%s", greeting)
	}
	p.do("AUTH PLAIN "+plainResponse(practice, password), "530 5.7.0")
	p.do("MAIL FROM:<"+practice+">", "530 5.7.0")
	p.do("RCPT TO:<"+eauBox+">", "503 5.5.1")
	p.do("DATA", "503 5.5.1")
	p.do("STARTTLS now", "501 5.5.4")
	p.send("STARTTLS\r\nMAIL FROM:<" + practice + ">\r\n")
	p.want("503 5.5.1")
	p.gone()
}

func TestCommands(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tc := range []struct {
		name  string
		setup []string // answered 2xx or 3xx
		line  string
		want  string
	}{
		{"no greeting", nil, "MAIL FROM:<" + practice + ">", "503 5.5.1"},
		{"greeting without a name", nil, "EHLO", "501 5.5.4"},
		{"old greeting", nil, "HELO practice", "250 mail.querschott.test"},
		{"letter case", nil, "ehLo practice", "250"},
		{"unknown command", nil, "FROBNICATE", "500 5.5.2"},
		{"empty line", nil, "", "500 5.5.2"},
		{"command not implemented", nil, "EXPN list", "502 5.5.1"},
		{"VRFY", nil, "VRFY " + eauBox, "252 2.5.0"},
		{"NOOP", nil, "NOOP x", "250 2.0.0"},
		{"RSET", nil, "RSET", "250 2.0.0"},
		{"STARTTLS inside TLS", nil, "STARTTLS", "503 5.5.1"},
		{"control character", nil, "NOOP \x00", "500 5.5.2"},
		{"carriage return", nil, "NOOP\rNOOP", "500 5.5.2"},
		{"MAIL before AUTH", []string{"EHLO x"}, "MAIL FROM:<" + practice + ">", "530 5.7.0"},

		{"another's address", in, "MAIL FROM:<praxis.schmitt@arzt.kim.telematik-test>", "550 5.7.1"},
		{"empty sender", in, "MAIL FROM:<>", "550 5.7.1"},
		{"letter case of the address", in, "MAIL FROM:<" + strings.ToUpper(practice) + ">", "250 2.1.0"},
		{"blank before the path", in, "MAIL FROM: <" + practice + ">", "250 2.1.0"},
		{"source route", in, "MAIL FROM:<@relay:" + practice + ">", "250 2.1.0"},
		{"no brackets", in, "MAIL FROM:" + practice, "501 5.5.4"},
		{"no address", in, "MAIL FROM:<practice>", "501 5.1.3"},
		{"other characters", in, "MAIL FROM:<präxis@arzt.test>", "501 5.1.3"},
		{"unknown parameter", in, "MAIL FROM:<" + practice + "> FUTURE=1", "555 5.5.4"},
		{"all parameters", in, "MAIL FROM:<" + practice + "> SIZE=1000 BODY=8BITMIME RET=FULL ENVID=a+2Bb AUTH=<>", "250 2.1.0"},
		{"same parameter twice", in, "MAIL FROM:<" + practice + "> SIZE=1 SIZE=2", "501 5.5.4"},
		{"size", in, "MAIL FROM:<" + practice + "> SIZE=31457280", "250 2.1.0"},
		{"size over the limit", in, "MAIL FROM:<" + practice + "> SIZE=31457281", "552 5.3.4"},
		{"size over all numbers", in, "MAIL FROM:<" + practice + "> SIZE=99999999999999999999", "552 5.3.4"},
		{"no size", in, "MAIL FROM:<" + practice + "> SIZE=-1", "501 5.5.4"},
		{"binary", in, "MAIL FROM:<" + practice + "> BODY=BINARYMIME", "504 5.5.4"},
		{"unknown RET", in, "MAIL FROM:<" + practice + "> RET=ALL", "504 5.5.4"},
		{"broken ENVID", in, "MAIL FROM:<" + practice + "> ENVID=a+2", "501 5.5.4"},
		{"line end in ENVID", in, "MAIL FROM:<" + practice + "> ENVID=a+0D+0ASubject", "501 5.5.4"},
		{"AUTH twice", in, "AUTH PLAIN " + plainResponse(practice, password), "503 5.5.1"},

		{"RCPT without MAIL", in, "RCPT TO:<" + eauBox + ">", "503 5.5.1"},
		{"MAIL twice", from, "MAIL FROM:<" + practice + ">", "503 5.5.1"},
		{"unknown recipient", from, "RCPT TO:<nobody@kasse-eins.kim.telematik-test>", "550 5.1.1"},
		{"letter case of the recipient", from, "RCPT TO:<" + strings.ToUpper(eauBox) + ">", "250 2.1.5"},
		{"no recipient", from, "RCPT TO:<>", "501 5.5.4"},
		{"long recipient", from, "RCPT TO:<" + long + "@kasse.test>", "501 5.1.3"},
		{"never and something", from, "RCPT TO:<" + eauBox + "> NOTIFY=NEVER,SUCCESS", "501 5.5.4"},
		{"unknown NOTIFY", from, "RCPT TO:<" + eauBox + "> NOTIFY=SOMETIMES", "501 5.5.4"},
		{"ORCPT without type", from, "RCPT TO:<" + eauBox + "> ORCPT=a@b", "501 5.5.4"},
		{"unknown RCPT parameter", from, "RCPT TO:<" + eauBox + "> FUTURE=1", "555 5.5.4"},
		{"DATA without a recipient", from, "DATA", "503 5.5.1"},
		{"AUTH inside a message", from, "AUTH LOGIN", "503 5.5.1"},

		{"another insurer", to, "RCPT TO:<" + otherBox + ">", "452 4.5.3"},
		{"another mailbox of the insurer", to, "RCPT TO:<" + letterBox + ">", "250 2.1.5"},
		{"DATA with an argument", to, "DATA now", "501 5.5.4"},
		{"EHLO forgets the message", append(to[:len(to):len(to)], "EHLO x"), "DATA", "503 5.5.1"},
		{"RSET forgets the message", append(to[:len(to):len(to)], "RSET"), "DATA", "503 5.5.1"},
		{"BDAT without a number", to, "BDAT", "501 5.5.4"},
		{"BDAT with something else", to, "BDAT 1 FIRST", "501 5.5.4"},
		{"goodbye", to, "QUIT", "221 2.0.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.start(nil).dial()
			for _, line := range tc.setup {
				p.send(line + "\r\n")
				if got, err := p.reply(); err != nil || got[0] != '2' && got[0] != '3' {
					t.Fatalf("%q was answered %q (%v)", line, got, err)
				}
			}
			p.do(tc.line, tc.want)
			if got := w.got(); got != [3]int{} {
				t.Errorf("taken in, recorded, notified: %v", got)
			}
		})
	}
}

var (
	in   = []string{"EHLO practice", "AUTH PLAIN " + plainResponse(practice, password)}
	from = append(in[:len(in):len(in)], "MAIL FROM:<"+practice+">")
	to   = append(from[:len(from):len(from)], "RCPT TO:<"+eauBox+">")
)

func TestAuth(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, tc := range []struct {
		name  string
		lines []string // alternately said and answered
	}{
		{"PLAIN in two steps", []string{"AUTH PLAIN", "334 ", plainResponse(practice, password), "235 2.7.0"}},
		{"LOGIN", []string{"AUTH LOGIN", "334 VXNlcm5hbWU6", b64(practice), "334 UGFzc3dvcmQ6", b64(password), "235 2.7.0"}},
		{"LOGIN with the user at once", []string{"AUTH LOGIN " + b64(practice), "334 UGFzc3dvcmQ6", b64(password), "235 2.7.0"}},
		{"letter case", []string{"auth plain " + plainResponse(strings.ToUpper(practice), password), "235 2.7.0"}},
		{"on behalf of oneself", []string{"AUTH PLAIN " + b64(practice+"\x00"+practice+"\x00"+password), "235 2.7.0"}},
		{"on behalf of another", []string{"AUTH PLAIN " + b64(relay+"\x00"+practice+"\x00"+password), "535 5.7.8"}},
		{"unknown user", []string{"AUTH PLAIN " + plainResponse("x@y", password), "535 5.7.8"}},
		{"cancelled", []string{"AUTH LOGIN", "334", "*", "501 5.7.0", "NOOP", "250"}},
		{"no base64", []string{"AUTH PLAIN !", "501 5.5.2"}},
		{"no base64 in the second step", []string{"AUTH LOGIN", "334", "!", "501 5.5.2"}},
		{"control characters", []string{"AUTH LOGIN", "334", "\x01", "500 5.5.2", "", ""}},
		{"two parts", []string{"AUTH PLAIN " + b64("a\x00b"), "501 5.5.2"}},
		{"empty response", []string{"AUTH PLAIN =", "501 5.5.2"}},
		{"unknown mechanism", []string{"AUTH CRAM-MD5", "504 5.7.4"}},
		{"three failures", []string{
			"AUTH PLAIN " + plainResponse(practice, "x"), "535 5.7.8",
			"AUTH PLAIN " + plainResponse(practice, "y"), "535 5.7.8",
			"AUTH PLAIN " + plainResponse(practice, "z"), "535 5.7.8", "", "",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newWorld(t).start(nil).dial()
			p.do("EHLO x", "250")
			for i := 0; i < len(tc.lines); i += 2 {
				if tc.lines[i] == "" {
					p.gone()
					return
				}
				p.do(tc.lines[i], tc.lines[i+1])
			}
		})
	}
}

func TestRelayMaySendForOthers(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).login(relay)
	p.do("MAIL FROM:<"+practice+">", "250 2.1.0")
	p.do("RCPT TO:<"+eauBox+"> NOTIFY=SUCCESS", "250")
	p.do("DATA", "354")
	p.do(message("somebody@else", "eAU;Lieferung;V1.2", 100)+".", "250 2.0.0")
	p.do("MAIL FROM:<>", "250 2.1.0") // a notification of somebody's
	p.do("RCPT TO:<"+eauBox+"> NOTIFY=SUCCESS", "250")
	p.do("DATA", "354")
	p.do(eau()+".", "250 2.0.0")
	if got := w.got(); got != [3]int{2, 2, 1} {
		t.Errorf("taken in, recorded, notified: %v; want no notification to <>", got)
	}
}

func TestSenderPolicy(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).ready(practice)
	p.do("DATA", "354")
	p.do(message("somebody@else", "eAU;Lieferung;V1.2", 100)+".", "550 5.7.1")
	p.do("NOOP", "250")
	if got := w.got(); got != [3]int{} {
		t.Errorf("taken in, recorded, notified: %v", got)
	}
}

func TestPipelining(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).login(practice)
	envelope := "MAIL FROM:<" + practice + ">\r\nRCPT TO:<" + eauBox + ">\r\nRCPT TO:<nobody@x>\r\nDATA\r\n"
	p.send(envelope)
	for _, want := range []string{"250 2.1.0", "250 2.1.5", "550 5.1.1", "354"} {
		p.want(want)
	}
	// The next message's envelope follows at once.
	p.send(eau() + ".\r\n" + envelope)
	for _, want := range []string{"250 2.0.0", "250 2.1.0", "250 2.1.5", "550 5.1.1", "354"} {
		p.want(want)
	}
	p.send(eau() + ".\r\nQUIT\r\n")
	p.want("250 2.0.0")
	p.want("221")
	p.gone()
	if got := w.got(); got != [3]int{2, 2, 0} {
		t.Errorf("taken in, recorded, notified: %v, want 2 and no notification", got)
	}
}

func TestServices(t *testing.T) {
	for dienstkennung, want := range map[string]querschott.Service{
		"eAU;Lieferung;V1.2": querschott.EAU, "Arztbrief;VHitG-Versand;V1.2": querschott.Letter, "KIM-Mail;Default;V1.0": querschott.Mail,
		"Something;Else;V9": querschott.Mail, "": querschott.Mail, // K-07: no reason to reject
	} {
		w := newWorld(t)
		p := w.start(nil).ready(practice)
		p.do("DATA", "354")
		p.do(message(practice, dienstkennung, 100)+".", "250 2.0.0")
		if got := w.last().Compartment; got != (querschott.Compartment{Insurer: one, Service: want}) {
			t.Errorf("%q went to %s, want %s", dienstkennung, got, want)
		}
	}
}

func TestDirectoryThatCannotTell(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).login(practice)
	p.do("MAIL FROM:<"+practice+">", "250")
	for _, sick := range []error{errors.New("file is gone"), querschott.Refuse(querschott.CodeInternal, "x"), context.DeadlineExceeded} {
		w.set(func() { w.sick = sick })
		p.do("RCPT TO:<nobody@kasse-eins.kim.telematik-test>", "451 4.3.0")
		p.do("RCPT TO:<"+eauBox+">", "451 4.3.0")
	}
	w.set(func() { w.sick = nil })
	p.do("RCPT TO:<"+eauBox+">", "250")
}

func TestRevokedDuringTheSession(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).login(practice)
	w.set(func() { w.revoked = true })
	p.do("MAIL FROM:<"+practice+">", "421 4.7.0")
	p.gone()
}

func TestConfiguration(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no intake":      func(c *Config) { c.Append = nil },
		"no TLS":         func(c *Config) { c.TLS = nil },
		"no host":        func(c *Config) { c.Hostname = "a b" },
		"no status page": func(c *Config) { c.StatusPage = "soon" },
		"little memory":  func(c *Config) { c.Limits.BodyMemory = 1 },
	} {
		cfg := newWorld(t).config()
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New accepts it", name)
		}
	}
}
