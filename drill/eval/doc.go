// Package eval measures the early warning: invented people and attacks on one side, the gate's caps, the detectors and what
// follows from their alarms on the other, with a clock of its own.
//
// What it promises:
//
//   - The loop is closed: what is refused, for a cap, a held credential or a door, is refused to the attacker, who reacts.
//   - Who attacks stands in a [truth] that no detector sees. An alarm counts for an attack when it names one of its
//     credentials, networks or groups while the attack is active, and as a false one when nobody attacks there.
//   - Results are a function of the settings: the same settings are the same report. Figures have intervals of 95 %, from
//     resampling the seeds (Efron 1979).
//   - Methods are compared at a budget of alarms, never by accuracy or areas under curves: if a method raises more false
//     alarms than there is time for, only that share of its alarms is looked at, drawn by lot.
//   - What is compared with each other, detectors and simple methods, sees the same events of the same worlds.
//
// It is synthetic: it proves mechanics and compares methods. It says nothing about the rates of a real platform.
package eval
