package pruefziffer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

const person querschott.KVNR = "A123456780"

var (
	iat   = time.Unix(1777032206, 0)  // 2026-04-24T12:03:26Z
	first = iat.Add(-6 * time.Second) // the beginning of its step of eight seconds
)

// secret is n, n+1, ... in 32 octets.
func secret(n byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = n + byte(i)
	}
	return b
}

func keys(t testing.TB, options ...Option) *Keys {
	t.Helper()
	k, err := NewKeys('X', options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Add(2, secret(0), 0, iat); err != nil {
		t.Fatal(err)
	}
	return k
}

func issue(t testing.TB, k *Keys, c Card, now time.Time) Number {
	t.Helper()
	n, err := k.Issue(c, now)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func amselweg(t testing.TB) CardValue {
	t.Helper()
	v, err := CardValueOf("20200101", "Amselweg")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeysFromSecrets(t *testing.T) {
	for want, ikm := range map[string][]byte{
		"27250cf0e792f6a2e7bb02ff2ed3045c": secret(0),
		"b453cd39ea09dbc3a4ff47ebc8bbbfb2": append(make([]byte, 31), 1),
	} {
		v, err := newVersion(0, ikm, false)
		if err != nil || hex.EncodeToString(v.key[:]) != want {
			t.Errorf("%x, %v; want %s", v.key, err, want)
		}
	}
}

func TestPublishedVector(t *testing.T) {
	const want = "3iAhIiMkJSYnKCkqK9tdqGZodlt0jgLVPAyvij/Z4TgIYdc0J2BXsH17f3mEfdI="
	k := keys(t)
	k.random = bytes.NewReader([]byte{0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b})
	n := issue(t, k, Card{Person: person, Value: amselweg(t)}, iat)
	if n.Standard() != want || n.URL() != strings.ReplaceAll(want, "/", "_") {
		t.Errorf("%s, want %s", n.Standard(), want)
	}
	got, err := Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	value := amselweg(t)
	facts, err := k.Verify(got, Claim{Person: person, Value: &value, Strict: true}, iat)
	if err != nil || *facts != (Facts{Version: 2, KeyVersion: 2, Issued: first.UTC(), Person: person}) {
		t.Errorf("%+v, %v", facts, err)
	}
	if got.Operator() != 'X' || got.Version() != 2 || got.Hash() != sha256.Sum256(n.b[:]) {
		t.Error("its parts are wrong")
	}
	if _, err := k.Issue(Card{Person: person}, iat); err == nil {
		t.Error("a number was issued without a nonce")
	}
}

// TestHundredThousandNumbers issues and verifies numbers of random people at random times.
func TestHundredThousandNumbers(t *testing.T) {
	k := keys(t)
	r := mrand.New(mrand.NewPCG(1, 2))
	span := int64(Last.Sub(Begin) / time.Second)
	for range 100_000 {
		p := querschott.KVNR(fmt.Sprintf("%c%09d", 'A'+r.IntN(26), r.IntN(1e9)))
		var v CardValue
		v[0], v[4] = byte(r.IntN(128)), byte(r.IntN(256))
		now := Begin.Add(time.Duration(r.Int64N(span)) * time.Second)
		n := issue(t, k, Card{Person: p, Value: v}, now)
		parsed, err := Parse(n.URL())
		if err != nil {
			t.Fatal(err)
		}
		f, err := k.Verify(parsed, Claim{Person: p, Value: &v, Strict: true}, now.Add(time.Duration(r.IntN(1200))*time.Second))
		if err != nil || f.Person != p || now.Sub(f.Issued) < 0 || now.Sub(f.Issued) >= 8*time.Second {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	if s := k.States(); len(s) != 1 || s[0].Issued != 100_000 || !s[0].Issuing {
		t.Errorf("%+v", s)
	}
}

func TestEveryBitCounts(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		k, err := NewKeys('X')
		if legacy {
			k, err = NewKeys('X', Legacy())
		}
		if err != nil {
			t.Fatal(err)
		}
		for version := range uint8(4) {
			if err := k.Add(version, secret(version), 0, iat); err != nil {
				t.Fatal(err)
			}
		}
		n := issue(t, k, Card{Person: person, Value: amselweg(t)}, iat)
		for bit := range Size * 8 {
			changed := Number{b: new([Size]byte)}
			*changed.b = *n.b
			changed.b[bit/8] ^= 1 << (bit % 8)
			if f, err := k.Verify(changed, Claim{Person: person}, iat); err == nil || f != nil {
				t.Errorf("legacy %v: the number verifies with bit %d changed: %v", legacy, bit, err)
			}
		}
		if _, err := k.Verify(n, Claim{Person: person}, iat); err != nil {
			t.Errorf("and not without: %v", err)
		}
	}
}

func TestWindow(t *testing.T) {
	k := keys(t)
	n := issue(t, k, Card{Person: person}, iat)
	for _, tc := range []struct {
		after time.Duration
		want  error
	}{
		{-31 * time.Second, ErrTime},
		{-30 * time.Second, ErrTime},
		{-30*time.Second + 1, nil},
		{-29 * time.Second, nil},
		{0, nil},
		{1214 * time.Second, nil},
		{1215*time.Second - 1, nil},
		{1215 * time.Second, ErrTime},
		{1216 * time.Second, ErrTime},
		{(8 << 24) * time.Second, ErrTime}, // once around the time field
	} {
		if f, err := k.Verify(n, Claim{Person: person}, first.Add(tc.after)); !errors.Is(err, tc.want) || f == nil {
			t.Errorf("after %v: %v, want %v", tc.after, err, tc.want)
		}
	}
}

// TestResults has one number for each result, and the order of the checks.
func TestResults(t *testing.T) {
	k := keys(t)
	value, other := amselweg(t), CardValue{1}
	n := issue(t, k, Card{Person: person, Value: value}, iat)
	blocked := issue(t, k, Card{Person: person, Value: value, Blocked: true}, iat)
	stranger, err := NewKeys('Y')
	if err != nil {
		t.Fatal(err)
	}
	thief := keys(t)
	if err := thief.Add(0, secret(9), 0, iat); err != nil {
		t.Fatal(err)
	}
	unknown := issue(t, thief, Card{Person: person}, iat)
	forger, err := NewKeys('X')
	if err == nil {
		err = forger.Add(2, secret(7), 0, iat)
	}
	if err != nil {
		t.Fatal(err)
	}
	late := iat.Add(time.Hour)
	for name, tc := range map[string]struct {
		k    *Keys
		n    Number
		c    Claim
		now  time.Time
		want error
	}{
		"all is well":            {k, n, Claim{Person: person, Value: &value, Strict: true}, iat, nil},
		"without card value":     {k, n, Claim{Person: person}, iat, nil},
		"no number":              {k, Number{}, Claim{Person: person}, iat, ErrMalformed},
		"another operator":       {stranger, n, Claim{Person: person}, iat, ErrForeign},
		"no key":                 {k, unknown, Claim{Person: person}, iat, ErrNoKey},
		"another key":            {forger, n, Claim{Person: person}, iat, ErrDamaged},
		"blocked, late, other":   {k, blocked, Claim{Person: "B123456782", Value: &other}, late, ErrBlocked},
		"late, other value":      {k, n, Claim{Person: "B123456782", Value: &other}, late, ErrTime},
		"other value and person": {k, n, Claim{Person: "B123456782", Value: &other}, iat, ErrValue},
		"value is demanded":      {k, n, Claim{Person: person, Strict: true}, iat, ErrValue},
		"another person":         {k, n, Claim{Person: "B123456782", Value: &value}, iat, ErrOther},
		"nobody":                 {k, n, Claim{}, iat, ErrOther},
	} {
		f, err := tc.k.Verify(tc.n, tc.c, tc.now)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		authentic := err == nil || errors.Is(err, ErrBlocked) || errors.Is(err, ErrTime) || errors.Is(err, ErrValue) || errors.Is(err, ErrOther)
		if authentic != (f != nil) || authentic && f.Person != person {
			t.Errorf("%s: facts %+v", name, f)
		}
		if err != nil && strings.Contains(err.Error(), "A123456780") {
			t.Errorf("%s: the error names the person", name)
		}
	}
}

// TestRotation: the second key issues at once, the first verifies for 20 min 45 s and is then gone, and no number that was
// ever issued is refused early.
func TestRotation(t *testing.T) {
	k := keys(t)
	old := issue(t, k, Card{Person: person}, iat)
	if err := k.Add(3, secret(1), 0, iat); err != nil {
		t.Fatal(err)
	}
	fresh := issue(t, k, Card{Person: person}, iat)
	if fresh.b[0] != 0xdf || old.b[0] != 0xde {
		t.Errorf("headers %x and %x", old.b[0], fresh.b[0])
	}
	claim := Claim{Person: person}
	for _, n := range []Number{old, fresh} {
		if _, err := k.Verify(n, claim, first.Add(1215*time.Second-1)); err != nil {
			t.Errorf("refused early: %v", err)
		}
	}
	end := iat.Add(20*time.Minute + 45*time.Second)
	if _, err := k.Verify(old, claim, end.Add(-1)); !errors.Is(err, ErrTime) {
		t.Errorf("before its end: %v", err)
	}
	if _, err := k.Verify(old, claim, end); !errors.Is(err, ErrNoKey) {
		t.Errorf("at its end: %v", err)
	}
	if err := k.Add(2, secret(2), 0, end.Add(-1)); !errors.Is(err, ErrInUse) {
		t.Errorf("a version in use was replaced: %v", err)
	}
	k.Sweep(end.Add(-1))
	if s := k.States(); len(s) != 2 || s[0].Issuing || s[0].Until != end || !s[1].Issuing {
		t.Errorf("before: %+v", s)
	}
	gone := k.own.versions[2]
	k.Sweep(end)
	if s := k.States(); len(s) != 1 || s[0].Version != 3 {
		t.Errorf("after: %+v", s)
	}
	if gone.aead != nil || gone.key != [16]byte{} {
		t.Error("the key is still there")
	}
	if err := k.Add(2, secret(2), 0, end); err != nil {
		t.Errorf("the version cannot be used again: %v", err)
	}
	if _, err := k.Verify(old, claim, end); !errors.Is(err, ErrDamaged) {
		t.Errorf("with the version's next key: %v", err)
	}
	issue(t, k, Card{Person: person}, end)
}

func TestRotationInterruptsNothing(t *testing.T) {
	k := keys(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				n, err := k.Issue(Card{Person: person}, iat)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := k.Verify(n, Claim{Person: person}, iat); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, version := range []uint8{3, 0, 1} {
		if err := k.Add(version, secret(10+version), 0, iat); err != nil {
			t.Error(err)
		}
		k.Sweep(iat)
		k.States()
	}
	wg.Wait()
}

func TestKeysThatAreNone(t *testing.T) {
	for _, letter := range []byte{'@', '[', 'a', 0} {
		if _, err := NewKeys(letter); !errors.Is(err, ErrOperator) {
			t.Errorf("%c: %v", letter, err)
		}
	}
	k := keys(t)
	for name, tc := range map[string]struct {
		version uint8
		secret  []byte
		want    error
	}{
		"version":     {4, secret(1), ErrKeyVersion},
		"secret":      {1, secret(1)[:31], ErrShortSecret},
		"same secret": {1, secret(0), ErrSameSecret},
		"same both":   {2, secret(0), ErrSameSecret},
		"in use":      {2, secret(1), ErrInUse},
	} {
		if err := k.Add(tc.version, tc.secret, 0, iat); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, letter := range []byte{'A', 'Z'} {
		k, err := NewKeys(letter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Issue(Card{Person: person}, iat); !errors.Is(err, ErrNoKeys) {
			t.Errorf("without a key: %v", err)
		}
		if err := k.Add(3, secret(0), 0, iat); err != nil {
			t.Fatal(err)
		}
		if n := issue(t, k, Card{Person: person}, iat); n.Operator() != letter || n.b[0]&3 != 3 {
			t.Errorf("the header of %c is %x", letter, n.b[0])
		}
	}
	strange := Number{b: new([Size]byte)}
	strange.b[0] = 0x80 + 26<<2 // the letter after Z
	if strange.Operator() != 0 {
		t.Error("there is a letter after Z")
	}
	if _, err := k.Verify(strange, Claim{}, iat); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

func TestForgotten(t *testing.T) {
	k := keys(t, Legacy())
	n := issue(t, k, Card{Person: person}, iat)
	v := k.own.versions[2]
	k.Forget()
	k.Forget()
	k.Sweep(iat)
	if _, err := k.Issue(Card{Person: person}, iat); !errors.Is(err, ErrForgotten) {
		t.Error(err)
	}
	if _, err := k.Verify(n, Claim{Person: person}, iat); !errors.Is(err, ErrForgotten) {
		t.Error(err)
	}
	if err := k.Add(1, secret(1), 0, iat); !errors.Is(err, ErrForgotten) {
		t.Error(err)
	}
	if v.secret != nil || v.aead != nil || len(k.States()) != 0 {
		t.Error("something is left")
	}
}

func TestEndOfTheFormat(t *testing.T) {
	if got := End.Format(time.RFC3339); got != "2029-04-03T10:42:08Z" {
		t.Errorf("the format ends at %s", got)
	}
	k := keys(t)
	for now, want := range map[time.Time]error{
		Begin.Add(-1): ErrTimeRange, Begin: nil, Last.Add(-1): nil, Last: ErrTimeRange, End: ErrTimeRange, End.Add(time.Hour): ErrTimeRange,
	} {
		n, err := k.Issue(Card{Person: person}, now)
		if !errors.Is(err, want) {
			t.Errorf("at %v: %v, want %v", now, err, want)
		}
		if err != nil {
			continue
		}
		if f, err := k.Verify(n, Claim{Person: person}, now); err != nil || now.Sub(f.Issued) >= 8*time.Second {
			t.Errorf("at %v: %+v, %v", now, f, err)
		}
	}
	n := issue(t, k, Card{Person: person}, Last.Add(-1))
	if f, err := k.Verify(n, Claim{Person: person}, Begin); !errors.Is(err, ErrTime) || f.Issued.Year() != 2029 {
		t.Errorf("the last number verifies at the beginning: %+v, %v", f, err)
	}
}

func TestAlarms(t *testing.T) {
	k := keys(t)
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for day, want := range map[string]string{"2027-12-31": "", "2028-01-01": "in 458 days", "2029-04-02": "in 1 days", "2029-04-04": "no longer issued"} {
		got := strings.Join(k.Alarms(at(day)), "; ")
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q", day, got)
		}
	}
	if err := k.Add(3, secret(1), 1<<30-1, iat); err != nil {
		t.Fatal(err)
	}
	if got := k.Alarms(iat); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	issue(t, k, Card{Person: person}, iat)
	if got := k.Alarms(iat); len(got) != 1 || !strings.Contains(got[0], "version 3 of operator X has issued 1073741824") {
		t.Errorf("at 2^30: %v", got)
	}
	if err := k.Add(1, secret(2), 1<<32-1, iat); err != nil {
		t.Fatal(err)
	}
	issue(t, k, Card{Person: person}, iat)
	if _, err := k.Issue(Card{Person: person}, iat); !errors.Is(err, ErrKeyWorn) {
		t.Errorf("after 2^32: %v", err)
	}
}

func TestPersons(t *testing.T) {
	for _, p := range []querschott.KVNR{"", "A12345678", "A1234567800"} {
		if _, err := keys(t).Issue(Card{Person: p}, iat); !errors.Is(err, ErrPerson) {
			t.Errorf("%d characters: %v", len(p), err)
		}
	}
}
