package http

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service"
)

// A bucket against the textbook: tokens that flow in with time, up to a burst.
func TestRatesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{float64(rapid.IntRange(1, 20).Draw(t, "rate")), rapid.IntRange(1, 10).Draw(t, "burst")}
		r, now := newRates[string](100), time.Unix(1e9, 0)
		tokens := map[string]int64{} // in ns of refill, so that both count in whole numbers
		step := int64(float64(time.Second) / rate.PerSecond)
		last := map[string]time.Time{}
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			full := step * int64(rate.Burst)
			if at, ok := last[key]; ok {
				tokens[key] = min(full, tokens[key]+int64(now.Sub(at)))
			} else {
				tokens[key] = full
			}
			last[key] = now
			a := r.take(key, rate, now)
			want := tokens[key] >= step
			if a.ok != want {
				t.Fatalf("allowed = %v, want %v with %d of %d", a.ok, want, tokens[key], step)
			}
			if a.ok {
				tokens[key] -= step
			} else if a.retry != time.Duration(step-tokens[key]) {
				t.Fatalf("retry after %v, want %v", a.retry, time.Duration(step-tokens[key]))
			}
			if int64(a.remaining) != tokens[key]/step || a.limit != rate.Burst {
				t.Fatalf("remaining %d of %d, want %d", a.remaining, a.limit, tokens[key]/step)
			}
		}
	})
}

// However many keys come, memory is bounded, and nobody who is limited gets free.
func TestRatesAreBounded(t *testing.T) {
	r, now := newRates[string](160), time.Unix(1e9, 0)
	rate := Rate{0.001, 1}
	if !r.take("limited", rate, now).ok || r.take("limited", rate, now).ok {
		t.Fatal("a burst of one allows exactly one")
	}
	allowed := 0
	for i := range 10_000 {
		if r.take(strconv.Itoa(i), rate, now.Add(time.Duration(i)*time.Millisecond)).ok {
			allowed++
		}
	}
	held := 0
	for i := range r.shards {
		held += len(r.shards[i].full)
	}
	if held > 160 || allowed > 160+len(r.shards) {
		t.Errorf("%d keys held and %d allowed, want at most 160 and 176", held, allowed)
	}
	if r.crowded.Load() == 0 {
		t.Error("nothing says that there was no room")
	}
	if r.take("limited", rate, now.Add(11*time.Second)).ok {
		t.Error("the limited key is free")
	}
	later := now.Add(time.Hour)
	if !r.take("new", rate, later).ok || !r.take("another", rate, later).ok {
		t.Error("there is no room when all buckets are full again")
	}
}

// reachModel remembers everything.
type reachModel map[querschott.KVNR][]time.Time

func (m reachModel) distinct(now time.Time, window time.Duration, with ...querschott.KVNR) int {
	n := 0
	people := slices.AppendSeq(slices.Clone(with), maps.Keys(m))
	slices.Sort(people)
	for _, p := range slices.Compact(people) {
		if slices.Contains(with, p) || slices.ContainsFunc(m[p], func(t time.Time) bool { return t.After(now.Add(-window)) }) {
			n++
		}
	}
	return n
}

func TestReachAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Reach{rapid.IntRange(1, 4).Draw(t, "minute"), rapid.IntRange(2, 6).Draw(t, "quarter"), rapid.IntRange(3, 8).Draw(t, "day")}
		r, m, now := newReaches(1000), reachModel{}, time.Unix(1e9, 0)
		steps := []time.Duration{0, time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, 3 * time.Hour, 24 * time.Hour}
		for range 60 {
			now = now.Add(rapid.SampledFrom(steps).Draw(t, "pause"))
			var persons []querschott.KVNR
			for range rapid.IntRange(1, 3).Draw(t, "n") {
				persons = append(persons, kvnr(rapid.IntRange(1, 10).Draw(t, "person")))
			}
			want := true
			for w, window := range windows {
				before := m.distinct(now, window)
				after := m.distinct(now, window, persons...)
				want = want && (after <= limit.limits()[w] || after == before)
			}
			retry, ok := r.take("c", limit, now, persons...)
			if ok != want {
				t.Fatalf("%d persons allowed = %v, want %v", len(persons), ok, want)
			}
			if !ok {
				if retry <= 0 || retry > 24*time.Hour {
					t.Fatalf("retry after %v", retry)
				}
				continue
			}
			for _, p := range persons {
				m[p] = append(m[p], now)
			}
		}
	})
}

