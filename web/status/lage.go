package status

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/querschott/querschott"
)

// lage is gematik's TI-Lage, version 2. Consumers look at every member of appStatus and expect outage in each, so nothing
// foreign stands there; what is about insurers stands in x.
type lage struct {
	Applications map[string]application `json:"appStatus"`
	Cause        []struct{}             `json:"cause"` // configuration items of gematik's; the platform does not know its own
	X            []restriction          `json:"x"`
}

type application struct {
	Outage       string     `json:"outage"` // none, partial, full
	Maintenance  bool       `json:"hasMaintenance"`
	Sub          bool       `json:"hasSubComponentMaintenance"`
	Restrictions []function `json:"affectedFunctions"`
}

type function struct {
	Function    string `json:"function"`
	Critical    int    `json:"critical"` // 1: it does not work
	Impact      string `json:"impactDesc"`
	Outage      string `json:"outage"`
	Maintenance bool   `json:"hasMaintenance"`
}

// restriction is one door in the member x.
type restriction struct {
	Insurer      insurerName          `json:"insurer"`
	Service      querschott.Service   `json:"service"`
	Door         string               `json:"door"` // open, hold, readonly, closed
	Cause        Cause                `json:"cause"`
	NotAffected  []querschott.Service `json:"notAffected"`
	Since        *Instant             `json:"since,omitempty"`
	Incident     string               `json:"incident,omitempty"`
	AsOf         Instant              `json:"asOf"`
	NextUpdateAt Instant              `json:"nextUpdateAt"`
	AllClear     bool                 `json:"allClear"`
}

type insurerName struct {
	IK   querschott.IK `json:"ik"`
	Name string        `json:"name"`
}

// applications are gematik's, with the services that belong to each.
var applications = map[string][]querschott.Service{
	"erezept": nil, "epa": {querschott.EPA}, "kim": querschott.MailServices(), "wanda": nil, "ogd": nil,
	"vsdm": {querschott.VSDM}, "tianschluss": nil,
}

// Outages of gematik's.
const (
	outageNone    = "none"
	outagePartial = "partial"
	outageFull    = "full"
)

// Lage returns the state in the shape of gematik's v2/tilage.
func Lage(s *State) ([]byte, error) {
	l := lage{Applications: map[string]application{}, Cause: []struct{}{}, X: []restriction{}}
	for name, services := range applications {
		l.Applications[name] = applicationOf(s, services)
	}
	for _, in := range s.Insurers {
		for _, d := range in.Doors {
			l.X = append(l.X, restriction{
				Insurer: insurerName{in.IK, in.Name}, Service: d.Service, Door: doorWord(d.Door), Cause: d.Cause, NotAffected: in.NotAffected,
				Since: d.Since, Incident: d.Incident, AsOf: s.AsOf, NextUpdateAt: s.NextUpdateAt, AllClear: d.AllClear,
			})
		}
	}
	return json.MarshalIndent(l, "", " ")
}

func doorWord(s querschott.DoorState) string {
	if s == querschott.ReadOnly {
		return "readonly"
	}
	return s.String()
}

func applicationOf(s *State, services []querschott.Service) application {
	a := application{Outage: outageNone, Restrictions: []function{}}
	full := true
	for _, service := range services {
		f, all := functionOf(s, service)
		full = full && (f.Outage == outageFull || all == 0)
		if f.Outage == outageNone {
			continue
		}
		a.Outage = outagePartial
		a.Maintenance = a.Maintenance || f.Maintenance
		a.Restrictions = append(a.Restrictions, f)
	}
	if a.Outage != outageNone && full {
		a.Outage = outageFull
	}
	return a
}

// functionOf says how one service is at all insurers that have it: fully out only if no insurer's answers or takes in.
func functionOf(s *State, service querschott.Service) (f function, all int) {
	shut, dead, maintained := 0, 0, 0
	for _, in := range s.Insurers {
		if slices.Contains(in.NotAffected, service) {
			all++
			continue
		}
		for _, d := range in.Doors {
			if d.Service != service {
				continue
			}
			all++
			shut++
			if d.Cause == Maintenance {
				maintained++
			}
			if d.Door == querschott.Closed || d.Door == querschott.Hold && !service.ByMail() {
				dead++
			}
		}
	}
	f = function{Function: german.services[service], Outage: outageNone}
	if shut == 0 {
		return f, all
	}
	f.Outage = outagePartial
	if dead == all {
		f.Outage = outageFull
	}
	if dead > 0 {
		f.Critical = 1
	}
	f.Maintenance = maintained > 0
	f.Impact = restricted(shut, all)
	if service.ByMail() && dead == 0 {
		f.Impact += " Nachrichten werden angenommen und später zugestellt; bitte nicht noch einmal senden."
	}
	return f, all
}

// restricted says at how many insurers that have a service it is restricted.
func restricted(n, of int) string {
	switch {
	case of == 1:
		return "Bei der einzigen Krankenkasse mit diesem Dienst eingeschränkt."
	case n == of:
		return fmt.Sprintf("Bei allen %d Krankenkassen eingeschränkt.", of)
	case of == 2:
		return "Bei einer von 2 Krankenkassen eingeschränkt, bei der anderen nicht."
	case n == 1:
		return fmt.Sprintf("Bei einer von %d Krankenkassen eingeschränkt, bei den anderen nicht.", of)
	case n == of-1:
		return fmt.Sprintf("Bei %d der %d Krankenkassen eingeschränkt, bei der anderen nicht.", n, of)
	}
	return fmt.Sprintf("Bei %d der %d Krankenkassen eingeschränkt, bei den anderen nicht.", n, of)
}
