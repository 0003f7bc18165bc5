package door

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/querschott/querschott"
)

// Order is one move of one door.
type Order struct {
	Compartment querschott.Compartment `json:"compartment"`
	Epoch       uint64                 `json:"epoch"` // rises by one with every order of the compartment
	From        querschott.DoorState   `json:"from"`
	To          querschott.DoorState   `json:"to"`
	Inverse     querschott.DoorState   `json:"inverse"` // the state that undoes the move
	At          time.Time              `json:"at"`      // when it was drafted, UTC, microseconds
	Expires     time.Time              `json:"expires,omitzero"`
	Actor       querschott.Actor       `json:"actor"`              // who drafted it
	Approver    querschott.Actor       `json:"approver,omitempty"` // the second operator, known from the signature
	Incident    string                 `json:"incident,omitempty"` // reference, may be empty
	Reason      string                 `json:"reason"`
	Stages      Plan                   `json:"stages,omitempty"` // how an opening goes on; empty: at once
}

// Distrusted reports whether the order stands in for a file that could not be trusted: nobody has given it.
func (o Order) Distrusted() bool { return o.Actor == "" && o.Reason == reasonDistrusted }

const reasonDistrusted = "the order file could not be trusted"

// Limits of the free text in an order, in bytes.
const (
	MaxReason   = 500
	MaxIncident = 64
	maxActor    = 64
	maxNote     = 8 << 10
)

const (
	orderHeader = "querschott-door/v1"
	timeLayout  = "2006-01-02T15:04:05.000000Z"
)

// Text returns the text that operators sign. The approver is not part of it: the second signature names it.
func (o Order) Text() string {
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + " " + orDash(value) + "\n") }
	b.WriteString(orderHeader + "\n")
	line("compartment", o.Compartment.String())
	line("epoch", strconv.FormatUint(o.Epoch, 10))
	line("from", o.From.String())
	line("to", o.To.String())
	line("inverse", o.Inverse.String())
	line("at", formatTime(o.At))
	line("expires", formatTime(o.Expires))
	line("actor", string(o.Actor))
	line("incident", o.Incident)
	line("reason", o.Reason)
	if o.Stages != "" { // an order without stages has no line about them
		line("stages", string(o.Stages))
	}
	return b.String()
}

// ParseOrder reads what Text wrote. Exactly one text stands for one order: anything that Text would write differently is
// refused.
func ParseOrder(text string) (Order, error) {
	if len(text) > maxNote {
		return Order{}, querschott.RefuseAs(querschott.CodeInvalid, "order.long", "an order has at most %d bytes", maxNote)
	}
	o, err := parseOrder(text)
	if err != nil {
		return Order{}, &querschott.Error{Code: querschott.CodeInvalid, Public: "couldn't read the order", Err: err}
	}
	if o.Text() != text {
		return Order{}, querschott.RefuseAs(querschott.CodeInvalid, "order.form", "the order is not in canonical form")
	}
	return o, o.checkWords()
}

func parseOrder(text string) (o Order, err error) {
	fields, err := splitLines(text)
	if err != nil {
		return o, err
	}
	if o.Compartment, err = querschott.ParseCompartment(fields["compartment"]); err != nil {
		return o, err
	}
	if o.Epoch, err = strconv.ParseUint(fields["epoch"], 10, 64); err != nil || o.Epoch == 0 {
		return o, errors.New("an epoch is a whole number from 1 on")
	}
	for key, state := range map[string]*querschott.DoorState{"from": &o.From, "to": &o.To, "inverse": &o.Inverse} {
		if *state, err = querschott.ParseDoorState(fields[key]); err != nil {
			return o, err
		}
	}
	if o.At, err = parseTime(fields["at"]); err != nil {
		return o, err
	}
	if o.Expires, err = parseTime(fields["expires"]); err != nil {
		return o, err
	}
	o.Actor = querschott.Actor(fromDash(fields["actor"]))
	o.Incident, o.Reason = fromDash(fields["incident"]), fromDash(fields["reason"])
	o.Stages = Plan(fields["stages"])
	return o, nil
}

func splitLines(text string) (map[string]string, error) {
	lines := strings.Split(text, "\n")
	if lines[0] != orderHeader {
		return nil, fmt.Errorf("the first line is not %q", orderHeader)
	}
	return fieldsOf(lines), nil
}

func fieldsOf(lines []string) map[string]string {
	fields := map[string]string{}
	for _, l := range lines[1:] {
		if key, value, ok := strings.Cut(l, " "); ok {
			fields[key] = value
		}
	}
	return fields
}

// Part names one of the texts in an order: "actor", "reason" or "incident".
type Part string

// checkWords refuses an order without actor or reason, and words that could be taken for something else.
func (o Order) checkWords() error {
	if o.Actor == "" {
		return querschott.RefuseAs(querschott.CodeInvalid, "order.nobody", "an order needs an actor")
	}
	if strings.TrimSpace(o.Reason) == "" {
		return querschott.RefuseAs(querschott.CodeInvalid, "order.reason", "an order needs a reason")
	}
	for what, w := range map[Part]struct {
		text string
		max  int
	}{"actor": {string(o.Actor), maxActor}, "reason": {o.Reason, MaxReason}, "incident": {o.Incident, MaxIncident}} {
		if len(w.text) > w.max {
			return querschott.RefuseAs(querschott.CodeInvalid, "order.word-long", "the %s is longer than %d bytes", what, w.max)
		}
		if !plain(w.text) {
			return querschott.RefuseAs(querschott.CodeInvalid, "order.word-line", "the %s must be one line of printable text", what)
		}
	}
	_, _, err := o.Stages.parse()
	return err
}

// plain accepts printable characters and plain spaces: nothing that breaks a line, turns its direction or hides.
func plain(s string) bool {
	if !utf8.ValidString(s) || s != strings.TrimSpace(s) || s == "-" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func fromDash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

func parseTime(s string) (time.Time, error) {
	if s == "-" {
		return time.Time{}, nil
	}
	return time.Parse(timeLayout, s)
}
