package telemetry

import (
	"regexp"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ledger"
)

// Label names a dimension of a metric. Each has a closed vocabulary; no label can hold a person, a credential or a token.
type Label string

// The labels.
const (
	LabelInsurer Label = "insurer" // IK, "none"
	LabelService Label = "service" // of the compartment, "none"
	LabelState   Label = "state"   // of a door
	LabelOutcome Label = "outcome" // of an access, as the ledger says it
	LabelStatus  Label = "status"  // class of an answer's status: "2xx"
	LabelCause   Label = "cause"   // why something was refused, a word
	LabelLog     Label = "log"     // of the ledger: IK, "platform", "commits"
	LabelCopy    Label = "copy"    // of the journal: its place in the configuration, from 0
	LabelName    Label = "name"    // a word from the program or the configuration: of a subscriber, a route, a set of keys
	LabelSignal  Label = "signal"  // "traces", "logs"
	LabelVersion Label = "version" // of the program
	LabelCAPEC   Label = "capec"   // of an attack: "CAPEC-116"
)

const (
	other = "other" // what is in no vocabulary
	none  = "none"  // nothing to say
)

// A word has no capital letter and at most three digits in a row, so no number of a person or practice is one.
var (
	word     = regexp.MustCompile(`^[a-z]+(-?[0-9]{1,3})?([-_][a-z]+(-?[0-9]{1,3})?)*$`)
	number   = regexp.MustCompile(`^[0-9]{1,3}$`)
	capecID  = regexp.MustCompile(`^CAPEC-[0-9]{1,3}$`)
	revision = regexp.MustCompile(`^\(?[0-9A-Za-z][0-9A-Za-z.+()-]{0,79}$`)
)

const maxWord = 40

// holds reports whether a value is in the vocabulary of a label.
func (l Label) holds(value string) bool {
	if value == other || value == none {
		return true
	}
	switch l {
	case LabelInsurer:
		return isInsurer(value)
	case LabelService:
		return slices.Contains(querschott.Services(), querschott.Service(value))
	case LabelState:
		_, err := querschott.ParseDoorState(value)
		return err == nil
	case LabelOutcome:
		return slices.Contains(outcomes(), value)
	case LabelStatus:
		return len(value) == 3 && value[0] >= '1' && value[0] <= '5' && value[1:] == "xx"
	case LabelCause, LabelName:
		return len(value) <= maxWord && word.MatchString(value)
	case LabelLog:
		return value == "platform" || value == "commits" || isInsurer(value)
	case LabelCopy:
		return number.MatchString(value)
	case LabelSignal:
		return value == "traces" || value == "logs"
	case LabelCAPEC:
		return capecID.MatchString(value)
	case LabelVersion:
		return revision.MatchString(value)
	}
	return false
}

func isInsurer(value string) bool {
	_, err := querschott.ParseIK(value)
	return err == nil
}

// known reports whether the label has a vocabulary at all.
func (l Label) known() bool {
	switch l {
	case LabelInsurer, LabelService, LabelState, LabelOutcome, LabelStatus, LabelCause, LabelLog, LabelCopy, LabelName,
		LabelSignal, LabelVersion, LabelCAPEC:
		return true
	}
	return false
}

func outcomes() []string {
	list := []string{}
	for o := ledger.OutcomeUnknown; o <= ledger.OutcomePartial; o++ {
		list = append(list, o.String())
	}
	return list
}
