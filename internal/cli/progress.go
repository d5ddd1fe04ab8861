package cli

import (
	"context"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
)

// progressBar joins ui.Progress with what apply reports, and prints it when a signal asks.
type progressBar struct {
	bar  *ui.Progress
	last apply.Phase
	stop func()
}

// progress starts a bar on stderr: drawn on a terminal, printed on SIGUSR1 everywhere, and silent
// with --quiet.
func (e *Env) progress(ctx context.Context, label string) *progressBar {
	p := &progressBar{bar: &ui.Progress{W: e.Err, Term: e.ErrTerm, Width: e.Width, Now: e.Now, Label: label}, stop: func() {}}
	if e.quiet {
		p.bar = nil
		return p
	}
	p.stop = onReportSignal(ctx, p.bar.Report)
	return p
}

// phaseNames are what a bar calls them.
var phaseNames = map[apply.Phase]string{
	apply.PhaseBase:   "base",
	apply.PhaseReplay: "replaying",
	apply.PhaseCheck:  "checking",
	apply.PhaseCopy:   "writing",
	apply.PhaseScan:   "reading",
}

// apply shows the progress of a phase; a bar is one phase at a time.
func (p *progressBar) apply(a apply.Progress) {
	if p.bar == nil {
		return
	}
	if a.Phase != p.last {
		p.bar.Finish()
		p.bar.Label, p.last = phaseNames[a.Phase], a.Phase
	}
	p.bar.Update(a.Bytes, a.BytesTotal)
}

// finish takes the bar away.
func (p *progressBar) finish() {
	p.bar.Finish()
	p.stop()
}

// phase begins a phase that is not apply's.
func (p *progressBar) phase(label string) {
	if p.bar == nil {
		return
	}
	p.bar.Finish()
	p.bar.Label, p.last = label, ""
}

// update shows the progress of such a phase.
func (p *progressBar) update(done, total int64) { p.bar.Update(done, total) }
