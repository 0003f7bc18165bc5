package vsdm

import (
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/vsd"
)

// IKs of the published bundles, and one that is nobody's.
const (
	statutory = querschott.IK("103169760")
	private   = querschott.IK("168123458")
	merged    = querschott.IK("109500969") // a second IK of the statutory insurer
	nobody    = querschott.IK("104212059")

	anna    = querschott.KVNR("A123456780")
	both    = querschott.KVNR("B234567895") // insured at both insurers, in the published bundles
	missing = querschott.KVNR("X110592983") // insured nowhere

	doctor = querschott.Actor("1-20014021234")
	thief  = querschott.Actor("3-15.2.1234567890")
)

var spring = time.Date(2026, 4, 24, 12, 3, 26, 0, time.UTC)

// world is a platform of two insurers in memory.
type world struct {
	t       testing.TB
	s       *Service
	cfg     Config
	stores  map[querschott.IK]*celltest.Memory
	issues  *celltest.Memory
	numbers *pruefziffer.Keys

	mu     sync.Mutex // guards the fields below
	now    time.Time
	vaults map[querschott.Compartment]*cell.Vault
	keys   map[querschott.Compartment]*seal.Keys
	asked  map[querschott.IK]int // how often a cell was asked for anything
	logged strings.Builder
}

func compartment(ik querschott.IK) querschott.Compartment {
	return querschott.Compartment{Insurer: ik, Service: querschott.VSDM}
}

// newWorld makes a platform whose doors are open, with nobody insured.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, now: spring, stores: map[querschott.IK]*celltest.Memory{}, vaults: map[querschott.Compartment]*cell.Vault{},
		keys: map[querschott.Compartment]*seal.Keys{}, asked: map[querschott.IK]int{},
	}
	w.issues = celltest.NewMemory()
	w.numbers = numberKeys(t, 'X', 0)
	w.cfg = Config{
		Tenants: []Tenant{{statutory, []querschott.IK{merged}}, {Insurer: private}},
		Cell:    w.cell, Vault: w.vault, Issues: w.issues, Numbers: w.numbers,
		Secret: func(ik querschott.IK) ([]byte, error) {
			return []byte(strings.Repeat(string(ik[:8]), 4)), nil
		},
		Versions: []vsd.Version{vsd.V10, vsd.V11}, Now: w.clock,
		Log: slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.logged.Write(b)
		}), nil)),
	}
	for _, fn := range change {
		fn(&w.cfg)
	}
	for _, tenant := range w.cfg.Tenants {
		w.stores[tenant.Insurer] = celltest.NewMemory()
		w.open(tenant.Insurer)
	}
	var err error
	if w.s, err = New(w.cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// numberKeys makes keys of an operator; the seed decides the secret.
func numberKeys(t testing.TB, letter, seed byte) *pruefziffer.Keys {
	t.Helper()
	keys, err := pruefziffer.NewKeys(letter)
	if err == nil {
		secret := make([]byte, 32)
		for i := range secret {
			secret[i] = byte(i) + seed
		}
		err = keys.Add(2, secret, 0, spring)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) cell(ik querschott.IK) (cell.Store, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[ik]++
	return w.stores[ik], nil
}

func (w *world) vault(c querschott.Compartment) (*cell.Vault, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[c.Insurer]++
	if v := w.vaults[c]; v != nil {
		return v, nil
	}
	return nil, querschott.Refuse(querschott.CodeDoorHeld, "the door is shut")
}

// neverOpen is the vaults of shut doors.
func (w *world) neverOpen(querschott.Compartment) (*cell.Vault, error) {
	return nil, querschott.Refuse(querschott.CodeDoorHeld, "the door is shut")
}

// open opens a door; the keys are the same as before.
func (w *world) open(ik querschott.IK) {
	w.t.Helper()
	c := compartment(ik)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys[c] == nil {
		keys, _, err := seal.NewKeys(c)
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[c] = keys
	}
	w.vaults[c] = cell.NewVault(w.stores[ik], c, w.keys[c])
}

// shut shuts a door for good: its keys are gone, and so is what they open.
func (w *world) shut(ik querschott.IK) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.vaults, compartment(ik))
	w.keys[compartment(ik)].Forget()
	delete(w.keys, compartment(ik))
	w.stores[ik] = celltest.NewMemory() // nothing in it would open again
}

