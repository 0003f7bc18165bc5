package watch

import (
	"time"

	"github.com/querschott/querschott"
)

// Kind says how sure an alarm is.
type Kind string

// The kinds.
const (
	Exact       Kind = "exact"       // a rule was broken; it states a fact
	Statistical Kind = "statistical" // something is unlikely; it states a suspicion
)

// Severity says who should look, and when.
type Severity string

// The severities.
const (
	Low      Severity = "low"      // the analyst's list
	Medium   Severity = "medium"   // the same day
	High     Severity = "high"     // at once
	Critical Severity = "critical" // at once, and ready to act
)

// Mode says whether an alarm may lead to anything.
type Mode string

// The modes.
const (
	Shadow Mode = "shadow" // recorded and shown only
	Live   Mode = "live"
)

// NotSeen is the figure that an alarm has when its counting is incomplete: how many events of the gates never came to the
// detectors since yesterday began. What is counted may be more than the alarm says.
const NotSeen = "not_seen"

// Number is one figure of an alarm's arithmetic.
type Number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Span is the events that an alarm rests on, in event time.
type Span struct {
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count int       `json:"count"`
}

// Alarm is what a detector has to say.
type Alarm struct {
	Time       time.Time               `json:"time"` // of the event that raised it
	Actor      querschott.Actor        `json:"actor"`
	Credential querschott.CredentialID `json:"credential,omitempty"`
	Insurer    querschott.IK           `json:"insurer,omitempty"` // the caller's own, else the one whose data it was
	Service    querschott.Service      `json:"service,omitempty"`
	Cause      string                  `json:"cause"` // which rule of the detector; part of the key of folding
	Detector   string                  `json:"detector"`
	Kind       Kind                    `json:"kind"`
	Severity   Severity                `json:"severity"`
	Mode       Mode                    `json:"mode"`
	Arithmetic []Number                `json:"arithmetic"`
	Events     Span                    `json:"events"`
	Folded     int                     `json:"folded"`      // alarms of the same actor, cause, insurer and day behind this one
	OverBudget bool                    `json:"over_budget"` // the insurer's weekly budget of statistical alarms was used up before it
	ATTACK     []string                `json:"attack,omitempty"`
	CAPEC      string                  `json:"capec,omitempty"`
}

// labels are the catalogue's names for what a detector finds: MITRE ATT&CK techniques and a CAPEC pattern. They are labels
// only; nothing is decided by them.
var labels = map[string]struct {
	attack []string
	capec  string
}{
	"D1":  {[]string{"T1078", "T1213", "T1530"}, "CAPEC-560"},
	"D2":  {[]string{"T1078.004", "T1213"}, "CAPEC-122"},
	"D3":  {[]string{"T1213"}, "CAPEC-116"},
	"D4":  {[]string{"T1190", "T1087"}, "CAPEC-122"},
	"D5":  {[]string{"T1190", "T1119"}, "CAPEC-210"},
	"D6":  {[]string{"T1110.004"}, "CAPEC-600"},
	"D7":  {[]string{"T1078", "T1550"}, "CAPEC-560"},
	"D8":  {[]string{"T1078", "T1199"}, "CAPEC-151"},
	"D9":  {[]string{"T1213"}, "CAPEC-122"},
	"D10": {[]string{"T1213", "T1030"}, "CAPEC-560"},
	"D11": {[]string{"T1485", "T1486"}, "CAPEC-176"},
	"D12": {[]string{"T1098", "T1562"}, "CAPEC-233"},
	"D13": {[]string{"T1499"}, "CAPEC-125"},
	"D14": {[]string{"T1550.001", "T1539"}, "CAPEC-60"},
	"D15": {[]string{"T1213", "T1030"}, "CAPEC-560"},
	"D16": {[]string{"T1199", "T1133"}, "CAPEC-560"},
	"D17": {[]string{"T1562"}, "CAPEC-571"},
	"R1":  {[]string{"T1036"}, "CAPEC-122"},
	"R2":  {[]string{"T1036"}, "CAPEC-122"},
	"R3":  {[]string{"T1213", "T1030"}, "CAPEC-560"},
	"R4":  {[]string{"T1036"}, "CAPEC-122"},
}

// alarm begins the alarm of an event. The caller adds the arithmetic and the span.
func (e *Event) alarm(detector, cause string, kind Kind, severity Severity, numbers ...Number) Alarm {
	a := Alarm{
		Time: e.At, Actor: querschott.Actor(e.Who), Credential: e.Credential, Insurer: e.home(), Service: e.Service, Cause: cause,
		Detector: detector, Kind: kind, Severity: severity, Arithmetic: numbers, Events: Span{e.At, e.At, 1},
	}
	return a
}

// since sets what the alarm rests on.
func (a Alarm) since(first int64, count int) Alarm {
	a.Events.First, a.Events.Count = time.Unix(first, 0).UTC(), count
	return a
}
