package watch

import "time"

// jobWatch is D2: registered mass accesses that do what was not registered. What keeps to its registration is no alarm of
// anybody's.
type jobWatch struct {
	jobs map[string]*Job
	seen map[string]*distinct
}

func newJobs(jobs map[string]*Job) *jobWatch {
	return &jobWatch{jobs: jobs, seen: map[string]*distinct{}}
}

func (*jobWatch) Name() string { return "D2" }

func (d *jobWatch) Stats() Stats { return Stats{Keys: len(d.seen)} }

func (d *jobWatch) Tick(_ time.Time, to []Alarm) []Alarm { return to }

func (d *jobWatch) Observe(e *Event, to []Alarm) []Alarm {
	if !e.Job || e.Result != Reached {
		return to
	}
	j := d.jobs[e.ReasonRef]
	if e.At.Before(j.From) || !e.At.Before(j.To) {
		to = append(to, e.alarm("D2", "job-time", Exact, High,
			Number{"from", float64(j.From.Unix()), "s since 1970"}, Number{"to", float64(j.To.Unix()), "s since 1970"}))
	}
	if j.Insurer != "" && e.Insurer != "" && e.Insurer != j.Insurer {
		to = append(to, e.alarm("D2", "job-insurer", Exact, High))
	}
	if len(j.Actors) > 0 && !j.works(e) {
		to = append(to, e.alarm("D2", "job-actor", Exact, High))
	}
	if e.Subject == 0 {
		return to
	}
	s := d.seen[j.ID]
	if s == nil {
		s = &distinct{}
		d.seen[j.ID] = s
	}
	// Large sets are estimates: what lies within the error of the count is no fact.
	if s.add(e.Subject); s.many != nil && s.count() <= j.Persons+j.Persons/10 || s.count() <= j.Persons {
		return to
	}
	return append(to, e.alarm("D2", "job-persons", Exact, High,
		Number{"persons", float64(s.count()), "persons"}, Number{"registered", float64(j.Persons), "persons"}))
}

func (j *Job) works(e *Event) bool {
	for _, a := range j.Actors {
		if a == e.Actor {
			return true
		}
	}
	return false
}
