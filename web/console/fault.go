package console

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/incident"
)

// maxArgument is how many bytes of what somebody typed come back in the text of a refusal.
const maxArgument = 80

// Fault says in the page's language why something was refused and what to do. A refusal that has no words of its own has
// those of its code.
func (l *locale) Fault(err error) string {
	e, ok := errors.AsType[*querschott.Error](err)
	if !ok {
		return l.T("fault.internal")
	}
	if _, known := l.texts["fault."+e.Key]; e.Key != "" && known {
		args := make([]any, len(e.Args))
		for i, a := range e.Args {
			args[i] = l.argument(a)
		}
		return l.T("fault."+e.Key, args...)
	}
	switch e.Code {
	case querschott.CodeForbidden, querschott.CodeNotFound, querschott.CodeInvalid, querschott.CodeConflict:
		return l.T("error." + strings.ReplaceAll(string(e.Code), "-", ""))
	default:
		return l.T("fault.internal")
	}
}

// Technical is what only the log explains: the words of an error that is no refusal, in English.
func (l *locale) Technical(err error) string {
	if querschott.CodeOf(err) != querschott.CodeInternal {
		return ""
	}
	return err.Error()
}

// argument writes what fills a refusal's text in.
func (l *locale) argument(a any) string {
	switch a := a.(type) {
	case querschott.DoorState:
		return l.State(a)
	case querschott.Compartment:
		return string(a.Insurer) + " " + l.Service(a.Service)
	case door.Part:
		return l.T("part." + string(a))
	case incident.Kind:
		return l.Of("kind", a)
	case incident.Role:
		return l.Of("role", a)
	case incident.Status:
		return l.Of("status", a)
	case time.Time:
		return l.Stamp(a)
	case time.Duration:
		return l.Span(a)
	case int:
		return l.Num(a)
	default:
		s := fmt.Sprint(a)
		return strings.ToValidUTF8(s[:min(len(s), maxArgument)], "")
	}
}
