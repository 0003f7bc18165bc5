package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/node"
)

func (a *app) vsdmCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "vsdm", Short: "Check cards, import master data, check numbers"}
	cmd.AddCommand(a.vsdmGet(), a.vsdmImport(), a.vsdmCheckNumber())
	return cmd
}

// caller is how a command gets at tokens and the HTTP entrance.
type caller struct {
	demo, url, ca, issuer       string // flags
	token, popp, key            string // files
	actor, audience, profession string
	organization, scope         string // of the token; "": the issuer's standard, and card checks

	person demo.Mailbox // of the demonstration: one of its insured persons
}

func (c *caller) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.demo, "demo", envOr("QUERSCHOTT_DEMO", "demo.json"), "demo.json of the running demonstration: address, CA and issuer stand in it")
	f.StringVar(&c.url, "url", "", "address of the HTTP entrance, instead of the demonstration's")
	f.StringVar(&c.ca, "ca", "", "CA file of the HTTP entrance, instead of the demonstration's")
	f.StringVar(&c.issuer, "issuer", "", "address of a development issuer, instead of the demonstration's")
	f.StringVar(&c.actor, "actor", "", "Telematik-ID of the practice (default: the demonstration's practice)")
	f.StringVar(&c.audience, "audience", "", "audience of the access token (default: the address of the entrance)")
	f.StringVar(&c.profession, "profession", "1.2.276.0.76.4.50", "professionOID of the practice")
}

// complete fills in from demo.json what no flag says.
func (c *caller) complete() error {
	if c.url == "" || c.issuer == "" && c.token == "" && c.popp == "" && c.key == "" {
		f, err := readDemo(c.demo)
		if err != nil {
			return err
		}
		for to, from := range map[*string]string{&c.url: f.HTTP, &c.ca: f.CA, &c.issuer: f.Issuer, &c.actor: f.Practice.Telematik} {
			if *to == "" {
				*to = from
			}
		}
		if len(f.Insurers) > 0 {
			c.person = f.Insurers[0]
		}
	}
	c.url = strings.TrimSuffix(c.url, "/")
	if c.audience == "" {
		c.audience = c.url
	}
	if c.url == "" {
		return usageError{errors.New("the demonstration has no HTTP entrance; name one with --url")}
	}
	return nil
}

func readDemo(file string) (f demo.File, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return f, usageError{fmt.Errorf("couldn't read the demonstration's file: %w; name it with --demo, or use --url with --token, --popp and --dpop-key", err)}
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("couldn't read %s: %w", file, err)
	}
	return f, nil
}

func (c *caller) client() (*http.Client, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		data, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, err
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate", c.ca)
		}
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: tc, ForceAttemptHTTP2: true}}, nil
}

// minted are the tokens of a test client.
type minted struct {
	URL      string            `json:"url"`
	Client   string            `json:"client_id,omitempty"`
	Access   string            `json:"access_token"`
	Presence string            `json:"popp_token,omitempty"`
	Key      string            `json:"dpop_key"` // PEM
	private  *ecdsa.PrivateKey `json:"-"`
}

