package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/wire/zeta"
)

// load is what a process that makes load does. Connections are made, and in a closed loop proofs signed, before it is ready.
//
// With a Rate the loop is open: requests are due at fixed times whatever becomes of those before, and time counts from when a
// request was due, so that a server that stalls is not asked less. Proofs are signed a moment before they are due then.
type load struct {
	Base        string // how proofs name the entrance
	Address     string
	CA          string // file
	H2          bool
	Connections int
	Streams     int // requests at the same time on each connection with HTTP/2
	Count       int
	Rate        float64       // requests a second; 0: a closed loop
	Phase       time.Duration // an open loop in phases: its answers are counted for each ([phaseOf]); 0: none
	Asks        []bool        // in which phases it asks
	Nice        int           // below 0: before other processes, as who measures shall not wait for whom he measures
	Reuse       bool          // a proof may come more than once: nobody looks at it
	Fresh       bool          // each request has a connection of its own
	Nonce       string
	Callers     []loadCaller
	Calls       []loadCall // asked in turn
	Tunnels     []loadCall // WebSockets that are open all the time; each sends a message a second

	keys []*ecdsa.PrivateKey
	pool *x509.CertPool
}

// loadCaller is a practice.
type loadCaller struct {
	Key    []byte // SEC 1
	Access string
}

// loadCall is one kind of request.
type loadCall struct {
	Caller int // index
	Path   string
	Query  string
	Header map[string]string
	Group  string // its answers are counted together

	head []byte // of the request, without the proof
}

// outcome is what came of a load.
type outcome struct {
	Elapsed time.Duration
	CPU     time.Duration // of the process that made it
	Groups  map[string]*tally
}

// tally is what came of a group of requests.
type tally struct {
	Count   int
	Status  map[int]int
	Broken  int // connections that broke
	Trouble string
	Bytes   int64
	Took    []uint32 // µs
}

// tunnelGroup has the echoes of WebSockets.
const tunnelGroup = "tunnels"

func (t *tally) add(status int, bytes int, took time.Duration, err error) {
	t.Count++
	if err != nil {
		t.Broken++
		t.Trouble = err.Error()
		return
	}
	if t.Status == nil {
		t.Status = map[int]int{}
	}
	t.Status[status]++
	t.Bytes += int64(bytes)
	t.Took = append(t.Took, uint32(took.Microseconds()))
}

func (o *outcome) add(from *outcome) {
	for name, t := range from.Groups {
		to := o.group(name)
		to.Count, to.Broken, to.Bytes = to.Count+t.Count, to.Broken+t.Broken, to.Bytes+t.Bytes
		to.Took = append(to.Took, t.Took...)
		if t.Trouble != "" {
			to.Trouble = t.Trouble
		}
		for status, n := range t.Status {
			if to.Status == nil {
				to.Status = map[int]int{}
			}
			to.Status[status] += n
		}
	}
}

func (o *outcome) group(name string) *tally {
	if o.Groups == nil {
		o.Groups = map[string]*tally{}
	}
	t := o.Groups[name]
	if t == nil {
		t = &tally{}
		o.Groups[name] = t
	}
	return t
}

// failures counts the answers of a group that are not 200.
func (t *tally) failures() int { return t.Count - t.Status[http.StatusOK] }

// quantile returns how long the fastest such part took. It sorts.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.Took) == 0 {
		return 0
	}
	slices.Sort(t.Took)
	return time.Duration(t.Took[int(float64(len(t.Took)-1)*q)]) * time.Microsecond
}

func (t *tally) mean() time.Duration {
	sum := 0.0
	for _, v := range t.Took {
		sum += float64(v)
	}
	return time.Duration(sum/float64(max(len(t.Took), 1))) * time.Microsecond
}

func (l *load) run(in *bufio.Reader) error {
	if err := l.prepare(); err != nil {
		return err
	}
	if err := nice(l.Nice); err != nil {
		return err
	}
	drive := l.closed
	if l.Rate > 0 {
		drive = l.open
	}
	begin, err := drive()
	if err != nil {
		return err
	}
	if err := say(peerReady, true); err != nil {
		return err
	}
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	used, err := usedSelf()
	if err != nil {
		return err
	}
	at := time.Now()
	o, err := begin()
	if err != nil {
		return err
	}
	o.Elapsed = time.Since(at)
	o.CPU = -used
	if used, err = usedSelf(); err != nil {
		return err
	}
	o.CPU += used
	return say(peerDone, o)
}

// nice gives this process its place among others: that of all its threads, from which later ones have it.
func nice(n int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if n == 0 || err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, n); err != nil {
			return fmt.Errorf("only root can put this process before others: %w", err)
		}
	}
	return nil
}

