// Package console is the operators' page: the matrix of all doors, one page per compartment, and what waits for a second
// operator.
//
// What it promises:
//
//   - It decides nothing. Every move is an order signed with the key of the operator who is logged in and handed to
//     package door, which knows who may do what; whatever a page shows or hides, the book has the last word.
//   - Closing never waits for the page: it is in force whatever the operator saw when the form was drawn. Every other move
//     is refused if the door has moved since.
//   - Every page works without JavaScript. JavaScript makes it live, moves no row and fills in no form.
//   - Nothing inline: no script, no style, no foreign host; the headers of every answer say so.
//   - Local accounts, login links and an identity provider lead to the same sessions, of operators only; the way in that fails
//     stops none of the others. Whoever stops being an operator is out with the next request.
//   - A stream of events ends within a second of its session and never keeps the session alive. A slow viewer is dropped; it
//     slows nobody.
//   - No state is shown by colour alone: shape, word and colour say the same.
//   - Pages are not compressed, so that the length of an answer tells nothing about the CSRF token in it.
//
// It is made for TLS or for loopback. Browsers tell a plain-HTTP server elsewhere neither Sec-Fetch-Site nor, under this
// package's referrer policy, a usable Origin, and such posts are refused.
//
// The package writes no files. Texts that the node hands in (trouble, journal) must not contain numbers of persons.
package console
