package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/wire/vsd"
)

// canaryPrefix is what the numbers of canary persons begin with.
var canaryPrefix = regexp.MustCompile(`^[A-Z][0-9]{0,4}$`)

const (
	canaryFile   = "canaries.json"
	canarySecret = "watch/canaries"
	maxCanaries  = 4 << 20
)

// canaries are invented persons among an insurer's insured. Nobody has a reason to look for them, so whoever reaches two of
// them walks through a list. Their numbers are derived from a secret in the keyring; the file says only how many there are
// and how often they were replaced.
type canaries struct {
	mu     sync.Mutex // guards what follows
	file   string
	prefix string
	secret []byte
	flocks map[querschott.IK]*flock
}

// flock is the canaries of one insurer: the numbers that their KVNR are derived from.
type flock struct {
	Kept    []uint32 `json:"kept"`
	Retired []uint32 `json:"retired"` // whoever touches one of them is noticed too
	Next    uint32   `json:"next"`
}

func openCanaries(file, prefix string, secret []byte) (*canaries, error) {
	c := &canaries{file: file, prefix: prefix, secret: secret, flocks: map[querschott.IK]*flock{}}
	data, err := disk.ReadFile(disk.OS{}, file, maxCanaries)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.flocks); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; without it 'querschott canary rotate' makes other canaries", file, err)
	}
	return c, nil
}

// number derives a KVNR with a valid check digit.
func (c *canaries) number(in querschott.IK, n uint32) querschott.KVNR {
	h := hmac.New(sha256.New, c.secret)
	_, _ = fmt.Fprintf(h, "%s/%d", in, n) // never fails
	digits := fmt.Sprintf("%08d", binary.BigEndian.Uint64(h.Sum(nil))%100_000_000)
	first := (c.prefix + digits)[:9]
	return querschott.KVNR(first + string(querschott.KVNRCheckDigit(first)))
}

// all returns the canaries of an insurer, those that are kept first.
func (f *flock) all() []uint32 { return append(slices.Clone(f.Kept), f.Retired...) }

func (c *canaries) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flocks {
		n += len(f.Kept)
	}
	return n
}

// each calls fn for every canary, those that are retired too if asked for.
func (c *canaries) each(retired bool, fn func(in querschott.IK, n uint32, number querschott.KVNR)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for in, f := range c.flocks {
		list := f.Kept
		if retired {
			list = f.all()
		}
		for _, n := range list {
			fn(in, n, c.number(in, n))
		}
	}
}

// rotate replaces a share of each insurer's canaries, the oldest ones, and makes those that are missing. It returns how
// many are new.
func (c *canaries) rotate(want map[querschott.IK]int, share float64) (fresh int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := map[querschott.KVNR]bool{}
	for in, f := range c.flocks {
		for _, n := range f.all() {
			used[c.number(in, n)] = true
		}
	}
	for in, many := range want {
		f := c.flocks[in]
		if f == nil {
			f = &flock{}
			c.flocks[in] = f
		}
		if out := min(int(share*float64(len(f.Kept))+0.999), len(f.Kept)); out > 0 {
			f.Retired, f.Kept = append(f.Retired, f.Kept[:out]...), slices.Clone(f.Kept[out:])
		}
		for len(f.Kept) < many {
			number := c.number(in, f.Next)
			if !used[number] {
				used[number] = true
				f.Kept = append(f.Kept, f.Next)
				fresh++
			}
			if f.Next++; f.Next > 1<<20 {
				return fresh, fmt.Errorf("%s has no numbers left that begin with %s", in, c.prefix)
			}
		}
	}
	data, err := json.Marshal(c.flocks)
	if err != nil {
		return fresh, err
	}
	return fresh, disk.WriteFile(disk.OS{}, c.file, data)
}

// Canary is a canary person as an operator may see it.
type Canary struct {
	Insurer querschott.IK `json:"insurer"`
	Number  string        `json:"number"`  // KVNR
	Retired bool          `json:"retired"` // replaced, and still watched
}

// Canaries lists the canary persons. That they were shown is in the ledger.
func (n *Node) Canaries(ctx context.Context) ([]Canary, error) {
	if err := n.recordNode(ctx, ledger.ActionRead, ledger.KindLedgerRead, ledger.DataConfiguration, ledger.Field{Name: "shown", Value: "canaries"}); err != nil {
		return nil, err
	}
	list := []Canary{}
	kept := map[querschott.KVNR]bool{}
	n.alarms.canaries.each(false, func(_ querschott.IK, _ uint32, k querschott.KVNR) { kept[k] = true })
	n.alarms.canaries.each(true, func(in querschott.IK, _ uint32, k querschott.KVNR) {
		list = append(list, Canary{Insurer: in, Number: k.Reveal(), Retired: !kept[k]})
	})
	slices.SortFunc(list, func(a, b Canary) int {
		return slices.Compare([]string{string(a.Insurer), a.Number}, []string{string(b.Insurer), b.Number})
	})
	return list, nil
}

