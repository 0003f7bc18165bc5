package proxy

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/wire/zeta"
)

func TestHeadersOfRequests(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, func(s *Settings) {
		s.Headers.Drop = []string{"x-internal"}
		s.Headers.Identity = true
	})
	r := request("GET", "/fhir/Patient/"+kvnr(0)+"?_pretty=true",
		"", "Authorization", "DPoP abc", "Accept", "application/fhir+json", "If-None-Match", `W/"0"`, "X-Custom", "kept",
		"Zeta-User-Info", "forged", "Zeta_popp_token_content", "forged", "Querschott-Door-Epoch", "99", "X-Request-Id", "forged",
		"X-HTTP-Method-Override", "DELETE", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "X_Insurer", string(two), "X-Internal", "1",
		"Connection", "X-Hop", "X-Hop", "1", "Te", "trailers", "Expect", "100-continue", "Range", "bytes=0-1", "If-Range", "x",
		"Forwarded", "for=203.0.113.9", "Cookie", "__Host-querschott=secret; app=1; querschott-language=de")
	r.Remote = netip.MustParseAddr("2001:db8::7")
	r.Presence = &querschott.Presence{Content: []byte(`{"version": "1.0.0"}`)}
	w.mustAsk(r)
	got, _ := up.last()
	for name, want := range map[string]string{
		"Authorization": "DPoP abc", "Accept": "application/fhir+json", "If-None-Match": `W/"0"`, "X-Custom": "kept",
		"X-Request-Id": requestID, "Querschott-Door-Epoch": "7", "Cookie": "app=1", "Accept-Encoding": "identity",
		"X-Forwarded-For": "2001:db8::7", "X-Forwarded-Host": "gate.example", "X-Forwarded-Proto": "https",
		"Zeta-Popp-Token-Content": base64.RawURLEncoding.EncodeToString([]byte(`{"version":"1.0.0"}`)),
		"Zeta_popp_token_content": "", "X-Http-Method-Override": "", "X-Original-Url": "", "X-Rewrite-Url": "", "X_insurer": "",
		"X-Internal": "", "X-Hop": "", "Te": "", "Expect": "", "Range": "", "If-Range": "", "Connection": "", "User-Agent": "",
	} {
		if strings.Join(got.Header.Values(name), "|") != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Values(name), want)
		}
	}
	if got.Host != "gate.example" || got.RequestURI != "/fhir/Patient/"+kvnr(0)+"?_pretty=true" {
		t.Errorf("host %s, target %s", got.Host, got.RequestURI)
	}
	if !regexp.MustCompile(`^for=203\.0\.113\.9\s*,\s*(for|by|proto|host)=.+$`).MatchString(got.Header.Get("Forwarded")) ||
		!strings.Contains(got.Header.Get("Forwarded"), `for="[2001:db8::7]";host=gate.example;proto=https`) {
		t.Errorf("Forwarded: %s", got.Header.Get("Forwarded"))
	}
	info, err := zeta.ParseUserInfo(got.Header.Get("Zeta-User-Info"))
	if err != nil || info.Identifier != "1-practice" || info.CommonName != "Praxis" {
		t.Errorf("ZETA-User-Info: %+v, %v", info, err)
	}
}

// Nobody gets a header that says who one is without having been identified.
func TestNoIdentityWithoutIdentification(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, func(s *Settings) { s.Headers.Identity, s.Headers.Host = true, "upstream" })
	r := request("GET", "/fhir/metadata", "")
	r.Caller = querschott.Caller{Role: querschott.RoleUnknown}
	w.mustAsk(r)
	if got, _ := up.last(); got.Header.Get("Zeta-User-Info") != "" || got.Host != w.proxy.upstream.Host {
		t.Errorf("%v, host %s", got.Header, got.Host)
	}
	r = request("GET", "/fhir/metadata", "")
	r.Caller.Actor = querschott.Actor(strings.Repeat("x", 300))
	if _, err := w.ask(r); err == nil {
		t.Error("an identifier that does not fit passed")
	}
}

