package console

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/local"
	"github.com/querschott/querschott/wire/qr"
)

// invitationPage leads the owner of an account through its completion. The token of the invitation stands in no address:
// addresses end up in histories and logs.
type invitationPage struct {
	page
	Token    string
	Shown    *local.Enrolment // nil: not yet
	Picture  *qr.Code         // of Shown; nil: it would be too large
	Recovery []string         // not nil: done
	Problem  string
	Field    string // whose content is the problem
}

func (c *Console) invitation(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Local == nil {
		c.message(w, r, http.StatusNotFound, "error.notfound", "")
		return
	}
	c.drawInvitation(w, r, http.StatusOK, invitationPage{})
}

func (c *Console) drawInvitation(w http.ResponseWriter, r *http.Request, status int, p invitationPage) {
	l := c.locale(r)
	p.page = c.page(l, r, l.T("invite.title"))
	p.Back = "/invitation"
	if p.Recovery != nil {
		p.Title = l.T("invite.codes")
	}
	if p.Shown != nil {
		if code, err := qr.Encode(p.Shown.URI); err == nil { // the secret stands beside it as text
			p.Picture = code
		}
	}
	c.render(w, status, "invitation", p)
}

// enrol takes the two steps: the invitation, then password and code.
func (c *Console) enrol(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Local == nil {
		c.message(w, r, http.StatusNotFound, "error.notfound", "")
		return
	}
	if err := r.ParseForm(); err != nil {
		c.message(w, r, http.StatusBadRequest, "error.invalid", "")
		return
	}
	p := invitationPage{Token: strings.TrimSpace(r.PostForm.Get("token"))}
	if r.PostForm.Get("secret") == "" {
		e, err := c.cfg.Local.Begin(p.Token)
		if err != nil {
			c.invitationFailed(w, r, p, err)
			return
		}
		p.Shown = &e
		c.drawInvitation(w, r, http.StatusOK, p)
		return
	}
	e, err := c.cfg.Local.Resume(p.Token, r.PostForm.Get("secret"))
	if err != nil {
		c.invitationFailed(w, r, p, err)
		return
	}
	p.Shown = &e
	if r.PostForm.Get("password") != r.PostForm.Get("again") {
		p.Problem, p.Field = c.locale(r).T("invite.differ"), "again"
		c.drawInvitation(w, r, http.StatusBadRequest, p)
		return
	}
	recovery, err := c.cfg.Local.Finish(r.Context(), p.Token, r.PostForm.Get("password"), r.PostForm.Get("code"))
	if err != nil {
		c.invitationFailed(w, r, p, err)
		return
	}
	c.cfg.Log.Info("the owner of an account has completed it", "account", e.Name)
	c.drawInvitation(w, r, http.StatusOK, invitationPage{Recovery: recovery})
}

// invitationFailed says what is to be done otherwise.
func (c *Console) invitationFailed(w http.ResponseWriter, r *http.Request, p invitationPage, err error) {
	l, status := c.locale(r), http.StatusBadRequest
	flaw, flawed := errors.AsType[local.Flaw](err)
	switch code := querschott.CodeOf(err); {
	case code == querschott.CodeUnauthorized:
		c.cfg.Log.Warn("an invitation was refused", "remote", r.RemoteAddr)
		status, p = http.StatusUnauthorized, invitationPage{Problem: l.T("invite.unknown"), Field: "token"}
	case code == querschott.CodeTooMany:
		status, p.Problem = http.StatusTooManyRequests, l.tooMany(w, err)
	case !flawed:
		c.fail(w, r, err)
		return
	case flaw == local.FlawLate:
		p = invitationPage{Token: p.Token, Problem: l.T("invite.late")}
	case flaw == local.FlawCode:
		p.Problem, p.Field = l.T("invite.code"), "code"
	default:
		p.Problem, p.Field = l.T("invite."+string(flaw)), "password"
	}
	c.drawInvitation(w, r, status, p)
}

// Secret writes the second factor in groups of four, as people copy it.
func (p invitationPage) Secret() string {
	var b strings.Builder
	for i, r := range p.Shown.Secret {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Link is made by package local; templates trust no other scheme than those of the web.
func (p invitationPage) Link() template.URL { return template.URL(p.Shown.URI) }
