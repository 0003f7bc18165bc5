package watch

import (
	"math"
	"math/bits"
	"slices"
)

// exactly is up to how many values a set is exact. What the rules compare is smaller; above it an error of 3.3 % does not matter.
const exactly = 512

// distinct counts different values: exactly while they are few, then with a HyperLogLog of 2^10 registers (Flajolet et al.
// 2007; standard error 1.04/sqrt(1024) = 3.3 %). It is for detectors; how many persons were reached in an incident is
// another question, with exact answers. The values are hashes; 0 and 1 are the same.
type distinct struct {
	few  []uint64 // a table with open addressing; 0 is a free place
	many *[1024]uint8
	n    int // while many is nil: exact, else the last estimate
	dirt int // register changes since the estimate
}

// add adds a value and reports whether it is new. In a large set a new value may look old, never the other way round for
// the same value twice in a row.
func (d *distinct) add(v uint64) bool {
	if d.many != nil {
		return d.register(v)
	}
	v = max(v, 1)
	if len(d.few) == 0 {
		d.few = make([]uint64, 4)
	}
	i, known := place(d.few, v)
	if known {
		return false
	}
	d.few[i] = v
	if d.n++; d.n > exactly {
		d.grow()
	} else if 4*d.n > 3*len(d.few) {
		d.widen()
	}
	return true
}

// place returns where a value stands, or the free place where it may be put.
func place(table []uint64, v uint64) (i int, known bool) {
	mask := len(table) - 1
	for i = int(v) & mask; table[i] != 0; i = (i + 1) & mask {
		if table[i] == v {
			return i, true
		}
	}
	return i, false
}

// widen makes twice as much room.
func (d *distinct) widen() {
	old := d.few
	d.few = make([]uint64, 2*len(old))
	for _, v := range old {
		if v != 0 {
			i, _ := place(d.few, v)
			d.few[i] = v
		}
	}
}

func (d *distinct) grow() {
	d.many = new([1024]uint8)
	for _, v := range d.few {
		if v != 0 {
			d.register(v)
		}
	}
	d.few, d.n = nil, d.estimate()
}

func (d *distinct) register(v uint64) bool {
	i := v & 1023
	rank := uint8(bits.LeadingZeros64(v|1023)) + 1
	if d.many[i] >= rank {
		return false
	}
	d.many[i] = rank
	d.dirt++
	return true
}

// count returns how many different values there are.
func (d *distinct) count() int {
	if d.dirt > 0 && d.many != nil {
		d.n = max(d.n, d.estimate())
		d.dirt = 0
	}
	return d.n
}

func (d *distinct) estimate() int {
	const m = 1024
	sum, zero := 0.0, 0
	for _, r := range d.many {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zero++
		}
	}
	est := 0.7213 / (1 + 1.079/m) * m * m / sum
	if est <= 2.5*m && zero > 0 {
		est = m * math.Log(float64(m)/float64(zero)) // few values: count empty registers
	}
	return int(math.Round(est))
}

// merge adds all values of another set.
func (d *distinct) merge(o *distinct) {
	if o.many == nil {
		for _, v := range o.few {
			if v != 0 {
				d.add(v)
			}
		}
		return
	}
	if d.many == nil {
		d.grow()
	}
	for i, r := range o.many {
		d.many[i] = max(d.many[i], r)
	}
	d.dirt++
}

// reset empties the set and keeps its memory, unless it was large.
func (d *distinct) reset() {
	if len(d.few) > 256 {
		d.few = nil
	}
	if d.n > 0 {
		clear(d.few)
	}
	d.many, d.n, d.dirt = nil, 0, 0
}

// quantile returns the value below which a share q of the values lies; it sorts them. 0 for none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
