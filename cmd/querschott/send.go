package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/spf13/cobra"

	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// maxDocument is the largest FHIR file that is sent.
const maxDocument = 10 << 20

func (a *app) sendCommand() *cobra.Command {
	var to, file string
	cmd := &cobra.Command{
		Use:   "send --to IK FILE.xml...",
		Short: "Sign FHIR files as the demonstration's practice and mail them to an insurer",
		Long: `Sign each file (PKCS#7, enveloping) with the identity of the demonstration's practice and mail it as the KBV's technical
annex says: X-KIM-Dienstkennung, subject and file name from the document's identifier, request for a delivery status
notification. Sick notes and cancellations are told apart by reading them.`,
		Example: "  querschott send --demo ./demo/demo.json --to 109500969 note.xml",
		Args:    limitArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := newPractice(file, to)
			if err != nil {
				return err
			}
			results, err := s.sendAll(cmd.Context(), args)
			return errors.Join(err, a.show(cmd, results, func(w io.Writer) {
				for _, r := range results {
					if r.Error != "" {
						fmt.Fprintf(w, "%s: %s\n", r.File, r.Error)
						continue
					}
					fmt.Fprintf(w, "%s: %s  %s\n", r.File, r.Answer, r.MessageID)
				}
			}))
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "IK of the insurer (mandatory)")
	cmd.Flags().StringVar(&file, "demo", envOr("QUERSCHOTT_DEMO", "demo.json"), "demo.json of the running demonstration")
	return cmd
}

// practice is who sends.
type practice struct {
	f    demo.File
	to   demo.Mailbox
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

func newPractice(file, to string) (*practice, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{fmt.Errorf("couldn't read the demonstration's file: %w; name it with --demo", err)}
	}
	s := &practice{pool: x509.NewCertPool()}
	if err := json.Unmarshal(data, &s.f); err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", file, err)
	}
	for _, m := range s.f.Insurers {
		if string(m.IK) == to {
			s.to = m
		}
	}
	if s.to.Address == "" {
		return nil, usageError{fmt.Errorf("--to %q is no insurer of the demonstration; the IKs stand in %s", to, file)}
	}
	ca, err := os.ReadFile(s.f.CA)
	if err != nil {
		return nil, err
	}
	s.pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(s.f.Practice.Cert, s.f.Practice.Key)
	if err != nil {
		return nil, fmt.Errorf("couldn't load the practice's identity: %w", err)
	}
	s.cert = pair.Leaf
	if s.key, err = signerOf(pair); err != nil {
		return nil, err
	}
	return s, nil
}

func signerOf(pair tls.Certificate) (crypto.Signer, error) {
	if key, ok := pair.PrivateKey.(crypto.Signer); ok {
		return key, nil
	}
	return nil, errors.New("the practice's key cannot sign")
}

// sent is the result for one file.
type sent struct {
	File      string `json:"file"`
	Document  string `json:"document,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	Answer    string `json:"answer,omitempty"`
	Error     string `json:"error,omitempty"`
}

// sendAll sends every file over one connection; a file that fails does not stop the others.
func (s *practice) sendAll(ctx context.Context, files []string) ([]sent, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	var failed error
	results := make([]sent, len(files))
	for i, file := range files {
		results[i] = sent{File: file}
		if err := s.sendOne(c, file, &results[i]); err != nil {
			results[i].Error = err.Error()
			failed = errors.New("at least one file was not sent")
		}
	}
	return results, errors.Join(failed, c.Quit())
}

func (s *practice) connect(ctx context.Context) (*smtp.Client, error) {
	host, _, err := net.SplitHostPort(s.f.SMTPS)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.pool, ServerName: host, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", s.f.SMTPS)
	if err != nil {
		return nil, fmt.Errorf("couldn't reach the demonstration; is it running? %w", err)
	}
	c := smtp.NewClient(conn)
	return c, c.Auth(sasl.NewPlainClient("", s.f.Practice.Address, s.f.Practice.Password))
}

func (s *practice) sendOne(c *smtp.Client, file string, result *sent) error {
	octets, err := readLimited(file)
	if err != nil {
		return err
	}
	mail, id, document, err := s.compose(octets)
	if err != nil {
		return err
	}
	result.Document, result.MessageID = document, id
	if err := c.Mail(s.f.Practice.Address, &smtp.MailOptions{Return: smtp.DSNReturnHeaders, EnvelopeID: document}); err != nil {
		return err
	}
	if err := c.Rcpt(s.to.Address, &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}}); err != nil {
		return errors.Join(err, c.Reset())
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(mail); err != nil {
		return err
	}
	answer, err := w.CloseWithResponse()
	if err != nil {
		return err
	}
	result.Answer = answer.StatusText
	return nil
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the file has more than %d bytes", maxDocument)
	}
	return data, nil
}

// compose signs and wraps one FHIR file. // KBV Technische Anlage eAU P5-02, P5-07
func (s *practice) compose(octets []byte) (mail []byte, messageID, document string, err error) {
	doc, _ := eau.Read(octets)
	name := kim.DocumentName{Test: true, Kind: kim.Certificate, ID: doc.Identifier}
	d := kim.Delivery{Dienstkennung: kim.EAUDelivery, Description: "eAU"}
	if doc.Kind == eau.KindCancellation {
		name.Kind = kim.Cancellation
		d.Dienstkennung, d.Description = kim.EAUCancellation, "eAUStorno"
	}
	if name.ID == "" {
		return nil, "", "", errors.New("the file has no Bundle.identifier that can be read: is it an eAU bundle in XML?")
	}
	if d.P7S, err = cms.Sign(octets, s.cert, s.key, time.Now()); err != nil {
		return nil, "", "", fmt.Errorf("couldn't sign: %w", err)
	}
	var left [12]byte
	if _, err := rand.Read(left[:]); err != nil {
		return nil, "", "", err
	}
	from := kim.Address(s.f.Practice.Address)
	d.From, d.ReplyTo = from, from
	d.To, d.Subject, d.FileName = kim.Address(s.to.Address), name.String(), name.P7S()
	d.Sendersystem, d.Date = "Querschott;"+version(), time.Now()
	d.MessageID = "<" + hex.EncodeToString(left[:]) + "@praxis.kim.telematik-test>"
	mail, err = kim.Compose(d)
	return mail, d.MessageID, name.ID, err
}
