package ident

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// maxAccountsFile bounds what is read: about 400,000 accounts. Germany has some 100,000 practices.
const maxAccountsFile = 128 << 20

// maxSecret bounds what is hashed for a stranger, in bytes.
const maxSecret = 256

// Account is one KIM account that may hand in mail. It holds nothing that lets anybody log in.
type Account struct {
	Address string          `json:"address"` // lower case; user name and, for practices, the only MAIL FROM
	Role    querschott.Role `json:"role"`    // practice or relay
	Created time.Time       `json:"created"` // when its present password was made
	Revoked time.Time       `json:"revoked,omitzero"`
	Salt    []byte          `json:"salt"`
	Hash    []byte          `json:"hash"` // SHA-256 over purpose, salt and password
}

// Credential is what the gate and the ledger know a successful login by. The ID is derived from the password's salt:
// it changes with the password, and without the accounts file nobody can tell whose it is.
func (a *Account) Credential() querschott.Credential {
	id := digest("credential", a.Salt, "")
	return querschott.Credential{
		ID:    querschott.CredentialID("kim/" + hex.EncodeToString(id[:8])),
		Actor: querschott.Actor(a.Address),
		Role:  a.Role,
	}
}

// Accounts is the list of KIM accounts in one file. All methods may be called at the same time.
//
// table is replaced as a whole, never changed; mu is held by those who replace it.
type Accounts struct {
	fs   disk.FS
	path string
	now  func() time.Time

	mu    sync.Mutex
	table atomic.Pointer[map[string]Account]
}

// nobody is compared with when the account is unknown, so that the answer takes as long.
var nobody = Account{Salt: make([]byte, saltBytes), Hash: make([]byte, 32)}

// OpenAccounts reads the accounts file; a file that does not exist is an empty list.
func OpenAccounts(fsys disk.FS, path string, now func() time.Time) (*Accounts, error) {
	a := &Accounts{fs: fsys, path: path, now: now}
	return a, a.Reload()
}

// Reload takes over what the file says. If the file cannot be read or understood, the list in force stays in force.
func (a *Accounts) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	table, err := a.read()
	if err != nil {
		return err
	}
	a.table.Store(&table)
	return nil
}

// Authenticate checks a user name and password. The name's letter case does not count (gemSpec_CM_KOMLE: addresses are
// case-insensitive).
func (a *Accounts) Authenticate(address, password string) (querschott.Credential, bool) {
	account, known := (*a.table.Load())[strings.ToLower(address)]
	if !known {
		account = nobody
	}
	if len(password) > maxSecret {
		password = ""
	}
	sum := digest("password", account.Salt, password)
	right := subtle.ConstantTimeCompare(sum[:], account.Hash) == 1
	credential := account.Credential()
	if !right || !known || !account.Revoked.IsZero() {
		return querschott.Credential{}, false
	}
	return credential, true
}

// Add makes an account and returns its password, which nobody can read again. CodeConflict if the address has one.
func (a *Accounts) Add(address string, role querschott.Role) (password string, err error) {
	address, err = accountAddress(address)
	if err != nil {
		return "", err
	}
	if role != querschott.RolePractice && role != querschott.RoleRelay {
		return "", querschott.Refuse(querschott.CodeInvalid, "an account's role is practice or relay")
	}
	err = a.change(func(table map[string]Account) error {
		if _, ok := table[address]; ok {
			return querschott.Refuse(querschott.CodeConflict, "the address has an account already")
		}
		table[address], password = a.issue(Account{Address: address, Role: role})
		return nil
	})
	if err != nil {
		return "", err // a password that is not on disk must not be handed out
	}
	return password, nil
}

// Renew gives an account a new password and lifts a revocation. The old password and credential end at once.
func (a *Accounts) Renew(address string) (password string, err error) {
	err = a.edit(address, func(account Account) Account {
		account.Revoked = time.Time{}
		account, password = a.issue(account)
		return account
	})
	if err != nil {
		return "", err
	}
	return password, nil
}

// Revoke keeps the account on the list and lets nobody in with it. Sessions that are logged in are the gate's to end.
func (a *Accounts) Revoke(address string) error {
	return a.edit(address, func(account Account) Account {
		if account.Revoked.IsZero() {
			account.Revoked = a.now()
		}
		return account
	})
}

// Remove takes an account off the list.
func (a *Accounts) Remove(address string) error {
	address = strings.ToLower(address)
	return a.change(func(table map[string]Account) error {
		if _, ok := table[address]; !ok {
			return errNoAccount()
		}
		delete(table, address)
		return nil
	})
}

