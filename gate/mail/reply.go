package mail

import "strings"

// reply is one answer of the server.
type reply struct {
	code     int
	enhanced string // RFC 3463; "" where RFC 2034 wants none
	text     string
	cause    Cause // counted for 4xx and 5xx
	end      bool  // the connection ends after it
}

// Cause says why something was refused, for the counters.
type Cause string

// Causes of transient refusals (4xx).
const (
	CauseDoorClosed   Cause = "door-closed"
	CauseNoRoom       Cause = "no-room"       // the journal's
	CauseMemory       Cause = "memory"        // too many messages at the same time
	CauseDirectory    Cause = "directory"     // could not tell
	CauseIntake       Cause = "intake"        // failed, other than for want of room
	CauseLedger       Cause = "ledger"        // failed after the message was taken in
	CauseOutbox       Cause = "outbox"        // failed after the message was taken in
	CauseSplit        Cause = "split"         // recipients of several insurers, or too many
	CauseConnections  Cause = "connections"   // in all or of one network address
	CauseAccountLimit Cause = "account-limit" // sessions of one account
	CauseTimeout      Cause = "timeout"
	CauseTLS          Cause = "tls" // a handshake failed; nothing could be answered
	CauseStopping     Cause = "stopping"
	CauseInternal     Cause = "internal"
	CauseMisbehaviour Cause = "misbehaviour" // too many errors or failed logins
	CauseRevoked      Cause = "revoked"      // the account went out of force during the session
)

// Causes of permanent refusals (5xx), all of them faults of the sender's.
const (
	CauseUnknown  Cause = "unknown-recipient"
	CausePolicy   Cause = "sender-policy" // A_23421, A_23422
	CauseTooLarge Cause = "too-large"
	CauseSmuggled Cause = "smuggling"
	CausePassword Cause = "password"
	CauseProtocol Cause = "protocol"
)

func positive(code int, enhanced, text string) reply {
	return reply{code: code, enhanced: enhanced, text: text}
}

func transient(cause Cause, code int, enhanced, text string) reply {
	return reply{code: code, enhanced: enhanced, text: text, cause: cause}
}

func permanent(cause Cause, code int, enhanced, text string) reply {
	return reply{code: code, enhanced: enhanced, text: text, cause: cause}
}

// misuse answers a command that breaks the protocol.
func misuse(code int, enhanced, text string) reply {
	return permanent(CauseProtocol, code, enhanced, text)
}

// ending makes an answer the last one of its connection.
func ending(r reply) reply {
	r.end = true
	return r
}

// The answers that need no details.
var (
	replyBye         = ending(positive(221, "2.0.0", "goodbye"))
	replyDone        = positive(250, "2.0.0", "done")
	replyContinue    = positive(354, "", "send the message, end it with <CRLF>.<CRLF>")
	replyStopping    = ending(transient(CauseStopping, 421, "4.3.2", "the service is restarting, repeat in a minute"))
	replyTimeout     = ending(transient(CauseTimeout, 421, "4.4.2", "nothing was heard for too long"))
	replyPanic       = ending(transient(CauseInternal, 421, "4.3.0", "internal error, repeat later"))
	replyConnections = ending(transient(CauseConnections, 421, "4.7.0", "too many connections, repeat later"))
	replyErrors      = ending(transient(CauseMisbehaviour, 421, "4.7.0", "too many errors"))
	replyRevoked     = ending(transient(CauseRevoked, 421, "4.7.0", "the account is no longer in force as at login, authenticate again"))
	replyDirectory   = transient(CauseDirectory, 451, "4.3.0", "the directory of recipients cannot be read, repeat later")
	replyMemory      = transient(CauseMemory, 452, "4.3.1", "too many messages are being received, repeat later")
	replyNoRoom      = transient(CauseNoRoom, 452, "4.3.1", "no room at present, repeat later")
	replyOneInsurer  = transient(CauseSplit, 452, "4.5.3", "one insurer per message, repeat for this recipient")
	replyRecipients  = transient(CauseSplit, 452, "4.5.3", "too many recipients, repeat for the rest")
	replySessions    = transient(CauseAccountLimit, 454, "4.7.0", "too many sessions of this account, repeat later")

	replyLongLine  = ending(misuse(500, "5.5.2", "the line is too long"))
	replyBadLine   = ending(misuse(500, "5.5.2", "a line ends with CRLF and has no control characters"))
	replyNoCommand = misuse(500, "5.5.2", "not a command")
	replyAddress   = misuse(501, "5.1.3", "not a mail address")
	replyBadAuth   = misuse(501, "5.5.2", "AUTH cannot be understood")
	replyArguments = misuse(501, "5.5.4", "the parameters cannot be understood")
	replyCancelled = misuse(501, "5.7.0", "AUTH is cancelled")
	replyNotHere   = misuse(502, "5.5.1", "the command is not implemented")
	replyOrder     = misuse(503, "5.5.1", "the command is out of order")
	replyInjected  = ending(misuse(503, "5.5.1", "nothing may follow STARTTLS before the handshake"))
	replyValue     = misuse(504, "5.5.4", "the parameter's value is not implemented")
	replyMechanism = misuse(504, "5.7.4", "the mechanism is not implemented")
	replyTLSFirst  = misuse(530, "5.7.0", "begin with STARTTLS")
	replyAuthFirst = misuse(530, "5.7.0", "authenticate first")
	replyParameter = misuse(555, "5.5.4", "the parameter is not implemented")

	replyPassword     = permanent(CausePassword, 535, "5.7.8", "user name or password is wrong")
	replyUnknown      = permanent(CauseUnknown, 550, "5.1.1", "no such recipient here")
	replyNotUser      = permanent(CausePolicy, 550, "5.7.1", "MAIL FROM must be the authenticated user (A_23421)")
	replySender       = permanent(CausePolicy, 550, "5.7.1", "From and Sender must equal MAIL FROM, Reply-To must be a KIM address (A_23422)")
	replyTooLarge     = permanent(CauseTooLarge, 552, "5.3.4", "the message is larger than announced under SIZE")
	replyMuchTooLarge = ending(replyTooLarge)
	replySmuggled     = permanent(CauseSmuggled, 554, "5.6.0", "a lone dot stands between line ends that are not CRLF")
)

// refusedByDoor names all that a sender needs: why, until when to wait, where to read more.
func refusedByDoor(c *Config, d Door) reply {
	incident := "none"
	if d.Incident != "" && printable(d.Incident) && len(d.Incident) <= 100 {
		incident = d.Incident
	}
	return transient(CauseDoorClosed, 451, "4.3.2", strings.Join([]string{
		"closed for now, keep the message and repeat after " + c.RetryAfter, "incident " + incident, "see " + c.StatusPage,
	}, "; "))
}

// internal refuses because something of ours failed; the reference finds it in the log.
func internal(cause Cause, reference string) reply {
	return transient(cause, 451, "4.3.0", "internal error, repeat later; reference "+reference)
}
