package node

import (
	"context"
	"slices"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/gate"
	gatehttp "github.com/querschott/querschott/gate/http"
	"github.com/querschott/querschott/ledger"
	"github.com/querschott/querschott/service/desk"
	"github.com/querschott/querschott/wire/zeta"
)

// scopeDesk is what an access token must have for the desk.
const scopeDesk = "desk"

// openDesk makes the service for insurers' employees, if any insurer has it.
func (n *Node) openDesk(context.Context) (err error) {
	if !n.anyHas(querschott.Desk) {
		return nil
	}
	n.desk, err = desk.New(desk.Config{Cell: n.cell, Vault: n.vaults.Vault, Has: func(c querschott.Compartment) bool {
		_, known := n.doors.Current(c)
		return known
	}})
	return err
}

// anyHas reports whether an insurer has a service.
func (n *Node) anyHas(s querschott.Service) bool {
	return slices.ContainsFunc(n.insurers, func(in Insurer) bool { return slices.Contains(in.Services, s) })
}

// deskRoutes are the routes of the desk. The insurer stands in the path, so that an attempt on another one is seen as what it is.
// They read, though they are asked by POST: what is asked for names persons, and must stand in no address.
func (n *Node) deskRoutes() []gatehttp.Route {
	if n.desk == nil {
		return nil
	}
	var routes []gatehttp.Route
	for _, op := range n.desk.Operations() {
		n.who[op.Name] = []string{byToken, byOwnMachine, byStaff}
		routes = append(routes, gatehttp.Route{
			Name: op.Name, Path: op.Path, Service: querschott.Desk, Tenant: gatehttp.Tenant{From: gatehttp.FromPath},
			Roles: []querschott.Role{querschott.RoleStaff, querschott.RolePartner}, Audience: []string{n.base}, Scopes: []string{scopeDesk}, ACR: zeta.Substantial,
			MaxBody: desk.MaxBody, Data: op.Data, Purpose: ledger.PurposeOperations,
			Write: func(*gate.Request) bool { return false }, Backend: gate.Serve(op.Answer),
		})
	}
	return routes
}

// deskRooms are the compartments whose stored mail the desk reads: sick notes of insurers that have a desk.
func (n *Node) deskRooms() []querschott.Compartment {
	var list []querschott.Compartment
	for _, in := range n.insurers {
		if slices.Contains(in.Services, querschott.Desk) && slices.Contains(in.Services, querschott.EAU) {
			list = append(list, querschott.Compartment{Insurer: in.IK, Service: querschott.EAU})
		}
	}
	return list
}
