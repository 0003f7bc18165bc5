package vsdm

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/wire/vsd"
)

// Tenant is one insurer with the IKs that its insured may carry.
type Tenant struct {
	Insurer querschott.IK   // names the compartment
	Further []querschott.IK // other IKs of the same insurer, such as those of merged insurers
}

// Config is what a Service needs.
type Config struct {
	Tenants []Tenant
	Cell    func(querschott.IK) (cell.Store, error)
	// Vault returns the vault of a compartment while its door serves reads, the same one until it shuts, and a refusal
	// ([querschott.Error]) while it does not. It is asked at least once for every request, so it must be quick.
	Vault func(querschott.Compartment) (*cell.Vault, error)
	// Issues is the platform's own store for the issue log. It is one for all insurers, so that the answers of all of them
	// share its syncs, and holds nothing else in the space of this service.
	Issues cell.Store
	// LogFrom is since when the log is complete: when it was begun, or restored from a backup. Older numbers that it does not
	// have are not called forged. It must come from where nobody who writes the store can move it.
	LogFrom time.Time
	// Secret returns the secret (32 bytes) that an insurer's part of the issue log is sealed under, the same at every call.
	// It is asked for once per insurer and start.
	Secret  func(querschott.IK) ([]byte, error)
	Numbers *pruefziffer.Keys // of the operator's letter, the same for all insurers

	Versions          []vsd.Version // that are answered; the first is that of errors when the caller asks for none. Empty: 1.0
	StrictCheckDigits bool          // an IK or a KVNR with a wrong check digit is an error of the caller
	Now               func() time.Time
	Log               *slog.Logger
}

// Service answers for all tenants. All methods may be called by many goroutines.
type Service struct {
	cfg      Config
	chambers map[querschott.Compartment]*chamber // fixed
	owners   map[querschott.IK]querschott.Compartment
	shown    [32]sync.Mutex // one presentation of a number at a time, by its hash
}

// New makes a service. It opens nothing yet.
func New(cfg Config) (*Service, error) {
	if len(cfg.Versions) == 0 {
		cfg.Versions = []vsd.Version{vsd.V10}
	}
	for _, v := range cfg.Versions {
		if _, ok := vsd.ParseVersion(string(v)); !ok {
			return nil, fmt.Errorf("profile version %.20q can't be answered", v)
		}
	}
	if cfg.Cell == nil || cfg.Vault == nil || cfg.Issues == nil || cfg.Secret == nil || cfg.Numbers == nil {
		return nil, errors.New("the service lacks its cells, vaults, issue log, secrets or check numbers")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{
		cfg: cfg, chambers: map[querschott.Compartment]*chamber{}, owners: map[querschott.IK]querschott.Compartment{},
	}
	for _, t := range cfg.Tenants {
		c := querschott.Compartment{Insurer: t.Insurer, Service: querschott.VSDM}
		ch := &chamber{c: c, iks: map[querschott.IK]string{}}
		for _, ik := range append([]querschott.IK{t.Insurer}, t.Further...) {
			if _, err := querschott.ParseIK(string(ik)); err != nil {
				return nil, err
			}
			if owner, taken := s.owners[ik]; taken {
				return nil, fmt.Errorf("IK %s belongs to insurer %s and to insurer %s", ik, owner.Insurer, t.Insurer)
			}
			s.owners[ik], ch.iks[ik] = c, insured.Name(ik)
		}
		s.chambers[c] = ch
	}
	return s, nil
}

// Owner returns the insurer that an IK belongs to, as a proof of presence names it; not ok if no insurer here has it.
func (s *Service) Owner(ik string) (insurer querschott.IK, ok bool) {
	c, ok := s.owners[querschott.IK(ik)]
	return c.Insurer, ok
}

// version returns the profile version that the caller asked for if it is answered, else the default.
func (s *Service) version(asked string) (v vsd.Version, ok bool) {
	if v = vsd.Version(asked); slices.Contains(s.cfg.Versions, v) {
		return v, true
	}
	return s.cfg.Versions[0], false
}
