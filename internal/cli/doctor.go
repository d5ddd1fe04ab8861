package cli

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pagetrail/pagetrail/internal/doctor"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
)

type doctorOptions struct {
	url  string
	json bool
}

func newDoctor(env *Env) *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor URL [FLAG]...",
		Short: "Find out whether a store is fit for archives",
		Example: examples(
			"pagetrail doctor s3://backups/app?region=eu-central-1",
			"pagetrail doctor file:///mnt/backup --json | jq '.checks[] | select(.ok == false)'",
		),
		Long: `Find out whether an object store is fit for archives, by doing there what an archive
does: it is asked for a list (which needs the credentials and the bucket), written to
and read; its clock is compared with this machine's; it is tried whether it honours
the conditions of writes, without which two writers could overwrite each other; and a
small database is made, shipped there, restored from there and verified.

All of that is in a prefix of its own below the URL, doctor-…, and is removed at the
end; an archive that is there already is not touched. Credentials come from where
pagetrail ship has them. It is the store that is examined, so nothing is encrypted.

A check that fails says what to do next, and those that need it are skipped. The exit
code is 0 when all is well, and 1 when a check failed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &hintError{usagef("which store? %s", cmd.UseLine()), "try: pagetrail doctor file:///DIR"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.url = args[0]
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "answer as one JSON object")
	return cmd
}

// doctorJSON is what doctor --json answers.
type doctorJSON struct {
	URL    string      `json:"url"`
	OK     bool        `json:"ok"`
	Checks []checkJSON `json:"checks"`
}

type checkJSON struct {
	Check   string  `json:"check"`
	OK      bool    `json:"ok"`
	Skipped bool    `json:"skipped"`
	Text    string  `json:"text,omitempty"`
	Hint    string  `json:"hint,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (o *doctorOptions) run(ctx context.Context, env *Env) error {
	if !isURL(o.url) {
		return &hintError{usagef("%s is not a URL", o.url), "for a directory write file://" + absolute(o.url)}
	}
	s, err := stores.Open(ctx, o.url)
	if err != nil {
		return err
	}
	defer s.Close()
	checks, err := doctor.Examine(ctx, s, &doctor.Options{Now: env.Now, Tidy: tidy(o.url)})
	if err != nil {
		return err
	}
	var failed error
	for _, c := range checks {
		if failed == nil && c.Err != nil {
			failed = c.Err
		}
	}
	if o.json {
		err = writeJSON(env.Out, o.answer(checks, failed == nil))
	} else {
		err = o.table(env, checks)
	}
	if err == nil && failed != nil {
		return &quietCode{Failed, failed}
	}
	return err
}

func (o *doctorOptions) answer(checks []doctor.Check, ok bool) doctorJSON {
	j := doctorJSON{URL: storeName(o.url), OK: ok, Checks: []checkJSON{}}
	for _, c := range checks {
		text := c.Text
		if c.Err != nil {
			text = reasonOf(c.Err)
		}
		j.Checks = append(j.Checks, checkJSON{
			Check: c.Name, OK: c.Err == nil && !c.Skipped, Skipped: c.Skipped, Text: text, Hint: c.Hint, Seconds: c.Took.Seconds(),
		})
	}
	return j
}

func (o *doctorOptions) table(env *Env, checks []doctor.Check) error {
	t := ui.NewTable(env.Out, env.painter(env.OutTerm), 0, ui.Column{}, ui.Column{}, ui.Column{})
	for _, c := range checks {
		word, style, text := "ok", ui.Good, c.Text
		switch {
		case c.Skipped:
			word, style, text = "skipped", ui.Dim, "needs what failed above"
		case c.Err != nil:
			word, style, text = "failed", ui.Bad, reasonOf(c.Err)
		}
		if err := t.Row(ui.Cell{Text: c.Name}, ui.Cell{Text: word, Style: style}, ui.Cell{Text: ui.Clean(text)}); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range checks {
		if c.Err != nil {
			fmt.Fprintln(env.Err, env.wrap(c.Name+": "+c.Hint))
		}
	}
	return nil
}

// tidy removes the directories that a store in a directory leaves where objects were.
func tidy(raw string) func(prefix string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return nil
	}
	return func(prefix string) error { return file.Vacate(filepath.Join(storeName(raw), prefix)) }
}