func TestHeadersOfAnswers(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Trailer", "X-Sum, Zeta-Cause")
		for name, value := range map[string]string{
			"X-Request-Id": "forged", "Querschott-Receipt": "forged", "Zeta-Error-Origin": "pep", "Alt-Svc": `h3="evil:443"`, "X-Custom": "kept",
			"Keep-Alive": "timeout=5", "Location": "http://" + "gate.example" + "/fhir/Patient/1", "Content-Type": "text/plain",
		} {
			h.Set(name, value)
		}
		h.Add("Set-Cookie", "a=1; Path=/fhir/x; Domain=127.0.0.1; HttpOnly")
		h.Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "moved")
		h.Set("X-Sum", "42")
		h.Set("Zeta-Cause", "Proxy")
	}), func(s *Settings) { s.Public = "https://gate.example/kasse/fhir" })
	got := w.mustAsk(request("GET", "/kasse/fhir/any", ""))
	for name, want := range map[string]string{
		"X-Request-Id": "", "Querschott-Receipt": "", "Zeta-Error-Origin": "", "Alt-Svc": "", "X-Custom": "kept", "Keep-Alive": "",
		"Location": "https://gate.example/kasse/fhir/Patient/1", "Set-Cookie": "a=1; Path=/kasse/fhir/x; HttpOnly|b=2",
		http.TrailerPrefix + "X-Sum": "42", http.TrailerPrefix + "Zeta-Cause": "",
	} {
		if have := strings.Join(got.Header[name], "|"); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
}

func TestLocations(t *testing.T) {
	w := newWorldAt(t, "https://fhir.internal:8443/hapi", func(s *Settings) { s.Public = "https://gate.example/fhir" })
	for at, want := range map[string]string{
		"https://fhir.internal:8443/hapi/Patient/1": "https://gate.example/fhir/Patient/1",
		"https://gate.example/hapi/Patient?a=b#c":   "https://gate.example/fhir/Patient?a=b#c",
		"/hapi/Patient/1":                           "/fhir/Patient/1",
		"/hapi":                                     "/fhir",
		"/hapiness":                                 "/hapiness",
		"Patient/1":                                 "Patient/1",
		"https://elsewhere.example/hapi/x":          "https://elsewhere.example/hapi/x",
		"//fhir.internal:8443/hapi/x":               "https://gate.example/fhir/x",
		"https://fhir.internal:8443/other":          "https://fhir.internal:8443/other",
		"https://fhir.internal:8443/hapi//evil/x":   "https://gate.example/fhir//evil/x",
		"mailto:a@b":                                "mailto:a@b",
	} {
		if got := w.proxy.location(at, "gate.example"); got != want {
			t.Errorf("%s becomes %s, want %s", at, got, want)
		}
	}
	bare := newWorldAt(t, "https://fhir.internal/hapi", func(s *Settings) { s.Public = "" })
	if got := bare.proxy.location("https://fhir.internal/hapi/x", "gate.example"); got != "/hapi/x" {
		t.Errorf("without a public address: %s", got)
	}
	root := newWorldAt(t, "https://fhir.internal/hapi", func(s *Settings) { s.Public = "https://gate.example" })
	if got := root.proxy.location("/hapi//evil.example/x", "gate.example"); got != "/evil.example/x" {
		t.Errorf("a path that would become a host: %s", got)
	}
}

const socketKey = "dGhlIHNhbXBsZSBub25jZQ=="

