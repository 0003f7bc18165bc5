// Package e2e holds nothing but tests: the real program as processes of its own, real ports, real foreign programs. They
// run with the build tag e2e; ./test e2e does that.
//
// What they defend: whatever happens to the process, to the disk or to the doors, no mail that got its 250 is lost,
// doubled or out of order, and none is rejected; what senders and operators are told is what the documents say; the data
// directory holds nothing that the trust table does not name; others' programs verify the ledger. Of the HTTP entrance: whoever
// is answered finds it in the ledger; nobody reaches another insurer; what is answered is what others' programs take for
// right.
//
// A foreign program that is missing fails the test when CI=true and skips it otherwise. Nothing here sleeps: tests wait
// for what they want to see, until the test's own deadline.
package e2e
