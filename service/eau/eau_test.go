package eau

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/raced"
	"github.com/querschott/querschott/wire/eau"
)

func uuid(name string) eau.UUID { return eau.NewUUID(eau.NamespaceDNS, name) }

var (
	doctor   = eau.Doctor{Number: "838382202", Family: "Nemo", Given: "Käthe", Profession: "Fachärztin"}
	address  = eau.Address{Street: "Markt", Number: "1", PostalCode: "99998", City: "Musterhausen"}
	practice = eau.Practice{Number: "031234567", Name: "Praxis Nemo", Phone: "0301234567", Address: address}
	anna     = querschott.KVNR("A12345678" + string(querschott.KVNRCheckDigit("A12345678")))
	bert     = querschott.KVNR("B12345678" + string(querschott.KVNRCheckDigit("B12345678")))
)

// large is the content that makes a mail of about 24 kB.
const large = 4

// note writes a sick note with an identifier; what it says is one of a few contents.
func note(id string, content int) []byte {
	c := eau.Certificate{
		Identifier: uuid(id), Issued: issued, Type: eau.First,
		From: "2026-09-29", Until: "2026-10-05", Determined: "2026-09-29",
		Payor: here.Insurer, PayorName: "Übungskasse", Doctor: doctor, Practice: practice,
		Person:     eau.Person{Number: anna, Family: "Übermuth", Given: "Anna", Born: "1971-03-14", Address: address},
		Diagnoses:  []eau.Diagnosis{{Code: "J06.9", Certainty: "G"}, {Code: "S93.40", Certainty: "V", Side: "L"}},
		TestNumber: "Y/400/2107/36/999",
	}
	switch content {
	case 1:
		c.Diagnoses = c.Diagnoses[:1]
	case 2:
		c.Person.Number = bert
	case 3:
		c.Payor = "101575519"
	case large:
		for _, code := range []string{"A09.9", "G43.9"} {
			c.Diagnoses = append(c.Diagnoses, eau.Diagnosis{Code: code, Certainty: "G", Side: "B"})
		}
	}
	return eau.Generate(c)
}

func storno(id, cancels string) []byte {
	return eau.GenerateCancellation(eau.Withdrawal{
		Identifier: uuid(id), Cancels: uuid(cancels), Issued: issued, Doctor: doctor, Practice: practice,
	})
}

// spaced changes the octets of a document and nothing that it says.
func spaced(octets []byte) []byte { return append(slices.Clone(octets), '\n') }

