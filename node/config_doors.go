package node

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/querschott/querschott/door/follow"
	"github.com/querschott/querschott/ident/mtls"
)

// DoorsConfig says where the doors' book is that this node obeys: its own, which gates elsewhere may follow, or another one's.
type DoorsConfig struct {
	Lease  Duration     `yaml:"lease" json:"lease" doc:"How long a gate does what it was ordered without hearing from the book; then it holds everything. The same at the node with the book and at all its gates."`
	Gates  GatesConfig  `yaml:"gates" json:"gates" doc:"Gates that follow the book of this node."`
	Follow FollowConfig `yaml:"follow" json:"follow" doc:"This node is only a gate: it follows doors and deny list of the node that keeps the book."`
}

// GatesConfig configures the link on the side of the book.
type GatesConfig struct {
	Listen      string      `yaml:"listen" json:"listen" doc:"Address for gates, empty: there are none. Keep it away from the public."`
	Certificate string      `yaml:"certificate" json:"certificate" doc:"Certificate of this side, PEM; 'querschott door gates add' makes it."`
	Key         string      `yaml:"key" json:"key" doc:"Private key of the certificate, PEM."`
	Known       []KnownGate `yaml:"known" json:"known" doc:"All gates there are. One that does not answer is missing, also if it was never there."`
}

// KnownGate is one gate that may follow.
type KnownGate struct {
	Name string   `yaml:"name" json:"name" doc:"Name of the gate: small letters, digits and dashes."`
	Pins []string `yaml:"pins" json:"pins" doc:"SHA-256 of its certificate's public key (SubjectPublicKeyInfo), hexadecimal; two while its key is renewed."`
}

// FollowConfig configures the link on the side of a gate.
type FollowConfig struct {
	Address     string   `yaml:"address" json:"address" doc:"host:port where the node with the book listens for gates. Empty: this node keeps its own book."`
	Pins        []string `yaml:"pins" json:"pins" doc:"SHA-256 of the public key of that node's certificate, hexadecimal; two while its key is renewed."`
	Certificate string   `yaml:"certificate" json:"certificate" doc:"Certificate of this gate, PEM."`
	Key         string   `yaml:"key" json:"key" doc:"Private key of the certificate, PEM."`
	Keys        string   `yaml:"keys" json:"keys" doc:"File with the public keys that orders are verified with; 'querschott door gates add' writes it. Whoever can write it can open doors here."`
}

func defaultDoors() DoorsConfig {
	return DoorsConfig{
		Lease:  Duration(follow.DefaultLease),
		Gates:  GatesConfig{Certificate: "tls/gates.pem", Key: "tls/gates.key", Known: []KnownGate{}},
		Follow: FollowConfig{Pins: []string{}, Certificate: "tls/gate.pem", Key: "tls/gate.key", Keys: "book.yaml"},
	}
}

// follows reports whether this node is only a gate.
func (c *Config) follows() bool { return c.Doors.Follow.Address != "" }

func (c *DoorsConfig) paths() []*string {
	return []*string{&c.Gates.Certificate, &c.Gates.Key, &c.Follow.Certificate, &c.Follow.Key, &c.Follow.Keys}
}

func (c *DoorsConfig) validate(w *wrongs) {
	if c.Lease < Duration(time.Second) || c.Lease > Duration(10*time.Minute) {
		w.add("doors.lease: must be between 1s and 10m")
	}
	if c.Gates.Listen != "" && c.Follow.Address != "" {
		w.add("doors: a node that follows another one's book cannot have gates of its own; empty doors.gates.listen or doors.follow.address")
	}
	seen := map[string]bool{}
	for _, g := range c.Gates.Known {
		if err := checkGateName(g.Name); err != nil {
			w.add("doors.gates.known: %w", err)
		}
		for _, word := range append([]string{"name " + g.Name}, g.Pins...) {
			if seen[word] {
				w.add("doors.gates.known: %s: %s stands there twice", g.Name, word)
			}
			seen[word] = true
		}
		checkPins(w, "doors.gates.known: "+g.Name, g.Pins)
	}
	if c.Follow.Address != "" {
		if err := checkBookAddress(c.Follow.Address); err != nil {
			w.add("doors.follow.address: %w", err)
		}
		checkPins(w, "doors.follow.pins", c.Follow.Pins)
	}
}

// CheckGate says whether a gate may have this name, and whether the book can be reached at this address.
func CheckGate(name, address string) error {
	return errors.Join(checkGateName(name), checkBookAddress(address))
}

func checkGateName(name string) error {
	if !routeName.MatchString(name) {
		return fmt.Errorf("%.40q: a gate's name has 1 to 32 small letters, digits and '-', and begins with a letter", name)
	}
	return nil
}

func checkBookAddress(address string) error {
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return fmt.Errorf("the address at which gates reach the book is written host:port, not %.100q", address)
	}
	return nil
}

func checkPins(w *wrongs, at string, pins []string) {
	if len(pins) < 1 || len(pins) > 2 {
		w.add("%s: one pin is needed, or two while a key is renewed; 'querschott door gates add' prints them", at)
	}
	for _, p := range pins {
		if _, err := mtls.ParsePin(p); err != nil {
			w.add("%s: %w", at, err)
		}
	}
}

// gateNames lists the gates that may follow.
func (c *GatesConfig) gateNames() []string {
	var names []string
	for _, g := range c.Known {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return names
}
