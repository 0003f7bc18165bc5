package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/querschott/querschott"
)

//go:embed assets templates
var files embed.FS

// asset is a file that pages refer to by an address that changes with its content.
type asset struct {
	url   string
	hash  string
	mime  string
	bytes []byte
}

func loadAssets() (map[string]asset, error) {
	entries, err := fs.ReadDir(files, "assets")
	if err != nil {
		return nil, fmt.Errorf("couldn't list the console's assets: %w", err)
	}
	all := map[string]asset{}
	for _, e := range entries {
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("couldn't read the console's assets: %w", err)
		}
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:8])
		all[e.Name()] = asset{"/static/" + hash + "/" + e.Name(), hash, mime.TypeByExtension(path.Ext(e.Name())), data}
	}
	return all, nil
}

func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("name")]
	if !ok || a.hash != r.PathValue("hash") {
		c.message(w, r, http.StatusNotFound, "error.notfound", "")
		return
	}
	w.Header().Set("Content-Type", a.mime)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.bytes) // whoever asked has gone
}

func parseTemplates(assets map[string]asset) (*template.Template, error) {
	t, err := template.New("console").Funcs(template.FuncMap{
		"asset": func(name string) (string, error) {
			a, ok := assets[name]
			if !ok {
				return "", fmt.Errorf("there is no asset %s", name)
			}
			return a.url, nil
		},
		"states": func() []querschott.DoorState {
			return []querschott.DoorState{querschott.Open, querschott.Hold, querschott.ReadOnly, querschott.Closed}
		},
	}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("couldn't read the console's templates: %w", err)
	}
	return t, nil
}

// page is what every page has.
type page struct {
	L         *locale
	Title     string
	Back      string // where the language switch returns to
	Here      string // which entry of the navigation this is
	Live      bool   // takes events
	Who       querschott.Actor
	CSRF      string
	Proposals int
	Mode      string // key of the text that marks what is not real; empty: it is
	Version   string
	names     func(querschott.IK) string
}

// Name returns an insurer's name.
func (p page) Name(ik querschott.IK) string { return p.names(ik) }

func (c *Console) page(l *locale, r *http.Request, title string) page {
	back := "/"
	if r.Method == http.MethodGet {
		back = r.URL.RequestURI()
	}
	p := page{L: l, Title: title, Back: back, Version: c.cfg.Version, names: c.name}
	if m := c.cfg.Mode.String(); m != "" {
		p.Mode = "mode." + m
	}
	return p
}

// operatorPage is a page for somebody who is logged in.
func (c *Console) operatorPage(v *visit, here, title string) page {
	p := c.page(v.l, v.r, title)
	p.Here, p.Who, p.CSRF, p.Proposals = here, v.actor, v.session.CSRF, len(c.cfg.Doors.Proposals())
	return p
}

// render writes a whole page or, if its template fails, none of it.
func (c *Console) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := c.templates.ExecuteTemplate(&b, name, data); err != nil {
		c.cfg.Log.Error("couldn't draw a page of the console", "page", name, "err", err)
		c.broken(w, name)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // whoever asked has gone
}

// broken says in every language that a page could not be drawn. It uses no template: they are what failed.
func (c *Console) broken(w http.ResponseWriter, name string) {
	var b strings.Builder
	for _, tag := range []string{"de", "en"} {
		l := c.locales[tag]
		if m := c.cfg.Mode.String(); m != "" {
			b.WriteString(l.T("mode."+m) + "\n")
		}
		b.WriteString(l.T("error.internal.title") + ". " + l.T("error.internal") + " " + name + "\n")
	}
	http.Error(w, b.String(), http.StatusInternalServerError)
}

// fragment draws a part of a page for the event stream.
func (c *Console) fragment(name string, data any) (string, error) {
	var b strings.Builder
	if err := c.templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("couldn't draw %s: %w", name, err)
	}
	return b.String(), nil
}

type messagePage struct {
	page
	Text   string
	Detail string
}

// message shows one sentence, and a detail or a reference.
func (c *Console) message(w http.ResponseWriter, r *http.Request, status int, key, detail string) {
	l := c.locale(r)
	c.tell(w, r, status, l.T(key+".title"), l.T(key), detail)
}

func (c *Console) tell(w http.ResponseWriter, r *http.Request, status int, title, text, detail string) {
	p := messagePage{c.page(c.locale(r), r, title), text, detail}
	p.Back = "/"
	c.render(w, status, "message", p)
}
