package status

import (
	"fmt"
	"time"
	_ "time/tzdata" // the page may stand on a host without the zones

	"github.com/querschott/querschott"
)

// texts are the words of one language.
type texts struct {
	Lang, file                string // of the page
	OtherLang, OtherFile      string
	OtherName                 string
	Title                     string
	calm, unknown, none, last string
	fault                     func(n, of int) string // how many insurers have services that are restricted
	rest                      func(n int) string     // how many others have none
	stale, until              string                 // the time
	exercise, demo            string
	AsOf, Next                string
	Affected, Clear, Other    string
	NotAffected, Incident     string
	Since, ClearSince         string
	Machine, Signed           string
	services                  map[querschott.Service]string
	states                    map[querschott.DoorState]string
	causes                    map[Cause]string
	mailWaits, mailShut       string
	readsOnly, readsShut      string
	partlyOpen, partly        string // share
	clock                     func(time.Time) string
}

var german = &texts{
	Lang: "de", file: "index.html", OtherLang: "en", OtherFile: "en.html", OtherName: "English",
	Title: "Status der Dienste", calm: "Kein Dienst ist eingeschränkt.",
	fault: func(n, of int) string {
		switch {
		case of == 1:
			return "Dienste der Krankenkasse sind eingeschränkt."
		case n == of:
			return fmt.Sprintf("Dienste aller %d Krankenkassen sind eingeschränkt.", of)
		case n == 1:
			return fmt.Sprintf("Dienste einer von %d Krankenkassen sind eingeschränkt.", of)
		}
		return fmt.Sprintf("Dienste von %d der %d Krankenkassen sind eingeschränkt.", n, of)
	},
	rest: func(n int) string {
		if n == 1 {
			return "Die Dienste der anderen Krankenkasse sind nicht betroffen."
		}
		return fmt.Sprintf("Die Dienste der übrigen %d Krankenkassen sind nicht betroffen.", n)
	},
	unknown: "Es liegt noch kein geprüfter Stand vor.", none: "Sobald ein Stand mit gültiger Unterschrift da ist, steht er hier.",
	last: "Zuletzt gemeldet:", stale: "Dieser Stand ist veraltet. Die Plattform hat sich nicht wie angekündigt bis %s gemeldet; seitdem kann sich jeder Punkt geändert haben.",
	AsOf: "Stand", Next: "nächste Meldung bis", until: "Diese Datei gilt bis %s. Ist es später, ist sie veraltet.",
	exercise: "ÜBUNG – nichts davon ist echt", demo: "VORFÜHRUNG – nichts davon ist echt",
	Affected: "Eingeschränkt", Clear: "Entwarnung", Other: "Nicht betroffen", NotAffected: "Nicht betroffen:", Incident: "Vorfall",
	Since: "seit", ClearSince: "wieder für alle offen; geöffnet am", Machine: "Als Daten", Signed: "unterschrieben mit dem Schlüssel",
	services: map[querschott.Service]string{
		querschott.EAU: "Elektronische Krankschreibung (eAU)", querschott.Letter: "Elektronischer Arztbrief (KIM)", querschott.Mail: "Sonstige KIM-Nachrichten",
		querschott.VSDM: "Online-Prüfung der Gesundheitskarte (VSDM)", querschott.EPA: "Elektronische Patientenakte (ePA)",
		querschott.App: "App der Krankenkasse", querschott.Desk: "Auskunft bei der Krankenkasse",
	},
	states: map[querschott.DoorState]string{
		querschott.Open: "offen", querschott.Hold: "angehalten", querschott.ReadOnly: "nur lesen", querschott.Closed: "geschlossen",
	},
	causes:    map[Cause]string{Attack: "Angriff", Disturbance: "Störung", Maintenance: "Wartung", Precaution: "Vorsorge"},
	mailWaits: "Nachrichten werden angenommen und später zugestellt. Bitte nicht noch einmal senden.",
	mailShut:  "Nachrichten werden zurzeit nicht angenommen. Sie bleiben beim Absender; sein System versucht es von selbst wieder.",
	readsOnly: "Lesen ist möglich; Änderungen werden zurzeit verzögert oder nicht angenommen.", readsShut: "Antwortet zurzeit nicht. Bitte später wieder versuchen.",
	partlyOpen: "teils offen", partly: "Wird in Stufen geöffnet, bisher für %d %% der Anfragen.",
	clock: func(t time.Time) string { return t.In(berlin()).Format("02.01.2006, 15:04:05 Uhr") },
}

