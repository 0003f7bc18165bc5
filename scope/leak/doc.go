// Package leak answers "whose leak is this": it reads what somebody offers as stolen data, and says how many persons are in
// it, of which insurers, from when it is, and who can have taken it.
//
// Its promises:
//
//   - A dump is read as a stream, whatever is in it: a row has a bound, a nesting has one, and what cannot be read is counted
//     and never ends the reading. What a dump says of itself, names of columns and files among it, is not in any answer.
//   - Persons are counted once, however often their rows come again: by a token under a key that is drawn for the run and
//     stored nowhere. Their numbers are kept in memory, for the question to the ledger, until [Dump.Forget]; a dump refuses
//     to be written.
//   - A window of time that is named contains the moment of the copy, if the history is right and there were as few copies as
//     could be (see [Dump.Date]). Without a history there is none.
//   - Who is named first is said with how likely it would be by chance, and with what speaks against it.
package leak