// prepare reads keys and writes the heads of requests.
func (l *load) prepare() error {
	pem, err := os.ReadFile(l.CA)
	if err != nil {
		return err
	}
	if l.pool = x509.NewCertPool(); !l.pool.AppendCertsFromPEM(pem) {
		return errors.New("no certificate of a CA")
	}
	for _, c := range l.Callers {
		key, err := x509.ParseECPrivateKey(c.Key)
		if err != nil {
			return err
		}
		l.keys = append(l.keys, key)
	}
	for _, calls := range [][]loadCall{l.Calls, l.Tunnels} {
		for i := range calls {
			c := &calls[i]
			target := c.Path
			if c.Query != "" {
				target += "?" + c.Query
			}
			var b bytes.Buffer
			fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: practice/1.0\r\nAuthorization: DPoP %s\r\n",
				target, strings.TrimPrefix(l.Base, "https://"), l.Callers[c.Caller].Access)
			for name, value := range c.Header {
				fmt.Fprintf(&b, "%s: %s\r\n", name, value)
			}
			b.WriteString(zeta.HeaderDPoP + ": ")
			c.head = b.Bytes()
		}
	}
	return nil
}

func (l *load) sign(c *loadCall) (string, error) {
	return drill.Proof(l.keys[c.Caller], http.MethodGet, l.Base+c.Path, l.Callers[c.Caller].Access, l.Nonce, time.Now())
}

// signed makes the proofs of n requests.
func (l *load) signed(n int) ([]string, error) {
	list := make([]string, n)
	var next atomic.Int64
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				var err error
				if list[i], err = l.sign(&l.Calls[i%len(l.Calls)]); err != nil {
					return err
				}
			}
		})
	}
	return list, g.Wait()
}

// dial connects from a network of its own, as practices do.
func (l *load) dial(i int) (*tls.Conn, error) {
	d := &tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/200), byte(1+i%200))}, Timeout: 10 * time.Second},
		Config:    &tls.Config{RootCAs: l.pool, ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
	}
	if l.H2 {
		d.Config.NextProtos = []string{"h2"}
	}
	conn, err := d.DialContext(context.Background(), "tcp", l.Address)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// closed is a loop in which each connection asks again as soon as it has its answer.
func (l *load) closed() (func() (*outcome, error), error) {
	n := l.Count
	if l.Reuse {
		n = min(n, len(l.Calls))
	}
	proofs, err := l.signed(n)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	take := func() (*loadCall, string, bool) {
		i := int(next.Add(1)) - 1
		return &l.Calls[i%len(l.Calls)], proofs[i%n], i < l.Count
	}
	var loops []func() (*outcome, error)
	for i := range l.Connections {
		if l.Fresh {
			loops = append(loops, func() (*outcome, error) { return l.fresh(i, take), nil })
			continue
		}
		conn, err := l.dial(i)
		if err != nil {
			return nil, err
		}
		if l.H2 {
			loops = append(loops, newH2(conn, l, take).loop)
			continue
		}
		loops = append(loops, func() (*outcome, error) { return loopH1(conn, take) })
	}
	return func() (*outcome, error) { return together(loops) }, nil
}

func together(loops []func() (*outcome, error)) (*outcome, error) {
	all := &outcome{}
	var mu sync.Mutex // guards all
	var g errgroup.Group
	for _, loop := range loops {
		g.Go(func() error {
			o, err := loop()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(o)
			return nil
		})
	}
	return all, g.Wait()
}

func loopH1(conn net.Conn, take func() (*loadCall, string, bool)) (*outcome, error) {
	h := &h1{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
	defer func() { _ = conn.Close() }()
	o := &outcome{}
	for {
		c, proof, ok := take()
		if !ok {
			return o, nil
		}
		begin := time.Now()
		status, n, err := h.ask(c, proof)
		o.group(c.Group).add(status, n, time.Since(begin), err)
		if err != nil {
			return o, nil
		}
	}
}

// fresh asks on a connection of its own each time, as practices do that ask every few minutes.
func (l *load) fresh(i int, take func() (*loadCall, string, bool)) *outcome {
	o := &outcome{}
	for {
		c, proof, ok := take()
		if !ok {
			return o
		}
		begin := time.Now()
		status, n, err := l.once(i, c, proof)
		o.group(c.Group).add(status, n, time.Since(begin), err)
	}
}

func (l *load) once(i int, c *loadCall, proof string) (status, n int, err error) {
	conn, err := l.dial(i)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }()
	h := &h1{conn: conn, r: bufio.NewReader(conn)}
	return h.ask(c, proof)
}

// due is a request of an open loop.
type due struct {
	call  *loadCall
	group string
	proof string
	at    time.Time
}

