package node

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate/proxy"
	"github.com/querschott/querschott/ident/mtls"
)

// HTTPConfig configures the HTTP entrance.
type HTTPConfig struct {
	Listen          string         `yaml:"listen" json:"listen" doc:"Address of the HTTPS entrance (HTTP/1.1 and HTTP/2), empty: none."`
	URL             string         `yaml:"url" json:"url" doc:"Address under which callers know the entrance, such as https://vsdm.kassen.example. Proofs of possession are compared with it, never with what a request claims. Empty: https:// and the address it listens on."`
	Certificate     string         `yaml:"certificate" json:"certificate" doc:"Certificate chain, PEM."`
	Key             string         `yaml:"key" json:"key" doc:"Private key of the certificate, PEM."`
	MinTLS          string         `yaml:"min_tls" json:"min_tls" doc:"Oldest version of TLS that is spoken: '1.3', or '1.2' for old clients."`
	Proxies         []string       `yaml:"proxies" json:"proxies" doc:"Networks of load balancers in front, such as 10.1.0.0/16. Only they may say who calls (Forwarded, X-Forwarded-For); from everybody else such headers are removed."`
	Machines        []Machine      `yaml:"machines" json:"machines" doc:"Machines that identify themselves by a client certificate, ZETA Guards in front among them."`
	AccessIssuers   []IssuerConfig `yaml:"access_issuers" json:"access_issuers" doc:"Who may issue access tokens."`
	PresenceIssuers []IssuerConfig `yaml:"presence_issuers" json:"presence_issuers" doc:"Who may issue proofs of patient presence (PoPP tokens)."`
	DevIssuers      bool           `yaml:"dev_issuers" json:"dev_issuers" doc:"Run issuers of access and PoPP tokens that give anybody what he asks for, and accept what they issue. For tests only: with it every insured person's data is open to everybody who reaches the entrance."`
	DevListen       string         `yaml:"dev_listen" json:"dev_listen" doc:"Address of these issuers; only a loopback address is allowed."`
	AllowBearer     bool           `yaml:"allow_bearer" json:"allow_bearer" doc:"Accept 'Authorization: Bearer' for access tokens that are bound to a key; the proof is demanded all the same."`
	NoTravel        bool           `yaml:"no_travel" json:"no_travel" doc:"Refuse an access token that is used from another address than it was issued to, and revoke it."`
	StrictAudience  bool           `yaml:"strict_audience" json:"strict_audience" doc:"Answer a token for another audience or scope with 403 instead of 401."`
	ProofAge        Duration       `yaml:"proof_age" json:"proof_age" doc:"How old a DPoP proof may be."`
	Leeway          Duration       `yaml:"leeway" json:"leeway" doc:"How far the clocks of issuers and callers may be off."`
	PresenceAge     Duration       `yaml:"presence_age" json:"presence_age" doc:"How long a PoPP token is valid after it was issued; 0s: until the end of its quarter, as gematik has it."`
	Staff           string         `yaml:"staff" json:"staff" doc:"File with the local accounts of operators and insurers' staff, with a second factor; 'querschott staff' maintains it."`
	AccessLog       string         `yaml:"access_log" json:"access_log" doc:"File to which one line of JSON is appended for each access and attempt, '-' for standard output, empty: none. It names no insured person; the ledger has the same facts in any case."`
	AccessLogSize   Size           `yaml:"access_log_size" json:"access_log_size" doc:"Size at which this file is renamed and a new one begun; 0: never."`
	AccessLogKeep   int            `yaml:"access_log_keep" json:"access_log_keep" doc:"How many renamed files are kept."`
	Limits          HTTPLimits     `yaml:"limits" json:"limits" doc:"What one caller, one insurer and the whole entrance may use."`
	Routes          []RouteConfig  `yaml:"routes" json:"routes" doc:"Existing services that the entrance stands in front of. The built-in services have their routes without being named here."`
}

