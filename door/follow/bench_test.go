package follow_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// identity makes a certificate that names itself.
func identity(b *testing.B, name string) tls.Certificate {
	b.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: k}
}

// BenchmarkFiftyGates closes an open door at 50 gates over TLS on loopback: from the decision to the last acknowledgement.
func BenchmarkFiftyGates(b *testing.B) {
	const gates = 50
	var names []string
	pins := map[string]string{} // certificate -> name
	certs := map[string]tls.Certificate{}
	for i := range gates {
		name := fmt.Sprintf("gate-%02d", i)
		certs[name] = identity(b, name)
		names, pins[string(certs[name].Certificate[0])] = append(names, name), name
	}
	w := newWorld(b, names...)
	ctx, cancel := context.WithCancel(context.Background())
	server := &tls.Config{Certificates: []tls.Certificate{identity(b, "book")}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		b.Fatal(err)
	}
	defer w.work.Wait()
	defer ln.Close()
	defer cancel()
	w.work.Go(func() { accept(ctx, w, ln, pins) })
	pin := server.Certificates[0].Certificate[0]
	for _, name := range names {
		client := &tls.Config{
			Certificates: []tls.Certificate{certs[name]}, MinVersion: tls.VersionTLS13,
			InsecureSkipVerify: true, // the pin below is the check
			VerifyConnection: func(s tls.ConnectionState) error {
				if string(s.PeerCertificates[0].Raw) != string(pin) {
					return fmt.Errorf("not the book")
				}
				return nil
			},
		}
		w.gate(ctx, func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", ln.Addr().String())
		})
	}
	for connected := 0; connected < gates; {
		connected = 0
		for _, g := range w.pub.Status() {
			if g.Acknowledged > 2 {
				connected++
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	var took []time.Duration
	b.ResetTimer()
	for b.Loop() {
		if err := w.open(vsdm); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := w.set(vsdm, querschott.Closed); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	ms := func(p int) float64 { return took[(len(took)-1)*p/100].Seconds() * 1000 }
	b.ReportMetric(ms(50), "p50-ms")
	b.ReportMetric(ms(99), "p99-ms")
	b.ReportMetric(ms(100), "max-ms")
}

func accept(ctx context.Context, w *world, ln net.Listener, pins map[string]string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() {
			c := conn.(*tls.Conn)
			if err := c.HandshakeContext(ctx); err != nil {
				_ = c.Close()
				return
			}
			_ = w.pub.Serve(ctx, c, pins[string(c.ConnectionState().PeerCertificates[0].Raw)])
		})
	}
}
