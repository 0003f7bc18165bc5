package cms

// The bounds of [Normalise] and [Parse].
const (
	MaxSize     = 32 << 20 // octets
	MaxDepth    = 32       // nested constructed elements
	MaxElements = 1 << 16  // a mail of 15 MiB in pieces of 1,000 octets has about 16,000
)

// element is one element of a BER encoding. Elements stand in an array in the order in which they begin, so that the
// elements between one and its end index are its descendants.
type element struct {
	ident       []byte // identifier octets as they came
	leaf        []byte // contents of a primitive element
	length      int    // of the contents in DER
	end         int    // index after the last descendant
	constructed bool   // in DER: strings in pieces become primitive
	str         bool   // a string in pieces: its contents are the leaves of its descendants
}

const (
	classMask      = 0xc0
	constructedBit = 0x20
	tagMask        = 0x1f

	tagBitString   = 3
	tagOctetString = 4
)

// Normalise returns a BER encoding as definite, minimal lengths with whole strings: what DER asks for, except for the
// order inside a SET OF and the contents of primitive elements, which stay as they are. Octets that already have that form
// come out equal. Exactly one element must be there, with nothing after it.
func Normalise(ber []byte) ([]byte, error) {
	if len(ber) > MaxSize {
		return nil, fail(Limit, "%d octets, at most %d are read", len(ber), MaxSize)
	}
	n := normaliser{src: ber}
	if err := n.element(0); err != nil {
		return nil, err
	}
	if n.pos != len(ber) {
		return nil, fail(Format, "octets after the end of the outermost element")
	}
	out := make([]byte, 0, n.elements[0].total())
	out, _ = n.write(out, 0)
	return out, nil
}

type normaliser struct {
	src      []byte
	pos      int
	elements []element
}

func (n *normaliser) element(depth int) error {
	if depth > MaxDepth {
		return fail(Limit, "more than %d levels", MaxDepth)
	}
	if len(n.elements) == MaxElements {
		return fail(Limit, "more than %d elements", MaxElements)
	}
	ident, err := n.identifier()
	if err != nil {
		return err
	}
	length, indefinite, err := n.length()
	if err != nil {
		return err
	}
	at := len(n.elements)
	e := element{ident: ident, constructed: ident[0]&constructedBit != 0}
	n.elements = append(n.elements, e)
	switch {
	case !e.constructed && indefinite:
		return fail(Format, "a primitive element of indefinite length")
	case !e.constructed:
		e.leaf, e.length = n.src[n.pos:n.pos+length], length
		n.pos += length
	default:
		if err := n.children(depth, length, indefinite); err != nil {
			return err
		}
		if err := n.join(&e, at); err != nil {
			return err
		}
	}
	e.end = len(n.elements)
	n.elements[at] = e
	return nil
}

// children reads the elements inside a constructed one: up to its length, or up to the two zero octets that end an
// indefinite length.
func (n *normaliser) children(depth, length int, indefinite bool) error {
	whole := n.src
	if !indefinite {
		n.src = whole[:n.pos+length]
	}
	defer func() { n.src = whole }()
	for {
		if n.pos == len(n.src) {
			if indefinite {
				return fail(Format, "an indefinite length without an end")
			}
			return nil
		}
		if indefinite && n.src[n.pos] == 0 {
			if n.pos+1 >= len(n.src) || n.src[n.pos+1] != 0 {
				return fail(Format, "a broken end of an indefinite length")
			}
			n.pos += 2
			return nil
		}
		if err := n.element(depth + 1); err != nil {
			return err
		}
	}
}

// join computes the length of the contents of a constructed element whose descendants are read, and decides whether it is
// a string in pieces.
func (n *normaliser) join(e *element, at int) error {
	tag := e.ident[0] & tagMask
	e.str = e.ident[0]&classMask == 0 && isString(tag)
	if e.str && tag == tagBitString {
		return fail(Unsupported, "a BIT STRING in pieces")
	}
	for i := at + 1; i < len(n.elements); i = n.elements[i].end {
		child := &n.elements[i]
		if !e.str {
			e.length += child.total()
			continue
		}
		// X.690 8.7.3.2, 8.23.6: pieces are octet strings, in one or more pieces themselves.
		if child.ident[0]&^constructedBit != tagOctetString {
			return fail(Format, "a string in pieces has a piece that is no octet string")
		}
		e.length += child.length
	}
	e.constructed = !e.str
	return nil
}

// isString reports whether a universal tag is of a string type, which BER allows to be sent in pieces.
func isString(tag byte) bool {
	switch tag {
	case tagBitString, tagOctetString, 7, 12, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30:
		return true
	default:
		return false
	}
}

func (n *normaliser) identifier() ([]byte, error) {
	start := n.pos
	if start >= len(n.src) {
		return nil, fail(Format, "the octets end before an element")
	}
	n.pos++
	if n.src[start]&tagMask == tagMask { // tags from 31 on
		for i := 0; ; i++ {
			if i == 4 || n.pos >= len(n.src) {
				return nil, fail(Format, "a tag that is too long")
			}
			c := n.src[n.pos]
			n.pos++
			if c&0x80 == 0 {
				break
			}
		}
	}
	if n.src[start] == 0 {
		return nil, fail(Format, "an end mark outside an indefinite length")
	}
	return n.src[start:n.pos], nil
}

func (n *normaliser) length() (length int, indefinite bool, err error) {
	if n.pos >= len(n.src) {
		return 0, false, fail(Format, "the octets end before a length")
	}
	first := n.src[n.pos]
	n.pos++
	switch {
	case first < 0x80:
		length = int(first)
	case first == 0x80:
		return 0, true, nil
	default:
		count := int(first & 0x7f)
		if count > len(n.src)-n.pos {
			return 0, false, fail(Format, "the octets end inside a length")
		}
		for _, c := range n.src[n.pos : n.pos+count] {
			if length = length<<8 | int(c); length > MaxSize {
				return 0, false, fail(Format, "a length beyond the end of the octets")
			}
		}
		n.pos += count
	}
	if length > len(n.src)-n.pos {
		return 0, false, fail(Format, "a length beyond the end of the octets")
	}
	return length, false, nil
}

// total is the length of the whole element in DER.
func (e *element) total() int {
	return len(e.ident) + len(appendLength(make([]byte, 0, 5), e.length)) + e.length
}

// write appends the element at index i and returns the index after its last descendant.
func (n *normaliser) write(out []byte, i int) ([]byte, int) {
	e := &n.elements[i]
	first := len(out)
	out = append(out, e.ident...)
	if !e.constructed {
		out[first] &^= constructedBit
	}
	out = appendLength(out, e.length)
	if e.str {
		for _, d := range n.elements[i+1 : e.end] {
			out = append(out, d.leaf...)
		}
		return out, e.end
	}
	out = append(out, e.leaf...)
	for next := i + 1; next < e.end; {
		out, next = n.write(out, next)
	}
	return out, e.end
}

func appendLength(out []byte, length int) []byte {
	switch {
	case length < 0x80:
		return append(out, byte(length))
	case length <= 0xff:
		return append(out, 0x81, byte(length))
	case length <= 0xffff:
		return append(out, 0x82, byte(length>>8), byte(length))
	case length <= 0xffffff:
		return append(out, 0x83, byte(length>>16), byte(length>>8), byte(length))
	default:
		return append(out, 0x84, byte(length>>24), byte(length>>16), byte(length>>8), byte(length))
	}
}