func TestReachIsBounded(t *testing.T) {
	r, now := newReaches(16*10), time.Unix(1e9, 0)
	limit := Reach{1000, 1000, 1000}
	for i := range 1000 {
		now = now.Add(time.Millisecond)
		if _, ok := r.take(querschott.CredentialID(fmt.Sprint("c", i)), limit, now, kvnr(1), kvnr(2), kvnr(3)); !ok {
			t.Fatal("refused below the limit")
		}
	}
	held := 0
	for i := range r.shards {
		s := &r.shards[i]
		n := 0
		for _, e := range s.by {
			n += e.Value.(*trail).steps.Len()
		}
		if n != s.held || s.quiet.Len() != len(s.by) {
			t.Errorf("a shard says that it holds %d persons, and holds %d", s.held, n)
		}
		held += n
	}
	if held > 160 || r.forgotten.Load() != uint64(3000-held) {
		t.Errorf("%d persons held and %d forgotten, want at most 160 and the rest", held, r.forgotten.Load())
	}
	// Whoever was forgotten because the day was over is not a loss.
	before := r.forgotten.Load()
	for i := range 10 {
		r.take(querschott.CredentialID(fmt.Sprint("d", i)), limit, now.Add(48*time.Hour), kvnr(1))
	}
	if r.forgotten.Load() != before {
		t.Errorf("%d were forgotten before their time", r.forgotten.Load()-before)
	}
}

func TestRateOfCredential(t *testing.T) {
	w := open(t, func(c *Config) {
		c.Limits.Credential = Rate{0.01, 2}
		c.Limits.Rates = map[querschott.Role]Rate{querschott.RolePartner: {0.01, 3}}
		c.Now = func() time.Time { return time.Unix(1e9, 0) }
	})
	for _, tc := range []struct {
		as    string
		burst int
	}{{"practice", 2}, {"partner", 3}} {
		for i := range tc.burst + 1 {
			got := w.ask(ask{target: "/fixed", as: tc.as})
			if want := map[bool]int{true: 200, false: 429}[i < tc.burst]; got.status != want || got.header.Get("X-Rate-Limit-Limit") != strconv.Itoa(tc.burst) {
				t.Errorf("%s, request %d: got %v %v", tc.as, i, got, got.header)
			}
			if got.status == 429 && (got.header.Get("Retry-After") != "100" || got.header.Get("X-Rate-Limit-Remaining") != "0" || got.header.Get("X-Rate-Limit-Reset") != strconv.Itoa(tc.burst*100)) {
				t.Errorf("the refusal's headers are %v", got.header)
			}
		}
	}
	e := w.take()
	if len(e) != 7 || e[2].Reason != ledger.ReasonOverCap || e[2].Outcome != ledger.OutcomeDenied || detail(e[2], "cause") != "rate" {
		t.Errorf("the entries are %+v", e)
	}
}

