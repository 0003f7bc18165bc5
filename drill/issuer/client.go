package issuer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

// Client is a registered client of a dev issuer, as a practice's software would be one.
type Client struct {
	ID  string
	Key *ecdsa.PrivateKey // makes assertions, and proofs for the tokens that it gets

	base string
	http *http.Client
	now  func() time.Time
}

// Register makes a key and registers it at the issuer called base.
func Register(ctx context.Context, c *http.Client, now func() time.Time, base string, p Practice) (*Client, error) {
	key, err := newSigner()
	if err != nil {
		return nil, err
	}
	return registerKey(ctx, c, now, base, p, key)
}

// RegisterKey registers a key that the practice has already.
func RegisterKey(ctx context.Context, c *http.Client, now func() time.Time, base string, p Practice, private *ecdsa.PrivateKey) (*Client, error) {
	key, err := signerOf(private)
	if err != nil {
		return nil, err
	}
	return registerKey(ctx, c, now, base, p, key)
}

func registerKey(ctx context.Context, c *http.Client, now func() time.Time, base string, p Practice, key signer) (*Client, error) {
	set, err := json.Marshal(jose.KeySet{key.public.ID: key.public})
	if err != nil {
		return nil, fmt.Errorf("couldn't register: %w", err)
	}
	n := &Client{Key: key.private, base: base, http: c, now: now}
	body, err := json.Marshal(registration{Name: "querschott", Method: "private_key_jwt", Grants: []string{grantCredentials}, Keys: set, Practice: p})
	if err != nil {
		return nil, fmt.Errorf("couldn't register: %w", err)
	}
	var answer struct {
		ID string `json:"client_id"`
	}
	if _, err := n.post(ctx, pathRegister, "application/json", body, nil, &answer); err != nil {
		return nil, fmt.Errorf("couldn't register: %w", err)
	}
	n.ID = answer.ID
	return n, nil
}

// AccessToken asks for a token that is bound to the client's key. Without audience and scope it gets the issuer's standard.
func (c *Client) AccessToken(ctx context.Context, audience []string, scope string) (string, error) {
	form := url.Values{"grant_type": {grantCredentials}, "client_id": {c.ID}, "client_assertion_type": {assertionType}, "audience": audience}
	if scope != "" {
		form.Set("scope", scope)
	}
	nonce := ""
	for {
		token, next, err := c.ask(ctx, form, nonce)
		if err == nil || next == "" || nonce != "" {
			return token, err
		}
		nonce = next
	}
}

// ask makes one attempt. next is the nonce that the issuer wants.
func (c *Client) ask(ctx context.Context, form url.Values, nonce string) (token, next string, err error) {
	assertion, err := c.assertion()
	if err != nil {
		return "", "", err
	}
	form.Set("client_assertion", assertion)
	proof, err := drill.Proof(c.Key, http.MethodPost, c.base+pathToken, "", nonce, c.now())
	if err != nil {
		return "", "", fmt.Errorf("couldn't make a proof: %w", err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	next, err = c.post(ctx, pathToken, "application/x-www-form-urlencoded", []byte(form.Encode()), http.Header{"Dpop": {proof}}, &answer)
	if err != nil {
		return "", next, fmt.Errorf("couldn't get an access token: %w", err)
	}
	return answer.Token, "", nil
}

// PresenceToken asks for a PoPP token.
func (c *Client) PresenceToken(ctx context.Context, card Card) (string, error) {
	body, err := json.Marshal(card)
	if err != nil {
		return "", fmt.Errorf("couldn't get a PoPP token: %w", err)
	}
	var answer struct {
		Token string `json:"popp_token"`
	}
	if _, err := c.post(ctx, pathPresence, "application/json", body, nil, &answer); err != nil {
		return "", fmt.Errorf("couldn't get a PoPP token: %w", err)
	}
	return answer.Token, nil
}

func (c *Client) assertion() (string, error) {
	now := c.now()
	payload, err := json.Marshal(assertion{
		Issuer: c.ID, Subject: c.ID, Audience: audiences{c.base + pathToken}, Issued: now.Unix(), Expires: now.Add(time.Minute).Unix(), ID: rand.Text(),
	})
	if err != nil {
		return "", fmt.Errorf("couldn't make a client assertion: %w", err)
	}
	return jose.Sign(jose.Header{Typ: zeta.TypePlain}, payload, c.Key)
}

// post sends a request and reads the answer's JSON. nonce is the one that an answer asked for.
func (c *Client) post(ctx context.Context, path, mime string, body []byte, header http.Header, into any) (nonce string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", mime)
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var f fault
		if json.Unmarshal(answer, &f) != nil {
			f.Code = strings.ToLower(http.StatusText(resp.StatusCode))
		}
		return resp.Header.Get(zeta.HeaderDPoPNonce), &f
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return "", fmt.Errorf("couldn't read the answer: %w", err)
	}
	return "", nil
}
