package leak

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"
	"strings"

	"github.com/querschott/querschott"
)

// Field is something of a person that changes, and dates a copy by its value.
type Field string

// The fields that are recognised by the names of their columns.
const (
	Number   Field = "kvnr"
	CardID   Field = "card_id"
	Given    Field = "given"
	Family   Field = "family"
	Born     Field = "birth_date"
	Password Field = "password_hash"
	Address  Field = "address_version"
)

// fields are the usual names of columns: small letters and digits alone.
var fields = map[string]Field{
	"kvnr": Number, "versichertennummer": Number, "krankenversichertennummer": Number, "insurednumber": Number, "insurantid": Number,
	"cardid": CardID, "kartenkennnummer": CardID, "kartennummer": CardID, "iccsn": CardID,
	"given": Given, "givenname": Given, "firstname": Given, "vorname": Given,
	"family": Family, "familyname": Family, "lastname": Family, "surname": Family, "name": Family, "nachname": Family,
	"birthdate": Born, "dateofbirth": Born, "dob": Born, "geburtsdatum": Born,
	"passwordhash": Password, "pwhash": Password, "hash": Password, "passwort": Password, "password": Password,
	"addressversion": Address, "adressversion": Address, "address": Address, "anschrift": Address,
}

// fieldOf returns the field of a column's name, "" for another.
func fieldOf(name string) Field {
	return fields[strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, name)]
}

// Limits of a run.
const (
	MaxPersons = 4_000_000
	maxColumns = 2000 // of a file
)

var (
	errMany = querschott.Refuse(querschott.CodeTooLarge, "more than %d persons: this is no dump that can be read at once", MaxPersons)
	errKept = errors.New("a dump has the numbers of persons, which live only as long as the run: keep its report")
)

// token stands for a person as long as the run lasts.
type token [16]byte

// Dump is what was read of one offer: of all its files together. It is for one goroutine.
type Dump struct {
	key     []byte // of the run
	mac     hash.Hash
	seed    maphash.Seed // of values that are compared
	history history
	dates   map[dated]struct{}
	strange uint64 // values that the history does not have of their person

	persons map[token]uint32 // to their place in numbers
	numbers []querschott.KVNR
	files   []File
}

// File is what one file holds. Its name is not kept: the digest says which it is.
type File struct {
	Format     string   `json:"format"`
	SHA256     string   `json:"sha256"`
	Bytes      uint64   `json:"bytes"`
	Rows       uint64   `json:"rows"`            // with a person's number, every repetition
	Unreadable uint64   `json:"unreadable"`      // rows without one, or beyond all bounds
	Wrong      uint64   `json:"wrong_digits"`    // numbers in a column of persons' numbers whose check digit is wrong
	Foreign    int      `json:"foreign_columns"` // that hold something of the form of a person's number, and aren't
	Persons    uint64   `json:"persons"`         // different ones of this file
	Fresh      uint64   `json:"persons_added"`   // and of them those that no file before had
	Fields     []string `json:"fields"`          // that were recognised
}

// NewDump begins a run under a key of its own.
func NewDump() *Dump {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Dump{
		key: key, mac: hmac.New(sha256.New, key), seed: maphash.MakeSeed(), persons: map[token]uint32{}, dates: map[dated]struct{}{},
		history: history{newest: map[token]uint32{}, of: map[token]uint16{}},
	}
}

// Numbers are the different persons, in the order in which they came. They are gone with [Dump.Forget].
func (d *Dump) Numbers() []querschott.KVNR { return d.numbers }

// Forget gives up the numbers and the key that tokens are made with.
func (d *Dump) Forget() {
	clear(d.numbers)
	clear(d.key)
	*d = Dump{files: d.files}
}

// MarshalJSON refuses.
func (d *Dump) MarshalJSON() ([]byte, error) { return nil, errKept }

// Read reads one file to its end.
func (d *Dump) Read(r io.Reader) error {
	sum := sha256.New()
	counted := &counter{r: io.TeeReader(r, sum)}
	in := bufio.NewReaderSize(counted, 1<<16)
	head, err := in.Peek(1 << 12)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("couldn't read the dump: %w", err)
	}
	f := formatOf(head)
	t := &taking{d: d, file: File{Format: string(f), Fields: []string{}}, names: map[string]int{}, seen: map[uint32]struct{}{}}
	if err := rows(in, f, t); err != nil {
		return fmt.Errorf("couldn't read the dump: %w", err)
	}
	if err := t.decide(); err != nil {
		return err
	}
	t.file.Bytes, t.file.SHA256 = counted.n, hex.EncodeToString(sum.Sum(nil))
	t.file.Persons = uint64(len(t.seen))
	for i := range t.columns {
		c := &t.columns[i]
		if c.shaped > 0 && !c.persons() {
			t.file.Foreign++
		}
		if f := string(c.field); f != "" && !slices.Contains(t.file.Fields, f) {
			t.file.Fields = append(t.file.Fields, f)
		}
	}
	slices.Sort(t.file.Fields)
	d.files = append(d.files, t.file)
	return nil
}

type counter struct {
	r io.Reader
	n uint64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += uint64(n)
	return n, err
}

func (d *Dump) token(number [10]byte) (t token) {
	var sum [sha256.Size]byte
	d.mac.Reset()
	_, _ = d.mac.Write(number[:])
	copy(t[:], d.mac.Sum(sum[:0]))
	return t
}

// shaped reports whether a cell has the form of a person's number: a letter and nine digits.
func shaped(cell []byte) (n [10]byte, ok bool) {
	cell = bytes.Trim(cell, " \t")
	if len(cell) != len(n) {
		return n, false
	}
	copy(n[:], cell)
	if n[0] >= 'a' && n[0] <= 'z' {
		n[0] -= 'a' - 'A'
	}
	for _, c := range n[1:] {
		if c < '0' || c > '9' {
			return n, false
		}
	}
	return n, n[0] >= 'A' && n[0] <= 'Z'
}

// valid reports whether its check digit is right.
func valid(n [10]byte) bool { return querschott.KVNRCheckDigit(string(n[:9])) == n[9] }
