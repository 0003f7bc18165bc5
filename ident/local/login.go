package local

import (
	"context"
	"hash/maphash"
	"net/netip"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

// Attempt is one try to log in.
type Attempt struct {
	Name     string
	Password string
	Code     string     // of the authenticator app, or a recovery code; spaces and dashes do not count
	Address  netip.Addr // where it comes from
	Device   string     // what an earlier Login gave this browser, "" for none
}

// Login is somebody logged in.
type Login struct {
	Secret   string // of the session, as ident.Sessions says
	Session  ident.Session
	Device   string // to be kept by the browser for 90 days in a cookie of its own (Secure, HttpOnly, SameSite=Strict)
	Recovery int    // unused recovery codes
}

// Login checks both factors and begins a session. CodeUnauthorized if anything is wrong, without saying what; CodeTooMany
// with [Throttled] when it is not even looked at.
func (a *Accounts) Login(ctx context.Context, t Attempt) (Login, error) {
	c, now, err := a.prove(ctx, t)
	if err != nil {
		return Login{}, err
	}
	facts := ident.Facts{Subject: c.Name, Token: c.version(), Issuer: Issuer}
	secret, session := a.cfg.Sessions.Begin(Issuer, c.caller(), facts)
	if !a.Valid(session) { // the account was disabled or renewed while this went on
		a.cfg.Sessions.End(secret)
		return Login{}, errLogin()
	}
	return Login{Secret: secret, Session: session, Device: a.used.device(&c, a.cfg.Now()), Recovery: now.left()}, nil
}

func (a *account) caller() querschott.Caller {
	return querschott.Caller{Actor: querschott.Actor(a.Name), Role: a.Role, Name: a.Display, Insurer: a.Insurer}
}

// prove checks both factors, uses up the code and returns the account and what is used of its second factor.
func (a *Accounts) prove(ctx context.Context, t Attempt) (account, state, error) {
	name, _ := accountName(t.Name)
	c, known := a.table.Load().byName[name]
	known = known && c.Password != nil
	if !known {
		c = a.nobody(name)
	}
	device, trusted := a.used.knows(&c, t.Device, a.cfg.Now())
	trusted = trusted && known
	release, err := a.admit(name, t.Address, device, trusted)
	if err != nil {
		return account{}, state{}, err
	}
	text := plainPassword(t.Password)
	if len(text) > maxPassword {
		text = ""
	}
	right, err := a.hasher.compare(ctx, trusted, *c.Password, text)
	if err != nil {
		return account{}, state{}, err
	}
	// Read before anything is judged: a right password with a used code takes as long as a wrong one.
	now, stateErr := a.used.read(name, c.Factor)
	code := plainCode(t.Code)
	s := shown{step: totpMatch(c.Factor.Secret, a.cfg.Now(), code), recovery: recoveryMatch(c.Factor.ID, c.Factor.Recovery, code)}
	switch {
	case !right || !known || !c.Disabled.IsZero():
		return account{}, state{}, errLogin()
	case stateErr != nil:
		return account{}, state{}, stateErr
	case !s.right() || !s.unused(now):
		return account{}, state{}, errLogin()
	}
	now, first, err := a.used.use(name, c.Factor, s)
	if err != nil {
		return account{}, state{}, err
	}
	if !first {
		return account{}, state{}, errLogin()
	}
	release()
	return c, now, nil
}

// admit counts the attempt, before it costs anything and before others that come at the same time. Release takes the count
// back. A known browser is not slowed down by what strangers do.
func (a *Accounts) admit(name string, from netip.Addr, device string, trusted bool) (release func(), err error) {
	now := a.cfg.Now()
	if trusted {
		if wait := a.device.take(device, now); wait > 0 {
			return nil, throttled(wait)
		}
		return func() { a.device.give(device, a.cfg.Now()) }, nil
	}
	address := addressKey(from)
	if wait := a.address.take(address, now); wait > 0 {
		return nil, throttled(wait)
	}
	key := name[:min(len(name), maxName+1)]
	if wait := a.name.take(key, now); wait > 0 {
		a.address.give(address, now)
		return nil, throttled(wait)
	}
	return func() {
		a.address.give(address, a.cfg.Now())
		a.name.give(key, a.cfg.Now())
	}, nil
}

// nobody is compared with when there is no account. Its hash costs what that of one of the accounts costs, always the same
// one for a name, so that the costs of names that exist and of those that do not are spread alike.
func (a *Accounts) nobody(name string) account {
	p := password{Params: a.cfg.Params, Salt: make([]byte, saltBytes), Hash: make([]byte, hashBytes)}
	t := a.table.Load()
	if n := uint64(len(t.enrolled)); n != 0 {
		p.Params = t.byName[t.enrolled[maphash.String(a.seed, name)%n]].Password.Params
	}
	f := &factor{ID: make([]byte, saltBytes), Secret: make([]byte, totpBytes), Recovery: make([][]byte, recoveryCodes)}
	for i := range f.Recovery {
		f.Recovery[i] = make([]byte, hashBytes)
	}
	return account{Name: name, Password: &p, Factor: f}
}

func errLogin() error {
	return querschott.Refuse(querschott.CodeUnauthorized, "name, password or code is wrong")
}