// mint gets tokens from the development issuer.
func (c *caller) mint(ctx context.Context, ik, kvnr string) (*minted, error) {
	if c.issuer == "" {
		return nil, usageError{errors.New("there is no development issuer; name its address with --issuer")}
	}
	client, err := issuer.Register(ctx, &http.Client{Timeout: 30 * time.Second}, time.Now, c.issuer,
		issuer.Practice{Subject: c.actor, Profession: c.profession, Organization: c.organization, Name: "Test"})
	if err != nil {
		return nil, fmt.Errorf("couldn't get tokens from %s; is it running? %w", c.issuer, err)
	}
	m := &minted{URL: c.url, Client: client.ID, private: client.Key}
	if m.Access, err = client.AccessToken(ctx, []string{c.audience}, cmp.Or(c.scope, "vsdservice")); err != nil {
		return nil, err
	}
	if kvnr != "" {
		card := issuer.Card{Patient: kvnr, Insurer: ik, Actor: c.actor, Profession: c.profession}
		if m.Presence, err = client.PresenceToken(ctx, card); err != nil {
			return nil, err
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(client.Key)
	if err != nil {
		return nil, err
	}
	m.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return m, nil
}

// given reads the tokens from files; popp is "" if none is wanted.
func (c *caller) given(access, key, popp string) (*minted, error) {
	m := &minted{URL: c.url}
	for to, file := range map[*string]string{&m.Access: access, &m.Presence: popp, &m.Key: key} {
		if file == "" && to == &m.Presence {
			continue
		}
		data, err := readLimited(file)
		if err != nil {
			return nil, err
		}
		*to = strings.TrimSpace(string(data))
	}
	block, _ := pem.Decode([]byte(m.Key))
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM form", key)
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key (PKCS #8)", key)
	}
	var ok bool
	if m.private, ok = private.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("%s holds no ECDSA key", key)
	}
	return m, nil
}

// gotten is what a card check brought.
type gotten struct {
	drill.CardAnswer
	JSON json.RawMessage `json:"bundle,omitempty"`
	Text string          `json:"body,omitempty"` // XML, and whatever is no JSON
}

func (a *app) vsdmGet() *cobra.Command {
	var c caller
	var ik, kvnr, version, format, known string
	cmd := &cobra.Command{
		Use:   "get [--ik IK --kvnr KVNR]",
		Short: "Check a health card online, as practice software does",
		Long: `Check a health card online, as practice software does: with an access token, a proof of possession (DPoP) and a proof
of patient presence (PoPP). The tokens come from the development issuer of a demonstration, or from files (--token, --popp
and --dpop-key; then --ik and --kvnr are what the PoPP token says). Without --ik and --kvnr an insured person of the
demonstration is taken; demo.json names one of each insurer. The number of the person stands in no address.

Status, entity tag (ETag) and check number (Prüfziffer) go to standard error, the master data to standard output.`,
		Example: `  querschott vsdm get --demo ./demo/demo.json
  querschott vsdm get --demo ./demo/demo.json --ik 100043205 --kvnr X123456789
  querschott vsdm get --demo ./demo/demo.json --ik 100043205 --kvnr X123456789 --format xml --profile-version 1.1
  querschott vsdm get --url https://vsdm.kassen.example --token at.jwt --popp popp.jwt --dpop-key key.pem`,
		Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			accept, ok := map[string]string{"json": "application/fhir+json", "xml": "application/fhir+xml"}[format]
			if !ok {
				return usageError{fmt.Errorf("--format %q: the format is json or xml", format)}
			}
			m, client, err := c.tokens(cmd.Context(), ik, kvnr)
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			check := drill.CardCheck{
				URL: c.url, Access: m.Access, Key: m.private, Presence: m.Presence, Known: known, Version: version, Accept: accept,
			}
			answer, err := check.Do(cmd.Context(), client, time.Now())
			if err != nil {
				return err
			}
			return a.showCard(cmd, answer)
		},
	}
	c.register(cmd)
	f := cmd.Flags()
	f.StringVar(&ik, "ik", "", "IK of the insurer")
	f.StringVar(&kvnr, "kvnr", "", "number of the insured person; - reads it from standard input")
	f.StringVar(&version, "profile-version", "1.0", "version of the FHIR profiles")
	f.StringVar(&format, "format", "json", "json or xml")
	f.StringVar(&known, "if-none-match", "", "entity tag of the master data at hand (default: none)")
	f.StringVar(&c.token, "token", "", "file with an access token")
	f.StringVar(&c.popp, "popp", "", "file with a PoPP token")
	f.StringVar(&c.key, "dpop-key", "", "file with the private key that the access token is bound to (PKCS #8, PEM)")
	return cmd
}

