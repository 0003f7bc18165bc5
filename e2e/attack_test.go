//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/internal/wait"
)

// reply is one answer on a connection.
type reply struct {
	status int
	header http.Header
	body   string
}

// attacked is an entrance under attack, in front of a service that remembers what reached it.
type attacked struct {
	*entrance
	at      string           // of the entrance
	cert    *tls.Certificate // of a machine of the first insurer
	process *process

	mu   sync.Mutex // guards seen
	seen []string   // what the service behind the gate got: method, path, host
}

// TestHTTPAttacks attacks the running program over raw connections: what a smuggler, a scanner or somebody with a stolen
// certificate of one insurer would send.
func TestHTTPAttacks(t *testing.T) {
	t.Parallel()
	a := newAttacked(t)
	t.Run("smuggling", a.smuggle)
	t.Run("probes", a.probe)
	t.Run("tenant", a.pretend)
	t.Run("header", a.hugeHeader)
	t.Run("bomb", a.bomb)
	t.Run("slowloris", a.slowloris)
	if log := a.process.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		t.Error("a data race or a panic is in the log")
	}
	a.process.stop(t)
}

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	a := &attacked{}
	answer := zeros(32 << 20)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen = append(a.seen, r.Method+" "+r.URL.RequestURI()+" "+r.Host+" "+r.Header.Get("X-Insurer"))
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/fhir+json")
		if strings.HasSuffix(r.URL.Path, "/Bomb") {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(answer)
			return
		}
		_, _ = io.WriteString(w, `{"resourceType":"Patient","id":"1"}`)
	}))
	t.Cleanup(behind.Close)
	// One credential plays all the attacks; held by itself, it would not get to the next.
	more := map[string]string{"http.header_timeout": "4s", "http.idle_timeout": "20s", "contain.automatic": "off"}
	for k, v := range unlimited {
		more[k] = v
	}
	a.entrance = installHTTP(t, 2, more)
	a.cert = clientCertificate(t, "kasse")
	a.set(t, map[string]string{
		"http.machines": fmt.Sprintf("[{name: kasse, pins: [%q], role: partner, insurer: %q, services: [epa]}]", mtls.PinOf(a.cert.Leaf).String(), a.world.Insurers()[0].IK),
		"http.routes": fmt.Sprintf(`[{name: by-path, path: /fhir/, who: [certificate], proxy: {upstream: %[1]q, service: epa, insurer: ["path:insurer"], unmatched: refuse, rules: [{name: all, path: "/fhir/{insurer}/{rest...}", count: fhir}]}},
    {name: by-header, path: /header/, who: [certificate], proxy: {upstream: %[1]q, service: epa, insurer: ["header:X-Insurer"], unmatched: refuse, rules: [{name: all, path: "/header/{rest...}", count: fhir}]}},
    {name: by-host, host: %[2]s.fhir.example, path: /, who: [certificate], proxy: {upstream: %[1]q, service: epa, insurer: ["host:{insurer}.fhir.example"], unmatched: refuse, rules: [{name: all, path: "/{rest...}", count: fhir}]}}]`,
			behind.URL, a.world.Insurers()[1].IK),
	})
	a.process, _ = a.serve(t)
	a.openAll(t)
	a.deliver(t, 1)
	a.at = strings.TrimPrefix(a.base, "https://")
	return a
}

// zeros is so many zero octets, compressed.
func zeros(n int) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one that there is
	}
	chunk := make([]byte, 1<<20)
	for range n / len(chunk) {
		_, _ = z.Write(chunk) // into memory
	}
	_ = z.Close()
	return b.Bytes()
}

