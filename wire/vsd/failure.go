package vsd

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Code is a code of the telemetry service (TDS-Code), such as 79013.
type Code int

// The codes. The last four are addressed to the proxy before the service.
const (
	InvalidIK             Code = 79010
	InvalidKVNR           Code = 79011
	UnknownIK             Code = 79012
	UnknownKVNR           Code = 79013
	MissingRecordVersion  Code = 79014
	InvalidProfileVersion Code = 79015
	MissingProfileVersion Code = 79016
	InvalidHeader         Code = 79030
	UnsupportedMediaType  Code = 79031
	InvalidOperation      Code = 79040
	InternalError         Code = 79100
	MissingUserInfo       Code = 79206
	MissingPresence       Code = 79207
	InvalidUserInfo       Code = 79401
	InvalidPresence       Code = 79402
)

// Failure is one row of the error table.
type Failure struct {
	Code        Code
	Status      int      // of HTTP
	ErrorCode   string   // of VSDMErrorcodeCS; "" when it is addressed to the proxy
	Severity    string   // of the issue
	Issue       string   // type of the issue
	Display     string   // with placeholders such as [ik]
	User        string   // text for persons
	Diagnostics string   // text for developers
	Expression  []string // the inputs at fault, with placeholders
	Proxy       bool     // addressed to the proxy, with ZETA-Cause: Proxy; it has no VSDMOperationOutcome
	Requirement string   // such as A_28607
}

// ErrNoOutcome says that there is no VSDMOperationOutcome for a code.
var ErrNoOutcome = errors.New("there is no VSDMOperationOutcome for this code")

// Lookup returns the row of a code.
func Lookup(c Code) (Failure, bool) {
	i, ok := slices.BinarySearchFunc(failures, c, func(f Failure, c Code) int { return int(f.Code - c) })
	if !ok {
		return Failure{}, false
	}
	return failures[i], true
}

// Failures returns the whole table in the order of the codes.
func Failures() []Failure { return slices.Clone(failures) }

// Args fill the placeholders of the error texts. They may come from outside; each is shortened to [MaxArg] characters, and
// characters that no format can carry become question marks.
type Args struct {
	IK, KVNR, ProfileVersion, Header, MediaType, Operation string
}

// MaxArg bounds each of [Args], in characters.
const MaxArg = 64

func (a Args) fill(s string) string {
	if !strings.Contains(s, "[") {
		return s
	}
	return strings.NewReplacer( // in one pass: what is filled in is not looked at again
		"[ik]", harmless(a.IK), "[kvnr]", harmless(a.KVNR), "[profile_version]", harmless(a.ProfileVersion),
		"[header]", harmless(a.Header), "[media_type]", harmless(a.MediaType), "[http_operation]", harmless(a.Operation),
	).Replace(s)
}

func harmless(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > MaxArg {
			break
		}
		if r == utf8.RuneError || !clean(string(r), false) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// display is the text of the code in one version: the quotation marks around placeholders came after 1.0.0.
func (f Failure) display(v Version) string {
	if v == V10 {
		return strings.NewReplacer("'[", "[", "]'", "]").Replace(f.Display)
	}
	return f.Display
}

// Text returns what is wrong, in one sentence, with the placeholders filled.
func (f Failure) Text(v Version, a Args) string { return a.fill(f.display(v)) }

// Outcome writes the VSDMOperationOutcome of a code. id is its logical id, 1 to 64 letters, digits, hyphens and points. It
// fails with [ErrNoOutcome] or [ErrVersion].
func Outcome(c Code, a Args, id string, v Version, f Format) ([]byte, error) {
	row, ok := Lookup(c)
	if !ok || row.Proxy {
		return nil, ErrNoOutcome
	}
	if _, ok := ParseVersion(string(v)); !ok {
		return nil, ErrVersion
	}
	w := bundleWriter{out: out{b: make([]byte, 0, 2<<10), xml: f == XML}, version: v}
	w.outcome(row, a, id)
	return w.b, nil
}

func (w *bundleWriter) outcome(row Failure, a Args, id string) {
	w.root("OperationOutcome")
	w.text("id", id)
	w.meta("VSDMOperationOutcome", "")
	w.narrative(row.User)
	w.list("issue")
	w.item("issue")
	w.text("severity", row.Severity)
	w.text("code", row.Issue)
	w.open("details")
	w.list("coding")
	w.item("coding")
	w.text("system", gematik+"vsdm2/CodeSystem/VSDMErrorcodeCS")
	w.text("code", row.ErrorCode)
	w.text("display", row.display(w.version))
	w.close("coding")
	w.endList()
	w.text("text", row.Text(w.version, a))
	w.close("details")
	w.text("diagnostics", row.Diagnostics)
	w.expressions(row.Expression, a)
	w.close("issue")
	w.endList()
	w.close("OperationOutcome")
}

func (w *bundleWriter) narrative(user string) {
	const div = `<div xmlns="http://www.w3.org/1999/xhtml">`
	w.open("text")
	w.text("status", "generated")
	if w.xml {
		w.raw(div)
		w.escapeXML(user)
		w.raw("</div>")
	} else {
		w.text("div", div+user+"</div>") // the table's texts have nothing to escape, which a test watches
	}
	w.close("text")
}

func (w *bundleWriter) expressions(expressions []string, a Args) {
	if w.xml {
		for _, e := range expressions {
			w.text("expression", a.fill(e))
		}
		return
	}
	if len(expressions) == 0 {
		return
	}
	w.list("expression")
	for _, e := range expressions {
		w.comma()
		w.quote(a.fill(e))
	}
	w.endList()
}
