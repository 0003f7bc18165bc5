package eau

import (
	"strconv"
	"time"

	"github.com/querschott/querschott"
)

// Certificate says what a generated sick note holds. All of it is invented by the caller: documents of this package carry
// no real person, doctor or practice.
type Certificate struct {
	Identifier UUID      // of the document; version 5 in practice
	Issued     time.Time // Composition.date is its calendar date
	Type       Type
	From       Date // written for First and FirstAndLast only
	Until      Date
	Determined Date

	Payor     querschott.IK
	PayorName string // at most 45 characters
	Person    Person
	Doctor    Doctor
	Practice  Practice

	Diagnoses  []Diagnosis // one to six
	Diagnosis  string      // in plain words, at most 70 characters; "" for none
	TestNumber string      // Prüfnummer of the practice software
}

// Person is an invented insured person.
type Person struct {
	Number        querschott.KVNR
	Family, Given string
	Born          Date
	Address       Address
}

// Doctor is an invented doctor.
type Doctor struct {
	Number               string // LANR, nine digits
	Title, Family, Given string
	Profession           string // Berufsbezeichnung
}

// Practice is an invented practice.
type Practice struct {
	Number  string // BSNR, nine digits
	Name    string
	Phone   string
	Address Address
}

// Diagnosis is one ICD-10-GM code with its certainty.
type Diagnosis struct {
	Code      string
	Certainty string // A, G, V, Z
	Side      string // B, L, R; "" for none
}

const (
	keyTables = "https://fhir.kbv.de/CodeSystem/"
	v20203    = "http://terminology.hl7.org/CodeSystem/v2-0203"
	clinical  = "http://terminology.hl7.org/CodeSystem/condition-clinical"
	verified  = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
)

// Generate writes a sick note after KBV_PR_EAU_Bundle|1.2, UTF-8 without byte order mark. The same Certificate always
// yields the same octets.
func Generate(c Certificate) []byte {
	g := generator{c: c, id: c.Identifier}
	return bundle(c.Identifier, c.Issued.UTC().Format(time.RFC3339), profileCertificate, func(w *fhirWriter) {
		g.fhirWriter = w
		g.composition()
		g.patient()
		practitioner(w, g.part("Practitioner"), c.Doctor)
		organization(w, g.part("Organization"), c.Practice)
		g.condition()
		g.coverage()
		for i, d := range c.Diagnoses {
			g.diagnosis(g.diagnosisID(i), d)
		}
		if c.Diagnosis != "" {
			g.plainText()
		}
	})
}

type generator struct {
	*fhirWriter
	c  Certificate
	id UUID
}

func (g *generator) part(name string) UUID { return part(g.id, name) }

func (g *generator) diagnosisID(i int) UUID { return g.part("ICD-" + strconv.Itoa(i)) }

func (g *generator) composition() {
	g.entry(g.part("Composition"), "Composition", "KBV_PR_EAU_Composition", func() {
		g.extCoding("https://fhir.kbv.de/StructureDefinition/KBV_EX_FOR_Legal_basis",
			keyTables+"KBV_CS_SFHIR_KBV_STATUSKENNZEICHEN", "00")
		g.val("status", "final")
		g.in("type", func() {
			g.coding(keyTables+"KBV_CS_EAU_AU_Type", string(g.c.Type))
			g.coding(keyTables+"KBV_CS_SFHIR_KBV_FORMULAR_ART", "e010")
		})
		g.reference("subject", g.part("Patient"))
		g.val("date", string(DateOf(g.c.Issued)))
		author(g.fhirWriter, g.part("Practitioner"))
		g.in("author", func() {
			g.val("type", "Device")
			g.identifier("", "", "https://fhir.kbv.de/NamingSystem/KBV_NS_FOR_Pruefnummer", g.c.TestNumber)
		})
		g.val("title", "Arbeitsunfähigkeit")
		g.reference("custodian", g.part("Organization"))
		g.section("AU_Condition", g.part("Condition"))
		for i := range g.c.Diagnoses {
			g.section("ICD", g.diagnosisID(i))
		}
		if g.c.Diagnosis != "" {
			g.section("ICD_Text", g.part("Text"))
		}
		g.section("Coverage", g.part("Coverage"))
	})
}

func author(w *fhirWriter, practitioner UUID) {
	w.in("author", func() {
		w.val("reference", practitioner.URN())
		w.val("type", "Practitioner")
	})
}

func (g *generator) section(code string, entry UUID) {
	g.in("section", func() {
		g.concept("code", keyTables+"KBV_CS_FOR_Section_Type", code)
		g.reference("entry", entry)
	})
}

func (g *generator) patient() {
	p := g.c.Person
	g.entry(g.part("Patient"), "Patient", "KBV_PR_FOR_Patient", func() {
		g.identifier("http://fhir.de/CodeSystem/identifier-type-de-basis", "KVZ10",
			"http://fhir.de/sid/gkv/kvid-10", p.Number.Reveal())
		g.name(p.Family, p.Given, "")
		g.val("birthDate", string(p.Born))
		g.address(p.Address)
	})
}

func practitioner(w *fhirWriter, id UUID, d Doctor) {
	w.entry(id, "Practitioner", "KBV_PR_FOR_Practitioner", func() {
		w.identifier(v20203, "LANR", "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR", d.Number)
		w.name(d.Family, d.Given, d.Title)
		w.in("qualification", func() { w.concept("code", keyTables+"KBV_CS_FOR_Qualification_Type", "00") })
		w.in("qualification", func() {
			w.in("code", func() {
				w.coding(keyTables+"KBV_CS_FOR_Berufsbezeichnung", "Berufsbezeichnung")
				w.val("text", d.Profession)
			})
		})
	})
}

