package node

import (
	"time"

	"github.com/querschott/querschott/contain"
)

// checkDoors examines the link between a book of doors and its gates.
func (c *Config) checkDoors(f *findings, now time.Time) {
	d := &c.Doors
	switch {
	case d.Gates.Listen != "":
		checkCertificate(f, "doors.gates", d.Gates.Certificate, d.Gates.Key, now)
		if len(d.Gates.Known) == 0 {
			f.add(Warning, "querschott door gates add NAME, or empty doors.gates.listen", "there is an address for gates, and no gate is known")
		}
	case len(d.Gates.Known) > 0:
		f.add(Fault, "set doors.gates.listen", "gates are known, and there is no address at which they could follow")
	}
	if !c.follows() {
		return
	}
	checkCertificate(f, "doors.follow", d.Follow.Certificate, d.Follow.Key, now)
	if keys, err := LoadBookKeys(d.Follow.Keys); err != nil {
		f.add(Fault, "copy the file that 'querschott door gates add' has written at the node with the book", "the keys of the book cannot be used: %v", err)
	} else if keys.Domain == c.Domain {
		f.add(Warning, "give this gate a domain of its own before its first start", "this gate has the domain of the node with the book, %s: the logs of two ledgers would have the same names", c.Domain)
	}
	private(f, d.Follow.Keys, "whoever can write it can open doors here")
	if c.Contain.Automatic == string(contain.Doors) {
		f.add(Warning, "set contain.automatic: credentials", "this node is only a gate: containment cannot move doors here")
	}
}
