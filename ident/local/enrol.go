package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/querschott/querschott"
)

// Bounds of passwords: characters at least, bytes at most.
const (
	minPassword = 12
	maxPassword = 1024
)

// pendingLife is how long a second factor that was shown waits to be confirmed.
const pendingLife = 30 * time.Minute

// Enrolment is what the owner of an account puts into an authenticator app. It is shown once and kept nowhere else.
type Enrolment struct {
	Name   string
	Secret string // base32, to be typed
	URI    string // otpauth, for a QR code
}

// Begin shows a new second factor to whoever has the invitation. Each call makes another one, and only the last counts: who
// looks over the owner's shoulder with the same invitation is noticed. The node that began an enrolment finishes it.
// CodeUnauthorized for an invitation that is unknown, used or expired; it does not say which.
func (a *Accounts) Begin(token string) (Enrolment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	c, ok := a.table.Load().invited(token, now)
	if !ok {
		return Enrolment{}, errInvitation()
	}
	for name, p := range a.pending {
		if !now.Before(p.until) {
			delete(a.pending, name)
		}
	}
	secret := make([]byte, totpBytes)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	a.pending[c.Name] = pending{token: c.Invited.Token, secret: secret, until: now.Add(pendingLife)}
	return Enrolment{
		Name: c.Name, Secret: base32Letters.EncodeToString(secret), URI: otpauth(a.cfg.Platform, c.Name, secret),
	}, nil
}

// Resume shows a second factor again to whoever has the invitation and has seen it, so that a mistyped code does not cost
// another one. CodeInvalid with [Flaw] if it was shown too long ago or another one was shown since.
func (a *Accounts) Resume(token, secret string) (Enrolment, error) {
	now := a.cfg.Now()
	c, ok := a.table.Load().invited(token, now)
	if !ok {
		return Enrolment{}, errInvitation()
	}
	a.mu.Lock()
	p, ok := a.pending[c.Name]
	a.mu.Unlock()
	text := base32Letters.EncodeToString(p.secret)
	if !ok || !now.Before(p.until) || !bytes.Equal(p.token, c.Invited.Token) || subtle.ConstantTimeCompare([]byte(text), []byte(secret)) != 1 {
		return Enrolment{}, flawed(FlawLate, "the second factor was shown too long ago; begin again")
	}
	return Enrolment{Name: c.Name, Secret: text, URI: otpauth(a.cfg.Platform, c.Name, p.secret)}, nil
}

