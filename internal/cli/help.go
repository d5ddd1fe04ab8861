package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// helpTemplate starts with an example, because that is what a reader came for.
const helpTemplate = `{{if .HasExample}}{{.Example}}

{{end}}{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

// usageTemplate: the synopsis in the usual grammar (CAPITALS are to be replaced, brackets may be
// left out, A|B is one of both), then verbs or flags.
const usageTemplate = `Usage:
  {{.UseLine}}{{if not .Runnable}} VERB [FLAG]...{{end}}
{{if .HasAvailableSubCommands}}
Verbs:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name 11}} {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsagesWrapped 88 | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Everywhere:
{{.InheritedFlags.FlagUsagesWrapped 88 | trimTrailingWhitespaces}}
{{end}}{{with index .Annotations "codes"}}
Exit codes:
{{.}}{{end}}{{if .HasAvailableSubCommands}}
pagetrail VERB --help says more, examples first.
{{end}}`

// trailHelp explains the argument that most verbs share.
const trailHelp = `TRAIL|DB is the trail's directory, or the database it belongs to (then the trail
is DB-pagetrail beside it; the database itself need not exist any more), or the URL
of an archive that pagetrail ship wrote: s3://BUCKET/PREFIX (azure://, gs://) or
file:///DIR. A cut or branch is a trail, too: DB-pagetrail/cut-…, see status --help.`

// timeHelp explains the times that flags take.
const timeHelp = `TIME is RFC 3339 (2026-11-21T14:05:00+01:00), local ('2026-11-21 14:05:06.123456',
14:05: the last time a clock showed that; TZ sets the zone), an age (-15m, -2h30m,
-3d), or now.`

// codes are the exit codes of a verb, for the end of its help; 0, 1, 2 and 130 are possible for all,
// so they are added here.
func codes(more ...Code) map[string]string {
	var b strings.Builder
	for _, c := range append(append([]Code{Done, Failed, Usage}, more...), Interrupted) {
		fmt.Fprintf(&b, "  %3d  %s\n", c, codeMeans[c])
	}
	return map[string]string{"codes": b.String()}
}

// commandLine is a command for somebody to copy into a shell, each argument quoted where it must be.
func commandLine(args ...string) string {
	line := "pagetrail"
	for _, a := range args {
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+,=") != "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		line += " " + a
	}
	return line
}

// examples sets each command line of an example behind a prompt, its explanation above it.
func examples(lines ...string) string {
	for i, l := range lines {
		if !strings.HasPrefix(l, "#") {
			l = "$ " + l
		}
		lines[i] = "  " + l
	}
	return strings.Join(lines, "\n")
}

// between wants so many arguments of a verb, and else asks for them.
func between(least, most int, question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return &hintError{usagef("%s %s", question, cmd.UseLine()), "see: " + cmd.CommandPath() + " --help"}
		}
		return nil
	}
}

// someTrails wants arguments and says which.
func someTrails(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &hintError{usagef("which trail? %s", cmd.UseLine()), neighbours(".", "see: "+cmd.CommandPath()+" --help")}
	}
	return nil
}

// oneTrail wants exactly one argument and says which.
func oneTrail(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &hintError{usagef("one argument is enough, and there are %d: %s", len(args), strings.Join(args, " ")), "see: " + cmd.CommandPath() + " --help"}
	}
	return someTrails(cmd, args)
}
