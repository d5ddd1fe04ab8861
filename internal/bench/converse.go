package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// conversation is a job that is under way, in a process of its own. It says a line when it has begun, may be told
// lines, each of which it answers with one, and ends when its input does.
type conversation struct {
	said string // when it had begun

	job    job
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
	start  time.Time
	over   bool
}

// converse starts a job and waits until it has begun.
func (b *bench) converse(j job) (*conversation, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	c := &conversation{job: j, cmd: exec.CommandContext(b.ctx, b.self, "job", string(text)), start: time.Now()}
	c.cmd.Stderr = &c.stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	pipe, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(pipe)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.said, err = c.line()
	return c, err
}

func (c *conversation) failed(err error) error {
	return fmt.Errorf("%s with %s: %w: %s", c.job.Name, c.job.VFS, err, strings.TrimSpace(c.stderr.String()))
}

func (c *conversation) line() (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.over = true
		return "", c.failed(fmt.Errorf("%w, %w", err, c.cmd.Wait()))
	}
	return strings.TrimSpace(line), nil
}

// ask tells the job a line and waits for its answer.
func (c *conversation) ask(text string) (string, error) {
	if _, err := fmt.Fprintln(c.in, text); err != nil {
		return "", c.failed(err)
	}
	return c.line()
}

// end has the job end, and takes what it cost and has to say.
func (c *conversation) end() (took cost, err error) {
	if err := c.in.Close(); err != nil {
		return took, err
	}
	decoded := json.NewDecoder(c.out).Decode(&took.out)
	c.over = true
	if err := c.cmd.Wait(); err != nil {
		return took, c.failed(err)
	}
	took.wall, took.cpu = time.Since(c.start), c.cmd.ProcessState.UserTime()+c.cmd.ProcessState.SystemTime()
	took.rss = peakMemory(c.cmd.ProcessState)
	return took, decoded
}

// kill ends a job of which nothing is wanted any more, if it has not ended.
func (c *conversation) kill() {
	if c == nil || c.over {
		return
	}
	c.over = true
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed
}
