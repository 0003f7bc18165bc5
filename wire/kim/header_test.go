package kim

import (
	"fmt"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/internal/shared"
)

const header = "Date: Tue, 29 Sep 2026 18:05:00 +0200 (CEST)\r\n" +
	"From: =?iso-8859-15?Q?Praxis_=DCbung?= <Praxis.1@Uebung.KIM.telematik-test>\r\n" +
	"Reply-To: praxis.1@uebung.kim.telematik-test\r\n" +
	"To: eau@kasse.kim.telematik-test\r\n" +
	"Message-ID: <1122966724.1@[192.0.2.1]>\r\n" +
	"Subject: KOM-LE-Nachricht\r\n" +
	"X-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n" +
	"Content-Type: application/pkcs7-mime;\r\n\tsmime-type=authenticated-enveloped-data;\r\n name=smime.p7m\r\n"

func TestReadHeader(t *testing.T) {
	octets := []byte(header + "\r\nbody\r\n")
	h := ReadHeader(octets)
	if len(h.Findings) != 0 {
		t.Errorf("findings %v", h.Findings)
	}
	want := Header{
		From: []string{"Praxis.1@Uebung.KIM.telematik-test"}, ReplyTo: []string{"praxis.1@uebung.kim.telematik-test"},
		To: []string{"eau@kasse.kim.telematik-test"}, MessageID: "<1122966724.1@[192.0.2.1]>", Subject: "KOM-LE-Nachricht",
		Dienstkennung: EAUDelivery, Date: time.Date(2026, 9, 29, 16, 5, 0, 0, time.UTC),
	}
	got := h
	got.Fields, got.Raw, got.Body, got.Date = nil, nil, 0, h.Date.UTC()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := string(octets[h.Body:]); got != "body\r\n" {
		t.Errorf("body %q", got)
	}
	if string(h.Raw) != header {
		t.Error("the raw header is not the header")
	}
	if got := h.Get("content-type"); got != "application/pkcs7-mime; smime-type=authenticated-enveloped-data; name=smime.p7m" {
		t.Errorf("unfolded %q", got)
	}
}

func TestHeaderFindings(t *testing.T) {
	const dk = "X-KIM-Dienstkennung"
	for _, tc := range []struct {
		name, old, repl string
		want            Finding
		service         querschott.Service
	}{
		{"no Dienstkennung", dk + ": eAU;Lieferung;V1.2\r\n", "", Finding{FindingMissing, dk}, querschott.Mail},
		{"unreadable Dienstkennung", "eAU;Lieferung;V1.2", "eAU", Finding{FindingUnreadable, dk}, querschott.Mail},
		{"Dienstkennung with a bare CR", "eAU;Lieferung;V1.2", "Arztbrief;A\rX: y", Finding{FindingUnreadable, dk}, querschott.Mail},
		{"a second Dienstkennung", dk, dk + ": Arztbrief;VHitG-Versand;V1.2\r\n" + dk, Finding{FindingConflict, dk}, querschott.Letter},
		{"a second one in other letters", "\r\nContent-Type", "\r\nx-kim-DIENSTKENNUNG : Arztbrief;VHitG-Versand;V1.2\r\nContent-Type", Finding{FindingConflict, dk}, querschott.EAU},
		{"a second one that is not readable", "\r\nContent-Type", "\r\n" + dk + ": \xff\r\nContent-Type", Finding{FindingConflict, dk}, querschott.EAU},
		{"two To", "To: eau@", "To: other@kasse.kim.telematik-test\r\nTo: eau@", Finding{FindingConflict, "To"}, querschott.EAU},
		{"no From", "From:", "Von:", Finding{FindingMissing, "From"}, querschott.EAU},
		{"unreadable To", "eau@kasse", "eau@@kasse", Finding{FindingUnreadable, "To"}, querschott.EAU},
		{"unreadable date", "Tue, 29 Sep 2026", "gestern", Finding{FindingUnreadable, "Date"}, querschott.EAU},
		{"no Message-ID", "Message-ID:", "Message-No:", Finding{FindingMissing, "Message-ID"}, querschott.EAU},
		{"Message-ID with a blank", "1@[192", "1 @[192", Finding{FindingUnreadable, "Message-ID"}, querschott.EAU},
		{"a line that is no field", "Subject:", "no field\r\n continued\r\nSubject:", Finding{FindingMalformed, ""}, querschott.EAU},
		{"a continuation first", "Date:", " first\r\nDate:", Finding{FindingMalformed, ""}, querschott.EAU},
		{"too many fields", "Content-Type:", strings.Repeat("A: b\r\n", MaxFields) + "Content-Type:", Finding{FindingTruncated, ""}, querschott.EAU},
		{"too long", "Date:", "A: " + strings.Repeat("b", MaxHeader) + "\r\nDate:", Finding{FindingTruncated, ""}, querschott.Mail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			octets := strings.Replace(header, tc.old, tc.repl, 1)
			if octets == header {
				t.Fatalf("the header has no %q", tc.old)
			}
			h := ReadHeader([]byte(octets + "\r\nbody"))
			found := false
			for _, f := range h.Findings {
				found = found || f == tc.want
			}
			if !found {
				t.Errorf("findings %v, want %v", h.Findings, tc.want)
			}
			if got := h.Service(); got != tc.service {
				t.Errorf("service %s, want %s", got, tc.service)
			}
		})
	}
}

