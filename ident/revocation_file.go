package ident

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// Bounds of the file and of a deny entry in bytes.
const (
	maxDenyFile   = 128 << 20
	maxDenyValue  = 256
	maxDenyText   = 512
	maxDenyActors = 8
)

// Shortest prefixes of networks that an entry may name: whoever wants to lock out more than that closes doors.
const (
	minPrefix4 = 8
	minPrefix6 = 16
)

// denyFile is the list as it lies on disk.
type denyFile struct {
	Epoch       uint64       `json:"epoch"`
	Revocations []Revocation `json:"revocations"`
}

// entryKey is what makes two entries the same. Value and subject are folded.
type entryKey struct {
	dimension      Dimension
	value, subject string
	insurer        querschott.IK
	run            string
}

func (v Revocation) key() entryKey {
	return entryKey{v.Dimension, string(v.folded()), string(fold(nil, v.Subject)), v.Insurer, v.Run}
}

func (v Revocation) clone() Revocation {
	v.Actors = slices.Clone(v.Actors)
	return v
}

func (v Revocation) equal(w Revocation) bool {
	return v.Dimension == w.Dimension && v.Value == w.Value && v.Subject == w.Subject && v.Insurer == w.Insurer &&
		v.Reason == w.Reason && v.From.Equal(w.From) && v.Planned == w.Planned && v.Until.Equal(w.Until) && v.Run == w.Run && slices.Equal(v.Actors, w.Actors)
}

// joined is v, lasting at least as long as old, decided by both entries' actors as far as there is room for them.
func (v Revocation) joined(old Revocation) Revocation {
	if old.From.Before(v.From) {
		v.From = old.From
	}
	v.Planned = v.Planned && old.Planned
	if old.Until.IsZero() || !v.Until.IsZero() && v.Until.Before(old.Until) {
		v.Until = old.Until
	}
	actors := slices.Clone(v.Actors)
	for _, a := range old.Actors {
		if !slices.Contains(actors, a) && len(actors) < maxDenyActors {
			actors = append(actors, a)
		}
	}
	v.Actors = actors
	return v
}

// checked returns the entry as it is kept. No error holds the value: it may be the number of a person.
func (v Revocation) checked() (Revocation, error) {
	value, err := v.checkedValue()
	if err != nil {
		return Revocation{}, err
	}
	v.Value = value
	v.From, v.Until = v.From.UTC().Round(0), v.Until.UTC().Round(0)
	switch {
	case v.Subject != "" && v.Dimension != ByPresenceBefore && v.Dimension != ByProofAge:
		return Revocation{}, fmt.Errorf("only %s and %s can be limited to a subject", ByPresenceBefore, ByProofAge)
	case v.Subject != "" && !denyWord(v.Subject):
		return Revocation{}, errors.New("the subject is empty, too long or not UTF-8")
	case v.From.IsZero():
		return Revocation{}, errors.New("the start is missing")
	case !v.Until.IsZero() && !v.From.Before(v.Until):
		return Revocation{}, errors.New("it ends before it begins")
	case v.Reason == "" || len(v.Reason) > maxDenyText || !utf8.ValidString(v.Reason):
		return Revocation{}, errors.New("the reason is missing, too long or not UTF-8")
	case len(v.Run) > maxDenyText || !utf8.ValidString(v.Run):
		return Revocation{}, errors.New("the playbook's run is too long or not UTF-8")
	case len(v.Actors) == 0 || len(v.Actors) > maxDenyActors:
		return Revocation{}, fmt.Errorf("one to %d actors decide", maxDenyActors)
	}
	for _, a := range v.Actors {
		if !denyWord(string(a)) {
			return Revocation{}, errors.New("an actor is empty, too long or not UTF-8")
		}
	}
	if v.Insurer != "" {
		if _, err := querschott.ParseIK(string(v.Insurer)); err != nil {
			return Revocation{}, fmt.Errorf("the insurer: %w", err)
		}
	}
	return v.clone(), nil
}

