package leak

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// jsonReader finds the rows in JSON and NDJSON: an object with a person's number in it is one; the values of an object without
// a number belong to the object around it. Nothing is built: an object has a bound, and what is deeper than another is left
// out and counted.
type jsonReader struct {
	to    sink
	list  []int // the column of numbers that stand in lists, or in nothing at all
	stack []jsonFrame
	deep  int  // levels below the deepest that is looked at
	lost  bool // until the end of the line
	err   error
}

type jsonFrame struct {
	object bool
	key    int // column of the member whose value comes
	named  bool
	bytes  int
	found  bool // a row in it, or its own number
	full   bool // more than a row may have
	cols   []int
	cells  [][]byte
}

func (j *jsonReader) read(r *bufio.Reader) error {
	for j.err == nil {
		c, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			if len(j.stack) > 0 {
				j.to.unreadable()
			}
			return j.err
		}
		if err != nil {
			return err
		}
		switch {
		case j.lost:
			j.lost = c != '\n'
		case c == '"':
			text, whole, err := j.quoted(r)
			if err != nil {
				return err
			}
			j.value(text, whole, true)
		case c == '{' || c == '[':
			j.open(c == '{')
		case c == '}' || c == ']':
			j.close(c == '}')
		case c == ':':
			if f := j.top(); f != nil {
				f.named = true
			}
		case c == ',':
			if f := j.top(); f != nil {
				f.named = false
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0xef || c == 0xbb || c == 0xbf:
		default:
			if err := j.bare(r, c); err != nil {
				return err
			}
		}
	}
	return j.err
}

func (j *jsonReader) top() *jsonFrame {
	if len(j.stack) == 0 || j.deep > 0 {
		return nil
	}
	return &j.stack[len(j.stack)-1]
}

func (j *jsonReader) open(object bool) {
	if len(j.stack) == maxDepth || j.deep > 0 {
		if j.deep++; j.deep == 1 {
			j.to.unreadable()
		}
		return
	}
	key := -1
	if f := j.top(); f != nil {
		key = f.key
	}
	j.stack = append(j.stack, jsonFrame{object: object, key: key, named: !object})
}

func (j *jsonReader) close(object bool) {
	if j.deep > 0 {
		j.deep--
		return
	}
	f := j.top()
	if f == nil || f.object != object {
		j.fail()
		return
	}
	j.stack = j.stack[:len(j.stack)-1]
	above := j.top()
	switch {
	case f.full:
		j.to.unreadable()
	case f.object && anyShaped(f.cells):
		f.found = true
		j.err = j.to.row(f.cols, f.cells)
	case above != nil && above.object:
		for i, c := range f.cells {
			above.add(f.cols[i], c)
		}
	case f.object && !f.found:
		j.to.unreadable()
	}
	if above != nil {
		above.found = above.found || f.found
	}
}

// fail forgets what is open, and goes on behind the line.
func (j *jsonReader) fail() {
	j.to.unreadable()
	j.stack, j.deep, j.lost = j.stack[:0], 0, true
}

func (f *jsonFrame) add(column int, cell []byte) {
	if f.bytes += len(cell); f.bytes > maxRow || len(f.cells) == maxCells {
		// An array of many values is no row; an object with so many is none that can be read.
		f.full = f.full || f.object
		return
	}
	f.cols, f.cells = append(f.cols, column), append(f.cells, cell)
}

// value takes a scalar, or the name of a member.
func (j *jsonReader) value(text []byte, whole, quoted bool) {
	f := j.top()
	switch {
	case j.deep > 0: // counted when it began
	case f == nil && !whole:
		j.to.unreadable()
	case f != nil && f.object && !f.named:
		f.key = -1
		if quoted && whole {
			f.key = j.to.column(string(text[:min(len(text), maxName)]))
		}
	case !whole:
		f.full = true
	case (f == nil || !f.object) && anyShaped([][]byte{text}): // a list of numbers may be long
		if j.list == nil {
			j.list = []int{j.to.column("")}
		}
		if f != nil {
			f.found = true
		}
		j.err = j.to.row(j.list, [][]byte{text})
	case f == nil:
		j.to.unreadable()
	default:
		f.add(f.key, text)
	}
}

// bare reads a number or a word without quotes.
func (j *jsonReader) bare(r *bufio.Reader, c byte) error {
	text := []byte{c}
	for {
		next, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !alphanumeric(next) && next != '.' && next != '-' && next != '+' {
			if err := r.UnreadByte(); err != nil {
				return err
			}
			break
		}
		if len(text) < maxName {
			text = append(text, next)
		}
	}
	if !alphanumeric(c) && c != '-' {
		j.fail()
		return nil
	}
	j.value(text, true, false)
	return nil
}

// quoted reads a string behind its first quote. Of one that is longer than a row may be only the end is found.
func (j *jsonReader) quoted(r *bufio.Reader) (text []byte, whole bool, err error) {
	whole = true
	add := func(b ...byte) {
		if whole = whole && len(text)+len(b) <= maxRow; whole {
			text = append(text, b...)
		} else {
			text = nil
		}
	}
	for {
		c, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return text, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		switch c {
		case '"':
			return text, whole, nil
		case '\\':
			c, err := r.ReadByte()
			if errors.Is(err, io.EOF) {
				return text, false, nil
			}
			if err != nil {
				return nil, false, err
			}
			if c != 'u' {
				add(unescape(c))
				continue
			}
			hex, err := r.Peek(4)
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, false, err
			}
			if n, err := strconv.ParseUint(string(hex), 16, 32); err == nil && len(hex) == 4 {
				_, _ = r.Discard(4) // they were peeked at
				add(utf8.AppendRune(nil, rune(n))...)
			}
		default:
			add(c)
		}
	}
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	}
	return c
}
