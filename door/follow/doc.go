// Package follow lets gates at other places obey one door book.
//
// A [Publisher] stands beside the book; a [Follower] stands at each gate. The publisher sends what was signed, not what it
// thinks: a follower verifies every order with the operators' keys itself.
//
// # Promises
//
//   - A closing reaches every connected gate at once and says which gates obey. An enforcer of the book returns when all of
//     them have acknowledged, or names those that have not. It waits [PublisherConfig].Patience at most, and not at all for
//     a gate without a connection.
//   - A gate opens nothing that operators have not signed. An order that is not signed as its move needs, or not later than
//     the one that the gate has, changes nothing. An order that lets something out which the gate holds back needs two
//     operators' signatures: its own, or those of the opening that it narrows.
//   - A gate that hears nothing for a lease holds everything: what was open or read-only is on hold, what was closed stays
//     closed. A gate that has just started does the same until it has all orders and lists. An order that has run out is on
//     hold even before the book has undone it.
//   - A peer that is slow or sends nonsense costs its own connection, a bounded buffer and nobody else's time. Where a later
//     order replaces one that was not sent yet, only the later one is sent.
//
// What this cannot do: a follower keeps nothing on disk. After its start it believes the first signed order of each door that
// the publisher, known by its certificate, sends, unless somebody remembers a later one ([FollowerConfig].Last). The lease counts from when a heartbeat arrives, so a gate that the
// publisher calls missing may serve for up to one lease more. A follower cannot tell a lying publisher from one that knows
// of no later order; it is bounded by what operators have signed.
package follow
