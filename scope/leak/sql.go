package leak

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// sqlReader finds the rows of INSERT statements. It knows only quotes, brackets and the words INSERT and VALUES.
type sqlReader struct {
	to sink

	state   sqlState
	depth   int
	table   []byte // what stands between INSERT and the bracket
	columns []int
	cells   [][]byte
	cell    []byte
	size    int // of the row
	word    []byte
}

type sqlState int

const (
	sqlElse   sqlState = iota // nothing to read
	sqlInsert                 // behind INSERT: a bracket holds the names
	sqlValues                 // behind VALUES: a bracket holds a row
)

func (q *sqlReader) read(r *bufio.Reader) error {
	for {
		c, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			if q.depth > 0 {
				q.to.unreadable()
			}
			return nil
		}
		if err == nil {
			err = q.take(r, c)
		}
		if err != nil {
			return err
		}
	}
}

func (q *sqlReader) take(r *bufio.Reader, c byte) error {
	if letter(c) {
		if len(q.word) < maxName {
			q.word = append(q.word, c)
		}
		q.add(c)
		return nil
	}
	if len(q.word) > 0 {
		q.keyword()
		q.word = q.word[:0]
	}
	switch c {
	case '\'', '"', '`':
		return q.quoted(r, c)
	case '-', '/', '#':
		return q.comment(r, c)
	case '(':
		if q.depth++; q.depth == 1 {
			q.cells, q.cell, q.size = q.cells[:0], nil, 0
		}
	case ')':
		if q.depth = max(q.depth-1, 0); q.depth == 0 {
			q.next()
			return q.end()
		}
	case ',':
		if q.depth == 1 {
			q.next()
		}
	case ';':
		if q.depth > 0 {
			q.to.unreadable()
		}
		q.state, q.depth = sqlElse, 0
	case ' ', '\t', '\r', '\n':
	default:
		q.add(c)
	}
	return nil
}

func letter(c byte) bool { return alphanumeric(c) || c == '_' || c == '.' || c >= 0x80 }

func (q *sqlReader) keyword() {
	if q.depth > 0 {
		return
	}
	switch {
	case bytes.EqualFold(q.word, []byte("INSERT")):
		q.state, q.table, q.columns = sqlInsert, q.table[:0], nil
	case bytes.EqualFold(q.word, []byte("VALUES")) && q.state == sqlInsert:
		q.state = sqlValues
	}
}

func (q *sqlReader) add(b ...byte) {
	if q.depth == 0 || q.state == sqlElse {
		if q.state == sqlInsert && len(q.table)+len(b) <= maxName {
			q.table = append(q.table, b...)
		}
		return
	}
	if q.size += len(b); q.size <= maxRow {
		q.cell = append(q.cell, b...)
	}
}

func (q *sqlReader) next() {
	if len(q.cells) <= maxCells {
		q.cells = append(q.cells, q.cell)
	}
	q.cell = nil
}

// end takes what a bracket has held.
func (q *sqlReader) end() error {
	switch {
	case q.state == sqlElse:
		return nil
	case q.size > maxRow || len(q.cells) > maxCells:
		q.to.unreadable()
		return nil
	case q.state == sqlInsert:
		for _, name := range q.cells {
			q.columns = append(q.columns, q.to.column(string(name[:min(len(name), maxName)])))
		}
		return nil
	}
	for i := len(q.columns); i < len(q.cells); i++ { // without a name: the same in the table's next statement
		q.columns = append(q.columns, q.to.column(fmt.Sprintf("%s %d", q.table, i)))
	}
	return q.to.row(q.columns[:len(q.cells)], q.cells)
}

// quoted reads up to the closing quote; a doubled quote or one behind a backslash closes nothing.
func (q *sqlReader) quoted(r *bufio.Reader, quote byte) error {
	for {
		c, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c == '\\' {
			if c, err = r.ReadByte(); err != nil {
				return ignoreEnd(err)
			}
			q.add(unescape(c))
			continue
		}
		if c == quote {
			if next, err := r.Peek(1); err != nil || next[0] != quote {
				return ignoreEnd(err)
			}
			_, _ = r.ReadByte() // it was peeked at
		}
		q.add(c)
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// comment leaves out what stands behind -- or #, or between /* and */.
func (q *sqlReader) comment(r *bufio.Reader, c byte) error {
	next, err := r.Peek(1)
	if err != nil {
		return ignoreEnd(err)
	}
	switch {
	case c == '#' && q.depth == 0 || c == '-' && next[0] == '-':
		for c != '\n' && err == nil {
			c, err = r.ReadByte()
		}
	case c == '/' && next[0] == '*':
		_, _ = r.ReadByte() // it was peeked at
		var last byte
		for err == nil && (last != '*' || c != '/') {
			last = c
			c, err = r.ReadByte()
		}
	default:
		q.add(c)
	}
	return ignoreEnd(err)
}
