package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
)

// ErrNotRunning says that no node listens on the control socket.
var ErrNotRunning = errors.New("the node is not running")

// Client speaks to a running node over its control socket.
type Client struct {
	http   *http.Client
	path   string
	domain string
}

// NewClient makes a client for the node of a configuration.
func NewClient(cfg *Config) *Client {
	path := filepath.Join(cfg.Data, controlSocket)
	return &Client{path: path, domain: cfg.Domain, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	u := url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			return fmt.Errorf("%w: nobody listens on %s", ErrNotRunning, c.path)
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		var e ControlError
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxControl)).Decode(&e); err != nil {
			return fmt.Errorf("the node answered %s", resp.Status)
		}
		return &querschott.Error{Code: e.Code, Public: e.Text}
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (v T, err error) {
	return v, c.call(ctx, http.MethodGet, path, query, nil, &v)
}

func post[T any](ctx context.Context, c *Client, path string, in any) (v T, err error) {
	return v, c.call(ctx, http.MethodPost, path, nil, in, &v)
}

// Status returns how the node is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status", nil)
}

// Spool returns what waits.
func (c *Client) Spool(ctx context.Context) (Spool, error) {
	return get[Spool](ctx, c, "/v1/spool", nil)
}

// Flagged returns the messages that were kept with findings.
func (c *Client) Flagged(ctx context.Context) (map[querschott.Compartment][]intake.Flag, error) {
	return get[map[querschott.Compartment][]intake.Flag](ctx, c, "/v1/flagged", nil)
}

// Doors returns all doors.
func (c *Client) Doors(ctx context.Context) ([]DoorView, error) {
	return get[[]DoorView](ctx, c, "/v1/doors", nil)
}

// Proposals returns what waits for a second operator.
func (c *Client) Proposals(ctx context.Context) ([]door.Proposal, error) {
	return get[[]door.Proposal](ctx, c, "/v1/proposals", nil)
}

// Moved is what became of an order.
type Moved struct {
	door.Outcome
	Gates   *Enforced `json:"gates,omitempty"` // of an order in force
	Warning string    `json:"warning,omitempty"`
}

// Order drafts an order on the node, signs it here and submits it. The key never leaves this process.
func (c *Client) Order(ctx context.Context, d DraftRequest, s note.Signer) (Moved, error) {
	draft, err := post[map[string]string](ctx, c, "/v1/doors/draft", d)
	if err != nil {
		return Moved{}, err
	}
	o, err := door.ParseOrder(draft["text"])
	if err != nil {
		return Moved{}, err
	}
	longer := !d.Expires.IsZero() && (o.Expires.IsZero() || o.Expires.After(d.Expires)) // shorter it may be: see door.Book.Draft
	plan := d.Stages == "" || d.Stages == StagesNone && o.Stages == "" || o.Stages == door.Plan(d.Stages)
	if !plan || o.Compartment != d.Compartment || o.To != d.To || o.Reason != d.Reason || o.Incident != d.Incident || o.Actor != d.Actor || longer {
		return Moved{}, errors.New("the node drafted another order than was asked for; nothing was signed")
	}
	raw, err := door.Sign(o, s)
	if err != nil {
		return Moved{}, err
	}
	return c.submit(ctx, raw)
}

func (c *Client) submit(ctx context.Context, raw []byte) (Moved, error) {
	return post[Moved](ctx, c, "/v1/doors/submit", map[string][]byte{"note": raw})
}

// Approve cosigns a proposal, if the note in it says what the proposal shows. The signatures on it are verified against the
// operators' keys first.
func (c *Client) Approve(ctx context.Context, p door.Proposal, known note.Verifiers, s note.Signer) (Moved, error) {
	signed, err := note.Open(p.Note, known)
	if err != nil {
		return Moved{}, fmt.Errorf("couldn't verify the proposal: %w", err)
	}
	o, err := door.ParseOrder(signed.Text)
	if err != nil {
		return Moved{}, err
	}
	if o.Compartment != p.Compartment || o.To != p.To || o.Actor != p.Actor || o.Reason != p.Reason || o.Incident != p.Incident || o.Stages != p.Stages {
		return Moved{}, errors.New("the node shows another proposal than the one to be signed; nothing was signed")
	}
	raw, err := door.Cosign(p.Note, known, s)
	if err != nil {
		return Moved{}, err
	}
	return c.submit(ctx, raw)
}

// Verifiers returns the keys with which operators sign on this node: their own, and the console's for them.
func (c *Client) Verifiers(ctx context.Context) (note.Verifiers, error) {
	list, err := get[[]Operator](ctx, c, "/v1/operators", nil)
	if err != nil {
		return nil, err
	}
	return verifiers(list...)
}

// Withdraw takes a proposal back for good; every operator may. The key never leaves this process.
func (c *Client) Withdraw(ctx context.Context, id string, s note.Signer) error {
	raw, err := note.Sign(&note.Note{Text: withdrawalText(c.domain, id)}, s)
	if err != nil {
		return fmt.Errorf("couldn't sign the withdrawal: %w", err)
	}
	_, err = post[struct{}](ctx, c, "/v1/proposals/withdraw", map[string]any{"id": id, "note": raw})
	return err
}

// Login is a one-time link.
type Login struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// Login makes a one-time link for an operator.
func (c *Client) Login(ctx context.Context, name querschott.Actor) (Login, error) {
	return post[Login](ctx, c, "/v1/login", map[string]querschott.Actor{"operator": name})
}

// ReloadAccounts makes the node read its accounts again.
func (c *Client) ReloadAccounts(ctx context.Context) error {
	_, err := post[struct{}](ctx, c, "/v1/accounts/reload", struct{}{})
	return err
}

// LedgerOrigins lists the logs of the ledger.
func (c *Client) LedgerOrigins(ctx context.Context) ([]LedgerOrigin, error) {
	return get[[]LedgerOrigin](ctx, c, "/v1/ledger/origins", nil)
}

// LedgerShow returns entries of one log.
func (c *Client) LedgerShow(ctx context.Context, origin string, from, to uint64) ([]LedgerEntry, error) {
	return get[[]LedgerEntry](ctx, c, "/v1/ledger/show", url.Values{
		"origin": {origin}, "from": {fmt.Sprint(from)}, "to": {fmt.Sprint(to)},
	})
}

// LedgerProof is a proof that an entry stands in its log.
type LedgerProof struct {
	Proof string `json:"proof"` // tlog-proof file
	Entry []byte `json:"entry"` // the leaf
	VKey  string `json:"vkey"`
}

// LedgerProve returns the proof of one entry.
func (c *Client) LedgerProve(ctx context.Context, origin string, index uint64) (LedgerProof, error) {
	return get[LedgerProof](ctx, c, "/v1/ledger/prove", url.Values{"origin": {origin}, "index": {fmt.Sprint(index)}})
}

// LedgerVerify recomputes every tree and verifies every signature.
func (c *Client) LedgerVerify(ctx context.Context) (*ledger.Report, error) {
	return post[*ledger.Report](ctx, c, "/v1/ledger/verify", struct{}{})
}

// LedgerExport writes one log into a directory as tlog-tiles.
func (c *Client) LedgerExport(ctx context.Context, origin, dir string) error {
	_, err := post[struct{}](ctx, c, "/v1/ledger/export", map[string]string{"origin": origin, "dir": dir})
	return err
}

// Backup writes a backup into a new directory.
func (c *Client) Backup(ctx context.Context, dir string) (Manifest, error) {
	return post[Manifest](ctx, c, "/v1/backup", map[string]string{"dir": dir})
}
