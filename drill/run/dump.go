package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/incident"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/scope/leak"
)

// Leak is what the platform finds out about two offers of data.
type Leak struct {
	Offered *leak.Report `json:"offered"` // what the attacker got, as it would be offered
	// SimulatedOldCopy is a file of invented persons whom this platform has never seen: as the copies of April 2021 that were in
	// circulation in January 2023, at a tenth of their size. The platform is not asked about it.
	SimulatedOldCopy *leak.Report `json:"simulated_old_copy"`
}

// The size of the simulated old copy: a tenth of 330,000 persons in a million rows.
const (
	copiedPersons = 33_000
	copiedRows    = 100_000
)

// explained is which part of the dump the readers named together must have reached: a credential that got one or two persons has
// too little evidence to be named.
const explained = 0.8

// copied is when the simulated old copy was made.
var copied = time.Date(2021, 4, 14, 0, 0, 0, 0, time.UTC)

// leak writes what the thief got as a dump, has the platform say whose it is, and holds that against the truth.
func (s *stage) leak(ctx context.Context, t *thief) error {
	if len(t.got) == 0 {
		return nil // there is nothing to offer
	}
	s.opt.Progress("what was stolen is offered as \"1,000,000 records\"; the platform is asked whose it is")
	offered, err := t.offer(ctx)
	if err != nil {
		return err
	}
	old, err := oldCopy(s.opt.Seed)
	if err != nil {
		return err
	}
	s.report.Leak = &Leak{offered, old}
	s.offeredConditions(t, offered)
	w := old.Windows
	april := len(w) == 1 && w[0].From.Format("2006-01") == "2021-04" && w[0].To.Format("2006-01") == "2021-04" && w[0].Holds(copied, copied)
	s.report.require("vintage window found (April 2021), of a simulated old copy", april && old.Persons == copiedPersons && old.Rows == copiedRows,
		fmt.Sprintf("%d rows, %d persons of %d insurers, %s", old.Rows, old.Persons, len(old.Insurers), windowsText(w)))
	return s.graded(ctx, t, offered)
}

func (s *stage) offeredConditions(t *thief, r *leak.Report) {
	want, same := map[querschott.IK]int{}, true
	for w := range t.got {
		want[w.insurer]++
	}
	for _, in := range r.Insurers {
		same = same && in.Persons == want[in.Insurer] && in.Ledger == in.Persons
		delete(want, in.Insurer)
	}
	s.report.require("dedupe of the dump gives distinct persons per insurer", same && len(want) == 0 && r.Persons == len(t.got) && r.Unknown == 0,
		fmt.Sprintf("%d rows, %d persons, %d insurers", r.Rows, r.Persons, len(r.Insurers)))
	first, last := t.first, t.last()
	s.report.require("the dump's window holds the theft", len(r.Windows) == 1 && r.Windows[0].Holds(first, last), windowsText(r.Windows))
	k := r.Ranking
	owned := func(c querschott.CredentialID) bool {
		return slices.ContainsFunc(s.report.Thefts, func(th Theft) bool { return th.Credential == c && c != "" })
	}
	together := 0.0
	for _, m := range k.Cover {
		if together = m.Together; !owned(m.Credential) {
			together = -1
			break
		}
	}
	found := fmt.Sprintf("confidence %s, %d readers together", k.Confidence, len(k.Cover))
	s.report.require("source credential ranked first for the dump", len(k.Readers) > 0 && owned(k.Readers[0].Credential), found)
	s.report.require("the attacker's credentials together explain the dump, and nobody else's are named", together >= explained && k.Confidence != leak.Weak,
		fmt.Sprintf("%s, %.0f %% of its persons", found, 100*together))
}

func windowsText(list []leak.Window) string {
	var b strings.Builder
	for _, w := range list {
		fmt.Fprintf(&b, "[%s, %s) ", w.From.Format(time.DateOnly), w.To.Format(time.DateOnly))
	}
	return strings.TrimSpace(b.String())
}

// offer makes the dump: each person three times, in three formats, with a card's number. The history is of the days around the
// theft: two persons have cards that were new or were replaced soon.
func (t *thief) offer(ctx context.Context) (*leak.Report, error) {
	var table, objects, inserts, history strings.Builder
	table.WriteString("nr;kvnr;family;given;birth_date;card_id\n")
	inserts.WriteString("-- 1,000,000 records of insured persons, all genuine\nINSERT INTO `insured` (`card_id`,`kvnr`) VALUES\n")
	history.WriteString("kvnr,field,value,valid_from,valid_to\n")
	i := 0
	for w := range t.got {
		p, _ := t.land.world.ByNumber(w.number)
		number, card := w.number.Reveal(), fmt.Sprintf("80276%015d", i)
		fmt.Fprintf(&table, "%d;%s;%s;%s;%s;%s\n", i, number, p.Family, p.Given, p.Born, card)
		fmt.Fprintf(&objects, "{\"card_id\":%q,\"person\":{\"kvnr\":%q,\"name\":%q}}\n", card, number, p.Family)
		fmt.Fprintf(&inserts, "('%s','%s'),\n", card, number)
		from, to := "", ""
		switch i {
		case 0:
			from = t.first.AddDate(0, 0, -9).Format(time.RFC3339)
		case 1:
			to = t.last().AddDate(0, 0, 12).Format(time.RFC3339)
		}
		fmt.Fprintf(&history, "%s,card_id,%s,%s,%s\n", number, card, from, to)
		i++
	}
	d := leak.NewDump()
	defer d.Forget()
	if err := d.ReadHistory(strings.NewReader(history.String())); err != nil {
		return nil, err
	}
	for _, file := range []string{table.String(), objects.String(), inserts.String()} {
		if err := d.Read(strings.NewReader(file)); err != nil {
			return nil, err
		}
	}
	q := node.LeakRequest{From: t.since, To: time.Now(), Windows: d.Date()} // not of an earlier exercise
	for _, k := range d.Numbers() {
		q.Numbers = append(q.Numbers, k.Reveal())
	}
	known, err := t.p.node.Leak(ctx, q)
	if err != nil {
		return nil, err
	}
	return d.Report(known), nil
}