func TestTunnel(t *testing.T) {
	up := newFHIRForTests(t, 1)
	w := newWorld(t, up, nil)
	p, err := w.proxy.Tunnel(t.Context(), request("GET", "/fhir/Patient/"+kvnr(0), "", "Sec-WebSocket-Key", socketKey, "Sec-WebSocket-Version", "13"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Facts.Action != ledger.ActionExecute || p.Facts.Person.Reveal() != kvnr(0) || p.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || p.Header.Get("Upgrade") != "websocket" {
		t.Errorf("facts %+v, header %v", p.Facts, p.Header)
	}
	if seen, _ := up.last(); seen.Header.Get("Sec-Websocket-Version") != "13" || seen.Header.Get("X-Request-Id") != requestID {
		t.Errorf("the service got %v", seen.Header)
	}
	text := strings.Repeat("frame", 10_000)
	go func() { _, _ = io.WriteString(p.Conn, text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(p.Conn, got); err != nil || string(got) != text {
		t.Errorf("the echo: %v", err)
	}
	if err := p.Conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Conn.Read(got); err == nil {
		t.Error("it is open after its end")
	}
}

func TestTunnelsThatDoNotOpen(t *testing.T) {
	refusal := newWorld(t, newFHIRForTests(t, 1), nil)
	for name, headers := range map[string][]string{
		"no key": {}, "short key": {"Sec-WebSocket-Key", "YQ=="}, "no base64": {"Sec-WebSocket-Key", "!!"},
	} {
		if _, err := refusal.proxy.Tunnel(t.Context(), request("GET", "/fhir/x", "", headers...)); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := refusal.proxy.Tunnel(t.Context(), request("POST", "/fhir/x", "", "Sec-WebSocket-Key", socketKey)); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("POST: %v", err)
	}
	for name, answer := range map[string]string{
		"wrong key":      "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: YQ==\r\n\r\n",
		"other protocol": "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: " + accept(socketKey) + "\r\n\r\n",
		"fault":          "HTTP/1.1 400 B\r\nZETA-Cause: Proxy\r\nContent-Length: 0\r\n\r\n",
	} {
		w := newWorldAt(t, rawService(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) }), nil)
		var z *zeta.Error
		if _, err := w.proxy.Tunnel(t.Context(), request("GET", "/fhir/x", "", "Sec-WebSocket-Key", socketKey)); !errors.As(err, &z) || z.Status < 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t, answering(http.StatusForbidden, "application/fhir+json", `{"resourceType":"OperationOutcome"}`), nil)
	p, err := w.proxy.Tunnel(t.Context(), request("GET", "/fhir/x", "", "Sec-WebSocket-Key", socketKey))
	if err != nil || p.Conn != nil || p.Answer == nil || p.Answer.Status != http.StatusForbidden || p.Facts.Outcome != ledger.OutcomeDenied {
		t.Errorf("a refusal by the service: %+v, %v", p, err)
	}
}

// What the proxy sends is one request, whatever the caller writes.
func TestOneRequestIsOneRequest(t *testing.T) {
	requests := make(chan string, 10)
	w := newWorldAt(t, rawServiceKept(t, requests), nil)
	r := request("POST", "/fhir/Observation", "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", "Content-Type", "text/plain")
	r.Raw.ContentLength = -1 // it came in chunks
	w.mustAsk(r)
	if _, err := w.ask(request("GET", "/fhir/metadata", "", "X-A", "b\r\nX-Evil: 1")); err == nil {
		t.Error("a header with a line break passed")
	}
	w.mustAsk(request("POST", "/fhir/Observation", "{}", "Content-Type", "text/plain")) // on the connection of the first
	w.mustAsk(request("GET", "/fhir/metadata", ""))
	w.mustAsk(request("GET", "/fhir/metadata", "", "X-A", "b"))
	close(requests)
	var got []string
	for line := range requests {
		got = append(got, line)
	}
	want := []string{"1 POST /fhir/Observation", "1 POST /fhir/Observation", "3 GET /fhir/metadata", "3 GET /fhir/metadata"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the service saw %v", got)
	}
}

// rawServiceKept reads requests with net/http and tells them, each with the number of its connection.
func rawServiceKept(t *testing.T, requests chan<- string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(n int, conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Header.Get("X-Evil") != "" {
				t.Error("a header was smuggled in")
			}
			requests <- fmt.Sprintf("%d %s %s", n, r.Method, r.URL.Path)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		}
	}
	go func() {
		for n := 0; ; {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n++
			go serve(n, conn)
		}
	}()
	return "http://" + l.Addr().String() + "/fhir"
}

func TestLinksAreRewrittenInAnyPieces(t *testing.T) {
	w := newWorldAt(t, "http://127.0.0.1:8080/fhir", func(s *Settings) { s.Links = true })
	body, err := json.Marshal([]string{
		"http://127.0.0.1:8080/fhir/Patient/1", "http://127.0.0.1:8080/fhir", "http://127.0.0.1:8080/fhirplace", "http://127.0.0.1:80", "x http://127.0.0.1:8080/fhir/a",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `["https://gate.example/fhir/Patient/1","https://gate.example/fhir","http://127.0.0.1:8080/fhirplace","http://127.0.0.1:80","x http://127.0.0.1:8080/fhir/a"]`
	for size := 1; size <= len(body); size++ {
		l := w.proxy.linksFor(http.Header{"Content-Type": {"application/json"}})
		var got []byte
		for rest := body; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			got = l.write(got, rest[:min(size, len(rest))])
		}
		if got = append(got, l.rest()...); string(got) != want {
			t.Fatalf("in pieces of %d: %s", size, got)
		}
	}
	if w.proxy.linksFor(http.Header{"Content-Type": {"image/png"}}) != nil {
		t.Error("pictures are rewritten")
	}
}
