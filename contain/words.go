package contain

import "strings"

// german are the reasons that a judge and an engine give, in German.
var german = map[string]string{
	"the detector is in shadow mode":                                                                "der Melder läuft zur Probe",
	"it is for a person to look at":                                                                 "eine Person sieht es sich an",
	"its severity is low":                                                                           "die Schwere ist gering",
	"too many actors are suspicious at once; a person must look":                                    "zu viele sind zugleich verdächtig; eine Person muss hinsehen",
	"a matter of a whole group and no attack by its form: a person looks first":                     "es betrifft eine ganze Gruppe und ist der Form nach kein Angriff: zuerst sieht eine Person hin",
	"a group is held by two persons only":                                                           "eine Gruppe sperren nur zwei Personen",
	"nobody was identified, so there is no credential to hold":                                      "niemand wurde erkannt, also ist kein Ausweis zu sperren",
	"one suspicion of medium severity: a person looks first":                                        "ein Verdacht mittlerer Schwere: zuerst sieht eine Person hin",
	"the credential is held already":                                                                "der Ausweis ist schon gesperrt",
	"a suspicion holds a credential":                                                                "ein Verdacht sperrt einen Ausweis",
	"a fact holds a credential":                                                                     "eine Tatsache sperrt einen Ausweis",
	"doors are moved by persons only":                                                               "Türen bewegen nur Personen",
	"doors of more than three insurers within ten minutes: two persons decide":                      "Türen von mehr als drei Kassen in zehn Minuten: zwei Personen entscheiden",
	"the door is moved: holding credentials is not enough":                                          "die Tür wird bewegt: Ausweise zu sperren genügt nicht",
	"the door is moved at once: nothing that arrives is lost by it":                                 "die Tür wird sofort bewegt: was ankommt, geht dadurch nicht verloren",
	"doors of two services of the insurer within ten minutes: two persons decide about all of them": "Türen zweier Dienste der Kasse in zehn Minuten: über alle entscheiden zwei Personen",
	"it is about an operator of the platform: two persons decide":                                   "es geht um jemanden, der die Plattform betreibt: zwei Personen entscheiden",
	"it takes two persons":                                                                          "es braucht zwei Personen",
	"nothing is done by itself here (contain.automatic)":                                            "von selbst geschieht hier nichts (contain.automatic)",
	"doors are not moved by themselves here (contain.automatic)":                                    "Türen bewegen sich hier nicht von selbst (contain.automatic)",
	"the credential was not held before":                                                            "der Ausweis war vorher nicht gesperrt",
	"one more person must say yes":                                                                  "noch eine Person muss zustimmen",
	"nobody said yes within 1h0m0s":                                                                 "innerhalb einer Stunde hat niemand zugestimmt",
	"the alarm names nobody whom the order could be about":                                          "der Alarm nennt niemanden, den die Anordnung betreffen könnte",
}

// German returns a reason in German; what is not known, such as the words of an error, as it is.
func German(why string) string {
	if de, ok := german[why]; ok {
		return de
	}
	if rest, ok := strings.CutPrefix(why, "the judge does not go so far: "); ok {
		return "so weit geht das Urteil nicht: " + German(rest)
	}
	if who, ok := strings.CutSuffix(why, " has not signed the playbook"); ok {
		return "Kasse " + strings.TrimPrefix(who, "insurer ") + " hat das Drehbuch nicht unterschrieben"
	}
	return why
}
