// Package access carries access events from the gate to whoever watches it: detectors in the process, and a file.
//
// What it promises:
//
//   - Publishing never waits. A subscriber has a bounded buffer; what does not fit is dropped for this subscriber alone and
//     counted. The others lose nothing.
//   - Events of one gate are numbered 1, 2, 3 and so on from the start of its process, and every subscriber gets them in
//     this order. A gap between two numbers is exactly what was lost; number 1 after a higher one is a restart.
//   - A file that cannot be written is an alarm and a count of lost events, never a reason to stop. It is opened again with
//     the next events.
//
// The stream is operational: it serves detectors, holds no content and no number of a person, and may lose events. What
// must be provable stands in the ledger.
//
// On disk: one event per line, a JSON object with the keys of [querschott.Access], UTF-8, at most 64 KiB. A file that
// has reached its size is renamed to <name>.1, the one before to <name>.2 and so on. A last line without its end is the
// mark of a crash; it is cut off when the file is opened again. Readers learn who accessed what kind of data when, from
// which address; persons are keyed pseudonyms. The file is for its owner only (0600).
package access