// HTTPLimits bounds what the entrance uses.
type HTTPLimits struct {
	Connections   int      `yaml:"connections" json:"connections" doc:"Connections at the same time."`
	PerAddress    int      `yaml:"per_address" json:"per_address" doc:"Connections at the same time from one network (IPv4 /32, IPv6 /64)."`
	Concurrent    int      `yaml:"concurrent" json:"concurrent" doc:"Requests under way at the same time for one compartment, so that a flood on one insurer leaves the others alone. Twice as many more wait up to two seconds; what is beyond that is answered with 503."`
	NetworkRate   int      `yaml:"network_rate" json:"network_rate" doc:"Requests a second of one network, before anybody is identified; four times as many at once."`
	Rate          int      `yaml:"rate" json:"rate" doc:"Requests a second of one credential, on average; more are answered with 429."`
	Burst         int      `yaml:"burst" json:"burst" doc:"Requests of one credential at once."`
	Minute        int      `yaml:"persons_minute" json:"persons_minute" doc:"Different insured persons that one credential of a practice reaches within a minute."`
	Quarter       int      `yaml:"persons_quarter_hour" json:"persons_quarter_hour" doc:"The same within a quarter of an hour."`
	Day           int      `yaml:"persons_day" json:"persons_day" doc:"The same within 24 hours."`
	Header        Size     `yaml:"header" json:"header" doc:"Largest header of a request."`
	Body          Size     `yaml:"body" json:"body" doc:"Largest body of a request, unless its route says otherwise."`
	HeaderTimeout Duration `yaml:"header_timeout" json:"header_timeout" doc:"How long a caller may take for the header."`
	Timeout       Duration `yaml:"timeout" json:"timeout" doc:"How long a service may take for the first byte of its answer."`
	IdleTimeout   Duration `yaml:"idle_timeout" json:"idle_timeout" doc:"How long a connection may stay without a request."`
}

// IssuerConfig is one issuer of tokens. Its keys come from a file, from one address or by discovery.
type IssuerConfig struct {
	Issuer string   `yaml:"issuer" json:"issuer" doc:"The issuer exactly as tokens name it (iss)."`
	Keys   string   `yaml:"keys" json:"keys" doc:"File with the issuer's keys as a JWK set. It is read at the start. Empty: they are fetched."`
	Source string   `yaml:"source" json:"source" doc:"How they are fetched: 'metadata' (RFC 8414), 'federation' (OpenID Federation), 'key-set' (the address is that of a JWK set). Empty: 'metadata' for access tokens, 'federation' for PoPP tokens."`
	URL    string   `yaml:"url" json:"url" doc:"Address of the document; empty: the well-known place below the issuer."`
	CA     string   `yaml:"ca" json:"ca" doc:"CA file that the address's certificate must chain to; empty: the system's."`
	Staff  []string `yaml:"staff" json:"staff" doc:"IKs of the insurers for whose employees this issuer vouches, for the service desk; it then vouches for nobody else. Empty: for no employees. Such a token has the employee as sub, the insurer's IK as organization_name and 1.2.276.0.76.4.59 as profession_oid."`
	Pins   []string `yaml:"pins" json:"pins" doc:"Thumbprints (RFC 7638) of the only keys that are accepted; empty: every key of the set."`
}

// Machine is a caller with a client certificate.
type Machine struct {
	Name     string   `yaml:"name" json:"name" doc:"Name of the machine: small letters, digits, dots and dashes."`
	Pins     []string `yaml:"pins" json:"pins" doc:"SHA-256 of its certificate's public key (SubjectPublicKeyInfo), hexadecimal; two while its key is renewed."`
	CA       string   `yaml:"ca" json:"ca" doc:"Instead of pins: CA file that its certificate must chain to."`
	Subject  string   `yaml:"subject" json:"subject" doc:"With ca: the certificate's subject, exactly, such as CN=abrechnung,O=Musterkasse."`
	Role     string   `yaml:"role" json:"role" doc:"'partner', 'practice' or 'machine'."`
	Insurer  string   `yaml:"insurer" json:"insurer" doc:"IK of the only insurer that it may reach; empty: all."`
	Services []string `yaml:"services" json:"services" doc:"Services that it may call."`
	Guard    bool     `yaml:"guard" json:"guard" doc:"It is a ZETA Guard: its ZETA-* headers are believed. From everybody else they are removed."`
}

