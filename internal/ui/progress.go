package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress shows how far a long job is, on one line that is drawn again and again. Its zero value
// shows nothing. Methods may be called concurrently.
type Progress struct {
	W     io.Writer        // where to draw; nil draws nothing
	Term  bool             // W is a terminal; when it is not, only Report draws
	Width func() int       // cells of the terminal, asked at each drawing, because windows are resized
	Now   func() time.Time // the clock
	Label string           // what is being done: "hydrating"

	mu          sync.Mutex
	done, total int64
	begin, next time.Time
	drawn       bool
}

const (
	// A job that is over in a blink should not flash a line.
	progressDelay = 300 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// Update says that done of total bytes are through; total 0 means that nobody knows.
func (p *Progress) Update(done, total int64) {
	if p == nil || p.W == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
	now := p.Now()
	if p.begin.IsZero() {
		p.begin = now
		p.next = now.Add(progressDelay)
	}
	if !p.Term || now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	p.drawn = true
	fmt.Fprint(p.W, "\r\x1b[K"+p.line(now, p.Width()-1))
}

// Report prints the state as a line of its own, wherever W leads: for a signal that asks.
func (p *Progress) Report() {
	if p == nil || p.W == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begin.IsZero() {
		return
	}
	p.clear()
	fmt.Fprintln(p.W, p.line(p.Now(), 100))
}

// Finish removes the line, so that what is printed next stands clean. Updates may follow: another
// phase begins.
func (p *Progress) Finish() {
	if p == nil || p.W == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.begin = time.Time{}
}

func (p *Progress) clear() {
	if p.drawn {
		fmt.Fprint(p.W, "\r\x1b[K")
		p.drawn = false
	}
}

// line draws the state in at most width cells.
func (p *Progress) line(now time.Time, width int) string {
	took := now.Sub(p.begin)
	rate := int64(0)
	if took > 0 {
		rate = int64(float64(p.done) / took.Seconds())
	}
	if p.total <= 0 {
		return Cut(fmt.Sprintf("%s  %s  %s/s", p.Label, Bytes(p.done), Bytes(rate)), width)
	}
	done := min(p.done, p.total)
	left := ""
	if rate > 0 {
		left = fmt.Sprintf("  %s left", wholeSeconds(float64(p.total-done)/float64(rate)))
	}
	head := fmt.Sprintf("%s %3d %%", p.Label, int(100*float64(done)/float64(p.total)))
	tail := fmt.Sprintf("%s of %s  %s/s%s", Bytes(done), Bytes(p.total), Bytes(rate), left)
	bar := min(30, width-Width(head)-Width(tail)-4)
	if bar < 5 {
		return Cut(head+"  "+tail, width)
	}
	full := int(float64(bar) * float64(done) / float64(p.total))
	return head + "  " + strings.Repeat("█", full) + strings.Repeat("░", bar-full) + "  " + tail
}

// wholeSeconds rounds an estimate up: tenths would flicker and claim what nobody knows.
func wholeSeconds(s float64) string {
	const most = 99 * 24 * 3600 // a stalled job must not overflow a Duration
	d := time.Duration(min(s, most)+0.999) * time.Second
	if d < 10*time.Second {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return Duration(d)
}