// connect opens a connection for HTTP/1.1 written by hand.
func (a *attacked) connect(cert *tls.Certificate) (*tls.Conn, error) {
	cfg := &tls.Config{RootCAs: a.ca.Pool(), ServerName: hostname, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return tls.Dial("tcp", a.at, cfg)
}

// send writes octets as they are and returns the answers until the connection ends or, when there are some, falls silent.
func (a *attacked) send(t *testing.T, cert *tls.Certificate, octets string) []reply {
	t.Helper()
	return a.exchange(t, cert, octets, 1)
}

// exchange is send that waits for at least so many answers.
func (a *attacked) exchange(t *testing.T, cert *tls.Certificate, octets string, least int) (list []reply) {
	t.Helper()
	conn, err := a.connect(cert)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(wait.End(t))
	_, _ = io.WriteString(conn, octets) // the other side may have ended it already
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return list
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		list = append(list, reply{resp.StatusCode, resp.Header, string(body)})
		if err != nil {
			return list
		}
		if len(list) >= least {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
		}
	}
}

// reached returns what has reached the service behind the gate since the last call.
func (a *attacked) reached() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.seen
	a.seen = nil
	return list
}

// smuggle sends requests whose length two programs may read differently, each with a second request inside. One connection
// gives one answer, or none.
func (a *attacked) smuggle(t *testing.T) {
	const inner = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Smuggled: 1\r\n\r\n"
	first := "POST /fhir/" + string(a.world.Insurers()[0].IK) + "/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\n"
	size := fmt.Sprintf("%x", len(inner))
	if got := a.exchange(t, a.cert, strings.Repeat("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 2), 2); len(got) != 2 || got[1].status != http.StatusOK {
		t.Fatalf("two requests one after the other have the answers %v: the test would not notice a smuggled one", got)
	}
	length := "Content-Length: " + strconv.Itoa(len(inner)) + "\r\n"
	for name, octets := range map[string]string{
		"CL.TE":                         first + "Content-Length: " + strconv.Itoa(len(inner)+5) + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE.CL":                         first + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + size + "\r\n" + inner + "\r\n0\r\n\r\n" + inner,
		"TE.TE, identity after chunked": first + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"TE.TE, unknown":                first + "Transfer-Encoding: xchunked\r\n" + length + "\r\n" + inner,
		"TE.TE, twice chunked":          first + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE.TE, vertical tab":           first + "Transfer-Encoding: \x0bchunked\r\n" + length + "\r\n0\r\n\r\n" + inner,
		"TE.TE, blank before colon":     first + "Transfer-Encoding : chunked\r\n" + length + "\r\n0\r\n\r\n" + inner,
		"TE.TE, folded":                 first + "Transfer-Encoding:\r\n chunked\r\n" + length + "\r\n0\r\n\r\n" + inner,
		"TE.TE, in quotes":              first + "Transfer-Encoding: \"chunked\"\r\n" + length + "\r\n0\r\n\r\n" + inner,
		"two lengths":                   first + "Content-Length: 0\r\n" + length + "\r\n" + inner,
		"a list of lengths":             first + "Content-Length: 0, " + strconv.Itoa(len(inner)) + "\r\n\r\n" + inner,
		"a length with a sign":          first + "Content-Length: +0\r\n\r\n" + inner,
		"a negative length":             first + "Content-Length: -1\r\n\r\n" + inner,
		"a hexadecimal length":          first + "Content-Length: 0x0\r\n\r\n" + inner,
		"an enormous length":            first + "Content-Length: 18446744073709551616\r\n\r\n" + inner,
		"a chunk with a sign":           first + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + inner,
		"a chunk size that overflows":   first + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + inner,
		"a chunk without its end":       first + "Transfer-Encoding: chunked\r\n\r\n1\r\nZ0\r\n\r\n" + inner,
		"a line feed in a chunk's line": first + "Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n" + inner,
		"chunks in HTTP/1.0":            strings.Replace(first, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + inner,
		"a body of GET":                 "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + length + "\r\n" + inner,
		"a carriage return in a name":   first + "X\rTransfer-Encoding: chunked\r\n" + length + "\r\n" + inner,
		"NUL in a value":                first + "X: a\x00b\r\nContent-Length: 0\r\n\r\n" + inner,
		"Expect and a body":             first + "Expect: 100-continue\r\n" + length + "\r\n" + inner,
		"an upgrade to h2c":             "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" + length + "\r\n" + inner,
	} {
		got := a.send(t, a.cert, octets)
		final := slices.DeleteFunc(got, func(r reply) bool { return r.status == http.StatusContinue })
		statuses := []int{}
		for _, r := range final {
			statuses = append(statuses, r.status)
		}
		through := a.reached()
		if len(final) > 1 || len(through) > 1 || slices.ContainsFunc(through, func(s string) bool { return !strings.HasPrefix(s, "POST ") }) {
			t.Errorf("%s: answers %v; %q reached the service", name, statuses, through)
		}
		t.Logf("%-32s answers %v, %d reached the service", name, statuses, len(through))
	}
}

// probe sends what scanners send. Nothing is found, nothing breaks, and answers say nothing about the program.
func (a *attacked) probe(t *testing.T) {
	paths := []string{
		"/.env", "/.git/config", "/.aws/credentials", "/.ssh/id_rsa", "/.DS_Store", "/.well-known/security.txt", "/wp-login.php", "/wp-admin/",
		"/xmlrpc.php", "/phpinfo.php", "/phpmyadmin/", "/admin", "/login", "/console", "/manager/html", "/actuator/env", "/actuator/heapdump",
		"/server-status", "/debug/pprof/heap", "/debug/vars", "/metrics", "/api/v1/pods", "/solr/admin/info/system", "/jenkins/script", "/_cat/indices",
		"/cgi-bin/luci", "/cgi-bin/.%2e/.%2e/bin/sh", "/boaform/admin/formLogin", "/HNAP1/", "/owa/auth/x.js", "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
		"/index.php?s=/Index/think/app/invokefunction", "/etc/passwd", "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%c0%af..%c0%afetc/passwd",
		"/vsdservice/v1/vsdmbundle/", "/vsdservice/v1/vsdmbundle;x", "/vsdservice//v1/vsdmbundle", "/vsdservice/v1/../v1/vsdmbundle", "/VSDSERVICE/v1/vsdmbundle",
		"/v1/doors", "/control.sock", "/data/keyring.age", "/unlock.key", "/${jndi:ldap://x/a}", "/?q=${jndi:ldap://x/a}", "/'%20OR%201=1--", "/<script>alert(1)</script>",
	}
	tell := regexp.MustCompile(`(?i)go1\.|golang|goroutine|net/http|\.go:\d|/work|/tmp|/root|runtime error|pebble|stack`)
	counts := map[int]int{}
	sizes := map[int]int{}
	judge := func(name string, got []reply, allowed ...int) {
		t.Helper()
		if len(got) > 1 || len(got) == 1 && !slices.Contains(allowed, got[0].status) {
			t.Errorf("%s: %+v", name, got)
		}
		for _, r := range got {
			counts[r.status]++
			if r.status == http.StatusNotFound {
				sizes[len(r.body)]++
			}
			if m := tell.FindString(r.body); m != "" || r.header.Get("Server") != "" || r.header.Get("X-Powered-By") != "" {
				t.Errorf("%s: the answer says %q, Server %q", name, m, r.header.Get("Server"))
			}
		}
	}
	for _, p := range paths {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			got := a.send(t, nil, method+" "+p+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: () { :;}; echo ${jndi:ldap://x/a}\r\nContent-Length: 0\r\n\r\n")
			judge(method+" "+p, got, 400, 401, 404, 405)
		}
	}
	const host = " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for _, line := range []string{"TRACE /", "OPTIONS *", "OPTIONS /vsdservice/v1/vsdmbundle", "CONNECT example.org:443", "PROPFIND /", "TRACK /", "DEBUG /", "PRI *", "GET http://169.254.169.254/latest/meta-data/", "GET //example.org/", "get /healthz", "GET /healthz#x"} {
		judge(line, a.send(t, nil, line+host), 400, 401, 404, 405, 501, 505)
	}
	for name, octets := range map[string]string{
		"HTTP/0.9": "GET /healthz\r\n\r\n", "HTTP/1.0": "GET /healthz HTTP/1.0\r\n\r\n", "HTTP/3.0": "GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n",
		"no host": "GET /healthz HTTP/1.1\r\n\r\n", "two hosts": "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a blank host": "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", "octets": "\x00\x01\x02\x03\xff\xfe\r\n\r\n", "RTSP": "OPTIONS / RTSP/1.0\r\n\r\n",
		"SIP": "OPTIONS sip:nm SIP/2.0\r\n\r\n", "SMTP": "EHLO a\r\n", "HTTP/2 without ALPN": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		judge(name, a.send(t, nil, octets), 400, 404, 405, 505)
	}
	a.old(t)
	if through := a.reached(); len(through) > 0 {
		t.Errorf("%q reached the service", through)
	}
	if len(sizes) > 2 { // HEAD has no body
		t.Errorf("what is not there is answered with %d different lengths", len(sizes))
	}
	t.Logf("%d probes, answers by status %v", 3*len(paths)+12+11, counts)
}

// old speaks old versions of TLS, and plain HTTP.
func (a *attacked) old(t *testing.T) {
	t.Helper()
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		conn, err := tls.Dial("tcp", a.at, &tls.Config{RootCAs: a.ca.Pool(), ServerName: hostname, MinVersion: version, MaxVersion: version})
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s is spoken", tls.VersionName(version))
		}
	}
	plain, err := net.Dial("tcp", a.at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	_ = plain.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(plain, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if got, _ := io.ReadAll(plain); bytes.Contains(got, []byte("200 OK")) || bytes.Contains(got, []byte(`"ready"`)) {
		t.Errorf("plain HTTP is answered %q", got)
	}
}

// pretend has a machine of one insurer reach for another insurer's compartment by every trick with path, host and header.
func (a *attacked) pretend(t *testing.T) {
	own, other := string(a.world.Insurers()[0].IK), string(a.world.Insurers()[1].IK)
	request := func(target string, lines ...string) string {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Host:") }) {
			lines = append(lines, "Host: localhost")
		}
		return "GET " + target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\nConnection: close\r\n\r\n"
	}
	for name, octets := range map[string]string{
		"own, by path": request("/fhir/" + own + "/Patient/1"), "own, by header": request("/header/Patient/1", "X-Insurer: "+own),
	} {
		if got := a.send(t, a.cert, octets); len(got) != 1 || got[0].status != http.StatusOK || len(a.reached()) != 1 {
			t.Fatalf("%s: %+v", name, got)
		}
	}
	escape := regexp.MustCompile(`.`).ReplaceAllStringFunc(other, func(s string) string { return fmt.Sprintf("%%%x", s[0]) })
	tricks := map[string]string{
		"plainly":                        request("/fhir/" + other + "/Patient/1"),
		"dot segments":                   request("/fhir/" + own + "/../" + other + "/Patient/1"),
		"encoded dot segments":           request("/fhir/" + own + "/%2e%2e/" + other + "/Patient/1"),
		"half encoded dot segments":      request("/fhir/" + own + "/.%2E/" + other + "/Patient/1"),
		"twice encoded dot segments":     request("/fhir/" + own + "/%252e%252e/" + other + "/Patient/1"),
		"dot segments with a parameter":  request("/fhir/" + own + "/..;/" + other + "/Patient/1"),
		"encoded slashes":                request("/fhir/" + own + "%2f..%2f" + other + "/Patient/1"),
		"backslashes":                    request("/fhir/" + own + "\\..\\" + other + "/Patient/1"),
		"encoded backslashes":            request("/fhir/" + own + "%5c..%5c" + other + "/Patient/1"),
		"empty segments":                 request("/fhir//" + other + "/Patient/1"),
		"overlong UTF-8":                 request("/fhir/" + own + "/%c0%ae%c0%ae/" + other + "/Patient/1"),
		"encoded digits":                 request("/fhir/" + escape + "/Patient/1"),
		"full-width digits":              request("/fhir/%EF%BC%91" + other[1:] + "/Patient/1"),
		"a zero in front":                request("/fhir/0" + other + "/Patient/1"),
		"a blank behind":                 request("/fhir/" + other + "%20/Patient/1"),
		"NUL behind":                     request("/fhir/" + other + "%00/Patient/1"),
		"a fragment":                     request("/fhir/" + own + "#/../" + other),
		"absolute form":                  request("https://localhost/fhir/" + other + "/Patient/1"),
		"absolute form, other host":      request("https://" + other + ".fhir.example/Patient/1"),
		"path of the other in a header":  request("/fhir/"+own+"/Patient/1", "X-Original-URL: /fhir/"+other+"/Patient/1", "X-Rewrite-URL: /fhir/"+other+"/Patient/1"),
		"header of the other":            request("/header/Patient/1", "X-Insurer: "+other),
		"two headers":                    request("/header/Patient/1", "X-Insurer: "+own, "X-Insurer: "+other),
		"two headers, other order":       request("/header/Patient/1", "X-Insurer: "+other, "X-Insurer: "+own),
		"a list in the header":           request("/header/Patient/1", "X-Insurer: "+own+", "+other),
		"a blank and the other":          request("/header/Patient/1", "X-Insurer: "+own+" "+other),
		"underscore for dash":            request("/header/Patient/1", "X-Insurer: "+own, "X_Insurer: "+other),
		"the header made hop-by-hop":     request("/header/Patient/1", "X-Insurer: "+other, "Connection: X-Insurer"),
		"folded header":                  request("/header/Patient/1", "X-Insurer: "+own+"\r\n "+other),
		"host of the other":              request("/Patient/1", "Host: "+other+".fhir.example"),
		"host in capitals with port":     request("/Patient/1", "Host: "+other+".FHIR.example:443"),
		"host with a dot behind":         request("/Patient/1", "Host: "+other+".fhir.example."),
		"host with a user":               request("/Patient/1", "Host: "+own+"@"+other+".fhir.example"),
		"host and forwarded host":        request("/fhir/"+own+"/Patient/1", "X-Forwarded-Host: "+other+".fhir.example", "Forwarded: host="+other+".fhir.example"),
		"claims of a guard":              request("/fhir/"+other+"/Patient/1", "ZETA-User-Info: e30", "ZETA-PoPP-Token-Content: e30", "ZETA_User_Info: e30"),
		"another method in a header":     "POST /fhir/" + other + "/Patient/1 HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"a query that names the other":   request("/fhir/" + own + "/Patient/1?insurer=" + other + "&X-Insurer=" + other),
		"a certificate in a header":      request("/fhir/"+other+"/Patient/1", "X-SSL-Client-Cert: x", "X-Client-DN: CN=kasse-"+other),
		"the name of another connection": request("/fhir/"+own+"/Patient/1", "X-Insurer: "+other, "X-Tenant-Id: "+other),
	}
	counts := map[int]int{}
	for name, octets := range tricks {
		got := a.send(t, a.cert, octets)
		for _, r := range got {
			counts[r.status]++
		}
		for _, s := range a.reached() {
			target := strings.Fields(s)[1]
			if path, _, _ := strings.Cut(target, "?"); !strings.HasPrefix(path, "/fhir/"+own+"/") && !strings.HasPrefix(path, "/header/") ||
				strings.Contains(path, other) || strings.HasPrefix(path, "/header/") && !strings.HasSuffix(s, " "+own) || strings.Contains(s, ".fhir.example") {
				t.Errorf("%s: %q reached the service, answered %+v", name, s, got)
			}
		}
		if len(got) > 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	t.Logf("%d tricks, answers by status %v", len(tricks), counts)
}

// resident is the memory of the process, in bytes.
func (a *attacked) resident(t *testing.T) int {
	t.Helper()
	data := read(t, fmt.Sprintf("/proc/%d/statm", a.process.cmd.Process.Pid))
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// hugeHeader sends headers of 100 MB on ten connections.
func (a *attacked) hugeHeader(t *testing.T) {
	before := a.resident(t)
	var g errgroup.Group
	for range 10 {
		g.Go(func() error {
			conn, err := a.connect(nil)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
			line := "X-Long: " + strings.Repeat("a", 8000) + "\r\n"
			sent := 0
			for sent < 100<<20 {
				n, err := io.WriteString(conn, line)
				if sent += n; err != nil {
					break
				}
			}
			if sent >= 8<<20 {
				return fmt.Errorf("%d bytes of a header were taken", sent)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if grown := a.resident(t) - before; grown > 100<<20 {
		t.Errorf("the process has grown by %d MB", grown>>20)
	}
	got := a.send(t, nil, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("a", 100_000)+"\r\n\r\n")
	if len(got) != 1 || got[0].status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 100 kB is answered %+v", got)
	}
	if got := a.send(t, nil, "GET /"+strings.Repeat("a", 200_000)+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); len(got) > 1 || len(got) == 1 && got[0].status < 400 {
		t.Errorf("a target of 200 kB is answered %+v", got)
	}
	a.stillServes(t)
}

// bomb sends and fetches what is small on the wire and enormous when it is unpacked.
func (a *attacked) bomb(t *testing.T) {
	own := string(a.world.Insurers()[0].IK)
	packed := string(zeros(32 << 20))
	before := a.resident(t)
	post := "POST /fhir/" + own + "/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(packed)) + "\r\n\r\n" + packed
	in := a.send(t, a.cert, post)
	out := a.send(t, a.cert, "GET /fhir/"+own+"/Bomb HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	a.reached()
	if len(in) != 1 || len(out) != 1 || out[0].status != http.StatusBadGateway {
		t.Fatalf("a compressed body of 32 MB has %d answers; a compressed answer of 32 MB becomes %.300v", len(in), out)
	}
	card := a.send(t, nil, "GET /vsdservice/v1/vsdmbundle?profileVersion=1.0 HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: "+strconv.Itoa(len(packed))+"\r\n\r\n"+packed)
	if len(card) == 1 && card[0].status != http.StatusRequestEntityTooLarge || len(card) > 1 {
		t.Errorf("a card check with such a body is answered %+v", card)
	}
	grown := a.resident(t) - before
	if grown > 60<<20 {
		t.Errorf("the process has grown by %d MB", grown>>20)
	}
	t.Logf("a body of %d bytes that unpack to 32 MB is answered %d, an answer that unpacks to 32 MB becomes %d; the process has grown by %d MB", len(packed), in[0].status, out[0].status, grown>>20)
	a.stillServes(t)
}

// slowloris holds connections by headers and bodies that come an octet at a time. Each is ended; others are served meanwhile.
func (a *attacked) slowloris(t *testing.T) {
	const n = 100
	var g errgroup.Group
	var mu sync.Mutex // guards longest
	var longest time.Duration
	for k := range n {
		g.Go(func() error {
			conn, err := a.connect(nil)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			start := time.Now()
			_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, conn)
				ended <- err
			}()
			tick := time.NewTicker(300 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					mu.Lock()
					longest = max(longest, time.Since(start))
					mu.Unlock()
					return nil
				case <-tick.C:
					_, _ = io.WriteString(conn, "X"+strconv.Itoa(k)+": a\r\n")
				case <-t.Context().Done():
					return errors.New("a header was taken for as long as the test had time")
				}
			}
		})
	}
	const served = 3
	for range served {
		a.stillServes(t)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d slow connections, the longest lived %s; %d card checks meanwhile", n, longest.Round(time.Millisecond), served)
}

// stillServes checks a card as somebody does who has nothing to do with it.
func (a *attacked) stillServes(t *testing.T) {
	t.Helper()
	in := a.world.Insurers()[1]
	who := a.person(in, 0)
	if got, err := a.practice(t, 0).check(t.Context(), who.Number, in.IK); err != nil || got.Status != http.StatusOK {
		t.Errorf("somebody else's card check: %+v, %v", got, err)
	}
}
