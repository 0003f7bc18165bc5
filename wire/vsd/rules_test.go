package vsd

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	anlage8 = `,{"url":"https://gematik.de/fhir/vsdm2/StructureDefinition/VSDMLaenderkennzeichenAnlage8","valueCoding":{"system":"http://fhir.de/CodeSystem/deuev/anlage-8-laenderkennzeichen","version":"8.00","code":"D"}}`
	isoDE   = `{"url":"http://hl7.org/fhir/StructureDefinition/iso21090-codedString","valueCoding":{"system":"urn:iso:std:iso:3166","code":"DE"}}`
	isoXK   = `{"url":"https://gematik.de/fhir/vsdm2/StructureDefinition/VSDMISO3166Ergaenzung","valueCoding":{"system":"https://gematik.de/fhir/vsdm2/CodeSystem/VSDMISO3166ErgaenzungCS","version":"1.1.0-dev","code":"XK"}}`
	diverse = `"gender":"other","_gender":{"extension":[{"url":"http://fhir.de/StructureDefinition/gender-amtlich-de","valueCoding":{"system":"http://fhir.de/CodeSystem/gender-amtlich-de","version":"1.6.0","code":"D","display":"divers"}}]},`
)

// broken is a bundle with one place replaced, and which rule that breaks where.
type broken struct {
	name             string
	of               *Record
	old, replacement string
	rule, element    string
}

const two = `},{"reference":"https://gematik.de/fhir/Organization/`

