package mail

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

func TestBodiesArriveUnchanged(t *testing.T) {
	head := message(practice, "eAU;Lieferung;V1.2", 1)
	for name, body := range map[string]string{
		"nothing":             "",
		"dots":                ".\r\n..\r\n.a\r\n...\r\n",
		"a line of 1 MiB":     strings.Repeat("x", 1<<20) + "\r\n",
		"lines at the buffer": strings.Repeat("y", maxLine-1) + "\r\n." + strings.Repeat("z", maxLine-2) + "\r\n.\r\n",
		"NUL":                 "a\x00b\r\n",
		"8 bit":               "Müller\r\n\xff\xfe\r\n",
		"bare line feeds":     "a\nb\n\nc\r\n",
		"bare returns":        "a\rb\r\r\n\r\r\n",
		"empty lines":         "\r\n\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.start(nil).ready(practice)
			p.do("DATA", "354")
			p.send(strings.ReplaceAll("\r\n"+head+body, "\r\n.", "\r\n..")[2:] + ".\r\n")
			p.want("250 2.0.0")
			if got := string(w.last().Body); got != head+body {
				t.Errorf("DATA: taken in %d bytes %.80q, want %d", len(got), got[min(len(head), len(got)):], len(head+body))
			}
			p.do("MAIL FROM:<"+practice+">", "250")
			p.do("RCPT TO:<"+eauBox+">", "250")
			all := head + body
			half := len(all) / 2
			p.send(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%sNOOP\r\n", half, all[:half], len(all)-half, all[half:]))
			for _, want := range []string{"250 2.0.0 done", "250 2.0.0 accepted", "250 2.0.0 done"} {
				p.want(want)
			}
			if got := string(w.last().Body); got != all {
				t.Errorf("BDAT: taken in %d bytes, want %d", len(got), len(all))
			}
		})
	}
}

// TestSmuggling sends, inside one message, every sequence that some server takes for its end, followed by commands for
// a second message. Nothing but CRLF "." CRLF may end a message, and a message with such a sequence is refused.
func TestSmuggling(t *testing.T) {
	second := "MAIL FROM:<" + practice + ">\r\nRCPT TO:<" + otherBox + ">\r\nDATA\r\n" + message(practice, "eAU;Lieferung;V1.2", 10)
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n.\r\r\n", "\r\n.\n\r\n", "\n\n.\r\n", "\r\n.\rx\r\n",
	} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			w := newWorld(t)
			p := w.start(nil).ready(practice)
			p.do("DATA", "354")
			p.send(eau() + "text" + end + second + ".\r\nNOOP\r\n")
			p.want("554 5.6.0")
			p.want("250 2.0.0 done")
			if got := w.got(); got != [3]int{} {
				t.Errorf("taken in, recorded, notified: %v", got)
			}
			p.do("MAIL FROM:<"+practice+">", "250") // the session goes on
		})
	}
}

func TestNULDoesNotHideAnEnd(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).ready(practice)
	p.do("DATA", "354")
	p.send(eau() + "\r\n\x00.\r\n.\x00\r\n.\r\n")
	p.want("250 2.0.0")
	if got := w.last().Body; !bytes.HasSuffix(got, []byte("\r\n\x00.\r\n\x00\r\n")) { // the second one's dot was stuffing
		t.Errorf("taken in: %q", got[len(got)-12:])
	}
}

