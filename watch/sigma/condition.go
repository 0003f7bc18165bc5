package sigma

import (
	"strings"

	"github.com/querschott/querschott/internal/yaml"
	"github.com/querschott/querschott/watch"
)

// test decides about one event.
type test func(*watch.Event) bool

// all and either join tests.
func all(list []test) test {
	if len(list) == 1 {
		return list[0]
	}
	return func(e *watch.Event) bool {
		for _, t := range list {
			if !t(e) {
				return false
			}
		}
		return true
	}
}

func either(list []test) test {
	if len(list) == 1 {
		return list[0]
	}
	return func(e *watch.Event) bool {
		for _, t := range list {
			if t(e) {
				return true
			}
		}
		return false
	}
}

func not(t test) test { return func(e *watch.Event) bool { return !t(e) } }

// selection is a named part of a detection.
type selection struct {
	name string
	test test
}

const (
	maxCondition = 4096 // bytes
	maxBrackets  = 64   // that are open at once, "not" included
)

// condition reads an expression over selections. It is given the line for its errors.
func condition(text string, line int, names []selection) (test, error) {
	if len(text) > maxCondition {
		return nil, yaml.Faultf(line, "the condition is longer than %d bytes", maxCondition)
	}
	spaced := strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text)
	p := &conditionParser{words: strings.Fields(spaced), line: line, names: names}
	t, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.words) {
		return nil, yaml.Faultf(line, "condition: %q is not expected here", p.words[p.at])
	}
	return t, nil
}

type conditionParser struct {
	words []string
	at    int
	line  int
	names []selection
}

func (p *conditionParser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return ""
}

// chain reads operands between a word: "or" binds loosest, then "and", then "not".
func (p *conditionParser) chain(word string, depth int, operand func(int) (test, error), join func([]test) test) (test, error) {
	var list []test
	for {
		t, err := operand(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
		if p.peek() != word {
			return join(list), nil
		}
		p.at++
	}
}

func (p *conditionParser) or(depth int) (test, error) { return p.chain("or", depth, p.and, either) }

func (p *conditionParser) and(depth int) (test, error) { return p.chain("and", depth, p.unary, all) }

func (p *conditionParser) unary(depth int) (test, error) {
	if depth > maxBrackets {
		return nil, yaml.Faultf(p.line, "condition: nested too deeply")
	}
	word := p.peek()
	p.at++
	switch word {
	case "not":
		t, err := p.unary(depth + 1)
		if err != nil {
			return nil, err
		}
		return not(t), nil
	case "(":
		t, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ")" {
			return nil, yaml.Faultf(p.line, "condition: a bracket is not closed")
		}
		p.at++
		return t, nil
	case "":
		return nil, yaml.Faultf(p.line, "condition: something is missing at its end")
	case "1", "all":
		if p.peek() == "of" {
			return p.of(word)
		}
	}
	for _, s := range p.names {
		if s.name == word {
			return s.test, nil
		}
	}
	if strings.Contains(word, "|") {
		return nil, yaml.Faultf(p.line, "condition: aggregations behind | are not supported, write a correlation")
	}
	return nil, yaml.Faultf(p.line, "condition: there is no selection %q", word)
}

// of reads "1 of PATTERN", "all of PATTERN", "1 of them" and "all of them".
func (p *conditionParser) of(quantity string) (test, error) {
	p.at++
	word := p.peek()
	p.at++
	var list []test
	for _, s := range p.names {
		if word == "them" && !strings.HasPrefix(s.name, "_") || word != "them" && selects(word, s.name) {
			list = append(list, s.test)
		}
	}
	switch {
	case word == "":
		return nil, yaml.Faultf(p.line, "condition: something is missing behind \"of\"")
	case len(list) == 0:
		return nil, yaml.Faultf(p.line, "condition: no selection is meant by %q", word)
	case quantity == "all":
		return all(list), nil
	}
	return either(list), nil
}

// selects reports whether a name is one that a word with stars means.
func selects(word, name string) bool {
	var p pattern
	for _, r := range word {
		if r == '*' {
			r = anyRunes
		}
		p = append(p, r)
	}
	return p.compile(true)(name)
}
