package mail

import (
	"context"
	"net/mail"
	"strconv"
	"strings"

	"github.com/querschott/querschott"
)

// transaction is one message under way, from MAIL to its last answer.
type transaction struct {
	from       string // envelope sender as written; "" for <>
	envelopeID string // ENVID, decoded
	size       int64  // announced; 0 if not
	insurer    querschott.IK
	recipients []recipient
	body       *body // while BDAT chunks come
}

type recipient struct {
	address  string // as the sender wrote it
	original string // ORCPT without its type, decoded
	success  bool   // NOTIFY asks for a notification of success
}

// mail answers MAIL FROM.
func (c *session) mail(arg string) reply {
	switch {
	case !c.greeted || c.tx != nil:
		return replyOrder
	case !c.secured:
		return replyTLSFirst
	case c.credential == nil:
		return replyAuthFirst
	case !c.srv.cfg.Valid(*c.credential):
		return replyRevoked
	}
	from, parameters, ok := cutPath(arg, "FROM:")
	if !ok {
		return replyArguments
	}
	if from != "" && !mailbox(from) {
		return replyAddress
	}
	tx := &transaction{from: from}
	for key, value := range parameters {
		if r := tx.mailParameter(key, value, c.srv.cfg.Limits.MaxMail); r.code != 0 {
			return r
		}
	}
	// A_23421: MAIL FROM equals the AUTH user. A relay has checked that for its own senders.
	if c.credential.Role != querschott.RoleRelay && !strings.EqualFold(from, string(c.credential.Actor)) {
		return replyNotUser
	}
	c.tx = tx
	return positive(250, "2.1.0", "sender")
}

// mailParameter takes over one parameter of MAIL; the zero reply means that it was understood.
func (tx *transaction) mailParameter(key, value string, maxMail int64) reply {
	switch key {
	case "SIZE": // RFC 1870
		if !digits(value) {
			return replyArguments
		}
		size, err := strconv.ParseInt(value, 10, 64)
		if err != nil || size > maxMail { // the only error left is a number beyond all sizes
			return replyTooLarge
		}
		tx.size = size
	case "BODY": // RFC 6152; BINARYMIME is not offered
		if !strings.EqualFold(value, "7BIT") && !strings.EqualFold(value, "8BITMIME") {
			return replyValue
		}
	case "RET": // RFC 3461 4.3; what is returned is always the header
		if !strings.EqualFold(value, "HDRS") && !strings.EqualFold(value, "FULL") {
			return replyValue
		}
	case "ENVID": // RFC 3461 4.4
		id, ok := decodeXtext(value)
		if !ok || id == "" || len(id) > 100 {
			return replyArguments
		}
		tx.envelopeID = id
	case "AUTH": // RFC 4954 5: who handed the message in before; nothing rests on it
		if _, ok := decodeXtext(value); !ok || value == "" {
			return replyArguments
		}
	default:
		return replyParameter
	}
	return reply{}
}

// rcpt answers RCPT TO.
func (c *session) rcpt(arg string) reply {
	if c.tx == nil || c.tx.body != nil {
		return replyOrder
	}
	to, parameters, ok := cutPath(arg, "TO:")
	if !ok || to == "" {
		return replyArguments
	}
	if !mailbox(to) {
		return replyAddress
	}
	rcpt := recipient{address: to}
	for key, value := range parameters {
		if r := rcpt.parameter(key, value); r.code != 0 {
			return r
		}
	}
	if len(c.tx.recipients) >= c.srv.cfg.Limits.Recipients {
		return replyRecipients
	}
	insurer, r := c.lookUp(strings.ToLower(to))
	switch {
	case r.code != 0:
		return r
	case len(c.tx.recipients) > 0 && c.tx.insurer != insurer:
		return replyOneInsurer
	}
	if door, shut := c.shut(insurer); shut {
		return refusedByDoor(&c.srv.cfg, door)
	}
	c.tx.insurer = insurer
	c.tx.recipients = append(c.tx.recipients, rcpt)
	return positive(250, "2.1.5", "recipient")
}

