package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/goccy/go-yaml"

	"github.com/querschott/querschott"
)

// Config is the whole configuration of a node: one YAML file. The doc tags are the manual: `querschott config` prints them.
// Relative paths are relative to the directory of the file.
type Config struct {
	Domain     string          `yaml:"domain" json:"domain" doc:"Name of this platform. It is part of the names of the ledgers and of the operators' keys; never change it."`
	Data       string          `yaml:"data" json:"data" doc:"Directory of everything that the node writes, except the copies of the journal."`
	Keyring    KeyringConfig   `yaml:"keyring" json:"keyring" doc:"The private keys of the compartments, encrypted in one age file inside the data directory."`
	Insurers   string          `yaml:"insurers" json:"insurers" doc:"File with the insurers; 'querschott insurer add' maintains it."`
	Operators  string          `yaml:"operators" json:"operators" doc:"File with the operators and their public keys; 'querschott operator add' maintains it. Whoever can write it can open doors."`
	Drill      bool            `yaml:"drill" json:"drill" doc:"Everything here is an exercise: status, pages, mail that leaves and every entry of the ledger say so. 'querschott drill run --data' attacks only such nodes and demonstrations."`
	BreakGlass string          `yaml:"break_glass" json:"break_glass" doc:"File with the public half of the key for emergencies; 'querschott break-glass init' makes it. If it does not exist there is no such key. Whoever can write it can shut doors, and open none."`
	Intake     IntakeConfig    `yaml:"intake" json:"intake" doc:"The journal of sealed arrivals."`
	Mail       MailConfig      `yaml:"mail" json:"mail" doc:"The SMTP entrance."`
	Outbox     OutboxConfig    `yaml:"outbox" json:"outbox" doc:"Mail that leaves: delivery status notifications."`
	Console    ConsoleConfig   `yaml:"console" json:"console" doc:"The operators' page."`
	HTTP       HTTPConfig      `yaml:"http" json:"http" doc:"The HTTP entrance."`
	VSDM       VSDMConfig      `yaml:"vsdm" json:"vsdm" doc:"The service of insured persons' master data, VSDM 2.0: the online check of the electronic health card."`
	Watch      WatchConfig     `yaml:"watch" json:"watch" doc:"The early warning: detectors beside the running node."`
	Doors      DoorsConfig     `yaml:"doors" json:"doors" doc:"Several gates: one node keeps the book of doors and the deny list, others follow it."`
	Status     StatusConfig    `yaml:"status" json:"status" doc:"The public status page. It stands on other people's hosts and outlives this platform."`
	Contain    ContainConfig   `yaml:"contain" json:"contain" doc:"Containment: what is done by itself when the early warning has raised an alarm."`
	Telemetry  TelemetryConfig `yaml:"telemetry" json:"telemetry" doc:"Metrics, traces and logs for those who watch the machine."`
	Log        LogConfig       `yaml:"log" json:"log" doc:"The node's own log, on standard error. It names no insured person and no secret."`

	file string // that it was read from
	dir  string // to which its paths are relative
}

// KeyringConfig says how the keyring is unlocked.
type KeyringConfig struct {
	Unlock string `yaml:"unlock" json:"unlock" doc:"'key-file': the key file is read each time a door opens and kept in no memory. 'passphrase': the key file is protected by a passphrase, which is asked for at the start."`
	Key    string `yaml:"key" json:"key" doc:"The key file. Keep it on another medium than the data directory: whoever has both can read everything."`
}

// IntakeConfig configures the journal.
type IntakeConfig struct {
	Copies  []string `yaml:"copies" json:"copies" doc:"Directories that each hold the whole journal. A sender gets its 250 when the message is synced in all of them. Put them on different disks or hosts."`
	Segment Size     `yaml:"segment" json:"segment" doc:"Size of a journal file. Files are filled with zeros before use, so this much room is taken at once in every copy."`
	MaxMail Size     `yaml:"max_mail" json:"max_mail" doc:"Largest mail taken; a larger one is answered with 552. KIM allows 15 MiB before encoding."`
}

