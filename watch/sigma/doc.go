// Package sigma runs rules that are written in Sigma 2.1 (SigmaHQ, specification 2.1.0 of 2 August 2025): rules about one
// event, correlations of all seven types, and filters.
//
// What it promises: a rule either does what it says or is not loaded. Whatever is not supported, not resolved or without
// effect is an error with file and line; nothing is skipped. Rules become closures over the event, memory is bounded, time is
// the events' own, and the same events give the same alarms.
//
// # Rules about one event
//
// Supported is all of the specification's appendix on modifiers except windash, utf16, utf16le, utf16be, wide, base64 and
// base64offset. Texts are compared without regard to case, unless cased. Events have no difference between an absent and an
// empty value, so null and ” mean the same. An absent value is different from every other (neq), and equal to no other field
// (fieldref). A keyword is found inside any field that holds words. Parts of times are German time. Placeholders are resolved
// from the file placeholders.yml beside the rules, a mapping from names to lists of texts.
//
// # Log sources
//
// The product is querschott. Categories, by action: login (login, unlock), door (door orders), delivery (receive, deliver,
// send, reject) and health_record_access (what is none of these and no act of the platform itself). A service is one of the
// services of the house. None of them: every event.
//
// # Fields
//
// Names are those of events in NDJSON:
//
//	t                    time; only with minute, hour, day, week, month, year
//	seq, gate            number of the event at its gate
//	service              which service
//	tenant               insurer of the caller
//	subject_tenant       insurer of the data
//	actor, credential    who, and what was presented
//	actor_role           capacity; the catalogue's actor_kind is the same
//	profession, purpose  professionOID; purpose of use
//	reason_ref           what explains the access
//	action, query_shape  what was done; class of the request
//	subject, field_group pseudonym of the person; group of data
//	n_records, bytes     size of the answer (numbers)
//	status, took_us      of the answer (numbers)
//	outcome, cause       how it ended, in the gate's words
//	request_id           of the request
//	door_epoch           under which the gate decided (number)
//	ip, tls_binding      network address; thumbprint of the bound key
//
// and what the early warning adds:
//
//	who                  the actor, else the credential, else the network
//	result               reached, not_found, denied or other, whatever words the source has for it
//	explained, job       true or false: something explains the access; it is a registered job
//	late                 true or false: the event counts at another time than its own
//
// The catalogue's asn is in no event. Refusals by doors reach no rule.
//
// # Correlations
//
// A window slides with the events, per tuple of group-by; absent values are a value there. It has both its ends: events
// exactly a timespan apart are in one window. It is judged when an event enters it, never by silence. A correlation fires when
// its condition begins to hold, and again after each timespan in which it went on holding. An event that comes late (less than
// the early warning's bound) is put at its own time, or at the window's beginning if that is later; windows that have moved on
// are not judged again.
//
//	event_count       events
//	value_count       different values of the field, or tuples of several; absent ones do not count
//	value_sum, _avg   of a field that is a number
//	value_percentile  of a text: which share of the window's values, in percent, is this one; of a number: which share is
//	                  below this one. Judged from 100 observed values on.
//	temporal          how many of the rules matched; without a condition: all
//	temporal_ordered  how many of the rules matched in their order, by different events; without a condition: all
//
// The specification leaves value_percentile open; this reading makes "lte: 1" the rarity that its example describes. A
// correlation of correlations is fed with the event at which the inner one fired.
//
// A rule that a correlation refers to raises no alarms of its own unless the correlation says generate. A rule's level is the
// alarm's severity (none: medium); informational raises no alarms and is only for rules that a correlation refers to. Alarms
// are statistical unless the rule has the tag querschott.exact. Tags attack.tNNNN and capec.NNN label alarms.
//
// # Memory
//
// A correlation holds a bounded number of keys and entries. Counting types keep no more than decides about the condition, so
// no flood of events can hide an attack. Sums and means join the oldest entries above 1,024 per key, which errs on the side of
// the alarm. Percentiles look at the newest 4,096 values. Keys with nothing left in their timespan are forgotten; if that is
// not enough, those that were quiet for longest are, and that and the joining is counted in [Engine.Stats].
package sigma
