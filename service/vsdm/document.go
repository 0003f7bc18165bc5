package vsdm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
	"github.com/querschott/querschott/wire/zeta"
)

// Document is a text for everybody: the catalog, or the metadata of the protected resource.
type Document struct {
	Body         []byte
	ETag         string // with its quotes; a function of Body
	ContentType  string
	CacheControl string
}

func newDocument(body []byte, contentType, cacheControl string) Document {
	sum := sha256.Sum256(body)
	return Document{body, `"` + hex.EncodeToString(sum[:16]) + `"`, contentType, cacheControl}
}

// ProtectedResource returns /.well-known/oauth-protected-resource for this service (RFC 9728): its own address, the one
// issuer of access tokens (A_28464) and the scopes that they need.
func ProtectedResource(resource, issuer string, scopes ...string) (Document, error) {
	meta := zeta.NewProtectedResource(resource, issuer, scopes...)
	meta.APIVersions = []zeta.APIVersion{{Major: 1, Version: "1.0.0", Status: "stable"}}
	d, err := meta.Document()
	if err != nil {
		return Document{}, err
	}
	return Document{d.Body, d.ETag, "application/json", zeta.CacheControl}, nil
}

// Answer is the [service.Func] of a route to the document alone. It names no record, so the route can be anybody's.
func (d *Document) Answer(_ context.Context, r *service.Request) (*service.Answer, error) {
	if r.Path != "" {
		return nil, errPath
	}
	if r.Method != http.MethodGet {
		return nil, querschott.Refuse(querschott.CodeMethod, "only GET is answered here")
	}
	a := &service.Answer{
		Status: http.StatusOK, Header: make(http.Header, 3), Body: d.Body,
		Facts: service.Facts{
			Action: ledger.ActionRead, Data: ledger.DataConfiguration, Outcome: ledger.OutcomeSuccess,
			Purpose: ledger.PurposeOperations,
		},
	}
	a.Header.Set("ETag", d.ETag)
	a.Header.Set("Cache-Control", d.CacheControl)
	if match, _, err := joined(r.Header, "If-None-Match"); err == nil && d.matches(match) {
		a.Status, a.Body = http.StatusNotModified, nil
		return a, nil
	}
	a.Header.Set("Content-Type", d.ContentType)
	return a, nil
}

// matches compares as RFC 9110, 13.1.2 says. What cannot be read matches nothing.
func (d *Document) matches(ifNoneMatch string) bool {
	if strings.Trim(ifNoneMatch, " \t") == "*" {
		return true
	}
	known, err := parseTags(ifNoneMatch)
	return err == nil && known.has(strings.Trim(d.ETag, `"`))
}