// oldCopy examines a simulated copy of April 2021, with the histories that the invented insurers would give. Cards are
// replaced all the time; the nearest replacements lie in the same month.
func oldCopy(seed uint64) (*leak.Report, error) {
	world := drill.NewWorld(seed+2021, drill.DefaultInsurers, copiedPersons)
	rng := rand.New(rand.NewPCG(seed, 2021))
	var history, dump strings.Builder
	history.WriteString("kvnr,field,value,valid_from,valid_to,insurer\n")
	dump.WriteString("kvnr;card_id;password_hash;simulated\n")
	cards := make([]string, copiedPersons) // whose it was, and which, when the copy was made
	for i := range copiedPersons {
		p := world.Person(i)
		number := p.Number.Reveal()
		days := 16 + rng.IntN(900) // from the copy to the replacement, before or behind it
		if rng.IntN(2) == 0 {
			days = -13 - rng.IntN(900)
		}
		switch i {
		case 0:
			days = -9
		case 1:
			days = 12
		}
		at := copied.AddDate(0, 0, days).Format(time.DateOnly)
		fmt.Fprintf(&history, "%s,card_id,a%d,,%s,%s\n%s,card_id,b%d,%s,,%s\n", number, i, at, p.Insurer.IK, number, i, at, p.Insurer.IK)
		cards[i] = fmt.Sprintf("%s;a%d", number, i)
		if days < 0 { // replaced before
			cards[i] = fmt.Sprintf("%s;b%d", number, i)
		}
	}
	for i := range copiedRows {
		k := i % copiedPersons
		fmt.Fprintf(&dump, "%s;%016x;simulated\n", cards[k], k)
	}
	d := leak.NewDump()
	defer d.Forget()
	if err := d.ReadHistory(strings.NewReader(history.String())); err != nil {
		return nil, err
	}
	if err := d.Read(strings.NewReader(dump.String())); err != nil {
		return nil, err
	}
	return d.Report(nil), nil
}

// graded opens a case of the exercise, adds the dump as evidence, and tries to have it say that no data were affected.
func (s *stage) graded(ctx context.Context, t *thief, r *leak.Report) error {
	list := incident.FromLeak(r)
	cleared := false
	for i := range list {
		_, ok := list[i].Clear()
		cleared = cleared || ok
	}
	const text = "the dump match raises the grade to E5, and \"no data affected\" is refused"
	signer, err := t.p.signer()
	if signer == nil && err == nil {
		s.report.require(text, len(list) > 0 && !cleared, "no key of an operator is here: the evidence alone was looked at")
		return nil
	}
	if err != nil {
		return err
	}
	change := node.IncidentChange{Entry: incident.Entry{Kind: incident.Fact, Text: "Exercise: data are offered", TextDE: "Übung: Daten werden angeboten"}}
	x, err := t.p.node.ChangeIncident(ctx, signer, change)
	if err != nil {
		return fmt.Errorf("couldn't open a case of the exercise: %w", err)
	}
	for i := range list {
		change = node.IncidentChange{Ref: x.Case.Ref, Version: x.Case.Version, Entry: incident.Entry{Kind: incident.Finding, Evidence: &list[i]}}
		if x, err = t.p.node.ChangeIncident(ctx, signer, change); err != nil {
			return fmt.Errorf("couldn't add the dump to the case of the exercise: %w", err)
		}
	}
	change = node.IncidentChange{Ref: x.Case.Ref, Version: x.Case.Version, Entry: incident.Entry{Kind: incident.Fact, Text: "No data of insured persons were affected."}}
	_, err = t.p.node.ChangeIncident(ctx, signer, change)
	refused := querschott.CodeOf(err) == querschott.CodeInvalid
	worst, err := t.worst(ctx, x.Case.Ref)
	s.report.require(text, refused && !cleared && worst == string(incident.LeftTheHouse), fmt.Sprintf("%s: %s for %d insurers", x.Case.Ref, worst, len(list)))
	return err
}

func (t *thief) worst(ctx context.Context, ref string) (string, error) {
	cases, err := t.p.node.Incidents(ctx)
	for _, c := range cases {
		if c.Ref == ref {
			return string(c.Worst), nil
		}
	}
	return "", err
}
