package leak_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott/scope/leak"
)

func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

var day0 = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// life is which values a field of a person had: the i-th from changes[i] on, in days since day0; the first one since always.
type life struct {
	changes []int
}

func (l life) at(day int) int {
	v := 0
	for _, c := range l.changes {
		if c <= day {
			v++
		}
	}
	return v
}

func (l life) history(b *strings.Builder, person int, field string) {
	for v := 0; v <= len(l.changes); v++ {
		from, to := "", ""
		if v > 0 {
			from = day0.AddDate(0, 0, l.changes[v-1]).Format(time.DateOnly)
		}
		if v < len(l.changes) {
			to = day0.AddDate(0, 0, l.changes[v]).Format(time.DateOnly)
		}
		fmt.Fprintf(b, "%s,%s,v%d,%s,%s,109500969\n", number(person), field, v, from, to)
	}
}

// Whatever copies a dump is of: as many windows come out as there are copies or fewer, and every moment of a copy lies in the
// window of its place if there are as many.
func TestWindowsHoldTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		copies := rapid.SliceOfNDistinct(rapid.IntRange(0, 1500), 1, 3, rapid.ID[int]).Draw(t, "copies")
		persons := rapid.IntRange(1, 60).Draw(t, "persons")
		var history, dump strings.Builder
		history.WriteString("kvnr,field,value,valid_from,valid_to,insurer\n")
		dump.WriteString("kvnr,card_id,name\n")
		for p := range persons {
			days := rapid.SliceOfNDistinct(rapid.IntRange(0, 1500), 0, 4, rapid.ID[int])
			card, name := life{sorted(days.Draw(t, "cards"))}, life{sorted(days.Draw(t, "names"))}
			card.history(&history, p, "card_id")
			name.history(&history, p, "name")
			of := copies[p%len(copies)]
			for range 1 + p%3 {
				fmt.Fprintf(&dump, "%s,V%d, v%d\n", number(p), card.at(of), name.at(of))
			}
		}
		r := dated(t, history.String(), dump.String())
		if len(r.Windows) > len(copies) || r.Strange != 0 || r.Insurers[0].History != persons {
			t.Fatalf("%d windows for %d copies: %+v", len(r.Windows), len(copies), r)
		}
		for i, w := range r.Windows {
			if !w.From.IsZero() && !w.To.IsZero() && !w.From.Before(w.To) || w.Records == 0 {
				t.Errorf("window %d is none: %+v", i, w)
			}
			if i > 0 && w.From.Before(r.Windows[i-1].To) {
				t.Errorf("windows %d and %d overlap", i-1, i)
			}
		}
		if len(r.Windows) == len(copies) {
			for i, day := range sorted(copies) {
				if at := day0.AddDate(0, 0, day); !r.Windows[i].Holds(at, at) {
					t.Errorf("copy of %v is not in %+v", at, r.Windows[i])
				}
			}
		}
	})
}

func sorted(list []int) []int { return slices.Sorted(slices.Values(list)) }

type failer interface {
	Fatal(args ...any)
}

func dated(t failer, history, dump string) *leak.Report {
	d := leak.NewDump()
	if err := d.ReadHistory(strings.NewReader(history)); err != nil {
		t.Fatal(err)
	}
	if err := d.Read(strings.NewReader(dump)); err != nil {
		t.Fatal(err)
	}
	return d.Report(nil)
}

// Two copies in one dump are two windows; a row whose values never held together does not end the dating.
func TestMixedVintages(t *testing.T) {
	var history, dump strings.Builder
	history.WriteString("kvnr,field,value,valid_from,valid_to\n")
	dump.WriteString("kvnr,card_id\n")
	for p := range 400 {
		l := life{[]int{p, p + 400}}
		l.history(&history, p, "card_id")
		fmt.Fprintf(&dump, "%s,v%d\n", number(p), l.at([]int{150, 700}[p%2]))
	}
	r := dated(t, history.String(), dump.String())
	if len(r.Windows) != 2 {
		t.Fatalf("%+v", r.Windows)
	}
	for i, day := range []int{150, 700} {
		at := day0.AddDate(0, 0, day)
		if w := r.Windows[i]; !w.Holds(at, at) || w.Only == 0 || w.To.Sub(w.From) > 10*24*time.Hour {
			t.Errorf("%+v", w)
		}
	}

	r = dated(t, "kvnr,field,value,valid_from,valid_to\n"+number(1)+",card_id,a,2021-01-01,2021-02-01\n"+number(1)+",name,b,2022-01-01,2022-02-01\n",
		"kvnr,card_id,name\n"+number(1)+",A,B\n"+number(1)+",other,b\n")
	if len(r.Windows) != 2 || r.Strange != 1 {
		t.Errorf("%+v", r)
	}
}

