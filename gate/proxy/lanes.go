package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/querschott/querschott"
)

// maxLanes is how many compartments have connections of their own. Callers name insurers, so there must be an end.
const maxLanes = 2000

// lane is one compartment's way to the service: its own connections, and so many requests at a time.
type lane struct {
	wires     wires
	transport *http.Transport // for requests with a body, and for tunnels
	slots     chan struct{}
}

// roundTrip sends a request and returns when the header of its answer is there.
func (w *lane) roundTrip(r *http.Request) (*http.Response, error) {
	if carries(r) {
		return w.wires.ask(r)
	}
	return w.transport.RoundTrip(r)
}

// lanes are the ways of all compartments.
type lanes struct {
	make func() *lane
	wait time.Duration

	mu sync.RWMutex // guards by
	by map[querschott.Compartment]*lane
}

func newLanes(s *Settings) (*lanes, error) {
	t, err := newTLS(&s.TLS)
	if err != nil {
		return nil, err
	}
	dial, err := dialer(s, t)
	if err != nil {
		return nil, err
	}
	plain := &net.Dialer{Timeout: s.Timeouts.Connect, KeepAlive: 30 * time.Second}
	limit := s.Limits
	return &lanes{
		by: map[querschott.Compartment]*lane{}, wait: s.Timeouts.Slot,
		make: func() *lane {
			return &lane{
				slots: make(chan struct{}, limit.Connections),
				wires: wires{dial: dial, header: s.Timeouts.Header, most: limit.Header},
				// HTTP/1.1 only: one request on a connection, so that the limits of connections are limits of requests, and
				// an environment variable sends nothing through a proxy of somebody else's.
				transport: &http.Transport{
					DialContext: plain.DialContext, TLSClientConfig: t, TLSHandshakeTimeout: s.Timeouts.Connect,
					ResponseHeaderTimeout: s.Timeouts.Header, MaxResponseHeaderBytes: limit.Header, DisableCompression: true,
					MaxIdleConnsPerHost: limit.Connections, IdleConnTimeout: idleTime,
				},
			}
		},
	}, nil
}

func newTLS(s *TLSSettings) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.Name, NextProtos: []string{"http/1.1"}}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("couldn't read tls.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("couldn't read tls.ca: it has no certificate")
		}
	}
	if s.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
		if err != nil {
			return nil, fmt.Errorf("couldn't read tls.certificate and tls.key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// of returns the lane of a compartment. Beyond maxLanes they share one.
func (l *lanes) of(c querschott.Compartment) *lane {
	l.mu.RLock()
	way := l.by[c]
	l.mu.RUnlock()
	if way != nil {
		return way
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by) >= maxLanes {
		c = querschott.Compartment{}
	}
	if l.by[c] == nil {
		l.by[c] = l.make()
	}
	return l.by[c]
}

// enter waits for a slot. leave gives it back.
func (l *lanes) enter(ctx context.Context, c querschott.Compartment) (*lane, error) {
	way := l.of(c)
	select {
	case way.slots <- struct{}{}:
		return way, nil
	default:
	}
	patience := time.NewTimer(l.wait)
	defer patience.Stop()
	select {
	case way.slots <- struct{}{}:
		return way, nil
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil, querschott.Refuse(querschott.CodeNoRoom, "the service has too many requests of this insurer at present")
}

func (w *lane) leave() { <-w.slots }

func (l *lanes) close() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, way := range l.by {
		way.wires.drop(time.Now())
		way.transport.CloseIdleConnections()
	}
}
