package drill

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/querschott/querschott"
)

// maxDesk is the largest answer to an employee that is read.
const maxDesk = 8 << 20

// DeskCall is one request of an insurer's employee.
type DeskCall struct {
	URL     string            // of the entrance, without a path
	Path    string            // of the operation; the insurer follows
	Insurer querschott.IK     // whose person it is about
	Access  string            // access token, "" if the client's certificate says who asks
	Key     *ecdsa.PrivateKey // that the token is bound to
	Body    any               // what is asked for
	Nonce   string            // that the entrance asked for last, "" for none
}

// DeskAnswer is what came back.
type DeskAnswer struct {
	Status     int             `json:"status"`
	RequestID  string          `json:"request_id,omitempty"`
	RetryAfter string          `json:"retry_after,omitempty"`
	Body       json.RawMessage `json:"answer,omitempty"`
	Nonce      string          `json:"-"`
	Took       time.Duration   `json:"-"`
}

// Do asks, and once more if the entrance asks for a nonce of its own in the proof (RFC 9449 8).
func (c *DeskCall) Do(ctx context.Context, client *http.Client, now time.Time) (*DeskAnswer, error) {
	answer, err := c.once(ctx, client, now, c.Nonce)
	if err == nil && answer.Status == http.StatusUnauthorized && answer.Nonce != "" && answer.Nonce != c.Nonce {
		return c.once(ctx, client, now, answer.Nonce)
	}
	return answer, err
}

func (c *DeskCall) once(ctx context.Context, client *http.Client, now time.Time, nonce string) (*DeskAnswer, error) {
	target := c.URL + c.Path + string(c.Insurer)
	body, err := json.Marshal(c.Body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Access != "" {
		proof, err := Proof(c.Key, http.MethodPost, target, c.Access, nonce, now)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "DPoP "+c.Access)
		req.Header.Set("DPoP", proof)
	}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the desk: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDesk))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the answer: %w", err)
	}
	a := &DeskAnswer{
		Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id"), RetryAfter: resp.Header.Get("Retry-After"), Took: time.Since(begin),
		Nonce: resp.Header.Get("DPoP-Nonce"),
	}
	if json.Valid(data) {
		a.Body = data
	}
	return a, nil
}