func TestHistoryRefuses(t *testing.T) {
	head := "kvnr,field,value,valid_from,valid_to,insurer\n"
	for name, text := range map[string]string{
		"wrong digit":    head + wrong(1) + ",name,a,2021-01-01,,\n",
		"unknown field":  head + number(1) + ",shoe,a,2021-01-01,,\n",
		"ends before":    head + number(1) + ",name,a,2021-01-02,2021-01-01,\n",
		"no time":        head + number(1) + ",name,a,yesterday,,\n",
		"no insurer":     head + number(1) + ",name,a,,,12\n",
		"a list":         number(1) + "\n",
		"broken objects": `{"kvnr":"` + number(1) + `"`,
	} {
		err := leak.NewDump().ReadHistory(strings.NewReader(text))
		if err == nil || strings.Contains(err.Error(), number(1)[1:9]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// April is what was in circulation in January 2023, in the size that was reported, with invented persons: 330,000 of them, a
// million rows, copied in April 2021.
func april(persons, rows int) (history, dump io.Reader) {
	lives := make([]life, persons)
	of := int(time.Date(2021, 4, 14, 0, 0, 0, 0, time.UTC).Sub(day0).Hours() / 24)
	rng := rand.New(rand.NewPCG(2021, 4))
	for i := range lives {
		lives[i] = life{sorted([]int{rng.IntN(1000), 1000 + rng.IntN(400)})}
	}
	lives[1], lives[2] = life{[]int{of - 9, 1390}}, life{[]int{5, of + 12}} // a card that was new, and one that was to be replaced
	for i := range lives {                                                  // nobody else's changes come nearer than the month
		if c := lives[i].changes[0]; i > 2 && c > of-13 && c < of+16 {
			lives[i].changes[0] = of - 20
		}
	}
	hr, hw := io.Pipe()
	go func() {
		var b strings.Builder
		b.WriteString("kvnr,field,value,valid_from,valid_to,insurer\n")
		for p, l := range lives {
			l.history(&b, p, "card_id")
			if b.Len() > 1<<16 || p == persons-1 {
				_, _ = io.WriteString(hw, b.String())
				b.Reset()
			}
		}
		_ = hw.Close()
	}()
	dr, dw := io.Pipe()
	go func() {
		var b strings.Builder
		b.WriteString("kvnr;given;family;birth_date;card_id;password_hash\n")
		for i := range rows {
			p := i % persons
			fmt.Fprintf(&b, "%s;Erika;Muster;1970-01-01;v%d;0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071\n", number(p), lives[p].at(of))
			if b.Len() > 1<<16 || i == rows-1 {
				_, _ = io.WriteString(dw, b.String())
				b.Reset()
			}
		}
		_ = dw.Close()
	}()
	return hr, dr
}

func TestApril2021(t *testing.T) {
	persons, rows := 330_000, 1_000_000
	if testing.Short() {
		persons, rows = 33_000, 100_000
	}
	history, dump := april(persons, rows)
	d := leak.NewDump()
	if err := d.ReadHistory(history); err != nil {
		t.Fatal(err)
	}
	if err := d.Read(dump); err != nil {
		t.Fatal(err)
	}
	r := d.Report(nil)
	if r.Rows != uint64(rows) || r.Persons != persons || len(r.Windows) != 1 || r.Insurers[0].Persons != persons {
		t.Fatalf("%d rows, %d persons, %+v, %+v", r.Rows, r.Persons, r.Windows, r.Insurers)
	}
	w := r.Windows[0]
	if w.From.Format("2006-01") != "2021-04" || w.To.Format("2006-01") != "2021-04" {
		t.Errorf("not April 2021: %v to %v", w.From, w.To)
	}
	t.Logf("%d rows, %d persons, between %s and %s", r.Rows, r.Persons, w.From.Format(time.DateOnly), w.To.Format(time.DateOnly))
}
