package vsdm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/wire/vsd"
)

// Putting follows the rules of versions.
func TestPut(t *testing.T) {
	w := newWorld(t)
	record := invent(statutory, anna)
	put := func(what string, change func(*vsd.Record), want Change, wantErr error, version uint64) {
		t.Helper()
		next := *record
		change(&next)
		got, err := w.s.Put(compartment(statutory), insured.Entry{Record: &next})
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %d, %v", what, got, err)
		}
		_, v, err := w.s.Get(statutory, anna)
		if err != nil || v != version {
			t.Errorf("%s: version %d, %v", what, v, err)
		}
	}
	at := func(d time.Duration) vsd.Instant { return vsd.InstantOf(spring.Add(d)) }
	put("new", func(r *vsd.Record) { r.Updated = at(0) }, Added, nil, 1)
	put("again", func(r *vsd.Record) { r.Updated = at(0) }, Unchanged, nil, 1)
	put("again, later", func(r *vsd.Record) { r.Updated = at(time.Hour) }, Unchanged, nil, 1)
	put("again, earlier, with other UUIDs", func(r *vsd.Record) {
		r.Updated, r.Patient.ID, r.Coverage.ID = at(-time.Hour), newID(spring), newID(spring)
		r.Payors = slices.Clone(r.Payors)
		r.Payors[0].ID = newID(spring)
	}, Unchanged, nil, 1)
	named := func(d time.Duration, name string) func(*vsd.Record) {
		return func(r *vsd.Record) { r.Updated, r.Patient.Name.Text = at(d), name }
	}
	put("changed", named(time.Hour, "Anna Amsel"), Replaced, nil, 2)
	put("changed at the same moment", named(time.Hour, "Anna Drossel"), Replaced, nil, 3)
	put("changed earlier", named(time.Hour-time.Millisecond, "Anna Fink"), Unchanged, ErrOlder, 3)
	put("the same moment in another time zone", func(r *vsd.Record) {
		r.Updated, r.Patient.Name.Text = vsd.Instant(spring.Add(time.Hour).In(time.FixedZone("", 7200)).Format(time.RFC3339)), "Anna Star"
	}, Replaced, nil, 4)
	put("another insurer's", func(r *vsd.Record) { *r = *invent(private, anna) }, Unchanged, ErrInsurer, 4)
	if _, err := w.s.Put(compartment(nobody), insured.Entry{Record: record}); !errors.Is(err, cell.ErrNotFound) {
		t.Errorf("nobody's compartment: %v", err)
	}
	invalid := *record
	invalid.Payors = nil
	if _, err := w.s.Put(compartment(statutory), insured.Entry{Record: &invalid}); err == nil {
		t.Error("an invalid record was stored")
	}
	w.shut(statutory)
	if _, err := w.s.Put(compartment(statutory), insured.Entry{Record: record}); querschott.CodeOf(err) != querschott.CodeDoorHeld {
		t.Errorf("behind a shut door: %v", err)
	}
	if _, _, err := w.s.Get(statutory, anna); querschott.CodeOf(err) != querschott.CodeDoorHeld {
		t.Errorf("behind a shut door: %v", err)
	}
}

