package run

import (
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
)

// The old copy is dated to its month, and every insurer's persons are counted once, whatever the seed.
func TestOldCopy(t *testing.T) {
	for seed := range uint64(3) {
		r, err := oldCopy(seed)
		if err != nil {
			t.Fatal(err)
		}
		if r.Rows != copiedRows || r.Persons != copiedPersons || r.Unknown != 0 || r.Strange != 0 || len(r.Windows) != 1 || !r.Windows[0].Holds(copied, copied) {
			t.Fatalf("seed %d: %+v", seed, r)
		}
		if w := r.Windows[0]; w.From.Format("2006-01") != "2021-04" || w.To.Format("2006-01") != "2021-04" {
			t.Errorf("seed %d: %+v", seed, w)
		}
		want := map[querschott.IK]int{}
		for _, in := range drill.NewWorld(seed+2021, drill.DefaultInsurers, copiedPersons).Insurers() {
			_, n := in.Persons()
			want[in.IK] += n
		}
		for _, in := range r.Insurers {
			if in.Persons != want[in.Insurer] || in.History != in.Persons {
				t.Errorf("seed %d: %s has %d persons, want %d", seed, in.Insurer, in.Persons, want[in.Insurer])
			}
			delete(want, in.Insurer)
		}
		for in, n := range want {
			if n > 0 {
				t.Errorf("seed %d: %s is missing", seed, in)
			}
		}
	}
}
