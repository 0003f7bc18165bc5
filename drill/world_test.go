package drill

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

// existing are words that name health insurers which exist or existed. An invented one must have none of them.
var existing = []string{
	"AOK", "BKK", "IKK", "LKK", "SBK", "BIG", "HEK", "hkk", "KKH", "DAK", "TK", "TUI", "EWE", "EVM", "MTU", "WMF", "SKD", "GEK", "HZK", "KEH",
	"VBU", "ZF", "EY", "PwC", "BMW", "mkk", "Techniker", "Barmer", "Knappschaft", "SVLFG", "Landwirtschaft", "Innung", "Betriebskranken",
	"Ortskranken", "Gesundheitskasse", "Hanseatisch", "Kaufmännisch", "Handelskrankenkasse", "Audi", "Bahn", "Bergische", "Bertelsmann",
	"Akzo", "Braun", "Aesculap", "Deutsche Bank", "Diakonie", "Dürkopp", "Euregio", "exklusiv", "Faber", "firmus", "Freudenberg",
	"Gildemeister", "Groz", "Henschel", "Herkules", "Karl Mayer", "Linde", "Mahle", "Melitta", "Merck", "Miele", "Pfaff", "Pfalz", "ProVita",
	"Public", "Rieker", "Salzgitter", "Scheufelen", "Schwarzwald", "Augsburg", "Technoform", "Verbund", "Verkehrsbau", "Voralb", "Werra",
	"Wirtschaft", "Würth", "Bosch", "Continentale", "Daimler", "Mercedes", "Debeka", "Energie", "Heimat", "Koenig", "Krones", "mhplus", "Mobil",
	"Novitas", "Pronova", "R+V", "Salus", "Securvita", "Siemag", "Siemens", "Südzucker", "Viactiv", "Vivida", "Classic", "Innovation",
	"Actimonda", "Atlas", "Ahlmann", "Achenbach", "RWE", "Thüringer", "Schwenninger", "Brandenburg", "Metzinger", "Gmünder", "Braunschweig",
	"Neptun", "See-", "Seekranken", "Hamburg", "Münch", "Zollern", "Grillo", "Vaillant", "Phoenix", "Esso", "Ford", "Hoesch", "Novartis", "Taunus",
}

// existingPattern finds short words where they stand alone, long ones anywhere.
var existingPattern = func() *regexp.Regexp {
	var short, long []string
	for _, e := range existing {
		if utf8.RuneCountInString(e) <= 4 {
			short = append(short, regexp.QuoteMeta(e))
		} else {
			long = append(long, regexp.QuoteMeta(e))
		}
	}
	return regexp.MustCompile(`(?i)(?:^|\P{L})(?:` + strings.Join(short, "|") + `)(?:$|\P{L})|` + strings.Join(long, "|"))
}()

func isExisting(name string) (string, bool) {
	word := existingPattern.FindString(name)
	return word, word != ""
}

func TestInsurersAreInventedAndWellFormed(t *testing.T) {
	w := NewWorld(1, MaxInsurers, 20_000)
	seen := map[string]bool{}
	once := func(s string) {
		if seen[s] {
			t.Errorf("%q occurs twice", s)
		}
		seen[s] = true
	}
	label := regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)
	for _, in := range w.Insurers() {
		if word, bad := isExisting(in.Name); bad {
			t.Errorf("%s has %q in its name, which an existing insurer has", in.Name, word)
		}
		if _, err := querschott.ParseIK(string(in.IK)); err != nil || !strings.HasPrefix(string(in.IK), "1000") {
			t.Errorf("%s: IK %s: %v", in.Name, in.IK, err)
		}
		if n := utf8.RuneCountInString(in.Name); n > 45 {
			t.Errorf("%s has %d characters, at most 45 fit into a sick note", in.Name, n)
		}
		if !label.MatchString(in.Short) {
			t.Errorf("%q does not fit into a host name", in.Short)
		}
		if a, err := kim.ParseAddress(string(in.Address)); err != nil || a != in.Address || !a.Test() {
			t.Errorf("address %s: %v", in.Address, err)
		}
		for _, s := range []string{string(in.IK), in.Name, in.Short, string(in.Address)} {
			once(s)
		}
		if got, ok := w.Insurer(in.IK); !ok || got != in {
			t.Errorf("%s is not found by its IK", in.Name)
		}
		if got, ok := w.Mailbox(in.Address); !ok || got != in {
			t.Errorf("%s is not found by its address", in.Name)
		}
	}
	if _, ok := w.Mailbox("post@nirgends.kim.telematik-test"); ok {
		t.Error("an address that nobody has is found")
	}
}

