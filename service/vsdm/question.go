package vsdm

import (
	"net/http"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/vsd"
)

// formats are the ones of answers; the first is taken by who accepts anything.
var (
	formats    = []vsd.Format{vsd.JSON, vsd.XML}
	mediaTypes = []string{vsd.JSON.MediaType(), vsd.XML.MediaType()}
)

// maxActor is the longest Telematik-ID, in octets.
const maxActor = 128

// question is what a request asks for, as far as it could be read.
type question struct {
	format  vsd.Format
	version vsd.Version
	known   tags // what the caller has already
	ik      querschott.IK
	person  querschott.KVNR // "" if the pattern is wrong
	chamber *chamber        // nil if the IK is not ours
}

// fault is an error of the standard with what its text says.
type fault struct {
	code vsd.Code
	args vsd.Args
}

// read reads everything that an error may have to be answered with, whether or not there is one.
func (s *Service) read(r *service.Request) *question {
	q := &question{version: s.cfg.Versions[0]}
	if accept, _, err := joined(r.Header, "Accept"); err == nil {
		if i, err := negotiate(accept, mediaTypes); err == nil && i > 0 {
			q.format = formats[i]
		}
	}
	if asked := r.Query["profileVersion"]; len(asked) == 1 {
		q.version, _ = s.version(asked[0])
	}
	p := r.Presence
	if p == nil {
		return q
	}
	if ik, ok := s.parseIK(p.Insurer); ok {
		q.ik = ik
		// What the gate says of the insurer and what the proof says must agree: nothing is found by only one of them.
		if ch := s.chambers[r.Compartment]; ch != nil && ch.iks[ik] != "" {
			q.chamber = ch
		}
	}
	if person, ok := s.parseKVNR(p.Patient); ok {
		q.person = person
	}
	return q
}

// fromProxy returns the first error of what the gate gave, nil if there is none.
func fromProxy(r *service.Request) *fault {
	switch {
	case r.Method != http.MethodGet: // A_26753-01
		return &fault{vsd.InvalidOperation, vsd.Args{Operation: r.Method}}
	case r.Caller.Actor == "": // A_28614
		return &fault{code: vsd.MissingUserInfo}
	case r.Presence == nil: // A_28615
		return &fault{code: vsd.MissingPresence}
	case !wellFormedCaller(&r.Caller): // A_28616
		return &fault{code: vsd.InvalidUserInfo}
	case !wellFormedPresence(r.Presence, r.Caller.Actor): // A_28617
		return &fault{code: vsd.InvalidPresence}
	}
	return nil
}

// wellFormedCaller demands less than the schema of ZETA-User-Info: newer access tokens may lack the profession and the name.
func wellFormedCaller(c *querschott.Caller) bool {
	return printable(string(c.Actor)) && len(c.Actor) <= maxActor && (c.Profession == "" || isOID(c.Profession))
}

// wellFormedPresence demands every claim of a PoPP token. The patterns of KVNR and IK have errors of their own, and a
// profession is not verified: the token of one kind of institution may carry the role of a person.
func wellFormedPresence(p *querschott.Presence, actor querschott.Actor) bool {
	return p.Version != "" && p.Issuer != "" && p.Method != "" && p.Profession != "" && p.Patient != "" && p.Insurer != "" &&
		p.Actor == actor && p.Issued.Unix() > 0 && p.Proved.Unix() > 0
}

func isOID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for arc := range strings.SplitSeq(s, ".") {
		if arc == "" || strings.Trim(arc, "0123456789") != "" {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// fromClient returns the first error of what the caller gave, nil if there is none, and completes the question.
func (s *Service) fromClient(r *service.Request, q *question) *fault {
	accept, _, err := joined(r.Header, "Accept")
	chosen := -1
	if err == nil {
		chosen, err = negotiate(accept, mediaTypes)
	}
	if err != nil { // A_28609
		return &fault{vsd.InvalidHeader, vsd.Args{Header: "Accept"}}
	}
	match, present, err := joined(r.Header, "If-None-Match")
	present = present && strings.Trim(match, " \t") != ""
	if present && err == nil {
		q.known, err = parseTags(match)
	}
	asked := r.Query["profileVersion"]
	switch {
	case err != nil: // A_28608
		return &fault{vsd.InvalidHeader, vsd.Args{Header: "If-None-Match"}}
	case chosen < 0: // A_28610
		return &fault{vsd.UnsupportedMediaType, vsd.Args{MediaType: accept}}
	case len(asked) == 0: // A_28047-01
		return &fault{code: vsd.MissingProfileVersion}
	}
	if _, ok := s.version(asked[0]); !ok || len(asked) > 1 { // A_28047-01
		return &fault{vsd.InvalidProfileVersion, vsd.Args{ProfileVersion: strings.Join(asked, ", ")}}
	}
	args := vsd.Args{IK: r.Presence.Insurer, KVNR: r.Presence.Patient}
	switch {
	case !present: // A_26755-01
		return &fault{code: vsd.MissingRecordVersion}
	case q.ik == "": // A_28604
		return &fault{vsd.InvalidIK, args}
	case q.person == "": // A_28606
		return &fault{vsd.InvalidKVNR, args}
	case q.chamber == nil: // A_28605
		return &fault{vsd.UnknownIK, args}
	}
	return nil
}

// parseIK checks the pattern, and the check digit only if it is told to: gematik's own test tokens have wrong ones.
func (s *Service) parseIK(text string) (querschott.IK, bool) {
	if s.cfg.StrictCheckDigits {
		ik, err := querschott.ParseIK(text)
		return ik, err == nil
	}
	return querschott.IK(text), len(text) == 9 && strings.Trim(text, "0123456789") == ""
}

// parseKVNR is parseIK for the number of a person.
func (s *Service) parseKVNR(text string) (querschott.KVNR, bool) {
	if s.cfg.StrictCheckDigits {
		k, err := querschott.ParseKVNR(text)
		return k, err == nil
	}
	return querschott.KVNR(text), len(text) == 10 && text[0] >= 'A' && text[0] <= 'Z' && strings.Trim(text[1:], "0123456789") == ""
}
