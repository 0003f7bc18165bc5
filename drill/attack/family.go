package attack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/yaml"
)

// Family is a kind of attack, or of something that only looks like one. Its fields are those of a file.
type Family struct {
	Name    string   `yaml:"family" doc:"name: small letters, digits and -"`
	Text    string   `yaml:"text" doc:"one sentence on who does what"`
	Benign  bool     `yaml:"benign" doc:"true: it only looks like an attack, and an alarm about it is a false one"`
	Finds   []string `yaml:"finds" doc:"detectors that are expected to find it; for the reader, nothing is decided by it"`
	Start   Start    `yaml:"start"`
	Who     Who      `yaml:"who"`
	Rate    Rate     `yaml:"rate"`
	Persons Persons  `yaml:"persons"`
	Reasons Reasons  `yaml:"reasons"`
	From    From     `yaml:"from"`
	Rotate  Rotate   `yaml:"rotate"`
	Refused Refused  `yaml:"refused"`
	Work    *Work    `yaml:"work"`
}

// Start says when it begins and ends.
type Start struct {
	After Span  `yaml:"after" doc:"how long after the begin of what is looked at, 2d..6d; default at once"`
	Lasts Span  `yaml:"lasts" doc:"how long it goes on; default 10d"`
	Total Range `yaml:"total" doc:"persons after which it has what it wanted; default as many as there are"`
}

// Who says whose credentials are used.
type Who struct {
	Channel  Channel `yaml:"channel" doc:"desk (staff at the desk interface), feed (staff at a service of another maker), vsdm or epa (a practice), app (an insured person's account); default desk"`
	Role     string  `yaml:"role" doc:"of staff: case, call, benefit, manager, it, audit, or partner (a supplier's machine); default any of the first six"`
	Insurer  string  `yaml:"insurer" doc:"any (larger ones are likelier), largest, smallest, or an IK; default any"`
	Mules    Range   `yaml:"mules" doc:"credentials that work at the same time; default 1"`
	Spares   Range   `yaml:"spares" doc:"credentials beyond these, for rotation and for when one is refused; default 0"`
	Together bool    `yaml:"together" doc:"true: all credentials are of one insurer; default false"`
	Himself  bool    `yaml:"himself" doc:"true: the employee does it himself, so only while he is at work; drill eval knows when that is; default false"`
	Known    float64 `yaml:"identified" doc:"share of requests that get past the login, 0 to 1; default 1"`
}

// Rate says how fast each credential is used.
type Rate struct {
	Persons Range   `yaml:"persons" doc:"requests per credential and unit of time, 20..50; must"`
	Per     string  `yaml:"per" doc:"minute, hour or day; default day. A day has the hours below"`
	Hours   Hours   `yaml:"hours" doc:"office (07:30-16:30), evening (17:00-22:00), night (22:00-05:00), any, or 08:00-16:30; default office"`
	Days    string  `yaml:"days" doc:"working (Monday to Friday), weekend or every; default working"`
	Spacing string  `yaml:"spacing" doc:"random, even, or bursts; default random"`
	Burst   Range   `yaml:"burst" doc:"requests of one burst; default 10"`
	Gap     Span    `yaml:"gap" doc:"between the requests of a burst; default 4s"`
	Ramp    Span    `yaml:"ramp" doc:"how long it takes to reach the full rate; default 0s"`
	Work    Range   `yaml:"work" doc:"days at work before each pause; default without pauses"`
	Pause   Range   `yaml:"pause" doc:"days of each pause; default 0"`
	Jitter  float64 `yaml:"jitter" doc:"standard deviation of a day's logarithm, 0 to 2: how much days differ; default 0"`
	Action  string  `yaml:"action" doc:"read, search, write, delete, or an act of administration: grant, key-export; default read"`
}

