package oidc

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
)

func TestWhoIsWho(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		claims map[string]any
		want   querschott.Caller // nobody: forbidden
	}{
		{"operator", nil, map[string]any{"groups": "admins", "ik": nil}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleOperator, Name: "Carla C."}},
		{"operator with an insurer is an operator", nil, map[string]any{"groups": []string{"admins"}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleOperator, Name: "Carla C."}},
		{"two roles", nil, map[string]any{"groups": []string{"admins", "desk"}}, querschott.Caller{}},
		{"no role", nil, map[string]any{"groups": []string{"users"}}, querschott.Caller{}},
		{"role in other case", nil, map[string]any{"groups": []string{"Admins"}}, querschott.Caller{}},
		{"claim in other case", nil, map[string]any{"groups": nil, "Groups": []string{"admins"}}, querschott.Caller{}},
		{"no claim", nil, map[string]any{"groups": nil}, querschott.Caller{}},
		{"claim of another kind", nil, map[string]any{"groups": map[string]bool{"admins": true}}, querschott.Caller{}},
		{"endless claim", nil, map[string]any{"groups": append(make([]int, maxValues), 0)}, querschott.Caller{}},
		{"path", func(c *Config) { c.RoleClaim = "realm_access.roles" }, map[string]any{"realm_access": map[string]any{"roles": []string{"desk"}}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerA}},
		{"name with dots", func(c *Config) { c.RoleClaim = "https://x.example/roles" }, map[string]any{"https://x.example/roles": []string{"desk"}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerA}},
		{"insurer as a list", nil, map[string]any{"ik": []string{string(insurerB)}}, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerB}},
		{"two insurers", nil, map[string]any{"ik": []string{string(insurerA), string(insurerB)}}, querschott.Caller{}},
		{"no insurer", nil, map[string]any{"ik": nil}, querschott.Caller{}},
		{"foreign insurer", nil, map[string]any{"ik": "101575519"}, querschott.Caller{}},
		{"insurer as a number", nil, map[string]any{"ik": 109500969}, querschott.Caller{}},
		{"insurer with a space", nil, map[string]any{"ik": "109500969 "}, querschott.Caller{}},
		{"the only insurer", func(c *Config) { c.InsurerClaim, c.Insurers = "", []querschott.IK{insurerB} }, nil, querschott.Caller{Actor: "ad:u-1", Role: querschott.RoleStaff, Name: "Carla C.", Insurer: insurerB}},
		{"another actor claim", func(c *Config) { c.ActorClaim = "email" }, map[string]any{"email": "carla@kasse.example", "name": "a\nb"}, querschott.Caller{Actor: "ad:carla@kasse.example", Role: querschott.RoleStaff, Insurer: insurerA}},
		{"no actor", func(c *Config) { c.ActorClaim = "email" }, nil, querschott.Caller{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var changes []func(*Config)
			if tc.change != nil {
				changes = append(changes, tc.change)
			}
			h := newHouse(t, changes...)
			h.issuer.set(func() { h.issuer.bend = func(_, c map[string]any) { maps.Copy(c, tc.claims) } })
			_, s, err := h.login(t)
			if tc.want == (querschott.Caller{}) {
				if querschott.CodeOf(err) != querschott.CodeForbidden || h.sessions.Len() != 0 {
					t.Errorf("%+v, %v, want forbidden", s.Caller, err)
				}
			} else if err != nil || s.Caller != tc.want {
				t.Errorf("%+v, %v, want %+v", s.Caller, err, tc.want)
			}
		})
	}
}

func TestACR(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.ACR = []string{"mfa"} })
	address, cookie, err := h.Start(t.Context())
	if err != nil || !strings.Contains(address, "acr_values=mfa") {
		t.Fatal(address, err)
	}
	if _, _, err := h.Finish(t.Context(), cookie, h.issuer.visit(address)); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("without acr: %v", err)
	}
	h.issuer.set(func() { h.issuer.bend = func(_, c map[string]any) { c["acr"] = "mfa" } })
	if _, _, err := h.login(t); err != nil {
		t.Error(err)
	}
}

func FuzzClaims(f *testing.F) {
	clk := &clock{at: time.Unix(1e9, 0)}
	cfg := config("https://idp.example", clk)
	cfg.RoleClaim = "a.b.c"
	p, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"sub":"x","a":{"b":{"c":["desk"]}},"ik":"109500969","name":"N"}`))
	f.Add([]byte(`{"sub":"x","a.b.c":"admins"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c claims
		if json.Unmarshal(data, &c) != nil {
			return
		}
		caller, err := p.caller(c)
		if err != nil {
			return
		}
		staff := caller.Role == querschott.RoleStaff && (caller.Insurer == insurerA || caller.Insurer == insurerB)
		operator := caller.Role == querschott.RoleOperator && caller.Insurer == ""
		if !staff && !operator || !strings.HasPrefix(string(caller.Actor), "ad:") || len(caller.Actor) < 4 {
			t.Errorf("%+v", caller)
		}
	})
}
