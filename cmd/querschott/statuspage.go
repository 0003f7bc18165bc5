package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/web/status"
)

func (a *app) statusPageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status-page", Short: "Show the public status page, on a host that shares nothing with the platform"}
	cmd.AddCommand(a.statusPageServe(), a.statusPageKey())
	return cmd
}

func (a *app) statusPageKey() *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Print the public key of the signed state, and where it is written", Args: limitArgs(cobra.NoArgs),
		Long: `Print the public key (C2SP vkey) with which the state in the directories of 'status.publish' is signed. The node must be
running. Carry the key to the host of the page on another way than the directory; how the directories are stands on standard error.`,
		Example: "  querschott status-page key > status.vkey",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(cmd, s.Public, func(w io.Writer) {
				fmt.Fprintln(w, s.Public.Key)
				for _, d := range s.Public.Dirs {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: last written %s %s\n", d.Dir, clock(d.At), d.Fault)
				}
				if len(s.Public.Dirs) == 0 {
					fmt.Fprintln(cmd.ErrOrStderr(), "nothing is published: name directories in status.publish")
				}
			})
		},
	}
}

func (a *app) statusPageServe() *cobra.Command {
	var key, listen, certificate, private string
	cmd := &cobra.Command{
		Use: "serve DIR", Short: "Serve the status page from a directory", Args: limitArgs(cobra.ExactArgs(1)),
		Long: `Serve the public status page. It needs the directory into which a node publishes (status.publish) and the public key, and
nothing else of the platform: no configuration, no node, no other key. A file whose signature is wrong, that is damaged, or that is
older than what was shown is refused, and the last good state stays. When its time is over the page says that it is out of date.
A page that has just been started does not know what it showed before; an old file is then shown as out of date.`,
		Example: "  querschott status-page serve /srv/status --key status.vkey --listen :443 --certificate cert.pem --private-key key.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (certificate == "") != (private == "") {
				return usageError{errors.New("--certificate and --private-key belong together")}
			}
			v, err := statusKey(key)
			if err != nil {
				return usageError{err}
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			p, err := status.NewPage(args[0], v, time.Now, log)
			if err != nil {
				return err
			}
			server := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
			if certificate != "" {
				pair, err := tls.LoadX509KeyPair(certificate, private)
				if err != nil {
					return err
				}
				server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			}
			return serveStatus(cmd, p, server, listen)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "file with the public key that 'status-page key' printed")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8088", "address")
	cmd.Flags().StringVar(&certificate, "certificate", "", "certificate chain, PEM; empty: plain HTTP")
	cmd.Flags().StringVar(&private, "private-key", "", "private key of the certificate, PEM")
	must(cmd.MarkFlagRequired("key"))
	return cmd
}

func statusKey(file string) (note.Verifier, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s holds no public key as 'querschott status-page key' prints it: %w", file, err)
	}
	return v, nil
}

func serveStatus(cmd *cobra.Command, p *status.Page, server *http.Server, listen string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return err
	}
	scheme := "http"
	if server.TLSConfig != nil {
		scheme, l = "https", tls.NewListener(l, server.TLSConfig)
	}
	g, ctx := errgroup.WithContext(cmd.Context())
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return server.Shutdown(end)
	})
	fmt.Fprintf(cmd.OutOrStdout(), "the status page is at %s://%s/\n", scheme, l.Addr())
	return g.Wait()
}
