// Package contain decides and does what was agreed beforehand when the early warning has raised an alarm: hold a credential,
// shut exactly the doors that are concerned, and nothing else.
//
// What it promises:
//
//   - The ladder is session, credential, group, door, insurer. What is lower on it comes first: no door moves for an actor whose
//     credential was not held before or in the same decision.
//   - One statistical signal may hold a credential, nothing more. A door moves by itself only for facts (exact rules) or for two
//     independent signals: of different families, and no access counts for both.
//   - What an alarm in shadow mode says leads to nothing.
//   - Doors of more than three insurers within ten minutes are not moved by itself: two persons are asked. Whoever wants
//     everything shut does not get it from us.
//   - Everything that is done ends by itself unless somebody prolongs it, and can be undone in one step.
//   - Groups and insurers are never touched by itself.
package contain
