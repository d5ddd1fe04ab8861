package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/demo"
)

type demoOptions struct {
	dir   string
	seed  uint64
	short bool
}

func (o *demoOptions) addFlags(f *pflag.FlagSet) {
	f.Uint64Var(&o.seed, "seed", 1, "of the workload: the same `N` makes the same database")
	f.BoolVar(&o.short, "short", false, "a hundredth of the work")
}

func newDemo(env *Env) *cobra.Command {
	o := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo [DIR] [FLAG]...",
		Short: "Watch a bad deploy being undone, on real work, in under a minute",
		Example: examples(
			"pagetrail demo",
			"pagetrail demo /tmp/play   # and look around in it afterwards",
		),
		Long: `Run the workload of a sync service on a database that is opened with ?vfs=pagetrail,
name a restore point, delete everything by mistake, and bring back the moment before
out of the trail; then prove it, byte for byte.

The files stay in DIR, a new or empty directory; without DIR in a new one under the
directory for temporary files (TMPDIR). When it fails or is interrupted they are
removed. It wants some 200 MB of disk and no network.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("demo takes one directory, and there are %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.dir = args[0]
			}
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *demoOptions) run(ctx context.Context, env *Env) error {
	dir := o.dir
	if dir == "" {
		// A name of its own below a new directory, which the demo makes and on failure removes.
		parent, err := os.MkdirTemp("", "pagetrail-demo-")
		if err != nil {
			return err
		}
		dir = filepath.Join(parent, "demo")
		defer os.Remove(parent) // fails, as it should, when the demo left its files
	}
	err := demo.Run(ctx, demo.Options{
		Dir: dir, Out: env.Out, Term: env.OutTerm, Paint: env.painter(env.OutTerm), Width: env.Width, Now: env.Now,
		Seed: o.seed, Short: o.short,
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("demo: %w", err)
	}
	return err
}
