package outbox

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/cell"
)

func TestLayout(t *testing.T) {
	m := Mail{ID: "i", From: "f@x", To: "t@y", Body: []byte("body"), Created: time.UnixMicro(0x0102030405060708)}
	if got, want := encodeMail(m), "\x01\x01\x02\x03\x04\x05\x06\x07\x08\x01i\x03f@x\x03t@ybody"; string(got) != want {
		t.Errorf("mail: %q, want %q", got, want)
	}
	j := job{lane: laneID{1}, at: 2, ref: ref{3}, size: 4, attempts: 5}
	got, err := parseDue(j.key(), j.value())
	if err != nil || got != j {
		t.Errorf("due: %+v, %v", got, err)
	}
	if string(j.key()[:2]) != "od" || string(j.value()) != "\x00\x00\x00\x04\x00\x00\x00\x05" {
		t.Errorf("due: %q %q", j.key(), j.value())
	}
	earlier, later := dueKey(laneID{1}, 0xff, lastRef), dueKey(laneID{1}, 0x100, ref{})
	if bytes.Compare(earlier, later) >= 0 {
		t.Error("keys of what is due are not in the order of time")
	}
	if laneOf("a@B.example") != laneOf("x@y@b.EXAMPLE") || boxOf("A@b") != boxOf("a@B") || boxOf("a@b") == boxOf("b@b") {
		t.Error("addresses are to be compared without case")
	}
}

func TestRef(t *testing.T) {
	at := time.UnixMicro(1800000000123456)
	r := newRef(at, hashID("x"))
	back, ok := parseRef(r.String())
	if !ok || back != r || !r.time().Equal(at) || len(r.String()) != 48 {
		t.Errorf("%v, %v, %v", back, ok, r.time())
	}
	if before := newRef(time.Unix(-5, 0), hashID("x")); !before.time().Equal(time.Unix(0, 0)) {
		t.Errorf("a time before 1970: %v", before.time())
	}
}

func FuzzRecords(f *testing.F) {
	m := letter("seed", practice)
	f.Add(encodeMail(m))
	f.Add(encodeRefusal(refusal{envelope: m, size: 1, attempts: 2, code: 550, at: time.Unix(1, 0), reason: "no"}))
	f.Add(dueKey(laneID{1}, 5, ref{9}))
	f.Add(queuedMark(ref{1}))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMail(b); err == nil {
			again, err := decodeMail(encodeMail(m))
			if err != nil || cmp.Diff(m, again) != "" {
				t.Errorf("mail %+v came back as %+v, %v", m, again, err)
			}
		}
		if r, err := decodeRefusal(b); err == nil {
			again, err := decodeRefusal(encodeRefusal(r))
			if err != nil || cmp.Diff(r, again, cmp.AllowUnexported(refusal{})) != "" {
				t.Errorf("refusal %+v came back as %+v, %v", r, again, err)
			}
		}
		if j, err := parseDue(b, []byte("12345678")); err == nil {
			if _, k, _, err := cell.ParseKey(b); err != nil || !bytes.Equal(j.key()[2:], b[2:]) {
				t.Errorf("due key %q (kind %c, %v) came back as %q", b, k, err, j.key())
			}
		}
		if r, queued, err := parseSeen(b); err == nil && queued && !bytes.Equal(queuedMark(r), b) {
			t.Errorf("mark %q came back as %q", b, queuedMark(r))
		}
	})
}
