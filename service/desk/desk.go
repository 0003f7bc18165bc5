package desk

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/service"
)

// Bounds of answers.
const (
	MaxHits  = 10  // persons that a search shows
	maxNamed = 200 // persons of one name and date of birth that are looked through for a given name
	maxNotes = 200 // sick notes in a list
)

// Paths of the operations; the insurer's IK follows.
const (
	PathSearch    = "/desk/v1/search/"
	PathPerson    = "/desk/v1/person/"
	PathSickNotes = "/desk/v1/sick-notes/"
	PathSickNote  = "/desk/v1/sick-note/"
)

// The groups of fields that an answer reaches.
const (
	FieldsHit        = "search-hit"
	FieldsMasterData = "master-data"
	FieldsNoteList   = "sick-note-list"
	FieldsNote       = "sick-note"
)

// Config is what the service needs.
type Config struct {
	Cell func(querschott.IK) (cell.Store, error)
	// Vault returns the vault of a compartment while its door serves reads, the same one until it shuts, and a refusal
	// ([querschott.Error]) while it does not.
	Vault func(querschott.Compartment) (*cell.Vault, error)
	// Has reports whether an insurer has a service on this platform.
	Has func(querschott.Compartment) bool
}

// Service answers for all insurers. All methods may be called by many goroutines.
type Service struct{ cfg Config }

// New makes a service.
func New(cfg Config) (*Service, error) {
	if cfg.Cell == nil || cfg.Vault == nil || cfg.Has == nil {
		return nil, errors.New("the service lacks its cells, its vaults or its list of services")
	}
	return &Service{cfg}, nil
}

// Operation is one of the operations with the path that it is at.
type Operation struct {
	Name   string
	Path   string
	Data   ledger.DataClass
	Answer service.Func
}

// Operations returns what the service answers.
func (s *Service) Operations() []Operation {
	return []Operation{
		{"desk-search", PathSearch, ledger.DataInsured, s.Search},
		{"desk-person", PathPerson, ledger.DataInsured, s.Person},
		{"desk-sick-notes", PathSickNotes, ledger.DataSickNote, s.SickNotes},
		{"desk-sick-note", PathSickNote, ledger.DataSickNote, s.SickNote},
	}
}

// look runs fn with the vault of the insurer's other service. After its door has shut nothing is given, also if it was opened
// again.
func (s *Service) look(r *service.Request, from querschott.Service, fn func(*cell.Vault, querschott.Compartment) error) error {
	c := querschott.Compartment{Insurer: r.Compartment.Insurer, Service: from}
	if !s.cfg.Has(c) {
		return querschott.Refuse(querschott.CodeNotFound, "this insurer has no service %s here", from)
	}
	v, err := s.cfg.Vault(c)
	if err != nil {
		return &service.Shut{Compartment: c, Err: err}
	}
	err = fn(v, c)
	switch same, shut := s.cfg.Vault(c); {
	case shut != nil:
		return &service.Shut{Compartment: c, Err: shut}
	case same != v || errors.Is(err, seal.ErrForgotten):
		return &service.Shut{Compartment: c, Err: errMoved}
	}
	return err
}

var errMoved = querschott.Refuse(querschott.CodeDoorClosed, "the door has moved meanwhile; try again")

// Search answers with the persons of a family name and date of birth.
func (s *Service) Search(_ context.Context, r *service.Request) (*service.Answer, error) {
	q, err := read[SearchRequest](r)
	if err != nil {
		return nil, err
	}
	var list []*insured.Entry
	err = s.look(r, querschott.VSDM, func(v *cell.Vault, _ querschott.Compartment) (err error) {
		list, err = insured.Search(v, q.Family, q.Born, maxNamed)
		return err
	})
	if err != nil {
		return nil, err
	}
	hits := Hits{Hits: []Hit{}}
	var persons []querschott.KVNR
	for _, e := range list {
		if p := &e.Record.Patient; givenMatches(p.Name.Given, q.Given) {
			hits.Hits = append(hits.Hits, hitOf(p))
			if !slices.Contains(persons, p.Number) {
				persons = append(persons, p.Number)
			}
		}
	}
	if len(persons) > MaxHits {
		return nil, querschott.Refuse(querschott.CodeInvalid, "more than %d persons have this name and date of birth; say more, such as the given name", MaxHits)
	}
	f := facts(ledger.ActionSearch, ledger.DataInsured, q.Reason)
	if f.Persons, f.Records = persons, uint32(len(persons)); len(persons) > 0 {
		f.Outcome, f.Fields, f.Cause = ledger.OutcomeSuccess, FieldsHit, ledger.ReasonNone
	}
	return answer(hits, f)
}

// givenMatches reports whether one of a person's given names, or all of them together, are those that were asked for.
func givenMatches(given, asked string) bool {
	want := insured.Fold(asked)
	return want == "" || insured.Fold(given) == want || slices.ContainsFunc(strings.Fields(given), func(one string) bool {
		return insured.Fold(one) == want
	})
}

// Person answers with a person's master data.
func (s *Service) Person(_ context.Context, r *service.Request) (*service.Answer, error) {
	q, err := read[PersonRequest](r)
	if err != nil {
		return nil, err
	}
	var list []*insured.Entry
	err = s.look(r, querschott.VSDM, func(v *cell.Vault, _ querschott.Compartment) (err error) {
		list, err = insured.Lookup(v, q.Person)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := facts(ledger.ActionRead, ledger.DataInsured, q.Reason)
	f.Person = q.Person
	if len(list) == 0 {
		return unknown(r, f)
	}
	f.Outcome, f.Fields, f.Records, f.Cause = ledger.OutcomeSuccess, FieldsMasterData, 1, ledger.ReasonNone
	return answer(PersonOf(list), f)
}

// facts are those of a look that has found nobody.
func facts(a ledger.Action, d ledger.DataClass, reason Reason) service.Facts {
	return service.Facts{
		Action: a, Data: d, Purpose: ledger.PurposeOperations, Reason: string(reason), Outcome: ledger.OutcomeFailed, Cause: ledger.ReasonNotThere,
	}
}

// unknown is the answer about a person of whom nothing is there. It is one answer whoever else may know the person.
func unknown(r *service.Request, f service.Facts) (*service.Answer, error) {
	a, err := answer(problem{
		Type: "urn:querschott:problem:" + string(querschott.CodeNotFound), Title: http.StatusText(http.StatusNotFound), Status: http.StatusNotFound,
		Detail: "nothing is recorded of this person", Code: querschott.CodeNotFound,
		Instance: "urn:uuid:" + r.ID,
	}, f)
	if err == nil {
		a.Status = http.StatusNotFound
		a.Header.Set("Content-Type", "application/problem+json")
	}
	return a, err
}

// problem is RFC 9457 in the form of the gate, for the one refusal that must name the person whom it is about.
type problem struct {
	Type     string          `json:"type"`
	Title    string          `json:"title"`
	Status   int             `json:"status"`
	Detail   string          `json:"detail"`
	Instance string          `json:"instance"`
	Code     querschott.Code `json:"code"`
}

func answer(v any, f service.Facts) (*service.Answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &service.Answer{
		Status: http.StatusOK, Body: body, Facts: f,
		Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
	}, nil
}
