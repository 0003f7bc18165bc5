package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/ledger"
)

// The control socket answers JSON over HTTP. Who may open the socket is decided by the file's mode, 0600 in a directory
// of mode 0700; moving a door takes an operator's signature all the same.
const (
	controlSocket = "control.sock"
	maxControl    = 64 << 10
)

func (n *Node) openControl(ctx context.Context) error {
	path := n.path(controlSocket) // nobody listens on it: the ledger's lock is ours
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	n.sockets.control = l
	return os.Chmod(path, 0o600)
}

// maxSocket is the longest path of a socket, in bytes (unix(7), sun_path).
const maxSocket = 107

func (c *Config) checkSocket() error {
	if path := filepath.Join(c.Data, controlSocket); len(path) > maxSocket {
		return fmt.Errorf("the path of the control socket, %s, has %d bytes, at most %d are possible: choose a shorter data directory",
			path, len(path), maxSocket)
	}
	return nil
}

// Running reports whether a node answers on the control socket of a configuration.
func Running(ctx context.Context, cfg *Config) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", filepath.Join(cfg.Data, controlSocket))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said on it
	return true
}

// DraftRequest asks for the text of an order to be signed.
type DraftRequest struct {
	Compartment querschott.Compartment `json:"compartment"`
	To          querschott.DoorState   `json:"to"`
	Reason      string                 `json:"reason"`
	Incident    string                 `json:"incident"`
	Expires     time.Time              `json:"expires,omitzero"`
	Stages      string                 `json:"stages,omitempty"` // a plan, StagesNone, or empty: what the node proposes
	Actor       querschott.Actor       `json:"actor"`
}

// StagesNone asks for an opening at once where the node would propose stages.
const StagesNone = "none"

// ControlError is how a failure is answered.
type ControlError struct {
	Code querschott.Code `json:"code"`
	Text string          `json:"error"`
}

func (n *Node) controlHandler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, fn func(r *http.Request) (any, error)) { mux.Handle("GET "+path, n.answer(fn)) }
	post := func(path string, fn func(r *http.Request) (any, error)) { mux.Handle("POST "+path, n.answer(fn)) }
	get("/v1/status", func(*http.Request) (any, error) { return n.Status(), nil })
	get("/v1/alarms", n.controlAlarms)
	get("/v1/drill/waiting", n.controlWaiting)
	post("/v1/drill/delivered", n.controlDelivered)
	get("/v1/spool", func(*http.Request) (any, error) { return n.Spool(), nil })
	get("/v1/flagged", n.controlFlagged)
	get("/v1/doors", func(*http.Request) (any, error) { return n.DoorViews(), nil })
	get("/v1/proposals", func(*http.Request) (any, error) { return n.doors.Proposals(), nil })
	get("/v1/operators", func(*http.Request) (any, error) { return n.roster, nil })
	post("/v1/doors/draft", n.controlDraft)
	post("/v1/doors/submit", n.controlSubmit)
	get("/v1/gates", func(*http.Request) (any, error) { return n.Gates(), nil })
	get("/v1/gates/keys", func(*http.Request) (any, error) { return n.BookKeys() })
	get("/v1/gates/deny", func(r *http.Request) (any, error) { return n.DenyEnforced(r.Context()), nil })
	post("/v1/proposals/withdraw", n.controlWithdraw)
	get("/v1/denied", func(*http.Request) (any, error) { return n.Denied(), nil })
	post("/v1/denied", n.controlDeny)
	mux.Handle("POST /v1/vsdm/import", n.answerTo(maxImport, n.controlImport))
	post("/v1/vsdm/check", n.controlCheckNumber)
	post("/v1/login", n.controlLogin)
	post("/v1/accounts/reload", func(*http.Request) (any, error) { return struct{}{}, n.reloadAccounts() })
	get("/v1/ledger/origins", func(*http.Request) (any, error) { return n.LedgerOrigins() })
	get("/v1/ledger/show", n.controlShow)
	get("/v1/ledger/prove", n.controlProve)
	post("/v1/ledger/verify", func(r *http.Request) (any, error) { return n.ledger.Verify(r.Context(), nil) })
	post("/v1/ledger/export", n.controlExport)
	get("/v1/watch", func(*http.Request) (any, error) { return n.WatchStatus(), nil })
	post("/v1/watch/alarms", n.controlWatchAlarms)
	post("/v1/canaries", func(r *http.Request) (any, error) { return n.Canaries(r.Context()) })
	post("/v1/canaries/rotate", n.controlCanaryRotate)
	post("/v1/scope", n.controlScope)
	post("/v1/scope/proof", n.controlScopeProof)
	post("/v1/scope/person", n.controlWho)
	post("/v1/scope/rebuild", n.controlScopeRebuild)
	mux.Handle("POST /v1/scope/leak", n.answerTo(maxLeak, n.controlLeak))
	get("/v1/incidents", n.controlIncidents)
	get("/v1/incident", n.controlIncident)
	get("/v1/incidents/verify", n.controlIncidentVerify)
	post("/v1/incidents", n.controlIncidentChange)
	n.containRoutes(mux, get, post)
	post("/v1/backup", n.controlBackup)
	return mux
}

// answer runs one control function and writes its result, or its error with the code.
func (n *Node) answer(fn func(r *http.Request) (any, error)) http.Handler {
	return n.answerTo(maxControl, fn)
}

// answerTo does it for requests up to a size.
func (n *Node) answerTo(limit int64, fn func(r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		defer n.asked.Done()
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		v, err := fn(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			code := querschott.CodeOf(err)
			w.WriteHeader(httpStatus(code))
			v = ControlError{Code: code, Text: err.Error()}
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			n.log.Debug("couldn't answer on the control socket", "err", err)
		}
	})
}

