package vsd

const (
	maxProgrammes = 32
	maxPrivate    = 16 // of hints, of hospital covers, of aids
	maxRoles      = 64
)

func (r *reader) coverage(n *node, rec *Record, organizations []*node) {
	r.only(n, "id", "meta", "extension", "status", "type", "beneficiary", "period", "payor")
	c := &rec.Coverage
	c.ID = r.id(n)
	r.fixed(n, "status", "active")
	kind := r.one(n, "type")
	r.only(kind, "coding")
	coding := r.coding(r.single(kind, "coding"), codesKind)
	c.Type = coding.Display
	c.Period = r.period(r.one(n, "period"))
	beneficiary := r.one(n, "beneficiary")
	r.only(beneficiary, "reference")
	r.fixed(beneficiary, "reference", gematik+"Patient/"+rec.Patient.ID.String())
	switch Kind(coding.Code) {
	case Statutory:
		c.GKV = &GKV{}
		r.meta(n, "VSDMCoverageGKV", "profile")
	case Private:
		c.PKV = &PKV{}
		r.meta(n, "VSDMCoveragePKV", "profile")
	default:
		r.fail(kind, "", "it is neither GKV nor PKV")
		return
	}
	for _, e := range r.many(n, "extension", 2, maxProgrammes+3*maxPrivate) {
		r.coverageExtension(e, c)
	}
	c.settle()
	payors := r.many(n, "payor", 1, maxPayors)
	if len(payors) != len(organizations) {
		r.fail(n, "", "it does not have one payor per Organization")
		return
	}
	for _, p := range payors {
		rec.Payors = append(rec.Payors, r.payor(p, organizations, c.Kind()))
	}
}

func (r *reader) coverageExtension(e *node, c *Coverage) {
	url := r.url(e)
	letter := byte(0)
	if c.PKV != nil {
		letter = r.private(e, url, c.PKV)
	} else {
		letter = r.statutory(e, url, c.GKV)
	}
	if letter == 0 {
		r.fail(e, "", "the profile has no such extension here, or not twice")
		return
	}
	c.Order += string(letter)
}

// statutory reads one extension and returns its letter, 0 if the profile does not have it or not again.
func (r *reader) statutory(e *node, url string, g *GKV) byte {
	switch {
	case url == extWOP && g.WOP == Coded{}:
		g.WOP = r.coded(e, codesWOP)
		return letterWOP
	case url == extStatus && g.Status == Coded{}:
		g.Status = r.coded(e, codesStatus)
		return letterStatus
	case url == extGroup && g.Group == Coded{}:
		g.Group = r.coded(e, codesGroup)
		return letterGroup
	case url == extDMP && len(g.Programmes) < maxProgrammes:
		g.Programmes = append(g.Programmes, r.programme(e))
		return letterDMP
	case url == extExempt && g.Exempt == "":
		g.Exempt = r.exempt(e)
		return letterExempt
	case url == extReimburse && g.Reimbursement == nil:
		g.Reimbursement = r.reimbursement(e)
		return letterReimburse
	case url == extSuspension && g.Suspension == nil:
		parts := r.complex(e, "art", "dauer")
		g.Suspension = &Suspension{Scope: r.coded(parts[0], codesSuspension), Period: r.period(r.value(parts[1], "valuePeriod"))}
		return letterSuspension
	}
	return 0
}

// complex returns the parts of an extension that has no value of its own; all of them must be there.
func (r *reader) complex(e *node, urls ...string) []*node {
	r.only(e, "url", "extension")
	parts := r.extensions(e, urls...)
	for i := range parts {
		parts[i] = r.need(e, parts[i], urls[i])
	}
	return parts
}

func (r *reader) programme(e *node) DMP {
	parts := r.complex(e, "dmp", "zeitraum", "digitalesDMP")
	return DMP{
		Programme: r.coded(parts[0], codesDMP),
		Period:    r.period(r.value(parts[1], "valuePeriod")),
		Digital:   r.boolean(r.value(parts[2], "valueBoolean")),
	}
}

func (r *reader) exempt(e *node) Date {
	parts := r.complex(e, "status", "gueltigBis")
	if !r.boolean(r.value(parts[0], "valueBoolean")) {
		r.fail(parts[0], "", "somebody who is not exempt has no such extension")
	}
	return Date(r.str(r.value(parts[1], "valueDate")))
}