func organization(w *fhirWriter, id UUID, p Practice) {
	w.entry(id, "Organization", "KBV_PR_FOR_Organization", func() {
		w.identifier(v20203, "BSNR", "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR", p.Number)
		w.val("name", p.Name)
		w.in("telecom", func() {
			w.val("system", "phone")
			w.val("value", p.Phone)
		})
		w.address(p.Address)
	})
}

func (g *generator) condition() {
	g.entry(g.part("Condition"), "Condition", "KBV_PR_EAU_Condition_AU", func() {
		g.ext("http://hl7.org/fhir/StructureDefinition/condition-assertedDate", func() {
			g.val("valueDateTime", string(g.c.Determined))
		})
		g.concept("clinicalStatus", clinical, "active")
		g.concept("verificationStatus", verified, "confirmed")
		g.concept("code", keyTables+"KBV_CS_SFHIR_KBV_FHIR_DOKUMENTTYPE", "eAU")
		g.reference("subject", g.part("Patient"))
		g.in("onsetPeriod", func() {
			if g.c.Type == First || g.c.Type == FirstAndLast { // -eau-angabeAUseitErstbescheinigung, -Folgebescheinigung
				g.val("start", string(g.c.From))
			}
			g.val("end", string(g.c.Until))
		})
		g.reference("asserter", g.part("Practitioner"))
	})
}

func (g *generator) coverage() {
	g.entry(g.part("Coverage"), "Coverage", "KBV_PR_FOR_Coverage", func() {
		for _, e := range [][3]string{
			{"besondere-personengruppe", "KBV_CS_SFHIR_KBV_PERSONENGRUPPE", "00"},
			{"dmp-kennzeichen", "KBV_CS_SFHIR_KBV_DMP", "00"},
			{"wop", "KBV_CS_SFHIR_ITA_WOP", "72"},
			{"versichertenart", "KBV_CS_SFHIR_KBV_VERSICHERTENSTATUS", "1"},
		} {
			g.extCoding("http://fhir.de/StructureDefinition/gkv/"+e[0], keyTables+e[1], e[2])
		}
		g.val("status", "active")
		g.concept("type", "http://fhir.de/CodeSystem/versicherungsart-de-basis", "GKV")
		g.reference("beneficiary", g.part("Patient"))
		g.in("payor", func() {
			g.identifier("", "", "http://fhir.de/sid/arge-ik/iknr", string(g.c.Payor))
			g.val("display", g.c.PayorName)
		})
	})
}

func (g *generator) diagnosis(id UUID, d Diagnosis) {
	status := "confirmed"
	if d.Certainty == "V" {
		status = "provisional"
	}
	g.entry(id, "Condition", "KBV_PR_EAU_Condition_ICD", func() {
		g.concept("clinicalStatus", clinical, "active")
		g.concept("verificationStatus", verified, status)
		g.in("code", func() {
			g.in("coding", func() {
				g.extCoding("http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit",
					keyTables+"KBV_CS_SFHIR_ICD_DIAGNOSESICHERHEIT", d.Certainty)
				if d.Side != "" {
					g.extCoding("http://fhir.de/StructureDefinition/seitenlokalisation",
						keyTables+"KBV_CS_SFHIR_ICD_SEITENLOKALISATION", d.Side)
				}
				g.val("system", "http://fhir.de/CodeSystem/bfarm/icd-10-gm")
				g.val("version", strconv.Itoa(g.c.Issued.Year()))
				g.val("code", d.Code)
			})
		})
		g.reference("subject", g.part("Patient"))
		g.reference("asserter", g.part("Practitioner"))
	})
}

func (g *generator) plainText() {
	g.entry(g.part("Text"), "Condition", "KBV_PR_EAU_Condition_Text", func() {
		g.concept("verificationStatus", verified, "confirmed")
		g.in("code", func() { g.val("text", g.c.Diagnosis) })
		g.reference("subject", g.part("Patient"))
		g.reference("asserter", g.part("Practitioner"))
	})
}

// Withdrawal says what a generated cancellation (Storno) holds.
type Withdrawal struct {
	Identifier UUID // of the cancellation itself
	Cancels    UUID // of the sick note
	Issued     time.Time
	Doctor     Doctor
	Practice   Practice
}

// GenerateCancellation writes a cancellation after KBV_PR_EAU_Storno_Bundle|1.2. The same Withdrawal always yields the
// same octets.
func GenerateCancellation(c Withdrawal) []byte {
	list := part(c.Identifier, "List")
	doctor, practice := part(c.Identifier, "Practitioner"), part(c.Identifier, "Organization")
	return bundle(c.Identifier, c.Issued.UTC().Format(time.RFC3339), profileCancellation, func(w *fhirWriter) {
		w.entry(part(c.Identifier, "Composition"), "Composition", "KBV_PR_EAU_Storno_Composition", func() {
			w.val("status", "final")
			w.concept("type", keyTables+"KBV_CS_SFHIR_KBV_FORMULAR_ART", "e013")
			w.val("date", string(DateOf(c.Issued)))
			author(w, doctor)
			w.val("title", "Storno eAU")
			w.reference("custodian", practice)
			w.in("section", func() { w.reference("entry", list) })
		})
		practitioner(w, doctor, c.Doctor)
		organization(w, practice, c.Practice)
		w.entry(list, "List", "KBV_PR_EAU_Storno", func() {
			w.val("status", "current")
			w.val("mode", "changes")
			w.in("entry", func() {
				w.val("deleted", "true")
				w.in("item", func() { w.identifier("", "", "urn:ietf:rfc:3986", c.Cancels.URN()) })
			})
		})
	})
}
