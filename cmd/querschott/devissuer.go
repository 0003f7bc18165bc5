package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/node"
)

// devIssuer are the issuers for development beside a node. They run only if the configuration says so.
type devIssuer struct {
	issuer   *issuer.Issuer
	listener net.Listener
	server   *http.Server
}

// newDevIssuer binds the issuers' address, and the entrance's, whose address their tokens are for.
func newDevIssuer(ctx context.Context, cfg *node.Config, opt *node.Options) (d *devIssuer, err error) {
	if !cfg.HTTP.DevIssuers || cfg.HTTP.Listen == "" {
		return nil, nil
	}
	d = &devIssuer{}
	var lc net.ListenConfig
	if d.listener, err = lc.Listen(ctx, "tcp", cfg.HTTP.DevListen); err != nil {
		return nil, err
	}
	if opt.HTTP, err = lc.Listen(ctx, "tcp", cfg.HTTP.Listen); err != nil {
		return nil, errors.Join(err, d.listener.Close())
	}
	audience := cfg.VSDM.Audience
	if len(audience) == 0 {
		audience = []string{cfg.HTTP.URL}
		if cfg.HTTP.URL == "" {
			audience = []string{"https://" + opt.HTTP.Addr().String()}
		}
	}
	d.issuer, err = issuer.New(time.Now, "http://"+d.listener.Addr().String(), issuer.Options{ForTestsOnly: true, Audience: audience, Scopes: append(slices.Clone(cfg.VSDM.Scopes), "desk")})
	if err != nil {
		return nil, errors.Join(err, d.listener.Close(), opt.HTTP.Close())
	}
	handler, err := d.issuer.Handler()
	if err != nil {
		return nil, errors.Join(err, d.listener.Close(), opt.HTTP.Close())
	}
	d.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	opt.DevIssuer = &node.DevIssuer{
		Access: d.issuer.Name(), Presence: d.issuer.Name(), AccessKeys: d.issuer.AccessKeys(), PresenceKeys: d.issuer.PresenceKeys(),
	}
	return d, nil
}

// run serves until the node has ended.
func (d *devIssuer) run(ctx context.Context, log *slog.Logger, work func(context.Context) error) error {
	if d == nil {
		return work(ctx)
	}
	log.Warn("issuers for development give every token to everybody who asks", "address", d.issuer.Name())
	ended := make(chan error, 1)
	go func() { ended <- d.server.Serve(d.listener) }()
	err := work(ctx)
	err = errors.Join(err, d.server.Close())
	if failed := <-ended; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("the issuers for development have ended: %w", failed))
	}
	return err
}

// close lets go of what was bound for a node that does not begin.
func (d *devIssuer) close() error {
	if d == nil {
		return nil
	}
	return d.listener.Close()
}
