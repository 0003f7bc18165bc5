package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Settings are what an operator writes. The doc tags are the manual. [Default] returns all of them filled in.
type Settings struct {
	Upstream   string   `yaml:"upstream" json:"upstream" doc:"Base URL of the service behind the gate, http or https."`
	Public     string   `yaml:"public" json:"public" doc:"Base URL under which callers know the service. Its path is replaced by that of upstream; redirects are rewritten the other way round. Empty: the same path, and redirects become relative."`
	Service    string   `yaml:"service" json:"service" doc:"Whose doors decide: 'epa', 'vsdm', 'app' or 'desk' of the insurer that a request is about."`
	Insurer    []string `yaml:"insurer" json:"insurer" doc:"Where a request says which insurer it is about, unless its rule says so: 'path:NAME' (a {NAME} in the rule's path), 'query:NAME', 'header:NAME', 'host:{insurer}.fhir.example', 'value:109500969'. All that are found must agree."`
	Insurers   []string `yaml:"insurers" json:"insurers" doc:"Names that requests use instead of an IK, each 'name=109500969'. Empty: requests use the IK."`
	Unmatched  string   `yaml:"unmatched" json:"unmatched" doc:"Requests that no rule fits: 'pass' records them as unknown, 'refuse' answers 403."`
	Unreadable string   `yaml:"unreadable" json:"unreadable" doc:"Answers that cannot be counted: 'pass' records an unknown number, 'block' answers 502, or cuts a long answer off."`
	Links      bool     `yaml:"rewrite_links" json:"rewrite_links" doc:"Replace the base URL of upstream by that of public in JSON and XML answers. Needed only if the service does not build its links from Host or Forwarded."`

	TLS      TLSSettings     `yaml:"tls" json:"tls" doc:"The connection to the service, if upstream is https."`
	Headers  HeaderSettings  `yaml:"headers" json:"headers" doc:"Which headers the service gets. All others pass."`
	Timeouts TimeoutSettings `yaml:"timeouts" json:"timeouts" doc:"How long the gate waits for the service."`
	Limits   LimitSettings   `yaml:"limits" json:"limits" doc:"What one request and one compartment may take up; sizes in bytes."`

	Rules []Rule `yaml:"rules" json:"rules" doc:"How to read requests and answers. The first rule that fits wins."`
}

// TLSSettings configure the connection to the service.
type TLSSettings struct {
	CA          string `yaml:"ca" json:"ca" doc:"CA file that the service's certificate must chain to; empty: the system's."`
	Certificate string `yaml:"certificate" json:"certificate" doc:"Certificate chain that the gate shows, PEM; empty: none."`
	Key         string `yaml:"key" json:"key" doc:"Private key of that certificate, PEM."`
	Name        string `yaml:"name" json:"name" doc:"Name that must stand in the service's certificate; empty: the host of upstream."`
}

// HeaderSettings say which headers change on the way.
type HeaderSettings struct {
	Host       string   `yaml:"host" json:"host" doc:"'caller': the service sees the host name that the caller used. 'upstream': that of upstream."`
	Forwarded  bool     `yaml:"forwarded" json:"forwarded" doc:"Append Forwarded (RFC 7239)."`
	XForwarded bool     `yaml:"x_forwarded" json:"x_forwarded" doc:"Set X-Forwarded-For, -Host and -Proto, for services that do not know Forwarded."`
	Identity   bool     `yaml:"identity" json:"identity" doc:"Set ZETA-User-Info and, if there was a proof of presence, ZETA-PoPP-Token-Content from what the gate has verified."`
	Drop       []string `yaml:"drop" json:"drop" doc:"Further headers of requests that do not reach the service, such as authorization."`
	Cookies    []string `yaml:"drop_cookies" json:"drop_cookies" doc:"Cookies that do not reach the service; '*' at the end stands for any rest."`
}

// TimeoutSettings bound waiting.
type TimeoutSettings struct {
	Connect time.Duration `yaml:"connect" json:"connect" doc:"For a connection, and once more for its TLS handshake."`
	Slot    time.Duration `yaml:"slot" json:"slot" doc:"For one of the compartment's connections to become free; then 503."`
	Header  time.Duration `yaml:"header" json:"header" doc:"From the end of the request to the header of the answer; then 504."`
	Answer  time.Duration `yaml:"answer" json:"answer" doc:"For the whole of an answer that is no stream; then 504."`
	Idle    time.Duration `yaml:"idle" json:"idle" doc:"For the next bytes of an answer."`
	Stream  time.Duration `yaml:"stream" json:"stream" doc:"For the whole of a long answer or a stream, which is cut off then."`
}

