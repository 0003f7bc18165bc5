package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/seal"
)

// yearWarning is how long before New Year it is said that the ledger has no secrets for the coming year.
const yearWarning = 31 * 24 * time.Hour

// years holds the secrets that are one for each insurer and year: of the ledger's logs, and of the pseudonyms in access
// events. They are made a year ahead, while the keyring's key file is at hand: at New Year every mail and every request needs
// them at the same moment, and the key file may be away.
type years struct {
	keyring  *seal.Keyring
	insurers []querschott.IK // "" is the platform

	mu    sync.Mutex // guards the fields below
	known map[string][]byte
	macs  map[insurerYear]*sync.Pool // of hash.Hash, with the secrets of access events that are known
	err   error                      // why the coming year's secrets could not be made; nil if they are there
}

type insurerYear struct {
	insurer querschott.IK
	year    int
}

func newYears(k *seal.Keyring, insurers []Insurer) *years {
	y := &years{keyring: k, insurers: []querschott.IK{""}, known: map[string][]byte{}, macs: map[insurerYear]*sync.Pool{}}
	for _, in := range insurers {
		y.insurers = append(y.insurers, in.IK)
	}
	return y
}

func ledgerSecret(in querschott.IK, year int) string { return yearSecret("ledger", in, year) }

func accessSecret(in querschott.IK, year int) string { return yearSecret("access", in, year) }

func yearSecret(what string, in querschott.IK, year int) string {
	if in == "" {
		in = "platform"
	}
	return what + "/" + string(in) + "/" + strconv.Itoa(year)
}

// missing names the secrets that may be needed from now on and are not at hand: those of this year, of the next, and, because
// a clock may be set back, of the year that has just ended.
func (y *years) missing(now time.Time) []string {
	now = now.UTC()
	y.mu.Lock()
	defer y.mu.Unlock()
	var names []string
	for year := now.Add(-24 * time.Hour).Year(); year <= now.Year()+1; year++ {
		for _, in := range y.insurers {
			for _, name := range []string{ledgerSecret(in, year), accessSecret(in, year)} {
				if y.known[name] == nil {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// provide makes the coming year's secrets if they are not at hand.
func (y *years) provide(now time.Time) error {
	names := y.missing(now)
	var secrets [][]byte
	var err error
	if len(names) > 0 {
		secrets, err = y.keyring.Secrets(32, names...)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.err = err
	for i := range secrets {
		y.known[names[i]] = secrets[i]
	}
	return err
}

// secret is the ledger's source. Only the secrets of years long gone, needed to show their entries, take the key file.
func (y *years) secret(in querschott.IK, year int) ([]byte, error) {
	return y.named(ledgerSecret(in, year))
}

func (y *years) named(name string) ([]byte, error) {
	y.mu.Lock()
	secret := y.known[name]
	y.mu.Unlock()
	if secret != nil {
		return secret, nil
	}
	return y.keyring.Secret(name, 32)
}

// pseudonym names a person in access events: the same within one insurer and quarter, so that detectors can count persons,
// and another one after that. It is not the ledger's pseudonym. "" for nobody, and if there is no secret.
func (y *years) pseudonym(in querschott.IK, p querschott.KVNR, now time.Time) string {
	if p == "" {
		return ""
	}
	now = now.UTC()
	macs, err := y.macsOf(in, now.Year())
	if err != nil {
		return "" // the ledger, which needs a secret of the same year, has refused the request by then
	}
	h := macs.Get().(hash.Hash)
	defer macs.Put(h)
	h.Reset()
	var room [64]byte
	b := append(room[:0], 'Q', '0'+byte((now.Month()+2)/3), 0)
	b = append(b, p.Reveal()...)
	_, _ = h.Write(b) // never fails
	return hex.EncodeToString(h.Sum(room[:0])[:16])
}

// macsOf returns what makes pseudonyms of an insurer's and year's access events.
func (y *years) macsOf(in querschott.IK, year int) (*sync.Pool, error) {
	key := insurerYear{in, year}
	y.mu.Lock()
	macs := y.macs[key]
	y.mu.Unlock()
	if macs != nil {
		return macs, nil
	}
	name := accessSecret(in, year)
	secret, err := y.named(name)
	if err != nil {
		return nil, err
	}
	macs = &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.known[name] != nil {
		y.macs[key] = macs
	}
	return macs, nil
}

// trouble says, in the last weeks of a year, that the next one is not provided for.
func (y *years) trouble(now time.Time) string {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.err == nil || now.UTC().Add(yearWarning).Year() == now.UTC().Year() {
		return ""
	}
	return "the ledger has no secrets for the coming year, and from New Year on no mail could be accepted: put the keyring's key file in its place"
}