// Finish completes an account: its owner's password, and a code that shows that the authenticator app has the second factor.
// It returns the recovery codes, which nobody can read again. CodeInvalid with [Flaw] for a password that the policy refuses or
// a wrong code; the invitation stays usable then. The code of the enrolment logs nobody in.
func (a *Accounts) Finish(ctx context.Context, token, text, code string) (recovery []string, err error) {
	now := a.cfg.Now()
	c, ok := a.table.Load().invited(token, now)
	if !ok {
		return nil, errInvitation()
	}
	tries := string(c.Invited.Token) // strangers who try the name do not slow down its owner
	if wait := a.device.take(tries, now); wait > 0 {
		return nil, throttled(wait)
	}
	a.mu.Lock()
	p, ok := a.pending[c.Name]
	a.mu.Unlock()
	if !ok || !now.Before(p.until) || !bytes.Equal(p.token, c.Invited.Token) {
		return nil, flawed(FlawLate, "the second factor was shown too long ago; begin again")
	}
	if err := checkPassword(c.Name, text); err != nil {
		return nil, err
	}
	step := totpMatch(p.secret, now, plainCode(code))
	if step == 0 {
		return nil, flawed(FlawCode, "the code is not the one that the authenticator app shows now")
	}
	hashed, err := a.hasher.make(ctx, a.cfg.Params, plainPassword(text))
	if err != nil {
		return nil, err
	}
	f := &factor{ID: make([]byte, saltBytes), Secret: p.secret}
	_, _ = rand.Read(f.ID) // never fails: crypto/rand ends the program instead
	recovery, f.Recovery = newRecovery(f.ID)
	err = a.change(func(byName map[string]account) error {
		own, ok := byName[c.Name]
		if !ok || own.Invited == nil || !bytes.Equal(own.Invited.Token, p.token) {
			return errInvitation() // used or taken back in between
		}
		if _, _, err := a.used.use(c.Name, f, shown{step: step, recovery: -1}); err != nil {
			return err
		}
		own.Invited, own.Enrolled, own.Password, own.Factor = nil, a.stamp(), &hashed, f
		byName[c.Name] = own
		delete(a.pending, c.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.device.give(tries, now)
	return recovery, nil
}

// ChangePassword sets another password for whoever logs in with the present one and a code, and ends all sessions of the
// account.
func (a *Accounts) ChangePassword(ctx context.Context, t Attempt, next string) error {
	c, _, err := a.prove(ctx, t)
	if err != nil {
		return err
	}
	if err := checkPassword(c.Name, next); err != nil {
		return err
	}
	hashed, err := a.hasher.make(ctx, a.cfg.Params, plainPassword(next))
	if err != nil {
		return err
	}
	return a.change(func(byName map[string]account) error {
		own, ok := byName[c.Name]
		if !ok || own.version() != c.version() {
			return querschott.Refuse(querschott.CodeConflict, "the account was changed by somebody else in between")
		}
		own.Password = &hashed
		byName[c.Name] = own
		return nil
	})
}

// checkPassword is the whole policy.
func checkPassword(name, text string) error {
	text = plainPassword(text)
	local, _, _ := strings.Cut(name, "@")
	folded := cases.Fold().String(text)
	switch {
	case !utf8.ValidString(text) || len(text) > maxPassword:
		return flawed(FlawLong, "a password has at most %d bytes of UTF-8", maxPassword)
	case utf8.RuneCountInString(text) < minPassword:
		return flawed(FlawShort, "a password has at least %d characters", minPassword)
	case folded == name || folded == local:
		return flawed(FlawName, "a password is not the account's name")
	}
	return nil
}

// plainPassword makes a password the same from whatever keyboard it comes (RFC 8265, section 4.2.2, rule 4).
func plainPassword(s string) string {
	if len(s) > maxPassword {
		return s
	}
	return norm.NFC.String(s)
}

func errInvitation() error {
	return querschott.Refuse(querschott.CodeUnauthorized, "the invitation is unknown, used or expired")
}

// Flaw is in the chain of a refusal of what the owner of an account has typed, for pages in other languages.
type Flaw string

// The flaws.
const (
	FlawShort Flaw = "short" // the password has too few characters
	FlawLong  Flaw = "long"  // the password has too many bytes
	FlawName  Flaw = "name"  // the password is the account's name
	FlawCode  Flaw = "code"  // the code is not the one that the app shows
	FlawLate  Flaw = "late"  // the second factor was shown too long ago, or another one since
)

func (f Flaw) Error() string { return "flaw " + string(f) }

func flawed(f Flaw, format string, args ...any) error {
	return &querschott.Error{Code: querschott.CodeInvalid, Public: fmt.Sprintf(format, args...), Err: f}
}

// Throttled is in the chain of a refusal for too many attempts.
type Throttled struct {
	After time.Duration // when to try again
}

func (t *Throttled) Error() string { return "throttled for " + t.After.Round(time.Second).String() }

func throttled(wait time.Duration) error {
	return &querschott.Error{Code: querschott.CodeTooMany, Public: "too many attempts; try again later", Err: &Throttled{wait}}
}

// RetryAfter returns how long to wait after a refusal for too many attempts, 0 if it was none.
func RetryAfter(err error) time.Duration {
	if t, ok := errors.AsType[*Throttled](err); ok {
		return t.After
	}
	return 0
}
