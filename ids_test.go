package querschott_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/querschott/querschott"
)

func TestParseIK(t *testing.T) {
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{"109500969", true},
		{"109500968", false}, // check digit
		{"10950096", false},
		{"1095009699", false},
		{"10950096x", false},
		{"", false},
		{"１０９５００９６９", false}, // digits, but not ours
	} {
		ik, err := querschott.ParseIK(tt.in)
		if (err == nil) != tt.ok {
			t.Errorf("ParseIK(%q) = %q, %v", tt.in, ik, err)
		}
		if tt.ok && querschott.IKFromNumber(ik.Number()) != ik {
			t.Errorf("%s does not survive as a number", ik)
		}
	}
}

func TestIKCheckDigitFindsEverySingleError(t *testing.T) {
	const good = "109500969"
	for i := 2; i < 8; i++ {
		for d := byte('0'); d <= '9'; d++ {
			bad := []byte(good)
			bad[i] = d
			if _, err := querschott.ParseIK(string(bad)); (err == nil) != (string(bad) == good) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
}

func TestParseKVNR(t *testing.T) {
	for in, ok := range map[string]bool{
		"A123456780": true, "M123456785": true, "Z123456783": true, "Z123456784": false, "A123456781": false, "a123456780": false, "Ä12345678": false, "A12345678": false, "1123456780": false, "": false,
	} {
		if _, err := querschott.ParseKVNR(in); (err == nil) != ok {
			t.Errorf("ParseKVNR(%q): %v", in, err)
		}
	}
}

// A number of a person must not come out of any way of printing.
func TestKVNRPrintsMasked(t *testing.T) {
	k, err := querschott.ParseKVNR("A123456780")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "person", k)
	printed := []string{log.String(), k.String(), fmt.Sprint(k), fmt.Errorf("wrapped: %w", errors.New(k.String())).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		printed = append(printed, fmt.Sprintf(verb, k), fmt.Sprintf(verb, struct{ P querschott.KVNR }{k}), fmt.Sprintf(verb, []querschott.KVNR{k}))
	}
	for _, text := range printed {
		for _, leak := range []string{"12345678", "3132333435", "413132333435"} {
			if strings.Contains(text, leak) {
				t.Errorf("printed as %q", text)
			}
		}
	}
	if k.Reveal() != "A123456780" {
		t.Error("Reveal does not reveal")
	}
}

func TestCompartmentText(t *testing.T) {
	for _, s := range querschott.Services() {
		c := querschott.Compartment{Insurer: "109500969", Service: s}
		got, err := querschott.ParseCompartment(c.String())
		if err != nil || got != c {
			t.Errorf("%s came back as %v, %v", c, got, err)
		}
		back, err := querschott.ServiceFromCode(s.Code())
		if err != nil || back != s {
			t.Errorf("service %s came back as %s, %v", s, back, err)
		}
	}
	for _, bad := range []string{"", "109500969", "109500969/", "109500969/fax", "/eau", "109500969/eau/x"} {
		if c, err := querschott.ParseCompartment(bad); err == nil {
			t.Errorf("ParseCompartment(%q) = %v", bad, c)
		}
	}
}

// The table of the door states, as it stands in the design.
func TestDoorStates(t *testing.T) {
	for _, tt := range []struct {
		state                  querschott.DoorState
		name                   string
		mail, delivers, serves bool
	}{
		{querschott.Open, "open", true, true, true},
		{querschott.Hold, "hold", true, false, false},
		{querschott.ReadOnly, "read-only", true, false, true},
		{querschott.Closed, "closed", false, false, false},
	} {
		s, err := querschott.ParseDoorState(tt.name)
		if err != nil || s != tt.state || s.String() != tt.name {
			t.Errorf("%s: got %v, %v", tt.name, s, err)
		}
		if s.AcceptsMail() != tt.mail || s.Delivers() != tt.delivers || s.ServesReads() != tt.serves {
			t.Errorf("%s: mail %v, delivers %v, serves %v", s, s.AcceptsMail(), s.Delivers(), s.ServesReads())
		}
	}
	var zero querschott.DoorState
	if zero != querschott.Hold {
		t.Error("a state that nobody has set must be hold")
	}
	if _, err := querschott.ParseDoorState("ajar"); err == nil {
		t.Error("ajar is no state")
	}
}

func TestCodeOf(t *testing.T) {
	err := fmt.Errorf("outer: %w", querschott.Refuse(querschott.CodeDoorClosed, "the door is closed"))
	if got := querschott.CodeOf(err); got != querschott.CodeDoorClosed {
		t.Errorf("got %s", got)
	}
	if got := querschott.CodeOf(errors.New("x")); got != querschott.CodeInternal {
		t.Errorf("got %s", got)
	}
}