var (
	// brokenInvariants break each invariant of the profiles.
	brokenInvariants = []broken{
		{"gender missing", statutory(), diverse, ``, ruleGender1, "Patient.gender"},
		{"gender unknown", statutory(), diverse, `"gender":"unknown",`, ruleGender2, "Patient.gender"},
		{"no DEÜV code of the person", statutory(), anlage8, ``, ruleAddress1, "Patient.address.country"},
		{"no DEÜV code of the payor", statutory(), `"address":[{"country":"Deutschland","_country":{"extension":[` + isoDE + anlage8, `"address":[{"country":"Deutschland","_country":{"extension":[` + isoDE, ruleAddress2, "Organization.address.country"},
		{"IK of another payor", statutory(), `iknr","value":"109500969"},"display"`, `iknr","value":"108213958"},"display"`, rulePayor1, "payor[0].identifier"},
		{"IK of another private payor", private(), `"value":"109500969"},"display"`, `"value":"108213958"},"display"`, rulePayor1, "payor[0].identifier"},
		{"name of another payor", statutory(), `"display":"Übungskasse Nord"`, `"display":"Übungskasse Süd"`, rulePayor2, "payor[0].display"},
		{"start of cover without day", statutory(), `"start":"2000-01-01"`, `"start":"2000-01"`, ruleDate, "Coverage.period.start"},
		{"end of cover without day", statutory(), `"end":"2029-12-31"`, `"end":"2029"`, ruleDate, "Coverage.period.end"},
		{"start of a programme without day", statutory(), `"start":"2001-01-01"`, `"start":"2001"`, ruleDate, "zeitraum.start"},
		{"end of a programme without day", statutory(), `"end":"2023-12-31"`, `"end":"2023"`, ruleDate, "zeitraum.end"},
		{"start of a suspension without day", statutory(), `"start":"2025-01-01"`, `"start":"2025"`, ruleDate, "dauer.start"},
		{"no such day", statutory(), `"start":"2000-01-01"`, `"start":"2000-02-30"`, ruleDate, "Coverage.period.start"},
		{"percentage over 100", private(), `"valueUnsignedInt":80`, `"valueUnsignedInt":101`, rulePercentage, "valueUnsignedInt"},
		{"percentage over 255", private(), `"valueUnsignedInt":80`, `"valueUnsignedInt":356`, rulePercentage, "valueUnsignedInt"},
		{"negative percentage", private(), `"valueUnsignedInt":80`, `"valueUnsignedInt":-1`, rulePercentage, "valueUnsignedInt"},
		{"fractional percentage", private(), `"valueUnsignedInt":80`, `"valueUnsignedInt":1e1`, rulePercentage, "valueUnsignedInt"},
		{"no country code", statutory(), isoDE + `,`, ``, ruleCountry, "country"},
		{"both country codes", statutory(), isoDE, isoDE + `,` + isoXK, ruleCountry, "country"},
		{"no Matrix address", private(), `matrix:@z123456783:messenger.invalid:443`, `mailto:z@messenger.invalid`, ruleMatrixID, "Patient.telecom"},
	}
	// brokenCodes and the following break what the structure demands.
	brokenCodes = []broken{
		{"country code of nobody", statutory(), `"code":"DE"`, `"code":"XX"`, "", "extension"},
		{"supplement's code as ISO", statutory(), `"code":"DE"`, `"code":"XK"`, "", "extension"},
		{"ISO code as supplement", private(), `"code":"XK"`, `"code":"DE"`, "", "extension"},
		{"DEÜV code of nobody", statutory(), `"code":"D"}`, `"code":"ZZZ"}`, "", "country"},
		{"region of nobody", statutory(), `"code":"98"`, `"code":"99"`, "", "wop"},
		{"no region", statutory(), `{"url":"http://fhir.de/StructureDefinition/gkv/wop","valueCoding":{"system":"https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_ITA_WOP","version":"1.00","code":"98","display":"Sachsen"}},`, ``, "", "wop"},
		{"insured as nothing", statutory(), `"code":"3"`, `"code":"2"`, "", "versichertenart"},
		{"group of nobody", statutory(), `"code":"07"`, `"code":"05"`, "", "besondere-personengruppe"},
		{"programme of nobody", statutory(), `"code":"08"`, `"code":"14"`, "", "dmp"},
		{"not exempt", statutory(), `"url":"status","valueBoolean":true`, `"url":"status","valueBoolean":false`, "", "extension"},
		{"exempt without end", statutory(), `,{"url":"gueltigBis","valueDate":"2026-12-31"}`, ``, "", "extension"},
		{"three of four reimbursements", statutory(), `{"url":"stationaererBereich","valueBoolean":true},`, ``, "", "extension"},
		{"suspension of no scope", statutory(), `"code":"1","display":"vollständig"`, `"code":"3","display":"vollständig"`, "", "art"},
		{"suspension without start", statutory(), `"valuePeriod":{"start":"2025-01-01","end":"2025-12-31"}`, `"valuePeriod":{"end":"2025-12-31"}`, "", "start"},
		{"cover without start", private(), `"period":{"start":"1980-01-01"}`, `"period":{"end":"1980-01-01"}`, "", "period.start"},
		{"ends before it begins", statutory(), `"end":"2029-12-31"`, `"end":"1999-12-31"`, "", "Coverage.period"},
		{"version of a code system missing", statutory(), `"version":"1.00",`, ``, "", "version"},
		{"version of a code system of tomorrow", statutory(), `"version":"1.07"`, `"version":"1.08"`, "", "version"},
		{"tariff of nobody", private(), `"code":"04"`, `"code":"05"`, "", "Tarifart"},
		{"private insured as nothing", private(), `"code":"VN"`, `"code":"VX"`, "", "Versichertenart"},
		{"role that is no OID", private(), `1.2.276.0.76.4.51`, `1.2.276.0.76.04.51`, "", "professionOID"},
		{"role below 3", private(), `1.2.276.0.76.4.51`, `3.1`, "", "professionOID"},
		{"yes and number", private(), `"valueBoolean":true}`, `"valueBoolean":true,"valueUnsignedInt":1}`, "", "extension"},
		{"number as text", private(), `"valueUnsignedInt":80`, `"valueUnsignedInt":"80"`, "", "valueUnsignedInt"},
		{"yes as text", statutory(), `"valueBoolean":true`, `"valueBoolean":"true"`, "", "valueBoolean"},
		{"text as number", statutory(), `"city":"Wolkenstadt"`, `"city":7`, "", "city"},
	}
	brokenPersons = []broken{
		{"KVNR of eleven", statutory(), `"Z123456783"`, `"Z1234567833"`, "", "Patient.identifier"},
		{"KVNR without letter", statutory(), `"Z123456783"`, `"0123456783"`, "", "Patient.identifier"},
		{"two KVNRs", statutory(), `[{"system":"http://fhir.de/sid/gkv/kvid-10","value":"Z123456783"}]`, `[{"system":"http://fhir.de/sid/gkv/kvid-10","value":"Z123456783"},{"system":"http://fhir.de/sid/gkv/kvid-10","value":"Z123456783"}]`, "", "identifier"},
		{"IK of eight", statutory(), `"109500969"}],"name"`, `"10950096"}],"name"`, rulePayor1, "payor"},
		{"no family name", statutory(), `"valueString":"Übermuth"`, `"valueString":""`, "", "valueString"},
		{"long given name", statutory(), `"given":["Ännchen`, `"given":["` + strings.Repeat("Ä", 46), "", "Patient.name.given"},
		{"long street", statutory(), `"valueString":"Erfundene Straße"`, `"valueString":"` + strings.Repeat("ß", 47) + `"`, "", "streetName"},
		{"long box", statutory(), `"valueString":"Postfach 885522"`, `"valueString":"Postfach 885522111"`, "", "postBox"},
		{"control character", statutory(), `"city":"Wolkenstadt"`, `"city":"Wolken\u0007stadt"`, "", "city"},
		{"half a surrogate pair", statutory(), `"city":"Wolkenstadt"`, `"city":"Wolken\ud800stadt"`, "", "Bundle"},
		{"title of no degree", statutory(), `"valueCode":"AC"`, `"valueCode":"NB"`, "", "prefix"},
		{"other without official code", statutory(), diverse, `"gender":"other",`, "", "gender"},
		{"male with official code", statutory(), `"gender":"other"`, `"gender":"male"`, "", "gender"},
		{"official code M", statutory(), `"code":"D","display":"divers"`, `"code":"M"`, "", "gender"},
		{"gender of nobody", statutory(), diverse, `"gender":"m",`, "", "gender"},
		{"unborn", statutory(), `"1971-03-14"`, `"1971-13-14"`, "", "Patient.birthDate"},
		{"two street addresses", statutory(), `"type":"postal"`, `"type":"physical"`, "", "Patient.address"},
		{"address of no type", statutory(), `"type":"postal",`, ``, "", "Patient.address"},
		{"street with a box", statutory(), `iso21090-ADXP-additionalLocator`, `iso21090-ADXP-postBox`, "", "postBox"},
		{"box in a street", statutory(), `iso21090-ADXP-postBox`, `iso21090-ADXP-streetName`, "", "line"},
	}
	brokenBundles = []broken{
		{"no collection", statutory(), `"type":"collection"`, `"type":"document"`, "", "Bundle.type"},
		{"not active", statutory(), `"status":"active"`, `"status":"cancelled"`, "", "status"},
		{"neither GKV nor PKV", statutory(), `"code":"GKV"`, `"code":"BG"`, "", "type"},
		{"private with the statutory profile", private(), `VSDMCoveragePKV|`, `VSDMCoverageGKV|`, "", "profile"},
		{"another version within", statutory(), `VSDMPatient|1.1.0-dev`, `VSDMPatient|1.0.0`, "", "profile"},
		{"a version of tomorrow", statutory(), `VSDMBundle|1.1.0-dev`, `VSDMBundle|2.0.0`, "", "Bundle.meta.profile"},
		{"no instant", statutory(), `"timestamp":"2026-09-29T18:05:00.000Z"`, `"timestamp":"2026-09-29"`, "", "Bundle"},
		{"no time of change", statutory(), `"lastUpdated":"2026-09-01T08:00:00.120+02:00",`, ``, "", "Bundle.meta.lastUpdated"},
		{"wrong time of change", statutory(), `"lastUpdated":"2026-09-01T08:00:00.120+02:00",`, `"lastUpdated":"2026-09-01T8:00:00.120+02:00",`, "", "Bundle.meta.lastUpdated"},
		{"foreign person", statutory(), `"beneficiary":{"reference":"https://gematik.de/fhir/Patient/`, `"beneficiary":{"reference":"https://gematik.de/fhir/Patient/0`, "", "beneficiary.reference"},
		{"foreign payor", statutory(), two, two + `0`, "", "payor[1]"},
		{"payor twice", statutory(), two + number(5).String(), two + number(4).String(), rulePayor1, "payor[1]"},
		{"wrong address of an entry", statutory(), `"fullUrl":"https://gematik.de/fhir/Coverage/`, `"fullUrl":"https://gematik.de/fhir/Coverage/0`, "", "entry[1]"},
		{"id that is no UUID", statutory(), `"id":"` + number(2).String(), `"id":"` + strings.ToUpper(number(2).String()), "", "id"},
		{"two persons", statutory(), `"resourceType":"Coverage"`, `"resourceType":"Patient"`, "", "Bundle"},
		{"a foreign resource", statutory(), `"resourceType":"Coverage"`, `"resourceType":"Binary"`, "", "Bundle"},
		{"no Bundle", statutory(), `"resourceType":"Bundle"`, `"resourceType":"Patient"`, "", "Bundle"},
	}
	brokenShapes = []broken{
		{"unknown element", statutory(), `"birthDate"`, `"Z123456783":"1","birthDate"`, "", "resource"},
		{"narrative", statutory(), `"birthDate"`, `"text":{"status":"generated"},"birthDate"`, "", "resource"},
		{"unknown extension", statutory(), `gkv/wop`, `gkv/wop2`, "", "extension[0]"},
		{"unknown extension of the name", statutory(), `humanname-own-prefix`, `humanname-own-prefix2`, "", "family.extension"},
		{"unknown extension of a country", statutory(), `VSDMLaenderkennzeichenAnlage8`, `VSDMLaenderkennzeichenAnlage9`, "", "country.extension"},
		{"unknown extension of a private cover", private(), `VSDMBeihilfe`, `VSDMBeihilfen`, "", "extension"},
		{"hint of two texts", private(), `"url":"professionOID","valueOid":"1.2.276.0.76.4.50"`, `"url":"text","valueMarkdown":"x"`, "", "extension"},
		{"extension twice", statutory(), `gkv/versichertenart`, `gkv/wop`, "", "extension[1]"},
		{"no list", statutory(), `"given":["Ännchen \"Anna\""]`, `"given":"Ännchen \"Anna\""`, "", "given"},
		{"list of one", statutory(), `"birthDate":"1971-03-14"`, `"birthDate":["1971-03-14"]`, "", "birthDate"},
		{"empty list", statutory(), `"telecom":[{"system":"phone","value":"+49 0000 1"},{"system":"email","value":"kasse@kasse.invalid"}]`, `"telecom":[{}]`, "", "Bundle"},
		{"null", statutory(), `"birthDate":"1971-03-14"`, `"birthDate":null`, "", "Bundle"},
		{"null in a list", statutory(), `["Ännchen \"Anna\""]`, `[null]`, "", "Bundle"},
		{"list in a list", statutory(), `["Ännchen \"Anna\""]`, `[["Ännchen"]]`, "", "Bundle"},
		{"twice", statutory(), `"birthDate"`, `"birthDate":"1970-01-01","birthDate"`, "", "Bundle"},
		{"extensions of nothing", statutory(), `"birthDate"`, `"_deceased":{"extension":[]},"birthDate"`, "", "Bundle"},
		{"more extensions than lines", statutory(), `null]`, `null,null]`, "", "Bundle"},
		{"display of a country code", statutory(), `"code":"D"}`, `"code":"D","display":"Deutschland"}`, "", "valueCoding"},
	}
)

