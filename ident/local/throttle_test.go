package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

// TestStrangersLockNobodyOut tries an account from everywhere until it is refused, and then lets its owner in.
func TestStrangersLockNobodyOut(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	known := h.in(t, h.attempt(anna))
	h.clk.advance(time.Minute)
	tries := 0
	for i := range 100 {
		a := Attempt{Name: "aNNa", Password: "x", Code: "000000", Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}
		_, err := h.Login(t.Context(), a)
		if querschott.CodeOf(err) == querschott.CodeTooMany {
			if after := RetryAfter(err); after <= 0 || after > accountRate.pause {
				t.Errorf("to be tried again after %v", after)
			}
			continue
		}
		tries++
	}
	if tries != accountRate.burst {
		t.Errorf("%d guesses at once from a hundred addresses, want %d", tries, accountRate.burst)
	}
	h.refused(t, "the owner with a strange browser", h.attempt(anna), querschott.CodeTooMany)
	a := h.attempt(anna)
	a.Device = known.Device
	h.in(t, a)
	h.in(t, h.attempt(ben)) // nobody else notices
	h.clk.advance(accountRate.pause)
	h.in(t, h.attempt(anna)) // and it passes by itself
}

func TestOneAddressIsThrottled(t *testing.T) {
	h := newHouse(t)
	tries := 0
	for i := range 100 {
		// One IPv6 network of one party, other names each time.
		a := Attempt{Name: fmt.Sprintf("name%d", i), Password: "x", Address: netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::%x", i, i))}
		if _, err := h.Login(t.Context(), a); querschott.CodeOf(err) == querschott.CodeUnauthorized {
			tries++
		}
	}
	if tries != addressRate.burst {
		t.Errorf("%d guesses at once from one network, want %d", tries, addressRate.burst)
	}
	mapped := Attempt{Name: "x", Address: netip.MustParseAddr("::ffff:198.51.100.1")}
	for range addressRate.burst {
		if _, err := h.Login(t.Context(), mapped); querschott.CodeOf(err) == querschott.CodeTooMany {
			break
		}
		mapped.Name += "x"
	}
	mapped.Address, mapped.Name = mapped.Address.Unmap(), "y"
	h.refused(t, "the same address in its other form", mapped, querschott.CodeTooMany)
}

// TestKnownBrowser checks that nobody makes himself a known browser, and that one is throttled, too.
func TestKnownBrowser(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.operator(t, "anna"), h.operator(t, "ben")
	device := h.in(t, h.attempt(anna)).Device
	account := func(p person) *account {
		c := h.table.Load().byName[p.name]
		return &c
	}
	now := h.clk.now()
	if _, ok := h.used.knows(account(anna), device, now); !ok {
		t.Error("a browser that logged in is a stranger")
	}
	flipped := []byte(device)
	flipped[3] ^= 1
	for name, tc := range map[string]struct {
		of     person
		device string
		at     time.Time
	}{
		"of another account": {ben, device, now}, "too old": {anna, device, now.Add(deviceLife)}, "changed": {anna, string(flipped), now},
		"cut": {anna, device[:len(device)-2], now}, "none": {anna, "", now}, "endless": {anna, strings.Repeat("00", 1<<16), now},
	} {
		if _, ok := h.used.knows(account(tc.of), tc.device, tc.at); ok {
			t.Errorf("%s: a stranger is known", name)
		}
	}
	for i := range deviceRate.burst + 1 {
		want := querschott.CodeUnauthorized
		if i == deviceRate.burst {
			want = querschott.CodeTooMany
		}
		h.refused(t, fmt.Sprint("try ", i), Attempt{Name: "anna", Password: "x", Device: device, Address: home}, want)
	}
	token, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	h.enrolWith(t, token)
	if _, ok := h.used.knows(account(anna), device, now); ok {
		t.Error("a browser of before the renewal is known")
	}
}

func TestThrottleAgainstModel(t *testing.T) {
	r := rate{3, 10 * time.Second}
	th := newThrottle(r)
	rng := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1e9, 0)
	tokens, last := float64(r.burst), now
	for range 5000 {
		now = now.Add(time.Duration(rng.IntN(12)) * time.Second)
		tokens = min(float64(r.burst), tokens+now.Sub(last).Seconds()/r.pause.Seconds())
		last = now
		wait := th.take("k", now)
		if got, want := wait == 0, tokens > 1-1e-6; got != want {
			t.Fatalf("passes = %v with %f tokens", got, tokens)
		}
		if wait == 0 {
			tokens--
		} else if back := (1 - tokens) * r.pause.Seconds(); wait.Seconds()-back > 1e-3 || back-wait.Seconds() > 1e-3 {
			t.Fatalf("wait %v, want %fs", wait, back)
		}
		if wait == 0 && rng.IntN(4) == 0 {
			th.give("k", now)
			tokens = min(float64(r.burst), tokens+1)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th, now := newThrottle(accountRate), time.Unix(1e9, 0)
	for range accountRate.burst {
		th.take("victim", now)
	}
	for i := range maxBuckets + 5000 {
		th.take(fmt.Sprint(i), now)
	}
	if len(th.full) > maxBuckets {
		t.Errorf("%d keys", len(th.full))
	}
	if th.take("victim", now) == 0 {
		t.Error("a flood of names washed out what is known of one that was tried often")
	}
	now = now.Add(time.Hour)
	th.take("x", now)
	th.take("y", now)
	if len(th.full) > 2 {
		t.Errorf("%d keys after an hour", len(th.full))
	}
}

// TestFloodIsBounded holds the only place for hashes and lets a crowd come.
func TestFloodIsBounded(t *testing.T) {
	h := newHasher(1)
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { _ = h.run(t.Context(), false, func() { close(held); <-hold }) })
	<-held
	var running, most, served, refused atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	for range 10 * maxWaiting {
		all.Go(func() {
			err := h.run(ctx, false, func() { most.Store(max(most.Load(), running.Add(1))); running.Add(-1); served.Add(1) })
			if querschott.CodeOf(err) == querschott.CodeTooMany {
				refused.Add(1)
			}
		})
	}
	for refused.Load() == 0 { // the crowd has filled the queue
		if err := h.run(t.Context(), true, func() {}); err != nil {
			t.Fatalf("a known browser waits with the strangers: %v", err)
		}
	}
	close(hold)
	all.Wait()
	cancel()
	if most.Load() != 1 || served.Load()+refused.Load() != 10*maxWaiting || served.Load() < maxWaiting {
		t.Errorf("%d at once, %d served, %d refused", most.Load(), served.Load(), refused.Load())
	}
	if err := func() error {
		h.places <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return h.run(ctx, false, func() { t.Error("served without a place") })
	}(); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting past the context: %v", err)
	}
}

// TestCostsAreEqual counts what an attempt costs instead of measuring time: the same hash, whoever is named.
func TestCostsAreEqual(t *testing.T) {
	h := newHouse(t)
	h.operator(t, "anna")
	h.cfg.Params = Params{Memory: 128, Time: 2, Threads: 1} // of passwords to come; anna's is older
	for _, name := range []string{"nobody", "", "x@y", "anna2"} {
		n := h.nobody(name)
		if n.Password.Params != (Params{Memory: 64, Time: 1, Threads: 1}) || len(n.Factor.Recovery) != recoveryCodes {
			t.Errorf("%q costs %+v", name, n.Password.Params)
		}
	}
	h.operator(t, "ben")
	costs := map[Params]int{}
	for i := range 200 {
		name := fmt.Sprint("nobody", i)
		p := h.nobody(name).Password.Params
		if p != h.nobody(name).Password.Params {
			t.Error("one name costs differently each time")
		}
		costs[p]++
	}
	if len(costs) != 2 {
		t.Errorf("unknown names cost %v, accounts cost two kinds", costs)
	}
}
