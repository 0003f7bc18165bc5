// Package vsdm is the service of insured persons' master data, VSDM 2.0: the online check of the electronic health card
// (eGK), for many insurers at once.
//
// What it promises:
//
//   - GET /vsdservice/v1/vsdmbundle answers 200 with the master data, or 304 if the caller has them already, and both with
//     a check number (Prüfziffer, VSDM-Pz). Every other answer is one of the eleven errors of the standard, with its exact
//     texts, in the format that the caller asked for, and the first of them in the fixed order of [Service.Answer].
//   - The entity tag is a function of the stored record, the profile version and the format. It is the same on every node
//     and after every restart.
//   - Nothing is looked for in the compartment of another insurer. A number that another insurer of the platform knows and
//     one that nobody knows are answered alike, in status, body, length and work.
//   - A check number leaves only after the issue log has it durably. So a number that opens under our key and is not in
//     the log is forged, and [Service.Check] says so the first time it is shown.
//   - Nothing that was opened or rendered is kept. When a door shuts, its vault's keys are gone, and what was under way is
//     refused instead of answered.
//
// Records lie in the insurer's cell as package insured keeps them.
//
// # The issue log
//
// It is a store of the platform and not of an insurer, like the ledger: one for all, so that the answers for all insurers
// share its syncs. With one log in each of 80 cells a thousand answers a second are nearly as many syncs. Whoever shows a
// number elsewhere need not say which insurer it came from either.
//
//	index  "number", SHA-256   a number that was issued
//	seen   "number", SHA-256   its first presentation
//
// The hash is that of the number's 47 octets. They contain 96 random bits and a sealed text, so who reads the store cannot
// tell whose number it is, and who has the number finds its entry at once. A value is the time (8) and the IK (4) in the
// clear and the rest sealed under a secret of that insurer; all of it is bound to the key. The person is a pseudonym in it.
// It is not sealed under the compartment's keys: a number can be checked while the door that it came through is shut, so
// closing this service for an insurer does not keep the insured out of their records.
//
// Who writes the store can remove entries, which makes good numbers look forged, or damage them, which leaves no verdict; he
// cannot make one.
//
// # Versions of records
//
// A record is replaced by one whose last change ([vsd.Record.Updated]) is the same or later; an earlier one is refused. One
// that says the same as the stored record, its own date and the UUIDs aside, changes nothing, so a complete delivery that is
// imported every night leaves every entity tag as it was. Who writes the store can put an older record back with its older
// version; the vault cannot tell.
//
// Sources: gematik spec-VSDM2 (OpenAPI 1.0.0, FHIR package de.gematik.vsdm2 1.0.0 and 1.1.0-dev), gemSpec_VSDM_2 as quoted
// there, RFC 9110, RFC 9728.
package vsdm
