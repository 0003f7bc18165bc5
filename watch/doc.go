// Package watch is the early warning: access events go in, alarms come out.
//
// What it promises:
//
//   - It reads the operational stream of events, never the ledger and never the gate. Nothing waits for it: events that it
//     cannot keep up with are lost for it alone, and the loss is itself an alarm.
//   - Time is the events' own. The same events give the same alarms, however fast they are replayed. An event that comes late
//     counts when it comes; one that claims to be from the future moves no clock until a second one confirms it. An event
//     that comes twice counts once.
//   - A refusal by a door is never input of a detector, so closing a door raises no alarms that close more doors.
//   - Every alarm carries its arithmetic: what was counted, against what, in which window, from which event to which.
//   - One cause of one actor at one insurer is one alarm a day. What follows only raises its count.
//   - Memory is bounded. Each detector declares how many keys it holds; what it forgets to stay within is counted.
//   - A detector either states a fact (exact) or a suspicion (statistical). Everything is in shadow mode unless the policy
//     makes it live; what live alarms lead to is decided elsewhere.
//
// Detectors know persons by keyed pseudonyms only. The numbers D1, D3, ... are those of the catalogue in the manual's
// chapter on early warning.
package watch
