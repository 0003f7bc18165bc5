package incident

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// word is a text in German and in English.
type word struct{ de, en string }

// words are what kinds, roles, grades and detectors are called. The keys are the values' own texts with what they are.
var words = map[string]word{
	"kind.fact": {"bekannt", "known"}, "kind.assumption": {"angenommen", "assumed"}, "kind.question": {"unbekannt", "unknown"},
	"kind.decision": {"Entscheidung", "decision"}, "kind.evidence": {"Beleg", "evidence"}, "kind.role": {"Rolle", "role"},
	"kind.handover": {"Übergabe", "handover"}, "kind.acknowledgement": {"Übernahme", "taken over"}, "kind.action": {"Handlung", "action"},
	"kind.correction": {"Berichtigung", "correction"}, "kind.contained": {"eingedämmt", "contained"}, "kind.request": {"Antrag", "request"},
	"kind.approval": {"Zustimmung", "approval"},
	"role.lead":     {"Leitung", "lead"}, "role.recorder": {"Protokoll", "recorder"},
	"role.data-protection-officer": {"Datenschutz", "data protection officer"}, "role.communications": {"Kommunikation", "communications"},
	"status.open": {"offen", "open"}, "status.contained": {"eingedämmt", "contained"}, "status.closed": {"abgeschlossen", "closed"},
	"wish.close": {"Vorfall abschließen", "close the case"}, "wish.unmask": {"Namen aufdecken", "reveal names"},
	"grade.E0": {"nicht untersucht", "not examined"}, "grade.E1": {"kein Anhaltspunkt", "no indication"},
	"grade.E2": {"durch das Zugriffsbuch ausgeschlossen", "excluded by the ledger"}, "grade.E3": {"möglich", "possible"},
	"grade.E4": {"erreicht", "reached"}, "grade.E5": {"hat das Haus verlassen", "left the house"},
	"severity.low": {"gering", "low"}, "severity.medium": {"mittel", "medium"}, "severity.high": {"hoch", "high"},
	"severity.critical": {"kritisch", "critical"}, "sure.exact": {"Regel verletzt", "rule broken"}, "sure.statistical": {"unwahrscheinlich", "unlikely"},
	"detector.D1": {"Massenabruf", "bulk read"}, "detector.D2": {"Stapelauftrag überschritten", "batch job exceeded"},
	"detector.D3": {"Köder berührt", "bait touched"}, "detector.D4": {"Fremde Kasse", "foreign insurer"},
	"detector.D5": {"Fremde Person in der App", "foreign person in the app"}, "detector.D6": {"Fremde Kennwörter probiert", "stolen passwords tried"},
	"detector.D7": {"Neues Gerät im neuen Netz", "new device in a new network"}, "detector.D8": {"Praxis weicht ab", "practice deviates"},
	"detector.D9": {"Neugier", "curiosity"}, "detector.D10": {"Langsamer Abfluss", "slow theft"}, "detector.D11": {"Massenhafte Änderung", "mass change"},
	"detector.D12": {"Verwaltung auffällig", "administration"}, "detector.D13": {"Überlast", "flood"}, "detector.D14": {"Token zweimal benutzt", "token replayed"},
	"detector.D15": {"Viele kleine Abrufe", "many small reads"}, "detector.D16": {"Fernwartung ohne Auftrag", "maintenance without ticket"},
	"detector.D17": {"Stille", "silence"}, "detector.R1": {"Ein Grund, viele Personen", "one reason, many persons"},
	"detector.R2": {"Viele Gründe", "many reasons"}, "detector.R3": {"Viele Personen", "many persons"}, "detector.R4": {"Abgeschriebene Gründe", "copied reasons"},
	"held.actor": {"Akteur", "actor"}, "held.credential": {"Ausweis", "credential"}, "held.network": {"Netz", "network"}, "held.key": {"Schlüssel", "key"},
	"held.session": {"Sitzung", "session"}, "held.subject": {"Inhaber", "subject"}, "held.client": {"Programm", "client"}, "held.token": {"Token", "token"},
	"held.product": {"Produkt", "product"}, "held.version": {"Version", "version"}, "held.issuer": {"Aussteller", "issuer"},
	"held.presence-issuer": {"PoPP-Aussteller", "PoPP issuer"}, "held.popp-before": {"PoPP vor", "PoPP before"},
	"held.proof-older-than": {"PoPP älter als", "PoPP older than"}, "held.insurer": {"Kasse", "insurer"},

	// causes of alarms; others, such as the names of rules, stand for themselves
	"cause.cap-minute":       {"mehr Personen in einer Minute als erlaubt", "more persons in a minute than allowed"},
	"cause.cap-quarter-hour": {"mehr Personen in einer Viertelstunde als erlaubt", "more persons in a quarter of an hour than allowed"},
	"cause.cap-day":          {"mehr Personen an einem Tag als erlaubt", "more persons in a day than allowed"},
	"cause.cap-gate":         {"die Pforte hat es verweigert", "the gate refused it"}, "cause.job-persons": {"mehr Personen als angemeldet", "more persons than registered"},
	"cause.job-time":    {"außerhalb der angemeldeten Zeit", "outside the registered time"},
	"cause.job-insurer": {"nicht die angemeldete Kasse", "not the registered insurer"},
	"cause.job-actor":   {"nicht angemeldet für diesen Auftrag", "not registered for this job"}, "cause.canary": {"ein Köder", "one canary"},
	"cause.canary-second": {"ein zweiter Köder", "a second canary"}, "cause.foreign-insurer": {"Versuche bei einer anderen Kasse", "attempts at another insurer"},
	"cause.foreign-insurer-reached": {"Daten einer anderen Kasse erreicht", "data of another insurer reached"},
	"cause.not-found-run":           {"Nummern durchprobiert", "numbers tried"}, "cause.foreign-person": {"Versuche bei anderen Personen", "attempts at other persons"},
	"cause.many-persons": {"viele Personen eines Kontos", "many persons of one account"}, "cause.network": {"Fehlschläge aus einem Netz", "failures from one network"},
	"cause.failing-logins":      {"viele gescheiterte Anmeldungen", "many failed logins"},
	"cause.many-accounts":       {"viele Konten aus einem Netz", "many accounts from one network"},
	"cause.success-in-storm":    {"eine Anmeldung gelang dabei", "a login succeeded meanwhile"},
	"cause.new-network-and-key": {"neues Netz und neuer Schlüssel", "new network and new key"},
	"cause.practice-volume":     {"mehr Karten als üblich", "more cards than usual"}, "cause.practice-night": {"Karten in der Nacht", "cards at night"},
	"cause.comes-back": {"kommt ohne Grund wieder", "comes back without a reason"}, "cause.unexplained-sum": {"Summe ohne Grund", "sum without a reason"},
	"cause.unexplained-day": {"ein Tag ohne Grund", "one day without a reason"}, "cause.unexplained-far": {"weit über dem Üblichen", "far above the usual"},
	"cause.unexplained-month": {"vier Wochen ohne Grund", "four weeks without a reason"}, "cause.group-sum": {"Summe einer Gruppe", "sum of a group"},
	"cause.group-unlinked": {"Arbeit einer Gruppe ohne Verknüpfung", "work of a group that is not linked"}, "cause.mass-delete": {"massenhaft gelöscht", "mass deletion"},
	"cause.write-burst": {"massenhaft geschrieben", "burst of writes"}, "cause.flood": {"Flut von Anfragen", "flood of requests"},
	"cause.two-keys": {"zwei Schlüssel für einen Ausweis", "two keys for one credential"}, "cause.no-ticket": {"ohne Auftrag", "without a ticket"},
	"cause.one-reason-many-persons": {"ein Grund für viele", "one reason for many"}, "cause.copied-reasons": {"Gründe anderer", "others' reasons"},
	"cause.gap": {"Ereignisse fehlen", "events are missing"}, "cause.gate-silent": {"eine Pforte schweigt", "a gate is silent"},
	"cause.blind": {"ein Melder findet nichts", "a detector finds nothing"}, "cause.pace": {"ungewöhnliches Tempo", "unusual pace"},

	"cause.reasons-sum": {"Summe verschiedener Gründe", "sum of different reasons"}, "cause.reasons-day": {"viele Gründe an einem Tag", "many reasons in one day"},
	"cause.persons-sum": {"Summe der Personen", "sum of persons"}, "cause.persons-day": {"viele Personen an einem Tag", "many persons in one day"},
	"cause.group-day": {"ein Tag einer Gruppe", "one day of a group"},

	"title": {"Vorfall", "Incident"}, "opened": {"eröffnet", "opened"}, "made": {"Stand", "as of"}, "version": {"Einträge", "entries"},
	"happened": {"geschehen", "happened"}, "learned": {"erfahren", "learned"}, "written": {"geschrieben", "written"}, "who": {"wer", "who"},
	"what": {"was", "what"}, "why": {"warum", "why"}, "roles": {"Rollen", "roles"}, "nobody": {"niemand", "nobody"}, "nothing": {"nichts", "nothing"},
	"point": {",", "."}, "time": {"02.01.2006 15:04:05", "2006-01-02 15:04:05"},
	"timeline": {"Zeitleiste", "timeline"}, "unknown-time": {"unbekannt", "unknown"}, "late": {"nachgetragen", "entered late"},
	"corrected-by": {"berichtigt durch Eintrag", "corrected by entry"}, "corrects": {"berichtigt Eintrag", "corrects entry"}, "answers": {"zu Eintrag", "to entry"},
	"digest": {"Prüfsumme", "digest"}, "bounds": {"Personen: mindestens %s, wahrscheinlich %s, höchstens %s", "persons: at least %s, probably %s, at most %s"},
	"coverage": {"untersucht", "examined"}, "all-insurers": {"alle Kassen", "all insurers"}, "source": {"Quelle", "source"},
	"masked":      {"Namen in Alarmen sind Pseudonyme. Zwei Personen können sie aufdecken.", "Names in alarms are pseudonyms. Two persons can reveal them."},
	"unmasked":    {"Namen in Alarmen sind aufgedeckt.", "Names in alarms are revealed."},
	"matches":     {"Die Einträge stimmen mit dem Zugriffsbuch überein.", "The entries agree with the ledger."},
	"faults":      {"Die Einträge stimmen nicht mit dem Zugriffsbuch überein:", "The entries do not agree with the ledger:"},
	"service.eau": {"eAU", "eAU"}, "service.letter": {"Arztbrief", "letter"}, "service.mail": {"KIM-Post", "KIM mail"}, "service.vsdm": {"VSDM", "VSDM"},
	"service.epa": {"ePA", "ePA"}, "service.app": {"App", "app"}, "service.desk": {"Innendienst", "desk"},
	"fault.damaged": {"die Datei ist nicht zu lesen (%s)", "the file cannot be read (%s)"},
	"fault.missing": {"das Zugriffsbuch kennt den Vorfall, und seine Datei fehlt oder ist leer", "the ledger knows the case, and its file is missing or empty"},
	"fault.short":   {"das Zugriffsbuch kennt Eintrag %d, die Datei endet mit Eintrag %d", "the ledger knows entry %d, the file ends with entry %d"},
	"fault.other":   {"Eintrag %d ist nicht der, den das Zugriffsbuch kennt", "entry %d is not the one that the ledger knows"},
	"fault-fix":     {"Bewahren Sie die Datei auf, stellen Sie sie aus einer Sicherung wieder her und klären Sie, wer sie geändert hat.", "Keep the file, restore it from a backup and find out who changed it."},
	"drill":         {"ÜBUNG / DRILL", "ÜBUNG / DRILL"}, "times": {"Alle Zeiten in UTC.", "All times in UTC."}, "waiting": {"wartet auf Antwort", "waits for an answer"},
	"more-alarms": {"Ereignisse", "events"},
}

