// Package querschott holds the words of the house as types: insurers (IK), insured persons (KVNR), services,
// compartments, door states, credentials, access events and the error codes that may cross the gate.
//
// Querschott (German: the transverse bulkhead of a ship) is the service platform of an IT provider for many statutory
// health insurers, built so that it keeps working while it is under attack. Insurer x service is a compartment: its own
// door, its own key pair, its own key space in its insurer's cell. A hole floods one compartment.
//
// # A guided tour
//
// Follow one electronic sick note (eAU) through the house:
//
//	gate/mail   takes it over SMTP and reads its outer header only: which compartment is it for?
//	intake      seals it to the compartment's public key and makes it durable on every configured copy
//	ledger      records the arrival; the entry is provable when the sender gets its 250
//	outbox      holds the delivery status notification (DSN) that the sender asked for
//	door        open? then the pump of intake goes on; hold, read-only? it waits; closed? the gate said 451
//	seal        gives the pump the compartment's private key, for as long as the door is open
//	wire/...    takes the document out of its containers
//	service/eau stores it in the insurer's cell, exactly once
//
// The path up to the 250 asks no door state other than closed, opens no cell and needs no private key. So there is
// nothing to switch when a door goes to hold, and nothing to race.
//
// Packages import only packages of lower floors; ARCHITECTURE.md draws them and a test holds them to it.
package querschott
