package http

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
)

// pointOf is where a credential stands in the line before a door that opens in stages: always at the same place for one
// compartment, and nobody can say where without the key. Whoever is let in at one share is let in at every larger one.
func pointOf(key []byte, who querschott.CredentialID, c querschott.Compartment) int {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(c.String() + "\x00" + string(who)))
	return int(binary.BigEndian.Uint64(m.Sum(nil)) % door.Points)
}

// LetsIn reports whether a door that opens in stages is as far open for a credential as for anybody.
func (s *Server) LetsIn(c querschott.Compartment, who querschott.CredentialID) bool {
	o, ok := s.cfg.Door(c)
	return ok && s.meets(o, who).To == o.To
}

// meets is the order as a caller finds it: a door that opens in stages is for others what it was before.
func (s *Server) meets(o door.Order, who querschott.CredentialID) door.Order {
	if o.Stages != "" {
		o.To = o.Meets(s.cfg.Share(o.Compartment), pointOf(s.cfg.ShareKey, who, o.Compartment))
	}
	return o
}
