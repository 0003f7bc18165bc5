package mail

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
)

// auth answers AUTH (RFC 4954). Passwords pass over TLS only.
func (c *session) auth(arg string) reply {
	switch {
	case !c.greeted || c.tx != nil || c.credential != nil:
		return replyOrder
	case !c.secured:
		return replyTLSFirst
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	var user, password string
	var r reply
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		user, password, r = c.plain(initial, given)
	case "LOGIN":
		user, password, r = c.login(initial, given)
	default:
		return replyMechanism
	}
	if r.code != 0 || r.end {
		return r
	}
	return c.authenticate(user, password)
}

// authenticate judges a user name and password.
func (c *session) authenticate(user, password string) reply {
	credential, right := c.srv.cfg.Authenticate(user, password)
	if !right {
		if c.failures++; c.failures >= c.srv.cfg.Limits.AuthFailures {
			return ending(replyPassword)
		}
		return replyPassword
	}
	if !c.srv.enter(c, credential) {
		return replySessions
	}
	c.credential = &credential
	return positive(235, "2.7.0", "authenticated")
}

// plain reads RFC 4616: authorization identity, user and password, separated by NUL.
func (c *session) plain(initial string, given bool) (user, password string, r reply) {
	message, r := c.response("", initial, given)
	if r.code != 0 || r.end {
		return "", "", r
	}
	parts := strings.Split(message, "\x00")
	if len(parts) != 3 {
		return "", "", replyBadAuth
	}
	if parts[0] != "" && !strings.EqualFold(parts[0], parts[1]) {
		return "", "", replyPassword // nobody acts for somebody else
	}
	return parts[1], parts[2], reply{}
}

// login reads draft-murchison-sasl-login: user name and password, each asked for.
func (c *session) login(initial string, given bool) (user, password string, r reply) {
	if user, r = c.response("Username:", initial, given); r.code != 0 || r.end {
		return "", "", r
	}
	password, r = c.response("Password:", "", false)
	return user, password, r
}

// response decodes the initial response, or asks for one. The zero reply means that there is one.
func (c *session) response(challenge, initial string, given bool) (string, reply) {
	if !given {
		c.write(positive(334, "", base64.StdEncoding.EncodeToString([]byte(challenge))))
		line, err := c.readLine()
		switch {
		case errors.Is(err, errLine):
			return "", replyBadLine
		case errors.Is(err, errStopping):
			return "", replyStopping
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", replyTimeout
		case err != nil:
			return "", reply{end: true} // nobody is there, or the line is no AUTH
		case line == "*":
			return "", replyCancelled
		}
		initial = line
	}
	if initial == "=" { // an empty response (RFC 4954 4)
		return "", reply{}
	}
	decoded, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		return "", replyBadAuth
	}
	return string(decoded), reply{}
}
