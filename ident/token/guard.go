package token

import (
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/wire/zeta"
)

// Agree compares what a ZETA Guard in front says in its headers with what the tokens of the same request proved. Only
// headers that came over the guard's own connection are worth asking; those of others are removed unread. A header that is
// missing agrees. A contradiction means that the guard, or somebody in its place, is not what it should be: the refusal's
// Reason is [zeta.ReasonGuard].
func Agree(h http.Header, id *ident.Identity) error {
	for _, check := range []struct {
		name    string
		matches func(value string, id *ident.Identity) bool
	}{
		{zeta.HeaderUserInfo, agreeUser},
		{zeta.HeaderClientData, agreeClient},
		{zeta.HeaderPresence, agreePresence},
	} {
		value, ok := single(h, check.name)
		if !ok || value != "" && !check.matches(value, id) {
			return zeta.Denied(zeta.ReasonGuard, errors.New("the guard's headers contradict the tokens"))
		}
	}
	return nil
}

func agreeUser(value string, id *ident.Identity) bool {
	u, err := zeta.ParseUserInfo(value)
	return err == nil && same(u.Identifier, id.Facts.Subject) && u.ProfessionOID == id.Caller.Profession
}

func agreeClient(value string, id *ident.Identity) bool {
	c, err := zeta.ParseClientData(value)
	return err == nil && same(c.Client, id.Facts.Client) && c.Product == id.Facts.Product && c.Version == id.Facts.Version
}

// agreePresence compares claims, not octets: the official guard writes the payload anew.
func agreePresence(value string, id *ident.Identity) bool {
	if id.Presence == nil {
		return false
	}
	payload, err := zeta.DecodePresence(value)
	if err != nil {
		return false
	}
	told, err := zeta.ParsePresence(payload)
	if err != nil {
		return false
	}
	proved, err := zeta.ParsePresence(id.Presence.Content)
	return err == nil && *told == *proved
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
