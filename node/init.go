package node

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate/proxy"
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

// Gate says which existing service a gate stands in front of.
type Gate struct {
	Upstream string             // base URL of the service
	Service  querschott.Service // whose doors decide; "": epa
	Insurer  querschott.IK      // if the service has the data of one insurer only; "": requests say whose they are about
	Dev      bool               // for a first try: issuers for development are believed
}

// GateConfig returns a configuration that puts the gate in front of an existing service and does nothing else. Its rules are
// those of a FHIR server whose base is the upstream's path.
func GateConfig(g Gate) (Config, error) {
	cfg := Default()
	cfg.Mail.StartTLS, cfg.Mail.TLS = "", ""
	cfg.HTTP.Listen, cfg.HTTP.DevIssuers = "127.0.0.1:8443", g.Dev
	u, err := url.Parse(g.Upstream)
	if err != nil || u.Host == "" {
		return cfg, fmt.Errorf("the upstream %.100q is not written https://fhir.example/fhir", g.Upstream)
	}
	s := proxy.Default(strings.TrimSuffix(g.Upstream, "/"))
	if g.Service != "" {
		s.Service = string(g.Service)
	}
	if g.Insurer != "" {
		if _, err := querschott.ParseIK(string(g.Insurer)); err != nil {
			return cfg, err
		}
		s.Insurer = []string{"value:" + string(g.Insurer)}
	}
	base := strings.TrimSuffix(u.Path, "/")
	for i := range s.Rules {
		s.Rules[i].Path = base + strings.TrimPrefix(s.Rules[i].Path, "/fhir")
		if s.Rules[i].Path == "" {
			s.Rules[i].Path = "/"
		}
	}
	cfg.HTTP.Routes = []RouteConfig{{Name: "existing", Path: base + "/", Who: []string{byToken, byCertificate}, Proxy: s}}
	return cfg, cfg.validate()
}

// Init makes a node's directory: the commented configuration, the keyring and its key, the operators and their keys. It
// overwrites nothing. The configuration comes last: a directory without it is not a node's, and there Init goes on where an
// earlier one was interrupted.
func Init(dir string, opt InitOptions) (_ *Config, err error) {
	if opt.Config.Domain == "" {
		opt.Config = Default()
	}
	for _, name := range opt.Operators {
		if err := CheckOperator(name); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, ConfigFile)
	if _, err := os.Stat(file); err == nil {
		return nil, querschott.Refuse(querschott.CodeConflict, "%s exists already; nothing was changed", file)
	}
	draft, text := file+".tmp", []byte(Example(opt.Config))
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return nil, err
	}
	loaded, err := LoadConfig(draft)
	if err == nil {
		err = loaded.found(dir, opt)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(draft))
	}
	if err := disk.WriteFile(disk.OS{}, file, text); err != nil { // takes the draft's place
		return nil, err
	}
	return LoadConfig(file)
}

// found makes what belongs to a configuration and is not there yet.
func (c *Config) found(dir string, opt InitOptions) error {
	if err := c.makeKeyring(opt); err != nil {
		return err
	}
	there, err := LoadOperators(c.Operators)
	if err != nil {
		return err
	}
	for _, name := range opt.Operators {
		if slices.ContainsFunc(there, func(op Operator) bool { return op.Name == name }) {
			continue
		}
		if _, err := c.AddOperator(name, filepath.Join(dir, "operators")); err != nil {
			return err
		}
	}
	if insurers, err := LoadInsurers(c.Insurers); err != nil || len(opt.Insurers) == 0 || len(insurers) > 0 {
		return err
	}
	return c.AddInsurers(opt.Insurers...)
}

func (c *Config) makeKeyring(opt InitOptions) error {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	made := false
	if _, err := os.Stat(c.Keyring.Key); errors.Is(err, os.ErrNotExist) {
		if err := c.makeKeyFile(opt); err != nil {
			return fmt.Errorf("couldn't make the key file: %w", err)
		}
		made = true
	}
	ring := filepath.Join(c.Data, "keyring.age")
	if _, err := os.Stat(ring); err == nil {
		_, err := seal.OpenKeyring(disk.OS{}, ring, c.unlock(opt.Passphrase))
		return err
	}
	_, err := seal.CreateKeyring(disk.OS{}, ring, c.unlock(opt.Passphrase))
	if err != nil && made { // the passphrase was typed differently the second time; nothing is sealed to this key
		err = errors.Join(err, os.Remove(c.Keyring.Key))
	}
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
	if err := CheckOperator(name); err != nil {
		return "", err
	}
	file = filepath.Join(dir, string(name)+".key")
	return file, changeList(c.Operators, func() error {
		list, err := LoadOperators(c.Operators)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(op Operator) bool { return op.Name == name }) {
			return querschott.Refuse(querschott.CodeConflict, "there is an operator %s already", name)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		vkey, err := NewOperatorKey(file, string(name)+"."+c.Domain)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%w; if it was left by an attempt that was interrupted, remove it", err)
		}
		if err != nil {
			return err
		}
		return SaveOperators(c.Operators, append(list, Operator{Name: name, Keys: []string{vkey}}))
	})
}

// AddInsurers adds insurers to the list. A running node takes them in at its next start.
func (c *Config) AddInsurers(added ...Insurer) error {
	return changeList(c.Insurers, func() error {
		list, err := LoadInsurers(c.Insurers)
		if err != nil {
			return err
		}
		for _, in := range added {
			if slices.ContainsFunc(list, func(there Insurer) bool { return there.IK == in.IK }) {
				return querschott.Refuse(querschott.CodeConflict, "there is an insurer %s already; to change it, edit %s and start the node again", in.IK, c.Insurers)
			}
		}
		list = append(list, added...)
		if err := checkInsurers(list); err != nil {
			return querschott.Refuse(querschott.CodeConflict, "%v", err)
		}
		return SaveInsurers(c.Insurers, list)
	})
}
