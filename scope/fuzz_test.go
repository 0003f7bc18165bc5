package scope

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/ledger"
)

func someEvents() []event {
	var list []event
	for i := range uint32(2000) {
		e := event{second: 1_780_000_000 + int64(i*7%3600), cred: i % 37, person: i * 131 % 50_000, class: uint8(ledger.DataInsured)<<2 | uint8(Reached)}
		if e.person == 0 {
			e.records = 4
		}
		list = append(list, e)
	}
	return list
}

func encoded(o order, list []event) *encoder {
	o.sort(list)
	e := &encoder{order: o, base: 1_780_000_000}
	for i := range list {
		e.add(&list[i])
	}
	e.end()
	return e
}

func FuzzBlock(f *testing.F) {
	for o := byCredential; o <= byPerson; o++ {
		f.Add(encoded(o, someEvents()[:12]).out, uint8(o)) // short ones are mutated fast
	}
	f.Fuzz(func(t *testing.T, b []byte, o uint8) {
		list, err := (&reader{b: b, order: order(o % 2), base: 1_780_000_000}).rest(nil)
		if len(list) > len(b) {
			t.Errorf("%d bytes became %d events", len(b), len(list))
		}
		for i := range list {
			if err == nil && (list[i].second < 0 || list[i].second >= openEnd) {
				t.Errorf("event %d has the second %d", i, list[i].second)
			}
		}
	})
}

// FuzzSweep: reading what lies close together in one go finds what reading event by event does.
func FuzzSweep(f *testing.F) {
	list := someEvents()[:12]
	f.Add(encoded(byCredential, list).out, uint16(1), uint16(3600))
	for i := range list {
		list[i].cred, list[i].second = 1, list[0].second+int64(i)
		list[i].person = 1<<(2*i) - uint32(i%2)
	}
	f.Add(encoded(byCredential, list).out, uint16(3), uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, from, to uint16) {
		const base, persons = 1_780_000_000, 1 << 16
		book := &book{persons: &names{keys: make([]ledger.Pseudonym, persons)}}
		tallyOf := func() *tally {
			return &tally{book: book, first: openEnd, from: base + int64(from), to: base + int64(to), creds: []uint32{1}}
		}
		got, want := tallyOf(), tallyOf()
		gotErr := got.read(1, &reader{b: b, base: base})
		all, wantErr := (&reader{b: b, base: base}).rest(nil)
		for i := range all {
			if e := &all[i]; e.cred == 1 && e.second >= want.from && e.second < want.to {
				if _, err := want.count(e); err != nil {
					wantErr = err
					break
				}
			}
		}
		if gotErr == nil && wantErr == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if (gotErr == nil) != (wantErr == nil) {
			t.Errorf("got %v, want %v", gotErr, wantErr)
		}
	})
}

func FuzzIndex(f *testing.F) {
	e := encoded(byCredential, someEvents())
	f.Add(appendIndex(nil, e.blocks))
	f.Fuzz(func(t *testing.T, b []byte) {
		if blocks, err := parseIndex(b, 8); err == nil && len(blocks)*(digestLen+3) > len(b) {
			t.Errorf("%d bytes became %d blocks", len(b), len(blocks))
		}
	})
}

func FuzzTable(f *testing.F) {
	b, err := json.Marshal(table{Rounds: []roundRef{{N: 1, Until: 5, Origin: "o"}}, Logs: []shelf{{Origin: "o"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseTable(b, 1000)
		if err != nil {
			return
		}
		for _, l := range table.Logs {
			for _, s := range l.Sections {
				if s.Off+s.Len+s.Index > 1000 {
					t.Errorf("a section ends at %d", s.Off+s.Len+s.Index)
				}
			}
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add((&Statement{Round: 2, Since: 3, Until: 4, Logs: 2, New: 1}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStatement(b); err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Errorf("%x was read as %+v", b, s)
		}
	})
}

func FuzzSegment(f *testing.F) {
	r := Record{Second: 4, Person: ledger.Pseudonym{1}, Index: 2, Data: 1, Result: Reached}
	one := Segment{Origin: "o", Round: 1, To: 3, Count: 1, First: r, Last: r}
	none := Segment{Origin: "o", Round: 1, To: 3, Root: rootOf(nil)}
	f.Add(one.Bytes())
	f.Add(none.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSegment(b); err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Errorf("%x was read as %+v", b, s)
		}
	})
}

func FuzzVerify(f *testing.F) {
	leaf := sha256.Sum256(nil)
	p := Proof{
		Format: proofFormat, Credentials: []querschott.CredentialID{"c"}, To: 5,
		Rounds: []RoundProof{{Entry: make([]byte, 160), Payload: []byte("x"), Proof: "c2sp.org/tlog-proof@v1\n", Logs: []LogSum{{"o", leaf[:]}}}},
	}
	file, err := p.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	const vkey = "example.com/ledger/commits/2026+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Verify(b, vkey); err == nil {
			t.Errorf("holds, with nobody's key: %+v", v)
		}
	})
}

// TestBlocks: what is encoded comes back, wherever one begins to read.
func TestBlocks(t *testing.T) {
	disk := crashdisk.New()
	for o := byCredential; o <= byPerson; o++ {
		w, err := newSegment(disk, "", []roundRef{{N: 1, Until: 2_000_000_000}})
		if err != nil {
			t.Fatal(err)
		}
		list := someEvents()
		if err := w.log(shelf{Origin: "o"}, slices.Clone(list)); err != nil {
			t.Fatal(err)
		}
		s, err := w.finish([]byte("key"))
		if err != nil {
			t.Fatal(err)
		}
		for major := range uint32(40) {
			for from := int64(1_780_000_000); from < 1_780_003_600; from += 450 {
				got, want := 0, 0
				err := s.scan(sectionKey{0, o}, major, from, from+700, func(r *reader) error {
					run, err := r.rest(nil)
					for _, e := range run {
						if o.major(&e) == major && e.second >= from && e.second < from+700 {
							got++
						}
					}
					return err
				})
				for _, e := range list {
					if o.major(&e) == major && e.second >= from && e.second < from+700 && (o == byCredential || e.person > 0) {
						want++
					}
				}
				if err != nil || got != want {
					t.Fatalf("order %d, major %d, from %d: got %d events, want %d, %v", o, major, from, got, want, err)
				}
			}
		}
	}
}
