//go:build e2e

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/jose"
)

// TestGateInFrontOfAFHIRServer puts the gate in front of a FHIR server of other people's parts (@medplum/fhir-router), with the
// commands that an operator uses, and reads, searches, writes, listens and talks through it. The server is not changed.
func TestGateInFrontOfAFHIRServer(t *testing.T) {
	t.Parallel()
	dir := peers(t)
	server, port := startFHIR(t, dir)
	e := gateFor(t, "http://127.0.0.1:"+port+"/fhir")
	p, _ := e.serve(t)
	in := e.world.Insurers()[0]
	c := querschott.Compartment{Insurer: in.IK, Service: querschott.EPA}
	e.openAll(t)
	x := e.practice(t, 0)
	ask := func(method, path, body string) look {
		t.Helper()
		return x.through(t, in.IK, method, path, body)
	}

	var ids []string
	for k := range 3 {
		got := ask(http.MethodPost, "/fhir/Patient", fmt.Sprintf(`{"resourceType":"Patient","name":[{"family":"Muster","given":["K%d"]}],"birthDate":"1980-01-0%d"}`, k, k+1))
		var made struct{ ID string }
		if err := json.Unmarshal([]byte(got.text), &made); err != nil || got.status != http.StatusCreated || made.ID == "" {
			t.Fatalf("create: %+v", got)
		}
		ids = append(ids, made.ID)
	}
	if got := ask(http.MethodGet, "/fhir/Patient/"+ids[0], ""); got.status != http.StatusOK || !strings.Contains(got.text, `"K0"`) {
		t.Errorf("read: %+v", got)
	}
	if got := ask(http.MethodGet, "/fhir/Patient?family=Muster", ""); got.status != http.StatusOK || strings.Count(got.text, `"resourceType":"Patient"`) != 3 {
		t.Errorf("search: %+v", got)
	}
	if got := ask(http.MethodGet, "/fhir/Patient/nobody", ""); got.status != http.StatusNotFound {
		t.Errorf("what is not there: %+v", got)
	}
	before := strings.Count(server.String(), "\n")
	x.access = "x" + x.access
	if got := ask(http.MethodGet, "/fhir/Patient/"+ids[0], ""); got.status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %+v", got)
	}
	x.access = x.access[1:]
	if after := strings.Count(server.String(), "\n"); after != before {
		t.Error("a request of somebody unknown reached the server")
	}
	e.streams(t, dir, x, c)
	if got := ask(http.MethodGet, "/fhir/Patient/"+ids[0], ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("while the door is closed: %+v", got)
	}
	e.recorded(t, x)
	p.stop(t)
}

// startFHIR starts the server and returns what it says about requests, and its port.
func startFHIR(t *testing.T, dir string) (*record, string) {
	t.Helper()
	log := &record{}
	cmd := script(t.Context(), dir, "fhirserver.mjs", "")
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it does not end by itself
		_ = cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the FHIR server did not start: %v\n%s", err, tail(log.String(), 2000))
	}
	return log, strings.TrimSpace(port)
}

// gateFor makes a gate in front of an existing service, as an operator does.
func gateFor(t *testing.T, upstream string, flags ...string) *entrance {
	t.Helper()
	dir := t.TempDir()
	e := &entrance{installation: &installation{program: "querschott", dir: dir, config: filepath.Join(dir, node.ConfigFile), world: drill.NewWorld(7, 1, 100)}}
	in := e.world.Insurers()[0]
	command(t, append([]string{"init", "gate", "--upstream", upstream, "--insurer", string(in.IK), "--name", in.Name, dir}, flags...)...)
	var err error
	if e.ca, err = drill.NewCA(time.Now()); err != nil {
		t.Fatal(err)
	}
	certify(t, e.ca, filepath.Join(dir, "tls"))
	if err := e.ca.WriteCertificate(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	at := freeAddress(t)
	e.base = "https://" + at
	e.makeIssuer(t)
	e.set(t, map[string]string{
		"http.listen": at, "http.url": e.base, "http.access_issuers": e.believe(t, "access", e.issuer.AccessKeys()), "console.listen": `""`, "log.format": "json",
	})
	return e
}

// through makes a request of a practice to the service behind the gate.
func (p *practice) through(t *testing.T, ik querschott.IK, method, path, body string) look {
	t.Helper()
	bare, _, _ := strings.Cut(path, "?")
	for range 2 { // the second time with the nonce that was asked for
		proof, err := drill.Proof(p.key, method, p.e.base+bare, p.access, p.nonce, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, p.e.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Authorization": "DPoP " + p.access, "DPoP": proof, "X-Insurer": string(ik), "Accept": "application/fhir+json", "Content-Type": "application/fhir+json",
		} {
			req.Header.Set(name, value)
		}
		got, header, err := exchange(p.client, req)
		if err != nil {
			t.Fatal(err)
		}
		nonce := header.Get("DPoP-Nonce")
		if got.status != http.StatusUnauthorized || nonce == "" || nonce == p.nonce {
			return got
		}
		p.nonce = nonce
	}
	t.Fatal("a nonce is asked for again and again")
	return look{}
}

// streams opens a WebSocket (npm ws) and an event stream, and closes the door.
func (e *entrance) streams(t *testing.T, dir string, x *practice, c querschott.Compartment) {
	t.Helper()
	key, err := x.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.KeyOf(&x.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	var jwk map[string]string
	if err := json.Unmarshal(data, &jwk); err != nil {
		t.Fatal(err)
	}
	jwk["d"] = base64.RawURLEncoding.EncodeToString(key)
	if data, err = json.Marshal(jwk); err != nil {
		t.Fatal(err)
	}
	cmd := script(t.Context(), dir, "streams.mjs", filepath.Join(e.dir, "ca.crt"), e.base, x.access, string(c.Insurer))
	cmd.Env = append(cmd.Env, "CLIENT_KEY="+string(data))
	var stderr record
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if lines.Text() == "events came" {
			e.run(t, "door", "set", c.String(), "closed", "--key", filepath.Join(e.dir, "operators", "anna.key"), "--reason", "drill", "--incident", "VF-3")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the client ended with %v\n%s", err, tail(stderr.String(), 2000))
	}
	for _, want := range []string{"stranger 401", "websocket echoed 100005", "events 200 text/event-stream", "events came", "websocket closed", "events cut"} {
		if !slices.Contains(said, want) {
			t.Errorf("the client does not say %q: %q", want, said)
		}
	}
}

// recorded looks for what the ledger says of all this.
func (e *entrance) recorded(t *testing.T, x *practice) {
	t.Helper()
	found := map[string]int{}
	for _, list := range entries(t, e.client(t)) {
		for _, got := range list {
			if got.Actor != x.actor {
				t.Errorf("somebody else did %+v", got)
			}
			found[fmt.Sprintf("%s %s %d", got.Action, got.Outcome, got.Records)]++
		}
	}
	t.Logf("the ledger has %v", found)
	for want, n := range map[string]int{"create success 1": 3, "read success 1": 1, "search success 3": 1} {
		if found[want] < n {
			t.Errorf("the ledger has %d times %q, want %d", found[want], want, n)
		}
	}
}
