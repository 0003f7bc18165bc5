package console

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/ident/local"
)

// deviceLife is how long a browser is known after a login, as package local counts it.
const deviceLife = 90 * 24 * time.Hour

// loginPage is the page for those who are not logged in.
type loginPage struct {
	page
	Local    bool   // there are accounts with a password
	Provider string // name of the identity provider, "" for none
	Next     string // where the login leads
	Name     string // that was typed
	Hint     string
	Problem  string
	Wrong    bool // the problem is what was typed
}

// askLogin shows the login page, with what stands in the way.
func (c *Console) askLogin(w http.ResponseWriter, r *http.Request, status int, p loginPage) {
	l := c.locale(r)
	p.page = c.page(l, r, l.T("login.title"))
	if p.Next == "" {
		p.Next = "/"
		if r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/login") {
			p.Next = ownPath(r.URL.RequestURI())
		}
	}
	if r.Method != http.MethodGet || r.URL.RawQuery != "" && p.Next == "/" {
		p.Back = "/login"
	}
	p.Local, p.Provider = c.cfg.Local != nil, c.providerName()
	if p.Wrong {
		p.Title = l.T("login.failed")
	}
	c.render(w, status, "login", p)
}

func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	c.askLogin(w, r, http.StatusOK, loginPage{})
}

// passwordLogin takes name, password and code. Whatever is wrong, and whoever is right but no operator of this node, gets the
// same answer.
func (c *Console) passwordLogin(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Local == nil {
		c.message(w, r, http.StatusNotFound, "error.notfound", "")
		return
	}
	if err := r.ParseForm(); err != nil {
		c.message(w, r, http.StatusBadRequest, "error.invalid", "")
		return
	}
	l, f := c.locale(r), r.PostForm
	page := loginPage{Next: ownPath(f.Get("next")), Name: shortened(f.Get("name"))}
	in, err := c.cfg.Local.Login(r.Context(), local.Attempt{
		Name: strings.TrimSpace(f.Get("name")), Password: f.Get("password"), Code: f.Get("code"), Address: remote(r), Device: c.read(r, deviceCookie),
	})
	var who querschott.Actor
	if err == nil {
		who, err = c.admit(r.Context(), in.Secret, in.Session)
	} else if querschott.CodeOf(err) == querschott.CodeUnauthorized {
		err = c.recordRefusal(r.Context(), err)
	}
	switch code := querschott.CodeOf(err); {
	case err == nil:
	case code == querschott.CodeUnauthorized || code == querschott.CodeForbidden:
		c.cfg.Log.Warn("a login with a password was refused", "remote", r.RemoteAddr)
		page.Problem, page.Wrong = l.T("login.wrong"), true
		c.askLogin(w, r, http.StatusUnauthorized, page)
		return
	case code == querschott.CodeTooMany:
		page.Problem = l.tooMany(w, err)
		c.askLogin(w, r, http.StatusTooManyRequests, page)
		return
	default:
		c.fail(w, r, err)
		return
	}
	known := c.cookie(r, deviceCookie, in.Device)
	known.MaxAge = int(deviceLife / time.Second)
	http.SetCookie(w, known)
	c.begin(w, r, who, in.Secret, in.Session)
	if isRecovery(f.Get("code")) {
		c.tell(w, r, http.StatusOK, l.T("login.done.title"), l.N("login.left", in.Recovery), "")
		return
	}
	http.Redirect(w, r, page.Next, http.StatusSeeOther)
}

// tooMany says in words when to try again, and in seconds in the answer's head.
func (l *locale) tooMany(w http.ResponseWriter, err error) string {
	wait := local.RetryAfter(err)
	if wait <= 0 { // too many at the same time
		wait = 5 * time.Second
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	if seconds > 90 {
		return l.T("login.throttled", l.N("wait.min", (seconds+59)/60))
	}
	return l.T("login.throttled", l.N("wait.s", seconds))
}

// isRecovery reports whether a code that was right is one of those that are on paper.
func isRecovery(code string) bool {
	return strings.ContainsAny(strings.ToLower(code), "abcdefghijklmnopqrstuvwxyz")
}

// linkPage does not use the link up: programs look at the links in messages.
func (c *Console) linkPage(w http.ResponseWriter, r *http.Request) {
	l := c.locale(r)
	c.render(w, http.StatusOK, "link", linkPage{page: c.page(l, r, l.T("login.title")), Action: r.URL.EscapedPath()})
}

type linkPage struct {
	page
	Action string
}

// linkLogin redeems the link.
func (c *Console) linkLogin(w http.ResponseWriter, r *http.Request) {
	secret, s, err := c.cfg.Access.Login(r.PathValue("token"))
	var who querschott.Actor
	if err == nil {
		who, err = c.admit(r.Context(), secret, s)
	} else if querschott.CodeOf(err) == querschott.CodeUnauthorized {
		err = c.recordRefusal(r.Context(), err)
	}
	switch code := querschott.CodeOf(err); {
	case err == nil:
		c.begin(w, r, who, secret, s)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case code == querschott.CodeUnauthorized || code == querschott.CodeForbidden:
		c.cfg.Log.Warn("a login link was refused", "remote", r.RemoteAddr)
		c.message(w, r, http.StatusUnauthorized, "error.link", "")
	default:
		c.fail(w, r, err)
	}
}

// who returns which operator a session is.
func (c *Console) who(s ident.Session) (querschott.Actor, error) {
	if s.Credential.Role != querschott.RoleOperator {
		return "", querschott.Refuse(querschott.CodeForbidden, "only operators use the console")
	}
	return c.cfg.Operator(s)
}

// admit lets somebody in who has proved who he is, if he is an operator of this node, and records it. Otherwise the session
// that has just begun is over.
func (c *Console) admit(ctx context.Context, secret string, s ident.Session) (querschott.Actor, error) {
	who, err := c.who(s)
	if err != nil {
		c.cfg.Log.Warn("somebody who is no operator of this node tried to log in", "credential", string(s.Credential.ID), "err", err)
		err = c.recordRefusal(ctx, err)
	} else {
		err = c.cfg.Record(ctx, s.Credential, true)
	}
	if err != nil {
		c.cfg.Access.Logout(secret)
		return "", err
	}
	return who, nil
}

// recordRefusal returns the refusal, or why it could not be recorded.
func (c *Console) recordRefusal(ctx context.Context, refused error) error {
	if err := c.cfg.Record(ctx, querschott.Credential{Role: querschott.RoleUnknown}, false); err != nil {
		return err
	}
	return refused
}

// begin gives the browser its session. A second one in the same browser replaces the first.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, who querschott.Actor, secret string, s ident.Session) {
	if old := c.read(r, sessionCookie); old != "" {
		c.cfg.Access.Logout(old)
	}
	c.cfg.Log.Info("an operator has logged in", "actor", string(who), "credential", string(s.Credential.ID))
	http.SetCookie(w, c.cookie(r, sessionCookie, secret))
}

func (c *Console) logout(v *visit) {
	c.cfg.Access.Logout(v.secret)
	http.SetCookie(v.w, c.noCookie(v.r, sessionCookie))
	c.message(v.w, v.r, http.StatusOK, "logout.done", "")
}

// remote is where a request comes from. What a proxy in front says about it is not believed: anybody can say it.
func remote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// shortened keeps of what somebody typed what a name can be.
func shortened(s string) string { return strings.ToValidUTF8(s[:min(len(s), 128)], "") }
