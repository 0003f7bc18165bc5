package watch

import (
	"time"

	"github.com/querschott/querschott/wire/zeta"
)

// token is D14: a token in somebody else's hands. The gate has refused it already where it could know.
type token struct{ held held }

// keysOf is with which keys a credential was used.
type keysOf struct {
	credential  uint64
	key, before uint64 // the last one, and the one before
	since, last int64  // when the last one was used first and last
	back        int64  // when the one before was used last
}

// stolen are causes that no client of good will brings about.
var stolen = map[string]bool{
	string(zeta.ReasonProofBinding):   true, // the token is bound to another key
	string(zeta.ReasonProofToken):     true, // the proof was made for another token
	string(zeta.ReasonPresenceActor):  true, // the proof of presence belongs to another institution
	string(zeta.ReasonTokenSignature): true, // forged or changed
	string(zeta.ReasonPresenceSigned): true,
}

// repeated are causes that bad luck brings about once: a request sent again after a lost answer, a network that changes
// on the way. What the deny list refuses is not among them: it is the consequence of an earlier alarm, and whoever is held
// wrongly tries again too.
var repeated = map[string]bool{
	string(zeta.ReasonReplay): true, string(zeta.ReasonTravel): true,
	string(zeta.ReasonProofSignature): true, string(zeta.ReasonProofTarget): true, string(zeta.ReasonGuard): true,
}

const (
	repeatedMost = 3
	repeatedSpan = 600  // seconds
	betweenKeys  = 3600 // seconds within which two keys that take turns are two holders

	credentialsKept = 4 // of one actor
)

func (*token) Name() string { return "D14" }

func (d *token) Stats() Stats { return d.held.stats() }

func (d *token) forget(a *actor) {
	if a.keys.credential != 0 {
		d.held.drop(a)
	}
}

// of returns what is known of an actor's credential, the one that it used last first. One that is not known takes the place of
// the one that was quiet longest.
func (d *token) of(a *actor, credential uint64) *keysOf {
	if a.keys.credential == credential {
		return &a.keys
	}
	if a.keys.credential == 0 {
		d.held.keys++
		a.keys.credential = credential
		return &a.keys
	}
	var old *keysOf
	for i := range a.others {
		k := &a.others[i]
		if k.credential == credential {
			a.keys, *k = *k, a.keys
			return &a.keys
		}
		if old == nil || k.last < old.last {
			old = k
		}
	}
	if len(a.others) < credentialsKept-1 {
		a.others = append(a.others, a.keys)
	} else {
		*old = a.keys
	}
	a.keys = keysOf{credential: credential}
	return &a.keys
}

// refused notes a refusal that bad luck may bring about once.
func (a *actor) refused(e *Event) (first int64, full bool) {
	b := a.refusals[e.Cause]
	if b == nil {
		if a.refusals == nil {
			a.refusals = map[string]*burst{}
		}
		b = &burst{}
		a.refusals[e.Cause] = b
	}
	return b.add(e.Sec, repeatedMost, repeatedSpan)
}

func (d *token) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *token) Observe(e *Event, to []Alarm) []Alarm {
	switch {
	case e.Cause == "" || e.Result == Reached:
	case stolen[e.Cause]:
		return append(to, e.alarm("D14", "token-"+e.Cause, Exact, High, Number{"refused", 1, "requests"}))
	case repeated[e.Cause]:
		if first, full := e.actor.refused(e); full {
			return append(to, e.alarm("D14", "token-"+e.Cause, Exact, High, Number{"refused", repeatedMost, "requests"},
				Number{"window", repeatedSpan, "s"}).since(first, repeatedMost))
		}
		return to
	}
	if e.Binding == "" || e.Credential == "" || e.Result != Reached {
		return to
	}
	k, h := d.of(e.actor, max(hash(string(e.Credential)), 1)), hash(e.Binding)
	switch {
	case k.key == h:
	case k.before == h && e.Sec-k.back < betweenKeys: // A, B, A: a key that was replaced does not come back
		to = append(to, e.alarm("D14", "two-keys", Exact, High, Number{"keys", 2, "keys"}, Number{"window", betweenKeys, "s"}).since(k.since, 2))
		*k = keysOf{credential: k.credential, key: h}
	default:
		k.before, k.back, k.key, k.since = k.key, k.last, h, e.Sec
	}
	k.last = e.Sec
	return to
}
