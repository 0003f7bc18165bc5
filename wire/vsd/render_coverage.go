package vsd

func (w *bundleWriter) coverage(r *Record) {
	c := &r.Coverage
	kind := c.Kind()
	w.meta("VSDMCoverage"+string(kind), "")
	w.list("extension")
	w.coverageExtensions(c)
	w.endList()
	w.text("status", "active")
	w.open("type")
	w.list("coding")
	w.item("coding")
	w.coding(codesKind, Coded{Code: string(kind), Display: c.Type})
	w.close("coding")
	w.endList()
	w.close("type")
	w.open("beneficiary")
	w.address("reference", "Patient", r.Patient.ID)
	w.close("beneficiary")
	w.period("period", c.Period)
	w.list("payor")
	for i := range r.Payors {
		w.payor(&r.Payors[i], kind)
	}
	w.endList()
}

func (w *bundleWriter) period(name string, p Period) {
	w.open(name)
	w.text("start", string(p.Start))
	w.optional("end", string(p.End))
	w.close(name)
}

func (w *bundleWriter) coverageExtensions(c *Coverage) {
	if c.Order == "" {
		usual := c.usualOrder()
		for i := range len(usual) {
			for n := range c.count(usual[i]) {
				w.coverageExtension(c, usual[i], n)
			}
		}
		return
	}
	var seen [256]int
	for i := range len(c.Order) {
		letter := c.Order[i]
		w.coverageExtension(c, letter, seen[letter])
		seen[letter]++
	}
}

// coverageExtension writes the nth extension of a letter.
func (w *bundleWriter) coverageExtension(c *Coverage, letter byte, n int) {
	if c.PKV != nil {
		w.privateExtension(c.PKV, letter, n)
		return
	}
	w.statutoryExtension(c.GKV, letter, n)
}

func (w *bundleWriter) statutoryExtension(g *GKV, letter byte, n int) {
	switch letter {
	case letterWOP:
		w.codedExtension(extWOP, codesWOP, g.WOP)
	case letterStatus:
		w.codedExtension(extStatus, codesStatus, g.Status)
	case letterGroup:
		w.codedExtension(extGroup, codesGroup, g.Group)
	case letterDMP:
		w.programme(&g.Programmes[n])
	case letterExempt:
		w.openExtension(extExempt)
		w.booleanExtension("status", true)
		w.textExtension("gueltigBis", "valueDate", string(g.Exempt))
		w.closeExtension()
	case letterReimburse:
		w.openExtension(extReimburse)
		w.booleanExtension("aerztlicheVersorgung", g.Reimbursement.Physicians)
		w.booleanExtension("zahnaerztlicheVersorgung", g.Reimbursement.Dentists)
		w.booleanExtension("stationaererBereich", g.Reimbursement.Hospitals)
		w.booleanExtension("veranlassteLeistungen", g.Reimbursement.Prescribed)
		w.closeExtension()
	case letterSuspension:
		w.openExtension(extSuspension)
		w.codedExtension("art", codesSuspension, g.Suspension.Scope)
		w.periodExtension("dauer", g.Suspension.Period)
		w.closeExtension()
	}
}

func (w *bundleWriter) programme(d *DMP) {
	w.openExtension(extDMP)
	w.codedExtension("dmp", codesDMP, d.Programme)
	w.periodExtension("zeitraum", d.Period)
	w.booleanExtension("digitalesDMP", d.Digital)
	w.closeExtension()
}

func (w *bundleWriter) privateExtension(p *PKV, letter byte, n int) {
	switch letter {
	case letterTariff:
		w.codedExtension(extTariff, codesTariff, p.Tariff)
	case letterStatus:
		w.codedExtension(extPKVStatus, codesPKVStatus, p.Status)
	case letterHint:
		w.openExtension(extHint)
		w.textExtension("text", "valueMarkdown", p.Hints[n].Text)
		for _, role := range p.Hints[n].Roles {
			w.textExtension("professionOID", "valueOid", role)
		}
		w.closeExtension()
	case letterHospital:
		h := &p.Hospital[n]
		w.openExtension(extHospital)
		w.percentExtension("allgemein", h.General)
		w.percentExtension("zweibett", h.TwoBed)
		w.percentExtension("einbett", h.OneBed)
		w.percentExtension("zweibettEinbettDifferenz", h.Difference)
		w.shareExtension("wahlarzt", h.Chief)
		w.shareExtension("belegarzt", h.Attending)
		w.closeExtension()
	case letterAid:
		w.openExtension(extAid)
		w.booleanExtension("anspruch", p.Aid[n].Entitled)
		w.percentExtension("quote", p.Aid[n].Quota)
		w.closeExtension()
	}
}

// openExtension begins an extension that consists of extensions.
func (w *bundleWriter) openExtension(url string) {
	w.extension(url)
	w.list("extension")
}

func (w *bundleWriter) closeExtension() {
	w.endList()
	w.close("extension")
}

func (w *bundleWriter) periodExtension(url string, p Period) {
	w.extension(url)
	w.period("valuePeriod", p)
	w.close("extension")
}

func (w *bundleWriter) percentExtension(url string, p Percent) {
	if !p.Given {
		return
	}
	w.extension(url)
	w.number("valueUnsignedInt", p.Value)
	w.close("extension")
}

func (w *bundleWriter) shareExtension(url string, s Share) {
	if s.Plain {
		w.booleanExtension(url, s.Yes)
		return
	}
	w.percentExtension(url, s.Percent)
}