func (rcpt *recipient) parameter(key, value string) reply {
	switch key {
	case "NOTIFY": // RFC 3461 4.1
		never := false
		words := strings.Split(strings.ToUpper(value), ",")
		for _, word := range words {
			switch word {
			case "NEVER":
				never = true
			case "SUCCESS":
				rcpt.success = true
			case "FAILURE", "DELAY": // nothing fails or is late after the 250
			default:
				return replyArguments
			}
		}
		if never && len(words) > 1 {
			return replyArguments
		}
	case "ORCPT": // RFC 3461 4.2
		kind, address, ok := strings.Cut(value, ";")
		decoded, fine := decodeXtext(address)
		if !ok || !fine || kind == "" || decoded == "" || len(value) > 500 {
			return replyArguments
		}
		if strings.EqualFold(kind, "rfc822") {
			rcpt.original = decoded
		}
	default:
		return replyParameter
	}
	return reply{}
}

// lookUp asks the directory whose an address is; the zero reply means that it is known.
func (c *session) lookUp(address string) (querschott.IK, reply) {
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.Lookup)
	defer cancel()
	insurer, err := c.srv.cfg.Directory(ctx, address)
	switch {
	case err == nil && insurer != "":
		return insurer, reply{}
	case querschott.CodeOf(err) == querschott.CodeUnknownHere:
		return "", replyUnknown // K-17: the directory is healthy and says so
	}
	c.srv.cfg.Log.Error("the directory of recipients cannot be read", "reference", c.reference, "err", err)
	return "", replyDirectory
}

// shut reports whether no mail at all can get into the insurer's compartments, so that the message need not be sent first.
func (c *session) shut(insurer querschott.IK) (Door, bool) {
	var door Door
	for _, service := range querschott.MailServices() {
		door = c.srv.cfg.Door(c.srv.cfg.Place(querschott.Compartment{Insurer: insurer, Service: service}))
		if door.State.AcceptsMail() {
			return Door{}, false
		}
	}
	return door, true
}

// cutPath splits the argument of MAIL or RCPT into the path and its parameters, keys in upper case. A parameter that
// occurs twice is not understood.
func cutPath(arg, prefix string) (path string, parameters map[string]string, ok bool) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", nil, false
	}
	arg, ok = strings.CutPrefix(strings.TrimLeft(arg[len(prefix):], " "), "<")
	if !ok {
		return "", nil, false
	}
	path, arg, ok = strings.Cut(arg, ">")
	if !ok || arg != "" && arg[0] != ' ' {
		return "", nil, false
	}
	if strings.HasPrefix(path, "@") { // a source route: accepted and ignored (RFC 5321 appendix C)
		if _, path, ok = strings.Cut(path, ":"); !ok {
			return "", nil, false
		}
	}
	parameters = map[string]string{}
	for field := range strings.FieldsSeq(arg) {
		key, value, _ := strings.Cut(field, "=")
		key = strings.ToUpper(key)
		if _, twice := parameters[key]; twice || key == "" {
			return "", nil, false
		}
		parameters[key] = value
	}
	return path, parameters, true
}

// mailbox reports whether s is a plain address: printable ASCII without quoting, one @ (gemSpec_CM_KOMLE allows less).
func mailbox(s string) bool {
	if len(s) > 254 || strings.ContainsAny(s, " \t\"<>()[],;:\\") || !printable(s) {
		return false
	}
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && strings.Count(s, "@") == 1
}

// decodeXtext undoes RFC 3461 section 4: printable ASCII, in which "+" and two hexadecimal digits stand for one octet.
// Only what decodes to printable ASCII is accepted: it goes into a notification's fields.
func decodeXtext(s string) (string, bool) {
	if !printable(s) || strings.ContainsAny(s, " =") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || !upperHex(s[i+1]) || !upperHex(s[i+2]) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), printable(b.String())
}

func upperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func digits(s string) bool { return s != "" && len(s) <= 20 && strings.Trim(s, "0123456789") == "" }