// Persons says on whom.
type Persons struct {
	Choose  Choice  `yaml:"choose" doc:"random, sequential (by number), list, alphabet (down the lists of search results, in which canaries stand), surname (who is called like the credential's holder), vip, own (whom the holder works for anyway); default random"`
	List    []int   `yaml:"list" doc:"numbers of persons at the insurer, for choose: list; reached in turn"`
	Own     float64 `yaml:"own" doc:"share of requests on the holder's own persons in between, 0 to 1; default 0"`
	Missing float64 `yaml:"missing" doc:"share of requests on persons that do not exist; default 0"`
	Foreign float64 `yaml:"foreign" doc:"share of requests on persons of other insurers, of the app's on other persons; default 0"`
}

// Reasons says which reasons are given.
type Reasons struct {
	Give  string  `yaml:"give" doc:"none, one (the same for all), new (invented for each person), copied (of cases of others), job (a registered one); default none"`
	Share float64 `yaml:"share" doc:"share of requests that give one, 0 to 1; default 1"`
}

// From says where requests come from.
type From struct {
	Network string `yaml:"network" doc:"own (the holder's), foreign, or many; default own"`
	Key     string `yaml:"key" doc:"own (a stolen computer or session) or foreign; default own"`
	Token   string `yaml:"token" doc:"valid, shared (the holder's own token is used beside him), rebound, replayed or forged; default valid"`
	Unseen  bool   `yaml:"unseen" doc:"true: the events of it never reach the detectors; default false"`
}

// Rotate says what changes by itself.
type Rotate struct {
	After Range    `yaml:"after" doc:"persons after which something changes; default never"`
	What  []string `yaml:"what" doc:"credential (needs spares), network, key"`
}

// Refused says what happens when a cap, a held credential or a door refuses.
type Refused struct {
	Then  string `yaml:"then" doc:"stop, retry (the same person), rotate (the next credential, with another network and key), back-off (half the rate, for good); default retry"`
	Wait  Span   `yaml:"wait" doc:"before it goes on, unless the refusal says longer; default 1m"`
	Tries Range  `yaml:"tries" doc:"refusals in a row after which a credential is given up; default 5"`
}

// Work is a change of everybody's ordinary work, in place of requests of its own.
type Work struct {
	Roles       []string `yaml:"roles" doc:"whose, as in who.role; default all"`
	Insurers    Range    `yaml:"insurers" doc:"how many insurers, random ones; default all"`
	Times       Range    `yaml:"times" doc:"how many times as much is done; default 1"`
	Unexplained float64  `yaml:"unexplained" doc:"share of accesses that lose their reason, 0 to 1; default 0"`
	Checks      Range    `yaml:"checks" doc:"how many times as many cards practices check; default 1"`
	Release     bool     `yaml:"release" doc:"true: another version of the software reads each person in two requests"`
}

// Channel is a way to persons' data.
type Channel string

// The channels.
const (
	Desk Channel = "desk"
	Feed Channel = "feed"
	VSDM Channel = "vsdm"
	EPA  Channel = "epa"
	App  Channel = "app"
)

// Choice is a way to choose persons.
type Choice string

// The choices.
const (
	Random     Choice = "random"
	Sequential Choice = "sequential"
	List       Choice = "list"
	Alphabet   Choice = "alphabet"
	Surname    Choice = "surname"
	VIP        Choice = "vip"
	Own        Choice = "own"
)

// Partner is the role of a supplier's machine.
const Partner = "partner"

// Roles are the kinds of staff.
func Roles() []string { return []string{"case", "call", "benefit", "manager", "it", "audit"} }

// The limits of a file.
const (
	maxMules    = 1000
	maxBurst    = 100_000
	maxPerDay   = 200_000 // requests of one credential in a day
	maxListed   = 10_000
	maxFamilies = 1 << 20 // bytes
)