// CanaryRotation says how many canaries are to be replaced.
type CanaryRotation struct {
	Share float64 `json:"share"` // of each insurer's, at least one; 0: only those that are missing are made
}

// RotatedCanaries says what a rotation did.
type RotatedCanaries struct {
	Fresh   int `json:"fresh"`
	Kept    int `json:"kept"`
	Stored  int `json:"stored"`  // master data written to the cells
	Waiting int `json:"waiting"` // not written: the door is not open, or the insurer has no service vsdm; it is tried again every ten minutes
}

// RotateCanaries makes canaries, and replaces a share of those that are there.
func (n *Node) RotateCanaries(ctx context.Context, r CanaryRotation) (done RotatedCanaries, err error) {
	if r.Share < 0 || r.Share > 1 {
		return done, querschott.Refuse(querschott.CodeInvalid, "the share lies between 0 and 1")
	}
	want := map[querschott.IK]int{}
	for _, in := range n.insurers {
		want[in.IK] = max(2, in.Insured/n.cfg.Watch.Per)
	}
	if err := n.recordNode(ctx, ledger.ActionUpdate, ledger.KindNodeChange, ledger.DataConfiguration, ledger.Field{Name: "rotated", Value: "canaries"}); err != nil {
		return done, err
	}
	if done.Fresh, err = n.alarms.canaries.rotate(want, r.Share); err != nil {
		return done, err
	}
	done.Kept = n.alarms.canaries.count()
	done.Stored, done.Waiting, err = n.storeCanaries(ctx)
	n.watchCanaries()
	return done, err
}

// storeCanaries puts the canaries' master data into the cells, as an insurer's delivery would, so that they can be read.
func (n *Node) storeCanaries(ctx context.Context) (stored, waiting int, err error) {
	n.alarms.storing.Lock()
	defer n.alarms.storing.Unlock()
	type canary struct {
		in querschott.IK
		n  uint32
		k  querschott.KVNR
	}
	var list []canary
	n.alarms.canaries.each(false, func(in querschott.IK, i uint32, k querschott.KVNR) { list = append(list, canary{in, i, k}) })
	told := map[querschott.IK]bool{}
	for _, c := range list {
		if n.alarms.stored[c.k] {
			continue
		}
		at := querschott.Compartment{Insurer: c.in, Service: querschott.VSDM}
		if o, ok := n.doors.Current(at); !ok || !o.To.ServesReads() {
			waiting++
			continue
		}
		if !told[c.in] {
			told[c.in] = true
			if err := n.recordImport(ctx, at, len(n.alarms.canaries.kept(c.in))); err != nil {
				return stored, waiting, err
			}
		}
		if _, err := n.PutInsured(at, n.invented(c.in, c.n, c.k)); err != nil {
			waiting++
			n.log.Debug("a canary's master data couldn't be stored", "insurer", string(c.in), "err", err)
			continue
		}
		n.alarms.stored[c.k] = true
		stored++
	}
	return stored, waiting, nil
}

func (c *canaries) kept(in querschott.IK) []uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flocks[in]; f != nil {
		return f.Kept
	}
	return nil
}

// watchCanaries tells the detectors the canaries' pseudonyms of this quarter, and of the next one when it is near.
func (n *Node) watchCanaries() { n.alarms.watch.SetCanaries(n.canaryPseudonyms()) }

func (n *Node) canaryPseudonyms() []string {
	list := slices.Clone(n.alarms.pseudonyms)
	now := n.opt.Now()
	if len(n.alarms.feeds) > 0 { // as foreign sources' persons are called here
		for _, p := range n.alarms.pseudonyms {
			for _, at := range []time.Time{now, now.Add(time.Hour)} {
				if blind := n.alarms.blind.person(p, at); blind != list[len(list)-1] {
					list = append(list, blind)
				}
			}
		}
	}
	n.alarms.canaries.each(true, func(in querschott.IK, _ uint32, k querschott.KVNR) {
		for _, at := range []time.Time{now, now.Add(time.Hour)} {
			if p := n.years.pseudonym(in, k, at); p != "" && (len(list) == 0 || list[len(list)-1] != p) {
				list = append(list, p)
			}
		}
	})
	return list
}

