// Package status is the public status page: which doors of which insurers are not open, why, since when, who is not affected,
// and the all-clear.
//
// What it promises:
//
//   - It outlives the platform. It is built without cells, ledger and keyring, and everything that it shows stands in one signed
//     file, which may lie on anybody's host.
//   - It shows nothing that was not signed, and nothing older than what it has shown: a file that is forged, damaged or put back
//     leaves the last good one in its place.
//   - It never lets silence pass for good news. Each file says until when it holds; after that the page says that it is out of
//     date, and no longer that all is well.
//   - The file holds public facts only: no persons, no operators, nobody's reasons in free text, nothing about detection.
//
// The file is a C2SP signed note (https://c2sp.org/signed-note) with an Ed25519 signature; its text is the state as JSON. From it
// are made HTML in German and English, which needs no JavaScript, and the shape of gematik's TI-Lage, version 2
// (https://github.com/gematik/api-tilage), with the member x beside appStatus and cause.
package status
