package contain

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/watch"
)

const (
	kasse  querschott.IK = "109500969"
	kasse2 querschott.IK = "108018007"
)

// pair is a key and its public half.
type pair struct {
	note.Signer
	Key
}

// keyring makes keys on demand.
type keyring map[string]pair

func (k keyring) key(t testing.TB, name string) []Key {
	t.Helper()
	secret, public, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := KeyOf(public)
	if err != nil {
		t.Fatal(err)
	}
	k[name] = pair{s, v}
	return []Key{v}
}

// trust knows the operator anna and the insurers kasse and kasse2.
func trust(t testing.TB) (Trust, keyring) {
	k := keyring{}
	anna, one, two := k.key(t, "anna"), k.key(t, "kasse"), k.key(t, "kasse2")
	k.key(t, "mallory")
	return Trust{Operators: map[querschott.Actor][]Key{"anna": anna}, Insurers: map[querschott.IK][]Key{kasse: one, kasse2: two}}, k
}

// shippedRaw is the file of a shipped playbook.
func shippedRaw(t testing.TB, name string) []byte {
	t.Helper()
	data, err := shipped.ReadFile("playbooks/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// altered is a shipped playbook with a change.
func altered(t testing.TB, name string, change func(top map[string]any)) []byte {
	t.Helper()
	var top map[string]any
	if err := json.Unmarshal(shippedRaw(t, name), &top); err != nil {
		t.Fatal(err)
	}
	change(top)
	data, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sign adds signatures: signee and the name of the key.
func (k keyring) sign(t testing.TB, data []byte, by ...[2]string) []byte {
	t.Helper()
	for _, b := range by {
		p, err := ParsePlaybook(data)
		if err != nil {
			t.Fatal(err)
		}
		if data, err = Sign(p, b[0], k[b[1]].Signer, k[b[1]].Key, begin, "jss--6f2c1f3e-6f0a-4c3e-9b0b-7d1f5a9e2c11"); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// stepOf returns a step of the workflow by its kind and name.
func stepOf(top map[string]any, kind, name string) map[string]any {
	for _, v := range top["workflow"].(map[string]any) {
		if s := v.(map[string]any); s["type"] == kind && (name == "" || s["name"] == name) {
			return s
		}
	}
	panic("no such step")
}

func setContent(s map[string]any, content string) {
	s["commands"].([]any)[0].(map[string]any)["content_b64"] = base64.StdEncoding.EncodeToString([]byte(content))
}

// world is what hands do things to: deny entries and doors, by the deed that put them there. It checks that nothing is done twice.
type world struct {
	mu      sync.Mutex
	inForce map[string]time.Time // until when
	done    map[string]int       // how often something changed
	told    []string
	fail    func(d *Deed) error
}

func newWorld() *world { return &world{inForce: map[string]time.Time{}, done: map[string]int{}} }

func (w *world) hands() Hands {
	return Hands{
		Do: func(_ context.Context, r *Run, d *Deed) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.fail != nil {
				if err := w.fail(d); err != nil {
					return "", err
				}
			}
			key := r.ID + d.Key
			if _, ok := w.inForce[key]; !ok {
				w.done[key]++
			}
			w.inForce[key] = d.Until
			return "epoch 1, all obey", nil
		},
		Undo: func(_ context.Context, r *Run, d *Deed, _ querschott.Actor) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.inForce, r.ID+d.Key)
			return "undone", nil
		},
		Tell: func(_ context.Context, r *Run, d *Deed) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, fmt.Sprintf("%s %s", d.State, d.Name))
			return nil
		},
	}
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.inForce)
}

// engineOn opens an engine; cried collects what somebody must look at.
func engineOn(t testing.TB, fs disk.FS, w *world, tr Trust, far Automatic, now func() time.Time) (*Engine, *[]string) {
	t.Helper()
	l, err := OpenLibrary(fs, "playbooks", tr)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	cried := &[]string{}
	e, err := OpenEngine(Config{
		FS: fs, Dir: "runs", Library: l, Hands: w.hands(), Automatic: far, Now: now,
		Alarm: func(what string, err error) {
			mu.Lock()
			defer mu.Unlock()
			*cried = append(*cried, fmt.Sprint(what, ": ", err))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, cried
}

// drain carries out what waits, in the caller's goroutine.
func (e *Engine) drain(ctx context.Context) {
	for _, r := range e.unfinished() {
		e.carryOut(ctx, r)
	}
}

func burst(actor string, ik querschott.IK) *watch.Alarm {
	return &watch.Alarm{
		Time: begin, Actor: querschott.Actor(actor), Credential: querschott.CredentialID("c:" + actor), Insurer: ik, Service: querschott.EPA,
		Detector: "D11", Cause: "mass-delete", Kind: watch.Exact, Severity: watch.Critical, Mode: watch.Live,
	}
}

func newDisk() *crashdisk.Disk { return crashdisk.New() }
