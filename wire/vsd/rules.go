package vsd

import (
	"strings"
	"unicode/utf8"
)

// Lengths in characters (VSDDatensatzGKV, VSDDatensatzPKV; the others are bounds of this platform).
const (
	maxName       = 45 // Vorname, Nachname, name of a payor
	maxNamePart   = 20 // Vorsatzwort, Namenszusatz, Titel
	maxFamily     = 87 // 45 + 20 + 20 and two blanks
	maxFullName   = 160
	maxStreet     = 46
	maxNumber     = 9
	maxLocator    = 40
	maxBox        = 8
	maxLine       = 100
	maxCity       = 40
	maxPostalCode = 10
	maxCountry    = 60
	maxDisplay    = 200
	maxContact    = 262
	maxHint       = 8000
	maxAddress    = 300 // of a code system
)

// Validate checks every rule that a record on its own can break; the rules about how a bundle refers to its own parts are
// [ParseBundle]'s. Errors are [*Error]. Check digits are not verified.
func (r *Record) Validate() error {
	c := checker{}
	c.require(r.Updated.Valid(), "Bundle.meta.lastUpdated", "", "it is no instant")
	c.patient(&r.Patient)
	c.coverage(&r.Coverage)
	c.require(len(r.Payors) >= 1 && len(r.Payors) <= maxPayors, "Coverage.payor", "", "it has not one or two payors")
	for i := range r.Payors {
		c.payor(&r.Payors[i])
	}
	if r.Coverage.Kind() == Statutory {
		c.statutory(r)
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// checker keeps the first failure.
type checker struct {
	err  *Error
	base string // path that the elements named continue; they are put together only when something fails
}

func (c *checker) require(ok bool, element, rule, problem string) {
	if !ok && c.err == nil {
		c.err = &Error{Element: c.base + element, Rule: rule, Problem: problem}
	}
}

// text checks a text that must be there, optional one that may be empty.
func (c *checker) text(s, element string, most int) {
	c.require(s != "", element, "", "it is missing")
	c.optional(s, element, most)
}

func (c *checker) optional(s, element string, most int) {
	c.require(len(s) <= most || utf8.RuneCountInString(s) <= most, element, "", "it is too long")
	c.require(clean(s, false), element, "", "it has characters that no name or address has")
}

// clean reports whether both formats can carry the text to the letter.
func clean(s string, lines bool) bool {
	for _, r := range s {
		switch {
		case lines && (r == '\n' || r == '\t'):
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r == 0xfffe || r == 0xffff:
			return false
		}
	}
	return true
}

func (c *checker) patient(p *Patient) {
	c.require(kvnrPattern(p.Number.Reveal()), "Patient.identifier.value", "", "it is no KVNR")
	n := &p.Name
	c.optional(n.Text, "Patient.name.text", maxFullName)
	c.text(n.Family, "Patient.name.family", maxFamily)
	c.text(n.Own, "Patient.name.family.extension(own-name)", maxName)
	c.optional(n.Prefix, "Patient.name.family.extension(own-prefix)", maxNamePart)
	c.optional(n.Addition, "Patient.name.family.extension(namenszusatz)", maxNamePart)
	c.text(n.Given, "Patient.name.given", maxName)
	c.optional(n.Title, "Patient.name.prefix", maxNamePart)
	c.require(p.Born.Valid(), "Patient.birthDate", "", "it is no date")
	switch p.Gender {
	case Male, Female, Diverse, Indeterminate, UnknownGender, NoGender:
	default:
		c.require(false, "Patient.gender", "", "it is no value of the table")
	}
	urls := 0
	for _, t := range p.Telecom {
		c.contact(t, "Patient.telecom")
		if t.System == "url" {
			urls++
			c.require(matrixID(t.Value), "Patient.telecom.value", ruleMatrixID, "it is no Matrix address")
		}
	}
	c.require(urls <= 1 && len(p.Telecom) <= maxTelecom, "Patient.telecom", "", "there are too many")
	c.require(len(p.Addresses) <= 2, "Patient.address", "", "there are more than two")
	seen := NoKind
	for i := range p.Addresses {
		a := &p.Addresses[i]
		c.address(a, "Patient.address")
		c.require(a.Kind != NoKind && a.Kind != seen, "Patient.address.type", "", "it is missing, or there are two of one type")
		c.require(a.City != "", "Patient.address.city", "", "it is missing")
		seen = a.Kind
	}
}

func (c *checker) contact(t Contact, element string) {
	c.base = element
	c.require(allowed(t.System, allowedTelecom), ".system", "", "it is none of FHIR's")
	c.text(t.Value, ".value", maxContact)
	c.base = ""
}

func (c *checker) address(a *Address, element string) {
	c.base = element
	c.require(a.Kind == Physical || a.Kind == Postal || a.Kind == NoKind, ".type", "", "it is neither physical nor postal")
	c.require(len(a.Lines) <= maxLines, ".line", "", "there are too many")
	for i := range a.Lines {
		l := &a.Lines[i]
		c.text(l.Text, ".line", maxLine)
		c.optional(l.Street, ".line.extension(streetName)", maxStreet)
		c.optional(l.Number, ".line.extension(houseNumber)", maxNumber)
		c.optional(l.Addition, ".line.extension(additionalLocator)", maxLocator)
		c.optional(strings.TrimPrefix(l.Box, "Postfach "), ".line.extension(postBox)", maxBox)
		c.require(a.Kind == Postal || l.Box == "", ".line.extension(postBox)", "", "only a postal address has a box")
		c.require(a.Kind != Postal || l.Street == "" && l.Number == "" && l.Addition == "", ".line", "",
			"a postal address has nothing but a box")
	}
	c.optional(a.City, ".city", maxCity)
	c.optional(a.PostalCode, ".postalCode", maxPostalCode)
	c.text(a.Country.Text, ".country", maxCountry)
	c.require(isoCountry(a.Country.Code) || isoSupplement(a.Country.Code), ".country", ruleCountry,
		"it has no code of ISO 3166-1 or its supplement")
	c.require(a.Country.DEUEV == "" || deuevCountry(a.Country.DEUEV), ".country", "", "it has no code of DEÜV Anlage 8")
	c.base = ""
}

func (c *checker) coverage(v *Coverage) {
	c.require((v.GKV == nil) != (v.PKV == nil), "Coverage.type", "", "it is not exactly one of GKV and PKV")
	c.optional(v.Type, "Coverage.type.coding.display", maxDisplay)
	// The logical model lets private insurers leave the start out; the Prüfziffer needs it.
	c.period(v.Period, "Coverage.period")
	if c.err != nil {
		return
	}
	if v.PKV != nil {
		c.private(v.PKV)
	} else {
		c.gkv(v.GKV)
	}
	c.order(v)
}

// order checks that an order names exactly the extensions that there are.
func (c *checker) order(v *Coverage) {
	if v.Order == "" {
		return
	}
	usual, total := v.usualOrder(), 0
	for i := range len(usual) {
		n := v.count(usual[i])
		total += n
		c.require(strings.Count(v.Order, usual[i:i+1]) == n, "Coverage.extension", "", "the order does not fit the extensions")
	}
	c.require(len(v.Order) == total, "Coverage.extension", "", "the order does not fit the extensions")
}

func (c *checker) period(p Period, element string) {
	c.base = element
	c.require(p.Start.Full(), ".start", ruleDate, "it is no full date")
	c.require(p.End == "" || p.End.Full(), ".end", ruleDate, "it is no full date")
	c.require(p.End == "" || p.End >= p.Start, "", "", "it ends before it begins")
	c.base = ""
}

func (c *checker) coded(v Coded, codes, element string) {
	c.base = element
	c.require(allowed(v.Code, codes), "", "", "it has no code of the value set")
	c.optional(v.Display, ".display", maxDisplay)
	c.base = ""
}

func (c *checker) gkv(g *GKV) {
	c.coded(g.WOP, allowedWOP, "Coverage.extension(wop)")
	c.coded(g.Status, allowedStatus, "Coverage.extension(versichertenart)")
	if g.Group != (Coded{}) {
		c.coded(g.Group, allowedGroup, "Coverage.extension(besondere-personengruppe)")
	}
	c.require(len(g.Programmes) <= maxProgrammes, "Coverage.extension(VSDMDMPTeilnahme)", "", "there are too many")
	for i := range g.Programmes {
		c.coded(g.Programmes[i].Programme, allowedDMP, "Coverage.extension(VSDMDMPTeilnahme).dmp")
		c.period(g.Programmes[i].Period, "Coverage.extension(VSDMDMPTeilnahme).zeitraum")
	}
	c.require(g.Exempt == "" || g.Exempt.Full(), "Coverage.extension(zuzahlungsstatus).gueltigBis", "", "it is no full date")
	if s := g.Suspension; s != nil {
		c.coded(s.Scope, allowedSuspension, "Coverage.extension(ruhender-leistungsanspruch).art")
		c.period(s.Period, "Coverage.extension(ruhender-leistungsanspruch).dauer")
	}
}

func (c *checker) private(p *PKV) {
	c.coded(p.Tariff, allowedTariff, "Coverage.extension(VSDMTarifartPKV)")
	c.coded(p.Status, allowedPKVStatus, "Coverage.extension(VSDMVersichertenartPKV)")
	c.require(len(p.Hints) <= maxPrivate && len(p.Hospital) <= maxPrivate && len(p.Aid) <= maxPrivate, "Coverage.extension", "",
		"there are too many")
	for i := range p.Hints {
		h := &p.Hints[i]
		const element = "Coverage.extension(VSDMHinweisPKV)"
		c.require(h.Text != "" && len(h.Text) <= maxHint && utf8.ValidString(h.Text) && clean(h.Text, true), element+".text", "",
			"it is missing, too long, or has characters that no text has")
		c.require(len(h.Roles) <= maxRoles, element+".professionOID", "", "there are too many")
		for _, role := range h.Roles {
			c.require(oid(role), element+".professionOID", "", "it is no OID")
		}
	}
	for i := range p.Hospital {
		h := &p.Hospital[i]
		const element = "Coverage.extension(VSDMKrankenhausleistungenPKV)"
		c.require(*h != Hospital{}, element, "", "it says nothing")
		for _, v := range []Percent{h.General, h.TwoBed, h.OneBed, h.Difference, h.Chief.Percent, h.Attending.Percent} {
			c.percent(v, element)
		}
		for _, s := range []Share{h.Chief, h.Attending} {
			c.require(s.Plain && !s.Percent.Given || !s.Plain && !s.Yes, element, "", "a share is both a number and a yes or no")
		}
	}
	for i := range p.Aid {
		c.percent(p.Aid[i].Quota, "Coverage.extension(VSDMBeihilfe).quote")
	}
}

func (c *checker) percent(p Percent, element string) {
	c.require(p.Value <= 100 && (p.Given || p.Value == 0), element, rulePercentage, "it is no whole number from 0 to 100")
}

func (c *checker) payor(p *Payor) {
	c.require(ikPattern(string(p.IK)), "Organization.identifier.value", "", "it is no IK")
	c.text(p.Name, "Organization.name", maxName)
	c.require(len(p.Addresses) >= 1 && len(p.Addresses) <= maxOffices, "Organization.address", "", "there are none or too many")
	for i := range p.Addresses {
		c.address(&p.Addresses[i], "Organization.address")
	}
	c.require(len(p.Contacts) <= maxContacts, "Organization.contact", "", "there are too many")
	for i := range p.Contacts {
		o := &p.Contacts[i]
		c.require((o.Purpose.System == "") == (o.Purpose.Code == ""), "Organization.contact.purpose", "", "a code comes with its system")
		c.optional(o.Purpose.System, "Organization.contact.purpose", maxAddress)
		c.optional(o.Purpose.Code, "Organization.contact.purpose", maxDisplay)
		c.optional(o.Text, "Organization.contact.purpose.text", maxDisplay)
		c.require(len(o.Telecom) <= maxTelecom, "Organization.contact.telecom", "", "there are too many")
		c.require(o.Purpose.Code != "" || o.Text != "" || len(o.Telecom) > 0, "Organization.contact", "", "it says nothing")
		for _, t := range o.Telecom {
			c.contact(t, "Organization.contact.telecom")
		}
	}
}

// statutory checks what only statutory insurers must do.
func (c *checker) statutory(r *Record) {
	c.require(r.Patient.Gender != NoGender, "Patient.gender", ruleGender1, "it is missing")
	c.require(r.Patient.Gender != UnknownGender, "Patient.gender", ruleGender2, "it is unknown")
	for i := range r.Patient.Addresses {
		c.require(r.Patient.Addresses[i].Country.DEUEV != "", "Patient.address.country", ruleAddress1, "it has no code of DEÜV Anlage 8")
	}
	for i := range r.Payors {
		for j := range r.Payors[i].Addresses {
			c.require(r.Payors[i].Addresses[j].Country.DEUEV != "", "Organization.address.country", ruleAddress2,
				"it has no code of DEÜV Anlage 8")
		}
	}
	c.require(len(r.Payors) < 2 || r.Payors[0].ID != r.Payors[1].ID, "Coverage.payor", "", "both are the same Organization")
}

// allowed reports whether a code is one of those in a list with blanks between them.
func allowed(code, codes string) bool {
	for rest := codes; rest != ""; {
		var one string
		if one, rest, _ = strings.Cut(rest, " "); one == code {
			return true
		}
	}
	return false
}

func kvnrPattern(s string) bool { return len(s) == 10 && s[0] >= 'A' && s[0] <= 'Z' && digits(s[1:]) }

func ikPattern(s string) bool { return len(s) == 9 && digits(s) }

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// oid reports whether s is an object identifier in digits and points, without the prefix urn:oid:.
func oid(s string) bool {
	s = strings.TrimPrefix(s, "urn:oid:")
	if len(s) > 128 || s == "" || s[0] > '2' {
		return false
	}
	for arc := range strings.SplitSeq(s, ".") {
		if !digits(arc) || len(arc) > 1 && arc[0] == '0' {
			return false
		}
	}
	return true
}

// matrixID reports whether s is matrix:@local:host with an optional port, at most 262 characters.
func matrixID(s string) bool {
	local, host, ok := strings.Cut(strings.TrimPrefix(s, "matrix:@"), ":")
	if !strings.HasPrefix(s, "matrix:@") || !ok || len(s) > 262 {
		return false
	}
	host, port, hasPort := strings.Cut(host, ":")
	const lower, rest = "abcdefghijklmnopqrstuvwxyz0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return local != "" && strings.Trim(local, lower+"-._=/+") == "" &&
		host != "" && len(host) <= 255 && strings.Trim(host, lower+rest+"-.") == "" &&
		(!hasPort || digits(port) && len(port) <= 5)
}
