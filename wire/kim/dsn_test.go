package kim

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var arrival = time.Date(2026, 9, 29, 18, 5, 7, 0, time.FixedZone("", 2*60*60))

func notification() Notification {
	return Notification{
		ReportingMTA: "kim.betreiber.example", From: "postmaster@betreiber.kim.telematik-test", To: "praxis.1@uebung.kim.telematik-test",
		MessageID: "<dsn.1@betreiber.kim.telematik-test>", Date: arrival.Add(time.Second),
		InReplyTo: "<1122966724.1@[192.0.2.1]>", EnvelopeID: "QQ314159", Arrival: arrival,
		Recipients: []Recipient{{Final: "eau@kasse.kim.telematik-test", Original: "EAU@Kasse.KIM.telematik-test"}},
		Header:     []byte(header),
	}
}

func TestDeliveredIsReadBack(t *testing.T) {
	octets := Delivered(notification())
	r, err := ParseReport(octets)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Header.MessageID; got != "<1122966724.1@[192.0.2.1]>" {
		t.Errorf("the returned header has the Message-ID %q", got)
	}
	want := Report{
		InReplyTo: "<1122966724.1@[192.0.2.1]>", EnvelopeID: "QQ314159", ReportingMTA: "kim.betreiber.example", Arrival: arrival,
		Recipients: []Recipient{{Final: "eau@kasse.kim.telematik-test", Original: "EAU@Kasse.KIM.telematik-test", Action: "delivered", Status: "2.0.0"}},
	}
	r.Header = Header{}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	h := ReadHeader(octets)
	if h.Get("X-KIM-Dienstkennung") != "" || h.Get("Auto-Submitted") != "auto-replied" || !h.Date.Equal(arrival.Add(time.Second)) {
		t.Errorf("header fields %v", h.Fields)
	}
	if !bytes.Equal(octets, Delivered(notification())) {
		t.Error("not the same octets again")
	}
}

