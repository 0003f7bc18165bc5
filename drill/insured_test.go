package drill

import (
	"testing"

	"github.com/querschott/querschott/wire/vsd"
)

func TestMasterDataAreSound(t *testing.T) {
	w := NewWorld(3, 5, 2000)
	exempt, programmes := 0, 0
	for i := range w.Persons() {
		p := w.Person(i)
		r := w.MasterData(p)
		if err := r.Validate(); err != nil {
			t.Fatalf("person %d: %v", i, err)
		}
		if r.Patient.Number != p.Number || r.Payors[0].IK != p.Insurer.IK || r.Street() != p.Address.Street {
			t.Fatalf("person %d: the master data are somebody else's", i)
		}
		if string(r.Encode()) != string(w.MasterData(p).Encode()) {
			t.Fatalf("person %d: the master data change by themselves", i)
		}
		if r.Coverage.GKV.Exempt != "" {
			exempt++
		}
		programmes += len(r.Coverage.GKV.Programmes)
	}
	if exempt == 0 || exempt > 200 || programmes == 0 || programmes > 400 {
		t.Errorf("%d of %d are exempt, %d take part in a programme", exempt, w.Persons(), programmes)
	}
	if a, b := w.MasterData(w.Person(0)), w.MasterData(w.Person(1)); a.Patient.ID == b.Patient.ID || a.Patient.ID == (vsd.ID{}) {
		t.Error("ids are not unique")
	}
}
