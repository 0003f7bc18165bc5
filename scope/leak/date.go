package leak

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// dated is a time in which one record of a person was as it is in the dump: from a second up to another one.
type dated struct {
	who      uint32
	from, to int64
}

// date notes when a row was as it is: the intersection of the times of all its values. Values that never held together make
// a row of several copies: each counts for itself.
func (t *taking) date(who uint32, mark token, columns []int, cells [][]byte) {
	newest := t.d.history.newest[mark]
	if newest == 0 {
		return
	}
	all := dated{who, always, forever}
	var each []dated
	for i, c := range cells {
		if columns[i] < 0 {
			continue
		}
		f := t.columns[columns[i]].field
		if f == "" || f == Number {
			continue
		}
		one, known, found := t.d.held(newest, f, digest(t.d.seed, f, c))
		if !found {
			if known {
				t.d.strange++
			}
			continue
		}
		one.who = who
		each = append(each, one)
		all.from, all.to = max(all.from, one.from), min(all.to, one.to)
	}
	if all.from < all.to {
		each = append(each[:0], all)
	}
	for _, one := range each {
		if one.from != always || one.to != forever {
			t.d.dates[one] = struct{}{}
		}
	}
}

// held returns when a person's field had a value, from the first to the last time, and whether the history has the field.
func (d *Dump) held(newest uint32, f Field, digest uint64) (one dated, known, found bool) {
	one = dated{from: forever, to: always}
	for at := newest; at != 0; {
		v := &d.history.values[at-1]
		at = v.older
		if v.field != f {
			continue
		}
		known = true
		if v.digest == digest {
			found = true
			one.from, one.to = min(one.from, v.from), max(one.to, v.to)
		}
	}
	return one, known, found
}

// Window is when one copy was made: not before From, and before To. A zero time is unknown.
type Window struct {
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Records uint64    `json:"records"`      // of persons that can be of this copy
	Only    uint64    `json:"records_only"` // and of no other
}

// Holds reports whether something between two times can have been the copying.
func (w *Window) Holds(first, last time.Time) bool {
	return (w.To.IsZero() || first.Before(w.To)) && (w.From.IsZero() || !last.Before(w.From))
}

// Date returns the windows in which the dump's copies were made, the fewest that explain every record. One window is the
// intersection of all records' times, from the last beginning to the first end. If that is empty there are several copies; the
// first of the windows then ends with the first end of all records, the second with the first end of those that began at or
// behind it, and so on, and their beginnings are found in the same way from the other side. Whatever moments of as few copies
// explain all records, the i-th of them lies in the i-th window.
func (d *Dump) Date() []Window {
	list := slices.Collect(maps.Keys(d.dates))
	slices.SortFunc(list, func(a, b dated) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	var ends, begins []int64
	for _, r := range list {
		if len(ends) == 0 || r.from >= ends[len(ends)-1] {
			ends = append(ends, r.to)
		}
	}
	slices.SortFunc(list, func(a, b dated) int { return cmp.Or(cmp.Compare(b.from, a.from), cmp.Compare(b.to, a.to)) })
	for _, r := range list {
		if len(begins) == 0 || r.to <= begins[len(begins)-1] {
			begins = append(begins, r.from)
		}
	}
	slices.Reverse(begins)
	windows := make([]Window, len(ends))
	records := make([]int64, len(ends)+1)
	for _, r := range list {
		// The windows that it can be of are neighbours.
		first, _ := slices.BinarySearchFunc(ends, r.from, func(end, from int64) int { return cmp.Compare(end, from+1) })
		behind, _ := slices.BinarySearch(begins, r.to)
		records[first]++
		records[behind]--
		if behind == first+1 {
			windows[first].Only++
		}
	}
	var many int64
	for i := range windows {
		many += records[i]
		windows[i].Records = uint64(many)
		if begins[i] != always {
			windows[i].From = time.Unix(begins[i], 0).UTC()
		}
		if ends[i] != forever {
			windows[i].To = time.Unix(ends[i], 0).UTC()
		}
	}
	return windows
}
