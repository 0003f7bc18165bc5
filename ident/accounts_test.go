package ident

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

const practice = "praxis.mueller@arzt.kim.telematik-test"

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func openAccounts(t *testing.T, fs disk.FS) *Accounts {
	t.Helper()
	a, err := OpenAccounts(fs, "accounts.json", newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func add(t *testing.T, a *Accounts, address string, role querschott.Role) string {
	t.Helper()
	password, err := a.Add(address, role)
	if err != nil {
		t.Fatal(err)
	}
	return password
}

func TestAuthenticate(t *testing.T) {
	a := openAccounts(t, crashdisk.New())
	password := add(t, a, practice, querschott.RolePractice)
	other := add(t, a, "relay@kim.telematik-test", querschott.RoleRelay)
	for _, tc := range []struct {
		name, address, password string
		want                    bool
	}{
		{"right", practice, password, true},
		{"letter case of the address", strings.ToUpper(practice), password, true},
		{"letter case of the password", practice, strings.ToUpper(password), false},
		{"somebody else's password", practice, other, false},
		{"empty password", practice, "", false},
		{"a prefix", practice, password[:31], false},
		{"longer", practice, password + "x", false},
		{"very long", practice, strings.Repeat("x", 1<<20), false},
		{"unknown account", "nobody@kim.telematik-test", password, false},
		{"unknown account, empty password", "nobody@kim.telematik-test", "", false},
		{"nothing", "", "", false},
	} {
		credential, got := a.Authenticate(tc.address, tc.password)
		if got != tc.want || got != (credential.Role == querschott.RolePractice) || got != (credential.Actor == practice) {
			t.Errorf("%s: Authenticate = %+v, %v, want %v", tc.name, credential, got, tc.want)
		}
	}
}

func TestPasswordIsStrongAndOnlyItsHashIsKept(t *testing.T) {
	fs := crashdisk.New()
	a := openAccounts(t, fs)
	first := add(t, a, practice, querschott.RolePractice)
	second := add(t, a, "x@kim.telematik-test", querschott.RolePractice)
	if len(first) != 32 || first == second { // 32 letters of five bits
		t.Errorf("passwords %q and %q: want two different ones of 160 bits", first, second)
	}
	data, err := disk.ReadFile(fs, "accounts.json", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), first) {
		t.Error("the password stands in the file")
	}
	for _, account := range a.List() {
		if account.Hash != nil || account.Salt != nil {
			t.Errorf("the list shows salt or hash of %s", account.Address)
		}
	}
}

func TestLifeOfAnAccount(t *testing.T) {
	fs := crashdisk.New()
	a := openAccounts(t, fs)
	first := add(t, a, practice, querschott.RolePractice)
	credential, ok := a.Authenticate(practice, first)
	if !ok || !a.Valid(credential) {
		t.Fatalf("a new account: ok = %v, valid = %v", ok, a.Valid(credential))
	}
	if _, err := a.Add(strings.ToUpper(practice), querschott.RoleRelay); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("adding twice: %v, want a conflict", err)
	}
	if err := a.Revoke(practice); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Authenticate(practice, first); ok || a.Valid(credential) {
		t.Error("a revoked account is let in")
	}
	second, err := a.Renew(practice)
	if err != nil {
		t.Fatal(err)
	}
	renewed, ok := a.Authenticate(practice, second)
	if !ok || renewed.ID == credential.ID || a.Valid(credential) {
		t.Errorf("after renewal: ok = %v, credential %v before, %v after", ok, credential.ID, renewed.ID)
	}
	if _, ok := a.Authenticate(practice, first); ok {
		t.Error("the old password works after renewal")
	}
	if err := a.Remove(practice); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Authenticate(practice, second); ok || a.Valid(renewed) {
		t.Error("a removed account is let in")
	}
	for name, err := range map[string]error{
		"remove": a.Remove(practice), "revoke": a.Revoke(practice),
		"renew": func() error { _, err := a.Renew(practice); return err }(),
	} {
		if querschott.CodeOf(err) != querschott.CodeNotFound {
			t.Errorf("%s of an unknown account: %v, want not found", name, err)
		}
	}
}

func TestChangesSurviveACrashAndCrossProcesses(t *testing.T) {
	fs := crashdisk.New()
	node, command := openAccounts(t, fs), openAccounts(t, fs)
	password := add(t, command, practice, querschott.RolePractice)
	if _, ok := node.Authenticate(practice, password); ok {
		t.Error("the node knows an account before it reloads")
	}
	relay := add(t, node, "relay@kim.telematik-test", querschott.RoleRelay) // must not undo the other's change
	for name, a := range map[string]*Accounts{"node": node, "after a crash": openAccounts(t, fs.Crash(rand.New(rand.NewPCG(1, 2))))} {
		if _, ok := a.Authenticate(practice, password); !ok {
			t.Errorf("%s: the account is lost", name)
		}
		if _, ok := a.Authenticate("relay@kim.telematik-test", relay); !ok {
			t.Errorf("%s: the relay's account is lost", name)
		}
	}
}

