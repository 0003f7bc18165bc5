package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/querschott/querschott/wire/zeta"
)

// h2 is a connection that speaks HTTP/2: one goroutine that keeps so many requests under way.
type h2 struct {
	conn    net.Conn
	l       *load
	take    func() (*loadCall, string, bool)
	out     bytes.Buffer // frames that are to be written
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder

	next    uint32 // stream
	streams map[uint32]*h2stream
	status  int // that the decoder has met
	unacked int // bytes for which the server was not given room again
	o       *outcome
}

type h2stream struct {
	call   *loadCall
	begin  time.Time
	status int
	bytes  int
}

// h2window is the room for answers.
const h2window = 1 << 24

func newH2(conn net.Conn, l *load, take func() (*loadCall, string, bool)) *h2 {
	h := &h2{conn: conn, l: l, take: take, next: 1, streams: map[uint32]*h2stream{}, o: &outcome{}}
	h.framer = http2.NewFramer(&h.out, conn)
	h.framer.SetReuseFrames()
	h.encoder = hpack.NewEncoder(&h.block)
	h.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			h.status, _ = strconv.Atoi(f.Value)
		}
	})
	return h
}

func (h *h2) flush() error {
	if h.out.Len() == 0 {
		return nil
	}
	_, err := h.conn.Write(h.out.Bytes())
	h.out.Reset()
	return err
}

// loop asks until there is nothing left to ask.
func (h *h2) loop() (*outcome, error) {
	defer func() { _ = h.conn.Close() }()
	h.out.WriteString(http2.ClientPreface)
	err := errors.Join(
		h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2window}, http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		h.framer.WriteWindowUpdate(0, h2window))
	for err == nil {
		for len(h.streams) < h.l.Streams && err == nil {
			call, proof, ok := h.take()
			if !ok {
				break
			}
			err = h.ask(call, proof)
		}
		if err == nil {
			err = h.flush()
		}
		if len(h.streams) == 0 || err != nil {
			break
		}
		err = h.read()
	}
	for _, s := range h.streams {
		h.o.group(s.call.Group).add(0, 0, 0, fmt.Errorf("the connection broke: %w", err))
	}
	return h.o, nil
}

func (h *h2) ask(c *loadCall, proof string) error {
	h.block.Reset()
	target := c.Path
	if c.Query != "" {
		target += "?" + c.Query
	}
	fields := [][2]string{
		{":method", "GET"},
		{":scheme", "https"},
		{":authority", strings.TrimPrefix(h.l.Base, "https://")},
		{":path", target},
		{"user-agent", "practice/1.0"},
		{"authorization", "DPoP " + h.l.Callers[c.Caller].Access},
		{strings.ToLower(zeta.HeaderDPoP), proof},
	}
	for name, value := range c.Header {
		fields = append(fields, [2]string{strings.ToLower(name), value})
	}
	for _, f := range fields {
		if err := h.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: len(f[1]) > 200}); err != nil {
			return err
		}
	}
	h.streams[h.next] = &h2stream{call: c, begin: time.Now()}
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: h.next, BlockFragment: h.block.Bytes(), EndStream: true, EndHeaders: true})
	h.next += 2
	return err
}

func (h *h2) read() error {
	f, err := h.framer.ReadFrame()
	if err != nil {
		return err
	}
	s := h.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return h.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return h.framer.WritePing(true, f.Data)
		}
	case *http2.HeadersFrame:
		if _, err := h.decoder.Write(f.HeaderBlockFragment()); err != nil || s == nil {
			return errors.Join(err, missing(s))
		}
		s.status = h.status
		h.done(f.StreamID, s, f.StreamEnded())
	case *http2.DataFrame:
		if s == nil {
			return missing(s)
		}
		s.bytes += len(f.Data())
		h.unacked += int(f.Length)
		h.done(f.StreamID, s, f.StreamEnded())
		if h.unacked > h2window/4 {
			n := uint32(h.unacked)
			h.unacked = 0
			return h.framer.WriteWindowUpdate(0, n)
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("a stream was reset: %s", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server leaves: %s", f.ErrCode)
	}
	return nil
}

func missing(s *h2stream) error {
	if s == nil {
		return errors.New("an answer that nobody has asked for")
	}
	return nil
}

func (h *h2) done(id uint32, s *h2stream, ended bool) {
	if !ended {
		return
	}
	h.o.group(s.call.Group).add(s.status, s.bytes, time.Since(s.begin), nil)
	delete(h.streams, id)
}
