package proxy

import (
	"fmt"
	"strings"
)

// pointer is a JSON pointer (RFC 6901), split; a step "*" stands for every element of an array or member of an object.
type pointer []string

const maxPointers = 32 // of one rule; they are followed as bits

func parsePointer(text string) (pointer, error) {
	if text == "" {
		return pointer{}, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("a JSON pointer begins with '/', got %q", text)
	}
	steps := strings.Split(text[1:], "/")
	if len(steps) >= maxDepth {
		return nil, fmt.Errorf("a JSON pointer has at most %d steps", maxDepth-1)
	}
	for i, s := range steps {
		rest := strings.NewReplacer("~0", "", "~1", "").Replace(s)
		if strings.Contains(rest, "~") {
			return nil, fmt.Errorf("JSON pointer %q: '~' is written ~0", text)
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return steps, nil
}

// follower is a listener that finds the values at pointers.
type follower struct {
	pointers []pointer
	found    func(which int, text []byte) // text is nil for what is no string or number

	at    [maxDepth + 1]uint32 // which pointers lead here, for each open container
	index [maxDepth + 1]int    // of the next element, -1 in objects
	depth int
	next  uint32 // which pointers lead to the member whose name was heard
}

func newFollower(pointers []pointer, found func(int, []byte)) *follower {
	return &follower{pointers: pointers, found: found}
}

// here returns which pointers lead to the value that begins.
func (f *follower) here() uint32 {
	switch {
	case f.depth == 0:
		return 1<<len(f.pointers) - 1
	case f.index[f.depth] < 0:
		return f.next
	}
	i := f.index[f.depth]
	f.index[f.depth]++
	return f.walk(func(step string) bool { return step == "*" || isIndex(step, i) })
}

func (f *follower) walk(fits func(step string) bool) (leads uint32) {
	for i, p := range f.pointers {
		if f.at[f.depth]&(1<<i) != 0 && len(p) >= f.depth && fits(p[f.depth-1]) {
			leads |= 1 << i
		}
	}
	return leads
}

func (f *follower) tell(leads uint32, text []byte) {
	for i, p := range f.pointers {
		if leads&(1<<i) != 0 && len(p) == f.depth {
			f.found(i, text)
		}
	}
}

func (f *follower) open(array bool) {
	leads := f.here()
	f.tell(leads, nil)
	f.depth++
	f.at[f.depth] = leads
	if f.index[f.depth] = -1; array {
		f.index[f.depth] = 0
	}
}

func (f *follower) end() { f.depth-- }

func (f *follower) name(key []byte) {
	if f.at[f.depth] == 0 {
		f.next = 0
		return
	}
	f.next = f.walk(func(step string) bool { return step == "*" || step == string(key) })
}

func (f *follower) scalar(text []byte) { f.tell(f.here(), text) }

// isIndex reports whether a step of a pointer names the element i, without leading zeros.
func isIndex(step string, i int) bool {
	if len(step) == 0 || len(step) > 9 || len(step) > 1 && step[0] == '0' {
		return false
	}
	n := 0
	for _, c := range []byte(step) {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n == i
}
