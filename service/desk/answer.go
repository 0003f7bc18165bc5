package desk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/sicknote"
	"github.com/querschott/querschott/wire/vsd"
)

// Hits are the persons that a search has found.
type Hits struct {
	Hits []Hit `json:"hits"`
}

// Hit is enough of a person to tell it from others.
type Hit struct {
	Person string   `json:"person" doc:"number of the insured person (KVNR)"`
	Family string   `json:"family"`
	Given  string   `json:"given"`
	Born   vsd.Date `json:"born"`
	City   string   `json:"city,omitempty"`
}

// Person is a person's master data.
type Person struct {
	Person    string    `json:"person" doc:"number of the insured person (KVNR)"`
	Title     string    `json:"title,omitempty"`
	Family    string    `json:"family"`
	Given     string    `json:"given"`
	Born      vsd.Date  `json:"born"`
	Gender    string    `json:"gender,omitempty" doc:"M, W, D, X or unknown"`
	Addresses []Address `json:"addresses"`
	Covers    []Cover   `json:"covers" doc:"one for each IK of the insurer that has recorded the person"`
}

// Address is where a person lives or gets mail.
type Address struct {
	Kind       string   `json:"kind,omitempty" doc:"physical or postal"`
	Lines      []string `json:"lines"`
	PostalCode string   `json:"postal_code,omitempty"`
	City       string   `json:"city,omitempty"`
	Country    string   `json:"country,omitempty"`
}

// Cover is an insurance.
type Cover struct {
	Insurer     querschott.IK `json:"insurer" doc:"IK that the person is insured under"`
	Name        string        `json:"name"`
	Kind        string        `json:"kind,omitempty"`
	Status      string        `json:"status,omitempty" doc:"member, family, pensioner in the insurer's words"`
	From        vsd.Date      `json:"from,omitempty"`
	Until       vsd.Date      `json:"until,omitempty"`
	Exempt      vsd.Date      `json:"exempt_until,omitempty" doc:"until when free of co-payments"`
	CardBlocked bool          `json:"card_blocked"`
	Updated     vsd.Instant   `json:"updated"`
}

func hitOf(p *vsd.Patient) Hit {
	h := Hit{Person: p.Number.Reveal(), Family: p.Name.Family, Given: p.Name.Given, Born: p.Born}
	if len(p.Addresses) > 0 {
		h.City = p.Addresses[0].City
	}
	return h
}

// PersonOf takes who the person is from the entry that changed last.
func PersonOf(list []*insured.Entry) Person {
	last := list[0]
	for _, e := range list[1:] {
		if e.Record.Updated > last.Record.Updated {
			last = e
		}
	}
	p := &last.Record.Patient
	out := Person{
		Person: p.Number.Reveal(), Title: p.Name.Title, Family: p.Name.Family, Given: p.Name.Given, Born: p.Born,
		Gender: string(p.Gender), Addresses: []Address{}, Covers: []Cover{},
	}
	for _, a := range p.Addresses {
		to := Address{Kind: string(a.Kind), Lines: []string{}, PostalCode: a.PostalCode, City: a.City, Country: a.Country.Code}
		for _, l := range a.Lines {
			to.Lines = append(to.Lines, l.Text)
		}
		out.Addresses = append(out.Addresses, to)
	}
	for _, e := range list {
		out.Covers = append(out.Covers, coverOf(e))
	}
	return out
}

func coverOf(e *insured.Entry) Cover {
	c := &e.Record.Coverage
	out := Cover{
		Insurer: e.Record.Payors[0].IK, Name: e.Record.Payors[0].Name, Kind: c.Type, From: c.Period.Start, Until: c.Period.End,
		CardBlocked: e.CardBlocked, Updated: e.Record.Updated,
	}
	switch {
	case c.GKV != nil:
		out.Status, out.Exempt = c.GKV.Status.Display, c.GKV.Exempt
	case c.PKV != nil:
		out.Status = c.PKV.Status.Display
	}
	return out
}

// SickNotes are the documents about a person, oldest first.
type SickNotes struct {
	Notes []SickNote `json:"notes"`
	More  bool       `json:"more" doc:"there are later ones that are not listed"`
}

