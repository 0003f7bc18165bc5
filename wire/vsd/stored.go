package vsd

import (
	"encoding/binary"
	"errors"
)

// The stored form: one octet with its version, then the fields in the order of their declaration. A text is its length
// (uvarint) and its octets, a list its length and its elements, an ID its 16 octets, a percentage one octet (0 not given,
// else value + 1), a share one octet (0 not given, 1 no, 2 yes, else percentage + 2), a flag or a presence one octet of 0 or 1.
const storedVersion = 1

// MaxStored bounds the stored form, in octets.
const MaxStored = 512 << 10

var errStored = errors.New("the stored master data are damaged or of an unknown version")

// Encode returns the stored form of a valid record. Equal records have equal stored forms, and no two stored forms are of
// one record.
func (r *Record) Encode() []byte {
	c := codec{b: append(make([]byte, 0, 1024), storedVersion)}
	c.record(r)
	return c.b
}

// DecodeRecord is the inverse of [Record.Encode]. The record keeps a copy of the octets.
func DecodeRecord(stored []byte) (*Record, error) {
	if len(stored) == 0 || len(stored) > MaxStored || stored[0] != storedVersion {
		return nil, errStored
	}
	c := codec{s: string(stored), at: 1, reading: true}
	r := &Record{}
	c.record(r)
	if c.failed || c.at != len(c.s) {
		return nil, errStored
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// codec walks over a record and writes it, or reads it: one description for both directions.
type codec struct {
	b       []byte // what was written
	s       string // what is read
	at      int
	reading bool
	failed  bool
}

func (c *codec) octet(v *byte) {
	if !c.reading {
		c.b = append(c.b, *v)
		return
	}
	if c.at >= len(c.s) {
		c.failed = true
		return
	}
	*v = c.s[c.at]
	c.at++
}

// flag walks a boolean.
func (c *codec) flag(v *bool) {
	b := byte(one(*v))
	c.octet(&b)
	c.failed = c.failed || b > 1
	*v = b == 1
}

// length walks a length; when reading, each element takes at least one octet.
func (c *codec) length(n int) int {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, uint64(n)) //nolint:gosec // a length
		return n
	}
	var v uint64
	for shift := 0; ; shift += 7 {
		var b byte
		c.octet(&b)
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			c.failed = c.failed || b == 0 && shift > 0 // a longer form than needed
			break
		}
		if shift > 28 {
			c.failed = true
			break
		}
	}
	if c.failed || v > uint64(len(c.s)-c.at) { //nolint:gosec // a length
		c.failed = true
		return 0
	}
	return int(v) //nolint:gosec // bounded by a length
}

// text walks a text.
func text[T ~string](c *codec, v *T) {
	n := c.length(len(*v))
	if !c.reading {
		c.b = append(c.b, *v...)
		return
	}
	*v = T(c.s[c.at : c.at+n])
	c.at += n
}

// list walks a list, each element with walk.
func list[T any](c *codec, v *[]T, walk func(*codec, *T)) {
	n := c.length(len(*v))
	if c.reading && n > 0 {
		*v = make([]T, 0, min(n, 64))
		for range n {
			if c.failed {
				return
			}
			*v = append(*v, *new(T))
			walk(c, &(*v)[len(*v)-1])
		}
		return
	}
	for i := range n {
		walk(c, &(*v)[i])
	}
}

// present walks whether there is a value, and makes it when reading.
func present[T any](c *codec, v **T) bool {
	there := *v != nil
	c.flag(&there)
	if there && c.reading {
		*v = new(T)
	}
	return there
}

func (c *codec) id(v *ID) {
	if !c.reading {
		c.b = append(c.b, v[:]...)
		return
	}
	if len(c.s)-c.at < len(v) {
		c.failed = true
		return
	}
	c.at += copy(v[:], c.s[c.at:])
}

func (c *codec) record(r *Record) {
	text(c, &r.Updated)
	c.patient(&r.Patient)
	c.coverage(&r.Coverage)
	list(c, &r.Payors, (*codec).payor)
}

