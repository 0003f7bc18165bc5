package desk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/vsd"
)

// MaxBody is the largest request, in bytes.
const MaxBody = 4 << 10

// Reason is the reference that explains an access: its kind and what it is called there, such as case:VG-2026-0815.
type Reason string

// reasonForm: case, call, document or job; the name has no blanks, so it is a reference and no story.
var reasonForm = regexp.MustCompile(`^(case|call|document|job):[A-Za-z0-9][A-Za-z0-9._/-]{2,63}$`)

// numberForm finds what could be the number of a person, wherever it stands.
var numberForm = regexp.MustCompile(`[A-Za-z][0-9]{9}`)

func (r Reason) check() error {
	switch {
	case r == "":
		return invalid("a reason is missing: the reference of a case, call, document or job, such as case:VG-2026-0815")
	case !reasonForm.MatchString(string(r)):
		return invalid("the reason must be written case:, call:, document: or job: and a reference of 3 to 64 letters, digits and . _ / -")
	case numberForm.MatchString(string(r)):
		return invalid("the reason looks like the number of a person; it must be a reference")
	}
	return nil
}

// SearchRequest looks persons up.
type SearchRequest struct {
	Reason Reason   `json:"reason" doc:"case:, call:, document: or job: and the reference there"`
	Family string   `json:"family" doc:"the whole family name; capital letters, accents and the spelling of umlauts do not matter"`
	Born   vsd.Date `json:"born" doc:"date of birth as it is recorded: YYYY-MM-DD, or YYYY-MM or YYYY of persons of whom no more is known"`
	Given  string   `json:"given,omitempty" doc:"one of the given names, to tell persons apart"`
}

func (q *SearchRequest) check() error {
	switch {
	case len(q.Family) > 200 || len(q.Given) > 200:
		return invalid("a name is too long")
	case insured.Fold(q.Family) == "" || strings.ContainsAny(q.Family+q.Given, "*%?_"):
		return invalid("the whole family name is needed; there are no patterns")
	case !q.Born.Valid():
		return invalid("the date of birth is needed, as 1990-12-31")
	}
	return q.Reason.check()
}

// PersonRequest is about one person.
type PersonRequest struct {
	Reason Reason          `json:"reason" doc:"case:, call:, document: or job: and the reference there"`
	Person querschott.KVNR `json:"person" doc:"number of the insured person (KVNR)"`
}

func (q *PersonRequest) check() error {
	number, err := querschott.ParseKVNR(q.Person.Reveal())
	if err != nil {
		return invalid("the number of the person is wrong: %v", err) // which says nothing of the number
	}
	q.Person = number
	return q.Reason.check()
}

// NoteRequest is about one sick note.
type NoteRequest struct {
	Reason Reason          `json:"reason" doc:"case:, call:, document: or job: and the reference there"`
	Person querschott.KVNR `json:"person" doc:"number of the insured person (KVNR)"`
	Note   string          `json:"note" doc:"id of the note, from the list"`
}

func (q *NoteRequest) check() error {
	if _, err := q.seq(); err != nil {
		return invalid("the note's id is the one from the list of the person's notes")
	}
	p := PersonRequest{q.Reason, q.Person}
	return p.check()
}

func (q *NoteRequest) seq() (uint64, error) {
	if len(q.Note) != noteDigits {
		return 0, errors.New("wrong length")
	}
	return strconv.ParseUint(q.Note, 16, 64)
}

// noteDigits is the length of a note's id.
const noteDigits = 16

// query is a request that can say what is wrong with it.
type query[T any] interface {
	*T
	check() error
}

// read reads a request from its body, which is the only place of everything that it says.
func read[T any, Q query[T]](r *service.Request) (Q, error) {
	switch kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case r.Method != http.MethodPost:
		return nil, querschott.Refuse(querschott.CodeMethod, "only POST is answered here")
	case r.Path != "" || len(r.Query) > 0:
		return nil, invalid("what is asked for belongs into the body, never into the address")
	case err != nil || kind != "application/json":
		return nil, invalid("the request must be application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return nil, err
	}
	return parse[T, Q](body)
}

func parse[T any, Q query[T]](body []byte) (Q, error) {
	if len(body) > MaxBody {
		return nil, querschott.Refuse(querschott.CodeTooLarge, "the request is larger than %d bytes", MaxBody)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	q := Q(new(T))
	err := dec.Decode(q)
	if _, end := dec.Token(); err != nil || !errors.Is(end, io.EOF) {
		return nil, invalid("the request cannot be read; its fields are described at /api") // the decoder's words may hold a value
	}
	return q, q.check()
}

func invalid(format string, args ...any) error {
	return querschott.Refuse(querschott.CodeInvalid, format, args...)
}
