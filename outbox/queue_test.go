package outbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takeAll hands out what is due, and returns the lanes in the order of their turns.
func takeAll(q *queue, now time.Time) (order string, jobs []job) {
	for l := q.turn(now); l != nil; l = q.turn(now) {
		j, ok := q.hand(l, now)
		if !ok {
			continue
		}
		order += string(j.lane[:1])
		jobs = append(jobs, j)
	}
	return order, jobs
}

// waiting puts n mails into a lane of a queue, read ahead already.
func waiting(q *queue, name byte, n int, at time.Time) {
	l := q.lane(laneID{name})
	for i := range n {
		j := job{lane: l.id, at: micros(at), ref: ref{name, byte(i)}}
		q.add(j, at)
		q.filled(l, []job{j}, never)
	}
	l.next = never
	q.place(l, at)
}

func TestDomainsTakeTurns(t *testing.T) {
	now := time.Unix(1800000000, 0)
	q := newQueue(4)
	waiting(&q, 'a', 9, now)
	waiting(&q, 'b', 2, now)
	waiting(&q, 'c', 3, now)
	order, jobs := takeAll(&q, now)
	if diff := cmp.Diff("abcabcaca", order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	for _, j := range jobs {
		q.place(q.back(j, true, never), now)
	}
	if order, _ := takeAll(&q, now); order != "aaaa" || q.waiting != 5 || q.busy != 4 {
		t.Errorf("second round %q, %d waiting, %d busy", order, q.waiting, q.busy)
	}
}

// A domain that failed gets one mail at a time until one succeeds, and none while it pauses.
func TestDomainInTrouble(t *testing.T) {
	now := time.Unix(1800000000, 0)
	q := newQueue(3)
	waiting(&q, 'a', 6, now)
	_, jobs := takeAll(&q, now)
	again := now.Add(time.Hour)
	l := q.back(jobs[0], false, micros(again))
	l.misses, l.until = 1, now.Add(time.Minute)
	q.place(l, now)
	for _, j := range jobs[1:] {
		q.place(q.back(j, true, never), now)
	}
	if order, _ := takeAll(&q, now); order != "" {
		t.Errorf("handed out in the pause: %q", order)
	}
	if at, ok := q.nextAt(); !ok || !at.Equal(now.Add(time.Minute)) {
		t.Errorf("next at %v, %v", at, ok)
	}
	now = now.Add(time.Minute)
	order, jobs := takeAll(&q, now)
	if order != "a" {
		t.Fatalf("after the pause %q, want one", order)
	}
	l = q.back(jobs[0], true, never)
	l.misses = 0
	q.place(l, now)
	if order, _ := takeAll(&q, now); order != "aa" {
		t.Errorf("after a success %q, want both of the rest", order)
	}
	if at, ok := q.nextAt(); !ok || !at.Equal(again) {
		t.Errorf("next at %v, %v; want the second attempt of the first mail at %v", at, ok, again)
	}
}
