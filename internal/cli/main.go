package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// memoryLimit is what the garbage collector is asked to stay within. Few commands need as much at a
// time; without a limit twice that would be garbage not yet collected, and a restore often has to run
// on a machine that is short of memory already. GOMEMLIMIT sets another.
const memoryLimit = 64 << 20

// viewBytes is what a view of the past keeps in memory, and roomForView lets it: within memoryLimit little else would be
// done than collecting garbage.
const viewBytes = memoryLimit

func roomForView() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(3 * memoryLimit)
	}
}

// Main runs the process's command line and returns its exit code.
func Main() int { return Process(SystemEnv(), os.Args[1:]) }

// Process runs a command line with the signals of the process. The first SIGINT, SIGTERM or SIGHUP
// cancels what is running, which then cleans up and ends with [Interrupted]; a second one kills.
func Process(env *Env, args []string) int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	// What goes wrong is the error of a command. Services have a log, and make it the VFS's too.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if len(args) > 0 && args[0] == "exec" { // signals are the application's
		return int(Run(context.Background(), env, args))
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	service := len(args) > 0 && args[0] == "run"     // SIGHUP is for reading the configuration again
	if !service && !signal.Ignored(syscall.SIGHUP) { // as under nohup, which asks to go on without the terminal
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop)
	return int(Run(ctx, env, args))
}

// Run runs one command line.
func Run(ctx context.Context, env *Env, args []string) Code {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return Done
	}
	// A context ended by a signal has that signal as its cause, and some report the cause.
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	if strings.HasPrefix(err.Error(), "unknown command") {
		err = unknownVerb(err)
	}
	printError(env, err)
	return codeOf(err)
}

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "pagetrail VERB [FLAG]...",
		Short: "Every committed change of a SQLite database, and the way back to any of them.",
		Long: `Every committed change of a SQLite database, kept as a trail of page patches.
pagetrail reads trails: it lists their transactions and makes the database of any
of them, bit for bit; and it ships them to object storage. Nothing here but rewind
changes a database, and nothing but repair what a trail has, so all of it may run beside
the program that uses the database. Promote and handover make a replica the primary, and
the other way round.`,
		Example: examples(
			"pagetrail log app.db                            # what happened",
			"pagetrail hydrate app.db -o was.db --at 14:05   # the database as it was then",
			"pagetrail rewind app.db --txid 41203            # take the database itself back",
		),
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		Annotations: codes(Damaged, Gap, Nothing, Locked),
	}
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// The reason that strconv gives says nothing that the rest does not.
		text, _, _ := strings.Cut(err.Error(), ": strconv.")
		return &hintError{usagef("%s", text), "see: " + cmd.CommandPath() + " --help"}
	})
	root.PersistentFlags().BoolVarP(&env.quiet, "quiet", "q", false, "say nothing but data and errors")
	env.keyFlags.addFlags(root.PersistentFlags())
	root.PersistentFlags().BoolP("help", "h", false, "explain, with examples")
	root.SetHelpCommand(helpVerb())
	root.AddCommand(
		newLog(env), newShow(env), newStatus(env), newWindow(env), newPoints(env),
		newBisect(env), newQuery(env), newHydrate(env), newRewind(env), newFollow(env), newPromote(env), newHandover(env), newServe(env), newSend(env), newRecv(env),
		newWatch(env), newVerify(env), newRepair(env), newShip(env), newRun(env), newExec(env), newCompact(env),
		newDoctor(env), newEstimate(env), newDemo(env), newVersion(env),
	)
	for _, verb := range root.Commands() {
		verb.SuggestFor = elsewhere[verb.Name()]
	}
	root.InitDefaultCompletionCmd()
	for _, verb := range root.Commands() {
		verb.DisableFlagsInUseLine = true // the lines name them where they belong
		if verb.Name() == "completion" {
			verb.Short = "Print what makes a shell complete verbs, flags, TXIDs and points"
		}
	}
	return root
}

// elsewhere is what other tools call a verb, for who is used to them: git, restic, Litestream, and databases.
var elsewhere = map[string][]string{
	"bisect":  {"blame", "find", "search", "when"},
	"compact": {"forget", "gc", "prune"},
	"doctor":  {"probe"},
	"hydrate": {"checkout", "export", "extract", "recover", "restore"},
	"log":     {"history", "list", "ls", "ltx", "snapshots"},
	"points":  {"tag", "tags"},
	"query":   {"as-of", "asof", "ask", "browse", "read", "select", "shell", "sql", "sqlite3"},
	"repair":  {"recover"},
	"rewind":  {"reset", "restore", "revert", "rollback", "undo"},
	"ship":    {"backup", "push", "replicate", "upload"},
	"show":    {"diff", "inspect"},
	"status":  {"info", "stat"},
	"verify":  {"check", "fsck"},
	"window":  {"generations"},
}

// helpVerb is cobra's help command with an exit code for a verb that does not exist.
func helpVerb() *cobra.Command {
	return &cobra.Command{
		Use:                "help [VERB]",
		Short:              "Explain a verb",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			verb, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &hintError{usagef("there is no verb %q to explain", strings.Join(args, " ")), "see: pagetrail --help"}
			}
			verb.InitDefaultHelpFlag()
			return verb.Help()
		},
	}
}

// unknownVerb turns cobra's error, which spreads its suggestions over lines, into one of ours.
func unknownVerb(err error) error {
	first, rest, _ := strings.Cut(err.Error(), "\n")
	verb, _, _ := strings.Cut(strings.TrimPrefix(first, "unknown command "), " for ")
	var near []string
	for _, l := range strings.Split(rest, "\n") {
		if strings.HasPrefix(l, "\t") {
			near = append(near, strings.TrimSpace(l))
		}
	}
	hint := "see: pagetrail --help"
	if len(near) > 0 {
		hint = "did you mean: pagetrail " + strings.Join(near, ", or pagetrail ")
	}
	return &hintError{&usageError{fmt.Errorf("there is no verb %s", verb)}, hint}
}
