package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/node"
)

func (a *app) doorGates() *cobra.Command {
	cmd := &cobra.Command{
		Use: "gates", Short: "Show which gates enforce the doors' orders", Args: limitArgs(cobra.NoArgs),
		Long: `Show which gates enforce the orders in force and the deny list, since when, and until when each may act without hearing
more: the node's own gate, and those that follow its book ('querschott door gates add').`,
		Example: "  querschott door gates\n  querschott door gates -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.Gates(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, v, func(w io.Writer) { gatesTable(w, v) })
		},
	}
	cmd.AddCommand(a.gatesAdd())
	return cmd
}

func gatesTable(w io.Writer, v node.GatesView) {
	rows := make([][]string, len(v.Gates))
	all := 0
	for i, g := range v.Gates {
		state := "enforces"
		switch {
		case g.Missing:
			state = "MISSING"
		case len(g.Faults) > 0:
			state = "DOES NOT OBEY"
		case g.Doors < g.Of, g.Deny < v.Gates[0].Deny:
			state = "behind"
		default:
			all++
		}
		rows[i] = []string{
			g.Name, state, fmt.Sprintf("%d of %d", g.Doors, g.Of), fmt.Sprint(highest(g)), clock(g.Since), fmt.Sprint(g.Deny), clock(g.Lease), clock(g.LastSeen),
			strings.Join(g.Faults, "; "),
		}
	}
	table(w, "GATE|STATE|DOORS|EPOCH|SINCE|DENY|HOLDS AFTER|LAST SEEN|FAULT", rows)
	fmt.Fprintf(w, "%d of %d gates enforce every order in force and the deny list\n", all, len(v.Gates))
	if v.Book != "" {
		fmt.Fprintf(w, "this node is a gate and follows the book at %s\n", v.Book)
	}
}

// highest is the highest epoch that a gate enforces.
func highest(g node.GateView) (epoch uint64) {
	for _, at := range g.Epochs {
		epoch = max(epoch, at.Epoch)
	}
	return epoch
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// addedGate is a gate's half of the link.
type addedGate struct {
	Name    string `json:"name"`
	Pin     string `json:"pin"`
	BookPin string `json:"book_pin"`
	Dir     string `json:"dir"`
	AtBook  string `json:"at_book"` // lines of the configuration
	AtGate  string `json:"at_gate"`
}

func (a *app) gatesAdd() *cobra.Command {
	var dir, address string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make key and certificate of a gate, and print what to write where", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Make what a gate at another place needs to follow the book of this node: its key and certificate, and the public keys
that it verifies orders with. It changes no configuration; it prints the lines for both. The node must be running.
Carry the directory to the gate on a way that nobody else reads, and remove it here.`,
		Example: "  querschott door gates add north --address book.example:7443",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := node.CheckGate(args[0], address); err != nil {
				return usageError{err}
			}
			c, cfg, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.BookKeys(cmd.Context())
			if err != nil {
				return err
			}
			if dir == "" {
				dir = filepath.Join("gates", args[0])
			}
			made, err := addGate(cfg, keys, args[0], dir, address)
			if err != nil {
				return err
			}
			return a.show(cmd, made, func(w io.Writer) {
				fmt.Fprintf(w, "At this node, set in the section 'doors' of its configuration (then start it again):\n\n%s\n", made.AtBook)
				fmt.Fprintf(w, "At the gate, put the files of %s beside its configuration, and set there (insurers as here, a domain of its own):\n\n%s\n", made.Dir, made.AtGate)
				fmt.Fprintf(w, "pin of %s: %s\npin of this node: %s\n", made.Name, made.Pin, made.BookPin)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory for the gate's files; empty: gates/NAME")
	cmd.Flags().StringVar(&address, "address", "", "host:port at which gates reach this node")
	return cmd
}

func addGate(cfg *node.Config, keys node.BookKeys, name, dir, address string) (g addedGate, err error) {
	for _, k := range cfg.Doors.Gates.Known {
		if k.Name == name {
			return g, fmt.Errorf("the gate %s is known already; take it out of doors.gates.known first, or add its second pin there", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "gate.pem")); err == nil {
		return g, fmt.Errorf("%s has a gate's certificate already; name another directory with --dir", dir)
	}
	own := cfg.Doors.Gates
	g = addedGate{Name: name, Dir: dir}
	if g.BookPin, err = node.NewLinkCertificate(own.Certificate, own.Key, cfg.Domain, time.Now()); err != nil {
		return g, err
	}
	if g.Pin, err = node.NewLinkCertificate(filepath.Join(dir, "gate.pem"), filepath.Join(dir, "gate.key"), name, time.Now()); err != nil {
		return g, err
	}
	if err := node.SaveBookKeys(filepath.Join(dir, "book.yaml"), keys); err != nil {
		return g, err
	}
	listen := own.Listen
	if listen == "" {
		listen = address
	}
	lease := time.Duration(cfg.Doors.Lease)
	g.AtBook = fmt.Sprintf("doors:\n  lease: %s\n  gates:\n    listen: %q\n    known:\n", lease, listen)
	for _, k := range append(own.Known, node.KnownGate{Name: name, Pins: []string{g.Pin}}) {
		g.AtBook += fmt.Sprintf("      - name: %q\n        pins: [\"%s\"]\n", k.Name, strings.Join(k.Pins, "\", \""))
	}
	g.AtGate = fmt.Sprintf("doors:\n  lease: %s\n  follow:\n    address: %q\n    pins: [%q]\n    certificate: gate.pem\n    key: gate.key\n    keys: book.yaml\n",
		lease, address, g.BookPin)
	return g, nil
}
