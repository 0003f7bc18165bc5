package vsd

// country is one row of DEÜV Anlage 8 with the code of ISO 3166-1, or of its supplement, that it stands for.
type country struct{ deuev, code, name string }

var (
	deuevCodes = codeSet(func(c country) string { return c.deuev }, countries, supplement)
	isoCodes   = codeSet(func(c country) string { return c.code }, countries)
)

func codeSet(code func(country) string, tables ...[]country) map[string]bool {
	set := map[string]bool{}
	for _, t := range tables {
		for _, c := range t {
			set[code(c)] = true
		}
	}
	return set
}

// isoCountry reports whether code is of ISO 3166-1 alpha-2.
func isoCountry(code string) bool { return isoCodes[code] }

// isoSupplement reports whether code is one that the profiles add to ISO 3166-1.
func isoSupplement(code string) bool {
	for i := range supplement {
		if supplement[i].code == code {
			return true
		}
	}
	return false
}

// deuevCountry reports whether code is of DEÜV Anlage 8.
func deuevCountry(code string) bool { return deuevCodes[code] }
