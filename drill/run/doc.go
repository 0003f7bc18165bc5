// Package run plays drills against a running platform: the attack goes through the real HTTPS entrance with real tokens, practices
// send real mail and check cards, ordinary staff work on, and what the drill says of it comes from outside.
//
// What it promises:
//
//   - The truth is what the attacker got: persons whose data came in an answer. Nothing of the platform is asked for it. What
//     the platform says (alarms, scope, doors, mail) is compared with it.
//   - It attacks only a demonstration, or a node whose configuration says drill: true.
//   - What nobody could measure is null in the report. A condition that fails is said, and so is one that could not be looked at.
//   - A drill that is faster than its original says by which factor. The node's clock is never touched.
package run
