package run

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/attack"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/drill/issuer"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/service/desk"
)

// employee is somebody with a credential of an insurer's employee, or a supplier's machine with a certificate; one request at a time.
type employee struct {
	p       *Platform
	insurer *drill.Insurer
	name    string
	machine *demo.Supplier // nil: an employee
	http    *http.Client

	mu      sync.Mutex // guards the fields below
	client  *issuer.Client
	access  string
	expires time.Time
	nonce   string
}

// tokenLife is how long a token is used; the issuer gives it five minutes.
const tokenLife = 4 * time.Minute

func (p *Platform) employee(in *drill.Insurer, name string) *employee {
	return &employee{p: p, insurer: in, name: name, http: p.client()}
}

// supplier is an insurer's supplier's machine.
func (p *Platform) supplier(s *demo.Supplier) (*employee, error) {
	i := slices.IndexFunc(p.world.Insurers(), func(in *drill.Insurer) bool { return in.IK == s.IK })
	if i < 0 {
		return nil, fmt.Errorf("the supplier %s is of no insurer of this world", s.Actor)
	}
	cert, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return nil, err
	}
	return &employee{p: p, insurer: p.world.Insurers()[i], machine: s, http: p.client(cert)}, nil
}

// actor is what the platform calls the employee.
func (e *employee) actor() querschott.Actor {
	if e.machine != nil {
		return e.machine.Actor
	}
	return querschott.Actor(string(e.insurer.IK) + "/" + e.name)
}

// login gets a token, if there is none that lasts; a machine needs none.
func (e *employee) login(ctx context.Context) (access string, key *ecdsa.PrivateKey, err error) {
	if e.machine != nil {
		return "", nil, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		e.client, err = issuer.Register(ctx, e.http, time.Now, e.p.file.Issuer, issuer.Practice{
			Subject: e.name, Profession: ident.ProfessionInsurer, Organization: string(e.insurer.IK), Name: e.name,
		})
		if err != nil {
			return "", nil, err
		}
	}
	if now := time.Now(); !now.Before(e.expires) {
		if e.access, err = e.client.AccessToken(ctx, []string{e.p.file.HTTP}, "desk"); err != nil {
			return "", nil, err
		}
		e.expires = now.Add(tokenLife)
	}
	return e.access, e.client.Key, nil
}

// ask sends one request to an insurer's desk.
func (e *employee) ask(ctx context.Context, path string, insurer querschott.IK, body any) (*drill.DeskAnswer, error) {
	access, key, err := e.login(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	nonce := e.nonce
	e.mu.Unlock()
	call := drill.DeskCall{URL: e.p.file.HTTP, Path: path, Insurer: insurer, Access: access, Key: key, Body: body, Nonce: nonce}
	a, err := call.Do(ctx, e.http, time.Now())
	if err == nil && a.Nonce != "" {
		e.mu.Lock()
		e.nonce = a.Nonce
		e.mu.Unlock()
	}
	return a, err
}

// read asks for a person's master data, and returns whose came.
func (e *employee) read(ctx context.Context, insurer querschott.IK, who querschott.KVNR, reason desk.Reason) (querschott.KVNR, *drill.DeskAnswer, error) {
	a, err := e.ask(ctx, desk.PathPerson, insurer, desk.PersonRequest{Reason: reason, Person: who})
	if err != nil || a.Status != http.StatusOK {
		return "", a, err
	}
	var got desk.Person
	if err := json.Unmarshal(a.Body, &got); err != nil {
		return "", a, fmt.Errorf("couldn't read master data: %w", err)
	}
	return querschott.KVNR(got.Person), a, nil
}

// outcome is what an attacker makes of an answer. A credential that is refused at its own insurer is refused as such: the
// platform tells nobody why. When to come back it is told, and no thief cares.
func outcome(a *drill.DeskAnswer, own bool) attack.Outcome {
	o := attack.Outcome{Result: attack.Denied}
	switch a.Status {
	case http.StatusOK:
		o.Result = attack.Served
	case http.StatusNotFound:
		o.Result = attack.Missing
	case http.StatusTooManyRequests:
		o.Result = attack.Capped
	case http.StatusServiceUnavailable:
		o.Result = attack.Shut
	case http.StatusForbidden:
		if own {
			o.Result = attack.Held
		}
	}
	return o
}
