package qr

import (
	"errors"
	"strconv"
	"strings"
)

// Quiet is the width of the margin in modules (section 6.3.8).
const Quiet = 4

// ErrTooLong is returned for a text that fits into none of the versions.
var ErrTooLong = errors.New("the text is too long for a QR code of this package")

// Error correction of level M by version (section 7.5.1, table 9): codewords of each block, and blocks.
var (
	correction = [...]int{1: 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24}
	blocks     = [...]int{1: 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10}
)

// Code is one picture.
type Code struct {
	version int
	size    int
	dark    []bool // by row
	fixed   []bool // patterns, not data
}

// Encode draws a text.
func Encode(text string) (*Code, error) {
	for version := 1; version < len(blocks); version++ {
		room := codewords(version) - correction[version]*blocks[version]
		if len(text) > room-header(version) {
			continue
		}
		c := &Code{version: version, size: 17 + 4*version}
		c.dark, c.fixed = make([]bool, c.size*c.size), make([]bool, c.size*c.size)
		c.patterns()
		c.place(interleave(version, pack(text, version, room)))
		c.choose()
		return c, nil
	}
	return nil, ErrTooLong
}

// Side is the length of the picture's side in modules, margins included.
func (c *Code) Side() int { return c.size + 2*Quiet }

// Dark reports whether a module is dark; the margins are not.
func (c *Code) Dark(x, y int) bool {
	x, y = x-Quiet, y-Quiet
	return x >= 0 && y >= 0 && x < c.size && y < c.size && c.dark[y*c.size+x]
}

// Path returns the dark modules as the path of an SVG picture, one unit per module.
func (c *Code) Path() string {
	var b strings.Builder
	for y := range c.Side() {
		for x := 0; x < c.Side(); x++ {
			run := 0
			for c.Dark(x+run, y) {
				run++
			}
			if run > 0 {
				b.WriteString("M" + strconv.Itoa(x) + " " + strconv.Itoa(y) + "h" + strconv.Itoa(run) + "v1h-" + strconv.Itoa(run) + "z")
				x += run
			}
		}
	}
	return b.String()
}

// header is the length of mode and count in bytes, rounded up: the text's last half byte and the terminator share one.
func header(version int) int {
	if version < 10 {
		return 2
	}
	return 3
}

// codewords returns how many codewords a version holds.
func codewords(version int) int {
	modules := (16*version+128)*version + 64
	if version >= 2 {
		n := version/7 + 2
		modules -= (25*n-10)*n - 55
	}
	if version >= 7 {
		modules -= 36
	}
	return modules / 8
}

// pack makes the data codewords (section 7.4.5).
func pack(text string, version, room int) []byte {
	b := bits{}
	b.add(4, 4)
	b.add(len(text), 8*(header(version)-1))
	for i := range len(text) {
		b.add(int(text[i]), 8)
	}
	b.add(0, 4)
	data := b.bytes
	for pad := byte(0xec); len(data) < room; pad ^= 0xec ^ 0x11 {
		data = append(data, pad)
	}
	return data
}

type bits struct {
	bytes []byte
	n     int
}

func (b *bits) add(v, width int) {
	for i := width - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(v>>i&1) << (7 - b.n%8)
		b.n++
	}
}

// interleave adds error correction and orders the codewords (section 7.6).
func interleave(version int, data []byte) []byte {
	n, ec := blocks[version], correction[version]
	short := len(data) / n
	long := n - len(data)%n // from here on blocks have one more
	var parts, checks [][]byte
	for i := range n {
		length := short
		if i >= long {
			length++
		}
		parts = append(parts, data[:length])
		checks = append(checks, remainder(data[:length], ec))
		data = data[length:]
	}
	var all []byte
	for i := range short + 1 {
		for _, p := range parts {
			if i < len(p) {
				all = append(all, p[i])
			}
		}
	}
	for i := range ec {
		for _, c := range checks {
			all = append(all, c[i])
		}
	}
	return all
}

// remainder computes the Reed-Solomon codewords of a block over GF(256) with the polynomial 0x11d.
func remainder(data []byte, ec int) []byte {
	generator := make([]byte, ec) // without the leading one
	generator[ec-1] = 1
	for root := byte(1); ec > 0; ec-- {
		for i := range generator {
			generator[i] = multiply(generator[i], root)
			if i+1 < len(generator) {
				generator[i] ^= generator[i+1]
			}
		}
		root = multiply(root, 2)
	}
	rest := make([]byte, len(generator))
	for _, d := range data {
		factor := d ^ rest[0]
		rest = append(rest[1:], 0)
		for i := range rest {
			rest[i] ^= multiply(generator[i], factor)
		}
	}
	return rest
}

func multiply(x, y byte) byte {
	z := 0
	for i := 7; i >= 0; i-- {
		z = z<<1 ^ z>>7*0x11d
		if y>>i&1 == 1 {
			z ^= int(x)
		}
	}
	return byte(z)
}