// tokens returns tokens for one card, and a client of the entrance.
func (c *caller) tokens(ctx context.Context, ik, kvnr string) (*minted, *http.Client, error) {
	if err := c.complete(); err != nil {
		return nil, nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	if c.token != "" || c.popp != "" || c.key != "" {
		if c.token == "" || c.popp == "" || c.key == "" {
			return nil, nil, usageError{errors.New("--token, --popp and --dpop-key belong together")}
		}
		m, err := c.given(c.token, c.key, c.popp)
		return m, client, err
	}
	if ik == "" && kvnr == "" {
		ik, kvnr = string(c.person.IK), c.person.KVNR
	}
	if ik == "" || kvnr == "" {
		return nil, nil, usageError{errors.New("name the insurer with --ik and the insured person with --kvnr")}
	}
	if kvnr == "-" {
		data, err := io.ReadAll(io.LimitReader(os.Stdin, 100))
		if err != nil {
			return nil, nil, err
		}
		kvnr = strings.TrimSpace(string(data))
	}
	m, err := c.mint(ctx, ik, kvnr)
	return m, client, err
}

// showCard prints an answer. Anything but 200 and 304 is a refusal or a failure.
func (a *app) showCard(cmd *cobra.Command, answer *drill.CardAnswer) error {
	g := gotten{CardAnswer: *answer}
	if json.Valid(answer.Body) {
		g.JSON = answer.Body
	} else {
		g.Text = string(answer.Body)
	}
	err := a.show(cmd, g, func(w io.Writer) {
		e := cmd.ErrOrStderr()
		fmt.Fprintf(e, "%d %s\n", answer.Status, http.StatusText(answer.Status))
		for _, line := range [][2]string{
			{"ETag", answer.ETag}, {"Prüfziffer", answer.Number}, {"Retry-After", answer.RetryAfter}, {"request", answer.RequestID},
		} {
			if line[1] != "" {
				fmt.Fprintf(e, "%-12s %s\n", line[0], line[1])
			}
		}
		if len(answer.Body) > 0 {
			_, _ = w.Write(append(bytes.TrimSpace(answer.Body), '\n'))
		}
	})
	switch {
	case err != nil || answer.Status == http.StatusOK || answer.Status == http.StatusNotModified:
		return err
	case answer.Status == http.StatusServiceUnavailable:
		return &querschott.Error{Code: querschott.CodeDoorClosed, Public: "the card could not be checked now; try again later"}
	case answer.Status >= http.StatusInternalServerError:
		return errors.New("the service has failed")
	default:
		return &querschott.Error{Code: querschott.CodeInvalid, Public: fmt.Sprintf("the card check was refused with %d", answer.Status)}
	}
}

// importAtOnce is how many bytes of bundles are sent to the node together.
const importAtOnce = 2 << 20

func (a *app) vsdmImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Import insured persons' master data (VSDMBundle, JSON or XML) into the running node",
		Long: `Import insured persons' master data into the cells of the insurers that they name as main payor. Each file holds one
VSDMBundle; files ending in .xml are XML, all others JSON. The door of the insurer must be open. What is there already changes
nothing, so a delivery that broke off is repeated as a whole. Files that are refused hold up no others.`,
		Example: "  querschott vsdm import delivery/*.json",
		Args:    limitArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			done, err := importFiles(cmd.Context(), c, args)
			if err == nil && len(done.Refused) > 0 {
				err = querschott.Refuse(querschott.CodeInvalid, "%d of %d files were refused", len(done.Refused), len(args))
			}
			return errors.Join(err, a.show(cmd, done, func(w io.Writer) {
				fmt.Fprintf(w, "%d added, %d replaced, %d unchanged, %d refused\n", done.Added, done.Replaced, done.Unchanged, len(done.Refused))
				for name, why := range done.Refused {
					fmt.Fprintf(w, "%s: %s\n", name, why)
				}
			}))
		},
	}
}

func importFiles(ctx context.Context, c *node.Client, names []string) (node.Imported, error) {
	done := node.Imported{Refused: map[string]string{}}
	var batch []node.ImportedFile
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		part, err := c.Import(ctx, batch)
		done.Added, done.Replaced, done.Unchanged = done.Added+part.Added, done.Replaced+part.Replaced, done.Unchanged+part.Unchanged
		for name, why := range part.Refused {
			done.Refused[name] = why
		}
		batch, size = batch[:0], 0
		return err
	}
	for _, name := range names {
		data, err := readLimited(name)
		if err != nil {
			done.Refused[name] = err.Error()
			continue
		}
		if len(data) > importAtOnce {
			done.Refused[name] = fmt.Sprintf("the file has more than %d bytes", importAtOnce)
			continue
		}
		if size+len(data) > importAtOnce {
			if err := flush(); err != nil {
				return done, err
			}
		}
		batch = append(batch, node.ImportedFile{Name: name, XML: strings.EqualFold(filepath.Ext(name), ".xml"), Data: data})
		size += len(data)
	}
	return done, flush()
}

