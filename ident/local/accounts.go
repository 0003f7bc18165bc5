package local

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
)

// Issuer is the issuer of the credentials of this package, as a revocation names it.
const Issuer = "local"

// Config says where accounts lie and what a login costs.
type Config struct {
	FS       disk.FS
	File     string // of the accounts; one that does not exist is an empty list
	Used     string // directory of used codes; made if missing
	Now      func() time.Time
	Sessions *ident.Sessions // where logins begin a session

	Platform string        // shown in the authenticator app beside the account; default Querschott
	Params   Params        // of new passwords; default StandardParams
	Parallel int           // hashes at the same time, one more for known browsers not counted; default 1
	Invite   time.Duration // life of an invitation; default 72 hours
}

// Accounts are the local accounts of operators and insurers' staff. All methods may be called at the same time.
//
// table is replaced as a whole, never changed; mu is held by those who replace it, and guards pending.
type Accounts struct {
	cfg     Config
	used    *used
	hasher  *hasher
	address *throttle
	name    *throttle
	device  *throttle
	seed    maphash.Seed

	mu      sync.Mutex
	table   atomic.Pointer[table]
	pending map[string]pending // by account: secrets of second factors that were shown and not yet confirmed
}

// table is the list, and its names that have a password in order.
type table struct {
	byName   map[string]account
	enrolled []string
}

type pending struct {
	token  []byte // hash of the invitation
	secret []byte
	until  time.Time
}

// Account is what may be shown of one account.
type Account struct {
	Name     string
	Display  string // for people, "" for none
	Role     querschott.Role
	Insurer  querschott.IK // of staff
	Created  time.Time
	Invited  time.Time // until when the invitation can be used, zero if there is none
	Enrolled time.Time // when its owner set password and second factor, zero if not yet
	Disabled time.Time // since when it lets nobody in, zero if it does
}

// Open reads the accounts. A file that cannot be understood is an error.
func Open(cfg Config) (*Accounts, error) {
	if cfg.Platform == "" {
		cfg.Platform = "Querschott"
	}
	if cfg.Params == (Params{}) {
		cfg.Params = StandardParams()
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 1
	}
	if cfg.Invite <= 0 {
		cfg.Invite = 72 * time.Hour
	}
	if err := cfg.Params.check(); err != nil {
		return nil, err
	}
	if strings.ContainsAny(cfg.Platform, ":%") {
		return nil, errors.New("the platform's name in authenticator apps holds no colon and no percent sign")
	}
	if filepath.Clean(cfg.Used) == filepath.Dir(cfg.File) {
		return nil, errors.New("the accounts file and the directory of used codes need directories of their own: each is locked on its own")
	}
	used, err := openUsed(cfg.FS, cfg.Used)
	if err != nil {
		return nil, err
	}
	a := &Accounts{
		cfg: cfg, used: used, hasher: newHasher(cfg.Parallel), seed: maphash.MakeSeed(), pending: map[string]pending{},
		address: newThrottle(addressRate), name: newThrottle(accountRate), device: newThrottle(deviceRate),
	}
	return a, a.Reload()
}

// Reload takes over what the file says, and ends the sessions of accounts that changed. If it cannot be read or understood,
// the list in force stays in force.
func (a *Accounts) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	byName, err := readFile(a.cfg.FS, a.cfg.File)
	if err != nil {
		return err
	}
	a.install(byName)
	return nil
}

// Valid reports whether the account behind a session is as it was when the session began. It is true for sessions that are
// not of this package.
func (a *Accounts) Valid(s ident.Session) bool { return a.table.Load().valid(s) }

// Invite makes an account and the token with which its owner completes it. CodeConflict if the name is taken.
func (a *Accounts) Invite(who Account, by querschott.Actor) (token string, expires time.Time, err error) {
	name, ok := accountName(who.Name)
	if !ok {
		return "", time.Time{}, querschott.Refuse(querschott.CodeInvalid, "an account's name is of letters, digits and . _ @ + -, at most %d", maxName)
	}
	made := account{Name: name, Display: who.Display, Role: who.Role, Insurer: who.Insurer, Created: a.stamp()}
	if err := made.check(); err != nil {
		return "", time.Time{}, querschott.Refuse(querschott.CodeInvalid, "%v", err)
	}
	token, made.Invited = a.invitation(by)
	err = a.change(func(byName map[string]account) error {
		if _, taken := byName[name]; taken {
			return querschott.Refuse(querschott.CodeConflict, "there is an account with this name already")
		}
		byName[name] = made
		return nil
	})
	if err != nil {
		return "", time.Time{}, err // a token that is not on disk must not be handed out
	}
	return token, made.Invited.Expires, nil
}

