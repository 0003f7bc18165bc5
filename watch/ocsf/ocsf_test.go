package ocsf_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/watch"
	"github.com/querschott/querschott/watch/ocsf"
)

const read = `{"class_uid":6005,"category_uid":6,"activity_id":1,"type_uid":600501,"time":1790000000123,"severity_id":1,"status_id":1,
"metadata":{"version":"1.8.0","uid":"e-1","sequence":7,"tenant_uid":"109500969","product":{"name":"EPA"}},
"actor":{"user":{"uid":"clerk-3","credential_uid":"cred","org":{"uid":"109500969"}},"session":{"uid":"s1"}},"src_endpoint":{"ip":"192.0.2.1"},"count":3,
"unmapped":{"service":"epa","subject_tenant":"109500969","subject":"aa","reason_ref":"case-1","actor_role":"staff"}}`

func TestParse(t *testing.T) {
	got, err := ocsf.Parse([]byte(read))
	if err != nil {
		t.Fatal(err)
	}
	want := querschott.Access{
		Seq: 7, Time: time.UnixMilli(1790000000123).UTC(), Service: querschott.EPA, Insurer: "109500969", Tenant: "109500969", Actor: "clerk-3",
		Credential: "cred", Role: querschott.RoleStaff, ReasonRef: "case-1", Action: "read", Person: "aa", Records: 3, Outcome: "success",
		RequestID: "e-1", Address: "192.0.2.1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestClasses(t *testing.T) {
	for _, tc := range []struct{ change, action, outcome string }{
		{`"class_uid":6005,"category_uid":6,"activity_id":7,"type_uid":600507`, "delete", "success"},
		{`"class_uid":6003,"category_uid":6,"activity_id":2,"type_uid":600302,"api":{"operation":"GET /x"}`, "read", "success"},
		{`"class_uid":3002,"category_uid":3,"activity_id":1,"type_uid":300201,"status_id":2,"user":{"uid":"clerk-3"}`, "login", "denied"},
		{`"class_uid":3005,"category_uid":3,"activity_id":3,"type_uid":300503,"user":{"uid":"victim"}`, "role", "success"},
	} {
		text := strings.Replace(read, `"class_uid":6005,"category_uid":6,"activity_id":1,"type_uid":600501`, tc.change, 1)
		if strings.Contains(tc.change, `"status_id"`) {
			text = strings.Replace(text, `"severity_id":1,"status_id":1`, `"severity_id":1`, 1)
		}
		got, err := ocsf.Parse([]byte(text))
		if err != nil || got.Action != tc.action || got.Outcome != tc.outcome || got.Actor != "clerk-3" {
			t.Errorf("%s: got %s %s by %s, %v", tc.change, got.Action, got.Outcome, got.Actor, err)
		}
	}
}

// An event that lacks what its class demands is none.
func TestRefused(t *testing.T) {
	for what, change := range map[string][2]string{
		"class":      {`"class_uid":6005`, `"class_uid":1001`},
		"activity":   {`"activity_id":1`, `"activity_id":77`},
		"type":       {`600501`, `600502`},
		"category":   {`"category_uid":6`, `"category_uid":5`},
		"time":       {`1790000000123`, `0`},
		"far time":   {`1790000000123`, `99999999999999`},
		"severity":   {`"severity_id":1,`, ``},
		"version":    {`"version":"1.8.0",`, ``},
		"product":    {`"product":{"name":"EPA"}`, `"product":{}`},
		"count":      {`"count":3`, `"count":-3`},
		"long":       {`"case-1"`, `"` + strings.Repeat("x", 2000) + `"`},
		"wrong type": {`"time":1790000000123`, `"time":"yesterday"`},
		"nobody":     {`"uid":"clerk-3","credential_uid":"cred","org":{"uid":"109500969"}},"session":{"uid":"s1"}},"src_endpoint":{"ip":"192.0.2.1"}`, `"name":""}},"src_endpoint":{}`},
	} {
		text := strings.Replace(read, change[0], change[1], 1)
		if text == read {
			t.Fatalf("%s changes nothing", what)
		}
		if a, err := ocsf.Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken as %+v", what, a)
		}
	}
	if _, err := ocsf.Parse(make([]byte, ocsf.MaxEvent+1)); err == nil {
		t.Error("an event of any length was taken")
	}
}

// What is written has everything that the schema demands of a detection finding (OCSF 1.8, class 2004).
func TestFinding(t *testing.T) {
	at := time.Unix(1790000000, 0).UTC()
	a := &watch.Alarm{
		Time: at, Actor: "clerk-3", Credential: "c", Insurer: "109500969", Service: querschott.Desk, Detector: "D1", Cause: "cap-minute", Kind: watch.Exact,
		Severity: watch.High, Mode: watch.Live, Arithmetic: []watch.Number{{Name: "persons", Value: 21, Unit: "persons/min"}},
		Events: watch.Span{First: at.Add(-time.Minute), Last: at, Count: 21}, ATTACK: []string{"T1078"},
	}
	line, err := ocsf.Line(a, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata", "finding_info"} {
		if m[key] == nil {
			t.Errorf("%s is required", key)
		}
	}
	class, activity, category := m["class_uid"].(float64), m["activity_id"].(float64), m["category_uid"].(float64)
	if m["type_uid"].(float64) != class*100+activity || category != float64(int(class)/1000) {
		t.Errorf("type_uid %v and category_uid %v do not fit class %v", m["type_uid"], category, class)
	}
	if s := m["severity_id"].(float64); s < 0 || s > 6 {
		t.Errorf("severity_id %v is in no enumeration", s)
	}
	meta := m["metadata"].(map[string]any)
	if meta["version"] != ocsf.Version || meta["product"].(map[string]any)["vendor_name"] == "" {
		t.Errorf("metadata %v", meta)
	}
	info := m["finding_info"].(map[string]any)
	if info["uid"] == "" || info["title"] != "D1 cap-minute" || info["first_seen_time"].(float64) > info["last_seen_time"].(float64) {
		t.Errorf("finding_info %v", info)
	}
	for _, s := range []watch.Severity{watch.Low, watch.Medium, watch.High, watch.Critical} {
		a.Severity, a.Mode = s, watch.Shadow
		if f := ocsf.FindingOf(a, ""); f.SeverityID < 2 || f.SeverityID > 5 || f.IsAlert {
			t.Errorf("%s: severity %d, alert %v", s, f.SeverityID, f.IsAlert)
		}
	}
}

// Whatever comes is an event with all that detectors rely on, or an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(read))
	for _, c := range []int{3002, 3005, 6003} {
		f.Add(fmt.Appendf(nil, `{"class_uid":%d,"category_uid":%d,"activity_id":1,"type_uid":%d,"time":1,"severity_id":0,"metadata":{"version":"1","product":{"name":"x"}},"user":{"name":"u"},"api":{"operation":"o"}}`, c, c/1000, c*100+1))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := ocsf.Parse(line)
		if err != nil {
			return
		}
		if a.Time.IsZero() || a.Action == "" || a.Outcome == "" || a.RequestID == "" || a.Actor == "" && a.Address == "" || len(a.Person) > 1024 {
			t.Errorf("half an event: %+v", a)
		}
	})
}