// TestDuplicates is the table of KP5-06 with the cases that surround it.
func TestDuplicates(t *testing.T) {
	a, again, other := note("a", 0), note("b", 0), note("a", 1)
	misused := []string{findingMisuse}
	id := func(name string) string { return uuid(name).String() }
	stored := func(name string) outcome {
		return outcome{Result: Stored, Document: id(name), Kind: eau.KindCertificate}
	}
	result := func(name, result string, first int) outcome {
		return outcome{Result: result, Document: id(name), Kind: eau.KindCertificate, FirstSeq: first}
	}
	cancellation := func(name string, cancels, by int) outcome {
		return outcome{Result: Cancelled, Document: id(name), Kind: eau.KindCancellation, CancelsSeq: cancels, CancelledBySeq: by}
	}
	with := func(o outcome, change func(*outcome)) outcome { change(&o); return o }
	by := func(o outcome, seq int) outcome { return with(o, func(o *outcome) { o.CancelledBySeq = seq }) }
	flagged := func(o outcome, findings []string) outcome { return with(o, func(o *outcome) { o.Findings = findings }) }
	foreign := []byte(`<Parameters xmlns="http://hl7.org/fhir"/>`)
	unknown := []string{"not-a-bundle", "kind-unclear", "profile", "missing: Identifier", "missing: Issued"}

	ring := newKeyring(t)
	for _, tc := range []struct {
		name      string
		documents [][]byte
		want      []outcome
	}{
		{"delivered again", [][]byte{a, a, a}, []outcome{stored("a"), result("a", Duplicate, 1), result("a", Duplicate, 1)}},
		{"another document", [][]byte{a, note("c", 1), note("d", 2)}, []outcome{stored("a"), stored("c"), stored("d")}},
		{"identifier misused", [][]byte{a, other, other, a}, []outcome{
			stored("a"), flagged(result("a", Stored, 1), misused), result("a", Duplicate, 2), result("a", Duplicate, 1),
		}},
		{"identifier misused, nothing new said", [][]byte{a, spaced(a)}, []outcome{
			stored("a"), flagged(result("a", Recreated, 1), misused),
		}},
		{"made again", [][]byte{a, again, note("c", 0), again}, []outcome{
			stored("a"), result("b", Recreated, 1), result("c", Recreated, 1), result("b", Duplicate, 2),
		}},
		{"cancelled", [][]byte{a, storno("s", "a")}, []outcome{stored("a"), cancellation("s", 1, 0)}},
		{"cancelled before it comes", [][]byte{storno("s", "a"), a, a}, []outcome{
			cancellation("s", 0, 0), by(stored("a"), 1), by(result("a", Duplicate, 2), 1),
		}},
		{"cancelled again", [][]byte{storno("s", "a"), storno("s", "a"), a, storno("s", "a"), storno("z", "a")}, []outcome{
			cancellation("s", 0, 0),
			with(cancellation("s", 0, 1), func(o *outcome) { o.Result, o.FirstSeq = Duplicate, 1 }), by(stored("a"), 1),
			with(cancellation("s", 3, 1), func(o *outcome) { o.Result, o.FirstSeq = Duplicate, 1 }), cancellation("z", 3, 1),
		}},
		{"written again after a cancellation", [][]byte{a, storno("s", "a"), again, note("c", 0)}, []outcome{
			stored("a"), cancellation("s", 1, 0), stored("b"), result("c", Recreated, 3),
		}},
		{"cancelled after it was made again", [][]byte{a, again, storno("s", "a"), note("c", 0)}, []outcome{
			stored("a"), result("b", Recreated, 1), cancellation("s", 1, 0), result("c", Recreated, 2),
		}},
		{"made again, which is cancelled", [][]byte{storno("s", "b"), a, again, note("c", 0)}, []outcome{
			cancellation("s", 0, 0), stored("a"), by(result("b", Recreated, 2), 1), result("c", Recreated, 2),
		}},
		{"cancelled under the identifier of the cancellation", [][]byte{storno("a", "a"), a, storno("s", "a")}, []outcome{
			cancellation("a", 0, 0), flagged(by(result("a", Stored, 1), 1), misused), cancellation("s", 2, 1),
		}},
		{"cancelled under the identifier of the note", [][]byte{a, storno("a", "a")}, []outcome{
			stored("a"), flagged(with(cancellation("a", 1, 0), func(o *outcome) { o.FirstSeq = 1 }), misused),
		}},
		{"cancelled, its identifier another cancellation's before", [][]byte{storno("a", "q"), a, storno("s", "a")}, []outcome{
			cancellation("a", 0, 0), flagged(result("a", Stored, 1), misused), cancellation("s", 2, 0),
		}},
		{"cancellation of a cancellation", [][]byte{storno("s", "a"), storno("z", "s"), a}, []outcome{
			cancellation("s", 0, 0), cancellation("z", 0, 0), by(stored("a"), 1),
		}},
		{"another insurer's", [][]byte{note("x", 3)}, []outcome{flagged(stored("x"), []string{findingPayor})}},
		{"unreadable, and again", [][]byte{foreign, foreign}, []outcome{
			{Result: Unreadable, Findings: unknown}, {Result: Duplicate, Findings: unknown, FirstSeq: 1},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var bodies [][]byte
			for i, d := range tc.documents {
				bodies = append(bodies, mail(t, fmt.Sprint(i), sign(t, d)))
			}
			h := newHouse(t, ring)
			h.send(bodies, len(bodies))
			got := h.outcomes()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(expected(tc.documents), h.outcomes()); diff != "" {
				t.Errorf("the model of the property tests says otherwise:\n%s", diff)
			}
		})
	}
}

