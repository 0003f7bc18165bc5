package qr

func (c *Code) set(x, y int, dark bool) {
	c.dark[y*c.size+x], c.fixed[y*c.size+x] = dark, true
}

// patterns draws everything that is not data, with room for the format.
func (c *Code) patterns() {
	for i := range c.size {
		c.set(6, i, i%2 == 0)
		c.set(i, 6, i%2 == 0)
	}
	for _, at := range [][2]int{{3, 3}, {c.size - 4, 3}, {3, c.size - 4}} {
		c.finder(at[0], at[1])
	}
	where := c.alignments()
	for i, x := range where {
		for k, y := range where {
			last := len(where) - 1
			if i == 0 && k == 0 || i == 0 && k == last || i == last && k == 0 {
				continue // the finders are there
			}
			for dy := -2; dy <= 2; dy++ {
				for dx := -2; dx <= 2; dx++ {
					c.set(x+dx, y+dy, max(abs(dx), abs(dy)) != 1)
				}
			}
		}
	}
	c.format(0)
	if c.version >= 7 {
		information := bch(c.version, 12, 0x1f25)
		for i := range 18 {
			dark := information>>i&1 == 1
			c.set(c.size-11+i%3, i/3, dark)
			c.set(i/3, c.size-11+i%3, dark)
		}
	}
}

// finder draws one with its separator.
func (c *Code) finder(x, y int) {
	for dy := -4; dy <= 4; dy++ {
		for dx := -4; dx <= 4; dx++ {
			if x+dx < 0 || y+dy < 0 || x+dx >= c.size || y+dy >= c.size {
				continue
			}
			ring := max(abs(dx), abs(dy))
			c.set(x+dx, y+dy, ring != 2 && ring != 4)
		}
	}
}

// alignments returns the coordinates of the centres (annex E).
func (c *Code) alignments() []int {
	if c.version == 1 {
		return nil
	}
	n := c.version/7 + 2
	step := (c.version*8 + n*3 + 5) / (n*4 - 4) * 2
	where := make([]int, n)
	where[0] = 6
	for i := n - 1; i > 0; i-- {
		where[i] = c.size - 7 - (n-1-i)*step
	}
	return where
}

// bch appends the remainder of a division by a generator of the given degree.
func bch(v, degree, generator int) int {
	rest := v << degree
	for i := 20; i >= degree; i-- {
		if rest>>i&1 == 1 {
			rest ^= generator << (i - degree)
		}
	}
	return v<<degree | rest
}

// format writes level and mask, twice (section 7.9.1); the bits of level M are 00.
func (c *Code) format(mask int) {
	information := bch(mask, 10, 0x537) ^ 0x5412
	bit := func(i int) bool { return information>>i&1 == 1 }
	for i := range 6 {
		c.set(8, i, bit(i))
	}
	c.set(8, 7, bit(6))
	c.set(8, 8, bit(7))
	c.set(7, 8, bit(8))
	for i := 9; i < 15; i++ {
		c.set(14-i, 8, bit(i))
	}
	for i := range 8 {
		c.set(c.size-1-i, 8, bit(i))
	}
	for i := 8; i < 15; i++ {
		c.set(8, c.size-15+i, bit(i))
	}
	c.set(8, c.size-8, true)
}

// place writes the codewords in pairs of columns, from the right, upwards and downwards in turn (section 7.7.3).
func (c *Code) place(data []byte) {
	i := 0
	for right := c.size - 1; right >= 1; right -= 2 {
		if right == 6 {
			right = 5
		}
		for step := range c.size {
			y := step
			if (right+1)&2 == 0 {
				y = c.size - 1 - step
			}
			for _, x := range []int{right, right - 1} {
				if at := y*c.size + x; !c.fixed[at] && i < 8*len(data) {
					c.dark[at] = data[i/8]>>(7-i%8)&1 == 1
					i++
				}
			}
		}
	}
}

// masks say which modules are turned over (section 7.8.2, table 10).
var masks = [...]func(x, y int) bool{
	func(x, y int) bool { return (x+y)%2 == 0 },
	func(_, y int) bool { return y%2 == 0 },
	func(x, _ int) bool { return x%3 == 0 },
	func(x, y int) bool { return (x+y)%3 == 0 },
	func(x, y int) bool { return (x/3+y/2)%2 == 0 },
	func(x, y int) bool { return x*y%2+x*y%3 == 0 },
	func(x, y int) bool { return (x*y%2+x*y%3)%2 == 0 },
	func(x, y int) bool { return ((x+y)%2+x*y%3)%2 == 0 },
}

func (c *Code) mask(n int) {
	for at := range c.dark {
		if !c.fixed[at] && masks[n](at%c.size, at/c.size) {
			c.dark[at] = !c.dark[at]
		}
	}
}

// choose applies the mask with the lowest penalty.
func (c *Code) choose() {
	best, lowest := 0, -1
	for n := range masks {
		c.mask(n)
		c.format(n)
		if p := c.penalty(); lowest < 0 || p < lowest {
			best, lowest = n, p
		}
		c.mask(n) // back
	}
	c.mask(best)
	c.format(best)
}

// penalty judges how hard the picture is to read (section 7.8.3.1).
func (c *Code) penalty() int {
	sum, dark := 0, 0
	across := func(x, y int) bool { return c.dark[y*c.size+x] }
	down := func(x, y int) bool { return c.dark[x*c.size+y] }
	for y := range c.size {
		sum += c.line(y, across) + c.line(y, down)
		for x := range c.size {
			if across(x, y) {
				dark++
			}
			if x > 0 && y > 0 && across(x, y) == across(x-1, y) && across(x, y) == across(x, y-1) && across(x, y) == across(x-1, y-1) {
				sum += 3
			}
		}
	}
	return sum + 10*(abs(dark*20-len(c.dark)*10)/len(c.dark))
}

// line judges one row or column: runs of one colour, and what looks like a finder.
func (c *Code) line(y int, at func(x, y int) bool) int {
	sum, run := 0, 0
	const finder = 0b1011101
	seen := 0
	for x := range c.size {
		if x > 0 && at(x, y) == at(x-1, y) {
			run++
		} else {
			run = 1
		}
		switch {
		case run == 5:
			sum += 3
		case run > 5:
			sum++
		}
		seen = seen << 1 & 0x7ff
		if at(x, y) {
			seen |= 1
		}
		if x >= 10 && (seen == finder || seen == finder<<4) {
			sum += 40
		}
	}
	return sum
}

func abs(n int) int { return max(n, -n) }
