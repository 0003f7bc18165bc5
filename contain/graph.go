package contain

import (
	"maps"
	"slices"
)

// graph refuses workflows that lead nowhere, in circles, or past steps that somebody believes to be taken.
func (r *reader) graph() {
	p := r.p
	if s := p.steps[p.start]; s == nil || s.kind != "start" {
		r.fault("", "workflow_start names no start step")
		return
	}
	ids := slices.Sorted(maps.Keys(p.steps))
	for _, id := range ids {
		for _, next := range p.steps[id].edges() {
			if p.steps[next] == nil {
				r.fault(id, "it leads to %.100q, which is not there", next)
			}
		}
	}
	if len(r.faults) > 0 {
		return
	}
	seen := map[string]int{}
	r.visit(p.start, seen)
	for _, id := range ids {
		if seen[id] == 0 {
			r.fault(id, "no step leads to it")
		}
	}
	if len(r.faults) == 0 && p.cost(p.start, map[string]int{}) > maxVisits {
		r.fault("", "a run of it could take more than %d steps", maxVisits)
	}
}

// maxVisits bounds how many steps one run takes.
const maxVisits = 200

// cost is how many steps a run from a step on takes at most. There are no circles.
func (p *Playbook) cost(id string, known map[string]int) int {
	if c, ok := known[id]; ok || id == "" {
		return c
	}
	s, branches := p.steps[id], 0
	for _, b := range s.branches {
		branches = min(branches+p.cost(b, known), maxVisits+1)
	}
	for _, b := range append(slices.Collect(maps.Values(s.cases)), s.onTrue, s.onFalse) {
		branches = max(branches, p.cost(b, known))
	}
	known[id] = min(1+branches+max(p.cost(s.next(), known), p.cost(s.failure, known)), maxVisits+1)
	return known[id]
}

// visit marks a step as being visited (1) and visited (2).
func (r *reader) visit(id string, seen map[string]int) {
	seen[id] = 1
	for _, next := range r.p.steps[id].edges() {
		switch seen[next] {
		case 0:
			r.visit(next, seen)
		case 1:
			r.fault(id, "it leads back to %s: a circle", next)
		}
	}
	seen[id] = 2
}

// edges are all steps that a step can lead to.
func (s *step) edges() []string {
	list := append([]string{s.completion, s.success, s.failure, s.onTrue, s.onFalse}, s.branches...)
	for _, v := range slices.Sorted(maps.Keys(s.cases)) {
		list = append(list, s.cases[v])
	}
	return slices.DeleteFunc(list, func(id string) bool { return id == "" })
}
