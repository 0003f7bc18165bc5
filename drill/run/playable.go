package run

import (
	"fmt"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/attack"
)

// Why attacks cannot be played against a running platform, by what they need.
var (
	noChannel = map[attack.Channel]string{
		attack.Feed: "it goes through a service of another maker, which is not part of the platform",
		attack.VSDM: "it needs a stolen practice's key and the patients' proofs of presence, which the drill does not have",
		attack.EPA:  "the platform has no patient record to attack",
		attack.App:  "the platform has no app for insured persons to attack",
	}
	noAction = map[string]string{
		"search": "the desk has no lists of search results to walk down, it finds whole names only",
		"write":  "the desk writes nothing",
		"delete": "the desk deletes nothing",

		"grant":      noAdmin,
		"key-export": noAdmin,
	}
	noChoice = map[attack.Choice]string{
		attack.Surname:  "who is called like an employee, the invented world does not say",
		attack.VIP:      "who is of public interest, the invented world does not say",
		attack.Alphabet: "the desk has no lists of search results to walk down, it finds whole names only",
	}
)

const (
	noAdmin  = "rights and keys are administered through the control socket, where no employee comes"
	noWork   = "it changes what all employees or practices do (work:), and a running platform has a few of them only"
	noTicket = "the platform's suppliers have registered jobs and no maintenance, so it knows nobody who would need a ticket"
	noJob    = "on the platform only suppliers' machines have registered jobs"
	noToken  = "the drill does not tamper with tokens"
	noUnseen = "every event of the platform reaches its detectors"
)

// unplayable says why an attack cannot be played against a running platform, "" if it can.
func unplayable(f *attack.Family) string {
	switch {
	case f.Work != nil:
		return noWork
	case noChannel[f.Who.Channel] != "":
		return noChannel[f.Who.Channel]
	case f.Who.Role == attack.Partner && f.Reasons.Give != "job":
		return noTicket
	case noAction[f.Rate.Action] != "":
		return noAction[f.Rate.Action]
	case noChoice[f.Persons.Choose] != "":
		return noChoice[f.Persons.Choose]
	case f.Who.Role != attack.Partner && f.Reasons.Give == "job":
		return noJob
	case f.From.Token != "valid":
		return noToken
	case f.From.Unseen:
		return noUnseen
	}
	return ""
}

// Playable says why an attack cannot be played against a running platform, nil if it can.
func Playable(f *attack.Family) error {
	why := unplayable(f)
	if why == "" {
		return nil
	}
	return querschott.Refuse(querschott.CodeInvalid, "the attack %q cannot be played against a running platform: %s; 'querschott drill eval --families %s' measures it, "+
		"and what goes through the desk (who.channel: desk) can be played", f.Name, why, f.Name)
}

// calm is how many requests a minute a credential of something benign makes at most: half of what the gate lets employees reach. A day of honest
// work in some seconds would meet the caps, and that would say nothing about the work.
const calm = 10.0

// calmFactor is how much faster than real something benign may be played.
func calmFactor(f *attack.Family) float64 { return calm / f.Fastest() }

// notes say what of a family is played otherwise than it stands there.
func (t *thief) notes() []string {
	f, list := t.family, []string{}
	from, to := t.run.Lasts()
	if t.factor > 1 {
		list = append(list, fmt.Sprintf("compressed: the original lasts %s and is played %.0f times as fast. Caps, and detectors that count in minutes, meet another pace than the "+
			"original's: that it is found here does not say that it is found there", to.Sub(from).Round(time.Hour), t.factor))
	}
	if f.Benign && t.factor > 1 {
		list = append(list, fmt.Sprintf("in part: only what is done in %s at that pace, which leaves each credential below %g requests a minute: honest work that is compressed any further meets the caps for that reason alone",
			longest, calm))
	}
	if f.From.Network != "own" || f.From.Key != "own" {
		list = append(list, "network and key: every request comes from this machine, with a key that the platform has not seen before")
	}
	if f.Reasons.Give == "none" || f.Reasons.Share < 1 {
		list = append(list, "reasons: the desk demands one, so the same is given where the family gives none")
	}
	if !f.Benign && float64(f.Refused.Wait.To)/t.factor > float64(askAgain) {
		list = append(list, fmt.Sprintf("waiting: who is refused for a cap asks again every %s for up to %s until the credential is held, so that the report says when that was", askAgain, askFor))
	}
	if f.Persons.Choose == attack.Own || f.Persons.Own > 0 {
		list = append(list, "persons: whom somebody works for anyway are the insurer's first persons")
	}
	return list
}
