package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Fault   Severity = "fault"   // the node cannot start, or promises are broken
	Warning Severity = "warning" // it works, and should not stay so
	Remark  Severity = "remark"  // worth knowing
)

// Finding is one thing that a check has found, with what to do.
type Finding struct {
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Fix      string   `json:"fix"`
}

type findings []Finding

func (f *findings) add(s Severity, fix, format string, args ...any) {
	*f = append(*f, Finding{Severity: s, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// Check examines the configuration and every file that it names, without starting or changing anything.
// ask gives the keyring's passphrase, if it has one; nil leaves the keyring unopened then.
func (c *Config) Check(now time.Time, ask func() ([]byte, error)) []Finding {
	var f findings
	c.checkLists(&f)
	c.checkKeys(&f, ask)
	if c.Mail.StartTLS != "" || c.Mail.TLS != "" {
		checkCertificate(&f, "mail", c.Mail.Certificate, c.Mail.Key, now)
	}
	if c.Console.Certificate != "" {
		checkCertificate(&f, "console", c.Console.Certificate, c.Console.Key, now)
	}
	c.checkOIDC(&f, now)
	c.checkHTTP(&f, now)
	c.checkAccounts(&f, now)
	c.checkOutbox(&f)
	c.checkDoors(&f, now)
	c.checkCopies(&f)
	if _, err := c.Watch.settings(); err != nil {
		f.add(Fault, "mend the file that 'watch' names", "the early warning cannot be set up: %v", err)
	}
	return f
}

func (c *Config) checkLists(f *findings) {
	insurers, err := LoadInsurers(c.Insurers)
	if err != nil {
		f.add(Fault, "correct the file, or restore it from a backup", "the list of insurers cannot be used: %v", err)
	} else if len(insurers) == 0 {
		f.add(Fault, "querschott insurer add IK --name NAME --address ADDRESS", "there is no insurer")
	}
	for _, in := range insurers {
		if len(in.Addresses) == 0 && slices.ContainsFunc(in.Services, querschott.Service.ByMail) {
			f.add(Warning, "add an address to "+c.Insurers, "insurer %s has no address and gets no mail", in.IK)
		}
	}
	operators, err := LoadOperators(c.Operators)
	if err != nil {
		f.add(Fault, "correct the file, or restore it from a backup", "the list of operators cannot be used: %v", err)
	} else if len(operators) < 2 {
		f.add(Warning, "querschott operator add NAME", "there are %d operators; opening a door takes two", len(operators))
	}
	private(f, c.Operators, "whoever can write it can open doors")
}

func (c *Config) checkKeys(f *findings, ask func() ([]byte, error)) {
	if err := c.checkSocket(); err != nil {
		f.add(Fault, "change data", "%v", err)
	}
	ring := filepath.Join(c.Data, "keyring.age")
	_, missing := os.Stat(ring)
	if missing != nil {
		f.add(Fault, "querschott init makes one; a lost keyring comes back only from a backup", "the keyring cannot be read: %v", missing)
	}
	if _, err := os.Stat(c.Keyring.Key); err != nil {
		f.add(Fault, "attach the medium that it lies on", "the keyring's key file cannot be read: %v", err)
		return
	}
	private(f, c.Keyring.Key, unlocksAll)
	if missing == nil {
		c.checkKeyring(f, ask)
	}
	if rel, err := filepath.Rel(c.Data, c.Keyring.Key); err == nil && filepath.IsLocal(rel) {
		f.add(Warning, "move it to another medium and change keyring.key", "the key file lies in the data directory: who copies the directory can read everything")
	}
}

const unlocksAll = "it unlocks every private key"

// checkKeyring opens the keyring as a start would, on a view of the disk that keeps changes to itself.
func (c *Config) checkKeyring(f *findings, ask func() ([]byte, error)) {
	if c.Keyring.Unlock == "passphrase" && ask == nil {
		f.add(Remark, "name a file with the passphrase in QUERSCHOTT_PASSPHRASE_FILE", "the keyring was not opened: it takes a passphrase")
		return
	}
	unlock := c.unlock(ask)
	if err := unlock.Check(); err != nil {
		fix := "put the key file in its place that was made with this keyring, or correct keyring.key and keyring.unlock"
		if c.Keyring.Unlock == "passphrase" {
			fix = "correct the file that QUERSCHOTT_PASSPHRASE_FILE names, or put the key file in its place that was made with this keyring"
		}
		f.add(Fault, fix, "the keyring cannot be unlocked: %v", err)
		return
	}
	if _, err := seal.OpenKeyring(disk.NewOverlay(), filepath.Join(c.Data, "keyring.age"), unlock); err != nil {
		f.add(Fault, "if "+c.Keyring.Key+" is the key file that was made with this keyring, the keyring is damaged: restore keyring.age and keyring.pub from a backup; else put the right one in its place",
			"the keyring cannot be opened: %v", err)
	}
}

// private finds files and directories that others can read or write.
func private(f *findings, file, why string) {
	st, err := os.Stat(file)
	if err != nil {
		return
	}
	if st.Mode().Perm()&0o077 != 0 {
		mode := "600"
		if st.IsDir() {
			mode = "700"
		}
		f.add(Warning, "chmod "+mode+" "+file, "%s can be read or written by others (%s)", file, why)
	}
}

func checkCertificate(f *findings, part, cert, key string, now time.Time) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		f.add(Fault, fmt.Sprintf("correct %s.certificate and %s.key", part, part), "the certificate of %s cannot be used: %v", part, err)
		return
	}
	private(f, key, "it is the private key of "+part)
	left := pair.Leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		f.add(Fault, "renew it", "the certificate of %s has expired on %s", part, pair.Leaf.NotAfter.Format(time.DateOnly))
	case left < 14*24*time.Hour:
		f.add(Warning, "renew it", "the certificate of %s expires on %s", part, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
}

func (c *Config) checkAccounts(f *findings, now time.Time) {
	acc, err := ident.OpenAccounts(disk.OS{}, c.Mail.Accounts, func() time.Time { return now })
	switch {
	case err != nil:
		f.add(Fault, "correct the file, or restore it from a backup", "the mail accounts cannot be used: %v", err)
	case len(acc.List()) == 0:
		f.add(Remark, "querschott account add ADDRESS", "there is no mail account: nobody can send")
	}
}

func (c *Config) checkOutbox(f *findings) {
	if c.Outbox.Relay == "" {
		f.add(Remark, "set outbox.relay", "there is no mail relay: delivery status notifications stay in local mailboxes")
	} else if _, err := c.relay(); err != nil {
		f.add(Fault, "correct outbox.relay_ca and outbox.password_file", "the mail relay cannot be used: %v", err)
	}
}

// leastRoom is what should be free for each copy: 54 hours at the busiest hour of 25 million insured, 65 kB each.
const leastRoom = 100 << 30

func (c *Config) checkCopies(f *findings) {
	devices := map[uint64]string{}
	for _, dir := range c.Intake.Copies {
		at := dir
		for at != "/" {
			if _, err := os.Stat(at); err == nil {
				break
			}
			at = filepath.Dir(at)
		}
		st, err := os.Stat(at)
		if err != nil {
			f.add(Fault, "make the directory", "the copy %s of the journal cannot be used: %v", dir, err)
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			if other, same := devices[uint64(sys.Dev)]; same {
				f.add(Warning, "put one of them on another disk or host", "the copies %s and %s of the journal lie on the same device", other, dir)
			}
			devices[uint64(sys.Dev)] = dir
		}
		if free, err := disk.Free(at); err == nil && free < int64(c.Intake.Segment)*3 {
			f.add(Fault, "free space", "there are only %d MiB free for the copy %s of the journal", free>>20, dir)
		} else if err == nil && free < leastRoom {
			f.add(Remark, "plan more room", "there are %d GiB free for the copy %s; 54 hours of 25 million insured persons need about %d GiB", free>>30, dir, leastRoom>>30)
		}
	}
	if len(c.Intake.Copies) < 2 {
		f.add(Warning, "name a second directory in intake.copies", "the journal has one copy: a broken disk loses accepted mail")
	}
}

// Doctor examines the configuration, the data directory and, if it runs, the node.
func (c *Config) Doctor(ctx context.Context, now time.Time, ask func() ([]byte, error)) []Finding {
	f := findings(c.Check(now, ask))
	c.checkFiles(&f)
	client := NewClient(c)
	s, err := client.Status(ctx)
	if errors.Is(err, ErrNotRunning) {
		f.add(Remark, "querschott serve", "the node is not running: what only a running node knows was not examined")
		return f
	}
	if err != nil {
		f.add(Fault, "see the node's log", "the node does not answer: %v", err)
		return f
	}
	for _, t := range s.Trouble {
		f.add(Fault, cmp.Or(t.Fix, "see the node's log"), "%s: %s", t.Where(), t.Text)
	}
	if s.Journal.Quarantined > 0 {
		f.add(Warning, "restore the segment from a backup or ask the senders", "%d accepted messages are damaged in every copy and were put aside", s.Journal.Quarantined)
	}
	if r, err := client.LedgerVerify(ctx); err != nil {
		f.add(Fault, "see the node's log", "the ledger could not be verified: %v", err)
	} else if len(r.Faults) > 0 {
		f.add(Fault, "treat it as an incident: keep the data directory, compare with the insurers' copies", "the ledger does not verify: %s", r.Faults[0])
	}
	return f
}

// checkFiles finds files that this program does not write.
func (c *Config) checkFiles(f *findings) {
	unknown, err := UnknownFiles(c.Data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.add(Fault, "check the rights of the directory", "the data directory cannot be read: %v", err)
	}
	for _, dir := range append([]string{c.Data, filepath.Join(c.Data, "ledger")}, c.Intake.Copies...) {
		if _, err := os.Stat(dir); err != nil {
			continue // not made yet
		}
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			f.add(Fault, "run this command and the node as its owner, or correct its rights", "%s cannot be written to: %v", dir, err)
		}
		private(f, dir, "what lies in it is the node's alone")
	}
	for _, name := range unknown {
		f.add(Warning, "find out who put it there; remove it", "%s is no file of this program", name)
	}
}
