package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/querschott/querschott"
)

// Bounds of what is read from claims.
const (
	maxClaim  = 256  // bytes of one text
	maxValues = 1000 // of one list
)

// claims are a token's claims by their exact names.
type claims map[string]json.RawMessage

// text returns a claim that is a string which people can read, "" for anything else.
func (c claims) text(name string) string { return readable(c[name]) }

func readable(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil || len(s) > maxClaim || strings.TrimSpace(s) != s {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }) {
		return ""
	}
	return s
}

// texts returns a claim that is a string or a list of strings. The name is that of a claim or, if there is none, a path
// into objects, with dots.
func (c claims) texts(name string) []string {
	raw, ok := c[name]
	if !ok {
		first, rest, dotted := strings.Cut(name, ".")
		var inner claims
		if !dotted || json.Unmarshal(c[first], &inner) != nil {
			return nil
		}
		return inner.texts(rest)
	}
	if s := readable(raw); s != "" {
		return []string{s}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) > maxValues {
		return nil
	}
	var texts []string
	for _, item := range list {
		if s := readable(item); s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// caller makes of verified claims who calls. Whoever has no role, or two, or is of an insurer for which the provider may not
// speak, is nobody here.
func (p *Provider) caller(c claims) (querschott.Caller, error) {
	actor := c.text(p.cfg.ActorClaim)
	if actor == "" {
		return querschott.Caller{}, forbidden("the identity provider does not say who you are")
	}
	role, err := p.role(c)
	if err != nil {
		return querschott.Caller{}, err
	}
	caller := querschott.Caller{Actor: querschott.Actor(p.cfg.Name + ":" + actor), Role: role, Name: c.text(p.cfg.NameClaim)}
	if role == querschott.RoleStaff {
		caller.Insurer, err = p.insurer(c)
	}
	return caller, err
}

func (p *Provider) role(c claims) (querschott.Role, error) {
	var found querschott.Role
	for _, value := range c.texts(p.cfg.RoleClaim) {
		role, ok := p.cfg.Roles[value]
		switch {
		case !ok:
		case found != "" && found != role:
			return "", forbidden("your account at the identity provider has two roles here; one person has one")
		default:
			found = role
		}
	}
	if found == "" {
		return "", forbidden("your account at the identity provider has no role here")
	}
	return found, nil
}

func (p *Provider) insurer(c claims) (querschott.IK, error) {
	if p.cfg.InsurerClaim == "" {
		return p.cfg.Insurers[0], nil
	}
	values := c.texts(p.cfg.InsurerClaim)
	if len(values) != 1 {
		return "", forbidden("the identity provider does not say of which insurer you are")
	}
	ik := querschott.IK(values[0])
	if !slices.Contains(p.cfg.Insurers, ik) {
		return "", forbidden("the identity provider may not speak for your insurer")
	}
	return ik, nil
}

func forbidden(public string) error { return querschott.Refuse(querschott.CodeForbidden, "%s", public) }
