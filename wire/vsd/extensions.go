package vsd

// Canonical addresses and code systems (FHIR package de.gematik.vsdm2 and those that it uses).
const (
	gematik     = "https://gematik.de/fhir/"
	definitions = gematik + "vsdm2/StructureDefinition/"
	deBasis     = "http://fhir.de/StructureDefinition/"
	hl7         = "http://hl7.org/fhir/StructureDefinition/"
	kbvSystem   = "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_"

	extQualifier = hl7 + "iso21090-EN-qualifier"
	extAddition  = deBasis + "humanname-namenszusatz"
	extOwn       = hl7 + "humanname-own-name"
	extPrefix    = hl7 + "humanname-own-prefix"
	extNumber    = hl7 + "iso21090-ADXP-houseNumber"
	extStreet    = hl7 + "iso21090-ADXP-streetName"
	extLocator   = hl7 + "iso21090-ADXP-additionalLocator"
	extBox       = hl7 + "iso21090-ADXP-postBox"
	extCoded     = hl7 + "iso21090-codedString"
	extAnlage8   = definitions + "VSDMLaenderkennzeichenAnlage8"
	extISOSupp   = definitions + "VSDMISO3166Ergaenzung"
	extGender    = deBasis + "gender-amtlich-de"

	extWOP        = deBasis + "gkv/wop"
	extStatus     = deBasis + "gkv/versichertenart"
	extGroup      = deBasis + "gkv/besondere-personengruppe"
	extDMP        = definitions + "VSDMDMPTeilnahme"
	extExempt     = deBasis + "gkv/zuzahlungsstatus"
	extReimburse  = deBasis + "gkv/kostenerstattung"
	extSuspension = deBasis + "gkv/ruhender-leistungsanspruch"
	extTariff     = definitions + "VSDMTarifartPKV"
	extPKVStatus  = definitions + "VSDMVersichertenartPKV"
	extHint       = definitions + "VSDMHinweisPKV"
	extHospital   = definitions + "VSDMKrankenhausleistungenPKV"
	extAid        = definitions + "VSDMBeihilfe"

	sidKVNR      = "http://fhir.de/sid/gkv/kvid-10"
	sidIK        = "http://fhir.de/sid/arge-ik/iknr"
	sysISO       = "urn:iso:std:iso:3166"
	sysAnlage8   = "http://fhir.de/CodeSystem/deuev/anlage-8-laenderkennzeichen"
	sysISOSupp   = gematik + "vsdm2/CodeSystem/VSDMISO3166ErgaenzungCS"
	sysPKVStatus = "http://fhir.de/CodeSystem/pkv/Versichertenart"
	setPKVStatus = "http://fhir.de/ValueSet/pkv/Versichertenart" // what version 1.0 has in its place, a published defect
)

// system is a code system in the version that the profiles of version 1.1 fix.
type system struct{ address, version string }

var (
	codesAnlage8    = system{sysAnlage8, "8.00"}
	codesISOSupp    = system{sysISOSupp, "1.1.0-dev"}
	codesGender     = system{"http://fhir.de/CodeSystem/gender-amtlich-de", "1.6.0"}
	codesKind       = system{"http://fhir.de/CodeSystem/versicherungsart-de-basis", "1.6.0"}
	codesWOP        = system{kbvSystem + "ITA_WOP", "1.00"}
	codesStatus     = system{kbvSystem + "KBV_VERSICHERTENSTATUS", "1.02"}
	codesGroup      = system{kbvSystem + "KBV_PERSONENGRUPPE", "1.03"}
	codesDMP        = system{kbvSystem + "KBV_DMP", "1.07"}
	codesSuspension = system{"http://fhir.de/CodeSystem/gkv/RuhenderLeistungsanspruchGKV", "1.6.0"}
	codesTariff     = system{kbvSystem + "KBV_PKV_TARIFF", "1.01"}
	codesPKVStatus  = system{sysPKVStatus, "1.6.0"}
)

// The codes that the profiles allow, separated by blanks.
const (
	allowedWOP        = "01 02 03 17 20 38 46 51 52 71 72 73 78 83 88 93 98"
	allowedStatus     = "1 3 5"
	allowedGroup      = "04 06 07 08 09"
	allowedDMP        = "01 02 03 04 05 06 07 08 09 10 11 12 13"
	allowedSuspension = "1 2"
	allowedTariff     = "01 02 03 04"
	allowedPKVStatus  = "VN VP"
	allowedTelecom    = "phone fax email pager url sms other"
)

// Letters of the coverage's extensions in [Coverage.Order] and in the stored form.
const (
	letterWOP        = 'w'
	letterStatus     = 'v'
	letterDMP        = 'd'
	letterGroup      = 'p'
	letterExempt     = 'z'
	letterReimburse  = 'k'
	letterSuspension = 'r'
	letterTariff     = 't'
	letterHint       = 'h'
	letterHospital   = 's'
	letterAid        = 'b'

	orderGKV = "wvdpzkr" // the order of this package
	orderPKV = "tvhsb"
)

// usualOrder returns the letters that the kind may have, in the order of this package.
func (c *Coverage) usualOrder() string {
	if c.PKV != nil {
		return orderPKV
	}
	return orderGKV
}

// count returns how many extensions of a letter the coverage has.
func (c *Coverage) count(letter byte) int {
	if c.PKV != nil {
		switch letter {
		case letterTariff, letterStatus:
			return 1
		case letterHint:
			return len(c.PKV.Hints)
		case letterHospital:
			return len(c.PKV.Hospital)
		case letterAid:
			return len(c.PKV.Aid)
		}
		return 0
	}
	switch letter {
	case letterWOP, letterStatus:
		return 1
	case letterDMP:
		return len(c.GKV.Programmes)
	case letterGroup:
		return one(c.GKV.Group.Code != "")
	case letterExempt:
		return one(c.GKV.Exempt != "")
	case letterReimburse:
		return one(c.GKV.Reimbursement != nil)
	case letterSuspension:
		return one(c.GKV.Suspension != nil)
	}
	return 0
}

func one(present bool) int {
	if present {
		return 1
	}
	return 0
}

// settle drops an order that says the same as none.
func (c *Coverage) settle() {
	usual := make([]byte, 0, len(c.Order))
	for _, letter := range []byte(c.usualOrder()) {
		for range c.count(letter) {
			usual = append(usual, letter)
		}
	}
	if string(usual) == c.Order {
		c.Order = ""
	}
}