// TestSenderDies breaks off in every place of a message and looks for anything that stayed behind.
func TestSenderDies(t *testing.T) {
	for name, said := range map[string]string{
		"DATA, before anything":      "DATA\r\n",
		"DATA, in a line":            "DATA\r\n" + eau()[:300],
		"DATA, before the last dot":  "DATA\r\n" + eau(),
		"DATA, after the last dot":   "DATA\r\n" + eau() + ".",
		"DATA, before the last LF":   "DATA\r\n" + eau() + ".\r",
		"BDAT, in the only chunk":    "BDAT 5000 LAST\r\n" + eau()[:300],
		"BDAT, between chunks":       "BDAT 300\r\n" + eau()[:300],
		"BDAT, in the last chunk":    "BDAT 300\r\n" + eau()[:300] + "BDAT 1000 LAST\r\n" + eau()[300:600],
		"BDAT, one octet is missing": fmt.Sprintf("BDAT %d LAST\r\n%s", len(eau())+1, eau()),
	} {
		for _, polite := range []bool{true, false} { // with TLS's goodbye, and without
			t.Run(fmt.Sprintf("%s, polite %v", name, polite), func(t *testing.T) {
				w := newWorld(t)
				g := w.start(nil)
				p := g.ready(practice)
				p.send(said)
				if polite {
					if err := p.nc.(*tls.Conn).CloseWrite(); err != nil {
						t.Fatal(err)
					}
				} else if err := p.nc.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				answers, _ := io.ReadAll(p.r) // until the server closes, in whichever way
				if strings.Contains(string(answers), "accepted") || strings.Contains(string(answers), "\r\n5") {
					t.Errorf("answered %q", answers)
				}
				if err := g.stop(); err != nil {
					t.Fatal(err)
				}
				if got := w.got(); got != [3]int{} {
					t.Errorf("taken in, recorded, notified: %v", got)
				}
				if s := g.srv.Stats(); s.Aborted != 1 || s.Sessions != 0 || !g.srv.memory.TryAcquire(g.srv.cfg.Limits.BodyMemory) {
					t.Errorf("stayed behind: %+v, or memory", s)
				}
			})
		}
	}
}

// TestSilenceInsideAMessage: the sender stops and comes back too late. What it sends then must not be read as commands.
func TestSilenceInsideAMessage(t *testing.T) {
	for name, begin := range map[string]string{"DATA": "DATA\r\n", "BDAT": "BDAT 9000 LAST\r\n"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.start(func(c *Config) { c.Limits.Block = 100 * time.Millisecond }).ready(practice)
			p.send(begin + eau())
			if name == "DATA" {
				p.want("354")
			}
			p.want("421 4.4.2")
			_, _ = p.nc.Write([]byte("\r\nMAIL FROM:<" + practice + ">\r\n")) // it may be refused already
			p.gone()
			if got := w.got(); got != [3]int{} {
				t.Errorf("taken in, recorded, notified: %v", got)
			}
		})
	}
}

func TestChunksOutOfOrder(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).login(practice)
	p.do("BDAT 6\r\nQUIT", "503 5.5.1") // the chunk is not a command
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("BDAT 6 LAST\r\nQUIT", "503 5.5.1")
	p.do("RCPT TO:<"+eauBox+">", "250")
	p.do("BDAT 6\r\nFrom", "250")
	p.do("DATA", "503 5.5.1")
	p.do("MAIL FROM:<"+practice+">", "503 5.5.1")
	p.do("RCPT TO:<"+eauBox+">", "503 5.5.1")
	p.do("RSET", "250")
	p.do("BDAT 6 LAST\r\nFrom", "503 5.5.1")
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("RCPT TO:<"+eauBox+">", "250")
	p.send(fmt.Sprintf("BDAT %d\r\n%s", len(eau()), eau()))
	p.want("250 2.0.0 done")
	p.do("BDAT 0 LAST", "250 2.0.0 accepted")
	if got := w.got(); got != [3]int{1, 1, 0} {
		t.Errorf("taken in, recorded, notified: %v", got)
	}
}

func TestTooLarge(t *testing.T) {
	for name, send := range map[string]func(p *peer, octets string){
		"DATA": func(p *peer, octets string) {
			p.do("DATA", "354")
			p.send(octets + ".\r\n")
		},
		"BDAT": func(p *peer, octets string) { p.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(octets), octets)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.start(func(c *Config) { c.Limits.MaxMail = 10_000 })
			p := g.ready(practice)
			send(p, message(practice, "eAU;Lieferung;V1.2", 20_000))
			p.want("552 5.3.4")
			p.do("MAIL FROM:<"+practice+">", "250")
			p.do("RCPT TO:<"+eauBox+">", "250")
			octets := message(practice, "eAU;Lieferung;V1.2", 5_000)
			send(p, octets+strings.Repeat("x", 10_000-2-len(octets))+"\r\n") // exactly the limit
			p.want("250 2.0.0")
			if got := w.got(); got != [3]int{1, 1, 0} {
				t.Errorf("taken in, recorded, notified: %v", got)
			}
			if !g.srv.memory.TryAcquire(g.srv.cfg.Limits.BodyMemory) {
				t.Error("memory was not given back")
			}
		})
	}
}

