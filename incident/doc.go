// Package incident is the room of one case: what happened and when it became known, what is known, assumed and unknown, who
// decided what and why, which evidence there is, who has which role.
//
// What it promises:
//
//   - An entry is on disk before whoever wrote it hears so, and the record of its digest has been asked for. Entries are
//     appended and never changed: a correction supersedes and leaves what it corrects readable.
//   - Entries are chained by SHA-256. Changing, inserting or removing one in a file changes every later digest; [Book.Compare]
//     finds it, and a cut tail too, with the digests that the record (the ledger) holds.
//   - Every entry has three times: when it happened and when it was learned, as its writer says, and when it was written, as
//     the clock says. Nothing can be learned before it happened or after it was written.
//   - "No data affected" is a [Clearance]. Only evidence of grade E2 with its range, its root and full coverage makes one.
//   - Changes of one case come one after another. Who decided on a state that has moved since is refused.
//   - Closing and unmasking take two different persons. Until then everything that leaves through [Case.Masked] names actors
//     and credentials by pseudonym.
//
// On disk a case is one file, REFERENCE.case: a line per entry, the digest in hex, a blank, the entry as JSON. A line that a
// crash has torn off at the end was never acknowledged and is cut off at the next start. A file that is damaged anywhere else
// is left as it is, listed as damaged, and takes no entries.
//
// Numbers of insured persons do not belong into a case and are refused.
package incident
