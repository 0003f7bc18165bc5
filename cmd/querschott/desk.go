package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/service/desk"
)

func (a *app) deskCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "desk", Short: "Look insured persons up, as an insurer's employee does"}
	cmd.AddCommand(a.deskSearch(), a.deskShow(), a.deskNotes())
	return cmd
}

// employee is who asks the desk, and why.
type employee struct {
	caller
	ik, name, reason string
}

func (e *employee) register(cmd *cobra.Command) {
	e.caller.register(cmd)
	f := cmd.Flags()
	f.StringVar(&e.ik, "ik", "", "IK of the employee's insurer (default: the first of the demonstration)")
	f.Lookup("actor").Hidden, f.Lookup("profession").Hidden = true, true // of practices
	f.StringVar(&e.name, "staff", "test.employee", "name of the employee, for whom the development issuer makes a token")
	f.StringVar(&e.reason, "reason", "", "why: case:, call:, document: or job: and the reference there (mandatory)")
	f.StringVar(&e.token, "token", "", "file with an access token, instead of the development issuer's")
	f.StringVar(&e.key, "dpop-key", "", "file with the private key that the access token is bound to (PKCS #8, PEM)")
}

// ask sends one request.
func (e *employee) ask(ctx context.Context, path string, body any) (*drill.DeskAnswer, error) {
	if err := e.complete(); err != nil {
		return nil, err
	}
	if e.ik == "" {
		e.ik = string(e.person.IK)
	}
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	m, err := e.tokens(ctx)
	if err != nil {
		return nil, err
	}
	call := drill.DeskCall{URL: e.url, Path: path, Insurer: querschott.IK(e.ik), Access: m.Access, Key: m.private, Body: body}
	return call.Do(ctx, client, time.Now())
}

func (e *employee) tokens(ctx context.Context) (*minted, error) {
	if e.token != "" || e.key != "" {
		if e.token == "" || e.key == "" {
			return nil, usageError{errors.New("--token and --dpop-key belong together")}
		}
		return e.given(e.token, e.key, "")
	}
	return e.mintStaff(ctx, e.ik, e.name)
}

// mintStaff gets the token of an insurer's employee.
func (c *caller) mintStaff(ctx context.Context, ik, name string) (*minted, error) {
	c.actor, c.profession, c.organization, c.scope = name, ident.ProfessionInsurer, ik, "desk"
	return c.mint(ctx, "", "")
}

// showDesk prints an answer. Everything but 200 is a refusal or a failure.
func (a *app) showDesk(cmd *cobra.Command, answer *drill.DeskAnswer, print func(io.Writer) error) error {
	var problem struct {
		Detail   string `json:"detail"`
		Incident string `json:"incident"`
	}
	if answer.Status == http.StatusOK {
		return a.show(cmd, answer, func(w io.Writer) {
			if err := print(w); err != nil {
				fmt.Fprintln(w, string(answer.Body))
			}
		})
	}
	if err := a.show(cmd, answer, func(io.Writer) {}); err != nil {
		return err
	}
	if json.Unmarshal(answer.Body, &problem) != nil || problem.Detail == "" {
		problem.Detail = http.StatusText(answer.Status)
	}
	if problem.Incident != "" {
		problem.Detail += ", incident " + problem.Incident
	}
	if answer.RetryAfter != "" {
		problem.Detail += "; try again in " + answer.RetryAfter + " s"
	}
	code := querschott.CodeInvalid
	if answer.Status == http.StatusServiceUnavailable {
		code = querschott.CodeDoorClosed
	}
	return &querschott.Error{Code: code, Public: fmt.Sprintf("%d: %s", answer.Status, problem.Detail)}
}