// TestRulesOfTheProfiles breaks each invariant once, and the structure in many ways.
func TestRulesOfTheProfiles(t *testing.T) {
	for _, tc := range slices.Concat(brokenInvariants, brokenCodes, brokenPersons, brokenBundles, brokenShapes) {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := ParseBundle(changed(t, tc.of, tc.old, tc.replacement), JSON)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Rule != tc.rule || !strings.Contains(e.Element, tc.element) {
				t.Errorf("rule %q at %s (%s), want %q at %s", e.Rule, e.Element, e.Problem, tc.rule, tc.element)
			}
			for _, secret := range []string{"Z123456783", "1234567833", "0123456783", "bermuth", "nnchen", "Wolken", "Erfundene"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error says %s: %v", secret, err)
				}
			}
		})
	}
}

// TestProblemsAreNamed has the cases in which a later check would refuse the bundle as well, for a worse reason.
func TestProblemsAreNamed(t *testing.T) {
	for old, tc := range map[string]struct{ replacement, problem string }{
		`"birthDate":"1971-03-14",`:                          {``, "it is missing"},
		`"birthDate":"1971-03-14"`:                           {`"birthDate":["1971-03-14"]`, "it occurs once"},
		`["Ännchen \"Anna\""]`:                               {`"Ännchen"`, "it is a list"},
		`"given":["Ännchen \"Anna\""`:                        {`"given":["Ännchen","Anna"`, "too often"},
		`{"url":"stationaererBereich","valueBoolean":true},`: {``, "the extension stationaererBereich is missing"},
		`VSDMBundle|1.1.0-dev`:                               {`VSDMBundle|2.0.0`, "version that is known"},
		isoDE + `,`:                                          {``, "neither a code"},
		`"code":"GKV"`:                                       {`"code":"BG"`, "neither GKV nor PKV"},
		payorsOf(statutory()):                                {payorsOf(statutory())[:strings.Index(payorsOf(statutory()), two)] + `}]`, "one payor per Organization"},
	} {
		_, _, err := ParseBundle(changed(t, statutory(), old, tc.replacement), JSON)
		if err == nil || !strings.Contains(err.Error(), tc.problem) {
			t.Errorf("%s: got %v", tc.problem, err)
		}
	}
	data := strings.Replace(string(rendered(t, statutory(), V11, XML, envelope)), `<valueBoolean value="true"/>`, `<valueBoolean value="yes"/>`, 1)
	if _, _, err := ParseBundle([]byte(data), XML); err == nil || !strings.Contains(err.Error(), "neither true nor false") {
		t.Errorf("a yes in XML: got %v", err)
	}
}