var english = &texts{
	Lang: "en", file: "en.html", OtherLang: "de", OtherFile: "index.html", OtherName: "Deutsch",
	Title: "Status of services", calm: "No service is restricted.",
	fault: func(n, of int) string {
		switch {
		case of == 1:
			return "Services of the health insurer are restricted."
		case n == of:
			return fmt.Sprintf("Services of all %d health insurers are restricted.", of)
		case n == 1:
			return fmt.Sprintf("Services of one of %d health insurers are restricted.", of)
		}
		return fmt.Sprintf("Services of %d of the %d health insurers are restricted.", n, of)
	},
	rest: func(n int) string {
		if n == 1 {
			return "The services of the other insurer are not affected."
		}
		return fmt.Sprintf("The services of the other %d insurers are not affected.", n)
	},
	unknown: "There is no verified state yet.", none: "As soon as there is one with a valid signature it is shown here.",
	last: "Last reported:", stale: "This state is out of date. The platform has not reported by %s as announced; every item may have changed since.",
	AsOf: "As of", Next: "next update by", until: "This file holds until %s. If it is later than that, it is out of date.",
	exercise: "EXERCISE – nothing of it is real", demo: "DEMONSTRATION – nothing of it is real",
	Affected: "Restricted", Clear: "All clear", Other: "Not affected", NotAffected: "Not affected:", Incident: "incident",
	Since: "since", ClearSince: "open to everybody again; opened on", Machine: "As data", Signed: "signed with the key",
	services: map[querschott.Service]string{
		querschott.EAU: "Electronic sick notes (eAU)", querschott.Letter: "Doctors' letters (KIM)", querschott.Mail: "Other KIM mail",
		querschott.VSDM: "Online check of the health card (VSDM)", querschott.EPA: "Electronic patient record (ePA)",
		querschott.App: "The insurer's app", querschott.Desk: "Information at the insurer",
	},
	states: map[querschott.DoorState]string{
		querschott.Open: "open", querschott.Hold: "on hold", querschott.ReadOnly: "read only", querschott.Closed: "closed",
	},
	causes:    map[Cause]string{Attack: "attack", Disturbance: "disturbance", Maintenance: "maintenance", Precaution: "precaution"},
	mailWaits: "Messages are taken in and delivered later. Please do not send them again.",
	mailShut:  "Messages are not taken in at present. They stay with the sender, whose system tries again by itself.",
	readsOnly: "Reading is possible; changes are delayed or not taken in at present.", readsShut: "Does not answer at present. Please try again later.",
	partlyOpen: "partly open", partly: "Is being opened in stages, so far for %d %% of requests.",
	clock: func(t time.Time) string { return t.In(berlin()).Format("2 January 2006, 15:04:05 MST") },
}

// berlin is the zone of the clocks on the readers' walls.
func berlin() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return time.UTC // the zones are built in
	}
	return zone
}

// effect says what a door means for those who want to use the service.
func (t *texts) effect(d *Door) string {
	switch mail := d.Service.ByMail(); {
	case d.Door == querschott.Open:
		return fmt.Sprintf(t.partly, d.Share)
	case mail && d.Door == querschott.Closed:
		return t.mailShut
	case mail:
		return t.mailWaits
	case d.Door == querschott.ReadOnly:
		return t.readsOnly
	}
	return t.readsShut
}