// TestContinuationAfterAMalformedLine: a skipped line takes its continuation with it.
func TestContinuationAfterAMalformedLine(t *testing.T) {
	h := ReadHeader([]byte("X-KIM-Dienstkennung: eAU;Lieferung\r\nno field\r\n ;V9\r\n\r\n"))
	if h.Dienstkennung.Version != "" {
		t.Errorf("the continuation of a skipped line came to %v", h.Dienstkennung)
	}
}

func TestEqualRepetitionIsNoConflict(t *testing.T) {
	h := ReadHeader([]byte(header + "Subject: KOM-LE-Nachricht\r\n\r\n"))
	if len(h.Findings) != 0 {
		t.Errorf("findings %v", h.Findings)
	}
}

func TestHeaderWithoutBody(t *testing.T) {
	for _, s := range []string{header, strings.ReplaceAll(header, "\r\n", "\n"), strings.TrimSuffix(header, "\r\n")} {
		h := ReadHeader([]byte(s))
		if h.Body != len(s) || h.Service() != querschott.EAU || len(h.Findings) != 0 {
			t.Errorf("body at %d of %d, service %s, findings %v", h.Body, len(s), h.Service(), h.Findings)
		}
	}
}

// TestPublishedMails: the published mails' headers are read without a finding about their form.
func TestPublishedMails(t *testing.T) {
	for file, want := range map[string]struct {
		id string
		dk Dienstkennung
	}{
		"messages/eeb-anfrage.eml":              {"<1122966724.1.1681742158295@[192.168.200.196]>", Dienstkennung{"eEB", "Anfrage", "1.1"}},
		"messages/eeb-fehler.eml":               {"<235818581.18.1671197691939@MX-PF1XKCBH.dst.tk-inline.net>", Dienstkennung{"eEB", "Fehler", "1.1"}},
		"smime/inputEmail.txt.05.encryptedwrap": {"<Mime4j.0.81c65006d0c27d68.1641cd879c4>", FreeMail},
	} {
		octets := shared.File(t, "data/kim/"+file)
		h := ReadHeader(octets)
		if len(h.Findings) != 0 || h.MessageID != want.id || h.Dienstkennung != want.dk || h.Service() != querschott.Mail {
			t.Errorf("%s: read as %s, %v with findings %v", file, h.MessageID, h.Dienstkennung, h.Findings)
		}
		ref, err := mail.ReadMessage(strings.NewReader(string(octets)))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range ref.Header {
			if got := h.Get(name); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(values[0]), " ") {
				t.Errorf("%s: %s is %q, net/mail reads %q", file, name, got, values[0])
			}
		}
	}
}

