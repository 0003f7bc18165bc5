package querschott

import (
	"fmt"
	"strings"
)

// Service is one thing that an insurer does for somebody through the platform.
type Service string

// The services. Mail is the compartment of everything that reaches an insurer by KIM and is neither a sick note nor a
// doctor's letter.
const (
	EAU    Service = "eau"    // electronic sick notes, by mail
	Letter Service = "letter" // doctor's letters, by mail
	Mail   Service = "mail"   // every other KIM message
	VSDM   Service = "vsdm"   // check of the electronic health card
	EPA    Service = "epa"    // electronic patient record
	App    Service = "app"    // the insured persons' app
	Desk   Service = "desk"   // the insurer's staff
)

// servicesByCode are numbered on disk from 1: a service never gets another place.
var servicesByCode = [...]Service{EAU, Letter, Mail, VSDM, EPA, App, Desk}

// Services returns all services in the order in which they are shown.
func Services() []Service { return []Service{EAU, Letter, Mail, VSDM, EPA, App, Desk} }

// MailServices returns the services that arrive by mail.
func MailServices() []Service { return []Service{EAU, Letter, Mail} }

// ParseService reads a service's name.
func ParseService(s string) (Service, error) {
	if Service(s).Code() == 0 {
		return "", fmt.Errorf("unknown service %q; known are eau, letter, mail, vsdm, epa, app, desk", printable(s))
	}
	return Service(s), nil
}

// Code returns the one-byte number of a service in binary layouts, 0 for an unknown service.
func (s Service) Code() byte {
	for i, known := range servicesByCode {
		if s == known {
			return byte(i + 1)
		}
	}
	return 0
}

// ServiceFromCode is the inverse of [Service.Code].
func ServiceFromCode(c byte) (Service, error) {
	if c == 0 || int(c) > len(servicesByCode) {
		return "", fmt.Errorf("unknown service code %d", c)
	}
	return servicesByCode[c-1], nil
}

// ByMail reports whether the service's messages arrive by mail.
func (s Service) ByMail() bool { return s == EAU || s == Letter || s == Mail }

// Compartment is one service of one insurer: one door, one key pair, one key space in the insurer's cell.
type Compartment struct {
	Insurer IK
	Service Service
}

// ParseCompartment reads the form that String writes: "109500969/eau".
func ParseCompartment(s string) (Compartment, error) {
	ik, svc, ok := strings.Cut(s, "/")
	if !ok {
		return Compartment{}, fmt.Errorf("a compartment is written IK/service, for example 109500969/eau; got %q", printable(s))
	}
	i, err := ParseIK(ik)
	if err != nil {
		return Compartment{}, err
	}
	v, err := ParseService(svc)
	if err != nil {
		return Compartment{}, err
	}
	return Compartment{i, v}, nil
}

func (c Compartment) String() string { return string(c.Insurer) + "/" + string(c.Service) }

// Compare orders compartments by insurer and then by the order of [Services].
func (c Compartment) Compare(d Compartment) int {
	if n := strings.Compare(string(c.Insurer), string(d.Insurer)); n != 0 {
		return n
	}
	return int(c.Service.Code()) - int(d.Service.Code())
}

// MarshalText writes the form of String, so that compartments can be keys in JSON.
func (c Compartment) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Compartment) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCompartment(string(b))
	return err
}
