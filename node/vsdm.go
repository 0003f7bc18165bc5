package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/cell/pebble"
	"github.com/querschott/querschott/gate"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/insured"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/seal/pruefziffer"
	"github.com/querschott/querschott/service/vsdm"
	"github.com/querschott/querschott/wire/vsd"
)

// openVSDM makes the service of master data, if any insurer has it.
func (n *Node) openVSDM(context.Context) error {
	var tenants []vsdm.Tenant
	names := []string{}
	for _, in := range n.insurers {
		if slices.Contains(in.Services, querschott.VSDM) {
			tenants = append(tenants, vsdm.Tenant{Insurer: in.IK, Further: in.Further})
			names = append(names, issueSecret(in.IK))
		}
	}
	if len(tenants) == 0 {
		return nil
	}
	numbers, err := n.checkNumbers()
	if err != nil {
		return err
	}
	secrets, err := n.keyring.Secrets(32, names...) // at once, and while the key file is at hand
	if err != nil {
		return err
	}
	issued := map[querschott.IK][]byte{}
	for i, t := range tenants {
		issued[t.Insurer] = secrets[i]
	}
	if n.issueLog, err = pebble.Open(n.path("issued"), pebble.Options{Shared: n.shared, Logger: n.log}); err != nil {
		return err
	}
	n.numbers = numbers
	n.vsdm, err = vsdm.New(vsdm.Config{
		Tenants: tenants, Cell: n.cell, Vault: n.vaults.Vault, Issues: n.issueLog, Numbers: numbers,
		Secret: func(ik querschott.IK) ([]byte, error) {
			if s, ok := issued[ik]; ok {
				return s, nil
			}
			return nil, fmt.Errorf("insurer %s has no issue log", ik)
		},
		Versions: n.cfg.VSDM.versions(), StrictCheckDigits: n.cfg.VSDM.CheckDigits, Now: n.opt.Now, Log: n.log,
	})
	return err
}

func issueSecret(ik querschott.IK) string { return "vsdm/issued/" + string(ik) }

func (c *VSDMConfig) versions() []vsd.Version {
	list := make([]vsd.Version, len(c.Profiles))
	for i, p := range c.Profiles {
		list[i] = vsd.Version(p)
	}
	return list
}

// checkNumbers makes the keys of check numbers. The version before the one that issues verifies what it issued until the
// last of it has expired.
func (n *Node) checkNumbers() (*pruefziffer.Keys, error) {
	c := &n.cfg.VSDM
	keys, err := pruefziffer.NewKeys(c.Letter[0])
	if err != nil {
		return nil, err
	}
	before := (c.KeyVersion + 3) % 4
	for _, version := range []int{before, c.KeyVersion} {
		secret, err := n.numberSecret(version)
		if err != nil {
			return nil, err
		}
		err = keys.Add(uint8(version), secret, 0, n.opt.Now())
		clear(secret)
		if err != nil {
			return nil, fmt.Errorf("couldn't use version %d of the keys for check numbers: %w", version, err)
		}
	}
	return keys, nil
}

// numberSecret returns the operator's secret of one key version: from its file, or else from the keyring.
func (n *Node) numberSecret(version int) ([]byte, error) {
	if file := n.cfg.VSDM.Secrets; file != "" {
		return readNumberSecret(file, version)
	}
	return n.keyring.Secret(fmt.Sprintf("vsdm/check-number/%s/%d", n.cfg.VSDM.Letter, version), 32)
}

// readNumberSecret reads a line of the file with the secrets that were agreed with the record services: the version, a blank,
// and the secret in hexadecimal.
func readNumberSecret(file string, version int) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the secrets of check numbers: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		number, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || number != fmt.Sprint(version) {
			continue
		}
		secret, err := hex.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: the secret of version %d is not hexadecimal", file, version)
		}
		return secret, nil
	}
	return nil, fmt.Errorf("%s has no secret of version %d", file, version)
}

