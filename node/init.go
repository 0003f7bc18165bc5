package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/seal"
)

// ConfigFile is the name of the configuration in a node's directory.
const ConfigFile = "querschott.yaml"

// InitOptions say what Init makes.
type InitOptions struct {
	Config     Config             // as text; Default() if the domain is empty
	Operators  []querschott.Actor // each gets a key file under operators/
	Insurers   []Insurer
	Passphrase func() ([]byte, error) // for keyring.unlock = passphrase
	WorkFactor int                    // of the passphrase's scrypt, 0: the usual one
}

// Init makes a node's directory: the commented configuration, the keyring and its key, the operators and their keys. It
// overwrites nothing.
func Init(dir string, opt InitOptions) (*Config, error) {
	if opt.Config.Domain == "" {
		opt.Config = Default()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, ConfigFile)
	if _, err := os.Stat(file); err == nil {
		return nil, fmt.Errorf("%s exists already; nothing was changed", file)
	}
	cfg := opt.Config
	if err := disk.WriteFile(disk.OS{}, file, []byte(Example(cfg))); err != nil {
		return nil, err
	}
	loaded, err := LoadConfig(file)
	if err != nil {
		return nil, err
	}
	if err := loaded.makeKeyring(opt); err != nil {
		return nil, err
	}
	for _, name := range opt.Operators {
		if _, err := loaded.AddOperator(name, filepath.Join(dir, "operators")); err != nil {
			return nil, err
		}
	}
	if len(opt.Insurers) == 0 {
		return loaded, nil
	}
	return loaded, loaded.AddInsurers(opt.Insurers...)
}

func (c *Config) makeKeyring(opt InitOptions) error {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(c.Keyring.Key); errors.Is(err, os.ErrNotExist) {
		if err := c.makeKeyFile(opt); err != nil {
			return fmt.Errorf("couldn't make the key file: %w", err)
		}
	}
	_, err := seal.CreateKeyring(disk.OS{}, filepath.Join(c.Data, "keyring.age"), c.unlock(opt.Passphrase))
	return err
}

func (c *Config) makeKeyFile(opt InitOptions) error {
	if c.Keyring.Unlock == "key-file" {
		return seal.NewKeyFile(c.Keyring.Key)
	}
	if opt.Passphrase == nil {
		return errors.New("keyring.unlock is 'passphrase', and none was given")
	}
	pass, err := opt.Passphrase()
	if err != nil {
		return err
	}
	defer clear(pass)
	return seal.NewPassphraseFile(c.Keyring.Key, pass, opt.WorkFactor)
}

// AddOperator makes an operator with a key of its own, writes the key into the directory and returns the key's file.
func (c *Config) AddOperator(name querschott.Actor, dir string) (file string, err error) {
	list, err := LoadOperators(c.Operators)
	if err != nil {
		return "", err
	}
	for _, op := range list {
		if op.Name == name {
			return "", fmt.Errorf("there is an operator %s already", name)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file = filepath.Join(dir, string(name)+".key")
	vkey, err := NewOperatorKey(file, string(name)+"."+c.Domain)
	if err != nil {
		return "", err
	}
	return file, SaveOperators(c.Operators, append(list, Operator{Name: name, Keys: []string{vkey}}))
}

// AddInsurers adds insurers to the list. A running node takes them in at its next start.
func (c *Config) AddInsurers(added ...Insurer) error {
	list, err := LoadInsurers(c.Insurers)
	if err != nil {
		return err
	}
	return SaveInsurers(c.Insurers, append(list, added...))
}
