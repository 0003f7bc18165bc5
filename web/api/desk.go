package api

import (
	"github.com/querschott/querschott"
	"github.com/querschott/querschott/service/desk"
)

// Desk returns the routes of the service for insurers' employees.
func Desk() []Route {
	tenant := []Input{{
		Name: "ik", In: "path", Required: true, Pattern: `^[0-9]{9}$`,
		About: Text{"IK der eigenen Krankenkasse.", "IK of one's own insurer."},
	}}
	route := func(path, id string, title, about Text, body, answer any) Route {
		return Route{
			Method: "POST", Path: path + "{ik}", ID: id, Group: "desk", Who: "staff", Title: title, About: about, Inputs: tenant, Body: body,
			Answers: []Answer{{Status: 200, About: Text{"Gefunden.", "Found."}, Mimes: []string{"application/json"}, Body: answer}},
			Refuses: []querschott.Code{
				querschott.CodeInvalid, querschott.CodeUnauthorized, querschott.CodeForbidden, querschott.CodeNotFound, querschott.CodeMethod,
				querschott.CodeTooLarge, querschott.CodeTooMany, querschott.CodeInternal, querschott.CodeDoorClosed, querschott.CodeDoorHeld,
				querschott.CodeNoRoom,
			},
		}
	}
	return []Route{
		route(desk.PathSearch, "searchPersons", Text{"Versicherte suchen", "Look insured persons up"}, Text{
			"Mit ganzem Nachnamen und Geburtsdatum; Muster gibt es nicht. Jede gezeigte Person zählt als erreicht. Der Grund ist Pflicht und wird verzeichnet.",
			"By the whole family name and the date of birth; there are no patterns. Everybody who is shown counts as reached. The reason is mandatory and recorded.",
		}, desk.SearchRequest{}, desk.Hits{}),
		route(desk.PathPerson, "readPerson", Text{"Stammdaten lesen", "Read master data"}, Text{
			"Die Nummer steht im Rumpf, nie in der Adresse. Gelesen wird, solange die Tür vsdm der Kasse Abfragen bedient.",
			"The number stands in the body, never in the address. It is read while the insurer's door vsdm serves reads.",
		}, desk.PersonRequest{}, desk.Person{}),
		route(desk.PathSickNotes, "listSickNotes", Text{"Krankschreibungen auflisten", "List sick notes"}, Text{
			"Solange die Tür eau der Kasse offen oder nur zum Lesen offen ist.", "While the insurer's door eau is open, or open for reading.",
		}, desk.PersonRequest{}, desk.SickNotes{}),
		route(desk.PathSickNote, "readSickNote", Text{"Eine Krankschreibung lesen", "Read one sick note"}, Text{
			"Mit dem Dokument, wie die Praxis es unterschrieben hat.", "With the document as the practice has signed it.",
		}, desk.NoteRequest{}, desk.Document{}),
	}
}
