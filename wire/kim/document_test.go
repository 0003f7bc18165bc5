package kim

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/internal/shared"
)

// p7s begins like a SignedData and has every octet value in it, so that no line end or transfer encoding can change it unseen.
var p7s = func() []byte {
	b := append([]byte{0x30, 0x80}, signedDataOID...)
	b = append(b, 0xa0, 0x80, '\r', '\n', '\n', '\r', '.', '\r', '\n')
	for i := range 4096 {
		b = append(b, byte(i*7+i>>8))
	}
	return b
}()

func delivery() Delivery {
	name := DocumentName{Test: true, ID: "12a8e1db-448c-5879-aecd-1f81f1b253d5"}
	return Delivery{
		From: "praxis.1@uebung.kim.telematik-test", To: "eau@kasse.kim.telematik-test", ReplyTo: "antwort@uebung.kim.telematik-test",
		Dienstkennung: EAUDelivery, Subject: name.String(), FileName: name.P7S(), Description: "eAU", P7S: p7s,
		Sendersystem: "Übungs-PVS;1.0", Date: arrival, MessageID: "<1.2@uebung.kim.telematik-test>",
	}
}

func compose(t testing.TB, d Delivery) []byte {
	t.Helper()
	octets, err := Compose(d)
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func TestComposeIsReadBack(t *testing.T) {
	octets := compose(t, delivery())
	h := ReadHeader(octets)
	if len(h.Findings) != 0 {
		t.Errorf("findings %v", h.Findings)
	}
	if h.MessageID != delivery().MessageID || h.Dienstkennung != EAUDelivery || !h.Date.Equal(arrival) || h.Subject != delivery().Subject ||
		h.From[0] != string(delivery().From) || h.To[0] != string(delivery().To) || h.ReplyTo[0] != string(delivery().ReplyTo) {
		t.Errorf("read as %+v", h)
	}
	got, err := Document(octets)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Attachment{delivery().FileName, "eAU", p7s}, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(octets, compose(t, delivery())) {
		t.Error("not the same octets again")
	}
	for line := range bytes.SplitSeq(octets, []byte("\r\n")) {
		if len(line) > 78 || bytes.ContainsFunc(line, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
			t.Errorf("line %q", line)
		}
	}
}

// TestForeignReaderUnderstandsCompose: KBV Technische Anlage eAU P5-02 as Python's email package reads it.
func TestForeignReaderUnderstandsCompose(t *testing.T) {
	var got struct {
		Names                                   map[string]string
		Count                                   int
		Type, Name, Disposition, File, Encoding string
		Description, Content                    string
		Defects                                 []string
	}
	readForeign(t, `
import sys, json, email, email.policy, base64
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(m.iter_parts()); p = parts[0]
print(json.dumps({'names': {k: str(v) for k, v in m.items()}, 'count': len(parts), 'type': p.get_content_type(), 'name': p.get_param('name'),
  'disposition': p.get_content_disposition(), 'file': p.get_filename(), 'encoding': str(p['Content-Transfer-Encoding']), 'description': str(p['Content-Description']),
  'content': base64.b64encode(p.get_content()).decode(), 'defects': [str(d) for d in m.defects + p.defects]}))
`, compose(t, delivery()), &got)
	if got.Count != 1 || got.Type != "application/octet-stream" || got.Name != delivery().FileName || got.Disposition != "attachment" ||
		got.File != delivery().FileName || got.Encoding != "base64" || got.Description != "eAU" || len(got.Defects) > 0 {
		t.Errorf("read as %+v", got)
	}
	if got.Content != base64.StdEncoding.EncodeToString(p7s) {
		t.Error("the document changed")
	}
	if got.Names["X-KIM-Sendersystem"] != "Übungs-PVS;1.0" || got.Names["X-KIM-Dienstkennung"] != "eAU;Lieferung;V1.2" || !strings.HasPrefix(got.Names["Content-Type"], "multipart/mixed") {
		t.Errorf("header %v", got.Names)
	}
}

func TestComposeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Delivery){
		"foreign From":          func(d *Delivery) { d.From = "a@example.org" },
		"two To":                func(d *Delivery) { d.To += ", b@kasse.kim.telematik" },
		"foreign Reply-To":      func(d *Delivery) { d.ReplyTo = "a@example.org" },
		"line in the subject":   func(d *Delivery) { d.Subject = "a\r\nBcc: b" },
		"long subject":          func(d *Delivery) { d.Subject = strings.Repeat("a", maxText+1) },
		"line in Sendersystem":  func(d *Delivery) { d.Sendersystem = "a\nb" },
		"quote in file name":    func(d *Delivery) { d.FileName = `a".p7s` },
		"line in file name":     func(d *Delivery) { d.FileName = "a\r\n.p7s" },
		"no file name":          func(d *Delivery) { d.FileName = "" },
		"no Message-ID":         func(d *Delivery) { d.MessageID = "" },
		"line in Message-ID":    func(d *Delivery) { d.MessageID = "<a@b>\r\nX: y" },
		"no Dienstkennung":      func(d *Delivery) { d.Dienstkennung = Dienstkennung{} },
		"line in Dienstkennung": func(d *Delivery) { d.Dienstkennung.Version = "1\r\nX: y" },
		"empty document":        func(d *Delivery) { d.P7S = nil },
		"no date":               func(d *Delivery) { d.Date = time.Time{} },
	} {
		d := delivery()
		change(&d)
		if _, err := Compose(d); err == nil {
			t.Errorf("%s: composed", name)
		}
	}
}

