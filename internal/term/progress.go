package term

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Progress shows how far a job has come, on one line that it rewrites some
// times a second and erases at the end. It shows nothing when its writer is no
// terminal. Its methods may be called by several goroutines at once, and on a
// nil Progress.
type Progress struct {
	done, total atomic.Int64
	label       atomic.Pointer[string]

	out     io.Writer
	started time.Time
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
}

// refresh is how often the line is written anew.
const refresh = 200 * time.Millisecond

// NewProgress starts to show progress on w, which should be standard error.
// total is the number of bytes to come, or 0 while that is not known.
func NewProgress(w io.Writer, label string, total int64) *Progress {
	p := &Progress{out: w, started: time.Now(), stop: make(chan struct{})}
	p.total.Store(total)
	p.Label(label)
	if !IsTerminal(w) {
		return p
	}
	p.stopped.Go(func() {
		ticker := time.NewTicker(refresh)
		defer ticker.Stop()
		for {
			select {
			case <-p.stop:
				_, _ = io.WriteString(p.out, "\r\x1b[K")
				return
			case now := <-ticker.C:
				// The last column stays free: some terminals wrap there.
				_, _ = io.WriteString(p.out, "\r\x1b[K"+Cut(p.line(now), max(Width(w), 20)-1))
			}
		}
	})
	return p
}

// Add counts n more bytes as done.
func (p *Progress) Add(n int64) {
	if p != nil {
		p.done.Add(n)
	}
}

// Expect counts n more bytes as to come.
func (p *Progress) Expect(n int64) {
	if p != nil {
		p.total.Add(n)
	}
}

// Label says what is being done.
func (p *Progress) Label(s string) {
	if p != nil {
		s = Clean(s)
		p.label.Store(&s)
	}
}

// Stop erases the line and returns when that is done. It may be called again.
func (p *Progress) Stop() {
	if p != nil {
		p.once.Do(func() { close(p.stop) })
		p.stopped.Wait()
	}
}

// line is what is shown at a moment: label, bytes, share, bytes a second.
func (p *Progress) line(now time.Time) string {
	done, total := p.done.Load(), p.total.Load()
	s := *p.label.Load() + "  " + Bytes(done)
	if total > 0 {
		s += fmt.Sprintf(" of %s  %d%%", Bytes(total), min(int64(float64(done)/float64(total)*100), 100))
	}
	if seconds := now.Sub(p.started).Seconds(); seconds >= 0.5 && done > 0 {
		s += "  " + Bytes(int64(float64(done)/seconds)) + "/s"
	}
	return s
}

// Bytes is a number of bytes as people read it: 999 B, 1.5 KiB, 20.0 MiB.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < 5 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
}
