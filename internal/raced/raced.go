// Package raced lets tests know whether the race detector watches them. It promises that nothing is left out by this:
// ./test runs every test whose first line asks here once more, without the detector and whole.
package raced

import "testing"

// Alone is the first line of a test that calculates and has nothing running beside it: no race can show there, and the
// detector would make it ten times as long. It runs without the detector only.
func Alone(t testing.TB) {
	t.Helper()
	if detector {
		t.Skip("it calculates alone: ./test runs it without the race detector")
	}
}

// Some is how many rounds a test makes: all of them, or some where the detector watches each.
func Some(all, some int) int {
	if detector {
		return some
	}
	return all
}
