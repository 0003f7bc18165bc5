//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/kim"
)

// postfix is a real mail transfer agent of its own: a configuration, a queue and a log in private directories. It plays
// the foreign KIM-Fachdienst: it takes the practices' mail, sends it through our entrance, and takes the notifications.
type postfix struct {
	dir   string // configuration and log
	boxes string // one Maildir per sender
	at    string // where it takes mail
}

// postfixMain is main.cf: everything goes to our entrance, except mail to the practices' domain, which is delivered here.
// Deferred mail is tried again after one to four seconds, so that the test sees many tries.
const postfixMain = `
compatibility_level = 3.6
maillog_file = /dev/stdout
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s
mail_owner = postfix
setgid_group = postdrop
myhostname = fachdienst.praxis.kim.telematik-test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
message_size_limit = 41943040
relayhost = [127.0.0.1]:%[3]s
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = %[5]s
smtp_tls_CAfile = %[4]s/ca.crt
smtp_tls_session_cache_database = btree:%[1]s/data/smtp_scache
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:%[1]s/sasl
smtp_sasl_security_options = noanonymous
smtp_tls_connection_reuse = yes
smtp_connection_reuse_time_limit = 300s
smtp_destination_concurrency_limit = 16
smtp_destination_concurrency_negative_feedback = 0
smtp_initial_destination_concurrency = 16
default_process_limit = 40
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 4s
maximal_queue_lifetime = 1h
virtual_mailbox_domains = praxis.kim.telematik-test
virtual_mailbox_base = %[6]s
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:%[7]s
virtual_gid_maps = static:%[8]s
virtual_minimum_uid = 1
enable_long_queue_ids = yes
`

