package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/service/desk"
)

// atJobs is how many of the suppliers' machines do their registered jobs during every drill; attacks use the others.
const atJobs = 2

// atTheirJobs are the machines that work, none on a platform without suppliers.
func (p *Platform) atTheirJobs(ctx context.Context, known int) (list []*clerk, err error) {
	for i := range min(atJobs, len(p.file.Suppliers)) {
		s := &p.file.Suppliers[i]
		e, err := p.supplier(s)
		if err != nil {
			return nil, err
		}
		c := &clerk{employee: e, job: desk.Reason(s.Job)}
		c.first, _ = e.insurer.Persons()
		if c.persons, err = p.know(ctx, e.insurer, known); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// stealable are the machines of suppliers that an attack may use, by the number of their insurer: those that do no job and were not
// held for an earlier attack.
func (p *Platform) stealable(ctx context.Context) (map[int]*demo.Supplier, error) {
	if len(p.file.Suppliers) <= atJobs {
		return nil, errors.New("this attack uses a supplier's machine, and the platform has none with a registered job; a demonstration has, unless its configuration names a policy of its own (watch.policy)")
	}
	runs, err := p.node.Runs(ctx)
	if err != nil {
		return nil, err
	}
	held := map[querschott.Actor]bool{}
	for i := range runs {
		if slices.ContainsFunc(runs[i].Deeds, holds) {
			held[runs[i].Alarm.Actor] = true
		}
	}
	list := map[int]*demo.Supplier{}
	for i := range p.file.Suppliers[atJobs:] {
		s := &p.file.Suppliers[atJobs+i]
		for k, in := range p.world.Insurers() {
			if in.IK == s.IK && !held[s.Actor] {
				list[k] = s
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("all %d suppliers' machines that attacks may use were held for earlier ones; release their credentials, or take another platform", len(p.file.Suppliers)-atJobs)
	}
	return list, nil
}
