package contain

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk"
)

// TestCanonical has the examples of RFC 8785: sorting (3.2.3), numbers (appendix B) and strings (3.2.2).
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}`,
		`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`:                                "{\"\\r\":2,\"1\":4,\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}",
		`"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"`:                                                            `"€$\u000f\nA'B\"\\\\\"/"`,
		`-0`: `0`, `1e21`: `1e+21`, `1e20`: `100000000000000000000`, `0.000001`: `0.000001`, `1e-7`: `1e-7`, ` [ ] `: `[]`,
		"\"\u2028\"": "\"\u2028\"",
	} {
		got, err := Canonical([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("Canonical(%s) = %s, %v, want %s", in, got, err, want)
		}
	}
	for bits, want := range map[uint64]string{
		0: "0", 0x8000000000000000: "0", 1: "5e-324", 0x7fefffffffffffff: "1.7976931348623157e+308", 0x4340000000000000: "9007199254740992",
		0x44b52d02c7e14af5: "9.999999999999997e+22", 0x44b52d02c7e14af6: "1e+23", 0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8d: "0.000001", 0x41b3de4355555553: "333333333.3333332", 0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		got, err := appendNumber(nil, math.Float64frombits(bits))
		if err != nil || string(got) != want {
			t.Errorf("%x: %s, %v, want %s", bits, got, err, want)
		}
	}
	for _, bad := range []string{
		"", "{", `{"a":1,"a":2}`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00"`, "1e999", "1 2", "\"\xff\"", strings.Repeat("[", 40) + strings.Repeat("]", 40), `{"a":1,"\u0061":2}`,
	} {
		if got, err := Canonical([]byte(bad)); err == nil {
			t.Errorf("%.30q became %s", bad, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1,2.5,-0,1e30],"a":"\ud83d\ude00\u000f"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := Canonical(data)
		if err != nil {
			return
		}
		twice, err := Canonical(once)
		if err != nil && len(once) <= MaxPlaybook || err == nil && string(twice) != string(once) {
			t.Errorf("%q became %q and then %q, %v", data, once, twice, err)
		}
	})
}