func TestDienstkennung(t *testing.T) {
	for _, tc := range []struct {
		value string
		want  Dienstkennung
		ok    bool
		svc   querschott.Service
	}{
		{"eAU;Lieferung;V1.2", EAUDelivery, true, querschott.EAU},
		{"eAU;Storno-Arzt;V1.2", EAUCancellation, true, querschott.EAU},
		{"eau;lieferung;v1.0", Dienstkennung{"eau", "lieferung", "1.0"}, true, querschott.EAU},
		{" eAU ; Lieferung ", Dienstkennung{"eAU", "Lieferung", ""}, true, querschott.EAU},
		{"eAU;Lieferung;V9.9;more", Dienstkennung{"eAU", "Lieferung", "9.9"}, true, querschott.EAU},
		{"Arztbrief;VHitG-Versand;V1.2", Dienstkennung{"Arztbrief", "VHitG-Versand", "1.2"}, true, querschott.Letter},
		{"eEB;Anfrage;V1.1", Dienstkennung{"eEB", "Anfrage", "1.1"}, true, querschott.Mail},
		{"KIM-Mail;Default;V1.5", Dienstkennung{"KIM-Mail", "Default", "1.5"}, true, querschott.Mail},
		{"eAUX;Lieferung;V1.2", Dienstkennung{"eAUX", "Lieferung", "1.2"}, true, querschott.Mail},
		{"", Dienstkennung{}, false, querschott.Mail},
		{"eAU", Dienstkennung{}, false, querschott.Mail},
		{"eAU;", Dienstkennung{}, false, querschott.Mail},
		{";Lieferung;V1.2", Dienstkennung{}, false, querschott.Mail},
		{"eAU;Lieferung;V1.2\x00", Dienstkennung{}, false, querschott.Mail},
		{"eAU;" + strings.Repeat("x", 300), Dienstkennung{}, false, querschott.Mail},
	} {
		got, ok := ParseDienstkennung(tc.value)
		if got != tc.want || ok != tc.ok || got.Service() != tc.svc {
			t.Errorf("%q: %v, %t, %s", tc.value, got, ok, got.Service())
		}
	}
	if got := EAUDelivery.String(); got != "eAU;Lieferung;V1.2" {
		t.Errorf("written as %q", got)
	}
}

func TestParseAddress(t *testing.T) {
	long := strings.Repeat("a", 63)
	domain := func(n int) string { // of n octets
		d := strings.Repeat(long+".", n/64+1)
		return strings.TrimLeft(d[len(d)-(n-len("kim.telematik")):], ".") + "kim.telematik"
	}
	for _, tc := range []struct {
		s    string
		want Address
		err  error
	}{
		{"eau@kasse.kim.telematik", "eau@kasse.kim.telematik", nil},
		{"EAU@Kasse.KIM.Telematik-TEST", "eau@kasse.kim.telematik-test", nil},
		{"a.b_c-9@x-1.y.kim.telematik", "a.b_c-9@x-1.y.kim.telematik", nil},
		{strings.Repeat("a", 64) + "@k.kim.telematik", Address(strings.Repeat("a", 64) + "@k.kim.telematik"), nil},
		{strings.Repeat("a", 65) + "@k.kim.telematik", "", ErrAddressLength},
		{"a@" + domain(189), Address("a@" + domain(189)), nil},
		{"a@" + domain(190), "", ErrAddressLength},
		{"", "", ErrAddressForm},
		{"eau", "", ErrAddressForm},
		{"@kasse.kim.telematik", "", ErrAddressForm},
		{"a+b@kasse.kim.telematik", "", ErrAddressForm},
		{"a@b@kasse.kim.telematik", "", ErrAddressForm},
		{"ä@kasse.kim.telematik", "", ErrAddressForm},
		{"a\r\nb@kasse.kim.telematik", "", ErrAddressForm},
		{"a@-kasse.kim.telematik", "", ErrAddressForm},
		{"a@kas se.kim.telematik", "", ErrAddressForm},
		{"a@.kim.telematik", "", ErrAddressForm},
		{"a@kim.telematik", "", ErrAddressDomain},
		{"a@kasse.example", "", ErrAddressDomain},
		{"a@kasse.kim.telematik.example", "", ErrAddressDomain},
		{"a@kassekim.telematik", "", ErrAddressDomain},
	} {
		if got, err := ParseAddress(tc.s); got != tc.want || err != tc.err { //nolint:errorlint // the sentinel itself is returned
			t.Errorf("%q: %q, %v; want %q, %v", tc.s, got, err, tc.want, tc.err)
		}
	}
	a := Address("eau@kasse.kim.telematik-test")
	if a.Local() != "eau" || a.Domain() != "kasse.kim.telematik-test" || !a.Test() || Address("a@b.kim.telematik").Test() {
		t.Error("the parts of an address are wrong")
	}
}