// expected says what becomes of documents, by comparing each with all before it.
func expected(documents [][]byte) []outcome {
	type seen struct {
		eau.Document
		repeated bool
	}
	var before []seen
	find := func(is func(seen) bool) int { return 1 + slices.IndexFunc(before, is) }
	cancellationOf := func(id string) int {
		return find(func(s seen) bool { return id != "" && s.Kind == eau.KindCancellation && s.Cancels == id })
	}
	var list []outcome
	for _, octets := range documents {
		d, findings := eau.Read(octets)
		o := outcome{Document: d.Identifier, Kind: d.Kind, Result: map[eau.Kind]string{
			eau.KindCertificate: Stored, eau.KindCancellation: Cancelled, eau.KindUnknown: Unreadable,
		}[d.Kind]}
		for _, f := range findings {
			o.Findings = append(o.Findings, f.String())
		}
		if d.Payor != "" && d.Payor != here.Insurer {
			o.Findings = append(o.Findings, findingPayor)
		}
		first := find(func(s seen) bool { return s.Hash == d.Hash })
		if o.FirstSeq = first; first > 0 {
			o.Result = Duplicate
		} else if same := find(func(s seen) bool { return d.Identifier != "" && s.Identifier == d.Identifier }); same > 0 {
			o.FirstSeq = same
			o.Findings = append(o.Findings, findingMisuse)
		}
		switch d.Kind {
		case eau.KindCertificate:
			o.CancelledBySeq = cancellationOf(d.Identifier)
			twin := find(func(s seen) bool {
				return !s.repeated && !d.Content.IsZero() && s.Content == d.Content && cancellationOf(s.Identifier) == 0
			})
			if first == 0 && twin > 0 {
				o.Result, o.FirstSeq = Recreated, twin
			}
		case eau.KindCancellation:
			o.CancelledBySeq = cancellationOf(d.Cancels)
			o.CancelsSeq = find(func(s seen) bool {
				return d.Cancels != "" && s.Kind == eau.KindCertificate && s.Identifier == d.Cancels
			})
		case eau.KindUnknown:
		}
		before = append(before, seen{d, first > 0})
		list = append(list, o)
	}
	return list
}

// TestPublishedDocuments: the published samples have misused identifiers and identical files; nothing else is odd about them.
func TestPublishedDocuments(t *testing.T) {
	valid, invalid, cancellations := published(t, "valid"), published(t, "invalid"), published(t, "storno")
	all := map[string][]byte{}
	for _, m := range []map[string][]byte{valid, cancellations} {
		maps.Copy(all, m)
	}
	for name, octets := range invalid {
		all["invalid "+name] = octets
	}
	names := slices.Sorted(maps.Keys(all))
	var documents, bodies [][]byte
	for _, name := range names {
		documents = append(documents, all[name])
		bodies = append(bodies, mail(t, hex.EncodeToString([]byte(name[:8])), sign(t, all[name])))
	}
	h := newHouse(t, newKeyring(t))
	h.send(bodies, 7, 11, len(bodies)-18)
	got := h.outcomes()
	if diff := cmp.Diff(expected(documents), got); diff != "" {
		t.Error(diff)
	}
	of := func(name string) outcome {
		i, ok := slices.BinarySearch(names, name)
		if !ok {
			t.Fatalf("no sample %s", name)
		}
		return got[i]
	}
	for name, first := range map[string]string{
		"Beispiel_3-eAU_ERST_END_GKV_positiv.xml":                                       "Beispiel_3-eAU_ERST_END_GKV.xml",
		"Beispiel_9-eAU_FOLGE_Weiterbildung_positiv.xml":                                "Beispiel_9-eAU_FOLGE_Weiterbildung.xml",
		"Beispiel_9_-eau-angabeIdentifikatorVerantwortlichePersonPflicht_positiv_1.xml": "Beispiel_9-eAU_FOLGE_Weiterbildung.xml",
		"Beispiel_11_-eau-angabeVerantwortlichePersonVerbot-1_positiv_1.xml":            "Beispiel_11-eAU_FOLGE_Weiterbildung.xml",
		"Beispiel_12-eAU_FOLGE_Vertreter_positiv.xml":                                   "Beispiel_12-eAU_FOLGE_Vertreter.xml",
	} {
		if o := of(name); o.Result != Duplicate || names[o.FirstSeq-1] != first {
			t.Errorf("%s: %s of message %d", name, o.Result, o.FirstSeq)
		}
	}
	for _, group := range [][]string{
		{"Beispiel_2-eAU_FOLGE_GKV_positiv.xml", "Beispiel_4-eAU_FOLGE_END_GKV.xml", "EEAU0_2ed6995a-ddcb-4af9-af62-80dac413408b.xml"},
		{"Beispiel_10-eAU_FOLGE_Vertreter.xml", "Beispiel_16-eAU_FOLGE_Weiterbildung.xml", "Beispiel_9-eAU_FOLGE_Weiterbildung.xml"},
		{"Beispiel_13-eAU_ERST_SKT_KVK_positiv.xml", "Beispiel_17_eAU_ERST_SKT_GKV_ID.xml"},
		{"Beispiel_15-eAU_ERST_GKV_Zahnarzt.xml", "Beispiel_1_-eau-angabeIdentifikatorAusstellendePersonPflicht_positiv_1.xml"},
	} {
		for i, name := range group {
			if o := of(name); slices.Contains(o.Findings, findingMisuse) != (i > 0) || o.Result == Duplicate {
				t.Errorf("%s: %s, findings %v", name, o.Result, o.Findings)
			}
		}
	}
	if o := of("Beispiel_Storno.xml"); o.Result != Cancelled || names[o.CancelsSeq-1] != "Beispiel_2-eAU_FOLGE_GKV_positiv.xml" {
		t.Errorf("the cancellation: %+v", o)
	}
	for name := range invalid {
		if o := of("invalid " + name); o.Result == Unreadable {
			t.Errorf("%s is unreadable; profiles are not this package's business", name)
		}
	}
}