// LimitSettings bound memory and connections.
type LimitSettings struct {
	Connections int   `yaml:"connections" json:"connections" doc:"Requests of one compartment at the service at the same time, WebSockets included."`
	Inspect     int64 `yaml:"inspect" json:"inspect" doc:"Body of a request in which a rule looks for persons; a larger one is answered with 413."`
	Buffer      int64 `yaml:"buffer" json:"buffer" doc:"An answer up to this size is counted whole before it leaves, a larger one in pieces. XPath reads no larger one."`
	Answer      int64 `yaml:"answer" json:"answer" doc:"Largest answer; a larger one is cut off. Event streams have no such limit."`
	Header      int64 `yaml:"header" json:"header" doc:"All headers of an answer; more is answered with 502."`
}

// Rule describes one kind of request and its answers.
type Rule struct {
	Name    string   `yaml:"name" json:"name" doc:"Name of the rule; it stands in the ledger."`
	Methods []string `yaml:"methods" json:"methods" doc:"Methods that it fits, empty: all. GET includes HEAD."`
	Path    string   `yaml:"path" json:"path" doc:"Path that it fits, as callers write it. {NAME} stands for one segment, {NAME...} at the end for any rest, the empty one included. Upper and lower case are the same."`
	Has     []string `yaml:"has" json:"has" doc:"Query parameters that must be there for it to fit."`
	Insurer []string `yaml:"insurer" json:"insurer" doc:"Where the request names the insurer, instead of the list above."`
	Person  []string `yaml:"person" json:"person" doc:"Where the request names persons: 'path:', 'query:' (also in a form that is posted), 'header:', 'json:POINTER' or 'xpath:EXPRESSION' in its body. FHIR forms are understood: Patient/ID, SYSTEM|VALUE, lists with commas, modifiers and chains of the parameter."`
	Action  string   `yaml:"action" json:"action" doc:"'read', 'search', 'create', 'update', 'delete' or 'execute'. Empty: from the method."`
	Data    string   `yaml:"data" json:"data" doc:"Class of the data: 'insurance-data', 'record', 'contact', 'account', 'sick-note', 'doctor-letter', 'message', 'none'. Empty: from the service."`
	Fields  string   `yaml:"fields" json:"fields" doc:"Group of fields that is reached, a word of your own."`
	Purpose string   `yaml:"purpose" json:"purpose" doc:"Purpose of use: 'treatment', 'payment', 'operations', 'patient-request', 'emergency', 'security', 'audit' or empty."`
	Count   string   `yaml:"count" json:"count" doc:"How records are counted. 'fhir': resources of a FHIR answer, JSON, XML or NDJSON. 'json': values at the pointer records. 'xml': nodes at the XPath records. 'lines': lines (NDJSON). 'events': server-sent events. 'one': one if the request succeeds. 'none': there is nothing to count."`
	Records string   `yaml:"records" json:"records" doc:"For 'json' a pointer such as /items/*, for 'xml' an XPath such as //item, for 'fhir' 'matches' to leave out what _include brought along."`
	Persons []string `yaml:"persons" json:"persons" doc:"Pointers ('json', 'lines') or XPaths ('xml') of the persons in an answer. FHIR answers need none."`
	Stream  bool     `yaml:"stream" json:"stream" doc:"Pass the answer on as it comes, in pieces, however short it is. Event streams and NDJSON always are."`
}

// Config is what a proxy needs.
type Config struct {
	Settings
	Log *slog.Logger     // default: none
	Now func() time.Time // default time.Now; for what is told, not for network timeouts
}

// Default returns the settings that stand in front of a FHIR server.
func Default(upstream string) Settings {
	return Settings{
		Upstream: upstream, Service: string(querschott.EPA), Insurer: []string{"header:X-Insurer"}, Insurers: []string{},
		Unmatched: pass, Unreadable: pass,
		Headers: HeaderSettings{
			Host: hostCaller, Forwarded: true, XForwarded: true, Drop: []string{}, Cookies: []string{"__Host-querschott*", "querschott*"},
		},
		Timeouts: TimeoutSettings{
			Connect: 5 * time.Second, Slot: 2 * time.Second, Header: 30 * time.Second, Answer: time.Minute, Idle: 30 * time.Second,
			Stream: time.Hour,
		},
		Limits: LimitSettings{Connections: 32, Inspect: 1 << 20, Buffer: 1 << 20, Answer: 1 << 30, Header: 64 << 10},
		Rules:  fhirRules(upstream),
	}
}