func httpStatus(c querschott.Code) int {
	switch c {
	case querschott.CodeNotFound, querschott.CodeUnknownHere:
		return http.StatusNotFound
	case querschott.CodeConflict:
		return http.StatusConflict
	case querschott.CodeForbidden:
		return http.StatusForbidden
	case querschott.CodeUnauthorized:
		return http.StatusUnauthorized
	case querschott.CodeInvalid, querschott.CodeTooLarge:
		return http.StatusBadRequest
	case querschott.CodeDoorClosed, querschott.CodeDoorHeld, querschott.CodeNoRoom:
		return http.StatusServiceUnavailable
	case querschott.CodeInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusInternalServerError
	}
}

func decode[T any](r *http.Request) (v T, err error) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, querschott.Refuse(querschott.CodeInvalid, "the request cannot be read: %v", err)
	}
	return v, nil
}

func (n *Node) controlDraft(r *http.Request) (any, error) {
	d, err := decode[DraftRequest](r)
	if err != nil {
		return nil, err
	}
	want := door.Request{Compartment: d.Compartment, To: d.To, Reason: d.Reason, Incident: d.Incident, Expires: d.Expires, Stages: door.Plan(d.Stages)}
	switch d.Stages {
	case "":
		want.Stages = n.doors.Suggest(d.Compartment, d.To)
	case StagesNone:
		want.Stages = ""
	}
	o, err := n.doors.Draft(want, d.Actor)
	if err != nil {
		return nil, err
	}
	return map[string]string{"text": o.Text()}, nil
}

func (n *Node) controlSubmit(r *http.Request) (any, error) {
	d, err := decode[struct {
		Note []byte `json:"note"`
	}](r)
	if err != nil {
		return nil, err
	}
	out, err := n.doors.Submit(r.Context(), d.Note)
	if out.Order == nil && out.Proposal == nil {
		return nil, err
	}
	err = errors.Join(err, n.glassProposed(r.Context(), out.Proposal))
	answer := struct {
		door.Outcome
		Gates   *Enforced `json:"gates,omitempty"`
		Warning string    `json:"warning,omitempty"`
	}{Outcome: out}
	if out.Order != nil {
		e := n.Enforced(out.Order.Compartment)
		answer.Gates = &e
	}
	if err != nil {
		answer.Warning = err.Error()
	}
	return answer, nil
}

// controlWithdraw takes a signed note of withdrawalText.
func (n *Node) controlWithdraw(r *http.Request) (any, error) {
	d, err := decode[struct {
		ID   string `json:"id"`
		Note []byte `json:"note"`
	}](r)
	if err != nil {
		return nil, err
	}
	for _, op := range n.roster {
		known, err := verifiers(op)
		if err != nil {
			return nil, err
		}
		signed, err := note.Open(d.Note, known)
		if err == nil && signed.Text == withdrawalText(n.cfg.Domain, d.ID) {
			return struct{}{}, n.doors.Withdraw(r.Context(), d.ID, n.signers[op.Name])
		}
	}
	return nil, querschott.Refuse(querschott.CodeForbidden, "the withdrawal is not signed by an operator of this node")
}

// withdrawalText is what an operator signs to take a proposal back.
func withdrawalText(domain, id string) string {
	return fmt.Sprintf("querschott withdrawal\n%s\n%s\n", domain, id)
}

// verifiers returns the keys that an operator signs with.
func verifiers(operators ...Operator) (note.Verifiers, error) {
	var all []note.Verifier
	for _, op := range operators {
		for _, k := range op.Keys {
			v, err := note.NewVerifier(k)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
	}
	return note.VerifierList(all...), nil
}

func (n *Node) controlLogin(r *http.Request) (any, error) {
	d, err := decode[struct {
		Operator querschott.Actor `json:"operator"`
	}](r)
	if err != nil {
		return nil, err
	}
	link, expires, err := n.LoginLink(r.Context(), d.Operator)
	return map[string]any{"url": link, "expires": expires}, err
}

// LoginLink makes a one-time link for an operator.
func (n *Node) LoginLink(ctx context.Context, name querschott.Actor) (url string, expires time.Time, err error) {
	if _, ok := n.signers[name]; !ok {
		return "", time.Time{}, querschott.Refuse(querschott.CodeNotFound, "there is no operator %.40q", string(name))
	}
	token, expires, err := n.logins.Link(name)
	if err != nil {
		return "", time.Time{}, err
	}
	err = n.recordNode(ctx, ledger.ActionLogin, ledger.KindNodeChange, ledger.DataAccount, ledger.Field{Name: "operator", Value: string(name)})
	return n.Addresses().Console + "/login/" + token, expires, err
}

// reloadAccounts reads again who may send mail and log in.
func (n *Node) reloadAccounts() error {
	err := n.accounts.Reload()
	if n.staff != nil {
		err = errors.Join(err, n.staff.Reload())
	}
	return err
}

func (n *Node) controlFlagged(*http.Request) (any, error) {
	const limit = 1000
	list := map[querschott.Compartment][]intake.Flag{}
	for _, c := range n.doors.Compartments() {
		store, ok := n.cells[c.Insurer]
		if !ok || !c.Service.ByMail() {
			continue
		}
		flags, err := intake.Flags(store, c, limit)
		if err != nil {
			return nil, err
		}
		if len(flags) > 0 {
			list[c] = flags
		}
	}
	return list, nil
}

func number(r *http.Request, name string, fallback uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, querschott.Refuse(querschott.CodeInvalid, "%s must be a number", name)
	}
	return v, nil
}