const postfixMaster = `
127.0.0.1:%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs Postfix with our entrance as its relay. The queue lies in memory where that is possible: what is
// measured is not its disk.
func startPostfix(t *testing.T, i *installation, port string, entrance, user, password string) *postfix {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "Postfix starts as root only")
	}
	program := need(t, "postfix")
	base := ""
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "querschott-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // best effort: it is a temporary directory
	p := &postfix{dir: dir, boxes: filepath.Join(dir, "mail"), at: "127.0.0.1:" + port}
	_, relay, err := net.SplitHostPort(entrance)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := postfixUser(t)
	daemons := strings.TrimSpace(output(t, "postconf", "-d", "-h", "daemon_directory"))
	write(t, filepath.Join(dir, "main.cf"), fmt.Sprintf(postfixMain, dir, daemons, relay, i.dir, hostname, p.boxes, uid, gid))
	write(t, filepath.Join(dir, "master.cf"), fmt.Sprintf(postfixMaster, port))
	write(t, filepath.Join(dir, "sasl"), fmt.Sprintf("[127.0.0.1]:%s %s:%s\n", relay, user, password))
	for _, d := range []string{"queue", "data", "mail"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := strconv.Atoi(uid)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"data", "mail"} {
		if err := os.Chown(filepath.Join(dir, d), owner, -1); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{dir, filepath.Join(dir, "main.cf"), filepath.Join(dir, "master.cf")} {
		if err := os.Chmod(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t, program)
	return p
}

// run starts the master in the foreground and stops it at the end of the test.
func (p *postfix) run(t *testing.T, program string) {
	t.Helper()
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", p.dir, "start-fg")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(program, "-c", p.dir, "stop").CombinedOutput(); err != nil {
			t.Errorf("Postfix did not stop: %v\n%s", err, out)
		}
		_ = cmd.Wait() // it ends with the status of a stopped master
		if t.Failed() {
			t.Logf("the end of Postfix's log:\n%s", tail(p.log(t), 3<<10))
		}
		_ = log.Close() // nothing of it is needed any more
	})
	eventually(t, "Postfix takes mail", func() bool {
		conn, err := net.Dial("tcp", p.at)
		return err == nil && conn.Close() == nil
	})
}

func (p *postfix) log(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// queued counts the mails in Postfix's queue.
func (p *postfix) queued(t *testing.T) int {
	t.Helper()
	n := 0
	for _, q := range []string{"maildrop", "incoming", "active", "deferred", "hold", "corrupt"} {
		err := filepath.WalkDir(filepath.Join(p.dir, "queue", q), func(_ string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil // it moved on meanwhile
			}
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), need(t, program), args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return string(out)
}

func postfixUser(t *testing.T) (uid, gid string) {
	t.Helper()
	return strings.TrimSpace(output(t, "id", "-u", "postfix")), strings.TrimSpace(output(t, "id", "-g", "postfix"))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freePort finds a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// posted is one mail given to Postfix.
type posted struct {
	drill.Mail
	person querschott.KVNR
}

// TestPostfix has a real Postfix send thousands of sick notes through the entrance while doors flip at random between
// all states. Every one of them is delivered exactly once, none is refused for good, and each sender gets exactly one
// positive notification, which Postfix takes too. QUERSCHOTT_POSTFIX_MAILS sets how many; 10,000 unless told. So many are
// for the program as it is shipped; the race detector sees a twentieth.
func TestPostfix(t *testing.T) {
	t.Parallel()
	count := 10_000
	if text := os.Getenv("QUERSCHOTT_POSTFIX_MAILS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("volume", func(t *testing.T) { relayed(t, plain, count) })
	t.Run("race detector", func(t *testing.T) { relayed(t, "querschott", count/20) })
}

func relayed(t *testing.T, program string, count int) {
	need(t, "postfix")
	const relay = "fachdienst@praxis.kim.telematik-test"
	i := install(t, 8)
	i.program = program
	password, port := i.account(t, relay, "--relay"), freePort(t)
	i.set(t, map[string]string{"outbox.relay": "127.0.0.1:" + port, "outbox.relay_tls": "none"})
	node, at := i.serve(t)
	i.openAll(t)
	p := startPostfix(t, i, port, at.StartTLS, relay, password)

	begun := time.Now()
	flipping, stopFlipping := context.WithCancel(t.Context())
	defer stopFlipping()
	var doors []querschott.Compartment
	for _, in := range i.world.Insurers() {
		doors = append(doors, querschott.Compartment{Insurer: in.IK, Service: querschott.EAU})
	}
	seed := uint64(begun.UnixNano())
	flipper := &drill.Flipper{Doors: doors, Every: 100 * time.Millisecond, Set: i.mover(t)}
	flipper.Seed(seed)
	t.Logf("seed %d", seed)
	moved := make(chan int, 1)
	var g errgroup.Group
	g.Go(func() error {
		n, err := flipper.Run(flipping, 0)
		moved <- n
		return err
	})
	mails := post(t, i, p, count)
	injected := time.Since(begun)
	client := i.client(t)
	eventually(t, "a third of the mail is accepted while the doors flip", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Mail.Accepted >= uint64(count/3)
	})
	stopFlipping()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := flipper.Restore(t.Context(), querschott.Open); err != nil {
		t.Fatal(err)
	}
	awaitPostfix(t, p, client, count)
	took := time.Since(begun)
	st, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d mails in %.1f s (%.0f/s), given to Postfix within %.1f s; %d door moves; refused for now: %v", count, took.Seconds(),
		float64(count)/took.Seconds(), injected.Seconds(), <-moved, st.Mail.Transient)
	if len(st.Mail.Permanent) > 0 {
		t.Errorf("refused for good: %v", st.Mail.Permanent)
	}
	for _, word := range []string{"status=bounced", "status=expired", "fatal:", "panic:"} {
		if log := p.log(t); strings.Contains(log, word) {
			at := strings.Index(log, word)
			t.Errorf("Postfix's log says %s: %s", word, log[max(0, at-300):min(len(log), at+200)])
		}
	}
	node.stop(t)
	checkDelivered(t, i, doors, mails)
	checkReports(t, p, mails)
}

// post gives Postfix the mails of many practices over several connections.
func post(t *testing.T, i *installation, p *postfix, count int) []posted {
	t.Helper()
	mails := make([]posted, count)
	var next atomic.Int64
	var g errgroup.Group
	for n := range 8 {
		rng := rand.New(rand.NewPCG(11, uint64(n)))
		g.Go(func() error {
			c, err := dial(t.Context(), p.at, nil, "", "")
			if err != nil {
				return err
			}
			defer c.hangUp()
			for k := int(next.Add(1)) - 1; k < count; k = int(next.Add(1)) - 1 {
				about := i.world.Person(rng.IntN(i.world.Persons()))
				practice := i.world.Practices()[rng.IntN(len(i.world.Practices()))]
				m, err := practice.SickNote(about, time.Now())
				if err != nil {
					return err
				}
				if _, err := c.deliver(string(m.From), string(m.To), m.Body); err != nil {
					return err
				}
				m.Body = nil // only its name is needed from here on
				mails[k] = posted{m, about.Number}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("Postfix does not take a mail: %v", err)
	}
	return mails
}

// stalled is how long a compartment whose door is open may deliver nothing of what waits.
const stalled = 90 * time.Second

// awaitPostfix waits until every mail has arrived, is delivered, and its notification is with Postfix. All doors are open.
func awaitPostfix(t *testing.T, p *postfix, client *node.Client, count int) {
	t.Helper()
	type head struct {
		oldest int64
		since  time.Time
	}
	heads := map[querschott.Compartment]head{}
	eventually(t, "every mail and every notification has arrived", func() bool {
		spool, err := client.Spool(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range spool.Backlogs {
			if h := heads[b.Compartment]; h.oldest != b.OldestUS {
				heads[b.Compartment] = head{b.OldestUS, time.Now()}
			} else if time.Since(h.since) > stalled {
				t.Fatalf("the door of %s is open, %d messages wait, and none was delivered for %s", b.Compartment, b.Messages, stalled)
			}
		}
		s, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Mail.Accepted >= uint64(count) && s.Mail.Waiting == 0 && s.Mail.Outgoing == 0 && p.queued(t) == 0
	})
}

// checkDelivered opens the cells: each mail is there once, and nothing else is.
func checkDelivered(t *testing.T, i *installation, cs []querschott.Compartment, mails []posted) {
	t.Helper()
	v := openVaults(t, i.load(t), cs...)
	defer v.close(t)
	type letterbox struct {
		c querschott.Compartment
		p querschott.KVNR
	}
	boxes := map[letterbox]map[string]int{}
	for _, m := range mails {
		box := letterbox{m.Compartment, m.person}
		if boxes[box] == nil {
			boxes[box] = map[string]int{}
		}
		boxes[box][m.MessageID]++
	}
	wrong := 0
	for box, want := range boxes {
		for _, s := range v.person(t, box.c, box.p) {
			want["<"+s.MessageID+">"]--
			if !taken(s.Result) || len(s.Findings) > 0 {
				wrong++
				t.Logf("%s is kept as %s, %v", s.Document, s.Result, s.Findings)
			}
		}
		for id, left := range want {
			if left != 0 {
				wrong++
				t.Logf("%s should have been delivered once more %d times", id, left)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d mails are not delivered exactly once", wrong)
	}
}

// checkReports reads the notifications that Postfix delivered: one for each mail.
func checkReports(t *testing.T, p *postfix, mails []posted) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.boxes, "box", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, m := range mails {
		want[m.MessageID]++
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kim.ParseReport(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")))
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, body)
		}
		if len(r.Recipients) != 1 || r.Recipients[0].Action != "delivered" || r.ReportingMTA != hostname {
			t.Fatalf("not a positive notification of ours: %+v", r)
		}
		want[r.InReplyTo]--
	}
	wrong := 0
	for id, left := range want {
		if left != 0 {
			wrong++
			t.Logf("%d notifications too few for %s", left, id)
		}
	}
	if wrong > 0 || len(files) != len(mails) {
		t.Errorf("%d notifications for %d mails; %d mails have not exactly one", len(files), len(mails), wrong)
	}
}
