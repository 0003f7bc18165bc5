package watch

// burst remembers when the last few things happened, to say whether so many of them lie within a span.
type burst struct {
	at   []int64 // seconds; a ring once it is full
	next int
}

// add notes one thing. When the last n lie within span seconds it returns the first of them, and begins anew.
func (b *burst) add(sec int64, n int, span int64) (first int64, full bool) {
	if len(b.at) < n {
		b.at = append(b.at, sec)
	} else {
		b.at[b.next] = sec
		b.next = (b.next + 1) % n
	}
	if len(b.at) < n {
		return 0, false
	}
	if first = b.at[b.next]; sec-first >= span {
		return 0, false
	}
	b.at, b.next = b.at[:0], 0
	return first, true
}
