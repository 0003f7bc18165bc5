package access

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/querschott/querschott"
)

// MaxLine is the longest line that is written or read, in bytes, its end included.
const MaxLine = 64 << 10

// LineError says that a line is no event. It never contains the line.
type LineError struct {
	Line int // from 1 on
	Err  error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d is no access event: %v", e.Line, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

var (
	errLong     = fmt.Errorf("it is longer than %d bytes", MaxLine)
	errJSON     = errors.New("it is not one JSON object with the known keys")
	errTorn     = errors.New("it ends in the middle")
	errIncoming = errors.New("it lacks gate, number, time or outcome")
	errService  = errors.New("its service is unknown")
	errRange    = errors.New("one of its numbers is out of range")
)

// Reader reads events from lines of JSON.
type Reader struct {
	r    *bufio.Reader
	line int
}

// NewReader reads events from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, MaxLine)} }

// Next returns the next event, io.EOF after the last. After a [LineError] it goes on with the line that follows; any other
// error is the source's and comes again.
func (r *Reader) Next() (querschott.Access, error) {
	r.line++
	line, err := r.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return querschott.Access{}, r.skip()
	case errors.Is(err, io.EOF) && len(line) == 0:
		return querschott.Access{}, io.EOF
	case err != nil && !errors.Is(err, io.EOF):
		return querschott.Access{}, fmt.Errorf("couldn't read access events: %w", err)
	}
	e, fault := parse(line)
	if fault == nil {
		return e, nil
	}
	if err != nil { // the last line, without its end
		fault = errTorn
	}
	return querschott.Access{}, &LineError{r.line, fault}
}

// skip leaves a line that is too long behind.
func (r *Reader) skip() error {
	for {
		_, err := r.r.ReadSlice('\n')
		if err == nil || errors.Is(err, io.EOF) {
			return &LineError{r.line, errLong}
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("couldn't read access events: %w", err)
		}
	}
}

func parse(line []byte) (querschott.Access, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var e querschott.Access
	if d.Decode(&e) != nil {
		return querschott.Access{}, errJSON // the decoder's own words may repeat what stands in the line
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return querschott.Access{}, errJSON
	}
	return e, check(&e)
}

// check refuses what no gate writes, so that a detector never has to.
func check(e *querschott.Access) error {
	if e.Seq == 0 || e.Gate == "" || e.Time.IsZero() || e.Outcome == "" {
		return errIncoming
	}
	if e.Service != "" && e.Service.Code() == 0 {
		return errService
	}
	if e.Bytes < 0 || e.Took < 0 || e.Status != 0 && (e.Status < 100 || e.Status > 999) {
		return errRange
	}
	return nil
}