// TestGarbage: whatever comes is kept and flagged.
func TestGarbage(t *testing.T) {
	p7s := sign(t, note("a", 0))
	good := mail(t, "good", p7s)
	broken := slices.Clone(p7s)
	broken[3] ^= 0x40
	head, part, _ := strings.Cut(string(good), "\r\n\r\n")
	boundary := head[strings.Index(head, `boundary="`)+10:]
	boundary = "--" + boundary[:strings.Index(boundary, `"`)]
	attachment := strings.TrimSuffix(strings.TrimSpace(part), "--")
	numbered := []byte(`<Bundle xmlns="http://hl7.org/fhir"><identifier><value value="` + anna.Reveal() + `"/></identifier></Bundle>`)
	for name, body := range map[string]string{
		"no document":  strings.ReplaceAll(head, "multipart/mixed", "text/plain") + "\r\n\r\nGuten Tag\r\n",
		"two":          head + "\r\n\r\n" + strings.TrimSuffix(attachment, boundary) + part,
		"broken":       string(mail(t, "broken", broken)),
		"no container": string(mail(t, "text", []byte("nothing signed"))),
		"cut off":      string(mail(t, "half", p7s[:len(p7s)/2])),
		"no content":   string(mail(t, "empty", sign(t, nil))),
		"no XML":       string(mail(t, "zero", sign(t, bytes.Repeat([]byte{0}, 1000)))),
		"not base64":   head + "\r\n\r\n" + strings.Replace(part, "MII", "M!I", 1),
		"still encrypted": "Subject: KOM-LE-Nachricht\r\n" +
			"Content-Type: application/pkcs7-mime; smime-type=authenticated-enveloped-data; name=smime.p7m\r\n" +
			"Content-Transfer-Encoding: base64\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n\r\nMIIB\r\n",
		"on a KAS":              "Content-Type: application/octet-stream\r\nContent-Disposition: x-kas\r\n\r\n{}\r\n",
		"empty":                 "",
		"one octet":             "x",
		"line ends":             "\r\n\r\n",
		"zeros":                 strings.Repeat("\x00", 1000),
		"one long header":       "Subject: " + strings.Repeat("x", 300<<10) + "\r\n\r\n",
		"many headers":          strings.Repeat("X-A: b\r\n", 40_000) + "\r\n",
		"deep":                  strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000),
		"no boundary":           "Content-Type: multipart/mixed\r\n\r\n--x\r\n",
		"nobody's document":     string(mail(t, "outcome", sign(t, []byte(`<OperationOutcome xmlns="http://hl7.org/fhir"/>`)))),
		"a number for its name": string(mail(t, "number", sign(t, numbered))),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, newKeyring(t))
			h.send([][]byte{[]byte(body), good, []byte(body)}, 1, 2)
			got := h.outcomes()
			if got[0].Result != Unreadable || len(got[0].Findings) == 0 {
				t.Errorf("%+v", got[0])
			}
			if got[1].Result != Stored || len(got[1].Findings) > 0 {
				t.Errorf("the message behind it: %+v", got[1])
			}
			if len(got[2].Findings) == 0 {
				t.Errorf("again: %+v", got[2])
			}
			flags, err := intake.Flags(h.cell, here, 10)
			if err != nil || len(flags) != 2 {
				t.Errorf("flags %v, %v", flags, err)
			}
			unreadable(t, h, anna.Reveal())
		})
	}
}

