package vsd

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

var (
	day      = time.Date(2026, 9, 29, 18, 5, 0, 0, time.UTC)
	envelope = Envelope{ID: NewID(day, [10]byte{9: 1}), Created: InstantOf(day)}
)

func number(i byte) ID { return NewID(day, [10]byte{9: i}) }

// statutory has everything that a statutory record can have.
func statutory() *Record {
	payor := func(i byte, ik querschott.IK, name string) Payor {
		return Payor{
			ID: number(i), IK: ik, Name: name, Addresses: []Address{{Country: germany}},
			Contacts: []OfficeContact{{
				Purpose: Coding{"http://terminology.hl7.org/CodeSystem/contactentity-type", "BILL"}, Text: "Abrechnung & Co.",
				Telecom: []Contact{{"phone", "+49 0000 1"}, {"email", "kasse@kasse.invalid"}},
			}},
		}
	}
	return &Record{
		Updated: "2026-09-01T08:00:00.120+02:00",
		Patient: Patient{
			ID: number(2), Number: "Z123456783",
			Name: Name{
				Text: "Prof. Dr. Ännchen \"Anna\" Gräfin von und zu Übermuth", Family: "Gräfin von und zu Übermuth", Own: "Übermuth",
				Prefix: "von und zu", Addition: "Gräfin", Given: "Ännchen \"Anna\"", Title: "Prof. Dr.",
			},
			Gender: Diverse, Born: "1971-03-14",
			Addresses: []Address{
				{
					Kind: Physical, City: "Wolkenstadt", PostalCode: "00123", Country: germany,
					Lines: []Line{{Text: "Erfundene Str. 12A", Street: "Erfundene Straße", Number: "12a"}, {Text: "Hinterhaus <links>", Addition: "Hinterhaus"}, {Text: "c/o \\ Nemo"}},
				},
				{Kind: Postal, City: "Wolkenstadt", PostalCode: "00124", Country: germany, Lines: []Line{{Text: "Postfach 885522", Box: "Postfach 885522"}}},
			},
		},
		Coverage: Coverage{
			ID: number(3), Type: "gesetzliche Krankenversicherung", Period: Period{"2000-01-01", "2029-12-31"},
			GKV: &GKV{
				WOP: Coded{"98", "Sachsen"}, Status: Coded{"3", "Familienangehoerige"}, Group: Coded{"07", "SVA1"},
				Programmes: []DMP{
					{Coded{"01", "DM2"}, Period{Start: "2001-01-01"}, false}, {Coded{"08", "Depression"}, Period{"2020-01-01", "2023-12-31"}, true},
				},
				Exempt: "2026-12-31", Reimbursement: &Reimbursement{true, false, true, false},
				Suspension: &Suspension{Coded{"1", "vollständig"}, Period{"2025-01-01", "2025-12-31"}},
			},
		},
		Payors: []Payor{payor(4, "109500969", "Übungskasse Nord"), payor(5, "108213958", "Übungskasse Süd")},
	}
}

// private has everything that a private record can have.
func private() *Record {
	r := statutory()
	r.Payors = r.Payors[:1]
	r.Patient.Gender = NoGender
	r.Patient.Telecom = []Contact{{"url", "matrix:@z123456783:messenger.invalid:443"}, {"phone", "+49 0000 2"}}
	r.Patient.Addresses[0].Country = Country{Text: "Kosovo", Code: "XK"}
	percent := func(v uint8) Percent { return Percent{true, v} }
	r.Coverage = Coverage{
		ID: number(3), Type: "private Krankenversicherung", Period: Period{Start: "1980-01-01"}, Order: "tvbshh",
		PKV: &PKV{
			Tariff: Coded{"04", "Notlagentarif"}, Status: Coded{"VN", "Versicherungsnehmer"},
			Hints:    []Hint{{Text: "Beihilfe\n*\tfür **Physio** & \"mehr\"", Roles: []string{"1.2.276.0.76.4.50", "1.2.276.0.76.4.51"}}, {Text: "zweiter"}},
			Hospital: []Hospital{{General: percent(100), TwoBed: percent(50), OneBed: percent(0), Difference: percent(25), Chief: Share{Plain: true, Yes: true}, Attending: Share{Percent: percent(80)}}},
			Aid:      []Aid{{Entitled: true, Quota: percent(80)}},
		},
	}
	return r
}

// source is a repeatable source of randomness.
func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func invented(seed uint64) *Record {
	return Generate(source(seed), Invented{Payor: "109500969", PayorName: "Übungskasse Nord", Number: "X123450007", Private: seed%3 == 0, On: day})
}

func TestExamplesAreValid(t *testing.T) {
	for name, r := range map[string]*Record{"statutory": statutory(), "private": private()} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// changed renders the record in 1.1 JSON and replaces one place of it.
func changed(t *testing.T, r *Record, old, replacement string) []byte {
	t.Helper()
	data := string(rendered(t, r, V11, JSON, envelope))
	if strings.Count(data, old) == 0 {
		t.Fatalf("the bundle does not have %s", old)
	}
	return []byte(strings.Replace(data, old, replacement, 1))
}
