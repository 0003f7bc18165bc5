package ocsf

import (
	"encoding/json"
	"fmt"

	"github.com/querschott/querschott/watch"
)

// Version of the schema that is written.
const Version = "1.8.0"

// Finding is a detection_finding.
type Finding struct {
	ActivityID  int      `json:"activity_id"`
	CategoryUID int      `json:"category_uid"`
	ClassUID    int      `json:"class_uid"`
	TypeUID     int      `json:"type_uid"`
	Time        int64    `json:"time"`
	SeverityID  int      `json:"severity_id"`
	StatusID    int      `json:"status_id"` // 1 new
	Message     string   `json:"message"`
	IsAlert     bool     `json:"is_alert"`
	Metadata    Metadata `json:"metadata"`
	Info        Info     `json:"finding_info"`
	Evidences   []Proof  `json:"evidences"`
}

// Metadata says who writes.
type Metadata struct {
	Version   string  `json:"version"`
	Product   Product `json:"product"`
	TenantUID string  `json:"tenant_uid,omitempty"`
	LogName   string  `json:"log_name"`
}

// Product is this program.
type Product struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

// Info is what was found.
type Info struct {
	UID       string   `json:"uid"`
	Title     string   `json:"title"`
	Analytic  Analytic `json:"analytic"`
	Attacks   []Attack `json:"attacks,omitempty"`
	Types     []string `json:"types"`
	FirstSeen int64    `json:"first_seen_time"`
	LastSeen  int64    `json:"last_seen_time"`
	Related   int      `json:"related_events_count"`
}

// Analytic is the detector.
type Analytic struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"` // 1 rule, 3 statistical
}

// Attack is a technique of MITRE ATT&CK.
type Attack struct {
	Technique Technique `json:"technique"`
	Version   string    `json:"version"`
}

// Technique is its number.
type Technique struct {
	UID string `json:"uid"`
}

// Proof is who, and the arithmetic.
type Proof struct {
	Actor struct {
		User struct {
			UID        string `json:"uid"`
			Credential string `json:"credential_uid,omitempty"`
		} `json:"user"`
	} `json:"actor"`
	Data []watch.Number `json:"data"`
}

var severities = map[watch.Severity]int{watch.Low: 2, watch.Medium: 3, watch.High: 4, watch.Critical: 5}

// FindingOf makes the finding of an alarm. One that is in shadow mode is no alert.
func FindingOf(a *watch.Alarm, program string) Finding {
	f := Finding{
		ActivityID: 1, CategoryUID: 2, ClassUID: DetectionFinding, TypeUID: DetectionFinding*100 + 1, Time: a.Time.UnixMilli(),
		SeverityID: severities[a.Severity], StatusID: 1, Message: a.Detector + " " + a.Cause, IsAlert: a.Mode == watch.Live,
		Metadata: Metadata{
			Version: Version, Product: Product{"Querschott", "Querschott", program}, TenantUID: string(a.Insurer), LogName: "early-warning",
		},
		Info: Info{
			UID:   fmt.Sprintf("%s/%s/%s/%d", a.Detector, a.Cause, a.Actor, a.Time.UnixMicro()),
			Title: a.Detector + " " + a.Cause, Analytic: Analytic{Name: a.Detector, TypeID: 3}, Types: []string{string(a.Kind)},
			FirstSeen: a.Events.First.UnixMilli(), LastSeen: a.Events.Last.UnixMilli(), Related: a.Events.Count,
		},
	}
	if a.Kind == watch.Exact {
		f.Info.Analytic.TypeID = 1
	}
	for _, t := range a.ATTACK {
		f.Info.Attacks = append(f.Info.Attacks, Attack{Technique{t}, "17.1"})
	}
	p := Proof{Data: a.Arithmetic}
	p.Actor.User.UID, p.Actor.User.Credential = string(a.Actor), string(a.Credential)
	f.Evidences = []Proof{p}
	return f
}

// Line returns the finding of an alarm as one line of NDJSON.
func Line(a *watch.Alarm, program string) ([]byte, error) {
	line, err := json.Marshal(FindingOf(a, program))
	return append(line, '\n'), err
}
