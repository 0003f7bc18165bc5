package drill

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// enrolled returns a small world whose practices can write, the same one for all tests.
func enrolled(t testing.TB) (*World, *CA) {
	t.Helper()
	world, err := enrolledOnce()
	if err != nil {
		t.Fatal(err)
	}
	return world.w, world.ca
}

type enrolledWorld struct {
	w  *World
	ca *CA
}

var enrolledOnce = sync.OnceValues(func() (enrolledWorld, error) {
	ca, err := NewCA(demoDay)
	if err != nil {
		return enrolledWorld{}, err
	}
	w := NewWorld(11, 12, 600)
	return enrolledWorld{w, ca}, w.Enrol(ca)
})

// unwrap reads a mail as the platform does: header, attachment, signature. It returns the signed document.
func unwrap(t *testing.T, m Mail, ca *CA) (kim.Header, []byte) {
	t.Helper()
	h := kim.ReadHeader(m.Body)
	if len(h.Findings) != 0 {
		t.Errorf("%s: findings about the header: %v", m.Subject, h.Findings)
	}
	if err := h.CheckSender(m.From); err != nil {
		t.Errorf("%s: %v", m.Subject, err)
	}
	if h.MessageID != m.MessageID || h.Subject != m.Subject || len(h.To) != 1 || h.To[0] != string(m.To) {
		t.Errorf("%s: the header has %q, %q, To %q", m.Subject, h.MessageID, h.Subject, h.To)
	}
	if h.Service() != m.Compartment.Service {
		t.Errorf("%s: goes to %s, want %s", m.Subject, h.Service(), m.Compartment.Service)
	}
	a, err := kim.Document(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.Parse(a.P7S)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(signed.Certificates[0].Raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: demoDay, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}); err != nil {
		t.Error(err)
	}
	return h, signed.Content
}

func TestSickNote(t *testing.T) {
	w, ca := enrolled(t)
	types := map[eau.Type]bool{}
	for i := range 60 {
		p, about := w.Practices()[i], w.Person(i*7)
		m, err := p.SickNote(about, demoDay)
		if err != nil {
			t.Fatal(err)
		}
		h, xml := unwrap(t, m, ca)
		if got, want := h.Dienstkennung, kim.EAUDelivery; got != want {
			t.Errorf("Dienstkennung %s", got)
		}
		name, ok := kim.ParseDocumentName(m.Subject)
		if !ok || !name.Test || name.Kind != kim.Certificate || name.ID != m.Document.String() {
			t.Errorf("subject %q", m.Subject)
		}
		d, findings := eau.Read(xml)
		if len(findings) != 0 {
			t.Errorf("findings about the document: %v", findings)
		}
		if d.Person != about.Number || d.Payor != about.Insurer.IK || d.Identifier != m.Document.String() || m.Document.Version() != 5 {
			t.Errorf("document %s names another person, insurer or identifier", d.Identifier)
		}
		if until, found := d.Until.Time(), d.Determined.Time(); until.Before(found) || until.After(found.AddDate(0, 0, 31)) || found.After(demoDay) {
			t.Errorf("determined %s, until %s", d.Determined, d.Until)
		}
		if m.Compartment != (querschott.Compartment{Insurer: about.Insurer.IK, Service: querschott.EAU}) || m.To != about.Insurer.Address {
			t.Errorf("it goes to %s, %s", m.Compartment, m.To)
		}
		if m.Binding() != intake.BindingOf(string(p.KIM), h.MessageID[1:len(h.MessageID)-1]) {
			t.Error("the binding is not that of MAIL FROM and bare Message-ID")
		}
		types[d.Type] = true
	}
	if len(types) < 3 {
		t.Errorf("only the types %v occur", types)
	}
}

