package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/node"
)

const manual = "../../docs/manual/"

// compare compares a file of the manual with what the code says; QUERSCHOTT_UPDATE=1 writes it.
func compare(t *testing.T, name, want string) {
	t.Helper()
	if os.Getenv("QUERSCHOTT_UPDATE") != "" {
		if err := os.WriteFile(manual+name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manual + name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says; QUERSCHOTT_UPDATE=1 go test ./cmd/querschott -run Reference writes it", name)
	}
}

func TestReferenceOfTheConfiguration(t *testing.T) {
	compare(t, "reference-config.md", "# Reference: configuration\n\nMade from the code: `querschott config` prints it. Every field may be absent and then has the value shown here; an unknown\n"+
		"key is an error with its line. Sizes are written 64MiB, 512KiB or as a number of bytes.\n\n```yaml\n"+node.Example(node.Default())+"```\n")
}

func TestReferenceOfTheCommands(t *testing.T) {
	for _, name := range []string{"QUERSCHOTT_CONFIG", "QUERSCHOTT_OPERATOR_KEY", "QUERSCHOTT_DEMO"} {
		t.Setenv(name, "") // they change defaults
	}
	var b strings.Builder
	b.WriteString("# Reference: commands\n\nMade from the code: every command has `--help`.\n\nExit codes: 0 done, 1 failed, 2 used wrongly, 3 the node is not running, " +
		"4 refused (door, rights, conflict), 5 a check found\nsomething.\n\nOptions of all commands:\n")
	root := newRoot()
	options(&b, root.PersistentFlags().FlagUsages())
	b.WriteString("\n| variable | stands for |\n|---|---|\n| `QUERSCHOTT_CONFIG` | `--config` |\n| `QUERSCHOTT_OPERATOR_KEY` | `--key` |\n" +
		"| `QUERSCHOTT_DEMO` | `--demo` |\n| `QUERSCHOTT_PASSPHRASE_FILE` | file with the passphrase of the keyring's key file |\n")
	walk(root, func(c *cobra.Command) { entry(&b, c) })
	compare(t, "reference-commands.md", b.String())
}

// walk visits the commands that do something, in the order of their names.
func walk(c *cobra.Command, fn func(*cobra.Command)) {
	if c.Runnable() && c.HasParent() {
		fn(c)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			walk(sub, fn)
		}
	}
}

func entry(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, "    %s\n\n%s\n", c.UseLine(), text)
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
	options(b, c.LocalNonPersistentFlags().FlagUsages())
}

// options writes what --help says of a command's own options.
func options(b *strings.Builder, usages string) {
	var lines []string
	for l := range strings.Lines(usages) {
		if !strings.Contains(l, "--help") {
			lines = append(lines, l)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n```\n%s```\n", strings.Join(lines, ""))
	}
}

// TestManualNamesRealCommands parses every command line of the manual and of the README as the program would.
func TestManualNamesRealCommands(t *testing.T) {
	files, err := os.ReadDir(manual)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"../../README.md"}
	for _, f := range files {
		names = append(names, manual+f.Name())
	}
	line := regexp.MustCompile(`^(?:    )?\$? ?(?:sudo )?querschott ([^|&<>]*)`)
	found := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range strings.Split(string(text), "\n") {
			m := line.FindStringSubmatch(l)
			if m == nil || strings.HasSuffix(name, "reference-commands.md") && strings.HasPrefix(l, "    ") {
				continue
			}
			found++
			if err := parses(words(m[1])); err != nil {
				t.Errorf("%s:%d: %s: %v", name, i+1, l, err)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d command lines were found", found)
	}
}

// words splits a command line; quotation marks keep words together, # begins a comment.
func words(line string) (list []string) {
	for _, w := range regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1) {
		if strings.HasPrefix(w, "#") {
			break
		}
		list = append(list, strings.Trim(w, `"'`))
	}
	return list
}

func parses(args []string) error {
	c, rest, err := newRoot().Find(args)
	if err != nil {
		return err
	}
	if !c.Runnable() {
		return fmt.Errorf("%s is no command", c.CommandPath())
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if c.Args == nil {
		return nil
	}
	return c.Args(c, c.Flags().Args())
}
