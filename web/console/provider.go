package console

import (
	"net/http"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/oidc"
)

// Provider is an identity provider with whose word operators log in.
type Provider struct {
	Name string // shown on the button
	OIDC *oidc.Provider
}

// ReturnPath is where the identity provider sends browsers back to, on this console.
const ReturnPath = "/login/provider/return"

// endPath is where the identity provider says that somebody has logged out there (OpenID Connect Back-Channel Logout 1.0).
const endPath = "/login/provider/logout"

func (c *Console) providerName() string {
	if c.cfg.Provider == nil {
		return ""
	}
	return c.cfg.Provider.Name
}

func (c *Console) withProvider(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if c.cfg.Provider == nil {
			c.message(w, r, http.StatusNotFound, "error.notfound", "")
			return
		}
		serve(w, r)
	}
}

// providerStart sends the browser to the identity provider.
func (c *Console) providerStart(w http.ResponseWriter, r *http.Request) {
	address, secret, err := c.cfg.Provider.OIDC.Start(r.Context())
	if err != nil {
		c.providerFailed(w, r, err)
		return
	}
	flow := c.cookie(r, flowCookie, secret)
	flow.SameSite = http.SameSiteLaxMode // the browser comes back from a foreign site
	flow.MaxAge = 600
	http.SetCookie(w, flow)
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// providerReturn is where the browser comes back. A redirect from here would still count as coming from the foreign site and
// carry no session cookie, so the next address is asked for by a page of ours.
func (c *Console) providerReturn(w http.ResponseWriter, r *http.Request) {
	secret, s, err := c.cfg.Provider.OIDC.Finish(r.Context(), c.read(r, flowCookie), r.URL.Query())
	var who querschott.Actor
	if err == nil {
		who, err = c.admit(r.Context(), secret, s)
	} else if code := querschott.CodeOf(err); code == querschott.CodeUnauthorized || code == querschott.CodeForbidden {
		err = c.recordRefusal(r.Context(), err)
	}
	if err != nil {
		c.providerFailed(w, r, err)
		return
	}
	http.SetCookie(w, c.noCookie(r, flowCookie))
	c.begin(w, r, who, secret, s)
	w.Header().Set("Refresh", "0; url=/")
	l := c.locale(r)
	c.tell(w, r, http.StatusOK, l.T("login.done.title"), l.T("login.done"), "")
}

// providerFailed shows the login page again: the other ways in are on it.
func (c *Console) providerFailed(w http.ResponseWriter, r *http.Request, err error) {
	l := c.locale(r)
	var status int
	var key string
	switch querschott.CodeOf(err) {
	case querschott.CodeUpstream:
		status, key = http.StatusBadGateway, "provider.dead"
	case querschott.CodeInvalid:
		status, key = http.StatusBadRequest, "provider.stranger"
	case querschott.CodeUnauthorized, querschott.CodeForbidden:
		status, key = http.StatusUnauthorized, "provider.refused"
	default:
		c.fail(w, r, err)
		return
	}
	c.cfg.Log.Warn("a login by the identity provider failed", "remote", r.RemoteAddr, "err", err)
	c.askLogin(w, r, status, loginPage{Next: "/", Problem: l.T(key, c.providerName())})
}

// providerLogout takes the identity provider's signed word that somebody has logged out there.
func (c *Console) providerLogout(w http.ResponseWriter, r *http.Request) {
	ended, err := c.cfg.Provider.OIDC.Logout(r.Context(), r.PostFormValue("logout_token"))
	switch code := querschott.CodeOf(err); {
	case err == nil:
		c.cfg.Log.Info("the identity provider has ended sessions", "sessions", ended)
		w.WriteHeader(http.StatusOK)
	case code == querschott.CodeInvalid:
		http.Error(w, publicText(err), http.StatusBadRequest)
	default:
		c.cfg.Log.Warn("a logout by the identity provider could not be checked", "err", err)
		http.Error(w, "the token cannot be checked now", http.StatusBadGateway)
	}
}
