package ident

import (
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

// ConsoleConfig says where login links lie and how long things last.
type ConsoleConfig struct {
	FS  disk.FS
	Dir string // of the login links; made if missing
	Now func() time.Time

	Link     time.Duration // life of a login link; default 10 minutes
	Idle     time.Duration // as in NewSessions
	Absolute time.Duration // as in NewSessions

	// Sessions are shared with other ways to log in, nil for sessions of the console's own as Idle and Absolute say.
	Sessions *Sessions
}

// Console is the operators' access to the console: login links and sessions. All methods may be called at the same time.
//
// mu guards the use of links within this process.
type Console struct {
	cfg      ConsoleConfig
	sessions *Sessions

	mu sync.Mutex
}

type linkFile struct {
	Actor   querschott.Actor `json:"actor"`
	Expires time.Time        `json:"expires"`
}

// OpenConsole makes the directory of links and starts without sessions.
func OpenConsole(cfg ConsoleConfig) (*Console, error) {
	if cfg.Link <= 0 {
		cfg.Link = 10 * time.Minute
	}
	if cfg.Sessions == nil {
		cfg.Sessions = NewSessions(cfg.Now, cfg.Idle, cfg.Absolute)
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of login links: %w", err)
	}
	return &Console{cfg: cfg, sessions: cfg.Sessions}, nil
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
	if !c.cfg.Now().Before(link.Expires) {
		return "", Session{}, errLink()
	}
	caller := querschott.Caller{Actor: link.Actor, Role: querschott.RoleOperator}
	secret, s = c.sessions.Begin("console", caller, Facts{Subject: string(link.Actor)})
	return secret, s, nil
}

// Session returns who is behind a cookie and counts as activity. CodeUnauthorized if the session is unknown or over.
func (c *Console) Session(secret string) (Session, error) { return c.sessions.Session(secret) }

// Look returns who is behind a cookie and does not count as activity, as [Sessions.Look].
func (c *Console) Look(secret string) (Session, error) { return c.sessions.Look(secret) }

// Logout ends one session.
func (c *Console) Logout(secret string) { c.sessions.End(secret) }

// Revoke ends all sessions of an operator and takes back the links not yet used. It returns how many sessions ended.
func (c *Console) Revoke(actor querschott.Actor) (ended int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended = c.sessions.EndWhere(func(s Session) bool { return s.Credential.Actor == actor })
	return ended, c.dropLinks(func(l linkFile) bool { return l.Actor == actor })
}

// Sweep forgets sessions that are over and removes links that have expired.
func (c *Console) Sweep() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.sessions.Sweep()
	return c.dropLinks(func(l linkFile) bool { return !now.Before(l.Expires) })
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

func errLink() error {
	return querschott.Refuse(querschott.CodeUnauthorized, "the login link is unknown, used or expired")
}