// Word returns a text in a language, the key itself for one that there is none for.
func Word(language, key string) string {
	w, ok := words[key]
	switch {
	case !ok:
		_, plain, _ := strings.Cut(key, ".")
		return cmp.Or(plain, key)
	case language == "de":
		return w.de
	default:
		return w.en
	}
}

// Keys returns the keys of all words.
func Keys() []string { return slices.Sorted(maps.Keys(words)) }

// figures and units are the German names of the numbers in an alarm's arithmetic.
var figures = map[string]string{
	"window": "Fenster", "refused": "abgewiesen", "failed": "gescheitert", "usual": "üblich", "usual_peak": "üblicher Höchstwert", "usual_share": "üblicher Anteil",
	"weekday_mean": "Mittel des Wochentags", "weekday_deviation": "Streuung des Wochentags", "tickets": "Aufträge", "tail": "Wahrscheinlichkeit",
	"sum_limit": "Grenze der Summe", "sum": "Summe", "share_at_least": "Anteil mindestens", "requests": "Anfragen", "registered": "angemeldet", "records": "Datensätze",
	"persons": "Personen", "others": "andere", "own_days": "eigene Tage", "not_found": "nicht gefunden", "new_service": "neuer Dienst", "new_network": "neues Netz",
	"new_key": "neuer Schlüssel", "lost": "verloren", "logins": "Anmeldungen", "limit": "Grenze", "keys": "Schlüssel", "first_missing": "erste fehlende",
	"without_reason": "ohne Grund", "known_of_them": "davon bekannt", "known_share": "bekannter Anteil", "not_seen": "nicht gesehen", "standing": "Stillstand", "failing_accounts": "scheiternde Konten", "events": "Ereignisse", "different": "verschiedene", "deleted": "gelöscht", "days_known": "bekannte Tage",
	"days": "Tage", "common_factor": "Faktor aller", "checks": "Prüfungen", "cap": "Deckel", "canaries": "Köder", "before": "vorher", "attempts": "Versuche",
	"at_night": "nachts", "acts": "Handlungen", "actors": "Akteure", "above_usual": "über üblich", "times": "Vielfaches", "from": "von", "to": "bis",
	"mean": "Mittel", "own_mean": "eigenes Mittel", "peer_mean": "Mittel der Rolle", "deviation": "Streuung", "expected": "erwartet", "unexplained": "ohne Grund",
	"reasons": "Gründe", "value": "Wert", "self_mean": "eigenes Mittel", "baseline": "üblich", "peers": "Vergleichsgruppe",
}