// restart ends the process and starts another one on what the stores have acknowledged.
func (w *world) restart() {
	w.t.Helper()
	w.mu.Lock()
	for ik, store := range w.stores {
		w.stores[ik] = store.Crash()
		w.vaults[compartment(ik)] = cell.NewVault(w.stores[ik], compartment(ik), w.keys[compartment(ik)])
	}
	w.issues = w.issues.Crash()
	w.cfg.Issues = w.issues
	w.mu.Unlock()
	var err error
	if w.s, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
}

// insure invents a person's record and stores it.
func (w *world) insure(ik querschott.IK, person querschott.KVNR) *vsd.Record {
	w.t.Helper()
	r := invent(ik, person)
	owner, ok := w.s.Owner(string(ik))
	if !ok {
		w.t.Fatalf("IK %s is nobody's", ik)
	}
	if _, err := w.s.Put(compartment(owner), insured.Entry{Record: r}); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func invent(ik querschott.IK, person querschott.KVNR) *vsd.Record {
	source := rand.New(rand.NewPCG(uint64(ik.Number()), uint64(len(person))+uint64(person.Reveal()[8])))
	return vsd.Generate(source, vsd.Invented{Payor: ik, PayorName: "Testkasse", Number: person, Private: ik == private, On: spring})
}

// question makes a request without a fault: a first check, JSON, profile version 1.0.
func (w *world) request(ik querschott.IK, person querschott.KVNR) *service.Request {
	owner, _ := w.s.Owner(string(ik))
	p := &querschott.Presence{
		Version: "1.0.0", Issuer: "https://popp.example.com", Issued: spring, Proved: spring, Method: "ehc-practitioner-user-x509",
		Patient: person.Reveal(), Insurer: string(ik), Actor: doctor, Profession: "1.2.276.0.76.4.32",
	}
	p.Hash[0] = 7
	return &service.Request{
		ID: "019aa696-ac5d-779a-8691-5f755f10deeb", Time: w.clock(), Compartment: compartment(owner), Method: http.MethodGet,
		Query:  url.Values{"profileVersion": {"1.0"}},
		Header: http.Header{"If-None-Match": {"0"}, "Accept": {"application/fhir+json"}},
		Body:   strings.NewReader(""),
		Caller: querschott.Caller{
			Actor: doctor, Role: querschott.RolePractice, Profession: "1.2.276.0.76.4.50", Name: "Praxis Amsel",
		},
		Presence: p,
	}
}

func (w *world) ask(r *service.Request) *service.Answer {
	w.t.Helper()
	a, err := w.s.Answer(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// number takes the check number out of an answer.
func (w *world) number(a *service.Answer) pruefziffer.Number {
	w.t.Helper()
	n, err := pruefziffer.Parse(a.Header.Get("VSDM-Pz"))
	if err != nil {
		w.t.Fatalf("an answer with status %d has no check number: %v", a.Status, err)
	}
	return n
}

// outcome is what a test reads of an OperationOutcome.
type outcome struct {
	ResourceType string `json:"resourceType"`
	ID           string `json:"id"`
	Meta         struct {
		Profile []string `json:"profile"`
	} `json:"meta"`
	Issue []struct {
		Severity string `json:"severity"`
		Code     string `json:"code"`
		Details  struct {
			Coding []struct {
				System  string `json:"system"`
				Code    string `json:"code"`
				Display string `json:"display"`
			} `json:"coding"`
			Text string `json:"text"`
		} `json:"details"`
		Diagnostics string   `json:"diagnostics"`
		Expression  []string `json:"expression"`
	} `json:"issue"`
}

// code returns the code of an answer: of the standard, or of those that are for the gate.
func (w *world) code(a *service.Answer) vsd.Code {
	w.t.Helper()
	if a.Status == http.StatusOK || a.Status == http.StatusNotModified {
		return 0
	}
	for _, f := range a.Facts.Detail {
		if f.Name == "code" {
			var code vsd.Code
			if err := json.Unmarshal([]byte(f.Value), &code); err != nil {
				w.t.Fatal(err)
			}
			return code
		}
	}
	w.t.Fatalf("an answer with status %d has no code in its facts", a.Status)
	return 0
}

// shared returns a folder of the published material beside the repository, by file name.
func shared(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	root := os.Getenv("QUERSCHOTT_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(root, "data", "vsdm2", folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the shared test material is missing")
		}
		t.Skip("the shared test material is missing")
	}
	list := map[string][]byte{}
	for _, file := range files {
		octets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list[filepath.Base(file)] = octets
	}
	return list
}
