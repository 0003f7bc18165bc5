package console

import "github.com/querschott/querschott/incident"

// incidentWords are the words of the field, under the keys of [incident.Word].
func incidentWords(language string, texts map[string]string) map[string]string {
	for _, key := range incident.Keys() {
		texts["incident."+key] = incident.Word(language, key)
	}
	return texts
}

func germanIncidents() map[string]string {
	return incidentWords("de", map[string]string{
		"nav.warnings": "Frühwarnung", "nav.incidents": "Vorfälle",
		"warnings.title": "Frühwarnung", "warnings.none": "Keine Alarme seit dem Start.", "warnings.live": "scharf", "warnings.shadow": "Probe",
		"warnings.over": "über dem Budget", "warnings.folded.one": "%s weiterer", "warnings.folded.many": "%s weitere", "warnings.left.one": "%s älterer Alarm nicht gezeigt",
		"warnings.left.many": "%s ältere Alarme nicht gezeigt",
		"explained.title":    "Abrufe mit Grund", "explained.none": "Bisher keine Abrufe, die einen Grund brauchen.", "explained.of": "von %s",
		"held.title": "Gesperrt", "held.none": "Niemand ist gesperrt.", "held.until": "bis", "held.forever": "bis zur Freigabe", "held.release": "Freigeben", "held.reason": "Grund der Freigabe",
		"chain.title": "Verlauf der letzten 24 Stunden", "chain.warnings.one": "Frühwarnung", "chain.warnings.many": "Frühwarnungen", "chain.held": "gesperrt",
		"chain.doors.one": "Tür nicht offen", "chain.doors.many": "Türen nicht offen", "chain.reached.one": "Person erreicht", "chain.reached.many": "Personen erreicht",
		"chain.rejected": "abgelehnt", "chain.lost": "verloren", "chain.open.one": "Vorfall offen", "chain.open.many": "Vorfälle offen",
		"incidents.title": "Vorfälle", "incidents.none": "Kein Vorfall.", "incidents.open": "Vorfall eröffnen", "incidents.what": "Was ist geschehen?", "incidents.grade": "Reichweite",
		"room.waiting": "Wartet auf Antwort", "room.approve": "Zustimmen", "room.take": "Übernehmen", "room.write": "Eintrag schreiben", "room.kind": "Art", "room.text": "Text", "room.why": "Grund, bei Entscheidungen",
		"room.happened": "Geschehen", "room.learned": "Erfahren (leer: jetzt)", "room.save": "Eintragen", "room.role": "Rolle vergeben", "room.role.do": "Vergeben", "room.handover": "Übergeben", "room.person": "Person",
		"room.close": "Abschluss beantragen", "room.unmask": "Namen aufdecken beantragen", "room.two": "Das braucht eine zweite Person.", "room.more": "Weiteres", "room.evidence": "Belege",
		"room.help": "Keine Nummern von Versicherten. Einträge werden nie geändert, nur berichtigt.",
	})
}

func englishIncidents() map[string]string {
	return incidentWords("en", map[string]string{
		"nav.warnings": "Early warning", "nav.incidents": "Incidents",
		"warnings.title": "Early warning", "warnings.none": "No alarms since the start.", "warnings.live": "live", "warnings.shadow": "shadow",
		"warnings.over": "over budget", "warnings.folded.one": "%s more", "warnings.folded.many": "%s more", "warnings.left.one": "%s older alarm not shown",
		"warnings.left.many": "%s older alarms not shown",
		"explained.title":    "Accesses with a reason", "explained.none": "No accesses that need a reason yet.", "explained.of": "of %s",
		"held.title": "Held", "held.none": "Nobody is held.", "held.until": "until", "held.forever": "until released", "held.release": "Release", "held.reason": "Reason for the release",
		"chain.title": "Course of the last 24 hours", "chain.warnings.one": "early warning", "chain.warnings.many": "early warnings", "chain.held": "held",
		"chain.doors.one": "door not open", "chain.doors.many": "doors not open", "chain.reached.one": "person reached", "chain.reached.many": "persons reached",
		"chain.rejected": "rejected", "chain.lost": "lost", "chain.open.one": "incident open", "chain.open.many": "incidents open",
		"incidents.title": "Incidents", "incidents.none": "No incident.", "incidents.open": "Open an incident", "incidents.what": "What happened?", "incidents.grade": "Reach",
		"room.waiting": "Waits for an answer", "room.approve": "Approve", "room.take": "Take over", "room.write": "Write an entry", "room.kind": "Kind", "room.text": "Text", "room.why": "Reason, of decisions",
		"room.happened": "Happened", "room.learned": "Learned (empty: now)", "room.save": "Write", "room.role": "Give a role", "room.role.do": "Give", "room.handover": "Hand over", "room.person": "Person",
		"room.close": "Ask for closing", "room.unmask": "Ask for the names", "room.two": "It takes a second person.", "room.more": "More", "room.evidence": "Evidence",
		"room.help": "No numbers of insured persons. Entries are never changed, only corrected.",
	})
}
