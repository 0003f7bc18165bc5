package node

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
)

// authenticator shows codes as an authenticator app does (RFC 6238).
func authenticator(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := m.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

// A member of an insurer's staff completes an account, logs in with both factors, and reaches the insurer's data only.
func TestStaffLogsIn(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" && strings.Contains(r.Header.Get("Cookie"), sessionCookie) {
			t.Error("the service got the session's cookie")
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer upstream.Close()
	begin := time.Now()
	var ahead atomic.Int64
	now := func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
	h := newHouseWith(t, 2, []querschott.Service{querschott.Desk}, func(c *Config) {
		made, err := GateConfig(Gate{Upstream: upstream.URL + "/desk", Service: querschott.Desk})
		if err != nil {
			t.Fatal(err)
		}
		c.HTTP, c.Mail.StartTLS, c.Mail.TLS = made.HTTP, "", ""
		c.HTTP.Listen, c.HTTP.Certificate, c.HTTP.Key = "127.0.0.1:0", "server.crt", "server.key"
		c.HTTP.Routes[0].Who = []string{byStaff}
	})
	h.opt.Now = now
	n := h.run()
	n.openAll()
	mine, other := h.compartment(0, querschott.Desk).Insurer, h.compartment(1, querschott.Desk).Insurer
	acc, err := h.cfg.OpenStaff(ident.NewSessions(h.opt.Now, 0, 0), h.opt.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := acc.Invite(local.Account{Name: "c.mueller", Role: querschott.RoleStaff, Insurer: mine}, anna)
	if err != nil {
		t.Fatal(err)
	}
	if err := NewClient(h.cfg).ReloadAccounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, base: n.Addresses().HTTP, client: &http.Client{Transport: &http.Transport{TLSClientConfig: h.clientTLS()}}}
	defer b.client.CloseIdleConnections()
	_, shown := b.post("/session/enrolment", map[string]string{"token": token})
	const password = "a long enough password"
	status, done := b.post("/session/enrolment/finish", map[string]string{"token": token, "password": password, "code": authenticator(t, shown["secret"].(string), now())})
	if status != http.StatusOK || len(done["recovery_codes"].([]any)) == 0 {
		t.Fatalf("%d %v", status, done)
	}
	if status := b.get("/desk/case/1", mine, http.MethodGet); status != http.StatusUnauthorized {
		t.Errorf("before the login: %d", status)
	}
	ahead.Store(int64(time.Minute))
	login := map[string]string{"name": "c.mueller", "password": password, "code": "000000"}
	if status, _ := b.post("/session", login); status != http.StatusUnauthorized {
		t.Errorf("with a wrong code: %d", status)
	}
	login["code"] = authenticator(t, shown["secret"].(string), now())
	status, in := b.post("/session", login)
	if status != http.StatusOK || in["insurer"] != string(mine) {
		t.Fatalf("login: %d %v", status, in)
	}
	for _, c := range b.cookies {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("the cookie %s is %+v", c.Name, c)
		}
	}
	for _, tc := range []struct {
		insurer querschott.IK
		method  string
		csrf    string
		want    int
	}{
		{mine, http.MethodGet, "", http.StatusOK},
		{other, http.MethodGet, "", http.StatusForbidden},
		{mine, http.MethodPost, "", http.StatusForbidden},
		{mine, http.MethodPost, "wrong", http.StatusForbidden},
		{mine, http.MethodPost, in["csrf"].(string), http.StatusOK},
	} {
		b.csrf = tc.csrf
		if got := b.get("/desk/case/1", tc.insurer, tc.method); got != tc.want {
			t.Errorf("%s for %s with %q: %d, want %d", tc.method, tc.insurer, tc.csrf, got, tc.want)
		}
	}
	if status := b.get("/session", "", http.MethodDelete); status != http.StatusOK {
		t.Errorf("logging out: %d", status)
	}
	if status := b.get("/desk/case/1", mine, http.MethodGet); status != http.StatusUnauthorized {
		t.Errorf("after logging out: %d", status)
	}
	if status, _ := b.post("/session", login); status != http.StatusUnauthorized {
		t.Errorf("with the same code again: %d", status)
	}
	if unknown, err := UnknownFiles(h.cfg.Data); err != nil || len(unknown) > 0 {
		t.Errorf("files that the trust table does not name: %v, %v", unknown, err)
	}
}

// browser keeps cookies, those that were taken back too: whoever has stolen one does not give it up.
type browser struct {
	t       *testing.T
	base    string
	client  *http.Client
	cookies []*http.Cookie
	csrf    string
}

func (b *browser) do(method, path string, insurer querschott.IK, body []byte) (int, []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Insurer", string(insurer))
	if b.csrf != "" {
		req.Header.Set(csrfHeader, b.csrf)
	}
	for _, c := range b.cookies {
		req.AddCookie(c)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for _, c := range resp.Cookies() {
		if c.Value != "" {
			b.cookies = append(b.cookies, c)
		}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, text
}

func (b *browser) get(path string, insurer querschott.IK, method string) int {
	b.t.Helper()
	status, _ := b.do(method, path, insurer, nil)
	return status
}

func (b *browser) post(path string, v any) (int, map[string]any) {
	b.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	status, text := b.do(http.MethodPost, path, "", body)
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		b.t.Fatalf("%d %s: %v", status, text, err)
	}
	return status, got
}
