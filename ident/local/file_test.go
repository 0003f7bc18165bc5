package local

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/ident"
	"github.com/querschott/querschott/internal/disk"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func TestOnlyHashesOnDisk(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	before, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	anna := h.enrolWith(t, token)
	after, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(anna.recovery, token, right, strings.ReplaceAll(anna.recovery[0], "-", "")) {
		if strings.Contains(string(before)+string(after), secret) {
			t.Errorf("a secret stands on disk")
		}
	}
	names, err := h.fs.List("used")
	if err != nil || len(names) != 2 || strings.Contains(strings.Join(names, " "), "anna") {
		t.Errorf("used directory: %v, %v", names, err)
	}
}

func TestDamagedFileStopsTheStart(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	data, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	entry := good[strings.Index(good, "{\n\t\t\t"):strings.LastIndex(good, "\n\t]")]
	for name, damaged := range map[string]string{
		"empty": "", "cut": good[:len(good)/2], "null": "null", "no list": "{}", "more": good + "[]",
		"unknown field": strings.Replace(good, `"role"`, `"rolle"`, 1),
		"twice":         strings.Replace(good, entry, entry+","+entry, 1),
		"capital":       strings.Replace(good, `"anna"`, `"Anna"`, 1),
		"role":          strings.Replace(good, `"operator"`, `"machine"`, 1),
		"staff":         strings.Replace(good, `"operator"`, `"staff"`, 1),
		"cheap":         strings.Replace(good, `"memory": 64`, `"memory": 1`, 1),
		"dear":          strings.Replace(good, `"memory": 64`, `"memory": 1000000`, 1),
		"endless":       strings.Replace(good, `"time": 1`, `"time": 1000000`, 1),
		"no salt":       strings.Replace(good, `"salt": "`, `"salt": "AAAA`, 1),
		"no factor":     strings.Replace(good, `"factor": {`, `"factor": null, "factor2": {`, 1),
		"short secret":  strings.Replace(good, `"secret": "`, `"secret": "AAAA`, 1),
	} {
		if damaged == good {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if err := disk.WriteFile(h.fs, "staff.json", []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(h.cfg); err == nil || !strings.Contains(err.Error(), "couldn't understand accounts file staff.json") {
			t.Errorf("%s: start = %v", name, err)
		}
		if err := h.Reload(); err == nil {
			t.Errorf("%s: reloaded", name)
		}
	}
	h.in(t, h.attempt(anna)) // by the list in force
	if err := disk.WriteFile(h.fs, "used/"+deviceKeyName, []byte("short")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.cfg); err == nil || !strings.Contains(err.Error(), deviceKeyName) {
		t.Errorf("a damaged key of browsers: %v", err)
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	good := newHouse(t).cfg
	for name, change := range map[string]func(*Config){
		"params":                   func(c *Config) { c.Params = Params{Memory: 1, Time: 1, Threads: 1} },
		"platform":                 func(c *Config) { c.Platform = "a:b" },
		"one directory for both":   func(c *Config) { c.File, c.Used = "data/staff.json", "data/" },
		"too much memory per hash": func(c *Config) { c.Params = Params{Memory: 512 << 10, Time: 1, Threads: 1} },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if p := StandardParams(); p.check() != nil || p.Memory < 64<<10 || p.Time < 3 {
		t.Errorf("the standard is %+v", p)
	}
}

func TestOnARealDisk(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	cfg := Config{FS: disk.OS{}, File: dir + "/staff.json", Used: dir + "/used", Now: clk.now, Params: Params{Memory: 64, Time: 1, Threads: 1}, Sessions: ident.NewSessions(clk.now, 0, 0)}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			a, err := Open(cfg)
			if err == nil {
				h := &house{a, cfg.FS, clk, cfg.Sessions}
				var token string
				if token, _, err = h.Invite(Account{Name: fmt.Sprint("anna", i), Role: querschott.RoleOperator}, "root"); err == nil {
					e, _ := h.Begin(token)
					secret, _ := base32Letters.DecodeString(e.Secret)
					_, err = h.Finish(context.Background(), token, right, h.code(person{secret: secret}))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	a, err := Open(cfg)
	if err != nil || len(a.table.Load().enrolled) != 6 {
		t.Errorf("six commands at once left %+v: %v", a.List(), err)
	}
}

func FuzzParseFile(f *testing.F) {
	h := newHouse(f)
	h.operator(f, "anna")
	data, err := disk.ReadFile(h.fs, "staff.json", maxFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"accounts":[{"name":"c","role":"staff","insurer":"109500969","created":"2026-03-02T08:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		byName, err := parseFile(data)
		if err != nil {
			return
		}
		fs := crashdisk.New()
		if err := writeFile(fs, "f", byName); err != nil {
			t.Skip("a time that JSON cannot hold")
		}
		again, err := readFile(fs, "f")
		if err != nil {
			t.Fatalf("what was read is not understood when written: %v", err)
		}
		one, _ := json.Marshal(byName)
		two, _ := json.Marshal(again)
		if string(one) != string(two) {
			t.Fatalf("%s became %s", one, two)
		}
	})
}

func FuzzCode(f *testing.F) {
	for _, s := range []string{"123 456", "abcd-efgh-ijkl-mnop", "", "１２３４５６"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := plainCode(s)
		if c != "" && len(c) != totpDigits && len(c) != recoveryChars || plainCode(c) != c {
			t.Errorf("%q became %q", s, c)
		}
	})
}
