package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is set at release with -ldflags; a build without it shows what the Go tool recorded.
var Version = ""

type versionOptions struct{ json bool }

// versionJSON is what version --json answers.
type versionJSON struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(env *Env) *cobra.Command {
	o := &versionOptions{}
	cmd := &cobra.Command{
		Use:     "version [FLAG]...",
		Short:   "Say which pagetrail this is",
		Example: examples("pagetrail version"),
		Long:    "Say which version of pagetrail this is, for bug reports.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("version takes no arguments")
			}
			return nil
		},
		RunE:        func(*cobra.Command, []string) error { return o.run(env) },
		Annotations: codes(),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
	return cmd
}

func (o *versionOptions) run(env *Env) error {
	v := versionJSON{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	if o.json {
		return writeJSON(env.Out, v)
	}
	commit := ""
	if v.Commit != "" {
		commit = ", commit " + v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			commit += " with changes"
		}
	}
	_, err := fmt.Fprintf(env.Out, "pagetrail %s (%s, %s%s)\n", v.Version, v.Go, v.Platform, commit)
	return err
}
