// Package term writes for people: aligned tables, colour and progress on a
// terminal, plain text everywhere else, and no control character that came out
// of an image.
package term

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	xterm "golang.org/x/term"
)

// Style is how a cell looks on a terminal.
type Style string

// The styles: SGR parameters of ECMA-48.
const (
	Plain Style = ""
	Bold  Style = "1"
	Faint Style = "2"
	Red   Style = "31"
	Amber Style = "33"
	Blue  Style = "34"
	Alarm Style = "1;31"
)

// Paint gives s a style if w is a terminal and NO_COLOR is not set
// (no-color.org).
func Paint(w io.Writer, style Style, s string) string {
	if style == Plain || !colour(w) {
		return s
	}
	return "\x1b[" + string(style) + "m" + s + "\x1b[0m"
}

func colour(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && xterm.IsTerminal(int(f.Fd()))
}

// width of the terminal in columns, 0 when w is none.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := xterm.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// Clean makes a string of hostile origin safe to show: control characters and
// invalid UTF-8 are written as Go escapes, so that no two strings look alike
// and none moves the cursor.
func Clean(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || !printable(r) {
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

func clean(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
		if !printable(r) {
			return false
		}
	}
	return true
}

// printable leaves out what reorders text (Unicode Cf, such as U+202E) too.
func printable(r rune) bool { return unicode.IsPrint(r) }

// Cut shortens s to what fits on a line of w after indent columns; in a pipe
// nothing is cut.
func Cut(w io.Writer, s string, indent int) string {
	columns := width(w)
	if columns == 0 {
		return s
	}
	return cut(s, max(columns-indent, 20))
}

// cut shortens s to at most columns.
func cut(s string, columns int) string {
	if uniseg.StringWidth(s) <= columns {
		return s
	}
	used, end := 0, 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used+g.Width() > columns-1 {
			break
		}
		used += g.Width()
		_, end = g.Positions()
	}
	return s[:end] + "…"
}

// Bytes is a number of bytes for people: 150 MiB.
func Bytes(n int64) string {
	size, unit := float64(n), 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	format := "%.0f %s"
	if size < 10 {
		format = "%.1f %s"
	}
	return fmt.Sprintf(format, size, [...]string{"", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// Table is rows under a header, with aligned columns. On a terminal the last
// column is cut to the line's end.
type Table struct {
	w      io.Writer
	rows   [][]string
	styles []func(string) Style
}

// NewTable begins a table with the names of its columns.
func NewTable(w io.Writer, columns ...string) *Table {
	return &Table{w: w, rows: [][]string{columns}, styles: make([]func(string) Style, len(columns))}
}

// Style sets how the cells of a column look, by their content.
func (t *Table) Style(column int, style func(cell string) Style) { t.styles[column] = style }

// Row adds a row. Cells may be hostile.
func (t *Table) Row(cells ...string) {
	for i := range cells {
		cells[i] = Clean(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// Flush writes the table.
func (t *Table) Flush() error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	columns := width(t.w)
	var b strings.Builder
	for n, row := range t.rows {
		used := 0
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2)
			if i == len(row)-1 {
				pad = ""
				if columns > 0 {
					cell = cut(cell, max(columns-used-1, 10))
				}
			}
			used += widths[i] + 2
			style := Plain
			if n == 0 {
				style = Faint
			} else if t.styles[i] != nil {
				style = t.styles[i](cell)
			}
			line.WriteString(Paint(t.w, style, cell) + pad)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// Progress is one line on a terminal that tells how far long work has come. It
// is silent when w is no terminal. Its methods may be called by several
// goroutines at once, and on nil.
type Progress struct {
	w     io.Writer
	label string

	mu    sync.Mutex
	begin time.Time
	shown time.Time
	bytes int64
	note  string
	drawn bool
}

// NewProgress begins a line; nothing is shown before the first half second.
func NewProgress(w io.Writer, label string) *Progress {
	if !IsTerminal(w) {
		return nil
	}
	now := time.Now()
	return &Progress{w: w, label: label, begin: now, shown: now.Add(300 * time.Millisecond)}
}

// Add counts n more bytes.
func (p *Progress) Add(n int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.draw()
}

// Note says in words what is going on.
func (p *Progress) Note(s string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = Clean(s)
	p.draw()
}

// draw shows the line, at most five times a second.
func (p *Progress) draw() {
	now := time.Now()
	if now.Sub(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown, p.drawn = now, true
	line := p.label
	if p.bytes > 0 {
		line += fmt.Sprintf("  %s  %s/s", Bytes(p.bytes), Bytes(int64(float64(p.bytes)/now.Sub(p.begin).Seconds())))
	}
	if p.note != "" {
		line += "  " + p.note
	}
	fmt.Fprint(p.w, "\r\x1b[K"+Cut(p.w, line, 1))
}

// Done takes the line away.
func (p *Progress) Done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
