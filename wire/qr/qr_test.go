package qr

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// read is a reader of undamaged codes: it finds the mask in the format, takes the codewords out, checks each block as a
// receiver does, by its syndromes, and returns the text.
func read(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, c *Code,
) string {
	t.Helper()
	at := func(x, y int) int {
		if c.Dark(x+Quiet, y+Quiet) {
			return 1
		}
		return 0
	}
	size := c.Side() - 2*Quiet
	version := (size - 17) / 4
	format := 0
	for i := range 8 {
		format |= at(size-1-i, 8) << i
	}
	for i := 8; i < 15; i++ {
		format |= at(8, size-15+i) << i
	}
	format ^= 0x5412
	if format>>13 != 0 {
		t.Fatalf("the level is not M: format %b", format)
	}
	mask := format >> 10 & 7
	fresh := &Code{version: version, size: size, dark: make([]bool, size*size), fixed: make([]bool, size*size)}
	fresh.patterns()
	var raw []byte
	n := 0
	for right := size - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		up := (size-1-right)/2%2 == 0
		if right < 6 {
			up = (size-2-right)/2%2 == 0
		}
		for i := range size {
			y := i
			if up {
				y = size - 1 - i
			}
			for x := right; x > right-2; x-- {
				if fresh.fixed[y*size+x] {
					continue
				}
				bit := at(x, y)
				if masks[mask](x, y) {
					bit ^= 1
				}
				if n%8 == 0 {
					raw = append(raw, 0)
				}
				raw[n/8] |= byte(bit << (7 - n%8))
				n++
			}
		}
	}
	return text(t, raw[:codewords(version)], version)
}

func text(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, raw []byte, version int,
) string {
	t.Helper()
	count, ec := blocks[version], correction[version]
	data := len(raw) - count*ec
	parts := make([][]byte, count)
	for i := range data {
		b := i % count
		if i >= data/count*count { // only the last blocks have one more
			b = count - data%count + i%count
		}
		parts[b] = append(parts[b], raw[i])
	}
	for i := range count * ec {
		parts[i%count] = append(parts[i%count], raw[data+i])
	}
	var all []byte
	for _, p := range parts {
		root := byte(1)
		for range ec {
			sum := byte(0)
			for _, v := range p {
				sum = multiply(sum, root) ^ v
			}
			if sum != 0 {
				t.Fatalf("version %d: a block's syndrome is %d", version, sum)
			}
			root = multiply(root, 2)
		}
		all = append(all, p[:len(p)-ec]...)
	}
	half := func(i int) int { return int(all[i/2]>>(4-4*(i%2))) & 15 }
	if half(0) != 4 {
		t.Fatalf("mode %d", half(0))
	}
	length, from := half(1)<<4|half(2), 3
	if version >= 10 {
		length, from = length<<8|half(3)<<4|half(4), 5
	}
	var b bytes.Buffer
	for i := range length {
		b.WriteByte(byte(half(from+2*i)<<4 | half(from+2*i+1)))
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := string(rapid.SliceOfN(rapid.Byte(), 0, 412).Draw(t, "text"))
		c, err := Encode(want)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(want), err)
		}
		if got := read(t, c); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestVersions(t *testing.T) {
	// ISO/IEC 18004:2015, table 7: bytes in level M.
	for i, most := range []int{14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412} {
		for _, c := range []struct{ length, version int }{{most, i + 1}, {most + 1, i + 2}} {
			code, err := Encode(strings.Repeat("x", c.length))
			if c.version == len(blocks) {
				if !errors.Is(err, ErrTooLong) {
					t.Errorf("%d bytes: %v", c.length, err)
				}
				continue
			}
			if err != nil || code.version != c.version || code.Side() != 17+4*c.version+2*Quiet {
				t.Errorf("%d bytes: %+v, %v; want version %d", c.length, code, err, c.version)
			}
		}
	}
}

// TestMultiply compares with the powers of two by table: 2^8 = 0x1d, 2^255 = 1 (annex A).
func TestMultiply(t *testing.T) {
	power, seen := byte(1), map[byte]bool{}
	for range 255 {
		seen[power] = true
		power = multiply(power, 2)
	}
	if power != 1 || len(seen) != 255 || multiply(0x80, 2) != 0x1d || multiply(0, 7) != 0 {
		t.Error("the field is another one")
	}
	if got := remainder([]byte{0x10, 0x20, 0x0c, 0x56, 0x61, 0x80, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11}, 10); !bytes.Equal(got,
		[]byte{0xa5, 0x24, 0xd4, 0xc1, 0xed, 0x36, 0xc7, 0x87, 0x2c, 0x55}) { // the example of annex I.2
		t.Errorf("remainder: %x", got)
	}
}

func TestFormat(t *testing.T) {
	if got := bch(5, 10, 0x537) ^ 0x5412; got != 0b100000011001110 { // the example of section 7.9.1: level M, mask 101
		t.Errorf("format: %015b", got)
	}
	if got := bch(7, 12, 0x1f25); got != 0b000111110010010100 { // the example of section 7.10
		t.Errorf("version: %018b", got)
	}
}

func TestPath(t *testing.T) {
	c, err := Encode("otpauth://totp/x")
	if err != nil {
		t.Fatal(err)
	}
	picture := `<svg xmlns="http://www.w3.org/2000/svg"><path d="` + c.Path() + `"/></svg>`
	if err := xml.Unmarshal([]byte(picture), new(struct{})); err != nil {
		t.Error(err)
	}
	area := 0
	for _, run := range strings.Split(c.Path(), "h")[1:] {
		width, _, _ := strings.Cut(run, "v")
		if !strings.HasPrefix(width, "-") {
			n := 0
			for _, d := range width {
				n = 10*n + int(d-'0')
			}
			area += n
		}
	}
	dark := 0
	for y := range c.Side() {
		for x := range c.Side() {
			if c.Dark(x, y) {
				dark++
			}
		}
	}
	if area != dark || dark == 0 {
		t.Errorf("the path covers %d modules, want %d", area, dark)
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("otpauth://totp/Querschott:anna?secret=JBSWY3DPEHPK3PXP")
	f.Fuzz(func(t *testing.T, want string) {
		c, err := Encode(want)
		if err != nil {
			if len(want) <= 412 {
				t.Fatal(err)
			}
			return
		}
		if got := read(t, c); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