func TestStorno(t *testing.T) {
	w, ca := enrolled(t)
	p := w.Practices()[0]
	note, err := p.SickNote(w.Person(5), demoDay)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Storno(note, demoDay.AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	h, xml := unwrap(t, m, ca)
	d, findings := eau.Read(xml)
	if len(findings) != 0 || d.Kind != eau.KindCancellation || d.Cancels != note.Document.String() {
		t.Errorf("it is a %s of %s, findings %v", d.Kind, d.Cancels, findings)
	}
	if name, ok := kim.ParseDocumentName(m.Subject); !ok || !name.Test || name.Kind != kim.Cancellation || h.Dienstkennung != kim.EAUCancellation {
		t.Errorf("subject %q, Dienstkennung %s", m.Subject, h.Dienstkennung)
	}
	if m.To != note.To || m.Document == note.Document {
		t.Error("it goes elsewhere, or has the identifier of what it cancels")
	}
	if _, err := w.Practices()[1].Storno(note, demoDay); err == nil {
		t.Error("a practice has cancelled another one's sick note")
	}
	if _, err := p.Storno(m, demoDay); err == nil {
		t.Error("a cancellation was cancelled")
	}
}

func TestLetter(t *testing.T) {
	w, ca := enrolled(t)
	m, err := w.Practices()[3].Letter(w.Person(9), demoDay)
	if err != nil {
		t.Fatal(err)
	}
	h, page := unwrap(t, m, ca)
	if h.Dienstkennung.String() != "Arztbrief;VHitG-Versand;V1.2" || m.Compartment.Service != querschott.Letter {
		t.Errorf("Dienstkennung %s, compartment %s", h.Dienstkennung, m.Compartment)
	}
	if !strings.Contains(m.Subject, "erfunden") || !bytes.Contains(page, []byte("erfundener Arztbrief")) {
		t.Errorf("neither the subject %q nor the page may leave a doubt that it is invented", m.Subject)
	}
	checkPDF(t, page)
}

// checkPDF follows the offsets of a PDF file as a reader does.
func checkPDF(t *testing.T, page []byte) {
	t.Helper()
	tail := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(page)
	if tail == nil || !bytes.HasPrefix(page, []byte("%PDF-1.4\n")) {
		t.Fatalf("no PDF: %.40q", page)
	}
	start, _ := strconv.Atoi(string(tail[1]))
	table := regexp.MustCompile(`^xref\n0 6\n0{10} 65535 f \n((?:\d{10} 00000 n \n){5})trailer\n`).FindSubmatch(page[start:])
	if table == nil {
		t.Fatalf("no cross-reference table at %d", start)
	}
	for i, entry := range strings.Split(strings.TrimSpace(string(table[1])), "\n") {
		at, _ := strconv.Atoi(entry[:10])
		if want := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(page[at:], []byte(want)) {
			t.Errorf("object %d is not at %d", i+1, at)
		}
	}
	stream := regexp.MustCompile(`(?s)/Length (\d+) >>\nstream\n(.*?)\nendstream`).FindSubmatch(page)
	if n, _ := strconv.Atoi(string(stream[1])); n != len(stream[2]) {
		t.Errorf("the stream has %d octets and says %d", len(stream[2]), n)
	}
}

func TestPDFTextStaysInItsString(t *testing.T) {
	if got, want := winAnsi(`a (b) \c ü €`), "a \\(b\\) \\\\c \xfc ?"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheSameRecipeIsTheSameMail(t *testing.T) {
	w, _ := enrolled(t)
	for _, k := range []kind{noteMail, stornoMail, letterMail} {
		r := recipe{kind: k, practice: 7, person: 13, at: demoDay.UnixNano(), number: 99, cancels: eau.UUID{1}}
		one, err := w.mail(r)
		if err != nil {
			t.Fatal(err)
		}
		two, err := w.mail(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.Body, two.Body) || one.MessageID != two.MessageID {
			t.Errorf("kind %d: a repeated mail has other octets", k)
		}
		r.again = 1
		three, err := w.mail(r)
		if err != nil {
			t.Fatal(err)
		}
		if three.MessageID == one.MessageID || three.Document != one.Document || three.Binding() == one.Binding() {
			t.Errorf("kind %d: the document in another mail has %s, before %s", k, three.MessageID, one.MessageID)
		}
	}
}

func TestMailsAreDistinct(t *testing.T) {
	w, _ := enrolled(t)
	seen := map[string]bool{}
	for i := range 40 {
		m, err := w.Practices()[i%2].SickNote(w.Person(0), demoDay)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.MessageID], seen[m.Document.String()] = true, true
	}
	if len(seen) != 80 {
		t.Errorf("40 mails have %d Message-IDs and identifiers together", len(seen))
	}
}

func TestNobodyWritesWithoutIdentity(t *testing.T) {
	w := NewWorld(1, 1, 5)
	_, err := w.Practices()[0].SickNote(w.Person(0), demoDay)
	if diff := cmp.Diff(errNotEnrolled.Error(), fmt.Sprint(err)); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkMail measures complete mails: document, signature, composition.
func BenchmarkMail(b *testing.B) {
	w, _ := enrolled(b)
	b.ReportAllocs()
	size := 0
	for i := 0; b.Loop(); i++ {
		m, err := w.Practices()[i%practices].SickNote(w.Person(i%w.Persons()), demoDay)
		if err != nil {
			b.Fatal(err)
		}
		size += len(m.Body)
	}
	b.ReportMetric(float64(size)/float64(b.N), "octets/mail")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}

func BenchmarkEnrol(b *testing.B) {
	w, ca := NewWorld(1, 1, 5), newCA(b)
	for b.Loop() {
		if err := w.Enrol(ca); err != nil {
			b.Fatal(err)
		}
	}
}
