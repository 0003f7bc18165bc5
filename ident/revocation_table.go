package ident

import (
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/querschott/querschott"
)

// The dimensions that are found by an equal value, as numbers. The last two are found by the subject.
const (
	subjects uint8 = iota
	actors
	credentials
	clients
	sessions
	tokens
	keys
	products
	versions
	issuers
	presenceIssuers
	insurers
	presenceBefore
	proofAge
	dimensionCount
)

var dimensions = map[Dimension]uint8{
	BySubject: subjects, ByActor: actors, ByCredential: credentials, ByClient: clients, BySession: sessions, ByToken: tokens, ByKey: keys, ByProduct: products,
	ByVersion: versions, ByIssuer: issuers, ByPresenceIssuer: presenceIssuers, ByInsurer: insurers,
	ByPresenceBefore: presenceBefore, ByProofAge: proofAge,
}

// denyTable is the list in the form in which it is searched. It is never changed.
type denyTable struct {
	epoch    uint64
	entries  []Revocation
	values   map[denyKey][]denial
	filled   [dimensionCount]bool // dimensions that have entries; the others cost nothing
	networks map[netip.Prefix][]denial
	bits4    []int // the lengths of prefixes that occur
	bits6    []int
}

// denyKey finds entries by what they name: the value or, for ages and times, the subject, both folded.
type denyKey struct {
	dimension uint8
	value     string
}

// denial is one entry's time and reach. Times are nanoseconds since 1970.
type denial struct {
	from, until int64
	insurer     querschott.IK
	limit       int64 // popp-before: the time; proof-older-than: the age
	entry       int   // index in entries
}

func newDenyTable(epoch uint64, entries []Revocation) *denyTable {
	t := &denyTable{epoch: epoch, entries: entries, values: map[denyKey][]denial{}, networks: map[netip.Prefix][]denial{}}
	var seen4, seen6 [129]bool
	for i, v := range entries {
		d := denial{from: math.MinInt64, until: math.MaxInt64, insurer: v.Insurer, entry: i}
		if v.Planned {
			d.from = nanos(v.From)
		}
		if !v.Until.IsZero() {
			d.until = nanos(v.Until)
		}
		if v.Dimension == ByNetwork {
			p, _ := parseNetwork(v.Value) // the entry was checked
			t.networks[p] = append(t.networks[p], d)
			if p.Addr().Is4() {
				seen4[p.Bits()] = true
			} else {
				seen6[p.Bits()] = true
			}
			continue
		}
		key := denyKey{dimensions[v.Dimension], string(v.folded())}
		switch v.Dimension {
		case ByPresenceBefore:
			before, _ := time.Parse(time.RFC3339Nano, v.Value) // the entry was checked
			d.limit, key.value = nanos(before), string(fold(nil, v.Subject))
		case ByProofAge:
			age, _ := time.ParseDuration(v.Value) // the entry was checked
			d.limit, key.value = int64(age), string(fold(nil, v.Subject))
		default: // found by the value
		}
		t.filled[key.dimension] = true
		t.values[key] = append(t.values[key], d)
	}
	for bits := range seen4 {
		if seen4[bits] {
			t.bits4 = append(t.bits4, bits)
		}
		if seen6[bits] {
			t.bits6 = append(t.bits6, bits)
		}
	}
	return t
}

// nanos keeps times that an int64 cannot hold at its ends.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1700:
		return math.MinInt64
	case t.Year() > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// folded is the value in the form in which it is compared. The two halves of a version are folded apart, with a byte between
// them that folding removes everywhere else.
func (v Revocation) folded() []byte {
	if v.Dimension != ByVersion {
		return fold(nil, v.Value)
	}
	product, version, _ := strings.Cut(v.Value, "/")
	return fold(append(fold(nil, product), 0), version)
}

