package sigma

import (
	"strconv"
	"time"

	"github.com/querschott/querschott/watch"
)

// field is what a rule can ask an event.
type field struct {
	text   func(*watch.Event) string
	number func(*watch.Event) int64 // nil: it is no number
	some   bool                     // a number whose zero means that there is none
	truth  bool                     // its text is "true" or "false"
	time   bool                     // of the event
}

func text(f func(*watch.Event) string) field { return field{text: f} }

func number(f func(*watch.Event) int64) field {
	return field{text: func(e *watch.Event) string { return strconv.FormatInt(f(e), 10) }, number: f}
}

// optional is a number whose zero means that the event has none.
func optional(f func(*watch.Event) int64) field {
	return field{number: f, some: true, text: func(e *watch.Event) string {
		if n := f(e); n != 0 {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}}
}

func truth(f func(*watch.Event) bool) field {
	return field{truth: true, text: func(e *watch.Event) string { return strconv.FormatBool(f(e)) }}
}

// results are the words of the field "result".
var results = map[watch.Result]string{
	watch.Reached: "reached", watch.NotFound: "not_found", watch.Denied: "denied", watch.ByDoor: "door", watch.Other: "other",
}

// fields are all that there are, by the names of the package comment's table.
var fields = map[string]field{
	"t":              {time: true, text: func(e *watch.Event) string { return e.Time.UTC().Format(time.RFC3339Nano) }},
	"seq":            number(func(e *watch.Event) int64 { return int64(e.Seq) }),
	"gate":           text(func(e *watch.Event) string { return e.Gate }),
	"service":        text(func(e *watch.Event) string { return string(e.Service) }),
	"subject_tenant": text(func(e *watch.Event) string { return string(e.Insurer) }),
	"tenant":         text(func(e *watch.Event) string { return string(e.Tenant) }),
	"actor":          text(func(e *watch.Event) string { return string(e.Actor) }),
	"credential":     text(func(e *watch.Event) string { return string(e.Credential) }),
	"actor_role":     text(func(e *watch.Event) string { return string(e.Role) }),
	"actor_kind":     text(func(e *watch.Event) string { return string(e.Role) }),
	"profession":     text(func(e *watch.Event) string { return e.Profession }),
	"purpose":        text(func(e *watch.Event) string { return e.Purpose }),
	"reason_ref":     text(func(e *watch.Event) string { return e.ReasonRef }),
	"action":         text(func(e *watch.Event) string { return e.Action }),
	"query_shape":    text(func(e *watch.Event) string { return e.Query }),
	"subject":        text(func(e *watch.Event) string { return e.Person }),
	"field_group":    text(func(e *watch.Event) string { return e.Fields }),
	"n_records":      number(func(e *watch.Event) int64 { return int64(e.Records) }),
	"bytes":          number(func(e *watch.Event) int64 { return e.Bytes }),
	"status":         optional(func(e *watch.Event) int64 { return int64(e.Status) }),
	"outcome":        text(func(e *watch.Event) string { return e.Outcome }),
	"cause":          text(func(e *watch.Event) string { return e.Cause }),
	"request_id":     text(func(e *watch.Event) string { return e.RequestID }),
	"door_epoch":     number(func(e *watch.Event) int64 { return int64(e.Epoch) }),
	"ip":             text(func(e *watch.Event) string { return e.Address }),
	"tls_binding":    text(func(e *watch.Event) string { return e.Binding }),
	"took_us":        number(func(e *watch.Event) int64 { return e.Took }),

	"who":       text(func(e *watch.Event) string { return e.Who }),
	"result":    text(func(e *watch.Event) string { return results[e.Result] }),
	"explained": truth(func(e *watch.Event) bool { return e.Explained }),
	"job":       truth(func(e *watch.Event) bool { return e.Job }),
	"late":      truth(func(e *watch.Event) bool { return e.Late }),
}

// searched are the fields of a keyword search, in a fixed order: those that hold words.
var searched = []string{
	"gate", "service", "subject_tenant", "tenant", "actor", "credential", "actor_role", "profession", "purpose", "reason_ref",
	"action", "query_shape", "subject", "field_group", "n_records", "bytes", "status", "outcome", "cause", "request_id", "ip",
	"tls_binding",
}

// parts are the modifiers that take a number out of a time. Time is German, as for all detectors.
var parts = map[string]func(time.Time) int{
	"minute": time.Time.Minute,
	"hour":   time.Time.Hour,
	"day":    time.Time.Day,
	"week":   func(t time.Time) int { _, w := t.ISOWeek(); return w },
	"month":  func(t time.Time) int { return int(t.Month()) },
	"year":   time.Time.Year,
}

// local returns the event's own time as if German time were UTC.
func local(e *watch.Event) time.Time {
	shift := int64(e.Day)*86400 + int64(e.Minute)*60 - e.Sec/60*60
	return e.Time.UTC().Add(time.Duration(shift) * time.Second)
}

// categories are the log sources of this product.
var categories = map[string]test{
	"login":                func(e *watch.Event) bool { return sortOf(e.Action) == "login" },
	"door":                 func(e *watch.Event) bool { return sortOf(e.Action) == "door" },
	"delivery":             func(e *watch.Event) bool { return sortOf(e.Action) == "delivery" },
	"health_record_access": func(e *watch.Event) bool { return sortOf(e.Action) == "" },
}

// sortOf tells actions that are no access to records from those that are.
func sortOf(action string) string {
	switch action {
	case "login", "unlock":
		return "login"
	case "door", "propose", "approve", "withdraw", "open", "close", "hold", "read-only":
		return "door"
	case "receive", "deliver", "send", "reject":
		return "delivery"
	case "start", "stop", "verify", "forget", "config", "key", "grant":
		return "platform"
	}
	return ""
}