func (r *reader) reimbursement(e *node) *Reimbursement {
	parts := r.complex(e, "aerztlicheVersorgung", "zahnaerztlicheVersorgung", "stationaererBereich", "veranlassteLeistungen")
	var v [4]bool
	for i, p := range parts {
		v[i] = r.boolean(r.value(p, "valueBoolean"))
	}
	return &Reimbursement{Physicians: v[0], Dentists: v[1], Hospitals: v[2], Prescribed: v[3]}
}

// private reads one extension and returns its letter, 0 if the profile does not have it or not again.
func (r *reader) private(e *node, url string, p *PKV) byte {
	switch {
	case url == extTariff && p.Tariff == Coded{}:
		p.Tariff = r.coded(e, codesTariff)
		return letterTariff
	case url == extPKVStatus && p.Status == Coded{}:
		p.Status = r.coded(e, codesPKVStatus)
		return letterStatus
	case url == extHint && len(p.Hints) < maxPrivate:
		p.Hints = append(p.Hints, r.hint(e))
		return letterHint
	case url == extHospital && len(p.Hospital) < maxPrivate:
		p.Hospital = append(p.Hospital, r.hospital(e))
		return letterHospital
	case url == extAid && len(p.Aid) < maxPrivate:
		r.only(e, "url", "extension")
		parts := r.extensions(e, "anspruch", "quote")
		p.Aid = append(p.Aid, Aid{
			Entitled: r.boolean(r.value(r.need(e, parts[0], "anspruch"), "valueBoolean")),
			Quota:    r.percentOf(parts[1]),
		})
		return letterAid
	}
	return 0
}

func (r *reader) hint(e *node) Hint {
	r.only(e, "url", "extension")
	var h Hint
	for _, part := range r.many(e, "extension", 1, 1+maxRoles) {
		switch url := r.url(part); {
		case url == "text" && h.Text == "":
			h.Text = r.str(r.value(part, "valueMarkdown"))
		case url == "professionOID":
			h.Roles = append(h.Roles, r.str(r.value(part, "valueOid")))
		default:
			r.fail(part, "", "the profile has no such extension here, or not twice")
		}
	}
	return h
}

func (r *reader) hospital(e *node) Hospital {
	r.only(e, "url", "extension")
	parts := r.extensions(e, "allgemein", "zweibett", "einbett", "zweibettEinbettDifferenz", "wahlarzt", "belegarzt")
	return Hospital{
		General: r.percentOf(parts[0]), TwoBed: r.percentOf(parts[1]), OneBed: r.percentOf(parts[2]), Difference: r.percentOf(parts[3]),
		Chief: r.share(parts[4]), Attending: r.share(parts[5]),
	}
}

func (r *reader) percentOf(e *node) Percent {
	if e == nil {
		return Percent{}
	}
	return r.percent(r.value(e, "valueUnsignedInt"))
}

func (r *reader) share(e *node) Share {
	if e == nil {
		return Share{}
	}
	if plain := r.optional(e, "valueBoolean"); plain != nil {
		r.only(e, "url", "valueBoolean")
		return Share{Plain: true, Yes: r.boolean(plain)}
	}
	return Share{Percent: r.percentOf(e)}
}

// payor reads a reference and the organization behind it, and compares the two.
func (r *reader) payor(n *node, organizations []*node, kind Kind) Payor {
	r.only(n, "reference", "identifier", "display")
	organization := r.referenced(organizations, r.text(n, "reference"))
	if organization == nil {
		r.fail(n, "", "it refers to no Organization of the bundle")
		return Payor{}
	}
	p := r.organization(organization)
	identifier := r.one(n, "identifier")
	r.only(identifier, "system", "value")
	if kind == Statutory || r.optional(identifier, "system") != nil {
		r.fixed(identifier, "system", sidIK)
	}
	if r.text(identifier, "value") != string(p.IK) {
		r.fail(identifier, rulePayor1, "it is not the IK of the Organization")
	}
	if display := r.one(n, "display"); r.str(display) != p.Name {
		r.fail(display, rulePayor2, "it is not the name of the Organization")
	}
	return p
}
