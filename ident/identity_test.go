package ident

import (
	"testing"

	"github.com/querschott/querschott"
)

func TestRoleOf(t *testing.T) {
	for profession, want := range map[string]querschott.Role{
		"1.2.276.0.76.4.50": querschott.RolePractice, "1.2.276.0.76.4.53": querschott.RolePractice, "1.2.276.0.76.4.49": querschott.RoleInsured,
		"1.2.276.0.76.4.59": querschott.RolePartner, "1.2.276.0.76.4.293": querschott.RolePartner, "": querschott.RolePartner,
		"49": querschott.RolePractice, "1.2.276.0.76.4.491": querschott.RolePractice,
	} {
		if got := RoleOf(profession); got != want {
			t.Errorf("RoleOf(%q) = %s, want %s", profession, got, want)
		}
	}
}

func TestMayCall(t *testing.T) {
	for name, tc := range map[string]struct {
		services []querschott.Service
		ok       bool
	}{
		"no limit": {nil, true}, "one of them": {[]querschott.Service{querschott.EPA, querschott.VSDM}, true},
		"another": {[]querschott.Service{querschott.EPA}, false}, "none": {[]querschott.Service{}, false},
	} {
		err := (&Identity{Services: tc.services}).MayCall(querschott.VSDM)
		if (err == nil) != tc.ok || err != nil && querschott.CodeOf(err) != querschott.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}
