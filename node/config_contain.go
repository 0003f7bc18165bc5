package node

import (
	"time"

	"github.com/querschott/querschott/contain"
)

// ContainConfig configures what is done by itself.
type ContainConfig struct {
	Automatic   string   `yaml:"automatic" json:"automatic" doc:"How far the platform goes by itself: 'off' (nothing, everything is asked for), 'credentials' (it holds credentials), 'doors' (also the doors of insurers that have signed the playbook). Only alarms of live detectors lead to anything."`
	Statistical Duration `yaml:"statistical" json:"statistical" doc:"How long a suspicion holds a credential at most."`
	Exact       Duration `yaml:"exact" json:"exact" doc:"How long a fact holds one at most."`
	Door        Duration `yaml:"door" json:"door" doc:"How long a door stays moved at most, before opening it is proposed to two operators."`
}

func defaultContain() ContainConfig {
	return ContainConfig{
		Automatic: string(contain.Credentials), Statistical: Duration(4 * time.Hour), Exact: Duration(24 * time.Hour), Door: Duration(30 * time.Minute),
	}
}

func (c *ContainConfig) judge() contain.JudgeConfig {
	return contain.JudgeConfig{Statistical: time.Duration(c.Statistical), Exact: time.Duration(c.Exact), Door: time.Duration(c.Door)}
}

func (c *ContainConfig) validate(w *wrongs) {
	w.oneOf("contain.automatic", c.Automatic, string(contain.Off), string(contain.Credentials), string(contain.Doors))
	for name, d := range map[string]Duration{"statistical": c.Statistical, "exact": c.Exact, "door": c.Door} {
		if d < Duration(time.Minute) || d > Duration(7*24*time.Hour) {
			w.add("contain.%s: must be between 1m and 168h", name)
		}
	}
}