// pool is what property tests draw from: few documents, so that everything meets everything.
func pool(t testing.TB) (documents, bodies [][]byte) {
	for _, id := range []string{"a", "b", "c"} {
		for content := range 2 {
			documents = append(documents, note(id, content))
		}
		documents = append(documents, storno("s"+id, id))
	}
	documents = append(documents, spaced(note("a", 0)), storno("b", "a"), storno("z", "a"), note("x", 3), []byte("<Bundle/>"))
	for i, d := range documents {
		bodies = append(bodies, mail(t, fmt.Sprint(i), sign(t, d)))
	}
	return documents, bodies
}

// TestTurnsMakeNoDifference: any sequence of documents in any division into turns has the results of the model, and leaves the
// same memory in the cell.
func TestTurnsMakeNoDifference(t *testing.T) {
	raced.Alone(t)
	ring := newKeyring(t)
	documents, bodies := pool(t)
	rapid.Check(t, func(rt *rapid.T) {
		var docs, sent [][]byte
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(documents)-1), 1, 9).Draw(rt, "messages") {
			docs, sent = append(docs, documents[i]), append(sent, bodies[i])
		}
		var turns []int
		for left := len(sent); left > 0; left -= turns[len(turns)-1] {
			turns = append(turns, rapid.IntRange(1, left).Draw(rt, "turn"))
		}
		one, many := newHouse(t, ring), newHouse(t, ring)
		one.send(sent, len(sent))
		many.send(sent, turns...)
		if diff := cmp.Diff(turns, many.turns); diff != "" {
			rt.Fatalf("the turns were others:\n%s", diff)
		}
		got := one.outcomes()
		if diff := cmp.Diff(expected(docs), got); diff != "" {
			rt.Fatalf("in one turn (-model +cell):\n%s", diff)
		}
		if diff := cmp.Diff(got, many.outcomes()); diff != "" {
			rt.Fatalf("turns make a difference:\n%s", diff)
		}
		if diff := cmp.Diff(one.memory(), many.memory()); diff != "" {
			rt.Fatalf("turns make a difference in the cell:\n%s", diff)
		}
	})
}

// memory is what this package remembers in the cell, with messages counted from 1.
func (h *house) memory() map[string][]string {
	m := map[string][]string{}
	for what, size := range map[string]int{"document": 8, "file": 8, "content": sizeTwin, "cancelled": 8} {
		kind := cell.KindSeen
		if what == "cancelled" {
			kind = cell.KindIndex
		}
		prefix := cell.Key(cell.ServiceSpace(here.Service), kind, []byte(what))
		for _, p := range celltest.Dump(h.t, h.cell, prefix, cell.PrefixEnd(prefix)) {
			for v := range slices.Chunk([]byte(p.Value), size) {
				m[p.Key] = append(m[p.Key], fmt.Sprintf("%d %x", h.seqs[binary.BigEndian.Uint64(v)], v[8:]))
			}
		}
	}
	return m
}

// TestManyTwins: what is remembered of one content is bounded.
func TestManyTwins(t *testing.T) {
	var bodies, documents [][]byte
	for i := range maxTwins + 4 {
		documents = append(documents, note(fmt.Sprint(i), 0))
	}
	documents = append(documents, storno("s", "0"), note("last", 0))
	for i, d := range documents {
		bodies = append(bodies, mail(t, fmt.Sprint(i), sign(t, d)))
	}
	h := newHouse(t, newKeyring(t))
	h.send(bodies, 10, len(bodies)-10)
	if diff := cmp.Diff(expected(documents), h.outcomes()); diff != "" {
		t.Error(diff)
	}
	twins := 0
	for _, v := range h.memory() {
		twins = max(twins, len(v))
	}
	if twins != maxTwins {
		t.Errorf("%d twins are remembered", twins)
	}
}

// TestDamagedMemory: a value of this package that somebody has damaged holds up nothing, is flagged and mended.
func TestDamagedMemory(t *testing.T) {
	ring := newKeyring(t)
	documents := [][]byte{storno("s", "b"), note("a", 0), note("b", 0), storno("z", "a")}
	for _, value := range []string{"", "short", strings.Repeat("x", 41)} {
		h := newHouse(t, ring)
		var first, second [][]byte
		for i, d := range documents {
			first, second = append(first, mail(t, fmt.Sprint(i), sign(t, d))), append(second, mail(t, fmt.Sprint("again", i), sign(t, d)))
		}
		h.send(first, len(first))
		var b cell.Batch
		for key := range h.memory() {
			b.Put([]byte(key), []byte(value))
		}
		if err := h.cell.Commit(&b); err != nil {
			t.Fatal(err)
		}
		h.send(append(second, first...), len(second), len(first))
		got := h.outcomes()
		for i, o := range got[4:8] {
			if !slices.Equal(o.Findings, []string{findingDamaged}) {
				t.Errorf("%q: message %d, %s, has findings %v", value, i, o.Result, o.Findings)
			}
		}
		for i, o := range got[8:] {
			if o.Result != Duplicate || o.FirstSeq != 5+i || len(o.Findings) > 0 {
				t.Errorf("%q: after mending: %+v", value, o)
			}
		}
	}
}

