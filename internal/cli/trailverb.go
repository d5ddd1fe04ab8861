package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// trailOptions are those of a verb that looks at one trail. Verbs embed them.
type trailOptions struct {
	trail string
	json  bool
}

// trailVerb describes such a verb: what its help says, and what it does.
type trailVerb struct {
	name, short string
	examples    []string
	long        string // without what all of them say of their argument
	flags       func(*pflag.FlagSet)
	codes       []Code // default: those of reading
	run         func(context.Context, *Env) error
}

// verb makes the command.
func (o *trailOptions) verb(env *Env, v trailVerb) *cobra.Command {
	if v.codes == nil {
		v.codes = []Code{Damaged, Gap, Nothing}
	}
	cmd := &cobra.Command{
		Use:     v.name + " TRAIL|DB [FLAG]...",
		Short:   v.short,
		Example: examples(v.examples...),
		Long:    v.long + "\n\n" + trailHelp,
		Args:    oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			return v.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(v.codes...),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
	if v.flags != nil {
		v.flags(cmd.Flags())
	}
	return cmd
}