// checkedValue returns the value in the form in which it is kept.
func (v Revocation) checkedValue() (string, error) {
	if !denyWord(v.Value) {
		return "", errors.New("the value is empty, too long or not UTF-8")
	}
	switch v.Dimension {
	case BySubject, ByActor, ByCredential, ByClient, BySession, ByToken, ByKey, ByProduct, ByIssuer, ByPresenceIssuer:
		return v.Value, nil
	case ByVersion:
		product, version, _ := strings.Cut(v.Value, "/")
		if !denyWord(product) || !denyWord(version) {
			return "", errors.New("a version is written product/version")
		}
		return v.Value, nil
	case ByNetwork:
		p, err := parseNetwork(v.Value)
		if err != nil {
			return "", err
		}
		return p.String(), nil
	case ByPresenceBefore:
		t, err := time.Parse(time.RFC3339Nano, v.Value)
		if err != nil {
			return "", errors.New("a time is written as in RFC 3339, for example 2026-04-24T12:00:00Z")
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	case ByProofAge:
		d, err := time.ParseDuration(v.Value)
		if err != nil || d <= 0 {
			return "", errors.New("an age is a duration above zero, for example 36h")
		}
		return d.String(), nil
	case ByInsurer:
		ik, err := querschott.ParseIK(v.Value)
		return string(ik), err
	}
	return "", errors.New("the dimension is unknown")
}

// denyWord reports whether something visible is left of the text and it can be stored as JSON unchanged.
func denyWord(s string) bool {
	return s != "" && len(s) <= maxDenyValue && utf8.ValidString(s) && len(fold(nil, s)) != 0
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, errors.New("a network is an address or a prefix, for example 192.0.2.0/24")
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, errors.New("the network holds all of IPv4")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Addr().Is4() && p.Bits() < minPrefix4 || p.Addr().Is6() && p.Bits() < minPrefix6 {
		return netip.Prefix{}, fmt.Errorf("the network is too large: at least /%d or, for IPv6, /%d; to shut everybody out, close doors", minPrefix4, minPrefix6)
	}
	return p.Masked(), nil
}

// ordered lists entries by dimension, value, subject, insurer and run.
func ordered(table map[entryKey]Revocation) []Revocation {
	list := make([]Revocation, 0, len(table))
	for _, v := range table {
		list = append(list, v)
	}
	slices.SortFunc(list, func(v, w Revocation) int {
		return cmp.Or(cmp.Compare(v.Dimension, w.Dimension), cmp.Compare(v.Value, w.Value), cmp.Compare(v.Subject, w.Subject),
			cmp.Compare(v.Insurer, w.Insurer), cmp.Compare(v.Run, w.Run))
	})
	return list
}

func (r *Revocations) read() (denyFile, error) {
	data, err := disk.ReadFile(r.fs, r.path, maxDenyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return denyFile{}, nil
	}
	if err != nil {
		return denyFile{}, fmt.Errorf("couldn't read deny list %s: %w", r.path, err)
	}
	file, err := parseRevocations(data)
	if err != nil {
		return denyFile{}, fmt.Errorf("couldn't understand deny list %s: %w", r.path, err)
	}
	return file, nil
}

func (r *Revocations) write(file denyFile) error {
	data, err := json.MarshalIndent(file, "", "\t")
	if len(data) >= maxDenyFile {
		return querschott.Refuse(querschott.CodeNoRoom, "the list of deny entries is full (%d MiB)", maxDenyFile>>20)
	}
	if err == nil {
		err = disk.WriteFile(r.fs, r.path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("couldn't write deny list %s: %w", r.path, err)
	}
	return nil
}

// parseRevocations reads the file as a whole or not at all.
func parseRevocations(data []byte) (denyFile, error) {
	var file denyFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return denyFile{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return denyFile{}, errors.New("there is something after the end of the list")
	}
	if file.Revocations == nil {
		return denyFile{}, errors.New("the list itself is missing")
	}
	if len(file.Revocations) > maxRevocations {
		return denyFile{}, fmt.Errorf("there are more than %d entries", maxRevocations)
	}
	table := make(map[entryKey]Revocation, len(file.Revocations))
	for i, v := range file.Revocations {
		v, err := v.checked()
		if err != nil {
			return denyFile{}, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if _, twice := table[v.key()]; twice {
			return denyFile{}, fmt.Errorf("entry %d: it is listed twice", i+1)
		}
		table[v.key()] = v
	}
	file.Revocations = ordered(table)
	return file, nil
}
