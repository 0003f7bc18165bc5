// Package attack describes attacks, and what looks like one, as files: who, with which credentials, how fast, on whom, with
// which reasons, and what happens when he is refused.
//
// What it promises:
//
//   - [Parse] is strict: an unknown key, an impossible value or a key where it says nothing is an error with its line. A file
//     has at most 1 MiB; what it makes somebody do is bounded too, see the limits in this package.
//   - A [Run] is a function of its family, its seed, its landscape and the outcomes that it is told: the same four are the
//     same accesses. Times never go back.
//   - A Run knows nobody's name. It says "the seventh case worker of the third insurer" and "person 4711 of the fifth"; the
//     landscape, a simulated one or a running platform, knows who that is.
//   - Nothing in what a Run asks for says that it is an attack.
//
// Files of families live in the directory families and are built in; the manual's chapter on drills has the keys.
package attack