func TestChunkThatIsTooLargeToBeReadAway(t *testing.T) {
	p := newWorld(t).start(func(c *Config) { c.Limits.MaxMail = 1000 }).ready(practice)
	p.do("BDAT 9999999999 LAST", "552 5.3.4")
	p.gone()
}

// TestHugeMailTakesNoMemory sends 150 MB and looks at what the process allocated meanwhile.
func TestHugeMailTakesNoMemory(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil).ready(practice)
	p.do("DATA", "354")
	block := []byte(strings.Repeat(strings.Repeat("x", 9_998)+"\r\n", 100))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 150 {
		if _, err := p.nc.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	p.send(".\r\n")
	p.want("552 5.3.4")
	runtime.ReadMemStats(&after)
	// Growing to the limit by doubling allocates twice the limit of 30 MiB in all.
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 100 {
		t.Errorf("%d MiB were allocated in all", got)
	}
	p.do("NOOP", "250")
}

func TestMemoryOfAllBodiesIsBounded(t *testing.T) {
	const others = 1<<20 - 150_000 // what other messages take up
	w := newWorld(t)
	g := w.start(func(c *Config) { c.Limits.MaxMail, c.Limits.BodyMemory = 1<<20, 1<<20 })
	if !g.srv.memory.TryAcquire(others) {
		t.Fatal("a new server has no memory")
	}
	octets := message(practice, "eAU;Lieferung;V1.2", 200_000)
	p := g.ready(practice)
	p.do("DATA", "354")
	p.send(octets + ".\r\n")
	p.want("452 4.3.1")
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("RCPT TO:<"+eauBox+">", "250")
	p.do(fmt.Sprintf("BDAT %d\r\n%s", len(octets), octets[:len(octets)-2]), "452 4.3.1")
	p.do("BDAT 3 LAST\r\n.", "503 5.5.1") // one octet and the line end
	g.srv.memory.Release(others)
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("RCPT TO:<"+eauBox+">", "250")
	p.do("DATA", "354")
	p.do(octets+".", "250 2.0.0")
	if s := g.srv.Stats(); s.Transient[CauseMemory] != 2 || s.Accepted != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestDoors(t *testing.T) {
	for _, tc := range []struct {
		state querschott.DoorState
		want  string
	}{{querschott.Open, "250 2.0.0"}, {querschott.Hold, "250 2.0.0"}, {querschott.ReadOnly, "250 2.0.0"}, {querschott.Closed, "451 4.3.2"}} {
		t.Run(tc.state.String(), func(t *testing.T) {
			w := newWorld(t)
			g := w.start(nil)
			p := g.ready(practice)
			p.do("DATA", "354")
			p.send(eau())
			// The door moves while the message comes.
			w.set(func() {
				w.doors[querschott.Compartment{Insurer: one, Service: querschott.EAU}] = Door{State: tc.state, Incident: "V-2026-003"}
			})
			answer := p.do(".", tc.want)
			if tc.state.AcceptsMail() {
				return
			}
			for _, want := range []string{"V-2026-003", "https://status.querschott.test", "15 minutes"} {
				if !strings.Contains(answer, want) {
					t.Errorf("answered %q, want %q in it", answer, want)
				}
			}
			if got := w.got(); got != [3]int{} {
				t.Errorf("taken in, recorded, notified: %v", got)
			}
			// Another compartment of the same insurer is not touched.
			p.do("MAIL FROM:<"+practice+">", "250")
			p.do("RCPT TO:<"+eauBox+">", "250")
			p.do("DATA", "354")
			p.do(message(practice, "Arztbrief;VHitG-Versand;V1.2", 100)+".", "250 2.0.0")
		})
	}
}

func TestAllDoorsClosedIsSaidAtRCPT(t *testing.T) {
	w := newWorld(t)
	w.closeDoors(one, querschott.EAU, querschott.Letter, querschott.Mail)
	p := w.start(nil).login(practice)
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("RCPT TO:<"+eauBox+">", "451 4.3.2")
	p.do("RCPT TO:<"+otherBox+">", "250") // another insurer
	p.do("DATA", "354")
	p.do(eau()+".", "250 2.0.0")
	if got := w.last().Compartment.Insurer; got != two {
		t.Errorf("taken in for %s", got)
	}
}

// TestFailuresOfOurs: whatever fails behind the gate, before or after having done its work, is a transient answer.
func TestFailuresOfOurs(t *testing.T) {
	for _, tc := range []struct {
		step  string
		err   error
		want  string
		cause Cause
	}{
		{"append", errInjected, "451 4.3.0", CauseIntake},
		{"append", querschott.Refuse(querschott.CodeNoRoom, "full"), "452 4.3.1", CauseNoRoom},
		{"append", querschott.Refuse(querschott.CodeInvalid, "odd"), "451 4.3.0", CauseIntake},
		{"record", errInjected, "451 4.3.0", CauseLedger},
		{"notify", errInjected, "451 4.3.0", CauseOutbox},
		{"notify", querschott.Refuse(querschott.CodeTooLarge, "odd"), "451 4.3.0", CauseOutbox},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %v, late %v", tc.step, tc.err, late), func(t *testing.T) {
				w := newWorld(t)
				if late {
					w.after = onStep(tc.step, tc.err)
				} else {
					w.before = onStep(tc.step, tc.err)
				}
				g := w.start(nil)
				p := g.ready(practice)
				p.do("DATA", "354")
				p.do(eau()+".", tc.want)
				p.do("NOOP", "250")
				if s := g.srv.Stats(); s.Accepted != 0 || s.Transient[tc.cause] != 1 {
					t.Errorf("counted %+v", s)
				}
			})
		}
	}
}