func TestDocumentName(t *testing.T) {
	const id = "12a8e1db-448c-5879-aecd-1f81f1b253d5"
	for want, n := range map[string]DocumentName{
		"EEAU0_" + id:        {ID: id},
		"TEAU0_" + id:        {ID: id, Test: true},
		"EEAU0_Storno_" + id: {ID: id, Kind: Cancellation},
		"TEAU0_Storno_" + id: {ID: id, Kind: Cancellation, Test: true},
		"EEAU0_Fehler_" + id: {ID: id, Kind: Failure},
	} {
		if n.String() != want || n.P7S() != want+".p7s" || n.XML() != want+".xml" {
			t.Errorf("written as %s", n)
		}
		for _, s := range []string{want, n.P7S(), n.XML(), " " + want + " "} {
			if got, ok := ParseDocumentName(s); !ok || got != n {
				t.Errorf("%q read as %+v", s, got)
			}
		}
	}
	if got := (DocumentName{ID: "urn:uuid:" + id}).String(); got != "EEAU0_"+id {
		t.Errorf("with a prefix: %s", got)
	}
	for _, s := range []string{"", "EEAU0_", "EEAU0_Storno_", "XEAU0_" + id, "TEEB0_ANF_" + id, "EEAU0_a b", "EEAU0_../../etc"} {
		if n, ok := ParseDocumentName(s); ok {
			t.Errorf("%q read as %+v", s, n)
		}
	}
}

// entity writes a MIME entity.
func entity(fields, body string) string { return fields + "\r\n\r\n" + body }

func multi(parts ...string) string {
	return entity(`Content-Type: multipart/mixed; boundary="b"`, "preamble\r\n--b\r\n"+strings.Join(parts, "\r\n--b\r\n")+"\r\n--b--\r\nepilogue\r\n--b\r\nno part")
}

