package vsd

import (
	"strings"

	"github.com/querschott/querschott"
)

const (
	maxTelecom  = 8
	maxPayors   = 2
	maxLines    = 3
	maxOffices  = 4 // addresses of a payor
	maxContacts = 8
)

// ParseBundle reads a VSDMBundle of either version in the given format. Errors are [*Error].
func ParseBundle(data []byte, f Format) (*Record, Envelope, error) {
	root, err := parseTree(data, f)
	if err != nil {
		return nil, Envelope{}, err
	}
	r := &reader{format: f}
	rec, e := r.bundle(root)
	if r.err != nil {
		return nil, Envelope{}, r.err
	}
	if err := rec.Validate(); err != nil {
		return nil, Envelope{}, err
	}
	return rec, e, nil
}

func (r *reader) bundle(n *node) (*Record, Envelope) {
	if n.resource != "Bundle" {
		r.fail(n, "", "it is no Bundle")
		return nil, Envelope{}
	}
	rec := &Record{}
	r.only(n, "id", "meta", "type", "timestamp", "entry")
	e := Envelope{ID: r.id(n), Created: Instant(r.text(n, "timestamp"))}
	r.bundleVersion(n)
	rec.Updated = Instant(r.text(r.meta(n, "VSDMBundle", "lastUpdated", "profile"), "lastUpdated"))
	if !e.Created.Valid() {
		r.fail(n, "", "its timestamp is no instant")
	}
	r.fixed(n, "type", "collection")
	entries := r.many(n, "entry", 3, 2+maxPayors)
	patient, coverage := r.entry(entries, "Patient"), r.entry(entries, "Coverage")
	if len(patient) != 1 || len(coverage) != 1 || len(r.entry(entries, "Organization"))+2 != len(entries) {
		r.fail(n, "", "it has not exactly one Patient, one Coverage and one or two Organizations")
		return nil, e
	}
	r.patient(patient[0], rec)
	r.coverage(coverage[0], rec, r.entry(entries, "Organization"))
	return rec, e
}

// bundleVersion takes the profiles' version from the bundle's profile.
func (r *reader) bundleVersion(n *node) {
	meta := r.one(n, "meta")
	profile := r.single(meta, "profile")
	for _, r.version = range []Version{V10, V11} {
		if profile.value == definitions+"VSDMBundle|"+r.version.canonical() {
			return
		}
	}
	r.fail(profile, "", "it is no profile of a bundle in a version that is known here")
}

func (r *reader) meta(n *node, profile string, names ...string) *node {
	meta := r.one(n, "meta")
	r.only(meta, names...)
	p := r.single(meta, "profile")
	if r.str(p) != definitions+profile+"|"+r.version.canonical() {
		r.fail(p, "", "it is not the profile "+profile+" in the version of the bundle")
	}
	return meta
}

func (r *reader) id(n *node) ID {
	kid := r.one(n, "id")
	id, ok := ParseID(r.str(kid))
	if !ok {
		r.fail(kid, "", "it is no UUID in lower case")
	}
	return id
}

// entry returns the resources of one type and checks that they are where their entries say.
func (r *reader) entry(entries []*node, resource string) []*node {
	var found []*node
	for _, entry := range entries {
		r.only(entry, "fullUrl", "resource")
		n := r.one(entry, "resource")
		if n.resource != resource {
			continue
		}
		if r.text(entry, "fullUrl") != gematik+resource+"/"+r.id(n).String() {
			r.fail(entry, "", "its fullUrl is not the address of its resource")
		}
		found = append(found, n)
	}
	return found
}

func (r *reader) patient(n *node, rec *Record) {
	r.only(n, "id", "meta", "identifier", "name", "telecom", "gender", "birthDate", "address")
	r.meta(n, "VSDMPatient", "profile")
	identifier := r.single(n, "identifier")
	r.only(identifier, "system", "value")
	r.fixed(identifier, "system", sidKVNR)
	rec.Patient = Patient{
		ID:      r.id(n),
		Number:  querschott.KVNR(r.text(identifier, "value")),
		Name:    r.name(r.single(n, "name")),
		Telecom: r.telecom(n),
		Gender:  r.gender(r.optional(n, "gender")),
		Born:    Date(r.text(n, "birthDate")),
	}
	for _, a := range r.many(n, "address", 0, 2) {
		rec.Patient.Addresses = append(rec.Patient.Addresses, r.address(a))
	}
}

func (r *reader) name(n *node) Name {
	r.only(n, "use", "text", "family", "given", "prefix")
	r.fixed(n, "use", "official")
	family := r.one(n, "family")
	r.only(family, "extension")
	parts := r.extensions(family, extAddition, extOwn, extPrefix)
	name := Name{
		Text:     r.optionalText(n, "text"),
		Family:   r.extended(family, stringValue),
		Addition: r.valueText(parts[0], "valueString"),
		Own:      r.valueText(parts[1], "valueString"),
		Prefix:   r.valueText(parts[2], "valueString"),
		Given:    r.str(r.single(n, "given")),
	}
	for _, title := range r.many(n, "prefix", 0, 1) {
		r.only(title, "extension")
		name.Title = r.extended(title, stringValue)
		qualifier := r.need(title, r.extensions(title, extQualifier)[0], extQualifier)
		if r.valueText(qualifier, "valueCode") != "AC" {
			r.fail(title, "", "it is not marked as an academic title")
		}
	}
	return name
}

