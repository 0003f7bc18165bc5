package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/zeta"
)

const (
	maxDocument  = 256 << 10 // octets of an issuer's answer
	maxKeptFile  = 512 << 10
	clockLeeway  = time.Minute // towards issuers' clocks
	maxFreshness = 24 * time.Hour
)

var wellKnown = map[Source]string{Metadata: zeta.PathAuthorizationServer, Federation: zeta.PathFederation}

// fetch asks the issuer for its keys.
func (i *Issuer) fetch(ctx context.Context) (*keys, error) {
	switch i.cfg.Source {
	case Federation:
		return i.fetchFederation(ctx)
	case Metadata:
		document, err := i.get(ctx, i.cfg.URL, "application/json", nil)
		if err != nil {
			return nil, err
		}
		at, err := zeta.KeysOf(document.body, i.cfg.Issuer)
		if err != nil {
			return nil, err
		}
		return i.fetchSet(ctx, at)
	default:
		return i.fetchSet(ctx, i.cfg.URL)
	}
}

// fetchSet fetches a plain key set. An issuer that says "not modified" has confirmed the keys in force.
func (i *Issuer) fetchSet(ctx context.Context, at string) (*keys, error) {
	old := i.keys.Load()
	a, err := i.get(ctx, at, "application/jwk-set+json, application/json", old)
	if err != nil {
		return nil, err
	}
	now := i.cfg.Now()
	next := &keys{loaded: now, renew: now.Add(min(i.cfg.Refresh, a.fresh)), etag: a.etag, modified: a.modified}
	next.until = next.renew.Add(i.cfg.KeepFor)
	if a.unchanged {
		next.set, next.etag, next.modified = old.set, old.etag, old.modified
		return next, nil
	}
	set, err := jose.ParseKeySet(a.body)
	if err != nil {
		return nil, err
	}
	next.set = pinned(set, i.cfg.Pins)
	return next, nil
}

// fetchFederation fetches the entity statement, which an entity key signs, and the key set, which a key of the statement
// signs. Without pins TLS is the only anchor.
func (i *Issuer) fetchFederation(ctx context.Context) (*keys, error) {
	a, err := i.get(ctx, i.cfg.URL, "application/entity-statement+jwt", nil)
	if err != nil {
		return nil, err
	}
	entity, statement, err := i.entity(string(a.body))
	if err != nil {
		return nil, fmt.Errorf("couldn't believe the entity statement: %w", err)
	}
	at, err := zeta.Resolve(i.cfg.Issuer, statement.KeysURI)
	if err != nil || statement.KeysURI == "" {
		return nil, errors.New("the entity statement names no key set")
	}
	if a, err = i.get(ctx, at, "application/jwk-set+jwt, application/jwt", nil); err != nil {
		return nil, err
	}
	payload, err := verifyBy(string(a.body), entity)
	if err != nil {
		return nil, fmt.Errorf("couldn't believe the signed key set: %w", err)
	}
	signed, err := zeta.ParseStatement(payload)
	if err != nil {
		return nil, err
	}
	now := i.cfg.Now()
	expires := time.Unix(min(signed.Expires, statement.Expires), 0)
	if signed.Issuer != "" && signed.Issuer != i.cfg.Issuer || !now.Before(expires.Add(clockLeeway)) {
		return nil, errors.New("the signed key set is expired or another issuer's")
	}
	set, err := jose.ParseKeySet(payload)
	if err != nil {
		return nil, err
	}
	if latest := now.Add(maxFreshness); expires.After(latest) {
		expires = latest
	}
	next := &keys{set: set, loaded: now, renew: now.Add(min(i.cfg.Refresh, a.fresh)), until: expires.Add(i.cfg.KeepFor)}
	if next.renew.After(expires) {
		next.renew = expires
	}
	return next, nil
}

// entity verifies an entity statement and returns the keys that it vouches for.
func (i *Issuer) entity(compact string) (jose.KeySet, *zeta.Statement, error) {
	token, err := jose.Parse(compact, maxDocument)
	if err != nil {
		return nil, nil, err
	}
	statement, err := zeta.ParseStatement(token.Payload)
	if err != nil {
		return nil, nil, err
	}
	if statement.Issuer != i.cfg.Issuer || statement.Subject != i.cfg.Issuer {
		return nil, nil, errors.New("it is another entity's")
	}
	if !i.cfg.Now().Before(time.Unix(statement.Expires, 0).Add(clockLeeway)) {
		return nil, nil, errors.New("it is expired")
	}
	set, err := jose.ParseKeySet(statement.Keys)
	if err != nil {
		return nil, nil, err
	}
	if set = pinned(set, i.cfg.Pins); len(set) == 0 {
		return nil, nil, errors.New("none of its keys is pinned")
	}
	if _, err := verifyBy(compact, set); err != nil {
		return nil, nil, err
	}
	return set, statement, nil
}

