package leak

import (
	"bytes"

	"github.com/querschott/querschott"
)

// firstRows is how many rows of a file are held back until it is known which columns hold persons' numbers.
const (
	firstRows  = 1000
	firstBytes = 4 << 20
)

// taking is one file on its way into a dump.
type taking struct {
	d       *Dump
	file    File
	names   map[string]int
	columns []column
	seen    map[uint32]struct{}

	decided bool
	held    []heldRow
	bytes   int
}

type column struct {
	field         Field
	shaped, valid uint64
}

type heldRow struct {
	columns []int
	cells   [][]byte
}

// persons reports whether a column holds persons' numbers: one in ten of whatever has their form has a right check digit.
func (c *column) persons() bool { return c.valid > 0 && 2*c.valid >= c.shaped }

func (t *taking) unreadable() { t.file.Unreadable++ }

func (t *taking) column(name string) int {
	if at, ok := t.names[name]; ok && name != "" {
		return at
	}
	if len(t.columns) == maxColumns {
		return -1
	}
	t.columns = append(t.columns, column{field: fieldOf(name)})
	if name != "" {
		t.names[name] = len(t.columns) - 1
	}
	return len(t.columns) - 1
}

// row counts the digits of a row, and takes it once it is clear what its columns are.
func (t *taking) row(columns []int, cells [][]byte) error {
	for i, c := range cells {
		if columns[i] < 0 {
			continue
		}
		if n, ok := shaped(c); ok {
			k := &t.columns[columns[i]]
			k.shaped++
			if valid(n) {
				k.valid++
			}
		}
	}
	if t.decided {
		return t.take(columns, cells)
	}
	r := heldRow{columns: append([]int(nil), columns...)}
	for _, c := range cells {
		r.cells = append(r.cells, bytes.Clone(c))
		t.bytes += len(c)
	}
	if t.held = append(t.held, r); len(t.held) < firstRows && t.bytes < firstBytes {
		return nil
	}
	return t.decide()
}

// decide takes what was held back.
func (t *taking) decide() error {
	t.decided = true
	for _, r := range t.held {
		if err := t.take(r.columns, r.cells); err != nil {
			return err
		}
	}
	t.held = nil
	return nil
}

// take takes all persons of a row. What else is in it dates the row if it has one person.
func (t *taking) take(columns []int, cells [][]byte) error {
	var who uint32
	var mark token
	some := 0
	for i, c := range cells {
		if columns[i] < 0 || !t.columns[columns[i]].persons() {
			continue
		}
		n, ok := shaped(c)
		switch {
		case !ok:
			continue
		case !valid(n):
			t.file.Wrong++
			continue
		}
		var err error
		if who, mark, err = t.person(n); err != nil {
			return err
		}
		some++
	}
	if some == 0 {
		t.unreadable()
		return nil
	}
	t.file.Rows++
	if some == 1 && len(t.d.history.values) > 0 {
		t.date(who, mark, columns, cells)
	}
	return nil
}

func (t *taking) person(n [10]byte) (uint32, token, error) {
	mark := t.d.token(n)
	who, known := t.d.persons[mark]
	if !known {
		if len(t.d.numbers) == MaxPersons {
			return 0, mark, errMany
		}
		who = uint32(len(t.d.numbers))
		t.d.persons[mark] = who
		t.d.numbers = append(t.d.numbers, querschott.KVNR(n[:]))
		t.file.Fresh++
	}
	t.seen[who] = struct{}{}
	return who, mark, nil
}
