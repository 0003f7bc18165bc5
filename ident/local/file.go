package local

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// Bounds of the files in bytes: 50,000 accounts and one account's state.
const (
	maxFile    = 128 << 20
	maxState   = 1 << 10
	maxDisplay = 200
	maxName    = 128
)

// account is one account as it is kept. Without password and factor it waits for its owner.
type account struct {
	Name     string          `json:"name"`
	Display  string          `json:"display,omitempty"`
	Role     querschott.Role `json:"role"`
	Insurer  querschott.IK   `json:"insurer,omitempty"`
	Created  time.Time       `json:"created"`
	Disabled time.Time       `json:"disabled,omitzero"`
	Invited  *invitation     `json:"invited,omitempty"`
	Enrolled time.Time       `json:"enrolled,omitzero"`
	Password *password       `json:"password,omitempty"`
	Factor   *factor         `json:"factor,omitempty"`
}

type invitation struct {
	Token   []byte           `json:"token"` // SHA-256
	Expires time.Time        `json:"expires"`
	By      querschott.Actor `json:"by"`
}

// factor is the second factor.
type factor struct {
	ID       []byte   `json:"id"` // random, tells what was used of this factor from what was used of an earlier one
	Secret   []byte   `json:"secret"`
	Recovery [][]byte `json:"recovery"`
}

// version changes with everything that a session of the account relies on.
func (a *account) version() string {
	if a.Password == nil || a.Factor == nil {
		return ""
	}
	return hex.EncodeToString(a.Password.Salt[:8]) + hex.EncodeToString(a.Factor.ID[:8])
}

type file struct {
	Accounts []account `json:"accounts"`
}

func parseFile(data []byte) (map[string]account, error) {
	var f file
	if err := strict(data, &f); err != nil {
		return nil, err
	}
	if f.Accounts == nil {
		return nil, errors.New("the list itself is missing")
	}
	table := make(map[string]account, len(f.Accounts))
	for i, a := range f.Accounts {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if _, twice := table[a.Name]; twice {
			return nil, fmt.Errorf("entry %d: the name is listed twice", i+1)
		}
		table[a.Name] = a
	}
	return table, nil
}

func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the end")
	}
	return nil
}

func (a *account) check() error {
	name, ok := accountName(a.Name)
	if !ok || name != a.Name {
		return errors.New("the name is not one of lower-case letters, digits and . _ @ + -")
	}
	if len(a.Display) > maxDisplay || !utf8.ValidString(a.Display) {
		return errors.New("the name to show is too long or not UTF-8")
	}
	if err := checkRole(a.Role, a.Insurer); err != nil {
		return err
	}
	switch {
	case a.Invited != nil && (len(a.Invited.Token) != hashBytes || a.Invited.Expires.IsZero()):
		return errors.New("the invitation is damaged")
	case (a.Password == nil) != (a.Factor == nil):
		return errors.New("there is one factor without the other")
	case a.Password == nil:
		return nil
	}
	if err := a.Password.check(); err != nil {
		return err
	}
	if len(a.Factor.ID) != saltBytes || len(a.Factor.Secret) != totpBytes || len(a.Factor.Recovery) != recoveryCodes {
		return errors.New("the second factor is damaged")
	}
	for _, h := range a.Factor.Recovery {
		if len(h) != hashBytes {
			return errors.New("a recovery code is damaged")
		}
	}
	return nil
}

// checkRole keeps a member of an insurer's staff in his insurer's compartments.
func checkRole(role querschott.Role, insurer querschott.IK) error {
	switch {
	case role == querschott.RoleOperator && insurer == "":
		return nil
	case role == querschott.RoleStaff && insurer != "":
		_, err := querschott.ParseIK(string(insurer))
		return err
	}
	return errors.New("an account is an operator's, without an insurer, or staff's, with one")
}

// accountName returns the name in lower case. Names are ASCII, so that no two of them look the same.
func accountName(s string) (string, bool) {
	s = strings.ToLower(s)
	odd := strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._@+-", r)
	})
	return s, s != "" && len(s) <= maxName && !odd
}

func readFile(fsys disk.FS, path string) (map[string]account, error) {
	data, err := disk.ReadFile(fsys, path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]account{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read accounts file %s: %w", path, err)
	}
	table, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("couldn't understand accounts file %s: %w", path, err)
	}
	return table, nil
}

func writeFile(fsys disk.FS, path string, table map[string]account) error {
	f := file{Accounts: make([]account, 0, len(table))}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		f.Accounts = append(f.Accounts, table[name])
	}
	data, err := json.MarshalIndent(f, "", "\t")
	if len(data) >= maxFile {
		return querschott.Refuse(querschott.CodeNoRoom, "there is no room for more accounts")
	}
	if err == nil {
		err = disk.WriteFile(fsys, path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("couldn't write accounts file %s: %w", path, err)
	}
	return nil
}