// payorsOf is how the coverage of a bundle refers to the payors.
func payorsOf(r *Record) string {
	w := bundleWriter{out: out{b: []byte("{")}, version: V11}
	w.list("payor")
	for i := range r.Payors {
		w.payor(&r.Payors[i], r.Coverage.Kind())
	}
	w.endList()
	return string(w.b[1:])
}

// spoiled is a change of a valid record and the element that is then at fault, with a word of the problem.
type spoiled struct {
	element, problem string
	spoil            func(r *Record)
}

var spoiledRecords = []spoiled{
	{"Coverage.type", "exactly one", func(r *Record) { r.Coverage.GKV = nil }},
	{"Coverage.type", "exactly one", func(r *Record) { r.Coverage.PKV = private().Coverage.PKV }},
	{"Coverage.payor", "one or two", func(r *Record) { r.Payors = nil }},
	{"Coverage.payor", "one or two", func(r *Record) { r.Payors = append(r.Payors, r.Payors[0]) }},
	{"Coverage.payor", "same", func(r *Record) { r.Payors[1] = r.Payors[0] }},
	{"Organization.identifier.value", "IK", func(r *Record) { r.Payors[0].IK = "10950096X" }},
	{"Organization.name", "missing", func(r *Record) { r.Payors[0].Name = "" }},
	{"Organization.address", "none", func(r *Record) { r.Payors[0].Addresses = nil }},
	{"Organization.contact", "nothing", func(r *Record) { r.Payors[0].Contacts = append(r.Payors[0].Contacts, OfficeContact{}) }},
	{"Organization.contact", "many", func(r *Record) { r.Payors[0].Contacts = make([]OfficeContact, maxContacts+1) }},
	{"Organization.contact.purpose", "system", func(r *Record) { r.Payors[0].Contacts[0].Purpose.System = "" }},
	{"Organization.contact.telecom", "many", func(r *Record) { r.Payors[0].Contacts[0].Telecom = make([]Contact, maxTelecom+1) }},
	{"Organization.contact.telecom.system", "FHIR", func(r *Record) { r.Payors[0].Contacts[0].Telecom[0].System = "telex" }},
	{"Patient.gender", "table", func(r *Record) { r.Patient.Gender = "w" }},
	{"Patient.name.given", "missing", func(r *Record) { r.Patient.Name.Given = "" }},
	{"own-name", "characters", func(r *Record) { r.Patient.Name.Own = "\xff" }},
	{"Patient.telecom", "many", func(r *Record) { r.Patient.Telecom = []Contact{{"url", "matrix:@a:b"}, {"url", "matrix:@a:b"}} }},
	{"Patient.telecom", "many", func(r *Record) { r.Patient.Telecom = slices.Repeat([]Contact{{"phone", "1"}}, maxTelecom+1) }},
	{"Patient.telecom.value", "Matrix", func(r *Record) { r.Patient.Telecom = []Contact{{"url", "@a:b"}} }},
	{"Patient.telecom.value", "Matrix", func(r *Record) { r.Patient.Telecom = []Contact{{"url", "matrix:@a"}} }},
	{"Patient.telecom.value", "Matrix", func(r *Record) { r.Patient.Telecom = []Contact{{"url", "matrix:@A:b"}} }},
	{"Patient.telecom.value", "Matrix", func(r *Record) { r.Patient.Telecom = []Contact{{"url", "matrix:@a:b:c"}} }},
	{"Patient.address", "more than two", func(r *Record) { r.Patient.Addresses = make([]Address, 3) }},
	{"Patient.address.type", "two of one", func(r *Record) { r.Patient.Addresses[1] = r.Patient.Addresses[0] }},
	{"Patient.address.type", "missing", func(r *Record) { r.Patient.Addresses[0].Kind = NoKind }},
	{"Patient.address.type", "neither", func(r *Record) { r.Patient.Addresses[0].Kind = "both" }},
	{"Patient.address.city", "missing", func(r *Record) { r.Patient.Addresses[0].City = "" }},
	{"Patient.address.line", "many", func(r *Record) { r.Patient.Addresses[0].Lines = make([]Line, maxLines+1) }},
	{"Patient.address.line", "missing", func(r *Record) { r.Patient.Addresses[0].Lines[0].Text = "" }},
	{"postBox", "only", func(r *Record) { r.Patient.Addresses[0].Lines[0].Box = "1" }},
	{"Patient.address.line", "but a box", func(r *Record) { r.Patient.Addresses[1].Lines[0].Number = "1" }},
	{"Patient.address.country", "code", func(r *Record) { r.Patient.Addresses[0].Country.Code = "" }},
	{"VSDMDMPTeilnahme", "many", func(r *Record) { r.Coverage.GKV.Programmes = make([]DMP, maxProgrammes+1) }},
	{"gueltigBis", "date", func(r *Record) { r.Coverage.GKV.Exempt = "2026-12" }},
	{"Coverage.extension", "order", func(r *Record) { r.Coverage.Order = "wv" }},
	{"Coverage.extension", "order", func(r *Record) { r.Coverage.Order = "wvddpzkrx" }},
	{"Coverage.extension", "order", func(r *Record) { r.Coverage.Order = "wwddpzkr" }},
	{"Bundle.meta.lastUpdated", "instant", func(r *Record) { r.Updated = "2026-09-01T08:00:00,120Z" }},
}

