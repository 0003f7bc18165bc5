package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/door"
	"github.com/querschott/querschott/internal/disk"
)

// LoadInsurers reads the file of the insurers. A file that does not exist is an empty list.
func LoadInsurers(file string) ([]Insurer, error) {
	var list []Insurer
	if err := loadYAML(file, &list); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return list, checkInsurers(list)
}

func checkInsurers(list []Insurer) error {
	var errs error
	known := map[querschott.IK]bool{}
	owner := map[string]querschott.IK{}
	numbers := map[querschott.IK]querschott.IK{}
	for _, in := range list {
		for _, ik := range append([]querschott.IK{in.IK}, in.Further...) {
			if _, err := querschott.ParseIK(string(ik)); err != nil && ik != in.IK {
				errs = errors.Join(errs, fmt.Errorf("insurer %s: %w", in.IK, err))
			}
			if other, taken := numbers[ik]; taken && other != in.IK {
				errs = errors.Join(errs, fmt.Errorf("the IK %s belongs to %s and to %s", ik, other, in.IK))
			}
			numbers[ik] = in.IK
		}
		if _, err := querschott.ParseIK(string(in.IK)); err != nil {
			errs = errors.Join(errs, err)
		}
		if known[in.IK] {
			errs = errors.Join(errs, fmt.Errorf("insurer %s stands in the list twice", in.IK))
		}
		known[in.IK] = true
		for _, k := range in.Keys {
			if _, err := note.NewVerifier(k); err != nil {
				errs = errors.Join(errs, fmt.Errorf("insurer %s: the key %.60q is no C2SP verifier key: %w", in.IK, k, err))
			}
		}
		for _, s := range in.Services {
			if _, err := querschott.ParseService(string(s)); err != nil {
				errs = errors.Join(errs, fmt.Errorf("insurer %s: %w", in.IK, err))
			}
		}
		for _, a := range in.Addresses {
			key := strings.ToLower(a)
			if other, taken := owner[key]; taken {
				errs = errors.Join(errs, fmt.Errorf("the address %s belongs to %s and to %s", a, other, in.IK))
			}
			owner[key] = in.IK
		}
	}
	return errs
}

// SaveInsurers writes the file of the insurers.
func SaveInsurers(file string, list []Insurer) error {
	if err := checkInsurers(list); err != nil {
		return err
	}
	return saveYAML(file, "# Insurers of this node, maintained by 'querschott insurer add'.\n", list)
}

// changeList runs a change of a list, while no other command changes it.
func changeList(file string, change func() error) (err error) {
	release, err := disk.Lock(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return change()
}

// LoadOperators reads the file of the operators. A file that does not exist is an empty list.
func LoadOperators(file string) ([]Operator, error) {
	var list []Operator
	if err := loadYAML(file, &list); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for i, op := range list {
		if err := CheckOperator(op.Name); err != nil {
			return nil, fmt.Errorf("%s: operator %d has no name that can be used: %w", file, i+1, err)
		}
		if slices.ContainsFunc(list[:i], func(o Operator) bool { return o.Name == op.Name }) {
			return nil, fmt.Errorf("%s: operator %s stands there twice", file, op.Name)
		}
	}
	return list, nil
}

// operatorName is what can be part of the name of a file, of a key (C2SP signed-note) and of a secret. Commands take what
// stands before the first dot of a key's name for the operator's.
var operatorName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// CheckOperator refuses what cannot be the name of an operator.
func CheckOperator(name querschott.Actor) error {
	if !operatorName.MatchString(string(name)) {
		return fmt.Errorf("%.40q: an operator's name has 1 to 32 letters A to Z, digits, '-' and '_'", string(name))
	}
	if name == door.MachineActor {
		return fmt.Errorf("%s is the platform itself", name)
	}
	return nil
}

// SaveOperators writes the file of the operators.
func SaveOperators(file string, list []Operator) error {
	return saveYAML(file, "# Operators of this node and their public keys, maintained by 'querschott operator add'.\n", list)
}

func saveYAML(file, comment string, v any) error {
	data, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return disk.WriteFile(disk.OS{}, file, append([]byte(comment), data...))
}

// Compartments reads the insurers and lists their compartments.
func (c *Config) Compartments() ([]querschott.Compartment, error) {
	insurers, err := LoadInsurers(c.Insurers)
	return compartments(insurers), err
}

// compartments lists every compartment of the insurers. Every insurer that gets mail, for a service or because it has an
// address, has the compartment for the mail that no service takes.
func compartments(list []Insurer) []querschott.Compartment {
	var all []querschott.Compartment
	for _, in := range list {
		services := in.Services
		if (len(in.Addresses) > 0 || slices.ContainsFunc(services, querschott.Service.ByMail)) && !slices.Contains(services, querschott.Mail) {
			services = append(slices.Clone(services), querschott.Mail)
		}
		for _, s := range services {
			all = append(all, querschott.Compartment{Insurer: in.IK, Service: s})
		}
	}
	slices.SortFunc(all, querschott.Compartment.Compare)
	return all
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
