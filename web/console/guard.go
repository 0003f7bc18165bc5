package console

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
)

// policy is the Content-Security-Policy of every answer. Forms need no word in it: form-action has no fallback.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"

// guard wraps everything: headers on every answer, known hosts only, no posts from foreign pages.
func (c *Console) guard(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		if m := c.cfg.Mode.String(); m != "" {
			h.Set(ModeHeader, m)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		switch {
		case r.URL.Path == "/healthz": // load balancers ask by address
		case !c.knownHost(r.Host):
			c.message(w, r, http.StatusMisdirectedRequest, "error.host", "")
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Path != endPath &&
			(foreign.Check(r) != nil || !fromOwnPage(r)): // that path takes signed words only, from another server
			c.message(w, r, http.StatusForbidden, "error.foreign", "")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromOwnPage asks for positive proof. CrossOriginProtection lets a request pass that says nothing about where it comes
// from; browsers always say something.
func fromOwnPage(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	return site == "same-origin" || site == "none" || site == "" && origin != ""
}

// hostsOf reads the configured origins.
func hostsOf(origins []string) (map[string]bool, error) {
	hosts := map[string]bool{}
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("an origin of the console is written https://console.example.org, got %q", o)
		}
		hosts[strings.ToLower(u.Host)] = u.Scheme == "https"
	}
	return hosts, nil
}

func (c *Console) knownHost(host string) bool {
	if _, ok := c.hosts[strings.ToLower(host)]; ok {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && ip.IsLoopback()
}

// secure reports whether the browser reaches us by TLS, perhaps through a proxy in front.
func (c *Console) secure(r *http.Request) bool {
	return r.TLS != nil || c.hosts[strings.ToLower(r.Host)]
}

// cookie returns a cookie's name and form. The __Host- prefix keeps other hosts of the domain from setting it.
func (c *Console) cookie(r *http.Request, name, value string) *http.Cookie {
	k := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if c.secure(r) {
		k.Name, k.Secure = "__Host-"+name, true
	}
	return k
}

const (
	sessionCookie  = "querschott"
	deviceCookie   = "querschott-device" // says that a browser is known
	flowCookie     = "querschott-login"  // of a login at the identity provider that is under way
	languageCookie = "querschott-language"
)

// noCookie takes a cookie back.
func (c *Console) noCookie(r *http.Request, name string) *http.Cookie {
	k := c.cookie(r, name, "")
	k.MaxAge = -1
	return k
}

func (c *Console) read(r *http.Request, name string) string {
	k, err := r.Cookie(c.cookie(r, name, "").Name)
	if err != nil {
		return ""
	}
	return k.Value
}

// visit is one request of an operator who is logged in.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	l       *locale
	session ident.Session
	secret  string
	actor   querschott.Actor // the operator
}

// operator lets in only requests of operators who are logged in; a post must also carry the session's token.
func (c *Console) operator(serve func(*visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.enter(w, r)
		switch {
		case err != nil:
			c.fail(w, r, err)
			return
		case r.Method == http.MethodPost:
			if err := r.ParseForm(); err != nil {
				c.message(w, r, http.StatusBadRequest, "error.invalid", "")
				return
			}
			if err := v.session.CheckCSRF(r.PostForm.Get("csrf")); err != nil {
				c.message(w, r, http.StatusForbidden, "error.foreign", "")
				return
			}
		}
		serve(v)
	}
}

// enter asks at every request whether the one who is logged in still is an operator.
func (c *Console) enter(w http.ResponseWriter, r *http.Request) (*visit, error) {
	secret := c.read(r, sessionCookie)
	s, err := c.cfg.Access.Session(secret)
	if err != nil {
		return nil, err
	}
	actor, err := c.who(s)
	if err != nil {
		c.cfg.Access.Logout(secret)
		c.cfg.Log.Warn("the session of somebody who is no operator any more has ended", "credential", string(s.Credential.ID), "err", err)
		return nil, querschott.Refuse(querschott.CodeUnauthorized, "the session has been ended")
	}
	return &visit{w: w, r: r, l: c.locale(r), session: s, secret: secret, actor: actor}, nil
}

// language keeps the choice in a cookie. It needs no session: the login page has the switch too.
func (c *Console) language(w http.ResponseWriter, r *http.Request) {
	if tag := r.PostFormValue("language"); c.locales[tag] != nil {
		http.SetCookie(w, c.cookie(r, languageCookie, tag))
	}
	http.Redirect(w, r, ownPath(r.PostFormValue("back")), http.StatusSeeOther)
}

// ownPath returns the path if it stays on this console, "/" otherwise.
func ownPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(s, "/") ||
		strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\\r\n\t") {
		return "/"
	}
	return s
}

// why is what a refusal says beside the words of its code, "" if those are all.
func (c *Console) why(r *http.Request, err error) string {
	if e, ok := errors.AsType[*querschott.Error](err); !ok || e.Key == "" {
		return ""
	}
	return c.locale(r).Fault(err)
}

// fail shows what the operator may know of an error; the rest is in the log under a reference.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch code := querschott.CodeOf(err); code {
	case querschott.CodeUnauthorized:
		p := loginPage{Hint: c.locale(r).T("login.first")}
		if r.Method != http.MethodGet {
			p = loginPage{Problem: c.locale(r).T("login.undone")}
		}
		c.askLogin(w, r, http.StatusUnauthorized, p)
	case querschott.CodeForbidden:
		c.message(w, r, http.StatusForbidden, "error.forbidden", c.why(r, err))
	case querschott.CodeNotFound:
		c.message(w, r, http.StatusNotFound, "error.notfound", c.why(r, err))
	case querschott.CodeInvalid:
		c.message(w, r, http.StatusBadRequest, "error.invalid", c.why(r, err))
	case querschott.CodeConflict:
		c.message(w, r, http.StatusConflict, "error.conflict", c.why(r, err))
	default:
		ref := rand.Text()[:8]
		c.cfg.Log.Error("couldn't answer a request of the console", "reference", ref, "err", err)
		c.message(w, r, http.StatusInternalServerError, "error.internal", ref)
	}
}
