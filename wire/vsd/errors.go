package vsd

// Error says which rule a bundle or a record breaks, and where.
type Error struct {
	Element string // path of the element, such as Bundle.entry[1].resource.payor[0].display
	Rule    string // key of the profile's invariant, or "" for a rule of the structure
	Problem string // in words; contains no value of the bundle
}

func (e *Error) Error() string {
	if e.Rule == "" {
		return e.Element + ": " + e.Problem
	}
	return e.Element + ": " + e.Problem + " (" + e.Rule + ")"
}

// Keys of the invariants that are enforced (FHIR package de.gematik.vsdm2).
const (
	ruleGender1    = "VSDMCoverageGKV-gender-1"
	ruleGender2    = "VSDMCoverageGKV-gender-2"
	ruleAddress1   = "VSDMCoverageGKV-address-1"
	ruleAddress2   = "VSDMCoverageGKV-address-2"
	rulePayor1     = "VSDMCoverageGKV-payor-1"
	rulePayor2     = "VSDMCoverageGKV-payor-2"
	ruleDate       = "date-precision-1"
	rulePercentage = "unsignedInt-percentage-1"
	ruleCountry    = "country-code-iso-or-extension-1"
	ruleMatrixID   = "VSDMContactPointTIM-mxid-1"
)
