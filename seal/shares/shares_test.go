package shares_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/querschott/querschott/seal/shares"
)

func TestAnyTwoOfFive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret")
		list, err := shares.Split("key", secret, 5)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range list {
			for j, b := range list {
				got, err := shares.Combine("key", a, b)
				if i == j {
					if err == nil {
						t.Fatal("one share twice gives a secret")
					}
					continue
				}
				if err != nil || !bytes.Equal(got, secret) {
					t.Fatalf("shares %d and %d: %x, %v", i+1, j+1, got, err)
				}
			}
		}
	})
}

func TestSharesOfOthersAreRefused(t *testing.T) {
	list, err := shares.Split("key", make([]byte, 32), 5)
	if err != nil {
		t.Fatal(err)
	}
	typo := strings.Replace(list[1], "-2-", "-3-", 1)
	for _, second := range []string{"", typo, list[1] + "0", "querschott-share-0-00-00"} {
		if _, err := shares.Combine("key", list[0], second); err == nil {
			t.Errorf("%q was taken", second)
		}
	}
	if _, err := shares.Combine("other", list[0], list[1]); err == nil {
		t.Error("shares of another key were taken")
	}
}

func FuzzCombine(f *testing.F) {
	list, err := shares.Split("key", make([]byte, 32), 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list[0], list[1])
	f.Fuzz(func(t *testing.T, a, b string) {
		if s, err := shares.Combine("key", a, b); err == nil && len(s) != 32 {
			t.Errorf("a secret of %d bytes", len(s))
		}
	})
}
