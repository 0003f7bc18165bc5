package ident

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// Bounds of sessions. Whoever reaches one ends the session that was idle longest: of the same actor, or of all.
const (
	maxSessions      = 20_000
	maxActorSessions = 20
)

// Sessions are the people who are logged in to web pages, whichever way they came in. They live in memory: a restart ends
// them all. All methods may be called at the same time.
//
// mu guards held.
type Sessions struct {
	now            func() time.Time
	idle, absolute time.Duration

	mu   sync.Mutex
	held map[[sha256.Size]byte]*session
}

// Session is one person logged in.
type Session struct {
	Credential querschott.Credential
	Caller     querschott.Caller
	Facts      Facts     // what a revocation can name
	CSRF       string    // must come back with every request that changes something
	Begun      time.Time // login
	Expires    time.Time // the earlier of the idle and the absolute end, as of this look
}

type session struct {
	Session
	seen time.Time
}

// NewSessions starts without sessions. One ends after idle without a request (zero: 15 minutes) and after absolute in any
// case (zero: 8 hours).
func NewSessions(now func() time.Time, idle, absolute time.Duration) *Sessions {
	if idle <= 0 {
		idle = 15 * time.Minute
	}
	if absolute <= 0 {
		absolute = 8 * time.Hour
	}
	return &Sessions{now: now, idle: idle, absolute: absolute, held: map[[sha256.Size]byte]*session{}}
}

// Begin logs somebody in who has proved who he is. The secret is always a new one, so nobody can have planted it; it belongs
// into a cookie (Secure, HttpOnly, SameSite=Strict, __Host-) and nowhere else. Way names the way in and stands at the front of
// the credential's ID. If the facts name no session, that ID is the session's name.
func (s *Sessions) Begin(way string, caller querschott.Caller, facts Facts) (secret string, begun Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.sweep(now)
	s.makeRoom(caller.Actor)
	secret = newSecret(tokenBytes)
	key := sessionKey(secret)
	id := way + "/" + hex.EncodeToString(key[:8])
	if facts.Session == "" {
		facts.Session = id
	}
	held := &session{Session: Session{
		Credential: querschott.Credential{ID: querschott.CredentialID(id), Actor: caller.Actor, Role: caller.Role},
		Caller:     caller,
		Facts:      facts,
		CSRF:       csrf(secret),
		Begun:      now,
	}, seen: now}
	held.Expires = s.end(held)
	s.held[key] = held
	return secret, held.Session
}

// Session returns who is behind a cookie and counts as activity. CodeUnauthorized if the session is unknown or over.
func (s *Sessions) Session(secret string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := sessionKey(secret), s.now()
	held, ok := s.held[key]
	if !ok || !now.Before(s.end(held)) {
		delete(s.held, key)
		return Session{}, errSession()
	}
	held.seen = now
	held.Expires = s.end(held)
	return held.Session, nil
}

// Look returns who is behind a cookie without counting as activity: a page that is open must not keep its session alive.
// CodeUnauthorized if the session is unknown or over.
func (s *Sessions) Look(secret string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.held[sessionKey(secret)]
	if !ok || !s.now().Before(s.end(held)) {
		return Session{}, errSession()
	}
	return held.Session, nil
}

// End ends one session.
func (s *Sessions) End(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, sessionKey(secret))
}

// EndWhere ends the sessions for which over says so and returns how many those were. Over must not call s.
func (s *Sessions) EndWhere(over func(Session) bool) (ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, held := range s.held {
		if over(held.Session) {
			delete(s.held, key)
			ended++
		}
	}
	return ended
}

// Sweep forgets sessions that are over.
func (s *Sessions) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(s.now())
}

// Len returns how many sessions are held.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// CheckCSRF compares the token that came with a request, in constant time. CodeForbidden if it is another.
func (s Session) CheckCSRF(token string) error {
	if s.CSRF == "" || subtle.ConstantTimeCompare([]byte(s.CSRF), []byte(token)) != 1 {
		return querschott.Refuse(querschott.CodeForbidden, "the request does not come from this console's own pages")
	}
	return nil
}

// Identity is the session as the gate knows every request's caller.
func (s Session) Identity() *Identity {
	return &Identity{Credential: s.Credential, Caller: s.Caller, Issued: s.Begun, Expires: s.Expires, Facts: s.Facts}
}

// end is the moment from which the session is over.
func (s *Sessions) end(held *session) time.Time {
	idle, absolute := held.seen.Add(s.idle), held.Begun.Add(s.absolute)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

func (s *Sessions) sweep(now time.Time) {
	for key, held := range s.held {
		if !now.Before(s.end(held)) {
			delete(s.held, key)
		}
	}
}

// makeRoom keeps one more session of the actor within the bounds.
func (s *Sessions) makeRoom(actor querschott.Actor) {
	own := 0
	for _, held := range s.held {
		if held.Caller.Actor == actor {
			own++
		}
	}
	switch {
	case own >= maxActorSessions:
		s.dropIdlest(func(held *session) bool { return held.Caller.Actor == actor })
	case len(s.held) >= maxSessions:
		s.dropIdlest(func(*session) bool { return true })
	}
}

func (s *Sessions) dropIdlest(among func(*session) bool) {
	var idlest [sha256.Size]byte
	var seen time.Time
	for key, held := range s.held {
		if among(held) && (seen.IsZero() || held.seen.Before(seen)) {
			idlest, seen = key, held.seen
		}
	}
	delete(s.held, idlest)
}

func errSession() error {
	return querschott.Refuse(querschott.CodeUnauthorized, "not logged in, or the session is over")
}

func sessionKey(secret string) [sha256.Size]byte { return digest("session", nil, bounded(secret)) }

func bounded(s string) string { return s[:min(len(s), maxSecret)] }

// csrf is derived from the session's secret, which the pages of others do not have.
func csrf(secret string) string {
	m := hmac.New(sha256.New, []byte(secret))
	_, _ = m.Write([]byte("querschott/csrf")) // a hash takes everything
	return hex.EncodeToString(m.Sum(nil))
}