func (a *app) vsdmCheckNumber() *cobra.Command {
	var kvnr, actor string
	cmd := &cobra.Command{
		Use:   "check-number NUMBER --kvnr KVNR --actor TELEMATIK-ID",
		Short: "Say whether a check number (Prüfziffer) was issued here, for whom and to whom",
		Long: `Say whether a check number (Prüfziffer, base64 or base64url) was issued by the running node for this insured person and to
this actor, is valid, and was not shown before. NUMBER - and --kvnr - are read from standard input, a line each. That the number
was shown is kept, and the ledger has an entry.

The verdicts: issued, reused (both good), unissued, other-actor, other-person (each of them tells of a crime), expired,
foreign-operator, unreadable, malformed. Anything but a good one is exit code 5.`,
		Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			values := []*string{&args[0], &kvnr}
			data := []byte{}
			if slices.ContainsFunc(values, func(v *string) bool { return *v == "-" }) {
				var err error
				if data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1000)); err != nil {
					return err
				}
			}
			lines := strings.Fields(string(data))
			for _, v := range values {
				if *v == "-" && len(lines) > 0 {
					*v, lines = lines[0], lines[1:]
				}
			}
			if kvnr == "" || actor == "" {
				return usageError{errors.New("say for whom with --kvnr and who shows it with --actor")}
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			found, err := c.CheckNumber(cmd.Context(), node.NumberShown{Number: args[0], Person: kvnr, Actor: querschott.Actor(actor)})
			if err != nil {
				return err
			}
			err = a.show(cmd, found, func(w io.Writer) {
				fmt.Fprintln(w, found.Verdict)
				if !found.Issued.IsZero() {
					fmt.Fprintf(w, "issued %s through insurer %s, request %s\n", found.Issued.Format(time.RFC3339), found.Insurer, found.Request)
				}
				if found.Critical {
					fmt.Fprintln(w, "ALARM: the number is in the wrong hands, or its key is")
				}
			})
			if err == nil && !found.Good {
				err = errFound
			}
			return err
		},
	}
	cmd.Flags().StringVar(&kvnr, "kvnr", "", "number of the insured person (mandatory)")
	cmd.Flags().StringVar(&actor, "actor", "", "Telematik-ID of who shows the number (mandatory)")
	return cmd
}

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Get tokens for test clients"}
	var c caller
	var ik, kvnr, dir, staff string
	mint := &cobra.Command{
		Use:   "mint",
		Short: "Get an access token, and a PoPP token, from the development issuer of a demonstration",
		Long: `Get an access token and the key that it is bound to from the development issuer of a demonstration; with --ik and --kvnr a
PoPP token too. With --staff and --ik the token is an insurer's employee's, for the desk. With --dir they are written into files (access.jwt, popp.jwt, dpop-key.pem), without it they are printed as
JSON. Nobody but the demonstration believes them.`,
		Example: `  querschott token mint --demo ./demo/demo.json --ik 100043205 --kvnr X123456789 --dir ./tokens
  querschott vsdm get --demo ./demo/demo.json --token tokens/access.jwt --popp tokens/popp.jwt --dpop-key tokens/dpop-key.pem
  querschott token mint --demo ./demo/demo.json --staff c.mueller --ik 100043205 --dir ./tokens`,
		Args: limitArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(); err != nil {
				return err
			}
			var m *minted
			var err error
			switch {
			case staff != "" && (ik == "" || kvnr != ""):
				return usageError{errors.New("--staff needs --ik and no --kvnr")}
			case staff != "":
				m, err = c.mintStaff(cmd.Context(), ik, staff)
			case (ik == "") != (kvnr == ""):
				return usageError{errors.New("--ik and --kvnr belong together")}
			default:
				m, err = c.mint(cmd.Context(), ik, kvnr)
			}
			if err != nil {
				return err
			}
			if dir != "" {
				return m.write(dir)
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(m)
		},
	}
	c.register(mint)
	mint.Flags().StringVar(&ik, "ik", "", "IK of the insurer whose card was there")
	mint.Flags().StringVar(&kvnr, "kvnr", "", "number of the insured person whose card was there")
	mint.Flags().StringVar(&staff, "staff", "", "name of an insurer's employee, whose token it shall be")
	mint.Flags().StringVar(&dir, "dir", "", "directory for the files")
	cmd.AddCommand(mint)
	return cmd
}

// write writes the tokens into files that only their owner can read.
func (m *minted) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"access.jwt": m.Access + "\n", "popp.jwt": m.Presence + "\n", "dpop-key.pem": m.Key} {
		if name == "popp.jwt" && m.Presence == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