func (a *app) deskSearch() *cobra.Command {
	var e employee
	var q desk.SearchRequest
	cmd := &cobra.Command{
		Use:   "search --family NAME --born DATE --reason REF",
		Short: "Look insured persons up by family name and date of birth",
		Long: `Look insured persons up by the whole family name and the date of birth; there are no patterns. Everybody who is shown
counts as reached and stands in the ledger with the reason. The token comes from the development issuer of a demonstration,
or from files (--token and --dpop-key).`,
		Example: `  querschott desk search --demo ./demo/demo.json --family Sommerfeld --born 1980-03-01 --reason case:VG-2026-0815`,
		Args:    limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.Reason = desk.Reason(e.reason)
			answer, err := e.ask(cmd.Context(), desk.PathSearch, &q)
			if err != nil {
				return err
			}
			return a.showDesk(cmd, answer, func(w io.Writer) error {
				var h desk.Hits
				if err := json.Unmarshal(answer.Body, &h); err != nil {
					return err
				}
				rows := make([][]string, len(h.Hits))
				for i, p := range h.Hits {
					rows[i] = []string{p.Person, p.Family, p.Given, string(p.Born), p.City}
				}
				table(w, "PERSON|FAMILY|GIVEN|BORN|CITY", rows)
				return nil
			})
		},
	}
	e.register(cmd)
	cmd.Flags().StringVar(&q.Family, "family", "", "the whole family name (mandatory)")
	cmd.Flags().StringVar((*string)(&q.Born), "born", "", "date of birth, such as 1980-03-01 (mandatory)")
	cmd.Flags().StringVar(&q.Given, "given", "", "one of the given names")
	return cmd
}

// numberOf reads the number of a person from a flag, or from standard input, where no list of processes shows it.
func numberOf(kvnr string) (querschott.KVNR, error) {
	if kvnr == "-" {
		data, err := io.ReadAll(io.LimitReader(os.Stdin, 100))
		if err != nil {
			return "", err
		}
		kvnr = strings.TrimSpace(string(data))
	}
	if kvnr == "" {
		return "", usageError{errors.New("name the insured person with --kvnr; - reads the number from standard input")}
	}
	return querschott.KVNR(kvnr), nil
}

func (a *app) deskShow() *cobra.Command {
	var e employee
	var kvnr string
	cmd := &cobra.Command{
		Use:     "show --kvnr NUMBER --reason REF",
		Short:   "Read an insured person's master data",
		Example: `  querschott desk show --demo ./demo/demo.json --kvnr X123456789 --reason call:2026-11-29-0017`,
		Args:    limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			number, err := numberOf(kvnr)
			if err != nil {
				return err
			}
			answer, err := e.ask(cmd.Context(), desk.PathPerson, desk.PersonRequest{Reason: desk.Reason(e.reason), Person: number})
			if err != nil {
				return err
			}
			return a.showDesk(cmd, answer, func(w io.Writer) error { return indented(w, answer.Body) })
		},
	}
	e.register(cmd)
	cmd.Flags().StringVar(&kvnr, "kvnr", "", "number of the insured person; - reads it from standard input")
	return cmd
}

func indented(w io.Writer, body []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func (a *app) deskNotes() *cobra.Command {
	var e employee
	var kvnr, note string
	cmd := &cobra.Command{
		Use:   "notes --kvnr NUMBER --reason REF [--note ID]",
		Short: "List an insured person's sick notes, or read one",
		Example: `  querschott desk notes --demo ./demo/demo.json --kvnr X123456789 --reason case:VG-2026-0815
  querschott desk notes --demo ./demo/demo.json --kvnr X123456789 --reason case:VG-2026-0815 --note 0000000000000017`,
		Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			number, err := numberOf(kvnr)
			if err != nil {
				return err
			}
			path, body := desk.PathSickNotes, any(desk.PersonRequest{Reason: desk.Reason(e.reason), Person: number})
			if note != "" {
				path, body = desk.PathSickNote, desk.NoteRequest{Reason: desk.Reason(e.reason), Person: number, Note: note}
			}
			answer, err := e.ask(cmd.Context(), path, body)
			if err != nil {
				return err
			}
			return a.showDesk(cmd, answer, func(w io.Writer) error {
				if note != "" {
					return indented(w, answer.Body)
				}
				return noteTable(w, answer.Body)
			})
		},
	}
	e.register(cmd)
	cmd.Flags().StringVar(&kvnr, "kvnr", "", "number of the insured person; - reads it from standard input")
	cmd.Flags().StringVar(&note, "note", "", "id of the note, from the list")
	return cmd
}

func noteTable(w io.Writer, body []byte) error {
	var list desk.SickNotes
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	rows := make([][]string, len(list.Notes))
	for i, n := range list.Notes {
		state := n.Result
		if n.Cancelled {
			state += ", cancelled"
		}
		rows[i] = []string{n.Note, n.Received.Local().Format(time.DateTime), n.Type, n.From, n.Until, state, n.Sender}
	}
	table(w, "NOTE|RECEIVED|TYPE|FROM|UNTIL|STATE|SENDER", rows)
	if list.More {
		fmt.Fprintln(w, "(there are later ones)")
	}
	return nil
}
