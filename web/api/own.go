package api

import (
	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/zeta"
)

// Paths of what this package serves.
const (
	PathHealth   = "/healthz"
	PathLive     = "/healthz/live"
	PathMetrics  = "/metrics"
	PathDocument = "/openapi.json"
	PathPage     = "/api"
	pathStyle    = "/api/style.css"
)

// Groups returns the groups of [Own], [VSDM] and [Desk].
func Groups() []Group {
	return []Group{
		{"operations", Text{"Betrieb", "Operations"}},
		{"discovery", Text{"Auffinden", "Discovery"}},
		{"vsdm", Text{"Versichertenstammdaten", "Insured persons' master data"}},
		{"desk", Text{"Arbeitsplätze der Kassen", "Insurers' desks"}},
		{"watch", Text{"Frühwarnung", "Early warning"}},
		{"description", Text{"Beschreibung", "Description"}},
	}
}

var (
	etag = Input{Name: "ETag", About: Text{"Kennung des Inhalts, für If-None-Match.", "Tag of the content, for If-None-Match."}}
	// everybody's routes have few ways to fail.
	always = []querschott.Code{querschott.CodeMethod, querschott.CodeInternal}
)

// Own returns the routes of every node: how it is, and what it offers.
func Own() []Route {
	report := func(status int, about Text) Answer {
		return Answer{Status: status, About: about, Mimes: []string{"application/json"}, Body: Report{}}
	}
	return []Route{
		{
			Method: "GET", Path: PathHealth, ID: "getHealth", Group: "operations",
			Title:   Text{"Zustand des Knotens", "How the node is"},
			About:   Text{"Für Lastverteiler. Nennt Gründe in Worten, keine Einzelheiten. Fragt nach, höchstens einmal in der Sekunde.", "For load balancers. Gives reasons in words, no details. Looks at most once a second."},
			Answers: []Answer{report(200, Text{"Bereit.", "Ready."}), report(503, Text{"Nicht bereit; die Gründe stehen dabei.", "Not ready; the reasons are given."})},
		},
		{
			Method: "GET", Path: PathLive, ID: "getLiveness", Group: "operations",
			Title:   Text{"Lebt der Knoten?", "Is the node alive?"},
			About:   Text{"Für Aufseher, die neu starten: schlägt nur fehl, wenn ein Neustart helfen kann.", "For supervisors that restart: fails only when a restart may help."},
			Answers: []Answer{report(200, Text{"Er lebt.", "It is alive."}), report(503, Text{"Ein Neustart kann helfen.", "A restart may help."})},
		},
		{
			Method: "GET", Path: PathMetrics, ID: "getMetrics", Group: "operations",
			Title:   Text{"Messwerte", "Metrics"},
			About:   Text{"Im Textformat von Prometheus. Keine Beschriftung nennt eine Person, einen Ausweis oder ein Token. Nur an der Adresse für den Betrieb.", "In the text format of Prometheus. No label names a person, a credential or a token. At the operations address only."},
			Answers: []Answer{{Status: 200, About: Text{"Alle Werte.", "All values."}, Mimes: []string{"text/plain"}}, {Status: 503, About: Text{"Es fragen schon andere.", "Others are asking already."}, Mimes: []string{"text/plain"}}},
		},
		{
			Method: "GET", Path: PathDocument, ID: "getDescription", Group: "description",
			Title:   Text{"Diese Beschreibung für Programme", "This description for programs"},
			About:   Text{"OpenAPI 3.1, auf Englisch.", "OpenAPI 3.1, in English."},
			Answers: []Answer{{Status: 200, About: Text{"Das Dokument.", "The document."}, Mimes: []string{"application/json"}, Headers: []Input{etag}}, {Status: 304, About: Text{"Unverändert.", "Not changed."}}},
			Refuses: always,
		},
		{
			Method: "GET", Path: PathPage, ID: "getPage", Group: "description",
			Title:   Text{"Diese Beschreibung für Menschen", "This description for people"},
			About:   Text{"Deutsch oder Englisch, ohne Skripte und ohne fremde Adressen.", "German or English, without scripts and foreign addresses."},
			Inputs:  []Input{{Name: "lang", In: "query", About: Text{"Sprache; sonst gilt Accept-Language.", "Language; else Accept-Language says."}, Enum: []string{"de", "en"}}},
			Answers: []Answer{{Status: 200, About: Text{"Die Seite.", "The page."}, Mimes: []string{"text/html"}, Headers: []Input{etag}}, {Status: 304, About: Text{"Unverändert.", "Not changed."}}},
			Refuses: always,
		},
	}
}

// Catalog is the TI service catalog, in the form of either published definition.
type Catalog struct {
	FormatVersion string                              `json:"format_version" doc:"0.9.2 or 1.0.0"`
	UpdatedAt     int64                               `json:"updated_at,omitempty" doc:"0.9.2: when the content last changed, in seconds of Unix time"`
	Revision      int64                               `json:"revision,omitempty" doc:"1.0.0: rises with every change"`
	Env           string                              `json:"env" doc:"dev, test, ref, prod; 0.9.2 also gemdev"`
	Instances     map[string]CatalogInstance          `json:"service_instances" doc:"by id"`
	Routing       map[string]map[querschott.IK]string `json:"routing,omitempty" doc:"type, IK, id of an instance"`
}

// CatalogInstance is one running service.
type CatalogInstance struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// GateError is a refusal by the gate in front of a service of the telematics infrastructure (gemSpec_ZETA).
type GateError struct {
	Code        zeta.Code `json:"error"`
	Description string    `json:"error_description,omitempty"`
	URI         string    `json:"error_uri,omitempty" doc:"public status page, when a door is not open"`
}