// open is a loop in which requests are due at fixed times.
func (l *load) open() (func() (*outcome, error), error) {
	queue := make(chan due, l.Count)
	var loops []func() (*outcome, error)
	for i := range l.Connections {
		conn, err := l.dial(i)
		if err != nil {
			return nil, err
		}
		loops = append(loops, func() (*outcome, error) { return l.answer(i, conn, queue), nil })
	}
	ended := make(chan struct{})
	for i := range l.Tunnels {
		t, err := l.tunnel(i)
		if err != nil {
			return nil, err
		}
		loops = append(loops, func() (*outcome, error) { return t.echoes(ended), nil })
	}
	loops = append(loops, func() (*outcome, error) {
		defer close(ended)
		return &outcome{}, l.ask(queue)
	})
	return func() (*outcome, error) { return together(loops) }, nil
}

// ask puts requests into the queue when they are due.
func (l *load) ask(queue chan<- due) error {
	defer close(queue)
	timer := time.NewTimer(0)
	defer timer.Stop()
	ahead := make(chan due, int(l.Rate/4)+1)
	var g errgroup.Group
	begin := time.Now().Add(500 * time.Millisecond)
	g.Go(func() error {
		defer close(ahead)
		for i := range l.Count {
			c := &l.Calls[i%len(l.Calls)]
			at, group, asked := l.when(i)
			if !asked {
				continue
			}
			proof, err := l.sign(c)
			if err != nil {
				return err
			}
			ahead <- due{c, group, proof, begin.Add(at)}
		}
		return nil
	})
	for d := range ahead {
		if wait := time.Until(d.at); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		queue <- d
	}
	return g.Wait()
}

// answer asks what is due on one connection, which is made anew when it breaks.
func (l *load) answer(i int, conn net.Conn, queue <-chan due) *outcome {
	o := &outcome{}
	h := &h1{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
	defer func() { _ = h.conn.Close() }()
	for d := range queue {
		status, n, err := h.ask(d.call, d.proof)
		o.group(d.group).add(status, n, time.Since(d.at), err)
		if err == nil && !h.over {
			continue
		}
		_ = h.conn.Close()
		again, err := l.dial(i)
		if err != nil {
			o.group(d.group).add(0, 0, 0, err)
			return o
		}
		h = &h1{conn: again, r: bufio.NewReaderSize(again, 16<<10)}
	}
	return o
}

// h1 is a connection that speaks HTTP/1.1, with no more work than needed: the machine is the server's.
type h1 struct {
	conn net.Conn
	r    *bufio.Reader
	out  []byte
	over bool // the server ends the connection
}

func (h *h1) ask(c *loadCall, proof string) (status, n int, err error) {
	h.out = append(append(append(h.out[:0], c.head...), proof...), "\r\n\r\n"...)
	if _, err := h.conn.Write(h.out); err != nil {
		return 0, 0, err
	}
	return h.read()
}

// read reads an answer that says how long it is, or comes in chunks.
func (h *h1) read() (status, n int, err error) {
	line, err := h.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, errors.New("not an answer")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	size := -1
	for {
		if line, err = h.r.ReadSlice('\n'); err != nil {
			return status, 0, err
		}
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch {
		case len(name) == 0:
			if status == http.StatusNotModified || status == http.StatusNoContent || status == http.StatusSwitchingProtocols {
				return status, 0, nil
			}
			if size < 0 {
				return status, 0, errors.New("the answer has no length")
			}
			n, err = h.r.Discard(size)
			return status, n, err
		case !ok:
			return status, 0, errors.New("not a header")
		case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
			if size, err = strconv.Atoi(string(value)); err != nil {
				return status, 0, err
			}
		case len(name) == 10 && bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			h.over = true
		}
	}
}

// webSocket is an open tunnel.
type webSocket struct {
	h     *h1
	first time.Duration // until its first message
}

// tunnel opens the i-th tunnel.
func (l *load) tunnel(i int) (*webSocket, error) {
	conn, err := l.dial(l.Connections + i)
	if err != nil {
		return nil, err
	}
	c := &l.Tunnels[i]
	proof, err := l.sign(c)
	if err != nil {
		return nil, err
	}
	h := &h1{conn: conn, r: bufio.NewReader(conn)}
	status, _, err := h.ask(c, proof)
	if err == nil && status != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the tunnel was answered with %d", status)
	}
	return &webSocket{h, time.Second * time.Duration(i) / time.Duration(len(l.Tunnels))}, err
}

// echoes sends a message a second, and measures until it is back.
func (w *webSocket) echoes(ended <-chan struct{}) *outcome {
	o := &outcome{}
	defer func() { _ = w.h.conn.Close() }()
	message := append([]byte{0x82, 0x80 | 60, 0, 0, 0, 0}, make([]byte, 60)...) // a binary frame, masked with zeros
	back := make([]byte, len(message))
	timer := time.NewTimer(w.first)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return o
		case <-timer.C:
		}
		begin := time.Now()
		_, err := w.h.conn.Write(message)
		if err == nil {
			_, err = io.ReadFull(w.h.r, back)
		}
		o.group(tunnelGroup).add(http.StatusOK, len(back), time.Since(begin), err)
		if err != nil {
			return o
		}
		timer.Reset(time.Second)
	}
}
