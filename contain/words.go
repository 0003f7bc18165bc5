package contain

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Reason says why something is done, asked or refused: a code, which has words in each language, and what fills them in.
type Reason struct {
	Code  string  `json:"code,omitempty"`
	About string  `json:"about,omitempty"` // an insurer; what an error says, in English
	Of    *Reason `json:"of,omitempty"`    // what this reason goes back to
	Text  string  `json:"text"`            // all of it in English
}

// reasons are the words of the codes in German and in English.
var reasons = map[string]struct{ de, en string }{
	"shadow":        {"der Melder läuft zur Probe", "the detector is in shadow mode"},
	"look":          {"eine Person sieht es sich an", "it is for a person to look at"},
	"low":           {"die Schwere ist gering", "its severity is low"},
	"many":          {"zu viele sind zugleich verdächtig; eine Person muss hinsehen", "too many actors are suspicious at once; a person must look"},
	"group-first":   {"es betrifft eine ganze Gruppe und ist der Form nach kein Angriff: zuerst sieht eine Person hin", "a matter of a whole group and no attack by its form: a person looks first"},
	"group-two":     {"eine Gruppe sperren nur zwei Personen", "a group is held by two persons only"},
	"nobody":        {"niemand wurde erkannt, also ist kein Ausweis zu sperren", "nobody was identified, so there is no credential to hold"},
	"medium":        {"ein Verdacht mittlerer Schwere: zuerst sieht eine Person hin", "one suspicion of medium severity: a person looks first"},
	"held":          {"der Ausweis ist schon gesperrt", "the credential is held already"},
	"suspicion":     {"ein Verdacht sperrt einen Ausweis", "a suspicion holds a credential"},
	"fact":          {"eine Tatsache sperrt einen Ausweis", "a fact holds a credential"},
	"doors-persons": {"Türen bewegen nur Personen", "doors are moved by persons only"},
	"doors-budget":  {"Türen von mehr als drei Kassen in zehn Minuten: zwei Personen entscheiden", "doors of more than three insurers within ten minutes: two persons decide"},
	"door":          {"die Tür wird bewegt: Ausweise zu sperren genügt nicht", "the door is moved: holding credentials is not enough"},
	"door-at-once":  {"die Tür wird sofort bewegt: was ankommt, geht dadurch nicht verloren", "the door is moved at once: nothing that arrives is lost by it"},
	"insurer":       {"Türen zweier Dienste der Kasse in zehn Minuten: über alle entscheiden zwei Personen", "doors of two services of the insurer within ten minutes: two persons decide about all of them"},
	"operator":      {"es geht um jemanden, der die Plattform betreibt: zwei Personen entscheiden", "it is about an operator of the platform: two persons decide"},
	"two":           {"es braucht zwei Personen", "it takes two persons"},
	"off":           {"von selbst geschieht hier nichts (contain.automatic)", "nothing is done by itself here (contain.automatic)"},
	"doors-off":     {"Türen bewegen sich hier nicht von selbst (contain.automatic)", "doors are not moved by themselves here (contain.automatic)"},
	"not-held":      {"der Ausweis war vorher nicht gesperrt", "the credential was not held before"},
	"one-more":      {"noch eine Person muss zustimmen", "one more person must say yes"},
	"lapsed":        {"innerhalb einer Stunde hat niemand zugestimmt", "nobody said yes within 1h0m0s"},
	"names-nobody":  {"der Alarm nennt niemanden, den die Anordnung betreffen könnte", "the alarm names nobody whom the order could be about"},
	"unfit":         {"die Anordnung des Drehbuchs passt nicht zum Alarm (%s)", "the playbook's order does not fit the alarm (%s)"},
	"too-far":       {"so weit geht das Urteil nicht: %s", "the judge does not go so far: %s"},
	"unsigned":      {"Kasse %s hat das Drehbuch nicht unterschrieben", "insurer %s has not signed the playbook"},
	"failed":        {"sehen Sie in das Protokoll des Knotens und sperren oder schließen Sie von Hand (%s)", "%s; see the node's log, and hold or close by hand"},
}

// because is a reason with a code.
func because(code string) Reason { return full(Reason{Code: code}) }

// BecauseOfOperator is the reason to ask before something is done about those who run the platform.
func BecauseOfOperator() Reason { return because("operator") }

// full gives a reason its English words.
func full(r Reason) Reason {
	r.Text = r.In("en")
	return r
}

// String is the reason in English.
func (r Reason) String() string { return r.In("en") }

// In says the reason in a language, "de" or "en". One that was written without a code stays as it is.
func (r Reason) In(language string) string {
	w, ok := reasons[r.Code]
	if !ok {
		return r.Text
	}
	text, about := w.en, r.About
	if language == "de" {
		text = w.de
	}
	if r.Of != nil {
		about = r.Of.In(language)
	}
	if strings.Contains(text, "%s") {
		return fmt.Sprintf(text, about)
	}
	return text
}

// UnmarshalJSON reads a reason, also one of a run that was kept when reasons were plain texts.
func (r *Reason) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*r = Reason{}
		return json.Unmarshal(data, &r.Text)
	}
	type plain Reason
	return json.Unmarshal(data, (*plain)(r))
}