// Renew ends an account's password, second factor and sessions at once, enables it and invites its owner again.
func (a *Accounts) Renew(name string, by querschott.Actor) (token string, expires time.Time, err error) {
	token, invited := a.invitation(by)
	err = a.edit(name, func(c account) account {
		c.Password, c.Factor, c.Enrolled, c.Disabled, c.Invited = nil, nil, time.Time{}, time.Time{}, invited
		return c
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return token, invited.Expires, nil
}

// Disable keeps the account on the list, lets nobody in with it and ends its sessions.
func (a *Accounts) Disable(name string) error {
	return a.edit(name, func(c account) account {
		if c.Disabled.IsZero() {
			c.Disabled = a.stamp()
		}
		c.Invited = nil
		return c
	})
}

// Remove takes an account off the list and ends its sessions.
func (a *Accounts) Remove(name string) error {
	name, _ = accountName(name)
	return a.change(func(byName map[string]account) error {
		if _, ok := byName[name]; !ok {
			return errNoAccount()
		}
		delete(byName, name)
		return nil
	})
}

// List returns the accounts in the order of their names.
func (a *Accounts) List() []Account {
	t := a.table.Load()
	list := make([]Account, 0, len(t.byName))
	for _, name := range slices.Sorted(maps.Keys(t.byName)) {
		c := t.byName[name]
		shown := Account{Name: c.Name, Display: c.Display, Role: c.Role, Insurer: c.Insurer, Created: c.Created, Enrolled: c.Enrolled, Disabled: c.Disabled}
		if c.Invited != nil {
			shown.Invited = c.Invited.Expires
		}
		list = append(list, shown)
	}
	return list
}

func (a *Accounts) invitation(by querschott.Actor) (string, *invitation) {
	token := strings.ToLower(rand.Text() + rand.Text()) // 2 x 130 bits
	return token, &invitation{Token: tokenHash(token), Expires: a.stamp().Add(a.cfg.Invite), By: by}
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte("querschott/invitation\x00" + token[:min(len(token), 256)]))
	return sum[:]
}

// invited finds the account that a token invites to.
func (t *table) invited(token string, now time.Time) (account, bool) {
	sum := tokenHash(token)
	for _, c := range t.byName {
		if c.Invited != nil && subtle.ConstantTimeCompare(c.Invited.Token, sum) == 1 {
			return c, now.Before(c.Invited.Expires)
		}
	}
	return account{}, false
}

func (t *table) valid(s ident.Session) bool {
	if s.Facts.Issuer != Issuer {
		return true
	}
	c, ok := t.byName[s.Facts.Subject]
	return ok && c.Disabled.IsZero() && c.version() == s.Facts.Token && c.caller() == s.Caller
}

// install is called with mu held.
func (a *Accounts) install(byName map[string]account) {
	t := &table{byName: byName}
	for name, c := range byName {
		if c.Password != nil {
			t.enrolled = append(t.enrolled, name)
		}
	}
	slices.Sort(t.enrolled)
	a.table.Store(t)
	a.cfg.Sessions.EndWhere(func(s ident.Session) bool { return !t.valid(s) })
}

func (a *Accounts) edit(name string, fn func(account) account) error {
	name, _ = accountName(name)
	return a.change(func(byName map[string]account) error {
		c, ok := byName[name]
		if !ok {
			return errNoAccount()
		}
		byName[name] = fn(c)
		return nil
	})
}

// change starts from the file, not from memory: a command beside the running node may have changed it. Of several commands
// at the same time each waits for the one before it.
func (a *Accounts) change(fn func(byName map[string]account) error) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, real := a.cfg.FS.(disk.OS); real { // a disk in memory belongs to one process
		release, locked := disk.Lock(filepath.Dir(a.cfg.File))
		if locked != nil {
			return fmt.Errorf("couldn't lock accounts file %s: %w", a.cfg.File, locked)
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	byName, err := readFile(a.cfg.FS, a.cfg.File)
	if err != nil {
		return err
	}
	if err := fn(byName); err != nil {
		return err
	}
	if err := writeFile(a.cfg.FS, a.cfg.File, byName); err != nil {
		return err
	}
	a.install(byName)
	return nil
}

func (a *Accounts) stamp() time.Time { return a.cfg.Now().UTC().Truncate(time.Second) }

func errNoAccount() error {
	return querschott.Refuse(querschott.CodeNotFound, "there is no account with this name")
}
