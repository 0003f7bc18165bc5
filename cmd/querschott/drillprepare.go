package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/querschott/querschott/drill"
	"github.com/querschott/querschott/drill/demo"
	"github.com/querschott/querschott/node"
)

func (a *app) drillPrepare() *cobra.Command {
	opt := demo.Preparation{}
	cmd := &cobra.Command{
		Use:   "prepare DIR",
		Short: "Make a node's directory ready for drills: invented insurers, a mail account, certificates",
		Long: `Make the directory of a node ready for 'drill run --data DIR': 80 invented insurers, a mail account for the invented
practices, certificates of an invented authority where there are none, and DIR/drill.json, which says how to get in (with a
password: only its owner may read it). The node must be stopped. Its configuration must say that everything in it is an exercise, as
'init --drill' writes it; otherwise what is missing is said, and nothing is changed. It may be done again, with the same --seed.`,
		Example: `  querschott init ./exercise --drill
  querschott drill prepare ./exercise`,
		Args: limitArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opt.Persons < drill.DefaultInsurers || opt.Persons > drill.MaxPersons {
				return usageError{fmt.Errorf("--insured: between %d and %d persons are possible", drill.DefaultInsurers, drill.MaxPersons)}
			}
			opt.Dir = args[0]
			f, err := demo.Prepare(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.show(cmd, map[string]any{"config": f.Config, "ca": f.CA, "insurers": drill.DefaultInsurers, "persons": f.Persons, "seed": f.Seed}, func(w io.Writer) {
				config := filepath.Join(opt.Dir, node.ConfigFile)
				fmt.Fprintf(w, `%[1]s is ready for drills, with %[3]d invented insurers.

Next:
  1. querschott --config %[2]s serve
  2. two operators open the doors, in another terminal, with their keys (%[1]s/operators, unless they have taken them away):
     querschott --config %[2]s door set all open --key KEY --reason drill
     querschott --config %[2]s door approve --all --key KEY
  3. querschott drill run january-2023 --data %[1]s --report -
`, opt.Dir, config, drill.DefaultInsurers)
			})
		},
	}
	cmd.Flags().Uint64Var(&opt.Seed, "seed", 1, "of the invented world")
	cmd.Flags().IntVar(&opt.Persons, "insured", 6000, "synthetic insured persons")
	cmd.Flags().StringVar(&opt.CA, "ca", "", "file with who vouches for certificates that are there already")
	return cmd
}
