// Package telemetry tells machines how the node works: metrics for Prometheus, traces and the node's log for an
// OpenTelemetry collector.
//
// What it promises:
//
//   - Whoever reads it learns how the platform works, never who used it. Labels of metrics come from closed vocabularies
//     ([Label]); a value outside becomes "other" and is counted. A span has the class of a request and how it ended, those below it the
//     names of the stages that it passed. The
//     log that leaves the house has only attributes from a list, and what looks like a person's number, a token or an
//     address is taken out of every text.
//   - The path of a request never waits for it. Numbers are read from snapshots when somebody asks; spans are made from
//     access events after the answer has gone; queues are bounded, and what does not fit is dropped and counted.
//   - A collector that is dead, slow or hangs costs a bounded queue and one line in the node's own log.
//   - It sends nothing unless [Start] is called, and then to one address only: no redirect is followed, no proxy or header
//     is taken from the environment (OTEL_RESOURCE_ATTRIBUTES adds to what describes the node, as everywhere).
//   - Each detection of the early warning raises attack.detection.count by one, also while the collector is away.
//
// Sources: Prometheus exposition format 0.0.4 and its naming rules; OTLP/HTTP 1.x with protobuf, and in
// JSON for the one metric; gemSpec_ZETA A_25744 and
// A_27260 (operational telemetry allows no profiles).
package telemetry