// TestForgottenKeys: with its keys gone a message is this node's problem, and nothing of it is stored.
func TestForgottenKeys(t *testing.T) {
	h := newHouse(t, newKeyring(t))
	asked := false
	h.took = func(ctx context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
		if asked {
			return Take(ctx, m, tx)
		}
		asked = true
		keys, err := h.ring.Unlock(here)
		if err != nil {
			return intake.Note{}, err
		}
		keys[here].Forget()
		trial := *tx
		trial.Keys, trial.Batch = keys[here], &cell.Batch{}
		if _, err := Take(ctx, m, &trial); err == nil || trial.Batch.Len() > 0 {
			t.Errorf("error %v, %d operations", err, trial.Batch.Len())
		}
		return Take(ctx, m, tx)
	}
	h.send([][]byte{mail(t, "a", sign(t, note("a", 0)))}, 1)
	if got := h.outcomes(); got[0].Result != Stored {
		t.Errorf("%+v", got[0])
	}
}

// unreadable looks for secrets in everything that is in the cell.
func unreadable(t *testing.T, h *house, secrets ...string) {
	t.Helper()
	pairs := celltest.Dump(t, h.cell, nil, nil)
	if len(pairs) == 0 {
		t.Error("nothing is stored")
	}
	for _, p := range pairs {
		for _, s := range secrets {
			if strings.Contains(p.Key, s) || strings.Contains(p.Value, s) {
				t.Errorf("%q is in the clear, key %q", s, p.Key)
			}
		}
	}
}

// TestNothingInTheClear: who reads the store finds no person, no document and no diagnosis, and cannot try whether a document is
// there.
func TestNothingInTheClear(t *testing.T) {
	documents := [][]byte{
		note("a", 0), note("a", 1), note("b", 0), storno("s", "a"), storno("t", "later"), note("a", 0), note("x", 3), note("y", 2),
	}
	var bodies [][]byte
	for i, d := range documents {
		bodies = append(bodies, mail(t, fmt.Sprint(i), sign(t, d)))
	}
	h := newHouse(t, newKeyring(t))
	h.send(bodies, 3, len(bodies)-3)
	secrets := []string{anna.Reveal(), bert.Reveal(), "J06.9", "S93.40", "Übermuth", sender, doctor.Number, practice.Number, "101575519"}
	add := func(octets []byte) {
		h := sha256.Sum256(octets)
		secrets = append(secrets, string(octets), string(h[:8]), hex.EncodeToString(h[:8]))
	}
	for _, id := range []string{"a", "b", "s", "t", "x", "y", "later"} {
		u := uuid(id)
		add([]byte(u.String()))
		add([]byte(u.URN()))
		add(u[:])
	}
	for _, p := range []querschott.KVNR{anna, bert} {
		add([]byte(p.Reveal()))
	}
	for _, d := range documents {
		doc, _ := eau.Read(d)
		add(d)
		add(doc.Hash[:])
		add(doc.Content[:])
	}
	unreadable(t, h, secrets...)
}

// BenchmarkTake takes mails of about 24 kB out of their containers, recognises, seals and puts them into a batch.
func BenchmarkTake(b *testing.B) {
	const n = 256
	var bodies [][]byte
	for i := range n {
		bodies = append(bodies, mail(b, fmt.Sprint(i), sign(b, note(fmt.Sprint(i), large))))
	}
	h := newHouse(b, newKeyring(b))
	h.took = func(ctx context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
		b.SetBytes(int64(len(bodies[0])))
		b.ReportAllocs()
		one := *m
		for i := 0; b.Loop(); i++ {
			if i%64 == 0 {
				tx.Batch.Reset()
			}
			one.Seq++
			one.Body = bodies[i%n]
			if _, err := Take(ctx, &one, tx); err != nil {
				b.Fatal(err)
			}
		}
		tx.Batch.Reset()
		return Take(ctx, m, tx)
	}
	h.send(bodies[:1], 1)
}
