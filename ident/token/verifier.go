package token

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/wire/zeta"
)

// Sizes of what comes in headers, in octets.
const (
	maxAccess   = 8 << 10
	maxProof    = 4 << 10
	maxPresence = 8 << 10
)

// How strict a tightened verifier is.
const tightWindow = 30 * time.Second

// Config describes a verifier. Durations and bounds of zero are the defaults.
type Config struct {
	Now         func() time.Time
	Access      []*Issuer // of access tokens, at least one
	Presence    []*Issuer // of PoPP tokens; none: every PoPP token is refused
	Revocations *ident.Revocations

	Leeway      time.Duration // 60 s: for the times of access and PoPP tokens
	ProofAge    time.Duration // 120 s: how old a proof may be
	ProofLeeway time.Duration // 30 s: for the time of proofs
	NonceAge    time.Duration // 300 s: how old a nonce may be

	AllowBearer      bool // "Authorization: Bearer" for bound tokens; the proof is demanded all the same
	NoTravel         bool // the address must be the one that the token was issued to (gemSpec_ZETA A_28803)
	StrictAudience   bool // 403 instead of 401 for audience, scope and target (A_29676)
	RefuseNonceClaim bool // an access token with a claim nonce is invalid, as the official test table has it

	Remember  int // 65,536 tokens and as many PoPP tokens
	MaxProofs int // 1,000,000 remembered proofs, about 40 MB

	// Pseudonym is the key by which insured persons get a name for the record that tells nobody their number, and credentials
	// their id: at least 16 octets, the same at every gate and for years. nil: one for this process.
	Pseudonym []byte

	// FS and ProofsFile hand the remembered proofs over from one process to the next, "" for not.
	FS         disk.FS
	ProofsFile string
}

// PresenceMode says whether a route asks for a PoPP token.
type PresenceMode uint8

// The modes. A PoPP token that nobody asked for is not looked at.
const (
	PresenceNone     PresenceMode = iota
	PresenceOptional              // verified if it comes
	PresenceRequired
)

// Request is what identification needs to know of a request and of its route.
type Request struct {
	Method string
	URL    string      // the request's own public URL, from configuration and path; a query is ignored
	Header http.Header // canonical names
	Remote netip.Addr

	Audience []string // all must be in the token; at least one
	Scopes   []string // all must be in the token
	ACR      string   // lowest level, "" for any
	Nonce    bool     // the proof needs a nonce
	Presence PresenceMode
	// PresenceAge is how long after its issue a PoPP token is valid, 0 for its whole quarter.
	PresenceAge time.Duration
}

// Verifier identifies requests. All methods may be called at the same time.
type Verifier struct {
	cfg      Config
	access   map[string]*Issuer
	presence map[string]*Issuer

	tokens    *results[access]
	presences *results[presence]
	proofs    *proofs
	nonces    nonces
	fence     int64 // proofs of this second and before may have been used without this process knowing
	tight     atomic.Bool
	closed    atomic.Bool
}

