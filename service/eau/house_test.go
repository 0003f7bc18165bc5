package eau

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell"
	"github.com/querschott/querschott/cell/celltest"
	"github.com/querschott/querschott/intake"
	"github.com/querschott/querschott/internal/disk/crashdisk"
	"github.com/querschott/querschott/seal"
	"github.com/querschott/querschott/sicknote"
	"github.com/querschott/querschott/wire/cms"
	"github.com/querschott/querschott/wire/eau"
	"github.com/querschott/querschott/wire/kim"
)

var (
	here   = querschott.Compartment{Insurer: "109500969", Service: querschott.EAU}
	issued = time.Date(2026, 9, 29, 18, 5, 0, 0, time.UTC)
)

const sender = "praxis@nemo.kim.telematik"

// identity signs the documents of the tests.
var identity = sync.OnceValues(func() (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Praxis Dr. Nemo TEST-ONLY"},
		NotBefore: issued.AddDate(-1, 0, 0), NotAfter: issued.AddDate(1, 0, 0), SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, key
})

// sign makes a new signature container every time.
func sign(t testing.TB, document []byte) []byte {
	t.Helper()
	cert, key := identity()
	p7s, err := cms.Sign(document, cert, key, issued)
	if err != nil {
		t.Fatal(err)
	}
	return p7s
}

// mail makes the mail that carries a signature container.
func mail(t testing.TB, messageID string, p7s []byte) []byte {
	t.Helper()
	body, err := kim.Compose(kim.Delivery{
		From: sender, To: "eau@uebungskasse.kim.telematik", Dienstkennung: kim.EAUDelivery, Subject: "TEAU0_x", FileName: "TEAU0_x.p7s",
		Description: "eAU", P7S: p7s, Sendersystem: "Test;1", Date: issued, MessageID: "<" + messageID + "@nemo.example>",
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// house is a keyring and a cell, with what was delivered into it.
type house struct {
	t    testing.TB
	ring *seal.Keyring
	cell *celltest.Memory
	disk *crashdisk.Disk
	took intake.Handler

	bodies     [][]byte
	seqs       map[uint64]int // 1 for the first message that was sent
	deliveries []intake.Delivery
	turns      []int // messages in each
}

// outcome is what the cell and the ledger are told of a message; messages count from 1.
type outcome struct {
	Result, Document                     string
	Findings                             []string
	Kind                                 eau.Kind
	FirstSeq, CancelsSeq, CancelledBySeq int
}

func newKeyring(t testing.TB) *seal.Keyring {
	t.Helper()
	key := filepath.Join(t.TempDir(), "unlock.key")
	if err := seal.NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	ring, err := seal.CreateKeyring(crashdisk.New(), "keyring.age", seal.KeyFile(key))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.AddCompartment(here); err != nil {
		t.Fatal(err)
	}
	return ring
}

func newHouse(t testing.TB, ring *seal.Keyring) *house {
	return &house{t: t, ring: ring, cell: celltest.NewMemory(), disk: crashdisk.New(), seqs: map[uint64]int{}, took: Take}
}

// send delivers mails in turns of the given sizes, through a journal and a pump.
func (h *house) send(bodies [][]byte, turns ...int) {
	h.t.Helper()
	j, err := intake.Open(intake.Config{
		Copies: []intake.Copy{{FS: h.disk, Dir: "journal"}}, Quarantine: intake.Copy{FS: h.disk, Dir: "quarantine"},
		Contexts: seal.NewContexts(h.ring.Public, time.Now), Segment: 1 << 19, MaxBody: 400 << 10,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	delivered := make(chan int)
	p, err := intake.NewPump(intake.PumpConfig{
		Journal: j, Unlock: h.ring.Unlock, Handlers: map[querschott.Service]intake.Handler{querschott.EAU: h.take}, Keep: intake.Keep,
		Cell: func(querschott.IK) (cell.Store, error) { return announcing{h.cell, delivered}, nil },
		Record: func(_ context.Context, list []intake.Delivery) error {
			h.deliveries, h.turns = append(h.deliveries, list...), append(h.turns, len(list))
			return nil
		},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}, []querschott.Compartment{here})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	epoch := uint64(0)
	obey := func(s querschott.DoorState) {
		epoch++
		if err := p.Obey(ctx, here, epoch, s); err != nil {
			h.t.Fatal(err)
		}
	}
	obey(querschott.Hold)
	for _, n := range turns {
		for _, body := range bodies[:n] {
			id := fmt.Sprintf("message-%d", len(h.bodies))
			r, err := j.Append(ctx, intake.Arrival{Compartment: here, Sender: sender, MessageID: id, Received: issued, Body: body})
			if err != nil {
				h.t.Fatal(err)
			}
			h.bodies = append(h.bodies, body)
			h.seqs[r.Seq] = len(h.bodies)
		}
		bodies = bodies[n:]
		if n > 0 {
			obey(querschott.Open)
			<-delivered
			obey(querschott.Hold)
		}
	}
	cancel()
	running.Wait()
	if err := j.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// take never fails, whatever came.
func (h *house) take(ctx context.Context, m *intake.Message, tx *intake.Tx) (intake.Note, error) {
	n, err := h.took(ctx, m, tx)
	if err != nil {
		h.t.Errorf("message %d: %v", h.seqs[m.Seq], err)
	}
	return n, err
}

// announcing says when a batch was committed.
type announcing struct {
	*celltest.Memory
	done chan<- int
}

func (a announcing) Commit(b *cell.Batch) error {
	err := a.Memory.Commit(b)
	a.done <- b.Len()
	return err
}

// outcomes reads back what was stored of every message, and checks that it is the whole message.
func (h *house) outcomes() []outcome {
	h.t.Helper()
	keys, err := h.ring.Unlock(here)
	if err != nil {
		h.t.Fatal(err)
	}
	defer keys[here].Forget()
	vault := cell.NewVault(h.cell, here, keys[here])
	if len(h.deliveries) != len(h.bodies) {
		h.t.Fatalf("%d deliveries of %d messages", len(h.deliveries), len(h.bodies))
	}
	var list []outcome
	for i, d := range h.deliveries {
		if h.seqs[d.Seq] != i+1 {
			h.t.Fatalf("delivery %d is message %d", i+1, h.seqs[d.Seq])
		}
		value, _, err := vault.GetRecord(d.Note.Person, intake.RecordName(d.Seq))
		if err != nil {
			h.t.Fatal(err)
		}
		about, body, err := intake.ParseStored(value)
		if err != nil {
			h.t.Fatal(err)
		}
		if string(body) != string(h.bodies[i]) || about.Seq != d.Seq || about.Result != d.Note.Result || about.Document != d.Note.Document {
			h.t.Errorf("message %d is stored otherwise than it was delivered", i+1)
		}
		var f sicknote.Facts
		raw, err := json.Marshal(about.Facts)
		if err == nil {
			err = json.Unmarshal(raw, &f)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		list = append(list, outcome{
			about.Result, about.Document, about.Findings, f.Kind,
			h.seqs[f.FirstSeq], h.seqs[f.CancelsSeq], h.seqs[f.CancelledBy],
		})
	}
	return list
}

// published returns a folder of published documents beside the repository by file name.
func published(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	root := os.Getenv("QUERSCHOTT_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(root, "data", "eau", folder, "*.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the shared test material is missing")
		}
		t.Skip("the shared test material is missing")
	}
	list := map[string][]byte{}
	for _, file := range files {
		octets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list[filepath.Base(file)] = octets
	}
	return list
}