var spoiledPrivateRecords = []spoiled{
	{"quote", "100", func(r *Record) { r.Coverage.PKV.Aid[0].Quota.Value = 101 }},
	{"quote", "100", func(r *Record) { r.Coverage.PKV.Aid[0].Quota.Given = false }},
	{"Krankenhaus", "100", func(r *Record) { r.Coverage.PKV.Hospital[0].Chief = Share{Percent: Percent{true, 101}} }},
	{"Krankenhaus", "both", func(r *Record) { r.Coverage.PKV.Hospital[0].Attending.Plain = true }},
	{"Krankenhaus", "both", func(r *Record) { r.Coverage.PKV.Hospital[0].Attending.Yes = true }},
	{"Krankenhaus", "nothing", func(r *Record) { r.Coverage.PKV.Hospital[0] = Hospital{} }},
	{"Hinweis", "missing", func(r *Record) { r.Coverage.PKV.Hints[0].Text = "" }},
	{"Hinweis", "characters", func(r *Record) { r.Coverage.PKV.Hints[0].Text = "\a" }},
	{"Hinweis", "too long", func(r *Record) { r.Coverage.PKV.Hints[0].Text = strings.Repeat("x", maxHint+1) }},
	{"professionOID", "many", func(r *Record) { r.Coverage.PKV.Hints[0].Roles = make([]string, maxRoles+1) }},
	{"professionOID", "OID", func(r *Record) { r.Coverage.PKV.Hints[0].Roles = []string{""} }},
	{"Coverage.extension", "many", func(r *Record) { r.Coverage.PKV.Hints = make([]Hint, maxPrivate+1) }},
	{"Coverage.extension", "order", func(r *Record) { r.Coverage.PKV.Hints = nil }},
}

