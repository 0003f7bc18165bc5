package node

import (
	"path/filepath"
	"slices"

	"github.com/querschott/querschott"
)

// WatchConfig configures the early warning beside the running node.
type WatchConfig struct {
	Policy   string       `yaml:"policy" json:"policy" doc:"File with the policy of the early warning (JSON): caps, registered jobs and maintenance, which detectors are off or live, the budget. Empty: facts about credentials and slow theft are live, everything else is in shadow mode."`
	Rules    []string     `yaml:"rules" json:"rules" doc:"Directories with rules in Sigma 2.1. A rule that cannot do what it says stops the start."`
	OwnRules bool         `yaml:"own_rules" json:"own_rules" doc:"Also run the rules in Sigma that come with the program."`
	Canaries string       `yaml:"canaries" json:"canaries" doc:"File with pseudonyms of canary persons as they stand in events, one a line, besides those that 'querschott canary' keeps. For services whose persons are not ours."`
	Prefix   string       `yaml:"canary_prefix" json:"canary_prefix" doc:"First letter and digits of the numbers of canary persons, agreed with the insurers as never to be issued, such as Z999."`
	Per      int          `yaml:"canary_per" json:"canary_per" doc:"There is one canary for so many insured persons, and at least two for every insurer."`
	Learn    Size         `yaml:"learn" json:"learn" doc:"How much of the newest of http.access_log, and of the record of each foreign source, is read at the start, so that everybody's habits are known again; 0: nothing. About 500 bytes an event; detectors look back 60 days."`
	Record   Size         `yaml:"record" json:"record" doc:"How much of the newest events of each foreign source is kept in the data directory, in five files of a fifth each, and read at the start like http.access_log; 0: nothing. About 500 bytes an event."`
	Alarms   Size         `yaml:"alarms" json:"alarms" doc:"Size at which the file of alarms in the data directory is renamed and a new one begun; three renamed ones are kept."`
	OCSF     bool         `yaml:"ocsf" json:"ocsf" doc:"Write alarms as OCSF detection findings too."`
	Feeds    []FeedConfig `yaml:"feeds" json:"feeds" doc:"Machines that may send access events of services that this platform does not carry, to /watch/v1/events of the HTTP entrance."`
}

// FeedConfig is a foreign source of access events.
type FeedConfig struct {
	Machine  string   `yaml:"machine" json:"machine" doc:"Name of the machine (http.machines) that sends them. Its events have the gate feed:NAME, whatever they say."`
	Insurers []string `yaml:"insurers" json:"insurers" doc:"IKs of the insurers that it may speak about."`
	Services []string `yaml:"services" json:"services" doc:"Services that it may speak about."`
	Rate     int      `yaml:"rate" json:"rate" doc:"Events a second, on average; ten seconds' worth at once. More are answered with 429. 0: 2000."`
	SameIDs  bool     `yaml:"same_ids" json:"same_ids" doc:"Its actors and credentials are the same as those of this platform. Otherwise its name stands before them, so that it cannot speak about anybody else's: whoever sends false events could have credentials held that are none of his business."`
}

func defaultWatch() WatchConfig {
	return WatchConfig{Rules: []string{}, Prefix: "Z999", Per: 10_000, Learn: 1 << 30, Record: 1 << 30, Alarms: 8 << 20, Feeds: []FeedConfig{}}
}

// paths are the fields that are paths.
func (c *WatchConfig) paths() []*string {
	list := []*string{&c.Policy, &c.Canaries}
	for i := range c.Rules {
		list = append(list, &c.Rules[i])
	}
	return list
}

const feedRate = 2000

func (c *WatchConfig) validate(w *wrongs, machines []Machine) {
	if c.Alarms < 64<<10 || c.Alarms > 1<<30 {
		w.add("watch.alarms: must be between 64KiB and 1GiB")
	}
	if c.Record != 0 && (c.Record < 4<<20 || c.Record > 1<<40) {
		w.add("watch.record: must be 0, or between 4MiB and 1TiB")
	}
	if c.Per < 100 {
		w.add("watch.canary_per: must be at least 100")
	}
	if !canaryPrefix.MatchString(c.Prefix) {
		w.add("watch.canary_prefix: must be a capital letter and at most 4 digits")
	}
	seen := map[string]bool{}
	for i := range c.Feeds {
		f := &c.Feeds[i]
		at := "watch.feeds (" + f.Machine + ")"
		if !slices.ContainsFunc(machines, func(m Machine) bool { return m.Name == f.Machine }) {
			w.add("%s: there is no machine of this name in http.machines", at)
		}
		if seen[f.Machine] {
			w.add("%s: stands there twice", at)
		}
		seen[f.Machine] = true
		if len(f.Insurers) == 0 || len(f.Services) == 0 {
			w.add("%s: it needs insurers and services that it may speak about", at)
		}
		for _, ik := range f.Insurers {
			if _, err := querschott.ParseIK(ik); err != nil {
				w.add("%s: %s is no IK", at, ik)
			}
		}
		for _, s := range f.Services {
			if !slices.Contains(querschott.Services(), querschott.Service(s)) {
				w.add("%s: there is no service %s", at, s)
			}
		}
		if f.Rate < 0 {
			w.add("%s: rate must not be below 0", at)
		}
	}
}

// recorded returns the files of access events, oldest first.
func (c *HTTPConfig) recorded() (list []string) {
	if c.AccessLog == "" || c.AccessLog == "-" || !filepath.IsAbs(c.AccessLog) {
		return nil
	}
	return renamed(c.AccessLog, c.AccessLogKeep)
}
