package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

const (
	one querschott.IK = "109500969"
	two querschott.IK = "101575519"

	requestID = "0192f0c1-2345-7000-8000-000000000001"
)

// world is a proxy in front of a service, with the gate's part played by the test.
type world struct {
	t     testing.TB
	proxy *Proxy
	log   bytes.Buffer
}

// newWorld starts a service and a proxy in front of it. change may change the settings.
func newWorld(t testing.TB, service http.Handler, change func(*Settings)) *world {
	up := httptest.NewUnstartedServer(service)
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.Start()
	t.Cleanup(up.Close)
	return newWorldAt(t, up.URL+"/fhir", change)
}

func newWorldAt(t testing.TB, upstream string, change func(*Settings)) *world {
	s := Default(upstream)
	s.Public = "https://gate.example/fhir"
	if change != nil {
		change(&s)
	}
	w := &world{t: t}
	var err error
	if w.proxy, err = New(Config{Settings: s, Log: slog.New(slog.NewTextHandler(&w.log, nil))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.proxy.Close()
		w.proxy.lanes.mu.Lock()
		defer w.proxy.lanes.mu.Unlock()
		for c, way := range w.proxy.lanes.by {
			if len(way.slots) != 0 {
				t.Errorf("%d slots of %s were not given back", len(way.slots), c)
			}
		}
	})
	return w
}

// request is a request as the gate hands it on. Headers are pairs.
func request(method, target, body string, headers ...string) *gate.Request {
	raw := httptest.NewRequest(method, "https://gate.example"+target, strings.NewReader(body))
	raw.Header.Set("X-Insurer", string(one))
	for i := 0; i < len(headers); i += 2 {
		raw.Header.Set(headers[i], headers[i+1])
	}
	return &gate.Request{
		Request: service.Request{
			ID: requestID, Time: time.Unix(1_800_000_000, 0), Compartment: querschott.Compartment{Insurer: one, Service: querschott.EPA}, Epoch: 7,
			Method: method, Path: raw.URL.Path, Query: raw.URL.Query(), Body: raw.Body,
			Caller: querschott.Caller{Actor: "1-practice", Role: querschott.RolePractice, Profession: "1.2.276.0.76.4.50", Name: "Praxis"},
		},
		Raw: raw, Identity: &ident.Identity{}, Remote: netip.MustParseAddr("192.0.2.7"),
	}
}

// answered is an answer with its pieces put together.
type answered struct {
	*service.Answer
	body    []byte
	pieces  int
	records uint32
	persons []querschott.KVNR
}

func (w *world) ask(r *gate.Request) (*answered, error) {
	w.t.Helper()
	a, err := w.proxy.Backend(w.t.Context(), r)
	if err != nil {
		return nil, err
	}
	return drain(w.t, a)
}

// drain reads an answer to its end as the gate does.
func drain(t testing.TB, a *service.Answer) (*answered, error) {
	t.Helper()
	got := &answered{Answer: a, body: a.Body, records: a.Facts.Records, persons: a.Facts.Persons}
	if a.Facts.Person != "" {
		got.persons = []querschott.KVNR{a.Facts.Person}
	}
	if a.Next == nil {
		if a.Close != nil {
			t.Error("a whole answer holds something open")
		}
		return got, nil
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	for {
		p, err := a.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if len(p.Data) == 0 || len(p.Persons) > maxPersons {
			t.Errorf("a piece has %d bytes and %d persons", len(p.Data), len(p.Persons))
		}
		got.pieces++
		got.body = append(got.body, p.Data...)
		got.records += p.Records
		for _, k := range p.Persons {
			if !slices.Contains(got.persons, k) {
				got.persons = append(got.persons, k)
			}
		}
	}
}

func (w *world) mustAsk(r *gate.Request) *answered {
	w.t.Helper()
	a, err := w.ask(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Raw.Method, r.Raw.URL.Path, err)
	}
	return a
}

func detail(f *service.Facts, name string) string {
	i := slices.IndexFunc(f.Detail, func(d ledger.Field) bool { return d.Name == name })
	if i < 0 {
		return ""
	}
	return f.Detail[i].Value
}

// answering is a service that always gives one answer.
func answering(status int, contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}
