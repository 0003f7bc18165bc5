// Package insured keeps what an insurer has recorded of its insured persons, in the cell of its compartment vsdm: one entry
// per person and IK. Services share it and do not know of each other: card checks read and write it, the desk reads it.
//
// What it promises:
//
//   - An entry is sealed for its person in the [cell.Vault]. While the compartment's door serves no reads, nobody reads it.
//   - Persons are found by their number, or by the whole family name together with the date of birth. There is no other way:
//     no beginnings of names, no lists, no names alone.
//   - Who reads the store learns no name: terms are blinded under the compartment's key.
//
// Keys in an insurer's cell, in the space of vsdm:
//
//	record "master/<IK>"    layout (1), flags (1), [vsd.Record.Encode]; its version rises by one with every change
//	term   family name and date of birth ([Term]), of each entry whose date of birth is there
//
// An entry that was stored before persons were found by name has no term; it gets one when it is delivered again ([Mend]).
package insured