// Valid reports whether the credential is that of an account in force, so that a long session can end with its account.
func (a *Accounts) Valid(c querschott.Credential) bool {
	account, ok := (*a.table.Load())[string(c.Actor)]
	return ok && account.Revoked.IsZero() && account.Credential() == c
}

// List returns the accounts in the order of their addresses, without salts and hashes.
func (a *Accounts) List() []Account {
	table := *a.table.Load()
	list := make([]Account, 0, len(table))
	for _, address := range slices.Sorted(maps.Keys(table)) {
		account := table[address]
		account.Salt, account.Hash = nil, nil
		list = append(list, account)
	}
	return list
}

func (a *Accounts) issue(account Account) (Account, string) {
	password := newSecret(passwordBytes)
	account.Created, account.Salt = a.now().UTC().Truncate(time.Second), newSalt()
	sum := digest("password", account.Salt, password)
	account.Hash = sum[:]
	return account, password
}

func (a *Accounts) edit(address string, fn func(Account) Account) error {
	address = strings.ToLower(address)
	return a.change(func(table map[string]Account) error {
		account, ok := table[address]
		if !ok {
			return errNoAccount()
		}
		table[address] = fn(account)
		return nil
	})
}

// change starts from the file, not from memory: a command beside the running node may have changed it. Of several commands
// at the same time each waits for the one before it.
func (a *Accounts) change(fn func(table map[string]Account) error) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, real := a.fs.(disk.OS); real { // a disk in memory belongs to one process
		release, locked := disk.Lock(filepath.Dir(a.path))
		if locked != nil {
			return fmt.Errorf("couldn't lock accounts file %s: %w", a.path, locked)
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	table, err := a.read()
	if err != nil {
		return err
	}
	if err := fn(table); err != nil {
		return err
	}
	if err := a.write(table); err != nil {
		return err
	}
	a.table.Store(&table)
	return nil
}

type accountsFile struct {
	Accounts []Account `json:"accounts"`
}

func (a *Accounts) read() (map[string]Account, error) {
	data, err := disk.ReadFile(a.fs, a.path, maxAccountsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Account{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read accounts file %s: %w", a.path, err)
	}
	table, err := parseAccounts(data)
	if err != nil {
		return nil, fmt.Errorf("couldn't understand accounts file %s: %w", a.path, err)
	}
	return table, nil
}

func (a *Accounts) write(table map[string]Account) error {
	file := accountsFile{Accounts: make([]Account, 0, len(table))}
	for _, address := range slices.Sorted(maps.Keys(table)) {
		file.Accounts = append(file.Accounts, table[address])
	}
	data, err := json.MarshalIndent(file, "", "\t")
	if err == nil {
		err = disk.WriteFile(a.fs, a.path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("couldn't write accounts file %s: %w", a.path, err)
	}
	return nil
}

func parseAccounts(data []byte) (map[string]Account, error) {
	var file accountsFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the end of the list")
	}
	table := make(map[string]Account, len(file.Accounts))
	for i, account := range file.Accounts {
		address, err := accountAddress(account.Address)
		switch {
		case err != nil || address != account.Address:
			return nil, fmt.Errorf("entry %d: the address is not a lower-case mail address", i+1)
		case account.Role != querschott.RolePractice && account.Role != querschott.RoleRelay:
			return nil, fmt.Errorf("entry %d: the role is neither practice nor relay", i+1)
		case len(account.Salt) != saltBytes || len(account.Hash) != len(nobody.Hash):
			return nil, fmt.Errorf("entry %d: salt or hash has the wrong length", i+1)
		}
		if _, twice := table[address]; twice {
			return nil, fmt.Errorf("entry %d: the address is listed twice", i+1)
		}
		table[address] = account
	}
	return table, nil
}

// accountAddress returns the address in lower case if it may name an account: printable ASCII with one @ inside.
func accountAddress(s string) (string, error) {
	local, domain, ok := strings.Cut(s, "@")
	odd := strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>,;:"()\`, r) })
	if !ok || odd || local == "" || domain == "" || strings.Contains(domain, "@") || len(s) > 254 {
		return "", querschott.Refuse(querschott.CodeInvalid, "an account's name is a mail address")
	}
	return strings.ToLower(s), nil
}

func errNoAccount() error {
	return querschott.Refuse(querschott.CodeNotFound, "there is no account with this address")
}
