package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pagetrail/pagetrail/journal"
)

// completion is what cobra asks for when a shell completes an argument or flag.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// A shell that completes should not make a person wait, whatever the trail's size.
const completionTime = 300 * time.Millisecond

// completeTrail lets the shell complete file names for the first argument, and uses second for the
// next one, if there is one.
func completeTrail(second func(*journal.Trail) []string) completion {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0:
			return nil, cobra.ShellCompDirectiveDefault
		case len(args) == 1 && second != nil:
			return fromTrail(args[0], second)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes a flag's value out of the trail that the first argument names.
func completeFlag(values func(*journal.Trail) []string) completion {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return fromTrail(args[0], values)
	}
}

func fromTrail(arg string, values func(*journal.Trail) []string) ([]string, cobra.ShellCompDirective) {
	if isURL(arg) { // a shell should not wait for a network, nor pay for requests
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	t, err := openTrail(context.Background(), &Env{}, arg) // no archive, so no keys
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer t.Close()
	return values(t.Trail), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// recentTXIDs are the last transactions, newest first, each with its time and note.
func recentTXIDs(t *journal.Trail) []string {
	last, err := t.Last()
	if err != nil || last.TXID == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	var found []string
	for r, err := range t.Records(ctx, last.TXID-min(last.TXID-1, 19)) {
		if err != nil {
			break
		}
		found = append([]string{fmt.Sprintf("%d\t%s  %s", r.TXID, r.Time.Time().Format(time.DateTime), r.Note)}, found...)
	}
	return found
}

// pointNames are the restore points, latest first, each with its TXID.
func pointNames(t *journal.Trail) []string {
	points, err := t.Points()
	if err != nil {
		return nil
	}
	var found []string
	for i := len(points) - 1; i >= 0; i-- {
		found = append(found, fmt.Sprintf("%s\ttransaction %d", points[i].Name, points[i].TXID))
	}
	return found
}

// mustComplete registers completion for a flag; it fails only for a flag that does not exist.
func mustComplete(cmd *cobra.Command, flag string, values func(*journal.Trail) []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, completeFlag(values)); err != nil {
		panic(err)
	}
}
