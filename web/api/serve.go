package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

//go:embed templates assets
var files embed.FS

// Config says what is described and asked.
type Config struct {
	Version string
	Servers []string // addresses of the API, may be empty
	Groups  []Group
	Routes  []Route
	Health  *Health
	Metrics http.Handler // nil: there are none
}

// API serves the description of the APIs, and how the node is. Its documents are made once.
type API struct {
	cfg      Config
	document *Document
	ready    map[string]page // by path, for the page with ?lang= behind
}

// page is a document as it is sent.
type page struct {
	mime, etag string
	body       []byte
}

func newPage(mime string, body []byte) page {
	sum := sha256.Sum256(body)
	return page{mime, `"` + hex.EncodeToString(sum[:16]) + `"`, body}
}

// New makes the documents. It fails if a route does not say everything that belongs to it.
func New(cfg Config) (*API, error) {
	var servers []Server
	for _, s := range cfg.Servers {
		servers = append(servers, Server{s})
	}
	d, err := build(Info{
		Title: "Querschott", Version: cfg.Version,
		Description: "The platform's own HTTP APIs. Refusals are problems (RFC 9457) with a code; services whose standard has its own errors answer with those.",
	}, servers, cfg.Groups, cfg.Routes)
	if err != nil {
		return nil, err
	}
	body, err := d.bytes()
	if err != nil {
		return nil, fmt.Errorf("couldn't write the description of the API: %w", err)
	}
	style, err := files.ReadFile("assets/style.css")
	if err != nil {
		return nil, fmt.Errorf("couldn't read the style of the API's page: %w", err)
	}
	a := &API{cfg: cfg, document: d, ready: map[string]page{
		PathDocument: newPage("application/json", body), pathStyle: newPage("text/css; charset=utf-8", style),
	}}
	return a, a.draw()
}

// draw makes the page in every language.
func (a *API) draw() error {
	t, err := template.New("page.html").ParseFS(files, "templates/page.html")
	if err != nil {
		return fmt.Errorf("couldn't read the template of the API's page: %w", err)
	}
	for _, language := range []string{"de", "en"} {
		var b bytes.Buffer
		if err := t.Execute(&b, a.view(language)); err != nil {
			return fmt.Errorf("couldn't draw the API's page: %w", err)
		}
		a.ready[PathPage+"?lang="+language] = newPage("text/html; charset=utf-8", b.Bytes())
	}
	return nil
}

// Document returns the OpenAPI document.
func (a *API) Document() *Document { return a.document }

// Operations returns the handler of the operations address: /healthz, /metrics and the description.
func (a *API) Operations() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathHealth, a.health(func(r Report) bool { return r.Ready }))
	mux.HandleFunc("GET "+PathLive, a.health(func(r Report) bool { return r.Live }))
	if a.cfg.Metrics != nil {
		mux.Handle("GET "+PathMetrics, a.cfg.Metrics)
	}
	for _, path := range Paths() {
		mux.HandleFunc("GET "+path, a.describe)
	}
	return mux
}

// Paths returns the paths that [API.Answer] serves.
func Paths() []string { return []string{PathDocument, PathPage, pathStyle} }

func (a *API) health(good func(Report) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r := a.cfg.Health.Look()
		body, err := json.Marshal(r)
		if err != nil {
			panic(err) // words always marshal
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		status := http.StatusOK
		if !good(r) {
			status = http.StatusServiceUnavailable
			h.Set("Retry-After", "5")
		}
		w.WriteHeader(status)
		_, _ = w.Write(body) // whoever asked has gone
	}
}

func (a *API) describe(w http.ResponseWriter, r *http.Request) {
	status, header, body := a.find(r.URL.Path, r.URL.Query(), r.Header)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked has gone
}

// Answer serves the description behind the gate: a [service.Func] for a public route to each of [Paths].
func (a *API) Answer(_ context.Context, r *service.Request) (*service.Answer, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, querschott.Refuse(querschott.CodeMethod, "the description can only be read")
	}
	status, header, body := a.find(r.Path, r.Query, r.Header)
	if status == http.StatusNotFound {
		return nil, querschott.Refuse(querschott.CodeNotFound, "there is no such description")
	}
	return &service.Answer{
		Status: status, Header: header, Body: body,
		Facts: service.Facts{Action: ledger.ActionRead, Outcome: ledger.OutcomeSuccess},
	}, nil
}

// find returns a document. The page is chosen by ?lang=, else by the browser's wish.
func (a *API) find(path string, query url.Values, ask http.Header) (int, http.Header, []byte) {
	h := http.Header{}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	key := path
	if path == PathPage {
		language := query.Get("lang")
		if language != "de" && language != "en" {
			language = preferred(ask.Get("Accept-Language"))
			h.Set("Vary", "Accept-Language")
		}
		key += "?lang=" + language
		h.Set("Content-Language", language)
	}
	p, ok := a.ready[key]
	if !ok {
		return http.StatusNotFound, h, nil
	}
	h.Set("Etag", p.etag)
	h.Set("Cache-Control", "no-cache")
	if matches(ask.Values("If-None-Match"), p.etag) {
		return http.StatusNotModified, h, nil
	}
	h.Set("Content-Type", p.mime)
	return http.StatusOK, h, p.body
}

// matches reads If-None-Match (RFC 9110 13.1.2); our tags hold no comma.
func matches(fields []string, etag string) bool {
	for _, f := range fields {
		for tag := range strings.SplitSeq(f, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// preferred returns the language that an Accept-Language field wants most, German if it wants neither.
func preferred(field string) string {
	best, weight := "de", 0.0
	for part := range strings.SplitSeq(field[:min(len(field), 1000)], ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		q := 1.0
		if s, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(s, 64); err != nil || math.IsNaN(q) || q > 1 {
				continue
			}
		}
		if slices.Contains([]string{"de", "en"}, primary) && q > weight {
			best, weight = primary, q
		}
	}
	return best
}