var units = map[string]string{
	"persons": "Personen", "requests": "Anfragen", "records": "Datensätze", "events": "Ereignisse", "logins": "Anmeldungen", "checks": "Prüfungen", "accounts": "Konten",
	"day": "Tag", "days": "Tage", "times": "-fach", "deviations": "Streuungen", "probability": "Wahrscheinlichkeit", "actors": "Akteure", "keys": "Schlüssel",
	"acts": "Handlungen", "minute": "Minute", "quarter": "Viertelstunde", "hour": "Stunde", "registered": "angemeldete", "tickets": "Aufträge", "number": "Nummer",
	"of": "von", "all": "allen", "at": "in der", "night": "Nacht", "or": "oder", "since": "seit", "reasons": "Gründe", "yes": "ja", "the": "der", "last": "letzten", "half": "halben",
}

// Arithmetic says in words what an alarm was computed from: "persons 21 persons/min, limit 20 persons/min".
func (s *Source) Arithmetic(language string) string {
	var b strings.Builder
	for i, n := range s.Numbers {
		if i > 0 {
			b.WriteString(", ")
		}
		name, unit, value := strings.ReplaceAll(n.Name, "_", " "), n.Unit, strconv.FormatFloat(n.Value, 'g', 5, 64)
		if n.Value == float64(int64(n.Value)) {
			value = strconv.FormatInt(int64(n.Value), 10)
		}
		if language == "de" {
			name, unit, value = cmp.Or(figures[n.Name], name), germanUnit(unit), strings.Replace(value, ".", ",", 1)
		}
		b.WriteString(name + " " + value)
		if unit != "" {
			b.WriteString(" " + unit)
		}
	}
	return b.String()
}

// germanUnit translates the words of a unit one by one and leaves the rest alone.
func germanUnit(unit string) string {
	var b strings.Builder
	for unit != "" {
		n := strings.IndexFunc(unit, notLetter)
		if n < 0 {
			n = len(unit)
		}
		b.WriteString(cmp.Or(units[unit[:n]], unit[:n]))
		unit = unit[n:]
		m := strings.IndexFunc(unit, func(r rune) bool { return !notLetter(r) })
		if m < 0 {
			m = len(unit)
		}
		b.WriteString(unit[:m])
		unit = unit[m:]
	}
	return b.String()
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }
