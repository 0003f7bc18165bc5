package vsd

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// Invented says whose record is generated: a valid IK, a name and a KVNR. All of it is the caller's; the rest is invented: no
// real person, street or town with a real postal code is meant.
type Invented struct {
	Payor     querschott.IK
	PayorName string // at most 45 characters
	Number    querschott.KVNR
	Private   bool
	On        time.Time // the record says what was so at this time
}

// Generate invents a record that satisfies every rule, with the variety of a real stock: most are plain, few have much. The
// same state of the source and the same Invented give the same record. The fields may be overwritten; [Record.Validate]
// says whether the result still is one.
func Generate(r *rand.Rand, i Invented) *Record {
	g := generator{Rand: r, i: i}
	born := i.On.AddDate(0, 0, -g.age())
	rec := &Record{Updated: InstantOf(i.On.AddDate(0, 0, -r.IntN(700)).Truncate(time.Millisecond))}
	rec.Patient = g.patient(born)
	rec.Payors = append(rec.Payors, g.payor(i.Payor, i.PayorName))
	rec.Coverage = g.coverage(born)
	if !i.Private {
		if g.in(20) {
			rec.Payors = append(rec.Payors, g.payor(g.otherIK(), i.PayorName))
		}
		g.german(rec)
	}
	return rec
}

type generator struct {
	*rand.Rand
	i Invented
}

