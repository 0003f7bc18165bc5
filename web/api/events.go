package api

import "github.com/querschott/querschott"

// PathEvents is where machines send access events of services that the platform does not carry.
const PathEvents = "/watch/v1/events"

// Mime types of events.
const (
	MimeNDJSON = "application/x-ndjson"
	MimeOCSF   = "application/vnd.ocsf+ndjson"
)

// Taken says what became of the events of a request.
type Taken struct {
	Taken   int        `json:"taken"`
	Bad     int        `json:"bad" doc:"lines that were left out"`
	Refused []NotTaken `json:"refused" doc:"the first 20 of them"`
	NotKept int        `json:"not_kept,omitempty" doc:"events that were taken and could not be put into the record: detectors have seen them, and do not know them after a restart"`
}

// NotTaken is a line that was left out.
type NotTaken struct {
	Line int    `json:"line" doc:"from 1 on"`
	Why  string `json:"why"`
}

// Events returns the route for foreign events.
func Events() []Route {
	return []Route{{
		Method: "POST", Path: PathEvents, ID: "sendEvents", Group: "watch",
		Title: Text{"Zugriffsereignisse anderer Dienste", "Access events of other services"},
		About: Text{
			"Für die Frühwarnung: ein Ereignis je Zeile, als NDJSON wie im Handbuch, Kapitel 10, oder in OCSF 1.8 (Klassen 6005, 6003, 3002, 3005). Eine Maschine weist sich mit ihrem Zertifikat aus und spricht nur über ihre Kassen und Dienste.",
			"For the early warning: one event a line, as NDJSON as in chapter 10 of the manual, or in OCSF 1.8 (classes 6005, 6003, 3002, 3005). A machine identifies itself by its certificate and speaks about its own insurers and services only.",
		},
		Sends: []string{MimeNDJSON, MimeOCSF},
		Answers: []Answer{
			{Status: 200, About: Text{"Was genommen wurde; schlechte Zeilen sind genannt.", "What was taken; bad lines are named."}, Mimes: []string{"application/json"}, Body: Taken{}},
			{Status: 429, About: Text{"Zu schnell; nichts wurde genommen.", "Too fast; nothing was taken."}, Mimes: []string{"application/json"}, Body: Taken{}, Headers: []Input{{Name: "Retry-After", About: Text{"Sekunden.", "Seconds."}}}},
		},
		Refuses: append([]querschott.Code{querschott.CodeUnauthorized, querschott.CodeForbidden, querschott.CodeInvalid, querschott.CodeTooLarge, querschott.CodeNoRoom}, always...),
	}}
}
