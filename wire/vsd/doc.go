// Package vsd reads and writes the master data of insured persons (Versichertenstammdaten) as VSDM 2.0 exchanges them: the
// VSDMBundle of statutory (GKV) and private (PKV) insurance and the VSDMOperationOutcome, both as JSON and as XML.
//
// What it promises:
//
//   - A [Record] is stored once and rendered per profile version ([V10], [V11]) and format ([JSON], [XML]). Both formats
//     say the same, and nothing of a bundle that was read is missing in the bundle that is written.
//   - What an insurer delivered is kept to the letter: address lines, the whole name and the display texts of codes are
//     never computed from their parts. Only the text of the official sex is this package's own: it is fixed.
//   - [ParseBundle] and [DecodeRecord] return only records that satisfy every rule of [Record.Validate]. An element, an
//     extension, a code or a reference that the profile does not have is an error, never skipped.
//   - The bounds are [MaxBundle] octets, [MaxDepth] levels and [MaxElements] elements; XML without document types and
//     entities of its own; a JSON property that occurs twice is an error.
//   - An [Error] names the element and the rule. No error contains a value: neither KVNR nor name nor anything else.
//   - The error table is generated from the published code systems and concept maps; only the fields of [Args] come from
//     outside, shortened and escaped.
//   - The stored form begins with its version; the content version ([ContentOf]) is a hash of it.
//   - [Generate] invents records for demonstrations, drills and tests that satisfy every rule.
//
// Not kept are the order in which extensions below the coverage's own came, the order of the entries, and whether the payor
// of a private coverage wrote its identifier with its system: FHIR gives none of it a meaning. They are rendered as the
// published examples have them. Elements that the examples do not use (narratives, contained resources, more than one
// name) are refused.
//
// Sources: gematik spec-VSDM2 (FHIR package de.gematik.vsdm2 1.0.0 and 1.1.0-dev, OpenAPI 1.0.0), FHIR R4 (4.0.1), RFC 9562
// (UUID).
package vsd
