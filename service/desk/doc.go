// Package desk is the service for an insurer's employees: they look an insured person up, read the master data, list and read
// sick notes. It writes nothing.
//
// What it promises:
//
//   - Every request names a reason: the reference of a case, a call, a document or a registered job. Without one nothing is
//     looked up. The reason stands in the ledger and in the access event; whether it is true this service cannot know.
//   - Persons are found by their number, or by the whole family name with the date of birth. There are no patterns, no
//     beginnings of names and no lists; more than [MaxHits] persons are not shown but refused.
//   - Everybody who is shown is counted as reached, in a list of hits too. So is a number that nobody has: whoever tries
//     numbers out gets no further than whoever knows them.
//   - No number of a person stands in an address. A request with anything behind its path or with a query is refused.
//   - It reads what other services keep, and only while their doors let it: master data while the insurer's door vsdm serves
//     reads, sick notes while the door eau is open or open for reading. A refusal names that door ([service.Shut]).
//   - It looks into the cell of the insurer that the gate has found, and into no other. A number that another insurer knows
//     and one that nobody knows are answered alike.
//
// Answers are JSON; errors are those of the gate (RFC 9457).
package desk
