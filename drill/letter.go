package drill

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// letter writes the one page of an invented doctor's letter as PDF.
func (p *Practice) letter(about Person, at time.Time) []byte {
	return pdf([]string{
		"TEST - erfundener Arztbrief, kein Mensch ist gemeint",
		p.Office.Name + ", " + p.Office.Address.City,
		"An: " + about.Insurer.Name,
		"Datum: " + at.Format("02.01.2006"),
		"Betrifft: " + about.Given + " " + about.Family + ", geboren " + string(about.Born),
		"Anfrage des Medizinischen Dienstes: Der Befund ist unauffällig.",
	})
}

// pdf writes lines onto one page (PDF 1.4, Helvetica in WinAnsiEncoding).
func pdf(lines []string) []byte {
	var text strings.Builder
	text.WriteString("BT /F1 12 Tf 72 770 Td 18 TL\n")
	for _, l := range lines {
		text.WriteString("(" + winAnsi(l) + ") Tj T*\n")
	}
	text.WriteString("ET")
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", text.Len(), text.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var table strings.Builder
	for i, o := range objects {
		fmt.Fprintf(&table, "%010d 00000 n \n", b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n%s", len(objects)+1, table.String())
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return b.Bytes()
}

// winAnsi writes the inside of a PDF string. All characters of this world are among the first 256 of Unicode.
func winAnsi(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '(' || r == ')' || r == '\\':
			b.WriteString("\\" + string(r))
		case r < 256:
			b.WriteByte(byte(r))
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}