// in is true once in n times.
func (g *generator) in(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// age in days, of newborns up to 99 years.
func (g *generator) age() int { return 30 + g.IntN(365*(20+g.IntN(80))) }

func (g *generator) id() ID {
	var random [10]byte
	for i := range random {
		random[i] = byte(g.Uint32())
	}
	return NewID(g.i.On.AddDate(0, 0, -g.IntN(700)), random)
}

func (g *generator) patient(born time.Time) Patient {
	p := Patient{ID: g.id(), Number: g.i.Number, Name: g.name(), Born: DateOf(born), Gender: Male}
	switch n := g.IntN(200); {
	case n == 0:
		p.Gender = Diverse
	case n == 1:
		p.Gender = Indeterminate
	case n == 2 && g.i.Private:
		p.Gender = UnknownGender
	case n == 3 && g.i.Private:
		p.Gender = NoGender
	case n%2 == 0:
		p.Gender = Female
	}
	if g.in(150) {
		p.Born = p.Born[:4] // born where nobody wrote down the day
	}
	if !g.in(60) {
		p.Addresses = append(p.Addresses, g.street())
	}
	if len(p.Addresses) == 0 || g.in(25) {
		p.Addresses = append(p.Addresses, g.box())
	}
	if g.i.Private && g.in(4) {
		local := strings.ToLower(g.i.Number.Reveal()[:1]) + strconv.Itoa(g.IntN(1e9))
		p.Telecom = []Contact{{System: "url", Value: "matrix:@" + local + ":messenger.invalid"}}
	}
	return p
}

func (g *generator) name() Name {
	n := Name{Own: pick(g, nameHeads) + pick(g, nameTails), Given: pick(g, givenNames)}
	switch {
	case g.in(4):
		n.Given += " " + pick(g, givenNames)
	case g.in(12):
		n.Given += "-" + pick(g, givenNames)
	}
	if g.in(10) {
		n.Own += "-" + pick(g, nameHeads) + pick(g, nameTails)
	}
	if g.in(40) {
		n.Prefix = pick(g, []string{"von", "van der", "zu", "de", "von und zu", "d'"})
	}
	if g.in(150) {
		n.Addition = pick(g, []string{"Graf", "Gräfin", "Freiherr", "Freifrau", "Baronin"})
	}
	if g.in(30) {
		n.Title = pick(g, []string{"Dr.", "Dr. med.", "Prof. Dr.", "Dr. rer. nat."})
	}
	n.Family = joined(n.Addition, n.Prefix, n.Own)
	n.Text = joined(n.Title, n.Given, n.Family)
	return n
}

func joined(parts ...string) string {
	var there []string
	for _, p := range parts {
		if p != "" {
			there = append(there, p)
		}
	}
	return strings.Join(there, " ")
}

var germany = Country{Text: "Deutschland", Code: "DE", DEUEV: "D"}

// nobodysCode is a postal code that is given to no place.
func (g *generator) nobodysCode() string { return "00" + strconv.Itoa(100+g.IntN(900)) }

func (g *generator) street() Address {
	a := Address{Kind: Physical, City: pick(g, towns), PostalCode: g.nobodysCode(), Country: germany}
	l := Line{Street: pick(g, streets), Number: strconv.Itoa(1 + g.IntN(140))}
	if g.in(8) {
		l.Number += string("abcd"[g.IntN(4)])
	}
	if g.in(80) {
		abroad := pick(g, foreign)
		a.Country, a.City, a.PostalCode, l.Street = abroad.country, abroad.town, strconv.Itoa(1000+g.IntN(9000)), abroad.street
	}
	l.Text = l.Street + " " + l.Number
	a.Lines = append(a.Lines, l)
	if g.in(15) {
		extra := pick(g, []string{"Hinterhaus", "Vorderhaus links", "Gartenhaus", "3. Etage rechts", "bei Familie " + pick(g, nameHeads)})
		a.Lines = append(a.Lines, Line{Text: extra, Addition: extra})
	}
	return a
}

func (g *generator) box() Address {
	box := strconv.Itoa(1000 + g.IntN(899000))
	return Address{
		Kind: Postal, City: pick(g, towns), PostalCode: g.nobodysCode(), Country: germany,
		Lines: []Line{{Text: "Postfach " + box, Box: box}},
	}
}

// german gives a statutory record what only statutory insurers must have.
func (g *generator) german(rec *Record) {
	rec.Coverage.Type = "gesetzliche Krankenversicherung"
	for i := range rec.Patient.Addresses {
		c := &rec.Patient.Addresses[i].Country
		for _, row := range append(countries[:len(countries):len(countries)], supplement...) {
			if row.code == c.Code {
				c.DEUEV = row.deuev
			}
		}
	}
}

func (g *generator) payor(ik querschott.IK, name string) Payor {
	p := Payor{ID: g.id(), IK: ik, Name: name, Addresses: []Address{{Country: germany}}}
	if g.in(10) {
		p.Contacts = []OfficeContact{{
			Purpose: Coding{System: "http://terminology.hl7.org/CodeSystem/contactentity-type", Code: "BILL"},
			Text:    "Kontakt für Abrechnungsfragen",
			Telecom: []Contact{{System: "phone", Value: "+49 0000 " + strconv.Itoa(10000+g.IntN(90000))}},
		}}
	}
	return p
}

// otherIK makes an IK near the payor's own.
func (g *generator) otherIK() querschott.IK {
	for {
		first := string(g.i.Payor[:4]) + strconv.Itoa(1000+g.IntN(9000))
		ik := querschott.IK(first + string(querschott.IKCheckDigit(first)))
		if ik != g.i.Payor {
			return ik
		}
	}
}

func (g *generator) coverage(born time.Time) Coverage {
	start := born.AddDate(0, 0, g.IntN(1+int(g.i.On.Sub(born).Hours()/24)))
	c := Coverage{ID: g.id(), Period: Period{Start: DateOf(start)}}
	switch {
	case g.in(25): // it has ended
		c.Period.End = DateOf(start.AddDate(0, 0, g.IntN(1+int(g.i.On.Sub(start).Hours()/24))))
	case g.in(6):
		c.Period.End = DateOf(g.i.On.AddDate(1+g.IntN(5), 0, 0))
	}
	years := int(g.i.On.Sub(born).Hours() / 24 / 365)
	if g.i.Private {
		c.Type, c.PKV = "private Krankenversicherung", g.private(years)
	} else {
		c.GKV = g.statutory(years)
	}
	return c
}

func (g *generator) statutory(years int) *GKV {
	v := &GKV{WOP: pick(g, regions), Status: Coded{"1", "Mitglieder"}}
	switch {
	case years < 18 || years < 65 && g.in(8):
		v.Status = Coded{"3", "Familienangehoerige"}
	case years >= 65:
		v.Status = Coded{"5", "Rentner"}
	}
	if g.in(40) {
		v.Group = pick(g, []Coded{{"04", "SOZ"}, {"07", "SVA1"}, {"08", "SVA2"}, {"09", "ASY"}})
	}
	ill := g.IntN(100) < years-30 // the older, the more often
	for ill && len(v.Programmes) < 3 {
		v.Programmes = append(v.Programmes, DMP{Programme: pick(g, programmes), Period: g.since(years), Digital: g.in(5)})
		ill = g.in(4)
	}
	if len(v.Programmes) > 0 && g.in(3) || g.in(20) {
		v.Exempt = Date(strconv.Itoa(g.i.On.Year()) + "-12-31")
	}
	if g.in(50) {
		v.Reimbursement = &Reimbursement{Physicians: g.in(2), Dentists: g.in(2), Hospitals: g.in(2), Prescribed: g.in(2)}
	}
	if g.in(120) {
		v.Suspension = &Suspension{Scope: pick(g, []Coded{{"1", "vollständig"}, {"2", "eingeschränkt"}}), Period: g.since(2)}
	}
	return v
}

// since is a period that began within some years before, and sometimes has an end.
func (g *generator) since(years int) Period {
	start := g.i.On.AddDate(0, 0, -g.IntN(1+365*min(years, 20)))
	p := Period{Start: DateOf(start)}
	if g.in(6) {
		p.End = DateOf(start.AddDate(0, 3+g.IntN(36), 0))
	}
	return p
}

func (g *generator) private(years int) *PKV {
	v := &PKV{Tariff: Coded{"01", "Individualtarif"}, Status: Coded{"VN", "Versicherungsnehmer"}}
	if years < 18 || g.in(6) {
		v.Status = Coded{"VP", "versicherte Person"}
	}
	if g.in(12) {
		v.Tariff = pick(g, []Coded{{"02", "Standardtarif"}, {"04", "Notlagentarif"}})
	}
	h := Hospital{
		General: Percent{true, 100}, TwoBed: Percent{true, uint8(50 * g.IntN(3))},
		Chief: Share{Plain: true, Yes: g.in(2)}, Attending: Share{Plain: true, Yes: g.in(2)},
	}
	if g.in(3) {
		h.OneBed = Percent{true, uint8(25 * g.IntN(5))}
		h.Chief = Share{Percent: Percent{true, 100}}
	}
	v.Hospital = []Hospital{h}
	if g.in(3) {
		v.Aid = []Aid{{Entitled: true, Quota: pick(g, []Percent{{}, {true, 20}, {true, 30}, {true, 50}})}}
	}
	if g.in(8) {
		v.Hints = []Hint{{Text: pick(g, []string{"Beihilfetaxe für Physiotherapie", "Basistarif: höchstens der 1,2-fache Satz"})}}
		if g.in(2) {
			v.Hints[0].Roles = []string{"1.2.276.0.76.4.50", "1.2.276.0.76.4.247"}
		}
	}
	return v
}

var (
	regions = []Coded{
		{"01", "Schleswig-Holstein"},
		{"02", "Hamburg"},
		{"03", "Bremen"},
		{"17", "Niedersachsen"},
		{"20", "Westfalen-Lippe"},
		{"38", "Nordrhein"},
		{"46", "Hessen"},
		{"51", "Rheinland-Pfalz"},
		{"52", "Baden-Württemberg"},
		{"71", "Bayern"},
		{"72", "Berlin"},
		{"73", "Saarland"},
		{"78", "Mecklenburg-Vorpommern"},
		{"83", "Brandenburg"},
		{"88", "Sachsen-Anhalt"},
		{"93", "Thüringen"},
		{"98", "Sachsen"},
	}
	programmes = []Coded{
		{"01", "DM2"},
		{"01", "DM2"},
		{"02", "BRK"},
		{"03", "KHK"},
		{"04", "DM1"},
		{"05", "Asthma"},
		{"06", "COPD"},
		{"07", "HI"},
		{"08", "Depression"},
		{"09", "Rueckenschmerz"},
		{"10", "Rheuma"},
	}
	nameHeads = []string{
		"Birken", "Brunnen", "Dorn", "Eichen", "Falken", "Fichten", "Flieder", "Garten", "Heide", "Holder", "Kranich", "Lerchen",
		"Linden", "Mühl", "Nuss", "Quitten", "Rohr", "Salz", "Schlehen", "Sonnen", "Sperling", "Stein", "Weiden", "Ziegel",
	}
	nameTails = []string{
		"auer", "bäcker", "berger", "bruch", "feld", "gräber", "hagen", "hofer", "kamp", "köhler", "leitner", "mann", "meißner",
		"müller", "reuter", "rößler", "schläger", "stätter", "thal", "wälder", "weber", "zieher",
	}
	givenNames = []string{
		"Ayşe", "Aylin", "Björn", "Chloé", "Dilara", "Elena", "Emre", "Friederike", "Gökhan", "Günther", "Hannelore", "Ingrid",
		"Jörg", "Jürgen", "Käthe", "Lukas", "Malik", "Marie", "Mehmet", "Noah", "Ömer", "Rainer", "René", "Rosa", "Sofia", "Theo",
		"Ursula", "Uwe", "Valentin", "Yusuf", "Zeynep", "Żaneta",
	}
	towns = []string{
		"Altenquell", "Bärenfurt", "Dünenwerder", "Eschenrode", "Grünhagen an der Aller", "Klein Rüstow", "Königsmoor",
		"Lüttenbrook", "Neu Seedorf", "Oberschönau", "Quellitz", "Sankt Wendelin", "Süderfähr", "Wolkenstadt",
	}
	streets = []string{
		"Ahornweg", "Alte Ziegelei", "Am Mühlengraben", "An der Bleiche", "Bürgermeister-Höfer-Straße", "Dorfstraße",
		"Färbergasse", "Gartenammerstraße", "Große Freiheit", "Hölderlinweg", "Im Grünen Winkel", "Kirchplatz",
		"Königsberger Straße", "Lange Reihe", "Nußbaumallee", "Schäferstieg", "Straße des Friedens", "Über den Höfen", "Zum Fährhaus",
	}
	foreign = []struct {
		town, street string
		country      Country
	}{
		{"Wolkendorf", "Bergweg", Country{Text: "Österreich", Code: "AT"}},
		{"Villeneuve-les-Nuages", "Rue de la Forêt", Country{Text: "Frankreich", Code: "FR"}},
		{"Chmurowo", "ulica Świętokrzyska", Country{Text: "Polen", Code: "PL"}}, // Ś and ę are not in ISO-8859-15
		{"Retë", "Rruga e Reve", Country{Text: "Kosovo", Code: "XK"}},
	}
)
