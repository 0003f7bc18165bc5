package mail

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
)

// TestIdleConnectionsDoNoHarm holds 5,000 of them and hands in a mail.
func TestIdleConnectionsDoNoHarm(t *testing.T) {
	const idle, secured = 5000, 100
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < 2*idle+200 { // Go has raised the soft limit to the hard one at start
		t.Fatalf("the test needs %d open files, the limit is %d (ulimit -n)", 2*idle+200, files.Cur)
	}
	w := newWorld(t)
	g := w.start(func(c *Config) {
		c.Limits.PerIP, c.Limits.PerPractice = 6000, 6000
	})
	for i := range idle {
		if i < secured {
			g.login(practice)
			continue
		}
		nc, err := net.Dial("tcp", g.starttls)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer func() { _ = nc.Close() }()
	}
	waiting := g.login(practice)
	for g.srv.Stats().Sessions < idle+1 { // the kernel has taken them, the server still has to
		waiting.do("NOOP", "250")
	}
	waiting.do("QUIT", "221")
	waiting.gone()
	begun := time.Now()
	p := g.ready(practice)
	p.do("DATA", "354")
	p.do(eau()+".", "250 2.0.0")
	took := time.Since(begun)
	for g.srv.Stats().Sessions > idle+1 {
		p.do("NOOP", "250")
	}
	t.Logf("a mail beside %d sessions took %v", idle, took)
	if s := g.srv.Stats(); s.Sessions != idle+1 {
		t.Errorf("%d sessions, want %d", s.Sessions, idle+1)
	}
	if err := g.stop(); err != nil { // every idle one is told and ends
		t.Fatal(err)
	}
	if s := g.srv.Stats(); s.Sessions != 0 || s.Transient[CauseStopping] != idle+1 {
		t.Errorf("after the end: %d sessions, %d were told", s.Sessions, s.Transient[CauseStopping])
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"in all":  func(l *Limits) { l.Connections = 2 },
		"per IP":  func(l *Limits) { l.PerIP = 2 },
		"in both": func(l *Limits) { l.Connections, l.PerIP = 2, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newWorld(t).start(func(c *Config) { change(&c.Limits) })
			first, second := g.login(relay), g.login(practice) // one without a login would make way
			for _, dial := range []func() (net.Conn, error){
				func() (net.Conn, error) { return net.Dial("tcp", g.starttls) },
				func() (net.Conn, error) { return tls.Dial("tcp", g.implicit, clientTLS) },
			} {
				nc, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				p := newPeer(t, nc)
				p.want("421 4.7.0")
				p.gone()
			}
			first.do("QUIT", "221")
			first.gone()
			for g.srv.Stats().Sessions > 1 { // the place is free when the session has left
				second.do("NOOP", "250")
			}
			g.dial().do("NOOP", "250")
			if s := g.srv.Stats(); s.Transient[CauseConnections] != 2 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// TestStrangersMakeWay fills all places with connections that never log in.
func TestStrangersMakeWay(t *testing.T) {
	g := newWorld(t).start(func(c *Config) { c.Limits.Connections = 3 })
	known := g.login(practice)
	strangers := []*peer{g.dial(), g.raw()}
	newcomer := func(dial func() *peer) *peer {
		p := dial()
		strangers[0].gone() // the one that has waited for longest
		strangers = append(strangers[1:], p)
		for g.srv.Stats().Sessions > 3 { // the place is free when the session has left
			known.do("NOOP", "250")
		}
		return p
	}
	for range 5 {
		newcomer(g.raw)
		newcomer(g.dial)
	}
	newcomer(func() *peer { return g.login(relay) }).do("MAIL FROM:<"+practice+">", "250")
	known.do("NOOP", "250")
}

// TestOneAccountDoesNotTakeAllMemory begins large messages and never ends them.
func TestOneAccountDoesNotTakeAllMemory(t *testing.T) {
	w := newWorld(t)
	g := w.start(func(c *Config) {
		c.Limits.MaxMail, c.Limits.BodyMemory, c.Limits.Practice = 1<<20, 8<<20, 2<<20
	})
	octets := message(practice, "eAU;Lieferung;V1.2", 700_000)
	chunk := fmt.Sprintf("BDAT %d\r\n%s", len(octets), octets[:len(octets)-2])
	hog, second := g.ready(practice), g.ready(practice)
	hog.do(chunk, "250")
	second.do(chunk, "250")
	g.ready(practice).do(chunk, "452 4.3.1")
	other := g.ready(relay)
	other.do(chunk, "250")
	other.do("BDAT 0 LAST", "250 2.0.0")
	hog.do("RSET", "250")
	g.ready(practice).do(chunk, "250")
}

// TestWhatHangsIsAnsweredInTime has ledger and outbox hang and not even look at their contexts.
func TestWhatHangsIsAnsweredInTime(t *testing.T) {
	for name, change := range map[string]func(c *Config, hang func()){
		"ledger": func(c *Config, hang func()) { c.Record = func(context.Context, Taken) error { hang(); return nil } },
		"outbox": func(c *Config, hang func()) { c.Notify = func(context.Context, DSN) error { hang(); return nil } },
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			g := newWorld(t).start(func(c *Config) {
				c.Limits.Accept, c.Limits.Grace = 100*time.Millisecond, 100*time.Millisecond
				change(c, func() { <-release })
			})
			tries, refused := uint64(0), uint64(0)
			for g.srv.Stats().Transient[Cause(name)] == 0 { // on a busy machine another step may be the late one
				p := g.ready(practice)
				p.do("DATA", "354")
				p.do(message(practice, "eAU;Lieferung;V1.2", 1000)+".", "451 4.3.0")
				p.do("NOOP", "250")
				tries++
			}
			s := g.srv.Stats()
			for _, n := range s.Transient {
				refused += n
			}
			if s.Accepted != 0 || refused != tries {
				t.Errorf("after %d tries %+v is counted", tries, s)
			}
			if err := g.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSessionsOfAnAccountAreLimited(t *testing.T) {
	g := newWorld(t).start(func(c *Config) { c.Limits.PerPractice, c.Limits.PerRelay = 1, 2 })
	first := g.login(practice)
	second := g.dial()
	second.do("EHLO x", "250")
	second.do("AUTH PLAIN "+plainResponse(practice, password), "454 4.7.0")
	second.do("AUTH PLAIN "+plainResponse(relay, password), "235")
	g.login(relay)
	first.do("QUIT", "221")
	first.gone()
	third := g.dial()
	third.do("EHLO x", "250")
	for g.srv.Stats().Sessions > 3 {
		third.do("NOOP", "250")
	}
	third.do("AUTH PLAIN "+plainResponse(practice, password), "235")
}

func TestPatience(t *testing.T) {
	t.Run("login", func(t *testing.T) {
		p := newWorld(t).start(func(c *Config) { c.Limits.Login = 100 * time.Millisecond }).dial()
		for { // however busy it is
			p.send("NOOP\r\n")
			got, err := p.reply()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(got, "421 4.4.2") {
				return
			}
		}
	})
	t.Run("handshake", func(t *testing.T) {
		g := newWorld(t).start(func(c *Config) { c.Limits.Login = 50 * time.Millisecond })
		nc, err := net.Dial("tcp", g.implicit)
		if err != nil {
			t.Fatal(err)
		}
		newPeer(t, nc).gone()
		for g.srv.Stats().Sessions > 0 {
			runtime.Gosched()
		}
		if s := g.srv.Stats(); s.Transient[CauseTLS] != 1 {
			t.Errorf("counted %+v", s)
		}
	})
	t.Run("idle", func(t *testing.T) {
		g := newWorld(t).start(func(c *Config) { c.Limits.Idle = 100 * time.Millisecond })
		g.silence("EHLO x\r\nAUTH PLAIN " + plainResponse(practice, password) + "\r\n")
	})
	t.Run("AUTH", func(t *testing.T) {
		g := newWorld(t).start(func(c *Config) { c.Limits.Idle = 100 * time.Millisecond })
		g.silence("EHLO x\r\nAUTH LOGIN\r\n")
	})
	t.Run("whole message", func(t *testing.T) {
		p := newWorld(t).start(func(c *Config) { c.Limits.Block, c.Limits.Body = 160*time.Millisecond, 300*time.Millisecond }).ready(practice)
		p.do("DATA", "354")
		answered := make(chan string, 1)
		go func() {
			got, _ := p.reply() // judged below
			answered <- got
		}()
		tick := time.NewTicker(20 * time.Millisecond) // never a silence, and never an end
		defer tick.Stop()
		for {
			select {
			case got := <-answered:
				if !strings.HasPrefix(got, "421 4.4.2") {
					t.Errorf("answered %q", got)
				}
				return
			case <-tick.C:
				_, _ = p.nc.Write([]byte("drip\r\n")) // fails when it is over
			}
		}
	})
}

// silence sends commands and nothing more: that it is over is the last answer. On a busy machine it may be the first one.
func (g *gate) silence(commands string) {
	g.t.Helper()
	p := g.dial()
	_, _ = p.nc.Write([]byte(commands))
	for {
		got, err := p.reply()
		if err != nil {
			g.t.Fatalf("answered %q, %v", got, err)
		}
		if strings.HasPrefix(got, "421 4.4.2") {
			p.gone()
			return
		}
	}
}

func TestTooManyErrors(t *testing.T) {
	g := newWorld(t).start(func(c *Config) { c.Limits.Errors = 3 })
	p := g.dial()
	p.do("FROBNICATE", "500")
	p.do("FROBNICATE", "500")
	p.send("FROBNICATE\r\n")
	p.want("500")
	p.want("421 4.7.0")
	p.gone()
	p = g.dial()
	p.send("NOOP\nQUIT\r\n") // who ends lines in two ways gets nothing run
	p.want("500 5.5.2")
	p.gone()
}

func TestLongLine(t *testing.T) {
	p := newWorld(t).start(nil).login(practice)
	p.do("NOOP "+strings.Repeat("x", maxLine-7), "250")
	p.send(strings.Repeat("x", maxLine))
	p.want("500 5.5.2")
	p.gone()
}

// TestStopping: a message under way is finished and promised, everybody else is told.
func TestStopping(t *testing.T) {
	w := newWorld(t)
	g := w.start(nil)
	idle, clear, busy := g.login(practice), g.raw(), g.ready(practice)
	busy.do("DATA", "354")
	busy.send(eau())
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	for _, p := range []*peer{idle, clear} {
		p.want("421 4.3.2")
		p.gone()
	}
	if nc, err := net.Dial("tcp", g.starttls); err == nil {
		_ = nc.Close() // taken by the kernel at best
	}
	busy.do(".", "250 2.0.0")
	busy.want("421 4.3.2")
	busy.gone()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := w.got(); got != [3]int{1, 1, 1} {
		t.Errorf("taken in, recorded, notified: %v", got)
	}
}

func TestStoppingDoesNotWaitForEver(t *testing.T) {
	w := newWorld(t)
	g := w.start(func(c *Config) { c.Limits.Grace = 50 * time.Millisecond })
	p := g.ready(practice)
	p.do("DATA", "354")
	p.send(eau())
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	p.gone()
	if got := w.got(); got != [3]int{} {
		t.Errorf("taken in, recorded, notified: %v", got)
	}
}

// TestStoppingWhileTheIntakeHangs: the message is not promised.
func TestStoppingWhileTheIntakeHangs(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	hanging, let := make(chan struct{}), make(chan struct{})
	w.before = func(string) error {
		close(hanging)
		<-let
		return errInjected
	}
	g := w.start(func(c *Config) { *c = cfg; c.Limits.Grace = 50 * time.Millisecond })
	p := g.ready(practice)
	p.do("DATA", "354")
	p.send(eau() + ".\r\n")
	<-hanging
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	rest, _ := io.ReadAll(p.r) // until the server cuts the connection
	close(let)
	if err := <-stopped; err != nil || len(rest) > 0 {
		t.Errorf("Run = %v, answered %q", err, rest)
	}
}

// TestListenerThatFails ends Run: the node must not go on without its entrance.
func TestListenerThatFails(t *testing.T) {
	srv, err := New(newWorld(t).config())
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	_ = l.Close() // that is the failure
	if err := srv.Run(t.Context(), []net.Listener{l}, nil); err == nil {
		t.Error("Run = nil on a closed listener")
	}
}

func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{33_000, 66_000} {
		b.Run(fmt.Sprintf("%dkB", size/1000), func(b *testing.B) {
			w := newWorld(b)
			w.forgetful = true
			g := w.start(func(c *Config) { c.Limits.PerPractice = 100 })
			octets := []byte(message(practice, "eAU;Lieferung;V1.2", size-500) + ".\r\n")
			envelope := []byte("MAIL FROM:<" + practice + "> SIZE=70000\r\nRCPT TO:<" + eauBox + "> NOTIFY=SUCCESS\r\nDATA\r\n")
			b.SetParallelism(8) // connections per processor
			b.SetBytes(int64(len(octets)))
			b.RunParallel(func(pb *testing.PB) {
				p := g.login(practice)
				_ = p.nc.SetDeadline(time.Time{}) // as long as the benchmark runs
				for pb.Next() {
					if _, err := p.nc.Write(envelope); err != nil {
						b.Error(err)
						return
					}
					for _, want := range []string{"250", "250", "354"} {
						p.want(want)
					}
					if _, err := p.nc.Write(octets); err != nil {
						b.Error(err)
						return
					}
					p.want("250 2.0.0")
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
			if s := g.srv.Stats(); s.Accepted != uint64(b.N) {
				b.Errorf("%d accepted of %d", s.Accepted, b.N)
			}
		})
	}
}

func TestDoorsOfOthersCostNothing(t *testing.T) {
	w := newWorld(t)
	w.closeDoors(two, querschott.Services()...)
	p := w.start(nil).ready(practice)
	p.do("DATA", "354")
	p.do(eau()+".", "250 2.0.0")
}