// TestRulesOfRecords breaks what a bundle cannot say but a stored or made record could.
func TestRulesOfRecords(t *testing.T) {
	check := func(r *Record, tc spoiled) {
		t.Helper()
		tc.spoil(r)
		var e *Error
		if err := r.Validate(); !errors.As(err, &e) || !strings.Contains(e.Element, tc.element) || !strings.Contains(e.Problem, tc.problem) {
			t.Errorf("%s, %s: got %v", tc.element, tc.problem, err)
		}
	}
	for _, tc := range spoiledRecords {
		check(statutory(), tc)
	}
	for _, tc := range spoiledPrivateRecords {
		check(private(), tc)
	}
}

func TestDocumentsThatAreNone(t *testing.T) {
	whole := rendered(t, statutory(), V11, XML, envelope)
	deep := strings.Repeat(`{"entry":`, MaxDepth+1) + `1` + strings.Repeat(`}`, MaxDepth+1)
	for name, tc := range map[string]struct {
		data string
		f    Format
		want error
	}{
		"too large":            {strings.Repeat(" ", MaxBundle+1), JSON, errTooLarge},
		"not UTF-8":            {"{\"\xff\":1}", JSON, errUTF8},
		"nothing":              {"", JSON, errSyntax},
		"a list":               {"[]", JSON, errSyntax},
		"half":                 {`{"entry":[`, JSON, errSyntax},
		"two":                  {`{"id":"1"}{}`, JSON, errTrailing},
		"too deep":             {deep, JSON, errTooDeep},
		"too many":             {`{"entry":[` + strings.Repeat("1,", MaxElements) + `1]}`, JSON, errTooMany},
		"too many, by lines":   {`{"_a":[` + strings.Repeat("null,", MaxElements) + `null]}`, JSON, errTooMany},
		"type that is no text": {`{"resourceType":1}`, JSON, errSyntax},
		"comma":                {`{"a":1,}`, JSON, errSyntax},
		"no value":             {`{"a":}`, JSON, errSyntax},
		"no value in a list":   {`{"a":[1,}`, JSON, errSyntax},
		"no name":              {`{1:2}`, JSON, errSyntax},
		"empty name":           {`{"":2}`, JSON, errSyntax},
		"half an extension":    {`{"_a":[`, JSON, errSyntax},
		"XML nothing":          {"", XML, errSyntax},
		"XML half":             {string(whole[:len(whole)-3]), XML, errSyntax},
		"XML two":              {string(whole) + "<Bundle/>", XML, errTrailing},
		"XML too deep":         {`<Bundle xmlns="http://hl7.org/fhir">` + strings.Repeat("<a>", MaxDepth+1), XML, errTooDeep},
		"XML too many":         {`<Bundle xmlns="http://hl7.org/fhir">` + strings.Repeat(`<a value="1"/>`, MaxElements+1), XML, errTooMany},
		"document type":        {`<!DOCTYPE a><Bundle xmlns="http://hl7.org/fhir"/>`, XML, errDocType},
		"document type within": {`<Bundle xmlns="http://hl7.org/fhir"><!DOCTYPE a></Bundle>`, XML, errDocType},
		"instruction":          {`<Bundle xmlns="http://hl7.org/fhir"><?php ?></Bundle>`, XML, errDocType},
		"entity":               {`<Bundle xmlns="http://hl7.org/fhir"><id value="&x;"/></Bundle>`, XML, errSyntax},
		"encoding":             {`<?xml version="1.0" encoding="ISO-8859-1"?><Bundle xmlns="http://hl7.org/fhir"/>`, XML, errSyntax},
		"no name space":        {`<Bundle><id value="1"/></Bundle>`, XML, errNamespace},
		"foreign name space":   {`<Bundle xmlns="urn:hl7-org:v3"/>`, XML, errAttribute},
		"prefix":               {`<f:Bundle xmlns="http://hl7.org/fhir"/>`, XML, errNamespace},
		"prefix within":        {`<Bundle xmlns="http://hl7.org/fhir"><f:id value="1"/></Bundle>`, XML, errNamespace},
		"attribute":            {`<Bundle xmlns="http://hl7.org/fhir"><id value="1" class="2"/></Bundle>`, XML, errAttribute},
		"value twice":          {`<Bundle xmlns="http://hl7.org/fhir"><id value="1" value="2"/></Bundle>`, XML, errAttribute},
		"text":                 {`<Bundle xmlns="http://hl7.org/fhir">Text</Bundle>`, XML, errText},
		"wrong end":            {`<Bundle xmlns="http://hl7.org/fhir"><id value="1"></ID></Bundle>`, XML, errSyntax},
		"empty element":        {`<Bundle xmlns="http://hl7.org/fhir"><id/></Bundle>`, XML, errShape},
		"two resources":        {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource><A><id value="1"/></A><B/></resource></entry></Bundle>`, XML, errShape},
		"text before":          {"text<Bundle/>", XML, errText},
		"late declaration":     {` <?xml version="1.0"?><Bundle/>`, XML, errDocType},
		"end of a prefix":      {`<Bundle xmlns="http://hl7.org/fhir"></f:Bundle>`, XML, errSyntax},
		"attribute's prefix":   {`<Bundle xmlns="http://hl7.org/fhir"><id f:value="1"/></Bundle>`, XML, errAttribute},
		"damaged text":         {"<Bundle xmlns=\"http://hl7.org/fhir\"><id value=\"\uFFFD\"/></Bundle>", XML, errShape},
		"half a resource":      {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource>`, XML, errSyntax},
		"resource's attribute": {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource><A id="1"/></resource></entry></Bundle>`, XML, errAttribute},
		"resource as text":     {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource>A</resource></entry></Bundle>`, XML, errText},
		"resource as type":     {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource><!DOCTYPE A></resource></entry></Bundle>`, XML, errDocType},
		"no resource":          {`<Bundle xmlns="http://hl7.org/fhir"><entry><resource></resource></entry></Bundle>`, XML, errShape},
	} {
		_, _, err := ParseBundle([]byte(tc.data), tc.f)
		var e *Error
		if !errors.As(err, &e) || e.Problem != tc.want.Error() {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

func TestNameSpaceMayBeSaidAgain(t *testing.T) {
	data := string(rendered(t, statutory(), V11, XML, envelope))
	again := strings.Replace(data, "<Patient>", `<!-- once more --> <Patient xmlns="http://hl7.org/fhir">`, 1)
	if again == data {
		t.Fatal("nothing was replaced")
	}
	got, _ := parsed(t, []byte(again), XML)
	if !reflect.DeepEqual(got, statutory()) {
		t.Error("the record differs")
	}
}