// MailConfig configures the SMTP entrance.
type MailConfig struct {
	Hostname       string `yaml:"hostname" json:"hostname" doc:"Name in the greeting and in delivery status notifications."`
	StartTLS       string `yaml:"starttls" json:"starttls" doc:"Address for SMTP with STARTTLS, empty: none."`
	TLS            string `yaml:"tls" json:"tls" doc:"Address for SMTP with implicit TLS, empty: none."`
	Certificate    string `yaml:"certificate" json:"certificate" doc:"Certificate chain, PEM."`
	Key            string `yaml:"key" json:"key" doc:"Private key of the certificate, PEM."`
	Accounts       string `yaml:"accounts" json:"accounts" doc:"File with the mail accounts; 'querschott account add' maintains it. Passwords are generated, only their hashes are kept."`
	MaxConnections int    `yaml:"max_connections" json:"max_connections" doc:"Connections at the same time; one more is answered with 421."`
	StatusPage     string `yaml:"status_page" json:"status_page" doc:"Address of the public status page, told to senders when a door is closed."`
}

// OutboxConfig configures the mail that leaves.
type OutboxConfig struct {
	Relay        string   `yaml:"relay" json:"relay" doc:"host:port of the mail relay. Empty: everything goes into local mailboxes."`
	RelayTLS     string   `yaml:"relay_tls" json:"relay_tls" doc:"'starttls', 'tls' or 'none' (only to a relay on this host)."`
	RelayCA      string   `yaml:"relay_ca" json:"relay_ca" doc:"CA file that the relay's certificate must chain to; empty: the system's."`
	User         string   `yaml:"user" json:"user" doc:"Account at the relay, empty: none."`
	PasswordFile string   `yaml:"password_file" json:"password_file" doc:"File with the password of that account."`
	Local        []string `yaml:"local" json:"local" doc:"Domains whose mail is put into local mailboxes even when there is a relay."`
}

// ConsoleConfig configures the operators' page.
type ConsoleConfig struct {
	Listen      string     `yaml:"listen" json:"listen" doc:"Address of the page. Without a certificate only a loopback address is allowed."`
	Certificate string     `yaml:"certificate" json:"certificate" doc:"Certificate chain, PEM, empty: plain HTTP."`
	Key         string     `yaml:"key" json:"key" doc:"Private key of the certificate, PEM."`
	Hosts       []string   `yaml:"hosts" json:"hosts" doc:"Host names under which the page may be called, besides the address itself."`
	OIDC        OIDCConfig `yaml:"oidc" json:"oidc" doc:"An identity provider with whose word operators log in (OpenID Connect)."`
}

// LogConfig configures the log.
type LogConfig struct {
	Level  string `yaml:"level" json:"level" doc:"'debug', 'info', 'warn' or 'error'."`
	Format string `yaml:"format" json:"format" doc:"'text' or 'json'."`
}

// Insurer is one tenant.
type Insurer struct {
	IK        querschott.IK        `yaml:"ik" json:"ik"`
	Name      string               `yaml:"name" json:"name"`
	Insured   int                  `yaml:"insured,omitempty" json:"insured,omitempty"`
	Services  []querschott.Service `yaml:"services" json:"services"`
	Addresses []string             `yaml:"addresses" json:"addresses"`
	Further   []querschott.IK      `yaml:"further,omitempty" json:"further,omitempty"` // IKs that its insured may carry besides IK
	Keys      []string             `yaml:"keys,omitempty" json:"keys,omitempty"`       // C2SP vkeys with which it signs playbooks
}

// Operator is somebody who may move doors.
type Operator struct {
	Name querschott.Actor `yaml:"name" json:"name"`
	Keys []string         `yaml:"keys" json:"keys"` // C2SP vkeys
}

// Default returns the configuration that 'querschott init' writes.
func Default() Config {
	return Config{
		Domain: "querschott.example", Data: "data", Insurers: "insurers.yaml", Operators: "operators.yaml", BreakGlass: "break-glass.vkey",
		Keyring: KeyringConfig{Unlock: "key-file", Key: "unlock.key"},
		Intake:  IntakeConfig{Copies: []string{"journal-a", "journal-b"}, Segment: 64 << 20, MaxMail: 30 << 20},
		Mail: MailConfig{
			Hostname: "mail.querschott.example", StartTLS: "127.0.0.1:2525", TLS: "127.0.0.1:2465", Certificate: "tls/cert.pem",
			Key: "tls/key.pem", Accounts: "accounts.json", MaxConnections: 6000, StatusPage: "https://status.querschott.example/",
		},
		Outbox:  OutboxConfig{RelayTLS: "starttls", Local: []string{}},
		Console: ConsoleConfig{Listen: "127.0.0.1:8080", Hosts: []string{}, OIDC: defaultOIDC()},
		HTTP:    defaultHTTP(), VSDM: defaultVSDM(), Watch: defaultWatch(), Contain: defaultContain(), Doors: defaultDoors(), Status: StatusConfig{Publish: []string{}},
		Log: LogConfig{Level: "info", Format: "text"},
	}
}

