package drill

import (
	"math/rand/v2"
	"time"
)

// The shares of what is sent; the rest are sick notes.
const (
	shareAgain  = 0.005 // sent before, and sent once more
	shareStorno = 0.02
	shareLetter = 0.08
)

const (
	visit   = 25 // mails of one practice before it is another one's turn
	recalls = 64 // accepted sick notes that a mixture remembers
)

// mixture decides what is sent next, and by whom. It belongs to one goroutine.
type mixture struct {
	w      *World
	rng    *rand.Rand
	turn   *Practice
	left   int      // mails until the next practice's turn
	recent []recipe // accepted sick notes, none of them cancelled
	at     int      // where the next one goes
}

// next returns an ordinary mail.
func (m *mixture) next(now time.Time) job {
	if m.left--; m.left < 0 {
		m.turn, m.left = m.w.practices[m.rng.IntN(len(m.w.practices))], visit-1
	}
	x := m.rng.Float64()
	switch {
	case x < shareAgain && len(m.recent) > 0:
		return job{recipe: m.again(), again: true}
	case x >= shareAgain && x < shareAgain+shareStorno && len(m.recent) > 0:
		return job{recipe: m.storno(now)}
	}
	who := m.about(m.w.pick(m.rng.IntN(m.w.Insured())))
	if x >= shareAgain+shareStorno && x < shareAgain+shareStorno+shareLetter {
		return job{recipe: m.turn.recipe(letterMail, who, now)}
	}
	return job{recipe: m.turn.recipe(noteMail, who, now)}
}

// flood returns a sick note for one insurer.
func (m *mixture) flood(in *Insurer, now time.Time) job {
	if m.turn == nil {
		m.turn = m.w.practices[m.rng.IntN(len(m.w.practices))]
	}
	return job{recipe: m.turn.recipe(noteMail, m.about(in), now)}
}

func (m *mixture) about(in *Insurer) Person { return m.w.Person(in.first + m.rng.IntN(in.persons)) }

// again repeats an accepted mail: the very same one, or its document in another mail.
func (m *mixture) again() recipe {
	k := m.rng.IntN(len(m.recent))
	if m.rng.IntN(2) == 0 {
		m.recent[k].again++
	}
	return m.recent[k]
}

// storno cancels an accepted sick note, each only once.
func (m *mixture) storno(now time.Time) recipe {
	k, last := m.rng.IntN(len(m.recent)), len(m.recent)-1
	note := m.recent[k]
	m.recent[k] = m.recent[last]
	m.recent = m.recent[:last]
	p := m.w.practices[note.practice]
	r := p.recipe(stornoMail, m.w.Person(int(note.person)), now)
	r.cancels = p.document(note)
	return r
}

// accepted remembers a sick note that got its 250.
func (m *mixture) accepted(r recipe) {
	if r.kind != noteMail || r.again > 0 {
		return
	}
	if len(m.recent) < recalls {
		m.recent = append(m.recent, r)
		return
	}
	m.recent[m.at%recalls] = r
	m.at++
}