func TestExistingInsurersAreRecognised(t *testing.T) {
	for _, name := range []string{"AOK Nordost", "Techniker Krankenkasse (TK)", "BKK Linde", "hkk", "Die Bergische Krankenkasse", "SECURVITA"} {
		if _, bad := isExisting(name); !bad {
			t.Errorf("%s passes for invented", name)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, n := range []int{1, 2, 80, MaxInsurers} {
		w := NewWorld(7, n, DefaultPersons)
		sum, persons := 0, 0
		for k, in := range w.Insurers() {
			sum += in.Insured
			first, heads := in.Persons()
			if first != persons {
				t.Errorf("%d insurers: the persons of insurer %d begin at %d, want %d", n, k, first, persons)
			}
			if heads < atLeast {
				t.Errorf("%d insurers: insurer %d has %d persons", n, k, heads)
			}
			persons += heads
			if want := w.Insurers()[0].Insured / (k + 1); in.Insured > want+1 || in.Insured < want-n {
				t.Errorf("%d insurers: insurer %d stands for %d persons, by Zipf's law about %d", n, k, in.Insured, want)
			}
		}
		if sum != 25_000_000 || persons != DefaultPersons || w.Insured() != sum {
			t.Errorf("%d insurers stand for %d persons (World.Insured %d) and have %d", n, sum, w.Insured(), persons)
		}
		for _, number := range []int{0, w.Insured() - 1} {
			if in := w.pick(number); in != w.Insurers()[0] && in != w.Insurers()[n-1] {
				t.Errorf("the insured number %d is with %s", number, in.Name)
			}
		}
	}
	if in := NewWorld(7, 2, 10); in.pick(in.Insurers()[0].Insured) != in.Insurers()[1] {
		t.Error("the first insured of the second insurer is picked from another one")
	}
}

func TestPersonsAreUniqueAndWellFormed(t *testing.T) {
	w := NewWorld(3, DefaultInsurers, DefaultPersons)
	seen := make(map[querschott.KVNR]bool, w.Persons())
	for _, in := range w.Insurers() {
		first, n := in.Persons()
		for i := first; i < first+n; i++ {
			p := w.Person(i)
			if _, err := querschott.ParseKVNR(p.Number.Reveal()); err != nil {
				t.Fatalf("person %d: %v", i, err)
			}
			if seen[p.Number] {
				t.Fatalf("person %d has a number that another one has", i)
			}
			seen[p.Number] = true
			if p.Insurer != in || p.Index != i {
				t.Fatalf("person %d says %d, insured with %s; want %s", i, p.Index, p.Insurer.Name, in.Name)
			}
			if y := p.Born.Time().Year(); y < 1958 || y > 2006 || p.Family == "" || p.Given == "" || p.Address.PostalCode[:2] != "00" {
				t.Fatalf("person %d is born %s, lives in %s", i, p.Born, p.Address.PostalCode)
			}
		}
	}
	if len(seen) != w.Persons() {
		t.Errorf("%d persons, want %d", len(seen), w.Persons())
	}
}

func TestByNumber(t *testing.T) {
	for _, seed := range []uint64{1, 2, 99} {
		w := NewWorld(seed, 3, 500)
		for i := range w.Persons() {
			p, ok := w.ByNumber(w.Person(i).Number)
			if !ok || p.Index != i {
				t.Fatalf("seed %d: person %d is found as %d, %v", seed, i, p.Index, ok)
			}
		}
		stranger := NewWorld(seed, 3, 501).Person(500).Number // the same numbers, and one more
		for _, n := range []querschott.KVNR{stranger, "", "A123456780", "X000000000", "X12345678", "nonsense!!"} {
			if p, ok := w.ByNumber(n); ok && p.Number != n || ok && n == stranger {
				t.Errorf("seed %d: %d is found for %s", seed, p.Index, n)
			}
		}
	}
}

func TestTheSameSeedIsTheSameWorld(t *testing.T) {
	type face struct {
		Insurers  []Insurer
		Persons   []eau.Person
		Practices []eau.Practice
		Doctors   []eau.Doctor
	}
	look := func(w *World) (f face) {
		for _, in := range w.Insurers() {
			f.Insurers = append(f.Insurers, *in)
		}
		for i := 0; i < w.Persons(); i += 97 {
			f.Persons = append(f.Persons, w.Person(i).Person)
		}
		for _, p := range w.Practices() {
			f.Practices, f.Doctors = append(f.Practices, p.Office), append(f.Doctors, p.Doctor)
		}
		return f
	}
	one, two := look(NewWorld(42, 80, 5000)), look(NewWorld(42, 80, 5000))
	if diff := cmp.Diff(one, two, cmp.AllowUnexported(Insurer{})); diff != "" {
		t.Errorf("two worlds of one seed differ (-one +two):\n%s", diff)
	}
	other := look(NewWorld(43, 80, 5000))
	if cmp.Equal(one.Insurers, other.Insurers, cmp.AllowUnexported(Insurer{})) || cmp.Equal(one.Persons, other.Persons) || cmp.Equal(one.Doctors, other.Doctors) {
		t.Error("the worlds of two seeds have the same insurers, persons or doctors")
	}
	// The world of a drill that somebody has written about must be found again.
	in := NewWorld(1, DefaultInsurers, DefaultPersons).Insurers()[0]
	if want := "100089949 Flößer Versichertenkasse post@floesser.kim.telematik-test"; string(in.IK)+" "+in.Name+" "+string(in.Address) != want {
		t.Errorf("the largest insurer of seed 1 is %s %s %s, want %s", in.IK, in.Name, in.Address, want)
	}
}

func TestPractices(t *testing.T) {
	w := NewWorld(5, 3, 30)
	if len(w.Practices()) != practices {
		t.Fatalf("%d practices", len(w.Practices()))
	}
	seen := map[string]bool{}
	for _, p := range w.Practices() {
		if a, err := kim.ParseAddress(string(p.KIM)); err != nil || a != p.KIM || a.Domain() != "praxis.kim.telematik-test" {
			t.Errorf("address %q: %v", p.KIM, err)
		}
		if !regexp.MustCompile(`^74\d{7}$`).MatchString(p.Office.Number) {
			t.Errorf("BSNR %q", p.Office.Number)
		}
		if !regexp.MustCompile(`^\d{9}$`).MatchString(p.Doctor.Number) || doctorNumber(atoi(p.Doctor.Number[:6])) != p.Doctor.Number[:7] {
			t.Errorf("LANR %q", p.Doctor.Number)
		}
		for _, s := range []string{string(p.KIM), p.Office.Number, p.Doctor.Number} {
			if seen[s] {
				t.Errorf("%q occurs twice", s)
			}
			seen[s] = true
		}
	}
}

func atoi(s string) (n int) {
	for _, c := range []byte(s) {
		n = 10*n + int(c-'0')
	}
	return n
}

// The example of the KBV's rules for doctors' numbers: 123456 has the check digit 6; one where ten is missing.
func TestDoctorNumber(t *testing.T) {
	for serial, want := range map[int]string{123456: "1234566", 0: "0000000", 5: "0000055", 10: "0000106"} {
		if got := doctorNumber(serial); got != want {
			t.Errorf("doctorNumber(%d) = %s, want %s", serial, got, want)
		}
	}
}

func TestPersonsCostNothingUntilAskedFor(t *testing.T) {
	few := testing.AllocsPerRun(3, func() { NewWorld(1, 80, 1000) })
	many := testing.AllocsPerRun(3, func() { NewWorld(1, 80, MaxPersons) })
	if many > few+100 {
		t.Errorf("a world of %d persons takes %.0f allocations, one of 1000 takes %.0f", MaxPersons, many, few)
	}
}

func TestImpossibleWorldsPanic(t *testing.T) {
	for _, n := range [][2]int{{0, 10}, {MaxInsurers + 1, 5000}, {80, 79}, {1, MaxPersons + 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a world of %d insurers and %d persons was made", n[0], n[1])
				}
			}()
			NewWorld(1, n[0], n[1])
		}()
	}
}

func BenchmarkNewWorld(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewWorld(1, DefaultInsurers, DefaultPersons)
	}
}

func BenchmarkPerson(b *testing.B) {
	w := NewWorld(1, DefaultInsurers, DefaultPersons)
	for i := 0; b.Loop(); i++ {
		w.Person(i % w.Persons())
	}
}
