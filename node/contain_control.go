package node

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/contain"
	"github.com/querschott/querschott/ledger"
)

// containLife is how long a signed release or approval may be on its way.
const containLife = 5 * time.Minute

// control is the shape of the functions that register a control function.
type control = func(path string, fn func(r *http.Request) (any, error))

func (n *Node) containRoutes(mux *http.ServeMux, get, post control) {
	get("/v1/playbooks", func(*http.Request) (any, error) { return n.contain.library.List(), nil })
	get("/v1/playbooks/show", func(r *http.Request) (any, error) {
		h, err := n.contain.library.Find(r.URL.Query().Get("id"))
		if err != nil {
			return nil, err
		}
		return map[string][]byte{"file": h.Raw()}, nil
	})
	mux.Handle("POST /v1/playbooks", n.answerTo(2*contain.MaxPlaybook, n.controlImportPlaybook))
	post("/v1/playbooks/simulate", n.controlSimulate)
	get("/v1/playbooks/simulate", n.controlSimulateProgress)
	get("/v1/contain", func(*http.Request) (any, error) { return n.contain.engine.Runs(), nil })
	post("/v1/contain/preview", n.controlPreview)
	post("/v1/contain", n.controlContain)
}

func (n *Node) controlImportPlaybook(r *http.Request) (any, error) {
	d, err := decode[struct {
		File []byte `json:"file"`
	}](r)
	if err != nil {
		return nil, err
	}
	h, err := n.contain.library.Import(d.File)
	if err != nil {
		return nil, err
	}
	return h, n.recordNode(r.Context(), ledger.ActionCreate, ledger.KindPlaybookStep, ledger.DataConfiguration,
		ledger.Field{Name: "playbook", Value: h.ID}, ledger.Field{Name: "playbook-sha256", Value: h.Digest},
		ledger.Field{Name: "signed", Value: fmt.Sprint(h.Signed.Operators, h.Signed.Insurers)})
}

// controlPreview says whom an action would hit.
func (n *Node) controlPreview(r *http.Request) (any, error) {
	a, err := decode[contain.Action](r)
	if err != nil {
		return nil, err
	}
	hit := n.contain.recent.Preview(&a, n.opt.Now())
	for _, b := range n.journal.Backlogs() {
		if a.Kind == contain.MoveDoor && b.Compartment == a.Compartment || a.Kind == contain.ShutInsurer && b.Compartment.Insurer == a.Insurer {
			hit.Waiting += uint64(b.Messages)
		}
	}
	return hit, nil
}

// Changes of a run that an operator signs.
const (
	containRelease = "release"
	containApprove = "approve"
)

// containText is what an operator signs to release or approve.
func containText(domain, verb, run string, number int, at time.Time) string {
	return fmt.Sprintf("querschott containment\n%s\n%s\n%s\n%d\n%s\n", domain, verb, run, number, at.UTC().Format(time.RFC3339Nano))
}

// controlContain takes a signed note of containText.
func (n *Node) controlContain(r *http.Request) (any, error) {
	who, text, err := n.signedByOperator(r, "the change of a run")
	if err != nil {
		return nil, err
	}
	return n.obeyContain(r.Context(), who, text)
}

func (n *Node) obeyContain(ctx context.Context, who querschott.Actor, text string) (any, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 7 || lines[0] != "querschott containment" || lines[1] != n.cfg.Domain {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the signed text is no change of a run of this node")
	}
	number, err := strconv.Atoi(lines[4])
	if err != nil {
		return nil, querschott.Refuse(querschott.CodeInvalid, "the signed text names no deed")
	}
	at, err := time.Parse(time.RFC3339Nano, lines[5])
	if err != nil || n.opt.Now().Sub(at).Abs() > containLife {
		return nil, querschott.Refuse(querschott.CodeConflict, "the change was not signed within the last %s; sign it again", containLife)
	}
	switch lines[2] {
	case containRelease:
		return n.contain.engine.Release(ctx, lines[3], number, who)
	case containApprove:
		return n.contain.engine.Approve(ctx, lines[3], number, who)
	default:
		return nil, querschott.Refuse(querschott.CodeInvalid, "the signed text changes a run in no way that is known")
	}
}

// PlaybookView is a playbook as it is listed.
type PlaybookView struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Modified time.Time      `json:"modified"`
	Revoked  bool           `json:"revoked,omitempty"`
	Triggers []string       `json:"triggers"`
	Digest   string         `json:"digest"`
	Doors    []string       `json:"doors"`
	Signed   contain.Signed `json:"signed"`
	Shipped  bool           `json:"shipped"`
}

// Playbooks lists the playbooks.
func (c *Client) Playbooks(ctx context.Context) ([]PlaybookView, error) {
	return get[[]PlaybookView](ctx, c, "/v1/playbooks", nil)
}

// Playbook returns the file of a playbook.
func (c *Client) Playbook(ctx context.Context, id string) ([]byte, error) {
	v, err := get[map[string][]byte](ctx, c, "/v1/playbooks/show", url.Values{"id": {id}})
	return v["file"], err
}

// ImportPlaybook hands a signed playbook over.
func (c *Client) ImportPlaybook(ctx context.Context, file []byte) (PlaybookView, error) {
	return post[PlaybookView](ctx, c, "/v1/playbooks", map[string][]byte{"file": file})
}

// Runs lists what was done about alarms, newest first.
func (c *Client) Runs(ctx context.Context) ([]contain.Run, error) {
	return get[[]contain.Run](ctx, c, "/v1/contain", nil)
}

// Preview says whom an action would have hit in the last 15 minutes.
func (c *Client) Preview(ctx context.Context, a contain.Action) (contain.Hit, error) {
	return post[contain.Hit](ctx, c, "/v1/contain/preview", a)
}

// ReleaseRun undoes what a run holds; number 0 is all of it. The key never leaves this process.
func (c *Client) ReleaseRun(ctx context.Context, s note.Signer, run string, number int) (contain.Run, error) {
	return c.changeRun(ctx, s, containRelease, run, number)
}

// ApproveRun says yes to what a run asks; number 0 is all of it.
func (c *Client) ApproveRun(ctx context.Context, s note.Signer, run string, number int) (contain.Run, error) {
	return c.changeRun(ctx, s, containApprove, run, number)
}

func (c *Client) changeRun(ctx context.Context, s note.Signer, verb, run string, number int) (contain.Run, error) {
	raw, err := note.Sign(&note.Note{Text: containText(c.domain, verb, run, number, time.Now())}, s)
	if err != nil {
		return contain.Run{}, fmt.Errorf("couldn't sign the change of a run: %w", err)
	}
	return post[contain.Run](ctx, c, "/v1/contain", map[string][]byte{"note": raw})
}