func (c *codec) patient(p *Patient) {
	c.id(&p.ID)
	text(c, &p.Number)
	for _, s := range []*string{&p.Name.Text, &p.Name.Family, &p.Name.Own, &p.Name.Prefix, &p.Name.Addition, &p.Name.Given, &p.Name.Title} {
		text(c, s)
	}
	list(c, &p.Telecom, (*codec).contact)
	text(c, &p.Gender)
	text(c, &p.Born)
	list(c, &p.Addresses, (*codec).address)
}

func (c *codec) contact(v *Contact) {
	text(c, &v.System)
	text(c, &v.Value)
}

func (c *codec) address(a *Address) {
	text(c, &a.Kind)
	list(c, &a.Lines, (*codec).line)
	text(c, &a.City)
	text(c, &a.PostalCode)
	text(c, &a.Country.Text)
	text(c, &a.Country.Code)
	text(c, &a.Country.DEUEV)
}

func (c *codec) line(l *Line) {
	for _, s := range []*string{&l.Text, &l.Street, &l.Number, &l.Addition, &l.Box} {
		text(c, s)
	}
}

func (c *codec) coded(v *Coded) {
	text(c, &v.Code)
	text(c, &v.Display)
}

func (c *codec) period(p *Period) {
	text(c, &p.Start)
	text(c, &p.End)
}

func (c *codec) coverage(v *Coverage) {
	c.id(&v.ID)
	text(c, &v.Type)
	c.period(&v.Period)
	if present(c, &v.GKV) {
		c.gkv(v.GKV)
	}
	if present(c, &v.PKV) {
		c.pkv(v.PKV)
	}
	text(c, &v.Order)
}

func (c *codec) gkv(g *GKV) {
	c.coded(&g.WOP)
	c.coded(&g.Status)
	c.coded(&g.Group)
	list(c, &g.Programmes, (*codec).programme)
	text(c, &g.Exempt)
	if present(c, &g.Reimbursement) {
		for _, b := range []*bool{&g.Reimbursement.Physicians, &g.Reimbursement.Dentists, &g.Reimbursement.Hospitals, &g.Reimbursement.Prescribed} {
			c.flag(b)
		}
	}
	if present(c, &g.Suspension) {
		c.coded(&g.Suspension.Scope)
		c.period(&g.Suspension.Period)
	}
}

func (c *codec) programme(d *DMP) {
	c.coded(&d.Programme)
	c.period(&d.Period)
	c.flag(&d.Digital)
}

func (c *codec) pkv(p *PKV) {
	c.coded(&p.Tariff)
	c.coded(&p.Status)
	list(c, &p.Hints, (*codec).hint)
	list(c, &p.Hospital, (*codec).hospital)
	list(c, &p.Aid, (*codec).aid)
}

func (c *codec) hint(h *Hint) {
	text(c, &h.Text)
	list(c, &h.Roles, text[string])
}

func (c *codec) hospital(h *Hospital) {
	for _, p := range []*Percent{&h.General, &h.TwoBed, &h.OneBed, &h.Difference} {
		c.percent(p)
	}
	c.share(&h.Chief)
	c.share(&h.Attending)
}

func (c *codec) aid(a *Aid) {
	c.flag(&a.Entitled)
	c.percent(&a.Quota)
}

func (c *codec) percent(p *Percent) {
	b := byte(0)
	if p.Given {
		b = p.Value + 1
	}
	c.octet(&b)
	if c.reading && b > 0 {
		*p = Percent{Given: true, Value: b - 1}
	}
}

func (c *codec) share(s *Share) {
	b := byte(0)
	switch {
	case s.Plain:
		b = 1 + byte(one(s.Yes))
	case s.Percent.Given:
		b = s.Percent.Value + 3
	}
	c.octet(&b)
	if !c.reading {
		return
	}
	switch {
	case b > 2:
		s.Percent = Percent{Given: true, Value: b - 3}
	case b > 0:
		s.Plain, s.Yes = true, b == 2
	}
}

func (c *codec) payor(p *Payor) {
	c.id(&p.ID)
	text(c, &p.IK)
	text(c, &p.Name)
	list(c, &p.Addresses, (*codec).address)
	list(c, &p.Contacts, (*codec).office)
}

func (c *codec) office(o *OfficeContact) {
	text(c, &o.Purpose.System)
	text(c, &o.Purpose.Code)
	text(c, &o.Text)
	list(c, &o.Telecom, (*codec).contact)
}