// maxConfig is the largest configuration file that is read.
const maxConfig = 4 << 20

// LoadConfig reads a configuration. An unknown key is an error with its line; a missing one has its default.
func LoadConfig(file string) (*Config, error) { return loadConfig(file, filepath.Dir(file)) }

// loadConfig reads a configuration that is for another directory than the one it lies in.
func loadConfig(file, dir string) (_ *Config, err error) {
	cfg := Default()
	if err := loadYAML(file, &cfg); err != nil {
		return nil, err
	}
	if cfg.file, err = filepath.Abs(file); err != nil {
		return nil, err
	}
	if cfg.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	cfg.resolve()
	return &cfg, cfg.validate()
}

func loadYAML(file string, into any) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	if st.Size() > maxConfig {
		return fmt.Errorf("%s has more than %d bytes", file, maxConfig)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := dec.Decode(into); errors.Is(err, io.EOF) {
		return fmt.Errorf("couldn't read %s: there is nothing in it", file)
	} else if err != nil {
		return fmt.Errorf("couldn't read %s: %s", file, yaml.FormatError(err, false, true))
	}
	return nil
}

// resolve makes paths absolute.
func (c *Config) resolve() {
	paths := []*string{
		&c.Data, &c.Insurers, &c.Operators, &c.BreakGlass, &c.Keyring.Key, &c.Mail.Certificate, &c.Mail.Key, &c.Mail.Accounts,
		&c.Outbox.RelayCA, &c.Outbox.PasswordFile, &c.Console.Certificate, &c.Console.Key, &c.Console.OIDC.SecretFile,
	}
	paths = append(paths, c.HTTP.paths()...)
	paths = append(paths, c.Watch.paths()...)
	paths = append(paths, c.Doors.paths()...)
	paths = append(paths, &c.VSDM.Secrets, &c.Telemetry.CA)
	for i := range c.Intake.Copies {
		paths = append(paths, &c.Intake.Copies[i])
	}
	for i := range c.Status.Publish {
		paths = append(paths, &c.Status.Publish[i])
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(c.dir, *p)
		}
	}
}

// domainName is what can be part of the names of logs, keys and secrets.
var domainName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,80}$`)

// CheckDomain refuses what cannot be the name of a platform.
func CheckDomain(name string) error {
	if !domainName.MatchString(name) {
		return errors.New("must be a name of 1 to 80 letters, digits, '-' and '.'")
	}
	return nil
}

// validate checks what can be told from the text alone.
func (c *Config) validate() error {
	w := &wrongs{}
	if err := CheckDomain(c.Domain); err != nil {
		w.add("domain: %v", err)
	}
	if len(c.Intake.Copies) == 0 {
		w.add("intake.copies: at least one directory is needed")
	}
	seen := map[string]bool{}
	for _, dir := range c.Intake.Copies {
		if seen[dir] {
			w.add("intake.copies: %s stands there twice", dir)
		}
		seen[dir] = true
	}
	if c.Intake.Segment < 1<<20 || c.Intake.Segment > 1<<30 {
		w.add("intake.segment: must be between 1MiB and 1GiB")
	}
	if c.Intake.MaxMail < 1<<10 || c.Intake.MaxMail > c.Intake.Segment*3/4 {
		w.add("intake.max_mail: must be between 1KiB and three quarters of intake.segment")
	}
	w.oneOf("keyring.unlock", c.Keyring.Unlock, "key-file", "passphrase")
	w.oneOf("outbox.relay_tls", c.Outbox.RelayTLS, "starttls", "tls", "none")
	w.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	w.oneOf("log.format", c.Log.Format, "text", "json")
	if c.Mail.MaxConnections < 1 {
		w.add("mail.max_connections: must be at least 1")
	}
	if c.Console.Certificate == "" && c.Console.Listen != "" && !loopback(c.Console.Listen) {
		w.add("console.listen: %s is reachable from outside, so console.certificate and console.key are needed", c.Console.Listen)
	}
	c.Console.validateOIDC(w)
	c.HTTP.validate(w)
	c.VSDM.validate(w)
	c.Watch.validate(w, c.HTTP.Machines)
	c.Contain.validate(w)
	c.Doors.validate(w)
	c.Status.validate(w)
	c.Telemetry.validate(w)
	return w.err
}
