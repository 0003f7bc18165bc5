package ident

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// maxSessions is far above the number of operators; reaching it ends the session that was idle longest.
const maxSessions = 1000

// ConsoleConfig says where login links lie and how long things last.
type ConsoleConfig struct {
	FS  disk.FS
	Dir string // of the login links; made if missing
	Now func() time.Time

	Link     time.Duration // life of a login link; default 10 minutes
	Idle     time.Duration // a session ends after this long without a request; default 15 minutes
	Absolute time.Duration // a session ends after this long in any case; default 8 hours
}

// Console is the operators' access to the console: login links and sessions. All methods may be called at the same time.
//
// mu guards sessions, and the use of links within this process.
type Console struct {
	cfg ConsoleConfig

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*session
}

// Session is one operator logged in.
type Session struct {
	Credential querschott.Credential
	CSRF       string    // must come back with every request that changes something
	Begun      time.Time // login
	Expires    time.Time // the earlier of the idle and the absolute end, as of this look
}

type session struct {
	Session
	seen time.Time
}

type linkFile struct {
	Actor   querschott.Actor `json:"actor"`
	Expires time.Time        `json:"expires"`
}

// OpenConsole makes the directory of links and starts without sessions.
func OpenConsole(cfg ConsoleConfig) (*Console, error) {
	for _, d := range []struct {
		value *time.Duration
		std   time.Duration
	}{{&cfg.Link, 10 * time.Minute}, {&cfg.Idle, 15 * time.Minute}, {&cfg.Absolute, 8 * time.Hour}} {
		if *d.value <= 0 {
			*d.value = d.std
		}
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of login links: %w", err)
	}
	return &Console{cfg: cfg, sessions: map[[sha256.Size]byte]*session{}}, nil
}

// Link makes a login link's token for an operator. It works once, in every process that shares the directory, until it
// expires.
func (c *Console) Link(actor querschott.Actor) (token string, expires time.Time, err error) {
	if actor == "" {
		return "", time.Time{}, querschott.Refuse(querschott.CodeInvalid, "a login link is for somebody")
	}
	token, expires = newSecret(tokenBytes), c.cfg.Now().Add(c.cfg.Link)
	data, err := json.Marshal(linkFile{actor, expires})
	if err == nil {
		err = disk.WriteFile(c.cfg.FS, c.linkPath(token), data)
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("couldn't write a login link: %w", err)
	}
	return token, expires, nil
}

// Login uses up a link and begins a session. The secret belongs into a cookie (Secure, HttpOnly, SameSite=Strict) and
// nowhere else. CodeUnauthorized for a token that is unknown, used or expired; it does not say which.
func (c *Console) Login(token string) (secret string, s Session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	link, err := c.useLink(token)
	if err != nil {
		return "", Session{}, err
	}
	now := c.cfg.Now()
	if !now.Before(link.Expires) {
		return "", Session{}, errLink()
	}
	c.sweep(now)
	c.makeRoom()
	secret = newSecret(tokenBytes)
	key := sessionKey(secret)
	held := &session{Session: Session{
		Credential: querschott.Credential{
			ID:    querschott.CredentialID("console/" + hex.EncodeToString(key[:8])),
			Actor: link.Actor,
			Role:  querschott.RoleOperator,
		},
		CSRF:  csrf(secret),
		Begun: now,
	}, seen: now}
	held.Expires = c.end(held)
	c.sessions[key] = held
	return secret, held.Session, nil
}

// Session returns who is behind a cookie and counts as activity. CodeUnauthorized if the session is unknown or over.
func (c *Console) Session(secret string) (Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, now := sessionKey(secret), c.cfg.Now()
	held, ok := c.sessions[key]
	if !ok || !now.Before(c.end(held)) {
		delete(c.sessions, key)
		return Session{}, querschott.Refuse(querschott.CodeUnauthorized, "not logged in, or the session is over")
	}
	held.seen = now
	held.Expires = c.end(held)
	return held.Session, nil
}

// CheckCSRF compares the token that came with a request, in constant time. CodeForbidden if it is another.
func (s Session) CheckCSRF(token string) error {
	if s.CSRF == "" || subtle.ConstantTimeCompare([]byte(s.CSRF), []byte(token)) != 1 {
		return querschott.Refuse(querschott.CodeForbidden, "the request does not come from this console's own pages")
	}
	return nil
}