// vsdmRoutes are the routes of the service of master data and of the documents about it.
func (n *Node) vsdmRoutes(base string) ([]gatehttp.Route, error) {
	if n.vsdm == nil {
		return nil, nil
	}
	c := &n.cfg.VSDM
	docs, err := n.vsdmDocuments(base)
	if err != nil {
		return nil, err
	}
	routes := []gatehttp.Route{{
		Name: "vsdm", Path: vsdm.Path, Service: querschott.VSDM, Tenant: gatehttp.Tenant{From: gatehttp.FromPresence},
		Audience: orBase(c.Audience, base), Scopes: c.Scopes, Presence: gatehttp.PresenceRequired, Form: gatehttp.FormZETA,
		Data: ledger.DataInsured, Purpose: ledger.PurposeTreatment, MaxBody: 1 << 10,
		Unplaced: true, // an IK that is not ours has an error of the standard, 79012
		Write:    func(*gate.Request) bool { return false },
		Methods:  []string{http.MethodGet}, Misfit: gate.Serve(n.vsdm.Early),
		Early:   gate.Serve(n.vsdm.Early),
		Backend: gate.Serve(n.vsdm.Answer),
	}}
	for path, doc := range docs {
		routes = append(routes, gatehttp.Route{
			Name: "document" + word(path), Path: path, Public: true, Backend: gate.Serve(doc.Answer), MaxBody: 1 << 10,
		})
	}
	return routes, nil
}

// word makes a path part of a route's name.
func word(path string) string { return strings.NewReplacer("/", "-", ".", "-").Replace(path) }

func orBase(list []string, base string) []string {
	if len(list) == 0 {
		return []string{base}
	}
	return list
}

// vsdmDocuments are the catalog and the metadata of the protected resource.
func (n *Node) vsdmDocuments(base string) (map[string]vsdm.Document, error) {
	c := &n.cfg.VSDM
	docs := map[string]vsdm.Document{}
	changed, err := os.Stat(n.cfg.Insurers)
	if err != nil {
		return nil, err
	}
	catalog, err := n.vsdm.Catalog(vsdm.Form(c.Catalog), c.Environment, base, changed.ModTime(), max(changed.ModTime().Unix(), 1)).Document()
	if err != nil {
		return nil, err
	}
	docs[vsdm.CatalogPath] = catalog
	if issuers := n.accessIssuers(); len(issuers) > 0 {
		if docs[protectedResourcePath], err = vsdm.ProtectedResource(base, issuers[0], c.Scopes...); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// protectedResourcePath is where clients look for the issuer of access tokens (RFC 9728).
const protectedResourcePath = "/.well-known/oauth-protected-resource"

// keepNumbers is how long it is kept which check numbers were issued: practices bill with them up to two quarters later.
const keepNumbers = 400 * 24 * time.Hour

// pruneNumbers forgets old check numbers, and drops keys whose time is over.
func (n *Node) pruneNumbers(ctx context.Context) {
	if n.vsdm == nil {
		return
	}
	now := n.opt.Now()
	n.numbers.Sweep(now)
	for _, alarm := range n.numbers.Alarms(now) {
		n.log.Error("ALARM: check numbers", "what", alarm)
	}
	if _, err := n.vsdm.Prune(ctx, now.Add(-keepNumbers)); err != nil && ctx.Err() == nil {
		n.log.Warn("couldn't forget old check numbers", "err", err)
	}
}

// errNoVSDM says that nobody has the service.
var errNoVSDM = errors.New("no insurer of this node has the service vsdm")

// PutInsured stores the master data of one person, as an insurer's delivery would.
func (n *Node) PutInsured(c querschott.Compartment, r *vsd.Record) (vsdm.Change, error) {
	if n.vsdm == nil {
		return vsdm.Unchanged, errNoVSDM
	}
	return n.vsdm.Put(c, insured.Entry{Record: r})
}
