// Package drill is the invented world that demonstrations, drills and tests run in: insurers, insured persons, practices,
// the mail that they send, and the audit that tells whether any of it was lost.
//
// What it promises:
//
//   - Nothing in it exists. Names, numbers, addresses and diagnoses are made up; documents carry the T of the test
//     environment (TEAU0_...), addresses end in .kim.telematik-test, certificates say "not for real use".
//   - [NewWorld] is a function of its seed: the same seed is the same world, on every machine.
//   - A [Sender] behaves as practice software does towards a mail door (KBV Technische Anlage eAU, P5-07): it asks for a
//     delivery notification, keeps what is refused for the moment and repeats it with the same octets, and writes every
//     250 into its [Books] before it sends the next mail.
//   - An [Auditor] compares books, journal and cells in an order in which a message on its way from the journal to its
//     cell is never taken for lost, and a message that is in neither always is.
//   - The demo CA can vouch for loopback and test names only, and its private key never leaves the process.
//
// Load figures and mixture: KBV, GKV-Spitzenverband and gematik figures of 2023 and 2024, scaled to 25 million insured.
package drill
