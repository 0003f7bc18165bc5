package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/querschott/querschott/wire/kim"
)

func TestRefusedMailIsRepeatedWithBackOff(t *testing.T) {
	w, ca := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		began := time.Now()
		d := newMailDoor(func(nth int, _ received) conduct {
			tries = append(tries, time.Since(began).Round(time.Second))
			if nth < 5 {
				return refuse
			}
			return accept
		})
		s := start(t, d.quick(t, w, ca))
		if err := s.Flood(w.Insurers()[0].IK, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(tries), "[0s 2s 6s 14s 30s]"; got != want {
			t.Errorf("tries at %s, want %s", got, want)
		}
		if st := s.Stats(); st.Refused != 4 || st.Accepted != 1 || st.Made != 1 {
			t.Errorf("%+v", st)
		}
		d.noFaults(t)
	})
}

// A closed door and a slow one do not keep a practice from writing; what it has written is sent when the door opens.
func TestWhatIsWrittenDuringAnOutageIsSentAfterIt(t *testing.T) {
	w, ca := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		opens := time.Now().Add(time.Minute)
		d := newMailDoor(func(int, received) conduct { return accept })
		cfg := d.quick(t, w, ca)
		cfg.Rate, cfg.Connections = 1, 2
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			if time.Now().Before(opens) {
				return nil, errors.New("connection refused")
			}
			return dial(ctx)
		}
		s := start(t, cfg)
		synctest.Wait()
		timer := time.NewTimer(50 * time.Second)
		<-timer.C
		st := s.Stats()
		if st.Made < 30 || st.Made > 80 || st.Accepted != 0 || st.Waiting != int(st.Made) || st.ConnectionErrors > 20 {
			t.Errorf("after 50 s without a door: %+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Accepted != st.Made || s.Books().Len() != int(st.Made) {
			t.Errorf("after the outage: %+v", st)
		}
		d.noFaults(t)
	})
}

func TestASlowDoorIsWaitedFor(t *testing.T) {
	w, ca := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		d := newMailDoor(func(nth int, _ received) conduct {
			timer := time.NewTimer(20 * time.Second)
			<-timer.C
			return accept
		})
		s := start(t, d.quick(t, w, ca))
		if err := s.Flood(w.Insurers()[0].IK, 2); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Accepted != 2 || st.ConnectionErrors != 0 || st.P50 < 20*time.Second || st.P99 > 23*time.Second {
			t.Errorf("%+v", st)
		}
	})
}

// A door that takes a mail and never answers is given up; the mail is sent again, and is the same mail.
func TestASilentDoorIsGivenUp(t *testing.T) {
	w, ca := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		d := newMailDoor(func(nth int, _ received) conduct {
			if nth == 1 {
				timer := time.NewTimer(10 * time.Minute)
				<-timer.C
			}
			return accept
		})
		s := start(t, d.quick(t, w, ca))
		if err := s.Flood(w.Insurers()[0].IK, 1); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < answerTimeout || took > answerTimeout+5*time.Second {
			t.Errorf("it took %v", took)
		}
		if st := s.Stats(); st.Accepted != 1 || st.ConnectionErrors != 1 {
			t.Errorf("%+v", st)
		}
		timer := time.NewTimer(10 * time.Minute) // the first copy arrives after all
		<-timer.C
		synctest.Wait()
		if d.mu.Lock(); len(d.stored) != 1 {
			t.Errorf("the door has %d mails, want one, twice", len(d.stored))
		}
		d.mu.Unlock()
		d.noFaults(t)
	})
}

func TestStoppingASender(t *testing.T) {
	w, ca := enrolled(t)
	reached, decide := after(50, func(nth int, _ received) conduct { return conduct(nth % 2) })
	d := newMailDoor(decide)
	s, err := NewSender(d.serve(t, w, ca, listen(t), false))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-reached
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	st := s.Stats()
	if st.Made != st.Accepted+st.Rejected+uint64(st.Waiting) || st.ConnectionErrors != 0 {
		t.Errorf("the books do not balance: %+v", st)
	}
	short, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Drain(short); !errors.Is(err, context.Canceled) {
		t.Errorf("draining a stopped sender: %v", err)
	}
}

func TestImpossibleSenders(t *testing.T) {
	w, _ := enrolled(t)
	login := func(kim.Address) (string, string) { return "", "" }
	for name, cfg := range map[string]SenderConfig{
		"no world":   {Addr: "127.0.0.1:1", Login: login},
		"no address": {World: w, Login: login},
		"no login":   {World: w, Addr: "127.0.0.1:1"},
		"no CA":      {World: NewWorld(1, 1, 5), Addr: "127.0.0.1:1", Login: login},
	} {
		if _, err := NewSender(cfg); err == nil {
			t.Errorf("%s: a sender was made", name)
		}
	}
}
