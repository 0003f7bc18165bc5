// Package scope answers "which persons were reached, and prove it", and the reverse: "who saw my record".
//
// Its promises:
//
//   - An answer counts distinct persons exactly, per insurer, as of a moment that it names: every entry that the ledger had
//     acknowledged when the question was asked is in it. What it could not look at lowers its coverage, and an answer without
//     full coverage never says that nobody was reached.
//   - The index is derived. The ledger is the source of truth: whatever of the index is lost, damaged or forged is noticed and
//     made again from the ledger. Nothing on the way of an access waits for it: it follows the ledger's logs.
//   - A proof shows that an answer is complete. Whoever has it and one public key needs neither network nor node; a record, a
//     neighbour, a segment or an insurer that is withheld makes the verification fail.
//
// # What counts
//
// Every entry of the ledger that names a person is an event of that person, except mail that has only arrived. An answer
// about persons whom nobody could name counts with its number of records. An event's time is that of its entry in whole
// seconds, but never outside of the round that holds it: a request that began before a round was cut and was recorded after
// counts at the cut. Persons are pseudonyms of one log, that is of one insurer and year.
//
// # Rounds
//
// A round is cut once an hour, when a proof is asked for, when much is open, and at the end. It takes from every log what came
// since the round before. Of each log the records are sorted by (credential's tag, second, person, entry) and hashed to a
// Merkle tree (RFC 6962): the segment. The round's statement commits to all segments and stands in the platform's log; the
// list of segments stands in entries behind it. So rounds tile every log and all of time, and the segments can be made again
// from the ledger alone.
//
// # On disk
//
// Below the directory: names/<ik>-<year>.persons and .credentials hold the ordinals of pseudonyms; segments/<first>-<last>.seg
// hold the events of a round or of the rounds of a day, in two orders, in blocks of 4 KiB of delta-coded varints. Every byte
// is covered by the MAC of the newest segments: whoever changes a file has it made again.
package scope