func TestCheckSender(t *testing.T) {
	const me = Address("praxis.1@uebung.kim.telematik-test")
	for _, tc := range []struct {
		name, old, repl string
		ok              bool
	}{
		{"as it should be", "", "", true},
		{"foreign From", "Praxis.1@", "praxis.2@", false},
		{"foreign Sender", "To: eau", "Sender: praxis.2@uebung.kim.telematik-test\r\nTo: eau", false},
		{"Reply-To outside", "Reply-To: praxis.1@uebung.kim.telematik-test", "Reply-To: a@example.org", false},
		{"Reply-To of the other environment", "Reply-To: praxis.1@uebung.kim.telematik-test", "Reply-To: a@b.kim.telematik", true},
		{"Reply-To outside, to oneself", "Reply-To: praxis.1@uebung.kim.telematik-test\r\nTo: eau@kasse.kim.telematik-test", "Reply-To: a@example.org\r\nTo: " + string(me), true},
	} {
		h := ReadHeader([]byte(strings.Replace(header, tc.old, tc.repl, 1)))
		if err := h.CheckSender(me); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		} else if err != nil && strings.Contains(err.Error(), "@") {
			t.Errorf("%s: the error has an address: %v", tc.name, err)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(header + "\r\nbody"))
	f.Add([]byte("X-KIM-Dienstkennung: a;b\nX-KIM-Dienstkennung:c\r\n\t;d\r\n\n"))
	f.Add([]byte(" \r\n:\r\n\r"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		h := ReadHeader(octets)
		if h.Body > len(octets) || h.Body > MaxHeader || len(h.Raw) > h.Body || len(h.Fields) > MaxFields {
			t.Fatal("over a bound")
		}
		if !h.Service().ByMail() {
			t.Fatalf("service %q", h.Service())
		}
		if strings.ContainsAny(h.MessageID, "\r\n \t\x00") {
			t.Fatalf("Message-ID %q", h.MessageID)
		}
		if h.Dienstkennung != (Dienstkennung{}) {
			if d, ok := ParseDienstkennung(h.Dienstkennung.String()); !ok || d != h.Dienstkennung {
				t.Fatalf("Dienstkennung %v is read again as %v", h.Dienstkennung, d)
			}
		}
	})
}

func BenchmarkReadHeader(b *testing.B) {
	octets := []byte(header + "\r\n")
	b.ReportAllocs()
	for b.Loop() {
		ReadHeader(octets)
	}
}

// BenchmarkHostileHeader: the most expensive headers stay cheap.
func BenchmarkHostileHeader(b *testing.B) {
	for name, h := range map[string]string{
		"folded":     "To: a" + strings.Repeat("\n a", MaxHeader/3-10),
		"addresses":  "To: " + strings.Repeat("a@b,", MaxHeader/4-10) + "a@b\n",
		"comments":   "To: " + strings.Repeat("(", MaxHeader/2) + "\n",
		"fields":     strings.Repeat("To:a\n", MaxFields),
		"words":      "To: " + strings.Repeat("=?utf-8?q?a?= ", MaxHeader/14-10) + "\n",
		"date":       "Date: " + strings.Repeat("(", MaxHeader/2) + "\n",
		"quotations": "To: " + strings.Repeat(`"\`, MaxHeader/2-10) + "\n",
	} {
		b.Run(name, func(b *testing.B) {
			octets := []byte(h)
			for b.Loop() {
				if got := ReadHeader(octets); got.Body == 0 {
					b.Fatal(fmt.Sprint(got.Findings))
				}
			}
		})
	}
}
