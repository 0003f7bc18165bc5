package demo

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident/mtls"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/watch"
)

// Supplier is the machine of an invented supplier that does an insurer's registered job at the desk.
type Supplier struct {
	IK    querschott.IK    `json:"ik"`
	Actor querschott.Actor `json:"actor"` // as the platform calls it
	Job   string           `json:"job"`   // which it gives as its reason
	Cert  string           `json:"cert"`  // by which it is known
	Key   string           `json:"key"`
}

const (
	suppliers  = 12                   // of the largest insurers
	jobLasts   = 365 * 24 * time.Hour // as long as the certificates
	policyFile = "policy.json"
)

// supply makes the suppliers' machines and registers their jobs in the policy of the early warning. A policy that the operator has
// named is the operator's: it is left as it is, and there are no jobs then.
func (p *Platform) supply() error {
	policy := filepath.Join(p.opt.Dir, policyFile)
	if p.cfg.Watch.Policy == "" { // made before there were jobs
		p.cfg.Watch.Policy = policy
	}
	if p.cfg.Watch.Policy != policy {
		return nil
	}
	rules := watch.DefaultPolicy()
	now := time.Now()
	for _, in := range p.world.Insurers()[:suppliers] {
		id, err := p.ca.Client("supplier of " + string(in.IK))
		if err != nil {
			return err
		}
		name := "supplier." + string(in.IK)
		s := Supplier{
			IK: in.IK, Actor: querschott.Actor("machine:" + name), Job: "job:" + string(in.IK) + "-mailing",
			Cert: filepath.Join(p.opt.Dir, "suppliers", name+".crt"), Key: filepath.Join(p.opt.Dir, "suppliers", name+".key"),
		}
		if err := id.WriteFiles(s.Cert, s.Key); err != nil {
			return err
		}
		p.cfg.HTTP.Machines = append(p.cfg.HTTP.Machines, node.Machine{
			Name: name, Pins: []string{mtls.PinOf(id.Certificate).String()}, Role: string(querschott.RolePartner), Insurer: string(in.IK),
			Services: []string{string(querschott.Desk)},
		})
		_, persons := in.Persons()
		rules.Jobs = append(rules.Jobs, watch.Job{
			ID: s.Job, From: now.Add(-time.Hour), To: now.Add(jobLasts), Persons: persons, Insurer: in.IK, Actors: []querschott.Actor{s.Actor},
		})
		p.file.Suppliers = append(p.file.Suppliers, s)
	}
	data, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(disk.OS{}, policy, append(data, '\n'))
}