func TestBrokenFileLeavesTheListInForce(t *testing.T) {
	fs := crashdisk.New()
	a := openAccounts(t, fs)
	password := add(t, a, practice, querschott.RolePractice)
	good, err := disk.ReadFile(fs, "accounts.json", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty":         "",
		"half":          string(good[:len(good)/2]),
		"unknown field": strings.Replace(string(good), `"role"`, `"rolle"`, 1),
		"unknown role":  strings.Replace(string(good), `"practice"`, `"operator"`, 1),
		"twice":         strings.Replace(string(good), "[\n", "[\n"+entry(string(good))+",\n", 1),
		"short hash":    strings.Replace(string(good), `"salt": "`, `"salt": "AAAA", "hash": "`, 1),
		"upper case":    strings.Replace(string(good), "praxis", "Praxis", 1),
		"more after it": string(good) + "{}",
	} {
		if err := disk.WriteFile(fs, "accounts.json", []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := a.Reload(); err == nil {
			t.Errorf("%s: the file was taken over", name)
		}
		if _, ok := a.Authenticate(practice, password); !ok {
			t.Errorf("%s: the list in force was dropped", name)
		}
		if _, err := a.Add("y@kim.telematik-test", querschott.RolePractice); err == nil {
			t.Errorf("%s: a change overwrote a file that could not be read", name)
		}
	}
}

// entry cuts the one account out of a file.
func entry(file string) string {
	from, to := strings.Index(file, "\t\t{"), strings.LastIndex(file, "}\n\t]")
	return file[from : to+1]
}

func TestFailedWriteHandsOutNoPassword(t *testing.T) {
	fs := crashdisk.New()
	a := openAccounts(t, fs)
	fs.Fail(func(op, _ string) error {
		if op == "sync" {
			return errors.New("injected")
		}
		return nil
	})
	password, err := a.Add(practice, querschott.RolePractice)
	if err == nil || password != "" || len(a.List()) != 0 {
		t.Errorf("Add on a failing disk = %q, %v with %d accounts; want an error and nothing else", password, err, len(a.List()))
	}
}

func TestAddressesThatNameNoAccount(t *testing.T) {
	a := openAccounts(t, crashdisk.New())
	for _, address := range []string{"", "x", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\r\n", "<a@b>", "ä@b", strings.Repeat("a", 300) + "@b"} {
		if _, err := a.Add(address, querschott.RolePractice); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("Add(%q) = %v, want invalid", address, err)
		}
	}
	if _, err := a.Add(practice, querschott.RoleOperator); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("an operator's mail account: %v, want invalid", err)
	}
}

func TestLookupsDuringChanges(t *testing.T) {
	a := openAccounts(t, crashdisk.New())
	password := add(t, a, practice, querschott.RolePractice)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				if _, ok := a.Authenticate(practice, password); !ok {
					t.Error("an account in force was not let in during changes of others")
				}
				if _, err := a.Add(fmt.Sprintf("a%d.%d@kim.telematik-test", i, j), querschott.RolePractice); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(a.List()); got != 201 {
		t.Errorf("%d accounts, want 201", got)
	}
}

func FuzzParseAccounts(f *testing.F) {
	f.Add([]byte(`{"accounts":[{"address":"a@b","role":"relay","created":"2026-01-01T00:00:00Z","salt":"AAAAAAAAAAAAAAAAAAAAAA==","hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`))
	f.Add([]byte(`{"accounts":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parseAccounts(data)
		if err != nil {
			return
		}
		for address, account := range table {
			if again, err := accountAddress(address); err != nil || again != address || account.Address != address {
				t.Errorf("taken over: %q for %q", account.Address, address)
			}
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	a, err := OpenAccounts(crashdisk.New(), "accounts.json", time.Now)
	if err != nil {
		b.Fatal(err)
	}
	password, err := a.Add(practice, querschott.RolePractice)
	if err != nil {
		b.Fatal(err)
	}
	for name, address := range map[string]string{"known": practice, "unknown": "praxis.schmitt@arzt.kim.telematik-test"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				a.Authenticate(address, password)
			}
		})
	}
}

func TestAnswersDiffOnlyInSuccess(t *testing.T) {
	a := openAccounts(t, crashdisk.New())
	add(t, a, practice, querschott.RolePractice)
	wrong, _ := a.Authenticate(practice, "x")
	unknown, _ := a.Authenticate("nobody@kim.telematik-test", "x")
	if d := cmp.Diff(wrong, unknown); d != "" {
		t.Errorf("a wrong password and an unknown account can be told apart:\n%s", d)
	}
}

// TestAccountsAddedByManyCommandsAtOnce adds through lists that know nothing of each other, as processes do.
func TestAccountsAddedByManyCommandsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	passwords := make([]string, 20)
	var all sync.WaitGroup
	for i := range passwords {
		all.Go(func() {
			a, err := OpenAccounts(disk.OS{}, path, time.Now)
			if err == nil {
				passwords[i], err = a.Add(fmt.Sprintf("p%d@praxis.kim.telematik-test", i), querschott.RolePractice)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	a, err := OpenAccounts(disk.OS{}, path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i, password := range passwords {
		if _, ok := a.Authenticate(fmt.Sprintf("p%d@praxis.kim.telematik-test", i), password); !ok {
			t.Errorf("the password of account %d was printed and does not work", i)
		}
	}
}
