package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
)

// The files that say how to get into a platform that may be attacked.
const (
	demoFile  = "demo.json"  // of a demonstration
	drillFile = "drill.json" // of a node that was prepared for drills; its addresses are those of the running node
)

// Preparation says what a node is to be made ready for drills with.
type Preparation struct {
	Dir     string // made by 'querschott init'
	Seed    uint64 // of the invented world
	Persons int    // synthetic insured persons of that world
	CA      string // file with who vouches for the node's certificate; "": an invented authority does
}

// Find reads how to get into the demonstration, or into the node that was prepared, in a directory.
func Find(dir string) (*File, error) {
	for _, name := range []string{demoFile, drillFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		f := &File{}
		if err == nil {
			err = json.Unmarshal(data, f)
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", name, err)
		}
		return f, nil
	}
	if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err == nil {
		return nil, fmt.Errorf("the node in %[1]s was not prepared for drills: while it is stopped, 'querschott drill prepare %[1]s' does that", dir)
	}
	return nil, fmt.Errorf("there is no platform in %[1]s: 'querschott demo --data %[1]s' runs a demonstration there, and 'querschott init --drill %[1]s' makes a node for drills", dir)
}

// Prepare makes a node's directory ready for drills: invented insurers, a mail account for the invented practices, certificates
// if there are none, and a file that says how to get in. The node must not run, and its configuration must say that everything
// in it is an exercise; nothing is changed otherwise. It may be done again.
func Prepare(ctx context.Context, opt Preparation) (*File, error) {
	cfg, err := node.LoadConfig(filepath.Join(opt.Dir, node.ConfigFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no node in %[1]s: 'querschott init --drill %[1]s' makes one for drills", opt.Dir)
	}
	if err == nil {
		err = fit(ctx, cfg, opt.Dir)
	}
	if err != nil {
		return nil, err
	}
	w := drill.NewWorld(opt.Seed, drill.DefaultInsurers, opt.Persons)
	there, err := sameInsurers(cfg, w)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, err
	}
	f := &File{Dir: dir, Seed: opt.Seed, Persons: opt.Persons, Config: filepath.Join(dir, node.ConfigFile)}
	if opt.CA != "" {
		if opt.CA, err = filepath.Abs(opt.CA); err != nil {
			return nil, err
		}
	}
	if f.CA, err = certify(cfg, dir, opt.CA); err != nil {
		return nil, err
	}
	acc, err := ident.OpenAccounts(disk.OS{}, cfg.Mail.Accounts, time.Now)
	if err != nil {
		return nil, err
	}
	f.Relay.Address = relay
	if f.Relay.Password, err = password(acc, relay, querschott.RoleRelay); err != nil {
		return nil, err
	}
	list, err := node.LoadOperators(cfg.Operators)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		f.Operators = append(f.Operators, Login{Name: o.Name, Key: filepath.Join(dir, "operators", string(o.Name)+".key")})
	}
	if !there {
		if err := cfg.AddInsurers(insurersOf(w)...); err != nil {
			return nil, err
		}
	}
	return f, f.write(drillFile)
}

// fit says everything that a configuration lacks for drills.
func fit(ctx context.Context, cfg *node.Config, dir string) error {
	var wrong []error
	lacks := func(missing bool, text string) {
		if missing {
			wrong = append(wrong, errors.New(text))
		}
	}
	lacks(!cfg.Drill, "set 'drill: true': a real node is never attacked, and nothing is changed in its directory")
	lacks(cfg.HTTP.Listen == "", "set 'http.listen', such as 127.0.0.1:8443: the attack goes through the HTTP entrance")
	lacks(!cfg.HTTP.DevIssuers, "set 'http.dev_issuers: true': clerks, practices and the attacker get their tokens there")
	lacks(cfg.Mail.TLS == "", "set 'mail.tls', such as 127.0.0.1:2465: practices send there")
	if len(wrong) > 0 {
		return fmt.Errorf("the configuration in %s is none for drills ('querschott init --drill' makes one):\n%w", dir, errors.Join(wrong...))
	}
	if node.Running(ctx, cfg) {
		return fmt.Errorf("the node in %s is running: stop it first, it takes in insurers when it starts", dir)
	}
	return nil
}

// sameInsurers reports whether a world's insurers are there. With dev_issuers the data of any others would be open to everybody.
func sameInsurers(cfg *node.Config, w *drill.World) (bool, error) {
	list, err := node.LoadInsurers(cfg.Insurers)
	if err != nil || len(list) == 0 {
		return false, err
	}
	same := slices.EqualFunc(list, w.Insurers(), func(a node.Insurer, b *drill.Insurer) bool { return a.IK == b.IK })
	if !same {
		return false, fmt.Errorf("%s has other insurers already: a drill invents its own, and its tokens open everybody's data; take a directory of its own, or the --seed with which this one was prepared", cfg.Insurers)
	}
	return true, nil
}

// certify makes certificates for the entrances where there are none, and returns the file with who vouches for them.
func certify(cfg *node.Config, dir, ca string) (string, error) {
	made := filepath.Join(dir, "ca.crt")
	pairs := [][2]string{{cfg.Mail.Certificate, cfg.Mail.Key}, {cfg.HTTP.Certificate, cfg.HTTP.Key}}
	there := 0
	for _, p := range pairs {
		if _, err := os.Stat(p[0]); err == nil {
			there++
		}
	}
	_, err := os.Stat(made)
	switch complete := there == len(pairs); {
	case ca != "" && complete:
		_, err := os.Stat(ca)
		return ca, err
	case ca != "":
		return "", errors.New("--ca names who vouches for certificates that are there already, and mail.certificate or http.certificate is not")
	case complete && err == nil:
		return made, nil
	case there > 0:
		return "", errors.New("mail.certificate or http.certificate is there already: name with --ca the file of the authority that vouches for both (they must be for localhost), or remove them, and invented ones are made")
	}
	authority, err := drill.NewCA(time.Now())
	if err != nil {
		return "", err
	}
	server, err := authority.Server("localhost", "127.0.0.1", "::1")
	if err != nil {
		return "", err
	}
	for _, p := range pairs {
		if err := server.WriteFiles(p[0], p[1]); err != nil {
			return "", err
		}
	}
	return made, authority.WriteCertificate(dir, "ca")
}
