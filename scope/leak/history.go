package leak

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"time"

	"github.com/querschott/querschott"
)

// history is which values persons' fields had, and when: an insurer gives it. It keeps nothing in clear: of a person a token,
// of a value what it is compared by, both under keys of the run.
type history struct {
	newest   map[token]uint32 // the person's newest value: place in values plus one
	values   []value
	insurers []querschott.IK
	of       map[token]uint16 // the person's insurer: place in insurers
}

// value is one value of one field of one person, from a second up to another one.
type value struct {
	digest   uint64
	field    Field
	from, to int64
	older    uint32 // place in values plus one
}

const (
	maxValues = 100_000_000
	always    = math.MinInt64
	forever   = math.MaxInt64
)

// ReadHistory adds a history: CSV with a heading, or NDJSON, of the columns kvnr, field, value, valid_from, valid_to and, if
// it is known, insurer. Times are days (2021-04-30) or RFC 3339; none as valid_from is always, none as valid_to is still. The
// value holds from valid_from up to but not including valid_to. A line that is wrong ends the reading.
func (d *Dump) ReadHistory(r io.Reader) error {
	if len(d.files) > 0 {
		return errors.New("a history is read before the dump")
	}
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(1 << 12)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("couldn't read the history: %w", err)
	}
	f := formatOf(head)
	if f != formatCSV && f != formatJSON {
		return errors.New("a history is CSV with a heading, or NDJSON")
	}
	t := &telling{d: d}
	if err := rows(in, f, t); err != nil {
		return fmt.Errorf("the history, row %d: %w", t.rows+1, err)
	}
	if t.bad > 0 {
		return fmt.Errorf("the history has %d rows that cannot be read", t.bad)
	}
	return nil
}

// telling is one file on its way into a history.
type telling struct {
	d     *Dump
	names []string
	rows  uint64
	bad   uint64
}

func (t *telling) unreadable() { t.bad++ }

func (t *telling) column(name string) int {
	for i, n := range t.names {
		if n == name && name != "" {
			return i
		}
	}
	if len(t.names) == maxColumns {
		return -1
	}
	t.names = append(t.names, name)
	return len(t.names) - 1
}

func (t *telling) row(columns []int, cells [][]byte) error {
	var n [10]byte
	v := value{from: always, to: forever}
	insurer, ok := "", false
	var text []byte
	for i, c := range cells {
		if columns[i] < 0 {
			continue
		}
		var err error
		switch t.names[columns[i]] {
		case "kvnr":
			if n, ok = shaped(c); ok {
				ok = valid(n)
			}
		case "field":
			v.field = fieldOf(string(c[:min(len(c), maxName)]))
		case "value":
			text = c
		case "valid_from":
			v.from, err = second(c, always)
		case "valid_to":
			v.to, err = second(c, forever)
		case "insurer":
			insurer = string(c[:min(len(c), maxName)])
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !ok:
		return errors.New("it has no valid kvnr")
	case v.field == "" || v.field == Number:
		return errors.New("it has no field that is known: card_id, given, family, birth_date, password_hash, address_version")
	case v.from >= v.to:
		return errors.New("valid_from is not before valid_to")
	case len(t.d.history.values) == maxValues:
		return fmt.Errorf("there are more than %d values", maxValues)
	}
	t.rows++
	v.digest = digest(t.d.seed, v.field, text)
	return t.d.history.add(t.d.token(n), v, insurer)
}

func (h *history) add(mark token, v value, insurer string) error {
	v.older = h.newest[mark]
	h.values = append(h.values, v)
	h.newest[mark] = uint32(len(h.values))
	if insurer == "" {
		return nil
	}
	ik, err := querschott.ParseIK(insurer)
	if err != nil {
		return err
	}
	for i, known := range h.insurers {
		if known == ik {
			h.of[mark] = uint16(i)
			return nil
		}
	}
	if len(h.insurers) == math.MaxUint16 {
		return errors.New("there are too many insurers")
	}
	h.of[mark] = uint16(len(h.insurers))
	h.insurers = append(h.insurers, ik)
	return nil
}

func second(text []byte, none int64) (int64, error) {
	if len(text) == 0 || string(text) == "null" {
		return none, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, string(text[:min(len(text), 40)])); err == nil {
			return at.Unix(), nil
		}
	}
	return 0, errors.New("a time is a day as 2021-04-30, or RFC 3339")
}

// digest is what a value is compared by: capital letters and spaces around it make no difference.
func digest(seed maphash.Seed, f Field, text []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(string(f)) // a hash takes everything
	_ = h.WriteByte(0)
	for _, c := range bytes.Trim(text, " \t") {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		_ = h.WriteByte(c)
	}
	return h.Sum64()
}
