package console

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// standard is the language of somebody who asks for none that there is.
const standard = "de"

// catalogue returns the texts of every language.
func catalogue() map[string]map[string]string {
	return map[string]map[string]string{"de": german(), "en": english()}
}

func german() map[string]string {
	return joined(joined(joined(germanPages(), germanLogin()), germanIncidents()), germanFaults())
}

func english() map[string]string {
	return joined(joined(joined(englishPages(), englishLogin()), englishIncidents()), englishFaults())
}

func joined(all, more map[string]string) map[string]string {
	maps.Copy(all, more)
	return all
}

// locale writes texts, numbers and times in one language.
type locale struct {
	Tag   string
	texts map[string]string
	zone  *time.Location
	now   func() time.Time
}

// locale returns the language of a request: the operator's choice, else the browser's wish.
func (c *Console) locale(r *http.Request) *locale {
	if l := c.locales[c.read(r, languageCookie)]; l != nil {
		return l
	}
	return c.locales[preferred(r.Header.Get("Accept-Language"))]
}

// preferred reads an Accept-Language field (RFC 9110 section 12.5.4) and returns the best of our languages.
func preferred(field string) string {
	best, weight := standard, 0.0
	for part := range strings.SplitSeq(field[:min(len(field), 1000)], ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if primary != "de" && primary != "en" {
			continue
		}
		q := 1.0
		if s, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(s, 64); err != nil || math.IsNaN(q) || q > 1 {
				continue
			}
		}
		if q > weight {
			best, weight = primary, q
		}
	}
	return best
}

// T returns a text with its verbs filled in.
func (l *locale) T(key string, args ...any) string {
	text, ok := l.texts[key]
	if !ok {
		return "[" + key + "]"
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// N returns the form of a text that fits a number, which is its %s.
func (l *locale) N(key string, n int) string {
	form := ".many"
	if n == 1 {
		form = ".one"
	}
	return l.T(key+form, l.Num(n))
}

// Form returns the form of a text that fits a number, which stands elsewhere.
func (l *locale) Form(key string, n int) string {
	if n == 1 {
		return l.T(key + ".one")
	}
	return l.T(key + ".many")
}

// Num groups digits by thousands, from five digits on.
func (l *locale) Num(n int) string {
	digits := strconv.Itoa(n)
	if n < 10_000 && n > -10_000 {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteString(l.texts["number.group"])
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Count writes a counter.
func (l *locale) Count(n uint64) string { return l.Num(int(min(n, math.MaxInt))) }

// Hours writes a number of hours; more than a month is all the same.
func (l *locale) Hours(h float64) string {
	switch {
	case h > 31*24:
		return l.T("hours.plenty", l.Num(31*24))
	case h < 10:
		return l.T("hours", l.decimal(h, 1))
	default:
		return l.T("hours", l.Num(int(h)))
	}
}

// Millis writes how long something took.
func (l *locale) Millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 1000:
		return l.T("unit.s", l.decimal(ms/1000, 1))
	case ms >= 10:
		return l.T("unit.ms", l.decimal(ms, 0))
	case ms >= 0.1:
		return l.T("unit.ms", l.decimal(ms, 1))
	default:
		return "< " + l.T("unit.ms", l.decimal(0.1, 1))
	}
}

func (l *locale) decimal(f float64, places int) string {
	return strings.Replace(strconv.FormatFloat(f, 'f', places, 64), ".", l.texts["number.point"], 1)
}

// Age writes how long ago something was, in one unit.
func (l *locale) Age(t time.Time) string { return l.span(max(0, l.now().Sub(t)), time.Minute) }

// Span writes how long something lasts, in one unit.
func (l *locale) Span(d time.Duration) string { return l.span(d, 2*time.Minute) }

// span writes seconds below a bound, and then minutes, hours or days.
func (l *locale) span(d, minutes time.Duration) string {
	switch {
	case d < minutes:
		return l.T("unit.s", l.Num(int(d/time.Second)))
	case d < 2*time.Hour:
		return l.T("unit.min", l.Num(int(d/time.Minute)))
	case d < 48*time.Hour:
		return l.T("unit.h", l.Num(int(d/time.Hour)))
	default:
		return l.T("unit.d", l.Num(int(d/(24*time.Hour))))
	}
}

// Clock writes a time of this day as 14:02:11, any other with its day.
func (l *locale) Clock(t time.Time) string {
	t, now := t.In(l.zone), l.now().In(l.zone)
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format(l.texts["time.day"])
}

// Stamp writes a time with its day and zone.
func (l *locale) Stamp(t time.Time) string { return t.In(l.zone).Format(l.texts["time.stamp"]) }

// ISO writes a time for machines, in UTC.
func (l *locale) ISO(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// State names a door's state.
func (l *locale) State(s querschott.DoorState) string { return l.T("state." + s.String()) }

// Of names one of several values of the field; one that has no name is its own.
func (l *locale) Of(what string, value any) string {
	key := fmt.Sprintf("%s.%v", what, value)
	if text, ok := l.texts["incident."+key]; ok {
		return text
	}
	return fmt.Sprint(value)
}

// Service names a service in a few letters.
func (l *locale) Service(s querschott.Service) string { return l.T("service." + string(s)) }

// ServiceLong names a service in full.
func (l *locale) ServiceLong(s querschott.Service) string {
	return l.T("service." + string(s) + ".long")
}

// publicText is what a refusal says in English, for programs.
func publicText(err error) string {
	if e, ok := errors.AsType[*querschott.Error](err); ok {
		return e.Public
	}
	return ""
}