// New makes a verifier. The memory of the process before is taken over and its file removed, so that it is used once.
func New(cfg Config) (*Verifier, error) {
	standard(&cfg.Leeway, 60*time.Second)
	standard(&cfg.ProofAge, 120*time.Second)
	standard(&cfg.ProofLeeway, 30*time.Second)
	standard(&cfg.NonceAge, 300*time.Second)
	bound(&cfg.Remember, 65_536)
	bound(&cfg.MaxProofs, 1_000_000)
	if cfg.Now == nil || cfg.Revocations == nil || len(cfg.Access) == 0 {
		return nil, errors.New("a verifier needs a clock, a deny list and an issuer of access tokens")
	}
	v := &Verifier{
		cfg: cfg, tokens: newResults[access](cfg.Remember), presences: newResults[presence](cfg.Remember), proofs: newProofs(cfg.MaxProofs),
		access: map[string]*Issuer{}, presence: map[string]*Issuer{},
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	v.nonces = newNonces(key)
	if len(cfg.Pseudonym) == 0 {
		v.cfg.Pseudonym = make([]byte, 32)
		_, _ = rand.Read(v.cfg.Pseudonym)
	} else if len(cfg.Pseudonym) < 16 {
		return nil, errors.New("a key for pseudonyms has at least 16 octets")
	}
	if err := errors.Join(index(v.access, cfg.Access), index(v.presence, cfg.Presence)); err != nil {
		return nil, err
	}
	now := cfg.Now().Unix()
	v.fence = now + seconds(cfg.ProofLeeway)
	if cfg.ProofsFile != "" {
		if err := v.loadProofs(now); err != nil {
			return nil, fmt.Errorf("couldn't take over the remembered proofs: %w", err)
		}
	}
	return v, nil
}

func bound(n *int, value int) {
	if *n == 0 {
		*n = value
	}
}

func index(by map[string]*Issuer, list []*Issuer) error {
	for _, issuer := range list {
		if by[issuer.Name()] != nil {
			return fmt.Errorf("the issuer %q is listed twice", issuer.Name())
		}
		by[issuer.Name()] = issuer
	}
	return nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// window is how long a proof is accepted after its time, in seconds.
func (v *Verifier) window() int64 { return seconds(v.cfg.ProofAge) + seconds(v.cfg.ProofLeeway) }

// loadProofs reads the memory of the process before. A file of another version or window is as good as none: then proofs of
// that time need a nonce.
func (v *Verifier) loadProofs(now int64) error {
	data, err := disk.ReadFile(v.cfg.FS, v.cfg.ProofsFile, int64(snapshotHead+snapshotEntry*v.cfg.MaxProofs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// It must be gone before the first proof is accepted: the next process would take it for complete.
	if err := v.cfg.FS.Remove(v.cfg.ProofsFile); err != nil {
		return err
	}
	if err := v.cfg.FS.SyncDir(filepath.Dir(v.cfg.ProofsFile)); err != nil {
		return err
	}
	if fence, err := v.proofs.restore(data, v.window(), now); err == nil {
		v.fence = fence
	}
	return nil
}

// SaveProofs writes the remembered proofs down for the next process, if there is a file for them. From then on this verifier
// refuses every request.
func (v *Verifier) SaveProofs() error {
	v.closed.Store(true)
	if v.cfg.ProofsFile == "" {
		return nil
	}
	if err := disk.WriteFile(v.cfg.FS, v.cfg.ProofsFile, v.proofs.snapshot(v.window(), v.fence, v.cfg.Now().Unix())); err != nil {
		return fmt.Errorf("couldn't save the remembered proofs: %w", err)
	}
	return nil
}

// Tighten accepts proofs for 30 seconds only and demands a nonce of this gate for each. It is for times when other gates'
// proofs are not known here.
func (v *Verifier) Tighten(tight bool) { v.tight.Store(tight) }

// Nonce returns a nonce for the header DPoP-Nonce of answers on routes that demand one.
func (v *Verifier) Nonce() string { return v.nonces.make(v.cfg.Now()) }

// Issuers returns the state of all issuers, those of access tokens first.
func (v *Verifier) Issuers() []IssuerStatus {
	var list []IssuerStatus
	for _, issuer := range append(append([]*Issuer{}, v.cfg.Access...), v.cfg.Presence...) {
		list = append(list, issuer.Status())
	}
	return list
}

// Remembered returns how many access tokens, PoPP tokens and proofs are remembered.
func (v *Verifier) Remembered() (tokens, presences, proofs int) {
	return v.tokens.len(), v.presences.len(), v.proofs.len()
}

// Identify says who calls. Every error is a [*zeta.Error]. The order of checks: access token, proof, deny list, address, PoPP
// token, deny list once more with what the PoPP token says. What the identity points to is shared between requests and must
// not be changed.
//
// The identity's Facts have no Insurer: whoever finds out for which insurer the request is checks the deny list again.
func (v *Verifier) Identify(ctx context.Context, r *Request) (*ident.Identity, error) {
	if v.closed.Load() || len(r.Audience) == 0 {
		return nil, zeta.Internal("", errors.New("the verifier is closed or the route has no audience"))
	}
	now := v.cfg.Now()
	compact, refusal := v.credential(r.Header)
	if refusal != nil {
		return nil, refusal
	}
	hash := sumOf(compact)
	a, refusal := v.accessToken(ctx, compact, &hash, now)
	if refusal == nil {
		refusal = v.suits(a, r)
	}
	if refusal != nil {
		return nil, refusal
	}
	if refusal := v.proof(r, a, &hash, now); refusal != nil {
		return nil, refusal
	}
	id := &ident.Identity{
		Credential: a.credential, Caller: a.caller, Binding: a.claims.Confirmation.Thumbprint,
		Issued: time.Unix(a.claims.Issued, 0), Expires: time.Unix(a.claims.Expires, 0), Facts: a.facts,
	}
	if r.Remote.IsValid() {
		id.Facts.Network = r.Remote.Unmap().String()
	}
	if err := v.cfg.Revocations.Check(&id.Facts); err != nil {
		return nil, zeta.Denied(zeta.ReasonRevoked, err)
	}
	if refusal := v.travel(a, r.Remote, now); refusal != nil {
		return nil, refusal
	}
	p, refusal := v.presenceToken(ctx, r, a, now)
	if refusal != nil {
		return nil, refusal
	}
	if p != nil {
		id.Presence = &p.presence
		id.Facts.PresenceIssuer, id.Facts.PresenceIssued, id.Facts.PresenceProved = p.presence.Issuer, p.presence.Issued, p.presence.Proved
		if err := v.cfg.Revocations.Check(&id.Facts); err != nil {
			return nil, zeta.Denied(zeta.ReasonRevoked, err)
		}
	}
	return id, nil
}

// sumOf returns the SHA-256 of a token. Most need not be copied to memory that must be collected.
func sumOf(compact string) [sha256.Size]byte {
	var room [2048]byte
	return sha256.Sum256(append(room[:0], compact...))
}

// single returns the only value of a header, false if there are several, "" if there is none.
func single(h http.Header, name string) (string, bool) {
	switch values := h[name]; len(values) {
	case 0:
		return "", true
	case 1:
		return values[0], true
	default:
		return "", false
	}
}

// thumbprintForm reports whether s could be the base64url form of 32 octets.
func thumbprintForm(s string) bool {
	if len(s) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return false
	}
	var room [sha256.Size]byte
	n, err := base64.RawURLEncoding.Strict().Decode(room[:], []byte(s))
	return err == nil && n == len(room)
}

// travel refuses a token that is used from another address than it was issued to, and puts its Sitzung on the deny list.
func (v *Verifier) travel(a *access, remote netip.Addr, now time.Time) *zeta.Error {
	if !v.cfg.NoTravel {
		return nil
	}
	issued, err := netip.ParseAddr(a.claims.Address)
	if err == nil && remote.IsValid() && issued.Unmap() == remote.Unmap() {
		return nil
	}
	refusal := zeta.Travel()
	deny := ident.Revocation{
		Dimension: ident.BySession, Value: a.claims.Session, Reason: "used from another address than it was issued to", From: now,
		Until: now.Add(24 * time.Hour), Actors: []querschott.Actor{"gate"}, // a refresh token lives a day (VSDM policy data)
	}
	if a.claims.Session == "" {
		deny.Dimension, deny.Value = ident.ByToken, a.claims.ID
		deny.Until = time.Unix(a.claims.Expires, 0).Add(v.cfg.Leeway + time.Second)
	}
	if err := v.cfg.Revocations.Add(deny); err != nil {
		refusal.Err = fmt.Errorf("couldn't revoke the token: %w", err)
	}
	return refusal
}
