package node

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/querschott/querschott/service/vsdm"
)

// TestMethodOfCardChecks asks with other methods than GET, without a token: the standard's error of the method comes before that of
// the token (A_26753-01), in the form that is asked for, and a GET still takes a token.
func TestMethodOfCardChecks(t *testing.T) {
	h, _ := newVSDMHouse(t, 1)
	r := h.run()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: h.clientTLS()}}
	t.Cleanup(client.CloseIdleConnections)
	for _, tc := range []struct {
		method, accept string
		status         int
		allow, body    string
	}{
		{"POST", "application/fhir+json", 405, "GET", "SERVICE_INVALID_HTTP_OPERATION"},
		{"PUT", "application/fhir+xml", 405, "GET", `value="SERVICE_INVALID_HTTP_OPERATION"`},
		{"DELETE", "", 405, "GET", "SERVICE_INVALID_HTTP_OPERATION"},
		{"HEAD", "", 405, "GET", ""},
		{"GET", "", 401, "", "error"},
	} {
		q, err := http.NewRequestWithContext(t.Context(), tc.method, r.Addresses().HTTP+vsdm.Path+"?profileVersion=1.0", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.accept != "" {
			q.Header.Set("Accept", tc.accept)
		}
		a, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode != tc.status || a.Header.Get("Allow") != tc.allow || !strings.Contains(string(body), tc.body) {
			t.Errorf("%s %s: %d, Allow %q, %s", tc.method, tc.accept, a.StatusCode, a.Header.Get("Allow"), body)
		}
	}
}