// A person's records at two IKs are two records. With the last one the data key goes.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.insure(statutory, anna)
	w.insure(merged, anna)
	w.insure(statutory, both)
	if err := w.s.Delete(statutory, anna); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.s.Get(statutory, anna); !errors.Is(err, cell.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if _, _, err := w.s.Get(merged, anna); err != nil {
		t.Errorf("at another IK: %v", err)
	}
	for _, err := range []error{w.s.Delete(statutory, anna), w.s.Delete(nobody, anna), w.s.Delete(private, anna), w.s.Block(statutory, anna, true)} {
		if !errors.Is(err, cell.ErrNotFound) {
			t.Errorf("not there: %v", err)
		}
	}
	if err := w.s.Delete(merged, anna); err != nil {
		t.Fatal(err)
	}
	if n := w.stores[statutory].Len(); n != 3 { // data key, record, term
		t.Errorf("%d keys are left of one person with one record", n)
	}
	if _, _, err := w.s.Get(statutory, both); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

// Blocking a card outlives imports of the record, and nothing else.
func TestBlock(t *testing.T) {
	w := newWorld(t)
	record := w.insure(statutory, anna)
	if err := w.s.Block(statutory, anna, true); err != nil {
		t.Fatal(err)
	}
	record.Patient.Name.Text += "x"
	p := w.load(statutory, Bundle{Data: bundle(t, record), Name: "one"})
	if p.Replaced != 1 {
		t.Fatalf("%+v", p)
	}
	if e, _, err := w.s.Get(statutory, anna); err != nil || !e.CardBlocked {
		t.Errorf("after an import: %v", err)
	}
	if _, err := w.s.Put(compartment(statutory), insured.Entry{Record: record}); err != nil {
		t.Fatal(err)
	}
	if e, _, err := w.s.Get(statutory, anna); err != nil || e.CardBlocked {
		t.Errorf("put with a good card: %v", err)
	}
}

func bundle(t testing.TB, r *vsd.Record) []byte {
	t.Helper()
	data, err := vsd.Render(r, vsd.V11, vsd.JSON, vsd.Envelope{ID: newID(spring), Created: vsd.InstantOf(spring)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) load(ik querschott.IK, list ...Bundle) *Progress {
	w.t.Helper()
	p, err := w.s.Import(w.t.Context(), compartment(ik), slices.Values(list), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// All published bundles are imported where they belong, refused elsewhere, and given back as they are.
func TestImportPublished(t *testing.T) {
	bundles := shared(t, "bundles")
	var tenants []Tenant
	var list []Bundle
	for name, data := range bundles {
		record, _, err := vsd.ParseBundle(data, vsd.JSON)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ik := record.Payors[0].IK
		if !slices.ContainsFunc(tenants, func(t Tenant) bool { return t.Insurer == ik }) {
			tenants = append(tenants, Tenant{Insurer: ik})
		}
		list = append(list, Bundle{Name: name, Data: data})
	}
	w := newWorld(t, func(c *Config) { c.Tenants = tenants })
	added, refused := 0, 0
	for _, tenant := range tenants {
		p := w.load(tenant.Insurer, list...)
		added, refused = added+p.Added, refused+p.Refused
		for _, r := range p.Refusals {
			if !errors.Is(r.Err, ErrInsurer) {
				t.Errorf("%s: %v", r.Name, r.Err)
			}
		}
		if again := w.load(tenant.Insurer, list...); again.Unchanged != p.Added || again.Refused != p.Refused {
			t.Errorf("a second time: %+v", again)
		}
	}
	if added != len(bundles) || refused != len(bundles)*(len(tenants)-1) {
		t.Errorf("%d added, %d refused of %d bundles for %d insurers", added, refused, len(bundles), len(tenants))
	}
	for name, data := range bundles {
		record, _, err := vsd.ParseBundle(data, vsd.JSON)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range formats {
			r := w.request(record.Payors[0].IK, record.Patient.Number)
			r.Query.Set("profileVersion", "1.1")
			r.Header.Set("Accept", format.MediaType())
			back, _, err := vsd.ParseBundle(w.ask(r).Body, format)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(back.Encode(), record.Encode()) {
				t.Errorf("%s: another record comes back as %s", name, format.MediaType())
			}
		}
	}
}

// What cannot be taken is refused with its name and reason and holds up nothing; no error contains the number of a person.
func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	good := invent(statutory, anna)
	newer := *good
	newer.Updated, newer.Patient.Name.Text = vsd.InstantOf(spring.AddDate(1, 0, 0)), "Anna Amsel"
	unreadable := errors.New("the line is too long")
	broken := bytes.Replace(bundle(t, good), []byte(anna.Reveal()), []byte("A12345678"), 1)
	p := w.load(statutory,
		Bundle{Name: "cut", Data: bundle(t, good)[:1000]},
		Bundle{Name: "foreign", Data: bundle(t, invent(private, anna))},
		Bundle{Name: "new", Data: bundle(t, good)},
		Bundle{Name: "newer", Data: bundle(t, &newer)},
		Bundle{Name: "older", Data: bundle(t, good)},
		Bundle{Name: "unread", Err: unreadable},
		Bundle{Name: "number", Data: broken},
		Bundle{Name: "empty"},
	)
	if p.Added != 1 || p.Replaced != 1 || p.Unchanged != 0 || p.Refused != 6 || p.Done() != 8 {
		t.Errorf("%+v", p)
	}
	var names []string
	for _, r := range p.Refusals {
		names = append(names, r.Name)
		if r.Err == nil || strings.Contains(r.Err.Error(), "A12345678") {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
	if want := []string{"cut", "foreign", "older", "unread", "number", "empty"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	if _, version, err := w.s.Get(statutory, anna); err != nil || version != 2 {
		t.Errorf("version %d, %v", version, err)
	}
}

// Of many refusals the first hundred are named.
func TestImportNamesSomeRefusals(t *testing.T) {
	w := newWorld(t)
	list := make([]Bundle, importBatch+maxRefusals/2)
	for i := range list {
		list[i].Name = fmt.Sprint(i)
	}
	p := w.load(statutory, list[:maxRefusals/2]...)
	if len(p.Refusals) != maxRefusals/2 || p.Refused != maxRefusals/2 {
		t.Errorf("%d of %d named", len(p.Refusals), p.Refused)
	}
	p = w.load(statutory, list...)
	if len(p.Refusals) != maxRefusals || p.Refused != len(list) || p.Refusals[99].Name != "99" {
		t.Errorf("%d of %d named", len(p.Refusals), p.Refused)
	}
}

// people are bundles of so many persons, made as they are asked for.
func people(t testing.TB, n int) iter.Seq[Bundle] {
	return func(yield func(Bundle) bool) {
		for i := range n {
			first := fmt.Sprintf("K%08d", i)
			person := querschott.KVNR(first + string(rune(querschott.KVNRCheckDigit(first))))
			if !yield(Bundle{Name: fmt.Sprint(i), Data: bundle(t, invent(statutory, person))}) {
				return
			}
		}
	}
}

// Many bundles go in with few commits, and progress counts only what is durable. What ended early is repeated.
func TestImportInBulk(t *testing.T) {
	w := newWorld(t)
	const n = 2*importBatch + 7
	var steps []int
	before := w.stores[statutory].Commits()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := w.s.Import(ctx, compartment(statutory), people(t, n), func(p *Progress) {
		steps = append(steps, p.Done())
		if len(steps) == 1 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || p.Done() != importBatch {
		t.Fatalf("%+v, %v", p, err)
	}
	w.stores[statutory].FailNext(celltest.Undone)
	if p, err = w.s.Import(t.Context(), compartment(statutory), people(t, n), nil); !errors.Is(err, celltest.ErrInjected) && p.Unchanged == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	w.restart()
	p, err = w.s.Import(t.Context(), compartment(statutory), people(t, n), func(p *Progress) { steps = append(steps, p.Done()) })
	if err != nil || p.Done() != n || p.Refused != 0 || p.Unchanged < importBatch {
		t.Fatalf("%+v, %v", p, err)
	}
	if want := []int{importBatch, importBatch, 2 * importBatch, n}; !slices.Equal(steps, want) {
		t.Errorf("progress: %v", steps)
	}
	if commits := w.stores[statutory].Commits() - before; commits > 5 {
		t.Errorf("%d commits", commits)
	}
	w.shut(statutory)
	if p, err := w.s.Import(t.Context(), compartment(statutory), people(t, 1), nil); querschott.CodeOf(err) != querschott.CodeDoorHeld || p.Done() != 0 {
		t.Errorf("behind a shut door: %+v, %v", p, err)
	}
}

// A record that nobody can read any more is mended by the next delivery.
func TestImportMendsDamage(t *testing.T) {
	w := newWorld(t)
	record := w.insure(statutory, anna)
	spoil := func(kind cell.Kind, change func(b *cell.Batch, k, v []byte)) {
		t.Helper()
		store := w.stores[statutory]
		var b cell.Batch
		prefix := cell.Key(cell.ServiceSpace(querschott.VSDM), kind)
		if err := store.Scan(prefix, cell.PrefixEnd(prefix), func(k, v []byte) error { change(&b, k, v); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(&b); err != nil || b.Len() == 0 {
			t.Fatal(b.Len(), err)
		}
	}
	for what, do := range map[string]func(){
		"a damaged record": func() {
			spoil(cell.KindRecord, func(b *cell.Batch, k, v []byte) { v = bytes.Clone(v); v[len(v)-1] ^= 1; b.Put(k, v) })
		},
		"a lost data key": func() {
			spoil(cell.KindDataKey, func(b *cell.Batch, k, _ []byte) { b.Delete(k) })
		},
	} {
		do()
		if a := w.ask(w.request(statutory, anna)); a.Status != 500 {
			t.Errorf("%s: status %d", what, a.Status)
		}
		w.restart()
		if p := w.load(statutory, Bundle{Name: "again", Data: bundle(t, record)}); p.Replaced != 1 {
			t.Errorf("%s: %+v", what, p)
		}
		if a := w.ask(w.request(statutory, anna)); a.Status != 200 {
			t.Errorf("%s, mended: status %d", what, a.Status)
		}
	}
}