// SickNote is what was read of a sick note or of a cancellation.
type SickNote struct {
	Note       string    `json:"note" doc:"id of the note at this insurer"`
	Received   time.Time `json:"received"`
	Sender     string    `json:"sender" doc:"KIM address of the practice"`
	Result     string    `json:"result" doc:"stored, cancellation, duplicate, recreated or unreadable"`
	Cancelled  bool      `json:"cancelled"`
	Type       string    `json:"type,omitempty" doc:"ERST, FOLGE, ERST_END or FOLGE_END"`
	Issued     string    `json:"issued,omitempty"`
	From       string    `json:"from,omitempty"`
	Until      string    `json:"until,omitempty"`
	Determined string    `json:"determined,omitempty"`
	Diagnoses  int       `json:"diagnoses" doc:"how many"`
	Findings   []string  `json:"findings,omitempty" doc:"what is odd about the document"`
}

// Document is a sick note with the document that the practice has signed.
type Document struct {
	Note SickNote `json:"sick_note"`
	FHIR string   `json:"fhir,omitempty" doc:"the FHIR bundle (XML); missing if the message has none that can be read"`
}

func noteOf(n *sicknote.Note) SickNote {
	return SickNote{
		Note: fmt.Sprintf("%0*x", noteDigits, n.Seq), Received: n.Received.UTC(), Sender: n.Sender, Result: n.Result, Cancelled: n.Cancelled,
		Type: string(n.Facts.Type), Issued: string(n.Facts.Issued), From: string(n.Facts.From), Until: string(n.Facts.Until),
		Determined: string(n.Facts.Determined), Diagnoses: n.Facts.Diagnoses, Findings: n.Findings,
	}
}

// SickNotes answers with the list of a person's sick notes.
func (s *Service) SickNotes(_ context.Context, r *service.Request) (*service.Answer, error) {
	q, err := read[PersonRequest](r)
	if err != nil {
		return nil, err
	}
	out := SickNotes{Notes: []SickNote{}}
	err = s.look(r, querschott.EAU, func(v *cell.Vault, c querschott.Compartment) error {
		store, err := s.cfg.Cell(c.Insurer)
		if err != nil {
			return err
		}
		list, more, err := sicknote.List(v, store, c, q.Person, maxNotes)
		for i := range list {
			out.Notes = append(out.Notes, noteOf(&list[i]))
		}
		out.More = more
		return err
	})
	if err != nil {
		return nil, err
	}
	f := facts(ledger.ActionRead, ledger.DataSickNote, q.Reason)
	f.Person = q.Person
	if len(out.Notes) == 0 {
		return unknown(r, f)
	}
	f.Outcome, f.Fields, f.Records, f.Cause = ledger.OutcomeSuccess, FieldsNoteList, uint32(len(out.Notes)), ledger.ReasonNone
	return answer(out, f)
}

// SickNote answers with one sick note.
func (s *Service) SickNote(_ context.Context, r *service.Request) (*service.Answer, error) {
	q, err := read[NoteRequest](r)
	if err != nil {
		return nil, err
	}
	seq, err := q.seq()
	if err != nil {
		return nil, err
	}
	var out Document
	err = s.look(r, querschott.EAU, func(v *cell.Vault, c querschott.Compartment) error {
		store, err := s.cfg.Cell(c.Insurer)
		if err != nil {
			return err
		}
		n, octets, err := sicknote.Get(v, store, c, q.Person, seq)
		if err == nil {
			out = Document{noteOf(n), text(octets)}
		}
		return err
	})
	f := facts(ledger.ActionRead, ledger.DataSickNote, q.Reason)
	f.Person = q.Person
	switch {
	case errors.Is(err, sicknote.ErrNotFound):
		return unknown(r, f)
	case err != nil:
		return nil, err
	}
	f.Outcome, f.Fields, f.Records, f.Cause = ledger.OutcomeSuccess, FieldsNote, 1, ledger.ReasonNone
	f.Detail = []ledger.Field{{Name: "note", Value: q.Note}}
	return answer(out, f)
}

// text is the document as JSON can carry it: one in another character set than UTF-8 loses what it has in others.
func text(octets []byte) string {
	if utf8.Valid(octets) {
		return string(octets)
	}
	return strings.ToValidUTF8(string(octets), "?")
}
