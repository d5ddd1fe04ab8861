package cli

import (
	"github.com/spf13/cobra"
)

func newDemo(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "demo", RunE: func(*cobra.Command, []string) error { return usagef("no demo yet") },
	}
}
