// Package crowd is the invented people whose work the early warning sees: insurers' staff, practices, users of the app,
// suppliers' machines, and what they do day by day.
//
// What it promises:
//
//   - It is a function of its [Config]: the same config is the same requests in the same order, on every machine.
//   - Requests come in the order of their times, one at a time. A day takes memory in proportion to its requests, 8 bytes
//     each; what a request says is made when its turn comes.
//   - What a request means stands in none of its fields. Requests of attacks are made by the same code as everybody's
//     ([Crowd.Request]), with numbers of cases, networks and keys from the same ranges.
//   - It knows nothing of detectors, and no figure in it was chosen for one.
//
// Figures are estimates: 30,000 staff of 80 insurers make about 1.7 million accesses on a working day, case workers 60,
// call centre 110, benefits 40, managers 6, IT 3, audit 25 each; the spread between people is lognormal (0.35), that between
// days 0.22; 18 % are absent.
package crowd