// fhirRules describe a FHIR server.
func fhirRules(upstream string) []Rule {
	base := ""
	if u, err := url.Parse(upstream); err == nil {
		base = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	read, search := []string{"GET"}, []string{"GET", "POST"}
	who := []string{"query:patient", "query:subject", "query:beneficiary"}
	self := []string{"query:_id", "query:identifier"}
	return []Rule{
		{Name: "capabilities", Methods: read, Path: base + "/metadata", Count: countNone, Data: "none"},
		{Name: "patient", Methods: read, Path: base + "/Patient/{person}", Person: []string{"path:person"}, Fields: "patient", Count: countFHIR},
		{Name: "patient-everything", Methods: search, Path: base + "/Patient/{person}/$everything", Person: []string{"path:person"}, Action: "search", Fields: "everything", Count: countFHIR},
		{Name: "next-page", Methods: read, Path: base + "/", Has: []string{"_getpages"}, Action: "search", Fields: "search", Count: countFHIR},
		{Name: "batch", Methods: []string{"POST"}, Path: base + "/", Action: "execute", Fields: "batch", Count: countFHIR},
		{Name: "patient-search-form", Methods: []string{"POST"}, Path: base + "/Patient/_search", Person: self, Action: "search", Fields: "patient", Count: countFHIR},
		{Name: "patient-search", Methods: read, Path: base + "/Patient", Person: self, Action: "search", Fields: "patient", Count: countFHIR},
		{Name: "search-form", Methods: []string{"POST"}, Path: base + "/{type}/_search", Person: who, Action: "search", Fields: "search", Count: countFHIR},
		{Name: "search", Methods: read, Path: base + "/{type}", Person: who, Action: "search", Fields: "search", Count: countFHIR},
		{Name: "create", Methods: []string{"POST"}, Path: base + "/{type}", Person: []string{"json:/subject/reference", "json:/patient/reference"}, Fields: "resource", Count: countOne},
		{Name: "resource", Path: base + "/{type}/{id}", Fields: "resource", Count: countFHIR},
		{Name: "history", Methods: read, Path: base + "/{type}/{id}/_history/{version...}", Fields: "resource", Count: countFHIR},
	}
}

// The words of the settings.
const (
	pass, refuse, block         = "pass", "refuse", "block"
	hostCaller, hostUpstream    = "caller", "upstream"
	countFHIR, countJSON        = "fhir", "json"
	countXML, countLines        = "xml", "lines"
	countEvents, countOne       = "events", "one"
	countNone                   = "none"
	recordsMatches              = "matches"
	maxRules, maxNames, maxWord = 500, 10_000, 64
)

// Validate checks what can be told from the text alone, rules included.
func (s *Settings) Validate() error {
	_, err := s.compile()
	return err
}

func (s *Settings) check() error {
	var errs error
	wrong := func(format string, args ...any) { errs = errors.Join(errs, fmt.Errorf(format, args...)) }
	base := func(key, text string) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			wrong("%s: must be a URL such as https://fhir.example/base", key)
		} else if _, err := splitPath(u.EscapedPath()); err != nil {
			wrong("%s: its path cannot be understood in one way only", key)
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			wrong("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))
		}
	}
	base("upstream", s.Upstream)
	if s.Public != "" {
		base("public", s.Public)
	} else if s.Links {
		wrong("rewrite_links: needs public")
	}
	if svc, err := querschott.ParseService(s.Service); err != nil || svc.ByMail() {
		wrong("service: %q is not one of epa, vsdm, app, desk", s.Service)
	}
	oneOf("unmatched", s.Unmatched, pass, refuse)
	oneOf("unreadable", s.Unreadable, pass, block)
	oneOf("headers.host", s.Headers.Host, hostCaller, hostUpstream)
	if (s.TLS.Certificate == "") != (s.TLS.Key == "") {
		wrong("tls: certificate and key belong together")
	}
	if len(s.Rules) > maxRules {
		wrong("rules: there are more than %d", maxRules)
	}
	return errors.Join(errs, s.Timeouts.check(), s.Limits.check())
}

func (t *TimeoutSettings) check() error {
	for _, d := range []time.Duration{t.Connect, t.Slot, t.Header, t.Answer, t.Idle, t.Stream} {
		if d < time.Millisecond || d > 7*24*time.Hour {
			return errors.New("timeouts: each must be between 1ms and a week")
		}
	}
	return nil
}

func (l *LimitSettings) check() error {
	if l.Connections < 1 || l.Connections > 10_000 {
		return errors.New("limits.connections: must be between 1 and 10000")
	}
	for _, n := range []int64{l.Inspect, l.Buffer, l.Header} {
		if n < 1<<10 || n > 64<<20 {
			return errors.New("limits: inspect, buffer and header must be between 1 KiB and 64 MiB")
		}
	}
	if l.Answer < l.Buffer {
		return errors.New("limits.answer: must be at least limits.buffer")
	}
	return nil
}