// verifyBy checks that a key of the set, named by kid, signed the token, and returns the payload.
func verifyBy(compact string, set jose.KeySet) ([]byte, error) {
	token, err := jose.Parse(compact, maxDocument)
	if err != nil {
		return nil, err
	}
	key, ok := set[token.Header.Kid]
	if !ok {
		return nil, errUnknown
	}
	if err := token.Verify(key); err != nil {
		return nil, err
	}
	return token.Payload, nil
}

// answer is what an issuer said.
type answer struct {
	body           []byte
	unchanged      bool
	etag, modified string
	fresh          time.Duration // max-age, maxFreshness if there is none
}

// get fetches a document. With old it may answer that nothing changed.
func (i *Issuer) get(ctx context.Context, at, accept string, old *keys) (*answer, error) {
	if err := i.cfg.allowed(at); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the issuer: %w", err)
	}
	request.Header.Set("Accept", accept)
	if old != nil && old.etag != "" {
		request.Header.Set("If-None-Match", old.etag)
	}
	if old != nil && old.modified != "" {
		request.Header.Set("If-Modified-Since", old.modified)
	}
	response, err := i.cfg.Client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the issuer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	a := &answer{etag: response.Header.Get("ETag"), modified: response.Header.Get("Last-Modified"), fresh: maxAge(response.Header)}
	if response.StatusCode == http.StatusNotModified && old != nil && old.etag+old.modified != "" {
		a.unchanged = true
		return a, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %d", response.StatusCode)
	}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil && len(a.body) > maxDocument {
		err = jose.ErrLimit
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the issuer's answer: %w", err)
	}
	return a, nil
}

// maxAge reads Cache-Control. no-store and no-cache mean: not fresh.
func maxAge(h http.Header) time.Duration {
	fresh := maxFreshness
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(strings.ToLower(line), ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch name {
			case "no-store", "no-cache":
				fresh = 0
			case "max-age":
				if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					fresh = min(fresh, time.Duration(n)*time.Second)
				}
			}
		}
	}
	return fresh
}

// keptKeys are the last known keys as they lie on disk.
type keptKeys struct {
	Issuer string      `json:"issuer"`
	Loaded time.Time   `json:"loaded"`
	Until  time.Time   `json:"until"`
	Keys   jose.KeySet `json:"keys"`
	Seen   []string    `json:"seen"` // thumbprints that need not be reported again
}

// keep writes the keys in force. The caller holds mu.
func (i *Issuer) keep(k *keys) error {
	kept := keptKeys{Issuer: i.cfg.Issuer, Loaded: k.loaded.UTC(), Until: k.until.UTC(), Keys: k.set}
	for thumbprint := range i.seen {
		kept.Seen = append(kept.Seen, thumbprint)
	}
	slices.Sort(kept.Seen)
	data, err := json.Marshal(kept)
	if err == nil {
		err = disk.WriteFile(i.cfg.FS, i.cfg.File, data)
	}
	if err != nil {
		return fmt.Errorf("couldn't keep the keys of the issuer: %w", err)
	}
	return nil
}

// recall takes over what keep wrote. Pins of today decide, not those of then.
func (i *Issuer) recall() error {
	data, err := disk.ReadFile(i.cfg.FS, i.cfg.File, maxKeptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept struct {
		keptKeys
		Keys json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return err
	}
	set, err := jose.ParseKeySet(kept.Keys)
	if err != nil {
		return err
	}
	if kept.Issuer != i.cfg.Issuer {
		return errors.New("the file is another issuer's")
	}
	for _, thumbprint := range kept.Seen {
		i.seen[thumbprint] = true
	}
	if i.cfg.Source != Federation {
		set = pinned(set, i.cfg.Pins)
	}
	if len(set) > 0 {
		i.keys.Store(&keys{set: set, loaded: kept.Loaded, renew: kept.Loaded, until: kept.Until})
	}
	return nil
}