func FuzzParsePlaybook(f *testing.F) {
	for _, name := range []string{"any-alarm", "write-burst"} {
		f.Add(shippedRaw(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePlaybook(data)
		if faults := (Faults{}); err != nil && (!errors.As(err, &faults) || len(faults) == 0) {
			t.Errorf("an error without faults: %v", err)
		}
		if err == nil && (p.start == "" || p.steps[p.start] == nil || p.cost(p.start, map[string]int{}) > maxVisits) {
			t.Error("a playbook that cannot be run was taken")
		}
	})
}

func FuzzParseRun(f *testing.F) {
	f.Add([]byte(`{"id":"run-1","began":"2026-11-23T09:00:00Z","deeds":[{"key":"a#0.1","state":"asked"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseRun(data); err == nil {
			_ = r.settled()
			_ = r.clone()
		}
	})
}

// TestImportRefuses has what cannot be executed, and the step that is named for it.
func TestImportRefuses(t *testing.T) {
	credential := func(top map[string]any) map[string]any { return stepOf(top, "action", "hold the credential") }
	door := func(top map[string]any) map[string]any { return stepOf(top, "action", "move the door") }
	const while = "while-condition--11111111-2222-4333-8444-555555555555"
	for name, tc := range map[string]struct {
		change func(top map[string]any)
		want   string
	}{
		"while": {func(top map[string]any) {
			top["workflow"].(map[string]any)[while] = map[string]any{"type": "while-condition", "condition": "x", "on_true": while}
		}, while + `: the step type "while-condition"`},
		"unknown step":    {func(top map[string]any) { credential(top)["type"] = "teleport" }, `the step type "teleport"`},
		"unknown command": {func(top map[string]any) { credential(top)["commands"].([]any)[0].(map[string]any)["type"] = "bash" }, `the command type "bash"`},
		"http api":        {func(top map[string]any) { credential(top)["commands"].([]any)[0].(map[string]any)["type"] = "http-api" }, `the command type "http-api"`},
		"delay":           {func(top map[string]any) { credential(top)["delay"] = 1000 }, `the property "delay"`},
		"step variables":  {func(top map[string]any) { credential(top)["step_variables"] = map[string]any{} }, `the property "step_variables"`},
		"out args":        {func(top map[string]any) { credential(top)["out_args"] = []any{"x"} }, `the property "out_args"`},
		"targets":         {func(top map[string]any) { door(top)["targets"] = []any{"x"} }, `the property "targets"`},
		"exception":       {func(top map[string]any) { top["workflow_exception"] = "x" }, `the property "workflow_exception"`},
		"no inverse": {func(top map[string]any) {
			delete(door(top)["step_extensions"].(map[string]any)[Extension].(map[string]any), "inverse")
		}, "inverse is missing"},
		"wrong inverse": {func(top map[string]any) {
			door(top)["step_extensions"].(map[string]any)[Extension].(map[string]any)["inverse"] = "deny"
		}, `the inverse of this order is "restore"`},
		"no time to live": {func(top map[string]any) {
			delete(credential(top)["step_extensions"].(map[string]any)[Extension].(map[string]any), "ttl_s")
		}, "ttl_s"},
		"for ever": {func(top map[string]any) {
			credential(top)["step_extensions"].(map[string]any)[Extension].(map[string]any)["ttl_s"] = 1e12
		}, "ttl_s must be"},
		"stops on timeout": {func(top map[string]any) {
			credential(top)["step_extensions"].(map[string]any)[Extension].(map[string]any)["on_timeout"] = "abort"
		}, "on_timeout must be"},
		"no extension":     {func(top map[string]any) { delete(door(top), "step_extensions") }, "step_extensions lacks"},
		"no deadline":      {func(top map[string]any) { delete(door(top), "timeout") }, "timeout"},
		"no on_completion": {func(top map[string]any) { delete(door(top), "on_completion") }, "on_completion is missing"},
		"both ends":        {func(top map[string]any) { door(top)["on_failure"] = door(top)["on_completion"] }, "on_completion excludes"},
		"circle": {func(top map[string]any) {
			door(top)["on_completion"] = stepOf(top, "if-condition", "")["on_completion"]
			stepOf(top, "action", "a person looks")["on_completion"] = top["workflow_start"]
		}, "a circle"},
		"leads nowhere": {func(top map[string]any) { door(top)["on_completion"] = "end--11111111-2222-4333-8444-555555555555" }, "which is not there"},
		"never reached": {func(top map[string]any) {
			stepOf(top, "start", "")["on_completion"] = stepOf(top, "action", "a person looks")["on_completion"]
		}, "no step leads to it"},
		"opens a door": {func(top map[string]any) {
			setContent(door(top), `{"action":"restore","target":{"x-querschott-door:door":{"tenant":"__insurer__:value","service":"epa"}}}`)
		}, "moves no door"},
		"lets somebody in": {func(top map[string]any) {
			setContent(credential(top), `{"action":"allow","target":{"x-querschott-door:credential":{"credential":"x","actor":"y"}}}`)
		}, "does nothing to a credential"},
		"two targets":    {func(top map[string]any) { setContent(door(top), `{"action":"deny","target":{"a":{},"b":{}}}`) }, "exactly one target"},
		"foreign target": {func(top map[string]any) { setContent(door(top), `{"action":"deny","target":{"ipv4_net":{"a":"b"}}}`) }, "is none of"},
		"argument": {func(top map[string]any) {
			setContent(door(top), `{"action":"deny","target":{"x-querschott-door:group":{"group":"g"}},"args":{"duration":1}}`)
		}, `"args" is not executed`},
		"undeclared variable": {func(top map[string]any) { delete(top["playbook_variables"].(map[string]any), "__insurer__") }, "is not declared"},
		"invented external": {func(top map[string]any) {
			top["playbook_variables"].(map[string]any)["__moon__"] = map[string]any{"type": "string", "external": true}
		}, "no alarm has it"},
		"own alarm": {func(top map[string]any) {
			top["playbook_variables"].(map[string]any)["__door__"] = map[string]any{"type": "string", "value": "yes"}
		}, "it must be external"},
		"condition": {func(top map[string]any) { stepOf(top, "if-condition", "")["condition"] = "__door__:value > '1'" }, "is not of the form"},
		"foreign agent": {func(top map[string]any) {
			top["agent_definitions"].(map[string]any)[door(top)["agent"].(string)].(map[string]any)["name"] = "firewall"
		}, "commands go to the agent"},
		"other version": {func(top map[string]any) { top["spec_version"] = "cacao-1.1" }, "cacao-2.0"},
	} {
		_, err := ParsePlaybook(altered(t, "write-burst", tc.change))
		faults := Faults{}
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestManyPaths refuses a workflow without a circle that would take more steps than anybody can wait for.
func TestManyPaths(t *testing.T) {
	id := func(kind string, n int) string {
		return kind + "--11111111-2222-4333-8444-" + strings.Repeat("0", 11) + string(rune('0'+n))
	}
	_, err := ParsePlaybook(altered(t, "any-alarm", func(top map[string]any) {
		flow := top["workflow"].(map[string]any)
		end := stepOf(top, "action", "a person looks")["on_completion"]
		for n := range 9 {
			next := any(id("parallel", n+1))
			if n == 8 {
				next = end
			}
			flow[id("parallel", n)] = map[string]any{"type": "parallel", "next_steps": []any{next, next, next}, "on_completion": end}
		}
		stepOf(top, "start", "")["on_completion"] = id("parallel", 0)
		stepOf(top, "action", "a person looks")["on_completion"] = end
		first := flow[id("parallel", 0)].(map[string]any)
		for key, v := range flow {
			if v.(map[string]any)["name"] == "hold the credential" {
				first["on_completion"] = key
			}
		}
	}))
	if err == nil || !strings.Contains(err.Error(), "more than 200 steps") {
		t.Errorf("%v", err)
	}
}

// TestSignatures has who may sign what, and what an import makes of it.
func TestSignatures(t *testing.T) {
	tr, k := trust(t)
	anna, one, two := [2]string{"anna", "anna"}, [2]string{string(kasse), "kasse"}, [2]string{string(kasse2), "kasse2"}
	fixed := altered(t, "write-burst", func(top map[string]any) {
		top["id"] = "playbook--11111111-2222-4333-8444-555555555555"
		setContent(stepOf(top, "action", "move the door"), `{"action":"contain","target":{"x-querschott-door:door":{"tenant":"109500969","service":"epa"}}}`)
	})
	raw := shippedRaw(t, "write-burst")
	moved := k.sign(t, raw, anna, one)
	for name, tc := range map[string]struct {
		data []byte
		want querschott.Code
	}{
		"operator and insurer":             {moved, ""},
		"nobody":                           {raw, querschott.CodeForbidden},
		"operator only":                    {k.sign(t, raw, anna), querschott.CodeForbidden},
		"insurer only":                     {k.sign(t, raw, one), querschott.CodeForbidden},
		"stranger as operator":             {k.sign(t, raw, [2]string{"anna", "mallory"}, one), querschott.CodeForbidden},
		"operator as insurer":              {k.sign(t, raw, anna, [2]string{string(kasse), "anna"}), querschott.CodeForbidden},
		"another insurer's door":           {k.sign(t, fixed, anna, two), querschott.CodeForbidden},
		"its own door":                     {k.sign(t, fixed, anna, one), ""},
		"changed after it was signed":      {[]byte(strings.Replace(string(moved), `"Write burst"`, `"Write  burst"`, 1)), querschott.CodeForbidden},
		"signatures of another playbook":   {[]byte(strings.Replace(string(k.sign(t, raw, anna)), "redirect", "deny", 1)), querschott.CodeForbidden},
		"holds credentials, operator only": {k.sign(t, shippedRaw(t, "any-alarm"), anna), ""},
	} {
		l, err := OpenLibrary(newDisk(), "playbooks", tr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Import(tc.data)
		if got := querschott.CodeOf(err); (tc.want == "") != (err == nil) || err != nil && got != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestReplay imports an older version after a newer one, and another one of the same time; and finds files that were put there.
func TestReplay(t *testing.T) {
	tr, k := trust(t)
	anna := [2]string{"anna", "anna"}
	at := func(modified, name string) []byte {
		return k.sign(t, altered(t, "any-alarm", func(top map[string]any) { top["modified"], top["name"] = modified, name }), anna)
	}
	fs := newDisk()
	l, err := OpenLibrary(fs, "playbooks", tr)
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.Import(at("2026-11-30T00:00:00Z", "new"))
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range [][]byte{at("2026-11-29T23:00:00Z", "old"), at("2026-11-30T00:00:00Z", "other")} {
		if _, err := l.Import(old); querschott.CodeOf(err) != querschott.CodeConflict {
			t.Errorf("an older or other version: %v", err)
		}
	}
	withdrawn := k.sign(t, altered(t, "any-alarm", func(top map[string]any) { top["modified"], top["revoked"] = "2026-12-01T00:00:00Z", true }), anna)
	if _, err := l.Import(withdrawn); err != nil || l.For("D99", "x", begin) != nil {
		t.Errorf("a withdrawn playbook: %v, it is used: %v", err, l.For("D99", "x", begin))
	}
	forged := strings.Replace(string(h.Raw()), `"new"`, `"evil"`, 1)
	if err := disk.WriteFile(fs, "playbooks/"+fileName(h.ID), []byte(forged)); err != nil {
		t.Fatal(err)
	}
	l, err = OpenLibrary(fs, "playbooks", tr)
	if err != nil || len(l.Damaged()) != 1 || slices.ContainsFunc(l.List(), func(h *Held) bool { return h.Name == "evil" }) {
		t.Errorf("a forged file: %v, %v", err, l.Damaged())
	}
}

// TestShipped says that the playbooks that come with the program can be executed and are meant for their alarms.
func TestShipped(t *testing.T) {
	l, err := OpenLibrary(newDisk(), "playbooks", Trust{})
	if err != nil {
		t.Fatal(err)
	}
	for alarm, want := range map[string]string{
		"D1": "Bulk read by a stolen credential", "D3": "Canary person touched", "D4": "Cross-tenant probing", "D11": "Write burst", "D14": "Any other alarm",
	} {
		if h := l.For(alarm, "x", begin.AddDate(0, 1, 0)); h == nil || h.Name != want {
			t.Errorf("%s: %v, want %s", alarm, h, want)
		}
	}
}
