// Package eau reads and writes the FHIR documents of the electronic sick note (eAU): the note itself
// (KBV_PR_EAU_Bundle) and its cancellation (KBV_PR_EAU_Storno_Bundle), as XML.
//
// What it promises:
//
//   - [Read] never fails. It returns what it could read and a list of findings; what cannot be read is kept, flagged and
//     shown, and is never by itself a reason to reject a document (K-02, K-08). It checks no profile rules.
//   - The bounds are [MaxSize] octets, [MaxDepth] levels and [MaxFindings] findings. Entities other than the five of XML
//     and document type declarations are not processed: reading ends there with a finding.
//   - A value that occurs twice counts with its first occurrence; a differing repetition is a finding.
//   - Two sick notes that say the same have the same [Document.Content], whatever their identifiers are (K-11). Nothing of
//     the diagnoses is kept besides.
//   - [Document.Hash] is the SHA-256 of exactly the octets given, readable or not (K-10).
//   - No finding, error or string form contains the number or the name of an insured person.
//   - [Generate] and [GenerateCancellation] write invented documents for demonstrations, drills and tests.
//
// Sources: KBV Technische Anlage eAU 1.26, kbv.ita.eau 1.2.1 and kbv.ita.for 1.2.1 (profiles), FHIR R4 (4.0.1), XML 1.0
// (fifth edition), RFC 9562 (UUID).
package eau
