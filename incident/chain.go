package incident

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Bounds of a file.
const (
	maxLine    = 64 << 10 // bytes of one entry with its digest
	MaxEntries = 10_000   // of a case
	maxFile    = 64 << 20
)

// ErrDamaged says that a case's file is not what was written.
var ErrDamaged = errors.New("the file of the case is damaged")

// genesis is what the first entry is chained to, so that no entry fits into another case.
func genesis(ref string) Digest { return sha256.Sum256([]byte("querschott incident 1\n" + ref)) }

func chain(before Digest, entry []byte) Digest {
	h := sha256.New()
	h.Write(before[:])
	h.Write(entry)
	return Digest(h.Sum(nil))
}

// appendLine writes an entry as a line.
func appendLine(before Digest, e *Entry) (line []byte, d Digest, err error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, d, fmt.Errorf("couldn't write an entry: %w", err)
	}
	d = chain(before, data)
	line = append(hex.AppendEncode(nil, d[:]), ' ')
	line = append(append(line, data...), '\n')
	if len(line) > maxLine {
		return nil, d, refuse("entry.long", "an entry is too long")
	}
	return line, d, nil
}

// parse reads a case's file. good is how many bytes hold whole entries; what follows is a line that a crash has torn off. A
// file that is wrong anywhere else is [ErrDamaged].
func parse(ref string, data []byte) (c *Case, good int, err error) {
	c = newCase(ref)
	for good < len(data) {
		line, rest, whole := bytes.Cut(data[good:], []byte("\n"))
		e, d, err := parseLine(c.Head(), line)
		if err == nil {
			err = c.follows(&e)
		}
		if err != nil || !whole {
			if torn(line, rest) {
				return c, good, nil
			}
			return c, good, fmt.Errorf("%w at entry %d: %w", ErrDamaged, len(c.Entries)+1, errors.Join(err))
		}
		c.apply(e, d)
		good += len(line) + 1
	}
	return c, good, nil
}

// torn reports whether what could not be read can be the one write that a crash has interrupted: no whole line follows it.
func torn(line, rest []byte) bool {
	return len(line)+len(rest) < maxLine && len(bytes.Trim(rest, "\x00")) == 0
}

func parseLine(before Digest, line []byte) (e Entry, d Digest, err error) {
	text, data, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(text) != hex.EncodedLen(len(d)) || len(line) > maxLine {
		return e, d, errors.New("the line has no digest")
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return e, d, fmt.Errorf("couldn't read the digest: %w", err)
	}
	if chain(before, data) != d {
		return e, d, errors.New("the digest is that of another entry")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return e, d, fmt.Errorf("couldn't read the entry: %w", err)
	}
	return e, d, nil
}

// follows holds what was read to the rules for what is written.
func (c *Case) follows(e *Entry) error {
	switch {
	case e.N != len(c.Entries)+1 || e.N > MaxEntries:
		return fmt.Errorf("entry %d stands in place %d", e.N, len(c.Entries)+1)
	case e.N > 1 && e.Written.Before(c.Entries[e.N-2].Written):
		return errors.New("an entry is older than the one before it")
	}
	if err := e.check(); err != nil {
		return err
	}
	return c.admit(e)
}