// RouteConfig puts the gate in front of an existing service.
type RouteConfig struct {
	Name     string         `yaml:"name" json:"name" doc:"Word for the route in ledger, metrics and events."`
	Host     string         `yaml:"host" json:"host" doc:"Host name under which it is called; empty: any."`
	Path     string         `yaml:"path" json:"path" doc:"Path; one that ends in / stands for everything below it."`
	Methods  []string       `yaml:"methods" json:"methods" doc:"Methods that are passed on; others are answered with 405. Empty: all."`
	Who      []string       `yaml:"who" json:"who" doc:"How callers identify themselves: 'token', 'certificate', 'guard', 'staff'. Several: any of them."`
	Roles    []string       `yaml:"roles" json:"roles" doc:"In which capacity one may call: 'practice', 'partner', 'staff', 'insured', 'operator'. Empty: any."`
	Audience []string       `yaml:"audience" json:"audience" doc:"Audiences that an access token must name; empty: the address of the entrance."`
	Scopes   []string       `yaml:"scopes" json:"scopes" doc:"Scopes that an access token must have."`
	Presence string         `yaml:"presence" json:"presence" doc:"PoPP token: 'none', 'optional' or 'required'; empty: none."`
	ACR      string         `yaml:"acr" json:"acr" doc:"Lowest level of authentication that an access token must name; empty: any."`
	Nonce    bool           `yaml:"nonce" json:"nonce" doc:"Demand a nonce of ours in each DPoP proof."`
	Errors   string         `yaml:"errors" json:"errors" doc:"Form of the gate's own errors: 'problem' (RFC 9457) or 'zeta'; empty: problem."`
	Body     Size           `yaml:"body" json:"body" doc:"Largest body of a request; 0: that of http.limits."`
	Proxy    proxy.Settings `yaml:"proxy" json:"proxy" doc:"The service behind the gate, and how to read its requests and answers."`
}

// UnmarshalYAML reads a route; what it does not say about the service behind the gate has the defaults of package proxy,
// which has no rules then.
func (r *RouteConfig) UnmarshalYAML(read func(any) error) error {
	type plain RouteConfig // without this method
	p := plain(*r)
	p.Proxy = proxy.Default("")
	p.Proxy.Rules = []proxy.Rule{}
	if err := read(&p); err != nil {
		return err
	}
	*r = RouteConfig(p)
	return nil
}

// VSDMConfig configures the service of insured persons' master data. An insurer has it if its list of services says so.
type VSDMConfig struct {
	Secrets     string   `yaml:"secrets" json:"secrets" doc:"File with the operator's secrets for check numbers, as agreed with the record services: on each line a key version, a blank, and at least 32 bytes in hexadecimal. Keep it on another medium than the data directory. Empty: they are made, and kept in the keyring."`
	Letter      string   `yaml:"letter" json:"letter" doc:"Operator's letter in check numbers, A to Z, given by gematik."`
	KeyVersion  int      `yaml:"key_version" json:"key_version" doc:"Version of the key that check numbers are issued under, 0 to 3. What the version before has issued verifies until it expires."`
	Audience    []string `yaml:"audience" json:"audience" doc:"Audiences that an access token must name; empty: the address of the entrance."`
	Scopes      []string `yaml:"scopes" json:"scopes" doc:"Scopes that an access token must have."`
	Profiles    []string `yaml:"profiles" json:"profiles" doc:"Versions of the FHIR profiles that are answered, newest last."`
	CheckDigits bool     `yaml:"strict_check_digits" json:"strict_check_digits" doc:"Refuse an IK or a number of an insured person whose check digit is wrong. gematik's own test data has such numbers."`
	Catalog     string   `yaml:"catalog" json:"catalog" doc:"Form of catalog.json, as gematik's two definitions disagree: 'schema' (0.9.2) or 'openapi' (1.0.0)."`
	Environment string   `yaml:"environment" json:"environment" doc:"Environment in catalog.json: 'dev', 'test', 'ref' or 'prod'; 'gemdev' in the form 'schema'."`
}

// TelemetryConfig configures what others may see of how the node works. None of it names an insured person or a caller.
type TelemetryConfig struct {
	Listen string `yaml:"listen" json:"listen" doc:"Address of metrics (/metrics, Prometheus) and of the reasons why the node is not well (/healthz), without TLS and without a login; empty: none. Keep it away from the public."`
	OTLP   string `yaml:"otlp" json:"otlp" doc:"Address of an OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; empty: nothing is sent."`
	CA     string `yaml:"ca" json:"ca" doc:"CA file that the collector's certificate must chain to; empty: the system's."`
	Traces bool   `yaml:"traces" json:"traces" doc:"Send traces to it."`
	Logs   bool   `yaml:"logs" json:"logs" doc:"Send the node's log to it, besides writing it."`

	Attacks bool `yaml:"attacks" json:"attacks" doc:"Send it the metric attack.detection.count with the attribute attackDetection.capecId: the early warning's detections, one each."`
}

