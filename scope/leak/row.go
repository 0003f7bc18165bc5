package leak

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

// Bounds of what is read at once.
const (
	maxRow   = 1 << 20 // bytes
	maxCells = 512
	maxDepth = 32 // of nested JSON
	maxName  = 200
)

// sink takes what a reader of a format finds in one file. Cells are only valid during a call.
type sink interface {
	column(name string) int // the column of a name; a new one if there is none and there is room, else -1
	row(columns []int, cells [][]byte) error
	unreadable()
}

// format is how a file is written.
type format string

const (
	formatCSV  format = "csv"
	formatJSON format = "json"
	formatSQL  format = "sql"
	formatText format = "text"
)

// formatOf guesses from a file's beginning.
func formatOf(head []byte) format {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case len(head) == 0:
		return formatText
	case head[0] == '{' || head[0] == '[':
		return formatJSON
	case bytes.Contains(bytes.ToUpper(head), []byte("INSERT INTO")):
		return formatSQL
	}
	first, rest, more := bytes.Cut(head, []byte("\n"))
	second, _, _ := bytes.Cut(rest, []byte("\n"))
	d := delimiterOf(first)
	if d == 0 {
		return formatText
	}
	cells := splitCSV(nil, bytes.TrimRight(bytes.Clone(first), "\r"), d)
	named := slices.ContainsFunc(cells, func(c []byte) bool { return fieldOf(string(c)) != "" })
	alike := more && bytes.Count(first, []byte{d}) == bytes.Count(second, []byte{d})
	if named || alike || len(second) == 0 && anyShaped(cells) {
		return formatCSV
	}
	return formatText
}

// rows reads a file in its format.
func rows(r *bufio.Reader, f format, to sink) error {
	switch f {
	case formatJSON:
		return (&jsonReader{to: to}).read(r)
	case formatSQL:
		return (&sqlReader{to: to}).read(r)
	case formatCSV:
		return readCSV(r, to)
	case formatText:
		return readText(r, to)
	}
	return errors.New("there is no such format")
}

// line returns the next line without its end. Of a longer one than a row may be it returns nothing and whole false.
func line(r *bufio.Reader, buf []byte) (text []byte, whole bool, err error) {
	buf, whole = buf[:0], true
	for {
		part, err := r.ReadSlice('\n')
		if whole = whole && len(buf)+len(part) <= maxRow; whole {
			buf = append(buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && (len(part) > 0 || len(buf) > 0 || !whole) {
			err = nil
		}
		if !whole {
			buf = buf[:0]
		}
		return bytes.TrimRight(buf, "\r\n"), whole, err
	}
}

// delimiterOf returns what stands most often between the cells of a line, 0 if nothing does.
func delimiterOf(text []byte) byte {
	best, most := byte(0), 0
	for _, d := range []byte{';', ',', '\t', '|'} {
		if n := bytes.Count(text, []byte{d}); n > most {
			best, most = d, n
		}
	}
	return best
}

// lines calls fn with every line that is not empty, and counts those that are too long.
func lines(r *bufio.Reader, to sink, fn func(text []byte) error) error {
	var buf []byte
	for {
		text, whole, err := line(r, buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !whole:
			to.unreadable()
		case len(bytes.TrimSpace(text)) > 0:
			if err := fn(text); err != nil {
				return err
			}
			buf = text[:0]
		}
	}
}

// readCSV takes every line as a row: a quote that is not closed on its line ends there. The first line is a heading if there
// is nothing in it that looks like a person's number.
func readCSV(r *bufio.Reader, to sink) error {
	var cells [][]byte
	var columns []int
	var delimiter byte
	return lines(r, to, func(text []byte) error {
		heading := delimiter == 0
		if heading {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
			delimiter = delimiterOf(text)
		}
		if cells = splitCSV(cells[:0], text, delimiter); cells == nil {
			to.unreadable()
			return nil
		}
		if heading && !anyShaped(cells) {
			for _, c := range cells {
				columns = append(columns, to.column(string(c[:min(len(c), maxName)])))
			}
			return nil
		}
		for len(columns) < len(cells) {
			columns = append(columns, to.column(""))
		}
		return to.row(columns[:len(cells)], cells)
	})
}

func anyShaped(cells [][]byte) bool {
	for _, c := range cells {
		if _, ok := shaped(c); ok {
			return true
		}
	}
	return false
}

// splitCSV appends the cells of a line, nil if there are too many. It unquotes in place.
func splitCSV(cells [][]byte, text []byte, delimiter byte) [][]byte {
	for at := 0; at <= len(text); at++ {
		if len(cells) == maxCells {
			return nil
		}
		if at < len(text) && text[at] == '"' {
			w := at
			start := at
			for at++; at < len(text); at++ {
				if text[at] == '"' {
					if at+1 == len(text) || text[at+1] != '"' {
						break
					}
					at++
				}
				text[w] = text[at]
				w++
			}
			cells = append(cells, text[start:w])
			for at < len(text) && text[at] != delimiter {
				at++
			}
			continue
		}
		end := bytes.IndexByte(text[at:], delimiter)
		if end < 0 {
			return append(cells, text[at:])
		}
		cells = append(cells, text[at:at+end])
		at += end
	}
	return cells
}

// readText finds numbers in text that has no form: a list that somebody has typed, a log. A line is a row for each of them.
func readText(r *bufio.Reader, to sink) error {
	column := []int{to.column("")}
	return lines(r, to, func(text []byte) error {
		found := false
		for word := range bytes.FieldsFuncSeq(text, func(c rune) bool { return c < 0x80 && !alphanumeric(byte(c)) }) {
			if _, ok := shaped(word); ok {
				found = true
				if err := to.row(column, [][]byte{word}); err != nil {
					return err
				}
			}
		}
		if !found {
			to.unreadable()
		}
		return nil
	})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
