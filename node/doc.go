// Package node is one running platform, made from one configuration: it opens the parts, wires them, runs them and stops
// them in reverse.
//
// The order of opening is the order in which things are needed: keyring, ledger, cells, outbox, journal, pump, doors, then
// the entrances. A cell that cannot be opened floods its own insurer: its mail is still taken in. The order of stopping is
// the reverse, so that nothing is accepted that could not be kept.
//
// A running node listens on a socket in its data directory, which only its own user can open; the commands of
// cmd/querschott and backups speak to it there.
package node