// foreignReader reads a notification with Python's email package and prints what it found as JSON.
const foreignReader = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
def defects(p): return [type(d).__name__ for d in p.defects] + [x for q in (p.iter_parts() if p.is_multipart() else []) for x in defects(q)]
text, status, returned = list(m.iter_parts())
groups = list(status.iter_parts())
print(json.dumps({
    'type': m.get_content_type(), 'report': m.get_param('report-type'), 'defects': defects(m),
    'inReplyTo': str(m['In-Reply-To']), 'auto': str(m['Auto-Submitted']), 'names': m.keys(),
    'text': text.get_content(), 'message': dict(groups[0].items()), 'recipients': [dict(g.items()) for g in groups[1:]],
    'returnedType': returned.get_content_type(), 'returned': returned.get_payload(),
}, default=str))
`

type foreignReport struct {
	Type, Report, InReplyTo, Auto, Text, ReturnedType, Returned string
	Defects, Names                                              []string
	Message                                                     map[string]string
	Recipients                                                  []map[string]string
}

func readForeign(t *testing.T, program string, octets []byte, v any) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing")
		}
		t.Skip("python3 is missing")
	}
	cmd := exec.Command(python, "-c", program)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(octets), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatal(err)
	}
}

// TestForeignReaderUnderstandsDelivered: RFC 3464 field by field, as Python's email package reads it.
func TestForeignReaderUnderstandsDelivered(t *testing.T) {
	n := notification()
	n.Recipients = append(n.Recipients, Recipient{Final: "post@kasse.kim.telematik-test", Status: "2.1.5"})
	var got foreignReport
	readForeign(t, foreignReader, Delivered(n), &got)
	if got.Type != "multipart/report" || got.Report != "delivery-status" || got.ReturnedType != "text/rfc822-headers" || len(got.Defects) > 0 {
		t.Errorf("%s, %s, %s, defects %v", got.Type, got.Report, got.ReturnedType, got.Defects)
	}
	if got.InReplyTo != n.InReplyTo || got.Auto != "auto-replied" {
		t.Errorf("In-Reply-To %q, Auto-Submitted %q", got.InReplyTo, got.Auto)
	}
	if !strings.Contains(got.Text, "Sie müssen nichts weiter tun.") || !strings.Contains(got.Text, "You need not do anything.") ||
		!strings.Contains(got.Text, "eau@kasse.kim.telematik-test") {
		t.Errorf("text %q", got.Text)
	}
	if diff := cmp.Diff(map[string]string{
		"Original-Envelope-Id": "QQ314159", "Reporting-MTA": "dns; kim.betreiber.example", "Arrival-Date": "Tue, 29 Sep 2026 18:05:07 +0200",
	}, got.Message); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]map[string]string{
		{
			"Original-Recipient": "rfc822; EAU@Kasse.KIM.telematik-test", "Final-Recipient": "rfc822; eau@kasse.kim.telematik-test",
			"Action": "delivered", "Status": "2.0.0",
		},
		{"Final-Recipient": "rfc822; post@kasse.kim.telematik-test", "Action": "delivered", "Status": "2.1.5"},
	}, got.Recipients); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(got.Returned, "Message-ID: <1122966724.1@[192.0.2.1]>") || strings.Contains(got.Returned, "body") {
		t.Errorf("returned header %q", got.Returned)
	}
}

// TestNothingForeignBecomesAField: whatever the sender's strings hold, a notification has exactly the fields, parts and
// recipients that we gave it, in 7-bit lines of at most 998 octets.
func TestNothingForeignBecomesAField(t *testing.T) {
	hostile := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"x\r\nBcc: all@example.org", "x\nBcc: y", "x\r\n\r\n--qs-", "<a@b>,<c@d>", "a\x00b", strings.Repeat("long ", 400), "\xff\xfe", "\r\n\t", "a\rBcc: c",
	}))
	names := func(t *rapid.T, octets []byte) (out []string) {
		h := readFields(octets)
		for _, f := range h.Fields {
			out = append(out, f.Name)
		}
		if len(h.Findings) > 0 {
			t.Fatalf("findings %v", h.Findings)
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		n := notification()
		n.EnvelopeID, n.To, n.InReplyTo = hostile.Draw(t, "envid")+"x", hostile.Draw(t, "to"), hostile.Draw(t, "in-reply-to")+"x"
		n.Recipients[0] = Recipient{Final: hostile.Draw(t, "final"), Original: hostile.Draw(t, "original") + "x", Status: hostile.Draw(t, "status")}
		n.Header = []byte("Subject: " + hostile.Draw(t, "subject") + "\r\n" + hostile.Draw(t, "header") + "\r\n--" + hostile.Draw(t, "name") + ": v\r\n")
		octets := Delivered(n)
		if diff := cmp.Diff(names(t, Delivered(notification())), names(t, octets)); diff != "" {
			t.Fatal(diff)
		}
		for line := range bytes.SplitSeq(octets, []byte("\r\n")) {
			if len(line) > 998 {
				t.Fatalf("a line of %d octets", len(line))
			}
			if i := bytes.IndexFunc(line, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }); i >= 0 {
				t.Fatalf("the octet %#x in %q", line[i], line)
			}
		}
		var types []string
		if err := walk(octets, func(p part) error { types = append(types, p.mediaType); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"text/plain", "message/delivery-status", "text/rfc822-headers"}, types); diff != "" {
			t.Fatal(diff)
		}
		r, err := ParseReport(octets)
		if err != nil || len(r.Recipients) != 1 || r.Recipients[0].Action != "delivered" {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

// postfix is a notification in the form of Postfix.
const postfix = "From: MAILER-DAEMON@mx.example (Mail Delivery System)\nSubject: Successful Mail Delivery Report\nIn-Reply-To: <a@b>\n" +
	"MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"B1.17/mx.example\"\n\n" +
	"This is a MIME-encapsulated message.\n\n--B1.17/mx.example\nContent-Description: Notification\nContent-Type: text/plain; charset=us-ascii\n\nok\n\n" +
	"--B1.17/mx.example\nContent-Description: Delivery report\nContent-Type: message/delivery-status\n\n" +
	"Reporting-MTA: dns; mx.example\nX-Postfix-Queue-ID: B1\nArrival-Date: Tue, 29 Sep 2026 18:05:07 +0200 (CEST)\n\n" +
	"Final-Recipient: rfc822; a@example\nOriginal-Recipient: rfc822;A@example\nAction: delivered\nStatus: 2.0.0\nRemote-MTA: dns; x\n\n" +
	"Final-Recipient: rfc822; b@example\nAction: failed\nStatus: 5.1.1\n\n" +
	"--B1.17/mx.example\nContent-Type: text/rfc822-headers\n\nMessage-ID: <a@b>\n\n--B1.17/mx.example--\n"

func TestParseReportOfPostfix(t *testing.T) {
	r, err := ParseReport([]byte(postfix))
	if err != nil {
		t.Fatal(err)
	}
	if r.InReplyTo != "<a@b>" || r.ReportingMTA != "mx.example" || !r.Arrival.Equal(arrival) || r.Header.MessageID != "<a@b>" {
		t.Errorf("read as %+v", r)
	}
	if diff := cmp.Diff([]Recipient{{"a@example", "A@example", "delivered", "2.0.0"}, {"b@example", "", "failed", "5.1.1"}}, r.Recipients); diff != "" {
		t.Error(diff)
	}
}

func TestParseReportRefuses(t *testing.T) {
	for name, octets := range map[string]string{
		"empty":             "",
		"a mail":            header + "\r\ntext",
		"no status part":    strings.Replace(postfix, "message/delivery-status", "text/plain", 1),
		"no recipient":      strings.ReplaceAll(strings.ReplaceAll(postfix, "\n\nFinal-Recipient", "\nFinal-Recipient"), "dns; x\n\n", "dns; x\n"),
		"no delimiters":     strings.ReplaceAll(postfix, "--B1", "--C1"),
		"disposition (MDN)": strings.Replace(postfix, "report-type=delivery-status", "report-type=disposition-notification", 1),
	} {
		if r, err := ParseReport([]byte(octets)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(Delivered(notification()))
	f.Add([]byte(postfix))
	f.Fuzz(func(t *testing.T, octets []byte) {
		r, err := ParseReport(octets)
		if err == nil && (len(r.Recipients) == 0 || len(r.Recipients) > MaxFields) {
			t.Fatalf("%d recipients", len(r.Recipients))
		}
	})
}

func BenchmarkDelivered(b *testing.B) {
	n := notification()
	b.ReportAllocs()
	for b.Loop() {
		Delivered(n)
	}
}
