package drill

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

const sendersystem = "Querschott-Uebung;1.0"

var letterDelivery = kim.Dienstkennung{Application: "Arztbrief", Operation: "VHitG-Versand", Version: "1.2"}

// kind is what a mail carries.
type kind uint8

const (
	noteMail kind = iota
	stornoMail
	letterMail
)

// recipe is all that a mail is made from: the same recipe always makes the same octets, so that mail that waits to be
// repeated costs no more room than its recipe.
type recipe struct {
	kind     kind
	again    uint8 // counts mails with the same document: each has its own Message-ID
	practice uint16
	person   uint32
	at       int64  // Unix nanoseconds
	number   uint64 // of the document, within its practice
	cancels  eau.UUID
}

// Mail is one complete client mail of a practice to an insurer.
type Mail struct {
	From, To    kim.Address
	MessageID   string // <left@right>
	Subject     string
	Compartment querschott.Compartment
	Document    eau.UUID // Bundle.identifier.value of the sick note or cancellation; of a letter the id in its file name
	Body        []byte   // header and content, CRLF lines, 7-bit

	recipe recipe
	about  Person
}

// About returns the person whom the mail is about.
func (m *Mail) About() Person { return m.about }

// Binding returns the name under which the platform's journal and cells know the mail.
func (m *Mail) Binding() intake.Binding {
	return intake.BindingOf(string(m.From), strings.Trim(m.MessageID, "<>"))
}

var errNotEnrolled = errors.New("the practice has no signing identity; enrol the world with a CA first")

// SickNote writes a sick note for a person of the practice's world.
func (p *Practice) SickNote(about Person, now time.Time) (Mail, error) {
	return p.write(p.recipe(noteMail, about, now), about)
}

// Storno writes the cancellation of a sick note that this practice wrote.
func (p *Practice) Storno(note Mail, now time.Time) (Mail, error) {
	if note.recipe.kind != noteMail || int(note.recipe.practice) != p.index {
		return Mail{}, errors.New("couldn't write a cancellation: a practice cancels its own sick notes only")
	}
	r := p.recipe(stornoMail, note.about, now)
	r.cancels = note.Document
	return p.write(r, note.about)
}

// Letter writes a doctor's letter to a person's insurer.
func (p *Practice) Letter(about Person, now time.Time) (Mail, error) {
	return p.write(p.recipe(letterMail, about, now), about)
}

func (p *Practice) recipe(k kind, about Person, now time.Time) recipe {
	return recipe{kind: k, practice: uint16(p.index), person: uint32(about.Index), at: now.UnixNano(), number: p.made.Add(1)}
}

// write makes the mail of a recipe.
func (p *Practice) write(r recipe, about Person) (Mail, error) {
	if p.signer == nil {
		return Mail{}, errNotEnrolled
	}
	at := time.Unix(0, r.at).UTC()
	id := p.document(r)
	delivery := kim.Delivery{
		From: p.KIM, To: about.Insurer.Address, Sendersystem: sendersystem, Date: at,
		MessageID: fmt.Sprintf("<%s.%d@%s>", id, r.again, p.KIM.Domain()),
	}
	service := querschott.EAU
	var content []byte
	switch r.kind {
	case noteMail:
		content = eau.Generate(p.certificate(id, about, at))
		name := kim.DocumentName{Test: true, Kind: kim.Certificate, ID: id.String()}
		delivery.Dienstkennung, delivery.Subject, delivery.FileName, delivery.Description = kim.EAUDelivery, name.String(), name.P7S(), "eAU"
	case stornoMail:
		content = eau.GenerateCancellation(eau.Withdrawal{Identifier: id, Cancels: r.cancels, Issued: at, Doctor: p.Doctor, Practice: p.Office})
		name := kim.DocumentName{Test: true, Kind: kim.Cancellation, ID: id.String()}
		delivery.Dienstkennung, delivery.Subject, delivery.FileName, delivery.Description = kim.EAUCancellation, name.String(), name.P7S(), "eAUStorno"
	case letterMail:
		service, content = querschott.Letter, p.letter(about, at)
		delivery.Dienstkennung, delivery.Subject, delivery.FileName, delivery.Description = letterDelivery,
			"TEST: erfundener Arztbrief "+id.String(), "TArztbrief_"+id.String()+".p7s", "eAB-PDF-signed"
	}
	signed, err := cms.Sign(content, p.signer.Certificate, steady{p.signer.Key}, at)
	if err != nil {
		return Mail{}, fmt.Errorf("couldn't sign a document of %s: %w", p.KIM, err)
	}
	delivery.P7S = signed
	body, err := kim.Compose(delivery)
	if err != nil {
		return Mail{}, err
	}
	return Mail{
		From: p.KIM, To: delivery.To, MessageID: delivery.MessageID, Subject: delivery.Subject,
		Compartment: querschott.Compartment{Insurer: about.Insurer.IK, Service: service},
		Document:    id, Body: body, recipe: r, about: about,
	}, nil
}

// document returns the identifier of a recipe's document. The time is part of it, so that a world that is used twice
// does not write the same documents twice.
func (p *Practice) document(r recipe) eau.UUID {
	return eau.NewUUID(p.space, fmt.Sprintf("%d/%d/%d", r.kind, r.at, r.number))
}

// mail makes the mail of a recipe of any practice.
func (w *World) mail(r recipe) (Mail, error) {
	return w.practices[r.practice].write(r, w.Person(int(r.person)))
}

// ailments are what invented persons have. None of them says anything that could embarrass a bystander.
var ailments = []struct {
	code, side, text string
}{
	{"J06.9", "", "Infekt der oberen Atemwege (erfunden)"},
	{"J20.9", "", "Bronchitis (erfunden)"},
	{"M54.4", "L", "Hexenschuss (erfunden)"},
	{"S93.40", "R", "Umgeknickt (erfunden)"},
	{"G43.9", "", "Migräne (erfunden)"},
	{"A09.9", "", "Magen-Darm-Infekt (erfunden)"},
	{"R51", "", ""},
}

// certificate fills in a sick note from what its identifier throws.
func (p *Practice) certificate(id eau.UUID, about Person, at time.Time) eau.Certificate {
	d := throw(0, string(id[:]), 0)
	ill := ailments[d.n(len(ailments))]
	c := eau.Certificate{
		Identifier: id, Issued: at, Type: eau.First,
		Determined: eau.DateOf(at), Until: eau.DateOf(at.AddDate(0, 0, 1+d.n(13))),
		Payor: about.Insurer.IK, PayorName: about.Insurer.Name, Person: about.Person, Doctor: p.Doctor, Practice: p.Office,
		Diagnoses: []eau.Diagnosis{{Code: ill.code, Certainty: "G", Side: ill.side}}, Diagnosis: ill.text,
		TestNumber: "T/999/0000/36/000",
	}
	switch x := d.n(100); {
	case x < 20:
		c.Type = eau.Following
	case x < 25:
		c.Type = eau.FollowingEnd
	case x < 30:
		c.Type = eau.FirstAndLast
	}
	if c.Type == eau.First || c.Type == eau.FirstAndLast {
		c.From = eau.DateOf(at.AddDate(0, 0, -d.n(3)))
	}
	return c
}

// steady signs without chance (RFC 6979): a mail that is repeated must be the same mail.
type steady struct{ *ecdsa.PrivateKey }

func (s steady) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}
