package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/door"
)

// words are a text of the platform in both languages of its pages.
type words struct{ en, de string }

// sentences puts sentences together that may have a full stop already.
func sentences(list ...string) string {
	var b strings.Builder
	for _, s := range list {
		if s = strings.TrimRight(s, ". "); s != "" {
			b.WriteString(s + ". ")
		}
	}
	return strings.TrimSpace(b.String())
}

// actionText says in one line what an action is.
func actionText(a *contain.Action) string {
	switch a.Kind {
	case contain.MoveDoor:
		return fmt.Sprintf("door %s %s for %s", a.Compartment, a.To, a.TTL)
	case contain.ShutInsurer:
		return fmt.Sprintf("all doors of insurer %s %s for %s", a.Insurer, a.To, a.TTL)
	case contain.HoldGroup:
		return fmt.Sprintf("hold group %s for %s", a.Group, a.TTL)
	default:
		return fmt.Sprintf("%s %s of %s for %s", a.Kind, a.Credential, a.Actor, a.TTL)
	}
}

// germanStates say what has become of a deed.
var germanStates = map[contain.State]string{
	contain.Begun: "begonnen", contain.Done: "in Kraft", contain.Failed: "gescheitert", contain.Asked: "erbeten", contain.Refused: "abgelehnt",
	contain.Lapsed: "verfallen", contain.Seen: "erledigt", contain.Released: "freigegeben", contain.Over: "abgelaufen",
}

// germanDoors are the states of doors.
var germanDoors = map[string]string{"open": "offen", "hold": "verwahrt", "read-only": "nur lesen", "closed": "geschlossen"}

// germanAction is actionText in German. What a playbook tells a person to do stands as those wrote it who signed it.
func germanAction(d *contain.Deed) string {
	a := d.Action
	if a == nil {
		return d.Manual
	}
	lasts := germanSpan(a.TTL)
	switch a.Kind {
	case contain.MoveDoor:
		return fmt.Sprintf("Tür %s %s für %s", a.Compartment, germanDoors[a.To.String()], lasts)
	case contain.ShutInsurer:
		return fmt.Sprintf("alle Türen der Kasse %s %s für %s", a.Insurer, germanDoors[a.To.String()], lasts)
	case contain.HoldGroup:
		return fmt.Sprintf("Gruppe %s sperren für %s", a.Group, lasts)
	case contain.HoldSession:
		return fmt.Sprintf("Sitzung %s von %s sperren für %s", a.Credential, a.Actor, lasts)
	default:
		return fmt.Sprintf("Ausweis %s von %s sperren für %s", a.Credential, a.Actor, lasts)
	}
}

func germanSpan(d time.Duration) string {
	if d >= 2*time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%d Stunden", d/time.Hour)
	}
	return fmt.Sprintf("%d Minuten", int(d.Minutes()+0.5))
}

// germanEffect says in German how a deed acts at this moment. A deed that has no effect has no words; why it failed stands in its
// reason.
func (n *Node) germanEffect(r *contain.Run, d *contain.Deed) string {
	if d.Action == nil || d.Effect == "" {
		return ""
	}
	over := d.State == contain.Released || d.State == contain.Over
	if !isDoors(d.Action) {
		if name := runName(r, d); over {
			return "Die Sperrliste hat keinen Eintrag mehr davon"
		} else if d.State == contain.Done {
			entries := 0
			for _, v := range n.denied.List() {
				if v.Run == name {
					entries++
				}
			}
			return fmt.Sprintf("%d Einträge auf der Sperrliste, Stand %d", entries, n.denied.Epoch())
		}
		return ""
	}
	var list []string
	for _, c := range n.doorsOf(d.Action) {
		cur, _ := n.doors.Current(c)
		text := fmt.Sprintf("%s: %s, Epoche %d", c, germanDoors[cur.To.String()], cur.Epoch)
		if over && slices.ContainsFunc(n.doors.Proposals(), func(p door.Proposal) bool { return p.Compartment == c }) {
			text += ", das Öffnen ist zwei Personen vorgeschlagen"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}