// Names of canaries are common ones: a canary that one recognises is none.
var (
	canaryGiven  = [...]string{"Anna", "Monika", "Ursula", "Petra", "Sabine", "Karin", "Lena", "Julia", "Peter", "Michael", "Thomas", "Andreas", "Wolfgang", "Klaus", "Lukas", "Jan"}
	canaryFamily = [...]string{"Schmidt", "Schneider", "Fischer", "Weber", "Wagner", "Becker", "Hoffmann", "Schulz", "Koch", "Richter", "Klein", "Wolf", "Neumann", "Braun", "Hofmann", "Lange"}
	canaryStreet = [...]string{"Hauptstraße", "Schulstraße", "Gartenstraße", "Bahnhofstraße", "Dorfstraße", "Bergstraße", "Birkenweg", "Lindenstraße"}
	canaryPlace  = [...][2]string{{"30159", "Hannover"}, {"44135", "Dortmund"}, {"04109", "Leipzig"}, {"28195", "Bremen"}, {"70173", "Stuttgart"}, {"90402", "Nürnberg"}, {"24103", "Kiel"}, {"99084", "Erfurt"}}
)

// invented is a canary's master data: the same at every call.
func (n *Node) invented(in querschott.IK, i uint32, number querschott.KVNR) *vsd.Record {
	h := hmac.New(sha256.New, n.alarms.canaries.secret)
	_, _ = fmt.Fprintf(h, "person %s/%d", in, i) // never fails
	d := h.Sum(nil)
	pick := func(at, of int) int { return int(d[at]) % of }
	id := func(at int) vsd.ID {
		var random [10]byte
		copy(random[:], d[at:])
		return vsd.NewID(canarySince, random)
	}
	g := pick(0, len(canaryGiven))
	given, family, place := canaryGiven[g], canaryFamily[pick(1, len(canaryFamily))], canaryPlace[pick(2, len(canaryPlace))]
	street, house := canaryStreet[pick(3, len(canaryStreet))], strconv.Itoa(1+pick(4, 90))
	born := time.Date(1945+pick(5, 60), time.Month(1+pick(6, 12)), 1+pick(7, 28), 0, 0, 0, 0, time.UTC)
	germany := vsd.Country{Text: "Deutschland", Code: "DE", DEUEV: "D"}
	gender := vsd.Female
	if g >= len(canaryGiven)/2 {
		gender = vsd.Male
	}
	name := ""
	for _, insurer := range n.insurers {
		if insurer.IK == in {
			name = insurer.Name
		}
	}
	return &vsd.Record{
		Updated: vsd.InstantOf(canarySince),
		Patient: vsd.Patient{
			ID: id(8), Number: number, Gender: gender, Born: vsd.DateOf(born),
			Name: vsd.Name{Text: given + " " + family, Family: family, Own: family, Given: given},
			Addresses: []vsd.Address{{
				Kind: vsd.Physical, City: place[1], PostalCode: place[0], Country: germany,
				Lines: []vsd.Line{{Text: street + " " + house, Street: street, Number: house}},
			}},
		},
		Coverage: vsd.Coverage{
			ID: id(16), Type: "gesetzliche Krankenversicherung", Period: vsd.Period{Start: vsd.DateOf(born.AddDate(20, 0, 0))},
			GKV: &vsd.GKV{WOP: vsd.Coded{Code: "17", Display: "Niedersachsen"}, Status: vsd.Coded{Code: "1", Display: "Mitglied"}},
		},
		Payors: []vsd.Payor{{ID: id(20), IK: in, Name: name, Addresses: []vsd.Address{{Country: germany}}}},
	}
}

// canarySince is when a canary's master data last changed, as far as they say.
var canarySince = time.Date(2026, 7, 1, 6, 0, 0, 0, time.UTC)

func (n *Node) controlCanaryRotate(r *http.Request) (any, error) {
	d, err := decode[CanaryRotation](r)
	if err != nil {
		return nil, err
	}
	return n.RotateCanaries(r.Context(), d)
}

// Canaries asks the running node for its canary persons.
func (c *Client) Canaries(ctx context.Context) ([]Canary, error) {
	return post[[]Canary](ctx, c, "/v1/canaries", struct{}{})
}

// RotateCanaries makes the running node make and replace canary persons.
func (c *Client) RotateCanaries(ctx context.Context, r CanaryRotation) (RotatedCanaries, error) {
	return post[RotatedCanaries](ctx, c, "/v1/canaries/rotate", r)
}