func (r *reader) telecom(n *node) []Contact {
	var contacts []Contact
	for _, t := range r.many(n, "telecom", 0, maxTelecom) {
		r.only(t, "system", "value")
		contacts = append(contacts, Contact{System: r.text(t, "system"), Value: r.text(t, "value")})
	}
	return contacts
}

func (r *reader) gender(n *node) Gender {
	if n == nil {
		return NoGender
	}
	r.only(n, "extension")
	official := r.extensions(n, extGender)[0]
	value := r.extended(n, stringValue)
	if value == "other" {
		c := r.coded(r.need(n, official, extGender), codesGender)
		for _, g := range []Gender{Diverse, Indeterminate} {
			if c.Code == string(g) && (c.Display == "" || c.Display == g.display()) {
				return g
			}
		}
		r.fail(n, "", "its official code is neither D nor X with its own text")
		return NoGender
	}
	if official != nil {
		r.fail(n, "", "the official code belongs to other only")
	}
	switch value {
	case "male":
		return Male
	case "female":
		return Female
	case "unknown":
		return UnknownGender
	}
	r.fail(n, "", "it is none of the four values of FHIR")
	return NoGender
}

func (r *reader) address(n *node) Address {
	r.only(n, "type", "line", "city", "postalCode", "country")
	a := Address{
		Kind:       AddressKind(r.optionalText(n, "type")),
		City:       r.optionalText(n, "city"),
		PostalCode: r.optionalText(n, "postalCode"),
		Country:    r.country(r.one(n, "country")),
	}
	for _, l := range r.many(n, "line", 0, maxLines) {
		r.only(l, "extension")
		parts := r.extensions(l, extNumber, extStreet, extLocator, extBox)
		a.Lines = append(a.Lines, Line{
			Text:     r.extended(l, stringValue),
			Number:   r.valueText(parts[0], "valueString"),
			Street:   r.valueText(parts[1], "valueString"),
			Addition: r.valueText(parts[2], "valueString"),
			Box:      r.valueText(parts[3], "valueString"),
		})
	}
	return a
}

// country reads the codes of a country. In version 1.0 two extensions with one address carry codes of two systems.
func (r *reader) country(n *node) Country {
	r.only(n, "extension")
	c := Country{Text: r.extended(n, stringValue)}
	for _, e := range r.many(n, "extension", 0, 3) {
		url := r.url(e)
		if url == extCoded && r.version == V10 && r.one(r.one(e, "valueCoding"), "system").value == sysAnlage8 {
			url = extAnlage8
		}
		switch {
		case url == extAnlage8 && c.DEUEV == "":
			c.DEUEV = r.bare(e, codesAnlage8)
		case (url == extCoded || url == extISOSupp) && c.Code != "":
			r.fail(n, ruleCountry, "it has both a code of ISO 3166 and one of the supplement, or one of them twice")
		case url == extCoded:
			if c.Code = r.bare(e, system{address: sysISO}); !isoCountry(c.Code) {
				r.fail(e, "", "it is no code of ISO 3166-1")
			}
		case url == extISOSupp:
			if c.Code = r.bare(e, codesISOSupp); !isoSupplement(c.Code) {
				r.fail(e, "", "it is no code of the supplement to ISO 3166-1")
			}
		default:
			r.fail(e, "", "the profile has no such extension here, or not twice")
		}
	}
	if c.Code == "" {
		r.fail(n, ruleCountry, "it has neither a code of ISO 3166 nor one of the supplement")
	}
	return c
}

// organization reads the payor that a coverage refers to.
func (r *reader) organization(n *node) Payor {
	r.only(n, "id", "meta", "identifier", "name", "address", "contact")
	r.meta(n, "VSDMPayorOrganization", "profile")
	identifier := r.single(n, "identifier")
	r.only(identifier, "system", "value")
	r.fixed(identifier, "system", sidIK)
	p := Payor{ID: r.id(n), IK: querschott.IK(r.text(identifier, "value")), Name: r.text(n, "name")}
	for _, a := range r.many(n, "address", 1, maxOffices) {
		p.Addresses = append(p.Addresses, r.address(a))
	}
	for _, c := range r.many(n, "contact", 0, maxContacts) {
		p.Contacts = append(p.Contacts, r.officeContact(c))
	}
	return p
}

func (r *reader) officeContact(n *node) OfficeContact {
	r.only(n, "purpose", "telecom")
	c := OfficeContact{Telecom: r.telecom(n)}
	if purpose := r.optional(n, "purpose"); purpose != nil {
		r.only(purpose, "coding", "text")
		c.Text = r.optionalText(purpose, "text")
		for _, coding := range r.many(purpose, "coding", 0, 1) {
			r.only(coding, "system", "code")
			c.Purpose = Coding{System: r.text(coding, "system"), Code: r.text(coding, "code")}
		}
	}
	return c
}

// referenced returns the organization that a reference names.
func (r *reader) referenced(organizations []*node, reference string) *node {
	for _, o := range organizations {
		if id, ok := strings.CutPrefix(reference, gematik+"Organization/"); ok && id == r.id(o).String() {
			return o
		}
	}
	return nil
}