func TestDocument(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString(p7s)
	const octet, encoded = "Content-Type: application/octet-stream; name=a.p7s\r\n", "Content-Transfer-Encoding: base64"
	att := entity(octet+encoded, b64)
	text := entity("Content-Type: text/plain; name=a.p7s.txt", "a text\r\n---------------------------------------------\r\nDie Signatur wurde erfolgreich geprüft.")
	sealed := "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: binary"
	nested := att
	for range MaxDepth + 1 {
		nested = entity("Content-Type: message/rfc822", nested)
	}
	for _, tc := range []struct {
		name, mail string
		want       Reason
	}{
		{"text and document", multi(text, att), ""},
		{"document alone", att, ""},
		{"lines of LF", strings.ReplaceAll(multi(text, att), "\r\n", "\n"), ""},
		{"base64 in lines with blanks, no padding", multi(entity(octet+encoded, strings.TrimRight(b64[:40]+" \r\n\t"+b64[40:], "="))), ""},
		{"binary", multi(entity(octet+"Content-Transfer-Encoding: binary", string(p7s))), ""},
		{"8bit", multi(entity(octet+"Content-Transfer-Encoding: 8BIT", string(p7s))), ""},
		{"no encoding", multi(entity(octet[:len(octet)-2], string(p7s))), ""},
		{"quoted-printable", multi(entity(octet+"Content-Transfer-Encoding: quoted-printable", quoted(p7s))), ""},
		{"name in the disposition only", multi(text, entity("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"A.P7S\"\r\n"+encoded, b64)), ""},
		{"RFC 2231 name", multi(text, entity("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.p7s\r\n"+encoded, b64)), ""},
		{"unquoted boundary that is no token", strings.ReplaceAll(strings.ReplaceAll(multi(text, att), `boundary="b"`, "boundary==_b?"), "--b", "--=_b?"), ""},
		{"no name at all, by content", multi(text, entity("Content-Type: application/octet-stream\r\n"+encoded, b64)), ""},
		{"body is a signed-data", entity(sealed, string(p7s)), ""},
		{"body is application/pkcs7", entity("Content-Type: application/pkcs7\r\n"+encoded, b64), ""},
		{"inside message/rfc822", entity("Content-Type: message/rfc822", multi(text, att)), ""},
		{"inside an encoded message/rfc822", entity("Content-Type: message/rfc822\r\n"+encoded, base64.StdEncoding.EncodeToString([]byte(multi(text, att)))), ""},
		{"multipart in multipart", multi(text, strings.ReplaceAll(strings.ReplaceAll(multi(att), "--b", "--bb"), `"b"`, `"bb"`)), ""},
		{"no closing delimiter", strings.TrimSuffix(multi(text, att), "\r\n--b--\r\nepilogue\r\n--b\r\nno part"), ""},
		{"other attachments", multi(text, att, entity("Content-Type: application/pdf; name=a.pdf\r\n"+encoded, "JVBERi0=")), ""},
		{"damaged other attachment", multi(text, att, entity("Content-Type: application/pdf; name=a.pdf\r\n"+encoded, "JV!")), ""},
		{"nothing", "", NoDocument},
		{"text only", multi(text), NoDocument},
		{"no document by content", multi(text, entity("Content-Type: application/octet-stream\r\n"+encoded, "MIAA")), NoDocument},
		{"two", multi(att, att), SeveralDocuments},
		{"two by content", multi(entity(encoded+"\r\nContent-Type: a/b", b64), entity(encoded+"\r\nContent-Type: a/b", b64)), SeveralDocuments},
		{"empty", multi(entity(octet+encoded, "\r\n")), Empty},
		{"damaged base64", multi(entity(octet+encoded, b64[:100]+"*"+b64[100:])), BadEncoding},
		{"unknown encoding", multi(entity(octet+"Content-Transfer-Encoding: x-uuencode", "x")), BadEncoding},
		{"damaged quoted-printable", multi(entity(octet+"Content-Transfer-Encoding: quoted-printable", "=zz")), BadEncoding},
		{"encrypted", entity("Content-Type: application/pkcs7-mime; smime-type=authenticated-enveloped-data", "x"), Encrypted},
		{"at a KAS", entity("Content-Type: text/plain\r\nContent-Disposition: x-kas", "{}"), AtKAS},
		{"no boundary", entity("Content-Type: multipart/mixed", "x"), Malformed},
		{"no delimiter", entity("Content-Type: multipart/mixed; boundary=b", "--bb\r\n\r\nx"), Malformed},
		{"too deep", nested, TooDeep},
		{"too many", multi(strings.Split(strings.Repeat("\r\n\r\nx,", MaxParts), ",")...), TooManyParts},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Document([]byte(tc.mail))
			if ReasonOf(err) != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v, want reason %q", err, tc.want)
			}
			if tc.want == "" && !strings.Contains(tc.name, "LF") && !bytes.Equal(got.P7S, p7s) {
				t.Error("the document changed")
			}
		})
	}
	if _, err := Document(make([]byte, MaxMail+1)); ReasonOf(err) != TooLarge {
		t.Errorf("got %v, want reason %q", err, TooLarge)
	}
}

