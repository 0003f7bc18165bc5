package watch

import (
	"time"

	"github.com/querschott/querschott/wire/zeta"
)

// token is D14: a token in somebody else's hands. The gate has refused it already where it could know.
type token struct {
	credentials *table[keysOf]
	refusals    *table[burst]
}

// keysOf is with which keys a credential was used.
type keysOf struct {
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
// on the way, a token that was withdrawn a moment ago.
var repeated = map[string]bool{
	string(zeta.ReasonReplay): true, string(zeta.ReasonTravel): true, string(zeta.ReasonRevoked): true,
	string(zeta.ReasonProofSignature): true, string(zeta.ReasonProofTarget): true, string(zeta.ReasonGuard): true,
}

const (
	repeatedMost = 3
	repeatedSpan = 600  // seconds
	betweenKeys  = 3600 // seconds within which two keys that take turns are two holders
)

func newToken(keys int) *token {
	return &token{credentials: newTable[keysOf](keys), refusals: newTable[burst](keys / 4)}
}

func (*token) Name() string { return "D14" }

func (d *token) Stats() Stats {
	a, b := d.credentials.stats(), d.refusals.stats()
	return Stats{a.Keys + b.Keys, a.Evicted + b.Evicted}
}

func (d *token) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *token) Observe(e *Event, to []Alarm) []Alarm {
	switch {
	case e.Cause == "" || e.Result == Reached:
	case stolen[e.Cause]:
		return append(to, e.alarm("D14", "token-"+e.Cause, Exact, High, Number{"refused", 1, "requests"}))
	case repeated[e.Cause]:
		if first, full := d.refusals.get(e.Who+"\x00"+e.Cause).add(e.Sec, repeatedMost, repeatedSpan); full {
			return append(to, e.alarm("D14", "token-"+e.Cause, Exact, High, Number{"refused", repeatedMost, "requests"},
				Number{"window", repeatedSpan, "s"}).since(first, repeatedMost))
		}
		return to
	}
	if e.Binding == "" || e.Credential == "" || e.Result != Reached {
		return to
	}
	k, h := d.credentials.get(string(e.Credential)), hash(e.Binding)
	switch {
	case k.key == h:
	case k.before == h && e.Sec-k.back < betweenKeys: // A, B, A: a key that was replaced does not come back
		to = append(to, e.alarm("D14", "two-keys", Exact, High, Number{"keys", 2, "keys"}, Number{"window", betweenKeys, "s"}).since(k.since, 2))
		*k = keysOf{key: h}
	default:
		k.before, k.back, k.key, k.since = k.key, k.last, h, e.Sec
	}
	k.last = e.Sec
	return to
}