const (
	fhirJSON = "application/fhir+json"
	fhirXML  = "application/fhir+xml"
)

// VSDM returns the routes of the service of insured persons' master data and of finding it.
func VSDM() []Route {
	cached := []Input{etag, {Name: "Cache-Control", About: Text{"Wie lange das Dokument gilt.", "How long the document may be kept."}}}
	return []Route{
		{
			Method: "GET", Path: "/catalog.json", ID: "getCatalog", Group: "discovery",
			Title:   Text{"Dienstekatalog", "Service catalog"},
			About:   Text{"Welche Kasse von welchem Dienst bedient wird. Clients behalten ihn eine Stunde; eine geschlossene Tür steht nicht darin.", "Which insurer is served by which service. Clients keep it for an hour; a closed door is not in it."},
			Answers: []Answer{{Status: 200, About: Text{"Der Katalog.", "The catalog."}, Mimes: []string{"application/json"}, Body: Catalog{}, Headers: cached}, {Status: 304, About: Text{"Unverändert.", "Not changed."}}},
			Refuses: always,
		},
		{
			Method: "GET", Path: zeta.PathProtectedResource, ID: "getProtectedResource", Group: "discovery",
			Title:   Text{"Angaben zur geschützten Ressource", "Metadata of the protected resource"},
			About:   Text{"RFC 9728: wer die Token ausstellt und wie sie gebunden sind.", "RFC 9728: who issues the tokens and how they are bound."},
			Answers: []Answer{{Status: 200, About: Text{"Die Angaben.", "The metadata."}, Mimes: []string{"application/json"}, Body: zeta.ProtectedResource{}, Headers: cached}, {Status: 304, About: Text{"Unverändert.", "Not changed."}}},
			Refuses: always,
		},
		bundle(),
	}
}

// bundle is the online check of the health card. Its errors are the standard's: FHIR from the service, ZETA from the gate.
func bundle() Route {
	failed := func(status int, de, en string, mimes ...string) Answer {
		return Answer{Status: status, About: Text{de, en}, Mimes: mimes}
	}
	gate := func(status int, de, en string) Answer {
		return Answer{Status: status, About: Text{de, en}, Mimes: []string{"application/json"}, Body: GateError{}}
	}
	checked := []Input{
		{Name: "ETag", About: Text{"Stand der Daten, für die nächste Abfrage.", "State of the data, for the next request."}, Pattern: `^"[0-9a-f]{64}"$`},
		{Name: "VSDM-Pz", About: Text{"Prüfziffer des Prüfungsnachweises, base64url.", "Check number, the evidence of this check, base64url."}},
	}
	return Route{
		Method: "GET", Path: "/vsdservice/v1/vsdmbundle", ID: "getMasterData", Group: "vsdm", Who: "presence",
		Title: Text{"Stammdaten der Person, deren Karte vorlag", "Master data of the person whose card was there"},
		About: Text{
			"VSDM 2.0. Wen es betrifft, sagt allein das PoPP-Token; keine Nummer steht in der Adresse. Jede Abfrage wird verzeichnet, bevor die Antwort geht.",
			"VSDM 2.0. Whom it is about only the PoPP token says; no number is in the address. Each request is recorded before its answer leaves.",
		},
		Inputs: []Input{
			{Name: "profileVersion", In: "query", Required: true, About: Text{"Version der FHIR-Profile.", "Version of the FHIR profiles."}, Pattern: `^[0-9]+\.[0-9]+$`},
			{Name: "If-None-Match", In: "header", Required: true, About: Text{"Bekannter Stand, 0 für keinen.", "State at hand, 0 for none."}},
			{Name: "Accept", In: "header", About: Text{"application/fhir+json oder application/fhir+xml.", "application/fhir+json or application/fhir+xml."}},
		},
		Answers: []Answer{
			{Status: 200, About: Text{"Die Daten.", "The data."}, Mimes: []string{fhirJSON, fhirXML}, Headers: checked},
			{Status: 304, About: Text{"Die Daten sind wie bekannt; die Prüfziffer ist neu.", "The data are as at hand; the check number is new."}, Headers: checked},
			failed(400, "Kasse, Nummer, Version oder Kopfzeile sind falsch (79010, 79011, 79012, 79015, 79016, 79030), oder das PoPP-Token fehlt.", "Insurer, number, version or a header is wrong (79010, 79011, 79012, 79015, 79016, 79030), or the PoPP token is missing.", fhirJSON, fhirXML, "application/json"),
			gate(401, "Token oder Nachweis (DPoP) gelten nicht.", "Token or proof (DPoP) is not valid."),
			gate(403, "Das PoPP-Token gilt nicht, oder der Ausweis ist gesperrt.", "The PoPP token is not valid, or the credential is revoked."),
			failed(404, "Diese Kasse kennt die Person nicht (79013).", "This insurer does not know the person (79013).", fhirJSON, fhirXML),
			failed(405, "Nur GET (79040).", "Only GET (79040).", fhirJSON, fhirXML, "application/json"),
			failed(406, "Dieses Format gibt es nicht (79031).", "There is no such format (79031).", fhirJSON, fhirXML),
			failed(428, "If-None-Match fehlt (79014).", "If-None-Match is missing (79014).", fhirJSON, fhirXML),
			gate(429, "Zu viele Anfragen; Retry-After sagt, wann wieder.", "Too many requests; Retry-After says when to come back."),
			failed(500, "Ein Fehler bei uns (79100).", "A fault of ours (79100).", fhirJSON, fhirXML, "application/json"),
			gate(503, "Die Tür der Abteilung ist nicht offen; Retry-After sagt, wann wieder zu fragen ist.", "The compartment's door is not open; Retry-After says when to ask again."),
		},
	}
}
