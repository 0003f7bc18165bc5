package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"

	"github.com/querschott/querschott"
)

var (
	//go:embed assets/page.html
	pageText string
	//go:embed assets/page.css
	css string

	page = template.Must(template.New("page").Parse(pageText))
)

// policy lets a page load nothing but its own style.
var policy = func() string {
	sum := sha256.Sum256([]byte(css))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// moment says where and when a page is looked at.
type moment struct {
	stale  bool   // it is served, and out of date
	static bool   // it is a file: it cannot know when it is read
	key    string // name of the key
}

// view is what the template shows.
type view struct {
	T                       *texts
	CSS                     template.CSS
	Policy                  string
	Mode, Head, Rest        string
	Stale, AsOf, Next, Till string
	Calm                    bool
	Key                     string
	Platform                string
	Affected                []card
	Clear                   []card
	Others                  []card
}

type card struct {
	IK       querschott.IK
	Name     string
	Doors    []row
	Services []link // that are not affected
}

type row struct {
	ID, Service, Class, State, Cause, Since, Incident, Effect string
}

type link struct{ ID, Service string }

// render makes the page of a state; nil: there is none yet.
func render(s *State, t *texts, m moment) ([]byte, error) {
	v := view{T: t, CSS: template.CSS(css), Policy: policy, Key: m.key, Head: t.unknown, Rest: t.none} //nolint:gosec // our own style
	if s != nil {
		v.fill(s, t, m)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("couldn't make the page: %w", err)
	}
	return b.Bytes(), nil
}

func (v *view) fill(s *State, t *texts, m moment) {
	v.Platform, v.AsOf, v.Next, v.Rest = s.Platform, t.clock(s.AsOf.Time), t.clock(s.NextUpdateAt.Time), ""
	v.Mode = map[string]string{"drill": t.exercise, "demo": t.demo}[s.Exercise]
	for i := range s.Insurers {
		in := &s.Insurers[i]
		shut, again := v.cardsOf(in, t)
		if len(again.Doors) > 0 {
			v.Clear = append(v.Clear, again)
		}
		if len(shut.Doors) > 0 {
			v.Affected = append(v.Affected, shut)
		} else {
			v.Others = append(v.Others, shut)
		}
	}
	v.Head, v.Calm = t.calm, len(v.Affected) == 0
	if !v.Calm {
		v.Head = t.fault(len(v.Affected), len(s.Insurers))
		if len(v.Others) > 0 {
			v.Rest = t.rest(len(v.Others))
		}
	}
	if m.static {
		v.Till = fmt.Sprintf(t.until, v.Next)
	}
	if m.stale { // silence is no good news
		v.Stale, v.Calm = fmt.Sprintf(t.stale, v.Next), false
		v.Head, v.Rest = t.last+" "+v.Head, ""
	}
}

// cardsOf returns what is shut at an insurer, with what is not affected there, and what is open again.
func (v *view) cardsOf(in *Insurer, t *texts) (shut, again card) {
	shut, again = card{IK: in.IK, Name: in.Name}, card{IK: in.IK, Name: in.Name}
	id := func(s querschott.Service) string { return string(in.IK) + "-" + string(s) } // as refusals link to it
	for i := range in.Doors {
		d := &in.Doors[i]
		r := row{ID: id(d.Service), Service: t.services[d.Service], Class: d.Door.String(), State: t.states[d.Door], Cause: t.causes[d.Cause], Incident: d.Incident}
		if d.Since != nil {
			r.Since = t.clock(d.Since.Time)
		}
		if d.AllClear {
			r.ID = "" // it stands with what is not affected
			again.Doors = append(again.Doors, r)
			continue
		}
		r.Effect = t.effect(d)
		if d.Door == querschott.Open {
			r.State = t.partlyOpen
		}
		shut.Doors = append(shut.Doors, r)
	}
	for _, s := range in.NotAffected {
		shut.Services = append(shut.Services, link{ID: id(s), Service: t.services[s]})
	}
	return shut, again
}

// Files are what can be put on any host that serves files, by their names: two pages and gematik's shape.
func Files(s *State, key string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, t := range []*texts{german, english} {
		html, err := render(s, t, moment{static: true, key: key})
		if err != nil {
			return nil, err
		}
		files[t.file] = html
	}
	l, err := Lage(s)
	files[LageName] = l
	return files, err
}

// Names of files and of paths on the page.
const (
	NoteName = "status.note" // the signed file
	JSONName = "status.json" // its text; only served
	LageName = "status/v2/tilage"
)