// find returns the index of an entry in force that names one of the facts, -1 if there is none.
func (t *denyTable) find(f *Facts, at time.Time) int {
	now := at.UnixNano()
	for _, q := range [...]struct {
		dimension uint8
		value     string
	}{
		{subjects, f.Subject},
		{actors, string(f.Actor)},
		{credentials, string(f.Credential)},
		{clients, f.Client},
		{sessions, f.Session},
		{tokens, f.Token},
		{keys, f.Key},
		{products, f.Product},
		{issuers, f.Issuer},
		{presenceIssuers, f.PresenceIssuer},
		{insurers, string(f.Insurer)},
	} {
		if t.filled[q.dimension] && q.value != "" {
			var buf [maxDenyValue]byte
			if i := inForce(t.values[denyKey{q.dimension, string(fold(buf[:0], q.value))}], f.Insurer, now); i >= 0 {
				return i
			}
		}
	}
	if t.filled[versions] && f.Product != "" && f.Version != "" {
		var buf [maxDenyValue]byte
		key := fold(append(fold(buf[:0], f.Product), 0), f.Version)
		if i := inForce(t.values[denyKey{versions, string(key)}], f.Insurer, now); i >= 0 {
			return i
		}
	}
	if i := t.findNetwork(f, now); i >= 0 {
		return i
	}
	return t.findPresence(f, now)
}

// findNetwork takes an address that cannot be read for one that an entry names: an odd spelling opens no way past the list.
func (t *denyTable) findNetwork(f *Facts, now int64) int {
	if len(t.networks) == 0 || f.Network == "" {
		return -1
	}
	text, _, _ := strings.Cut(f.Network, "%") // the zone of a link-local address is the receiver's own word
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return t.anyNetwork(f, now)
	}
	addr = addr.Unmap()
	lengths := t.bits6
	if addr.Is4() {
		lengths = t.bits4
	}
	for _, bits := range lengths {
		p, _ := addr.Prefix(bits) // lengths fit the family
		if i := inForce(t.networks[p], f.Insurer, now); i >= 0 {
			return i
		}
	}
	return -1
}

func (t *denyTable) anyNetwork(f *Facts, now int64) int {
	for _, list := range t.networks {
		if i := inForce(list, f.Insurer, now); i >= 0 {
			return i
		}
	}
	return -1
}

// findPresence looks for entries about all PoPP tokens, then for those about this subject's.
func (t *denyTable) findPresence(f *Facts, now int64) int {
	var buf [maxDenyValue]byte
	for _, subject := range [2][]byte{nil, fold(buf[:0], f.Subject)} {
		if t.filled[presenceBefore] && !f.PresenceIssued.IsZero() {
			issued := nanos(f.PresenceIssued)
			for _, d := range t.values[denyKey{presenceBefore, string(subject)}] {
				if d.covers(f.Insurer, now) && issued < d.limit {
					return d.entry
				}
			}
		}
		if t.filled[proofAge] && !f.PresenceProved.IsZero() {
			age := now - nanos(f.PresenceProved)
			for _, d := range t.values[denyKey{proofAge, string(subject)}] {
				if d.covers(f.Insurer, now) && age > d.limit {
					return d.entry
				}
			}
		}
	}
	return -1
}

func inForce(list []denial, insurer querschott.IK, now int64) int {
	for i := range list {
		if list[i].covers(insurer, now) {
			return list[i].entry
		}
	}
	return -1
}

func (d *denial) covers(insurer querschott.IK, now int64) bool {
	return d.from <= now && now < d.until && (d.insurer == "" || d.insurer == insurer)
}

// fold appends s in the form in which values are compared: letter case, compatibility forms of Unicode and characters that
// nobody sees do not tell two values apart. It denies too much rather than too little: thumbprints that differ in case only
// do not occur by chance.
func fold(dst []byte, s string) []byte {
	start := len(dst)
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 0x80:
			return foldUnicode(dst[:start], s)
		case c <= ' ' || c == 0x7f: // invisible
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// foldUnicode repeats itself until nothing changes: what one pass takes away can bring together what the next one joins.
func foldUnicode(dst []byte, s string) []byte {
	for range 4 {
		folded := visible(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(visible(s)))))
		if folded == s {
			break
		}
		s = folded
	}
	return append(dst, s...)
}

func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Z, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, s)
}
