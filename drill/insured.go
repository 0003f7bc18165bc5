package drill

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/querschott/querschott/wire/vsd"
)

// regions are the regions of the physicians' associations (KBV_CS_SFHIR_ITA_WOP).
var regions = []vsd.Coded{
	{Code: "01", Display: "Schleswig-Holstein"},
	{Code: "02", Display: "Hamburg"},
	{Code: "03", Display: "Bremen"},
	{Code: "17", Display: "Niedersachsen"},
	{Code: "20", Display: "Westfalen-Lippe"},
	{Code: "38", Display: "Nordrhein"},
	{Code: "46", Display: "Hessen"},
	{Code: "52", Display: "Baden-Württemberg"},
	{Code: "72", Display: "Berlin"},
	{Code: "98", Display: "Sachsen"},
}

// programmes are some disease management programmes (KBV_CS_SFHIR_KBV_DMP).
var programmes = []vsd.Coded{
	{Code: "01", Display: "Diabetes mellitus Typ 2"},
	{Code: "03", Display: "Koronare Herzkrankheit"},
	{Code: "05", Display: "Asthma bronchiale"},
	{Code: "06", Display: "COPD (chronic obstructive pulmonary disease)"},
}

// since is when the master data of everybody in every world last changed.
var since = time.Date(2026, 7, 1, 6, 0, 0, 0, time.UTC)

// MasterData returns the person's master data as the insurer would have delivered it: the same at every call.
func (w *World) MasterData(p Person) *vsd.Record {
	d := throw(w.seed, "master data", p.Index)
	germany := vsd.Country{Text: "Deutschland", Code: "DE", DEUEV: "D"}
	name := vsd.Name{Text: p.Given + " " + p.Family, Family: p.Family, Own: p.Family, Given: p.Given}
	born := p.Born.Time()
	status := vsd.Coded{Code: "1", Display: "Mitglied"}
	if born.Year() < 1962 {
		status = vsd.Coded{Code: "5", Display: "Rentner"}
	}
	cover := &vsd.GKV{WOP: regions[d.n(len(regions))], Status: status}
	if d.n(20) == 0 {
		cover.Exempt = vsd.Date(fmt.Sprintf("%d-12-31", since.Year()))
	}
	if d.n(12) == 0 {
		cover.Programmes = []vsd.DMP{{
			Programme: programmes[d.n(len(programmes))],
			Period:    vsd.Period{Start: vsd.DateOf(time.Date(2015+d.n(11), time.Month(1+d.n(12)), 1, 0, 0, 0, 0, time.UTC))},
		}}
	}
	return &vsd.Record{
		Updated: vsd.InstantOf(since),
		Patient: vsd.Patient{
			ID: d.id(), Number: p.Number, Name: name, Gender: []vsd.Gender{vsd.Male, vsd.Female}[d.n(2)], Born: vsd.DateOf(born),
			Addresses: []vsd.Address{{
				Kind: vsd.Physical, City: p.Address.City, PostalCode: p.Address.PostalCode, Country: germany,
				Lines: []vsd.Line{{Text: p.Address.Street + " " + p.Address.Number, Street: p.Address.Street, Number: p.Address.Number}},
			}},
		},
		Coverage: vsd.Coverage{
			ID: d.id(), Type: "gesetzliche Krankenversicherung", GKV: cover,
			Period: vsd.Period{Start: vsd.DateOf(born.AddDate(18+d.n(7), d.n(12), 0))},
		},
		Payors: []vsd.Payor{{
			ID: d.id(), IK: p.Insurer.IK, Name: p.Insurer.Name, Addresses: []vsd.Address{{Country: germany}},
		}},
	}
}

// id draws a UUID.
func (d *dice) id() vsd.ID {
	var random [10]byte
	binary.BigEndian.PutUint64(random[:], d.next())
	binary.BigEndian.PutUint16(random[8:], uint16(d.next()))
	return vsd.NewID(since, random)
}