var familyName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,47}$`)

// Parse reads a file of one family and fills in the defaults. Errors name the line, as far as they have one.
func Parse(r io.Reader) (*Family, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFamilies+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the family: %w", err)
	}
	docs, err := yaml.Parse(data)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 || docs[0].Kind != yaml.Map {
		return nil, errors.New("a file holds one family: a mapping that begins with its name")
	}
	f := standard()
	if err := docs[0].Decode(f); err != nil {
		return nil, err
	}
	if c := f.check(); c != nil {
		return nil, yaml.Faultf(lineOf(docs[0], c.key), "%s %s", c.key, c.want)
	}
	return f, nil
}

// standard is a family with all defaults.
func standard() *Family {
	one := Range{1, 1}
	return &Family{
		Start:   Start{Lasts: Span{10 * day, 10 * day}},
		Who:     Who{Channel: Desk, Insurer: "any", Mules: one, Known: 1},
		Rate:    Rate{Per: "day", Hours: namedHours["office"], Days: "working", Spacing: "random", Burst: Range{10, 10}, Gap: Span{4e9, 4e9}, Action: "read"},
		Persons: Persons{Choose: Random},
		Reasons: Reasons{Give: "none", Share: 1},
		From:    From{Network: "own", Key: "own", Token: "valid"},
		Refused: Refused{Then: "retry", Wait: Span{60e9, 60e9}, Tries: Range{5, 5}},
	}
}

// fault is a value that cannot be.
type fault struct{ key, want string }

// check returns the first value that cannot be.
func (f *Family) check() *fault {
	for _, c := range slices.Concat(f.checkTexts(), f.checkNumbers()) {
		if !c.ok {
			return &fault{c.key, c.want}
		}
	}
	return nil
}

type check struct {
	ok        bool
	key, want string
}

// word checks that a value is one of a few.
func word[S ~string](key string, value S, known ...string) check {
	return check{slices.Contains(known, string(value)), key, "is one of " + strings.Join(known, ", ")}
}

func (f *Family) checkTexts() []check {
	list := []check{
		{familyName.MatchString(f.Name), "family", "is a name of small letters, digits and -, at most 48"},
		{len(f.Text) > 0 && len(f.Text) <= 500, "text", "is a sentence of at most 500 bytes"},
		word("who.channel", f.Who.Channel, string(Desk), string(Feed), string(VSDM), string(EPA), string(App)),
		word("rate.per", f.Rate.Per, "minute", "hour", "day"),
		word("rate.days", f.Rate.Days, "working", "weekend", "every"),
		word("rate.spacing", f.Rate.Spacing, "random", "even", "bursts"),
		word("rate.action", f.Rate.Action, "read", "search", "write", "delete", "grant", "key-export"),
		word("persons.choose", f.Persons.Choose, string(Random), string(Sequential), string(List), string(Alphabet), string(Surname), string(VIP), string(Own)),
		word("reasons.give", f.Reasons.Give, "none", "one", "new", "copied", "job"),
		word("from.network", f.From.Network, "own", "foreign", "many"),
		word("from.key", f.From.Key, "own", "foreign"),
		word("from.token", f.From.Token, "valid", "shared", "rebound", "replayed", "forged"),
		word("refused.then", f.Refused.Then, "stop", "retry", "rotate", "back-off"),
	}
	if r := f.Who.Role; r != "" {
		list = append(list, word("who.role", r, append(Roles(), Partner)...))
	}
	if i := f.Who.Insurer; i != "any" && i != "largest" && i != "smallest" {
		_, err := querschott.ParseIK(i)
		list = append(list, check{err == nil, "who.insurer", "is any, largest, smallest, or an IK"})
	}
	for _, w := range f.Rotate.What {
		list = append(list, word("rotate.what", w, "credential", "network", "key"))
	}
	if f.Work != nil {
		for _, r := range f.Work.Roles {
			list = append(list, word("work.roles", r, Roles()...))
		}
	}
	return list
}

// share checks that a value lies between 0 and 1.
func share(key string, v float64) check { return check{v >= 0 && v <= 1, key, "lies between 0 and 1"} }

func (f *Family) checkNumbers() []check {
	list := []check{
		share("who.identified", f.Who.Known), share("persons.own", f.Persons.Own), share("persons.missing", f.Persons.Missing),
		share("persons.foreign", f.Persons.Foreign), share("reasons.share", f.Reasons.Share),
		{f.Rate.Jitter >= 0 && f.Rate.Jitter <= 2, "rate.jitter", "lies between 0 and 2"},
		{f.Start.Lasts.From > 0, "start.lasts", "is above 0"},
		{f.Who.Mules.From >= 1 && f.Who.Mules.To <= maxMules, "who.mules", fmt.Sprintf("lies between 1 and %d", maxMules)},
		{f.Who.Spares.To <= maxMules, "who.spares", fmt.Sprintf("is at most %d", maxMules)},
		{f.Rate.Burst.From >= 1 && f.Rate.Burst.To <= maxBurst, "rate.burst", fmt.Sprintf("lies between 1 and %d", maxBurst)},
		{f.Rate.Pause.To == 0 || f.Rate.Work.From >= 1, "rate.pause", "needs rate.work, the days before each pause"},
		{f.Refused.Tries.From >= 1, "refused.tries", "is at least 1"},
		{len(f.Persons.List) <= maxListed, "persons.list", fmt.Sprintf("has at most %d numbers", maxListed)},
		{(f.Persons.Choose == List) == (len(f.Persons.List) > 0), "persons.list", "stands there with choose: list, and only then"},
		{(f.Rotate.After.To > 0) == (len(f.Rotate.What) > 0), "rotate.what", "stands there together with rotate.after"},
	}
	for _, n := range f.Persons.List {
		list = append(list, check{n >= 0, "persons.list", "has no numbers below 0"})
	}
	if f.Work != nil {
		return append(list, share("work.unexplained", f.Work.Unexplained),
			check{f.Benign, "work", "changes ordinary work, so the family is benign"},
			check{f.Rate.Persons.To == 0, "rate.persons", "says nothing beside work"},
			check{f.Work.Times.To <= 10 && f.Work.Checks.To <= 10, "work.times", "is at most 10, as is work.checks"})
	}
	return append(list,
		check{f.Rate.Persons.From > 0, "rate.persons", "is above 0"},
		check{f.Rate.Persons.To*f.perDay() <= maxPerDay, "rate.persons", fmt.Sprintf("makes at most %d requests a day", maxPerDay)})
}

// perDay is how many units of the rate an active day has.
func (f *Family) perDay() float64 {
	minutes := float64(f.Rate.Hours.To - f.Rate.Hours.From)
	switch f.Rate.Per {
	case "minute":
		return minutes
	case "hour":
		return minutes / 60
	default:
		return 1
	}
}

// Fastest is how many requests a minute a credential makes at most, on average over the hours of a day.
func (f *Family) Fastest() float64 {
	return f.Rate.Persons.To * f.perDay() / float64(f.Rate.Hours.To-f.Rate.Hours.From)
}

// lineOf finds the line of a key such as who.channel; that of the file's beginning if the key is not there.
func lineOf(n *yaml.Node, key string) int {
	line := n.Line
	for _, part := range strings.Split(key, ".") {
		i := slices.IndexFunc(n.Entries, func(e yaml.Entry) bool { return e.Key == part })
		if i < 0 {
			break
		}
		line, n = n.Entries[i].Line, n.Entries[i].Value
	}
	return max(line, 1)
}

// Key is one key of a file.
type Key struct{ Name, Doc string }

// Keys returns all keys of a file in their order.
func Keys() []Key {
	var list []Key
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, doc := prefix+f.Tag.Get("yaml"), f.Tag.Get("doc")
			if doc != "" {
				list = append(list, Key{name, doc})
				continue
			}
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			walk(name+".", inner)
		}
	}
	walk("", reflect.TypeFor[Family]())
	return list
}

// Builtin returns the families that come with the program, by name.
func Builtin() ([]*Family, error) {
	entries, err := builtin.ReadDir("families")
	if err != nil {
		return nil, fmt.Errorf("couldn't list the families: %w", err)
	}
	var list []*Family
	for _, e := range entries {
		data, err := builtin.ReadFile("families/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("couldn't read the family %s: %w", e.Name(), err)
		}
		f, err := Parse(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		list = append(list, f)
	}
	return list, nil
}