// One stolen credential gets to as many persons as its limit says, and to not one more, whatever way it goes.
func TestReachOfCredential(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.Reach = Reach{5, 7, 9} })
	check := func(n int, want int) {
		t.Helper()
		got := w.ask(ask{target: "/vsd/v1/bundle", as: "practice", popp: string(one) + "/" + string(kvnr(n))})
		if got.status != want {
			t.Errorf("person %d: got %v, want %d", n, got, want)
		}
	}
	for i := range 5 {
		check(i, 200)
	}
	check(5, 429)
	check(3, 200) // known already
	w.clock.Add(int64(61 * time.Second))
	check(5, 200)
	check(6, 200)
	check(7, 429) // seven within a quarter of an hour
	w.clock.Add(int64(16 * time.Minute))
	check(7, 200)
	check(8, 200)
	w.clock.Add(int64(16 * time.Minute))
	check(9, 429) // nine within a day
	if e := w.take(); detail(e[len(e)-1], "cause") != "reach" || e[len(e)-1].Person != kvnr(9) {
		t.Errorf("the last entry is %+v", e[len(e)-1])
	}
	w.clock.Add(int64(25 * time.Hour))
	check(9, 200)
}

// An answer about more persons than are left stays here as a whole.
func TestReachOfAnswer(t *testing.T) {
	w := open(t, func(c *Config) { c.Limits.Reach = Reach{5, 50, 50} })
	n := 5
	w.serve = func(context.Context, *gate.Request) (*service.Answer, error) {
		f := service.Facts{Action: ledger.ActionSearch, Outcome: ledger.OutcomeSuccess, Records: uint32(n) + 2}
		for i := range n {
			f.Persons = append(f.Persons, kvnr(i))
		}
		return &service.Answer{Status: 200, Body: []byte("list"), Facts: f}, nil
	}
	if got := w.ask(ask{target: "/fixed", as: "practice"}); got.status != 200 {
		t.Errorf("got %v", got)
	}
	// One event for each person; records and bytes add up.
	events := w.heard()
	var records uint32
	var bytes int64
	for _, e := range events {
		records += e.Records
		bytes += e.Bytes
	}
	if len(events) != 5 || records != 7 || bytes != 4 {
		t.Errorf("%d events with %d records and %d bytes", len(events), records, bytes)
	}
	w.set(func() { n = 6 })
	if got := w.ask(ask{target: "/fixed", as: "practice"}); got.status != 429 || got.body == "list" {
		t.Errorf("got %v", got)
	}
	if got := w.ask(ask{target: "/fixed", as: "partner"}); got.status != 200 {
		t.Errorf("another credential got %v", got)
	}
}

func TestRateOfNetwork(t *testing.T) {
	w := open(t, func(c *Config) {
		c.Limits.Network = Rate{0.001, 3}
		c.Trusted = prefixes("127.0.0.1/32")
		c.Now = func() time.Time { return time.Unix(1e9, 0) }
	})
	from := func(addr string) answer {
		return w.ask(ask{target: "/fixed", header: http.Header{"X-Forwarded-For": {addr}}})
	}
	for i, addr := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:1::", "2001:db8::3", "2001:db8:0:1::1"} {
		if got, want := from(addr), map[bool]int{true: 429, false: 401}[i == 3]; got.status != want {
			t.Errorf("%s: got %v, want %d", addr, got, want)
		}
	}
	from("2001:db8::4") // once more: counted, and no event
	if events := w.heard(); len(events) != 5 {
		t.Errorf("%d events, want those of four requests and one of the network", len(events))
	}
	w.set(func() { w.before = func() error { return errors.New("full") } })
	w.srv.settle(t.Context())
	if st := w.srv.Stats(); st.Unsettled != 1 || len(w.take()) != 0 {
		t.Errorf("stats are %+v", st)
	}
	w.set(func() { w.before = nil })
	w.srv.settle(t.Context()) // nothing is lost
	e := w.take()
	if len(e) != 3 {
		t.Fatalf("the entries are %+v", e)
	}
	counts := map[string]string{}
	for _, x := range e {
		counts[detail(x, "network")+" "+detail(x, "cause")] = detail(x, "count")
	}
	want := map[string]string{"2001:db8::/64 no_token": "3", "2001:db8::/64 network-rate": "2", "2001:db8:0:1::/64 no_token": "1"}
	if !maps.Equal(counts, want) {
		t.Errorf("counted %v, want %v", counts, want)
	}
}

