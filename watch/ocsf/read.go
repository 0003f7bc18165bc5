package ocsf

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/querschott/querschott"
)

// The classes.
const (
	Authentication    = 3002
	UserAccess        = 3005
	DetectionFinding  = 2004
	APIActivity       = 6003
	DatastoreActivity = 6005
)

// Limits of one event.
const (
	MaxEvent = 64 << 10
	maxText  = 1024
)

// event is what is read of an event.
type event struct {
	Class    int    `json:"class_uid"`
	Category int    `json:"category_uid"`
	Activity int    `json:"activity_id"`
	Type     int    `json:"type_uid"`
	Time     int64  `json:"time"` // milliseconds since 1970
	Severity *int   `json:"severity_id"`
	Status   int    `json:"status_id"` // 1 success, 2 failure
	Code     string `json:"status_code"`
	Meta     struct {
		Version  string `json:"version"`
		UID      string `json:"uid"`
		Tenant   string `json:"tenant_uid"`
		Sequence uint64 `json:"sequence"`
		Product  struct {
			Name string `json:"name"`
		} `json:"product"`
	} `json:"metadata"`
	Actor struct {
		User    user    `json:"user"`
		Session session `json:"session"`
	} `json:"actor"`
	User    user    `json:"user"`
	Session session `json:"session"`
	Source  struct {
		IP string `json:"ip"`
	} `json:"src_endpoint"`
	API struct {
		Operation string `json:"operation"`
	} `json:"api"`
	Query struct {
		Text string `json:"query_string"`
	} `json:"query_info"`
	Count int      `json:"count"`
	Own   unmapped `json:"unmapped"`
}

type user struct {
	UID        string `json:"uid"`
	Name       string `json:"name"`
	Credential string `json:"credential_uid"`
	Org        struct {
		UID string `json:"uid"`
	} `json:"org"`
}

type session struct {
	UID string `json:"uid"`
}

// unmapped are the house's words.
type unmapped struct {
	Insurer querschott.IK      `json:"subject_tenant"`
	Person  string             `json:"subject"`
	Reason  string             `json:"reason_ref"`
	Query   string             `json:"query_shape"`
	Fields  string             `json:"field_group"`
	Service querschott.Service `json:"service"`
	Role    querschott.Role    `json:"actor_role"`
	Cause   string             `json:"cause"`
	Binding string             `json:"tls_binding"`
	Records uint32             `json:"n_records"`
}

// actions are the activities of each class in the house's words.
var actions = map[int]map[int]string{
	DatastoreActivity: {1: "read", 2: "update", 3: "connect", 4: "search", 5: "write", 6: "create", 7: "delete", 8: "list", 9: "encrypt", 10: "decrypt"},
	APIActivity:       {1: "create", 2: "read", 3: "update", 4: "delete"},
	Authentication:    {1: "login", 2: "logout", 3: "ticket"},
	UserAccess:        {1: "grant", 2: "revoke", 3: "role", 4: "revoke"},
}

// Parse reads one event. Gate and number are the caller's to set; the number is the event's metadata.sequence, 0 if it has none.
func Parse(line []byte) (a querschott.Access, err error) {
	if len(line) > MaxEvent {
		return a, fmt.Errorf("the event is longer than %d bytes", MaxEvent)
	}
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return a, fmt.Errorf("the event is no JSON that fits its class: %w", err)
	}
	if err := e.check(); err != nil {
		return a, err
	}
	return e.access(), nil
}

func (e *event) check() error {
	activities, ok := actions[e.Class]
	switch {
	case !ok:
		return fmt.Errorf("class_uid %d is none of %d, %d, %d, %d", e.Class, DatastoreActivity, APIActivity, Authentication, UserAccess)
	case activities[e.Activity] == "":
		return fmt.Errorf("activity_id %d of class %d says nothing", e.Activity, e.Class)
	case e.Category != e.Class/1000 || e.Type != e.Class*100+e.Activity:
		return errors.New("category_uid and type_uid do not fit class_uid and activity_id")
	case e.Severity == nil || e.Meta.Version == "" || e.Meta.Product.Name == "":
		return errors.New("severity_id, metadata.version and metadata.product.name are required")
	case e.Time <= 0 || e.Time > 1<<43:
		return errors.New("time is required, in milliseconds since 1970")
	case e.Class < 6000 && e.user().UID == "" && e.user().Name == "":
		return errors.New("user is required")
	case e.Class >= 6000 && e.user().UID == "" && e.user().Name == "" && e.Source.IP == "":
		return errors.New("actor.user or src_endpoint.ip is required")
	case e.Class == APIActivity && e.API.Operation == "":
		return errors.New("api.operation is required")
	case e.Count < 0 || e.Status < 0:
		return errors.New("count and status_id are not negative")
	}
	for _, t := range e.texts() {
		if len(t) > maxText {
			return fmt.Errorf("a text is longer than %d bytes", maxText)
		}
	}
	return nil
}

// user is who acted: of authentications and grants the classes name it apart.
func (e *event) user() *user {
	if e.Class == Authentication || e.Actor.User == (user{}) {
		return &e.User
	}
	return &e.Actor.User
}

func (e *event) texts() []string {
	u := e.user()
	return []string{
		u.UID, u.Name, u.Credential, u.Org.UID, e.Actor.Session.UID, e.Session.UID, e.Source.IP, e.Meta.UID, e.Meta.Tenant, e.Code, e.API.Operation,
		e.Query.Text, e.Own.Person, e.Own.Reason, e.Own.Query, e.Own.Fields, e.Own.Cause, e.Own.Binding, string(e.Own.Role), string(e.Own.Service), string(e.Own.Insurer),
	}
}

func (e *event) access() querschott.Access {
	u := e.user()
	a := querschott.Access{
		Seq: e.Meta.Sequence, Time: time.UnixMilli(e.Time).UTC(), Service: e.Own.Service, Insurer: e.Own.Insurer,
		Tenant: querschott.IK(first(u.Org.UID, e.Meta.Tenant)), Actor: querschott.Actor(first(u.UID, u.Name)),
		Credential: querschott.CredentialID(first(u.Credential, e.Actor.Session.UID, e.Session.UID)), Role: e.Own.Role, ReasonRef: e.Own.Reason,
		Action: actions[e.Class][e.Activity], Query: first(e.Own.Query, e.API.Operation), Person: e.Own.Person, Fields: e.Own.Fields,
		Records: e.Own.Records, Outcome: "success", Cause: e.Own.Cause, RequestID: first(e.Meta.UID, "-"), Address: e.Source.IP, Binding: e.Own.Binding,
	}
	if a.Records == 0 && e.Count > 0 {
		a.Records = uint32(min(e.Count, 1<<31))
	}
	if e.Status == 2 {
		a.Outcome, a.Records = "failed", 0
		switch {
		case e.Code == "404":
			a.Cause = first(a.Cause, "not-there")
		case e.Code == "401", e.Code == "403", e.Class == Authentication:
			a.Outcome, a.Cause = "denied", first(a.Cause, "not-identified")
		}
	}
	return a
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
