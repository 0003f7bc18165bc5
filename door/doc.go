// Package door keeps the state of every compartment's door and makes the only legal moves.
//
// A move is an [Order]: a short text, signed by operators, with the compartment, the epoch, the state before and after,
// the reason, who ordered it, when it expires and which move would undo it. The order in force is the compartment's
// state; there is no other record of it in this package.
//
// # Promises
//
//   - Closing is instant. An order that lets nothing out that did not go out before (it narrows) needs one operator, is
//     in force in memory before anything is written, and waits for no ledger, no disk and no other compartment. Whoever
//     ordered it hears within five seconds whether enforcers, disk and ledger have followed.
//   - Opening is deliberate. An order that lets something out (it widens: delivery begins, or reads are served) needs the
//     signatures of two different operators over the same text. With one it is a [Proposal]. It is recorded, after every
//     earlier order of the door, and on disk before it is in force. What was opened for a time ends then, even if it was
//     narrowed in between.
//   - Epochs of a compartment rise by one with every order. An order drafted against an older epoch is refused, so a
//     closing in between always defeats an opening.
//   - After a crash a door has the state of its last order on disk. A file that is missing, damaged, not signed by who
//     must have signed it, older than the ledger remembers, more open than the ledger knows of, or with another plan of
//     stages than the ledger has means hold; closed, if file or ledger say that the door was closed.
//
// A book can follow another one ([Config].Publisher): then it decides nothing, writes no files, and has the orders that it is
// given by [Book.Adopt] obeyed and recorded.
//
// An opening is in the ledger before it is in force. If it then fails, or a closing overtakes it, the next order has the
// same epoch: of two orders of one epoch the later one in the ledger counts, and the earlier one never came into force.
//
// # On disk
//
// <dir>/<IK>-<service>.order holds the order in force, <dir>/<IK>-<service>.proposal the one that waits for a second
// operator, both as C2SP signed notes (https://c2sp.org/signed-note, Ed25519) that a person can read:
//
//	querschott-door/v1
//	compartment 109500969/eau
//	epoch 7
//	from open
//	to closed
//	inverse open
//	at 2026-11-23T13:00:00.000000Z
//	expires -
//	actor anna
//	incident VF-2026-001
//	reason password of a clerk found on sale
//
//	— anna@example.org/ledger ...
//
// Signatures of unknown keys are not kept. A file is written as <name>.tmp and renamed; nothing else is ever written.
package door
