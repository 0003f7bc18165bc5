package kim

import (
	"strings"

	"github.com/querschott/querschott"
)

// Dienstkennung is the value of X-KIM-Dienstkennung, `<Anwendung>;<Vorgang>;V<version>`: what a mail is for, visible
// outside its encryption (gematik api-kim).
type Dienstkennung struct {
	Application string // Anwendung: "eAU", "Arztbrief", "eEB", "KIM-Mail", ...
	Operation   string // Vorgang: "Lieferung", "Storno-Arzt", "VHitG-Versand", ...
	Version     string // without the V; "" if missing
}

// The Dienstkennungen of mails that this platform writes (KBV Technische Anlage eAU 1.26).
var (
	EAUDelivery     = Dienstkennung{"eAU", "Lieferung", "1.2"}
	EAUCancellation = Dienstkennung{"eAU", "Storno-Arzt", "1.2"}
	EAUError        = Dienstkennung{"eAU", "Fehler-Kasse", "1.2"}
	FreeMail        = Dienstkennung{"KIM-Mail", "Default", "1.0"}
)

const maxDienstkennung = 256

// ParseDienstkennung reads a header value. It asks for an application and an operation and tolerates a missing or
// unusual version, blanks around the parts and further parts. When it returns false the value is of no known form.
func ParseDienstkennung(s string) (Dienstkennung, bool) {
	if len(s) > maxDienstkennung || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return Dienstkennung{}, false
	}
	parts := strings.Split(s, ";")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return Dienstkennung{}, false
	}
	d := Dienstkennung{Application: parts[0], Operation: parts[1]}
	if len(parts) > 2 {
		d.Version = strings.TrimPrefix(strings.TrimPrefix(parts[2], "V"), "v")
	}
	return d, true
}

// Service maps a Dienstkennung to the service whose compartment takes the mail: the application decides, upper and lower
// case do not matter. All that is not a sick note or a doctor's letter is [querschott.Mail] (K-07).
func (d Dienstkennung) Service() querschott.Service {
	switch {
	case strings.EqualFold(d.Application, "eAU"):
		return querschott.EAU
	case strings.EqualFold(d.Application, "Arztbrief"):
		return querschott.Letter
	default:
		return querschott.Mail
	}
}

// String writes the form of the header, "" for the zero value.
func (d Dienstkennung) String() string {
	if d == (Dienstkennung{}) {
		return ""
	}
	s := d.Application + ";" + d.Operation
	if d.Version != "" {
		s += ";V" + d.Version
	}
	return s
}