func defaultHTTP() HTTPConfig {
	return HTTPConfig{
		Certificate: "tls/cert.pem", Key: "tls/key.pem", MinTLS: "1.3", Staff: "staff.json", DevListen: "127.0.0.1:0",
		ProofAge: Duration(2 * time.Minute), Leeway: Duration(time.Minute / 2),
		Proxies: []string{}, Machines: []Machine{}, AccessIssuers: []IssuerConfig{}, PresenceIssuers: []IssuerConfig{},
		Routes: []RouteConfig{}, AccessLogSize: 256 << 20, AccessLogKeep: 4,
		Limits: HTTPLimits{
			Connections: 4000, PerAddress: 400, Concurrent: 128, NetworkRate: 500, Rate: 50, Burst: 200, Minute: 300, Quarter: 1500, Day: 10_000,
			Header: 32 << 10, Body: 1 << 20,
			HeaderTimeout: Duration(10 * time.Second), Timeout: Duration(30 * time.Second), IdleTimeout: Duration(2 * time.Minute),
		},
	}
}

func defaultVSDM() VSDMConfig {
	return VSDMConfig{
		Letter: "X", Audience: []string{}, Scopes: []string{"vsdservice"}, Profiles: []string{"1.0", "1.1"}, Catalog: "schema", Environment: "test",
	}
}

// wrongs collects what is wrong with a configuration.
type wrongs struct{ err error }

func (w *wrongs) add(format string, args ...any) {
	w.err = errors.Join(w.err, fmt.Errorf(format, args...))
}

func (w *wrongs) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		w.add("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))
	}
}

func (w *wrongs) within(key string, value, low, high int) {
	if value < low || value > high {
		w.add("%s: must be between %d and %d", key, low, high)
	}
}

// address checks an absolute HTTP address without a query.
func (w *wrongs) address(key, value string, schemes ...string) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !slices.Contains(schemes, u.Scheme) {
		w.add("%s: %.100q is not an address that begins with %s://", key, value, strings.Join(schemes, ":// or "))
	}
}

func (w *wrongs) insurer(key, value string) {
	if value == "" {
		return
	}
	if _, err := querschott.ParseIK(value); err != nil {
		w.add("%s: %w", key, err)
	}
}

func (c *HTTPConfig) validate(w *wrongs) {
	w.oneOf("http.min_tls", c.MinTLS, "1.2", "1.3")
	if c.URL != "" {
		w.address("http.url", c.URL, "https")
		if u, err := url.Parse(c.URL); err == nil && u.Path != "" {
			w.add("http.url: must have no path")
		}
	}
	for _, p := range c.Proxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			w.add("http.proxies: %.50q is not a network such as 10.1.0.0/16", p)
		}
	}
	for _, m := range c.Machines {
		if m.Name == "" {
			w.add("http.machines: a machine has no name")
		}
		for _, p := range m.Pins {
			if _, err := mtls.ParsePin(p); err != nil {
				w.add("http.machines: %s: %w", m.Name, err)
			}
		}
		w.oneOf("http.machines: role of "+m.Name, m.Role, "partner", "practice", "machine")
		w.insurer("http.machines: insurer of "+m.Name, m.Insurer)
	}
	w.within("http.access_log_keep", c.AccessLogKeep, 1, 1000)
	validateIssuers(w, "http.access_issuers", c.AccessIssuers)
	validateIssuers(w, "http.presence_issuers", c.PresenceIssuers)
	if c.DevIssuers && !loopback(c.DevListen) {
		w.add("http.dev_listen: %s is reachable from outside; these issuers give anybody every token", c.DevListen)
	}
	if c.ProofAge < Duration(time.Second) || c.ProofAge > Duration(10*time.Minute) {
		w.add("http.proof_age: must be between 1s and 10m")
	}
	if c.Leeway > Duration(5*time.Minute) {
		w.add("http.leeway: must be at most 5m")
	}
	c.Limits.validate(w)
	names := map[string]bool{}
	for i := range c.Routes {
		r := &c.Routes[i]
		if names[r.Name] {
			w.add("http.routes: %s stands there twice", r.Name)
		}
		names[r.Name] = true
		r.validate(w)
	}
}

func (l *HTTPLimits) validate(w *wrongs) {
	const most = 1_000_000
	w.within("http.limits.connections", l.Connections, 1, most)
	w.within("http.limits.per_address", l.PerAddress, 1, most)
	w.within("http.limits.concurrent", l.Concurrent, 1, most)
	w.within("http.limits.rate", l.Rate, 1, most)
	w.within("http.limits.burst", l.Burst, 1, most)
	w.within("http.limits.network_rate", l.NetworkRate, 1, most)
	w.within("http.limits.persons_minute", l.Minute, 1, most)
	w.within("http.limits.persons_quarter_hour", l.Quarter, 1, most)
	w.within("http.limits.persons_day", l.Day, 1, most)
	w.within("http.limits.header", int(l.Header), 4<<10, 1<<20)
	w.within("http.limits.body", int(l.Body), 1<<10, 1<<30)
	for key, d := range map[string]Duration{"header_timeout": l.HeaderTimeout, "timeout": l.Timeout, "idle_timeout": l.IdleTimeout} {
		if d < Duration(time.Second) {
			w.add("http.limits.%s: must be at least 1s", key)
		}
	}
}

