package drill

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// cardPath is where an online check of the health card is asked for (gemSpec_VSDM_2).
const cardPath = "/vsdservice/v1/vsdmbundle"

// maxBundle is the largest answer to a card check that is read.
const maxBundle = 1 << 20

// CardCheck is one online check of an electronic health card, as practice software makes it.
type CardCheck struct {
	URL      string            // of the entrance, without a path
	Access   string            // access token
	Key      *ecdsa.PrivateKey // that it is bound to
	Presence string            // PoPP token
	Known    string            // entity tag of the master data at hand, "" for none
	Version  string            // profileVersion; "" leaves it out
	Accept   string            // media type; "" leaves it out
	Nonce    string            // that the entrance asked for, "" for none
}

// CardAnswer is what came back.
type CardAnswer struct {
	Status      int           `json:"status"`
	ETag        string        `json:"etag,omitempty"`
	Number      string        `json:"check_number,omitempty"` // VSDM-Pz
	ContentType string        `json:"content_type,omitempty"`
	RequestID   string        `json:"request_id,omitempty"`
	RetryAfter  string        `json:"retry_after,omitempty"`
	Nonce       string        `json:"-"`
	Body        []byte        `json:"-"`
	Took        time.Duration `json:"-"`
}

// Do makes the check, and once more if the entrance asks for a nonce of its own in the proof (RFC 9449 8).
func (c *CardCheck) Do(ctx context.Context, client *http.Client, now time.Time) (*CardAnswer, error) {
	answer, err := c.once(ctx, client, now, c.Nonce)
	if err == nil && answer.Status == http.StatusUnauthorized && answer.Nonce != "" && answer.Nonce != c.Nonce {
		return c.once(ctx, client, now, answer.Nonce)
	}
	return answer, err
}

func (c *CardCheck) once(ctx context.Context, client *http.Client, now time.Time, nonce string) (*CardAnswer, error) {
	target := c.URL + cardPath
	proof, err := Proof(c.Key, http.MethodGet, target, c.Access, nonce, now)
	if err != nil {
		return nil, err
	}
	if c.Version != "" {
		target += "?profileVersion=" + url.QueryEscape(c.Version)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	known := "0"
	if c.Known != "" {
		known = c.Known
	}
	for name, value := range map[string]string{
		"Authorization": "DPoP " + c.Access, "DPoP": proof, "PoPP": c.Presence, "If-None-Match": known, "Accept": c.Accept,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask for master data: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the answer: %w", err)
	}
	if len(body) > maxBundle {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxBundle)
	}
	return &CardAnswer{
		Status: resp.StatusCode, ETag: resp.Header.Get("ETag"), Number: resp.Header.Get("VSDM-Pz"), Body: body,
		ContentType: resp.Header.Get("Content-Type"), RequestID: resp.Header.Get("X-Request-Id"),
		RetryAfter: resp.Header.Get("Retry-After"), Nonce: resp.Header.Get("DPoP-Nonce"), Took: time.Since(begin),
	}, nil
}

// Proof makes a DPoP proof for one request (RFC 9449). The target has no query.
func Proof(key *ecdsa.PrivateKey, method, target, access, nonce string, now time.Time) (string, error) {
	public, err := jose.KeyOf(&key.PublicKey)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(access))
	payload, err := json.Marshal(zeta.Proof{
		ID: rand.Text(), Method: method, Target: target, Issued: now.Unix(),
		Hash: base64.RawURLEncoding.EncodeToString(hash[:]), Nonce: nonce,
	})
	if err != nil {
		return "", err
	}
	return jose.Sign(jose.Header{Typ: zeta.TypeProof, JWK: public}, payload, key)
}