// A flood of strangers from everywhere fits into a bounded number of entries.
func TestAttemptsAreBounded(t *testing.T) {
	a := newAttempts()
	for i := range 3 * maxAttempts {
		a.add(time.Unix(int64(i), 0), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), "no_token")
	}
	entries := a.take()
	sum, many := 0, ""
	for key, counted := range entries {
		e := counted.entry(key)
		n, _ := strconv.Atoi(detail(e, "count"))
		sum += n
		if detail(e, "network") == "many" {
			many = detail(e, "count")
		}
	}
	if len(entries) != maxAttempts+1 || sum != 3*maxAttempts || many != strconv.Itoa(2*maxAttempts) {
		t.Errorf("%d entries that count %d, %s of them together", len(entries), sum, many)
	}
	if left := a.take(); len(left) != 0 {
		t.Errorf("%d are counted twice", len(left))
	}
}

// A flood on one insurer fills its own places and its own queue. The other insurer's requests find no difference.
func TestFloodStaysInItsCompartment(t *testing.T) {
	w := open(t, func(c *Config) {
		c.Limits.Concurrent, c.Limits.Waiting, c.Limits.Patience = 4, 8, 50*time.Millisecond
	})
	release := make(chan struct{})
	arrived := make(chan struct{}, 100)
	w.serve = func(ctx context.Context, r *gate.Request) (*service.Answer, error) {
		if r.Compartment.Insurer == one {
			arrived <- struct{}{}
			<-release
		}
		return plain(ctx, r)
	}
	var flood sync.WaitGroup
	statuses := make(chan int, 100)
	c := w.client(false)
	for range 40 {
		flood.Go(func() { statuses <- do(t, c, ask{target: "/desk/" + string(one), as: "practice"}).status })
	}
	for range 4 {
		<-arrived
	}
	for range 20 {
		if got := w.ask(ask{target: "/desk/" + string(two), as: "practice"}); got.status != 200 {
			t.Errorf("the other insurer: got %v", got)
		}
	}
	for range 36 { // all but those inside are refused: at once, or after they waited
		if status := <-statuses; status != 503 {
			t.Errorf("a request of the flood: got %d, want 503", status)
		}
	}
	close(release)
	flood.Wait()
	for range 4 {
		if status := <-statuses; status != 200 {
			t.Errorf("a request that was inside: got %d", status)
		}
	}
	if n := w.srv.Stats().Outcomes[Outcome{querschott.Desk, ledger.OutcomeDenied, ledger.ReasonOverCap}]; n != 36 {
		t.Errorf("%d are counted as refused, want 36", n)
	}
	if got := w.ask(ask{target: "/desk/" + string(one), as: "practice"}); got.status != 200 {
		t.Errorf("after the flood: got %v", got)
	}
}

func TestStats(t *testing.T) {
	w := open(t)
	w.ask(ask{target: "/fixed", as: "practice"})
	w.ask(ask{target: "/fixed", as: "thief"})
	w.ask(ask{target: "/nowhere"})
	st := w.srv.Stats()
	want := map[Outcome]uint64{
		{querschott.EPA, ledger.OutcomeSuccess, ledger.ReasonNone}:         1,
		{querschott.EPA, ledger.OutcomeDenied, ledger.ReasonNotIdentified}: 1,
		{"", ledger.OutcomeFailed, ledger.ReasonNotThere}:                  1,
	}
	if !maps.Equal(st.Outcomes, want) {
		t.Errorf("counted %v, want %v", st.Outcomes, want)
	}
	var n uint64
	for _, c := range st.Latency[querschott.EPA].Counts {
		n += c
	}
	if n != 2 || st.Latency[querschott.EPA].Sum <= 0 || st.InFlight < 0 || st.Panics != 0 {
		t.Errorf("stats are %+v", st)
	}
}