func validateIssuers(w *wrongs, key string, list []IssuerConfig) {
	seen := map[string]bool{}
	for _, is := range list {
		if seen[is.Issuer] {
			w.add("%s: %s stands there twice", key, is.Issuer)
		}
		seen[is.Issuer] = true
		w.address(key+": issuer", is.Issuer, "https", "http")
		if is.URL != "" {
			w.address(key+": url", is.URL, "https", "http")
		}
		if is.Keys != "" && (is.URL != "" || is.Source != "") {
			w.add("%s: %s has both a file for its keys and a place to fetch them from", key, is.Issuer)
		}
		for _, ik := range is.Staff {
			w.insurer(key+": staff of "+is.Issuer, ik)
		}
		if is.Source != "" {
			w.oneOf(key+": source of "+is.Issuer, is.Source, "metadata", "federation", "key-set")
		}
	}
}

var routeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (r *RouteConfig) validate(w *wrongs) {
	at := "http.routes: " + r.Name
	if !routeName.MatchString(r.Name) {
		w.add("%s: a route's name has 1 to 32 small letters, digits and '-'", at)
	}
	if !strings.HasPrefix(r.Path, "/") {
		w.add("%s: path must begin with /", at)
	}
	if err := r.Proxy.Validate(); err != nil {
		w.add("%s: proxy: %w", at, err)
	}
	if len(r.Who) == 0 {
		w.add("%s: who must say how callers identify themselves", at)
	}
	for _, who := range r.Who {
		w.oneOf(at+": who", who, byToken, byCertificate, byGuard, byStaff)
	}
	for _, role := range r.Roles {
		w.oneOf(at+": roles", role, "practice", "partner", "staff", "insured", "operator")
	}
	if r.Errors != "" {
		w.oneOf(at+": errors", r.Errors, "problem", "zeta")
	}
	if r.Presence != "" {
		w.oneOf(at+": presence", r.Presence, "none", "optional", "required")
	}
}

// How callers identify themselves.
const (
	byToken       = "token"
	byCertificate = "certificate"
	byGuard       = "guard"
	byStaff       = "staff"

	byOwnMachine = "own-machine" // by certificate, for one insurer; of built-in services only
)

func (c *VSDMConfig) validate(w *wrongs) {
	if len(c.Letter) != 1 || c.Letter[0] < 'A' || c.Letter[0] > 'Z' {
		w.add("vsdm.letter: must be one letter A to Z")
	}
	w.within("vsdm.key_version", c.KeyVersion, 0, 3)
	if len(c.Profiles) == 0 {
		w.add("vsdm.profiles: at least one version is needed")
	}
	for _, p := range c.Profiles {
		w.oneOf("vsdm.profiles", p, "1.0", "1.1")
	}
	w.oneOf("vsdm.catalog", c.Catalog, "schema", "openapi")
	allowed := []string{"dev", "test", "ref", "prod"}
	if c.Catalog == "schema" {
		allowed = append(allowed, "gemdev")
	}
	w.oneOf("vsdm.environment", c.Environment, allowed...)
}

func (c *TelemetryConfig) validate(w *wrongs) {
	if c.OTLP != "" {
		w.address("telemetry.otlp", c.OTLP, "https", "http")
	} else if c.Traces || c.Logs || c.Attacks {
		w.add("telemetry.otlp: traces, logs and attacks need a collector")
	}
}

// staffUsed is the directory that keeps which codes were used.
func (c *Config) staffUsed() string { return filepath.Join(c.Data, staffDir) }

// paths lists the fields that are paths.
func (c *HTTPConfig) paths() []*string {
	paths := []*string{&c.Certificate, &c.Key, &c.Staff}
	for i := range c.Machines {
		paths = append(paths, &c.Machines[i].CA)
	}
	if c.AccessLog != "-" {
		paths = append(paths, &c.AccessLog)
	}
	for _, list := range [][]IssuerConfig{c.AccessIssuers, c.PresenceIssuers} {
		for i := range list {
			paths = append(paths, &list[i].Keys, &list[i].CA)
		}
	}
	for i := range c.Routes {
		t := &c.Routes[i].Proxy.TLS
		paths = append(paths, &t.CA, &t.Certificate, &t.Key)
	}
	return paths
}
