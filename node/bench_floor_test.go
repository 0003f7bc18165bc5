package node

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/querschott/querschott/drill"
)

// floor takes messages over TLS and answers when they are synced in two files.
type floor struct {
	b    *testing.B
	h    *house
	l    net.Listener
	jobs chan floorJob
}

type floorJob struct {
	body []byte
	done chan struct{}
}

func newFloor(b *testing.B, h *house) *floor {
	pair, err := tls.LoadX509KeyPair(h.cfg.Mail.Certificate, h.cfg.Mail.Key)
	if err != nil {
		b.Fatal(err)
	}
	f := &floor{b: b, h: h, jobs: make(chan floorJob, 64)}
	if f.l, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(f.write)
	wg.Go(func() {
		for {
			conn, err := f.l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	})
	b.Cleanup(func() {
		_ = f.l.Close()
		close(f.jobs)
		wg.Wait()
	})
	return f
}

func (f *floor) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var size uint32
	for binary.Read(conn, binary.BigEndian, &size) == nil {
		job := floorJob{body: make([]byte, size), done: make(chan struct{})}
		if _, err := io.ReadFull(conn, job.body); err != nil {
			return
		}
		f.jobs <- job
		<-job.done
		if _, err := conn.Write([]byte{1}); err != nil {
			return
		}
	}
}

// write commits in groups: whatever has come meanwhile.
func (f *floor) write() {
	var files []*os.File
	for _, name := range []string{"a", "b"} {
		file, err := os.Create(filepath.Join(f.h.dir, name))
		if err != nil {
			f.b.Error(err)
			return
		}
		files = append(files, file)
	}
	for job := range f.jobs {
		group := []floorJob{job}
		for len(f.jobs) > 0 {
			group = append(group, <-f.jobs)
		}
		for _, file := range files {
			var err error
			for _, j := range group {
				_, werr := file.Write(j.body)
				err = errors.Join(err, werr)
			}
			if err = errors.Join(err, file.Sync()); err != nil {
				f.b.Error(err)
			}
		}
		for _, j := range group {
			close(j.done)
		}
	}
}

func (f *floor) client() func(*drill.Mail) error {
	conn, err := tls.Dial("tcp", f.l.Addr().String(), f.h.clientTLS())
	if err != nil {
		f.b.Fatal(err)
	}
	f.b.Cleanup(func() { _ = conn.Close() })
	return func(m *drill.Mail) error {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(m.Body))), m.Body...)); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
}