func quoted(b []byte) string {
	const hex = "0123456789ABCDEF"
	var s strings.Builder
	for i, c := range b {
		s.WriteString("=" + string(hex[c>>4]) + string(hex[c&15]))
		if i%20 == 19 {
			s.WriteString("=\r\n")
		}
	}
	return s.String()
}

// TestPublishedDocument: the signed request in the published mail is taken out whole, its signature verifies.
func TestPublishedDocument(t *testing.T) {
	octets := shared.File(t, "data/kim/messages/eeb-anfrage.eml")
	att, err := Document(octets)
	if err != nil {
		t.Fatal(err)
	}
	if att.FileName != "TEEB0_ANF_90c9ae58-5a9d-4861-b77d-665d10b2789d.p7s" || att.Description != "eEB_ANF" {
		t.Errorf("file %q, description %q", att.FileName, att.Description)
	}
	sd, err := cms.Parse(att.P7S)
	if err != nil {
		t.Fatal(err)
	}
	signers, err := sd.Verify()
	if err != nil {
		t.Fatal(err)
	}
	if got := signers[0].Certificate.NotAfter.Format(time.DateOnly); !strings.HasPrefix(got, "2024-12-1") {
		t.Errorf("the certificate ends %s", got)
	}
	if _, err := Document(shared.File(t, "data/kim/messages/eeb-fehler.eml")); ReasonOf(err) != NoDocument {
		t.Errorf("an error message: got %v, want reason %q", err, NoDocument)
	}
	if _, err := Document(shared.File(t, "data/kim/smime/inputEmail.txt.05.encryptedwrap")); ReasonOf(err) != Encrypted {
		t.Errorf("an encrypted mail: got %v, want reason %q", err, Encrypted)
	}
}

func FuzzDocument(f *testing.F) {
	short := delivery()
	short.P7S = p7s[:40]
	octets, err := Compose(short)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(octets)
	f.Add([]byte(multi(entity("Content-Type: a/b; name=x.p7s\r\nContent-Transfer-Encoding: quoted-printable", "=30=80"), entity("Content-Type: message/rfc822", "A: b"))))
	f.Add([]byte(entity("Content-Type: multipart/mixed; boundary=", "--\r\n--\r\n----")))
	f.Fuzz(func(t *testing.T, octets []byte) {
		before := bytes.Clone(octets)
		att, err := Document(octets)
		switch {
		case err != nil && ReasonOf(err) == "":
			t.Fatalf("an error without a reason: %v", err)
		case err == nil && len(att.P7S) == 0:
			t.Fatal("an empty document")
		case !bytes.Equal(before, octets):
			t.Fatal("the mail was changed")
		}
	})
}

func BenchmarkDocument(b *testing.B) {
	d := delivery()
	d.P7S = bytes.Repeat(p7s, 7)
	octets := compose(b, d)
	b.SetBytes(int64(len(octets)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Document(octets); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	d := delivery()
	d.P7S = bytes.Repeat(p7s, 7)
	b.ReportAllocs()
	for b.Loop() {
		compose(b, d)
	}
}