// Logout ends one session.
func (c *Console) Logout(secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, sessionKey(secret))
}

// Revoke ends all sessions of an operator and takes back the links not yet used. It returns how many sessions ended.
func (c *Console) Revoke(actor querschott.Actor) (ended int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.sessions {
		if s.Credential.Actor == actor {
			delete(c.sessions, key)
			ended++
		}
	}
	return ended, c.dropLinks(func(l linkFile) bool { return l.Actor == actor })
}

// Sweep forgets sessions that are over and removes links that have expired.
func (c *Console) Sweep() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.sweep(now)
	return c.dropLinks(func(l linkFile) bool { return !now.Before(l.Expires) })
}

// end is the moment from which the session is over.
func (c *Console) end(s *session) time.Time {
	idle, absolute := s.seen.Add(c.cfg.Idle), s.Begun.Add(c.cfg.Absolute)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

func (c *Console) sweep(now time.Time) {
	for key, s := range c.sessions {
		if !now.Before(c.end(s)) {
			delete(c.sessions, key)
		}
	}
}

func (c *Console) makeRoom() {
	for len(c.sessions) >= maxSessions {
		var oldest [sha256.Size]byte
		var seen time.Time
		for key, s := range c.sessions {
			if seen.IsZero() || s.seen.Before(seen) {
				oldest, seen = key, s.seen
			}
		}
		delete(c.sessions, oldest)
	}
}

// useLink removes the link's file, durably, before anybody may rely on it: who removed it has used it.
func (c *Console) useLink(token string) (linkFile, error) {
	name := c.linkPath(token)
	link, err := c.readLink(name)
	if errors.Is(err, fs.ErrNotExist) {
		return linkFile{}, errLink()
	}
	if err != nil {
		return linkFile{}, err
	}
	if err := c.cfg.FS.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return linkFile{}, errLink()
		}
		return linkFile{}, fmt.Errorf("couldn't use up a login link: %w", err)
	}
	if err := c.cfg.FS.SyncDir(c.cfg.Dir); err != nil {
		return linkFile{}, fmt.Errorf("couldn't use up a login link: %w", err)
	}
	return link, nil
}

func (c *Console) dropLinks(drop func(linkFile) bool) error {
	names, err := c.cfg.FS.List(c.cfg.Dir)
	if err != nil {
		return fmt.Errorf("couldn't list login links: %w", err)
	}
	var errs []error
	for _, name := range names {
		if !strings.HasSuffix(name, linkSuffix) {
			continue
		}
		name = filepath.Join(c.cfg.Dir, name)
		link, err := c.readLink(name)
		if err == nil && drop(link) {
			err = c.cfg.FS.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: used meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.cfg.FS.SyncDir(c.cfg.Dir))...)
}

func (c *Console) readLink(name string) (linkFile, error) {
	data, err := disk.ReadFile(c.cfg.FS, name, 1<<10)
	if err != nil {
		return linkFile{}, fmt.Errorf("couldn't read a login link: %w", err)
	}
	var link linkFile
	if err := json.Unmarshal(data, &link); err != nil {
		return linkFile{}, fmt.Errorf("couldn't understand a login link: %w", err)
	}
	return link, nil
}

const linkSuffix = ".link"

// linkPath names a link's file after its hash. Names are found by equality of 256-bit hashes of random tokens: the time
// that takes tells nothing about a token.
func (c *Console) linkPath(token string) string {
	sum := digest("link", nil, bounded(token))
	return filepath.Join(c.cfg.Dir, hex.EncodeToString(sum[:])+linkSuffix)
}

func sessionKey(secret string) [sha256.Size]byte { return digest("session", nil, bounded(secret)) }

func bounded(s string) string { return s[:min(len(s), maxSecret)] }

// csrf is derived from the session's secret, which the pages of others do not have.
func csrf(secret string) string {
	m := hmac.New(sha256.New, []byte(secret))
	_, _ = m.Write([]byte("querschott/csrf")) // a hash takes everything
	return hex.EncodeToString(m.Sum(nil))
}

func errLink() error {
	return querschott.Refuse(querschott.CodeUnauthorized, "the login link is unknown, used or expired")
}
