package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/node"
	"github.com/querschott/querschott/wire/jose"
	"github.com/querschott/querschott/wire/vsd"
)

// deliverAtOnce is how many persons' master data are delivered together.
const deliverAtOnce = 200

// registry brings the insured persons' master data into the cells while the demonstration runs: all of them would take longer
// than anybody wants to wait for the first page. Whoever is asked about earlier comes earlier.
type registry struct {
	world *drill.World
	node  *node.Node
	total atomic.Int64 // persons whose data are there

	mu    sync.Mutex            // guards the fields below
	done  map[querschott.IK]int // how many of the insurer's persons, from its first
	early map[int]bool          // persons beyond that
}

func newRegistry(w *drill.World, n *node.Node) *registry {
	return &registry{world: w, node: n, done: map[querschott.IK]int{}, early: map[int]bool{}}
}

// ready returns when the insurer knows the person. A door that is shut keeps the data out; the card check will be refused.
func (r *registry) ready(_ context.Context, p drill.Person) error {
	first, _ := p.Insurer.Persons()
	r.mu.Lock()
	there := p.Index-first < r.done[p.Insurer.IK] || r.early[p.Index]
	r.mu.Unlock()
	if there {
		return nil
	}
	_, err := r.node.PutInsured(querschott.Compartment{Insurer: p.Insurer.IK, Service: querschott.VSDM}, r.world.MasterData(p))
	if err != nil && !shut(err) {
		return fmt.Errorf("couldn't deliver the master data of somebody: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.early[p.Index] = true
	}
	return nil
}

func shut(err error) bool {
	code := querschott.CodeOf(err)
	return code == querschott.CodeDoorClosed || code == querschott.CodeDoorHeld
}

// fill delivers what is not there yet, some of each insurer in turn, until the context ends or all is there.
func (r *registry) fill(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		more = false
		held := true
		for _, in := range r.world.Insurers() {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			left, err := r.step(context.WithoutCancel(ctx), in) // begun, it is finished
			switch {
			case shut(err):
				more = true
			case err != nil:
				return fmt.Errorf("couldn't deliver master data: %w", err)
			default:
				held = false
				more = more || left
			}
		}
		if held && more { // every door that is left is shut
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

// step delivers the next persons of an insurer.
func (r *registry) step(ctx context.Context, in *drill.Insurer) (left bool, err error) {
	first, persons := in.Persons()
	r.mu.Lock()
	at := r.done[in.IK]
	r.mu.Unlock()
	end := min(at+deliverAtOnce, persons)
	if at == end {
		return false, nil
	}
	var files []node.ImportedFile
	now := time.Now()
	for k := at; k < end; k++ {
		data, err := vsd.Render(r.world.MasterData(r.world.Person(first+k)), vsd.V11, vsd.JSON, vsd.Envelope{
			ID: vsd.NewID(now, [10]byte{byte(k), byte(k >> 8), byte(k >> 16)}), Created: vsd.InstantOf(now),
		})
		if err != nil {
			return false, err
		}
		files = append(files, node.ImportedFile{Name: fmt.Sprint(first + k), Data: data})
	}
	result, err := r.node.Import(ctx, files)
	if err != nil {
		return false, err
	}
	if len(result.Refused) > 0 {
		return false, fmt.Errorf("%d of %d bundles were refused", len(result.Refused), len(files))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[in.IK] = end
	r.total.Add(int64(end - at))
	for k := at; k < end; k++ {
		delete(r.early, first+k)
	}
	return end < persons, nil
}

// openIssuer makes the issuers of tokens, in this process and for other programs.
func (p *Platform) openIssuer(ctx context.Context) error {
	l, err := listen(ctx, orFree(p.opt.Issuer))
	if err != nil {
		return err
	}
	p.issuing = l
	if p.entrance, err = listen(ctx, p.cfg.HTTP.Listen); err != nil {
		return err
	}
	base := "https://" + p.entrance.Addr().String()
	p.issuer, err = issuer.New(time.Now, "http://"+l.Addr().String(), issuer.Options{ForTestsOnly: true, Audience: []string{base}, Scopes: []string{"vsdservice", "desk"}})
	return err
}

// believed is how the node learns of the issuers.
func (p *Platform) believed() *node.DevIssuer {
	return &node.DevIssuer{
		Access: p.issuer.Name(), Presence: p.issuer.Name(), AccessKeys: p.issuer.AccessKeys(), PresenceKeys: p.issuer.PresenceKeys(),
	}
}

// presencePath is where other programs ask for PoPP tokens.
const presencePath = "/popp/token"

// maxCard is the largest request for a PoPP token.
const maxCard = 16 << 10

// issuing serves the issuers. Before somebody gets the proof that a card is there, the insurer knows the person.
func (p *Platform) serveIssuer(ctx context.Context) error {
	inner, err := p.issuer.Handler()
	if err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == presencePath && r.Method == http.MethodPost {
			if body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCard)); err == nil {
				p.expect(r.Context(), body)
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
		}
		inner.ServeHTTP(w, r)
	})}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // nobody needs a token any more
	defer stop()
	if err := s.Serve(p.issuing); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the issuers have ended: %w", err)
	}
	return nil
}

// expect has the master data of the person ready whom a request for a PoPP token names, if it names one of this world.
func (p *Platform) expect(ctx context.Context, body []byte) {
	var card issuer.Card
	if json.Unmarshal(body, &card) != nil {
		return
	}
	who, ok := p.world.ByNumber(querschott.KVNR(card.Patient))
	if !ok || card.Insurer != "" && card.Insurer != string(who.Insurer.IK) {
		return
	}
	if err := p.registry.ready(ctx, who); err != nil {
		p.opt.Log.Warn("the master data of a person are not there", "err", err)
	}
}

// access issues a practice its access token.
func (p *Platform) access(_ context.Context, b drill.Badge) (string, time.Time, error) {
	key, err := jose.KeyOf(&b.Key.PublicKey)
	if err != nil {
		return "", time.Time{}, err
	}
	now := time.Now()
	const life = 5 * time.Minute
	token, err := p.issuer.AccessToken(issuer.Grant{
		Practice: issuer.Practice{Subject: string(b.Practice.TelematikID()), Name: "Praxis", Organization: "Praxis"},
		Client:   "praxis-" + b.Practice.Office.Number, Issued: now, Lifetime: life, Binding: key.Thumbprint(),
	})
	return token, now.Add(life), err
}

// presence proves that somebody's card is in a practice.
func (p *Platform) presence(_ context.Context, practice *drill.Practice, who drill.Person) (string, error) {
	return p.issuer.PresenceToken(issuer.Card{
		Patient: who.Number.Reveal(), Insurer: string(who.Insurer.IK), Actor: string(practice.TelematikID()),
	})
}
