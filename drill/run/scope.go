package run

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope"
)

// compare asks the platform whom the credentials reached, and compares it with the truth.
func (t *thief) compare(ctx context.Context, credentials []querschott.CredentialID) (*Scope, *scope.Answer, error) {
	q := node.ScopeRequest{Reveal: true, Question: scope.Question{
		Credentials: credentials, From: t.first, To: t.last().Truncate(time.Second).Add(time.Second), Persons: true,
	}}
	if err := wait(ctx, time.Until(q.To)); err != nil {
		return nil, nil, err
	}
	a, err := t.p.node.Scope(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	s := &Scope{Persons: a.Total.Best}
	said := map[whom]bool{}
	for _, in := range a.Insurers {
		for _, p := range in.Persons {
			if p.Number != "" && p.Result != scope.Refused {
				said[whom{in.Insurer, querschott.KVNR(p.Number)}] = true
			}
		}
		s.Grade = max(s.Grade, string(in.Grade))
	}
	for w := range t.got {
		if !said[w] {
			s.Missed++
		}
	}
	for w := range said {
		if !t.got[w] {
			s.Extra++
		}
	}
	s.Exact = s.Missed == 0 && s.Extra == 0 && a.Total.Lower == uint64(len(t.got)) && a.Total.Upper == uint64(len(t.got))
	s.Verified, err = t.prove(ctx, q.Question, s.Persons)
	return s, a, err
}

// prove has the platform prove its answer, and checks the proof with nothing but a public key.
func (t *thief) prove(ctx context.Context, q scope.Question, persons uint64) (*bool, error) {
	proved, err := t.p.node.ScopeProof(ctx, q)
	if err != nil {
		return nil, err
	}
	v, err := proved.Proof.Verify(proved.VKey)
	good := err == nil && v.Complete && v.Total.Best == persons
	return &good, nil // that it does not verify is the result
}

// identify asks the platform's ledger for the credentials that no alarm has named: who saw one of those persons, by the attacker's name.
// Whoever got nobody's data is left out.
func (t *thief) identify(ctx context.Context, thefts []Theft) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, h := range t.order {
		if thefts[i].Credential != "" || len(h.got) == 0 {
			continue
		}
		var one whom
		for one = range h.got {
			break
		}
		seen, err := t.p.node.Who(ctx, node.WhoRequest{Insurer: one.insurer, Person: one.number.Reveal(), From: t.since, To: time.Now().Add(time.Second)})
		if err != nil {
			return err
		}
		for _, s := range seen.List {
			if s.Actor == h.actor() {
				thefts[i].Credential = s.Credential
			}
		}
	}
	return nil
}

// leaked is how many of the persons in a dump are asked about to find where it came from.
const leaked = 12

// source ranks the credentials by how many of some leaked persons each of them reached, and returns the first.
func (t *thief) source(ctx context.Context) (querschott.CredentialID, error) {
	count := map[querschott.CredentialID]int{}
	asked := 0
	for w := range t.got {
		if asked++; asked > leaked {
			break
		}
		seen, err := t.p.node.Who(ctx, node.WhoRequest{
			Insurer: w.insurer, Person: w.number.Reveal(), From: t.since, To: time.Now().Add(time.Second),
		})
		if err != nil {
			return "", err
		}
		by := map[querschott.CredentialID]bool{}
		for _, s := range seen.List {
			if (s.Role == querschott.RoleStaff || s.Role == querschott.RolePartner) && s.Result != scope.Refused {
				by[s.Credential] = true
			}
		}
		for c := range by {
			count[c]++
		}
	}
	ranked := slices.SortedFunc(maps.Keys(count), func(a, b querschott.CredentialID) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a, b))
	})
	if len(ranked) == 0 {
		return "", nil
	}
	return ranked[0], nil
}

// perInsurer reports whether the answer's numbers of persons are the distinct ones of each insurer.
func (t *thief) perInsurer(a *scope.Answer) (bool, string) {
	want := map[querschott.IK]uint64{}
	for w := range t.got {
		want[w.insurer]++
	}
	same, insurers := true, 0
	for _, in := range a.Insurers {
		if in.Insurer != "" { // what concerns no insurer
			insurers++
		}
		same = same && in.Bounds.Best == want[in.Insurer]
		delete(want, in.Insurer)
	}
	return same && len(want) == 0, fmt.Sprintf("%d insurers, %d persons", insurers, len(t.got))
}