func TestErrHaltStopsTheEntrance(t *testing.T) {
	w := newWorld(t)
	w.before = onStep("append", fmt.Errorf("the journal is not ours: %w", querschott.ErrHalt))
	g := w.start(nil)
	p := g.ready(practice)
	p.do("DATA", "354")
	p.do(eau()+".", "451 4.3.0")
	p.want("421 4.3.2")
	if err := g.stop(); !errors.Is(err, querschott.ErrHalt) {
		t.Errorf("Run = %v, want ErrHalt", err)
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	for _, step := range []string{"append", "record", "notify"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			g := w.start(nil)
			other := g.ready(practice)
			p := g.ready(practice)
			w.set(func() {
				w.before = func(s string) error {
					if s == step {
						panic("patient " + practice)
					}
					return nil
				}
			})
			p.do("DATA", "354")
			p.do(eau()+".", "4")
			w.set(func() { w.before = nil })
			other.do("DATA", "354")
			other.do(eau()+".", "250 2.0.0")
			if err := g.stop(); err != nil {
				t.Fatal(err)
			}
			if s := g.srv.Stats(); s.Panics != 1 || s.Accepted != 1 || !g.srv.memory.TryAcquire(g.srv.cfg.Limits.BodyMemory) {
				t.Errorf("counted %+v, or memory was not given back", s)
			}
			if strings.Contains(w.log.String(), "patient") {
				t.Error("the value of a panic is logged")
			}
		})
	}
}

func TestLogsNameNobody(t *testing.T) {
	w := newWorld(t)
	w.before = onStep("append", errInjected)
	g := w.start(nil)
	p := g.ready(practice)
	p.do("DATA", "354")
	p.do(eau()+".", "451")
	w.set(func() { w.sick = errInjected })
	p.do("MAIL FROM:<"+practice+">", "250")
	p.do("RCPT TO:<"+eauBox+">", "451")
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	log := w.log.String()
	if !strings.Contains(log, "reference=") || strings.Count(log, "\n") != 2 {
		t.Errorf("logged:\n%s\nwant two lines with references", log)
	}
	for _, secret := range []string{practice, eauBox, "KOM-LE", "4711", "127.0.0.1", password} {
		if strings.Contains(log, secret) {
			t.Errorf("%q stands in the log:\n%s", secret, log)
		}
	}
}
