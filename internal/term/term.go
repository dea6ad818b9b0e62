// Package term writes for people at a terminal: tables that fit, colours where
// they are wanted, a line of progress, and hostile text made harmless. Nothing
// of it changes what a program reads from a pipe.
package term

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/term"
)

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width of the terminal w in columns; 0, which means without a limit, when w is
// none or does not say.
func Width(w io.Writer) int {
	if !IsTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || width <= 0 {
		width, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	return max(width, 0)
}

// Colour reports whether w takes colours: a terminal does, unless NO_COLOR is
// set (no-color.org) or TERM is "dumb"; CLICOLOR_FORCE (bixense.com/clicolors)
// asks for them in a pipe too.
func Colour(w io.Writer) bool {
	switch {
	case os.Getenv("NO_COLOR") != "":
		return false
	case os.Getenv("CLICOLOR_FORCE") != "" && os.Getenv("CLICOLOR_FORCE") != "0":
		return true
	}
	return IsTerminal(w) && os.Getenv("TERM") != "dumb"
}

// Style is how a text looks, as the parameters of the control sequence that
// selects it (ECMA-48, SGR). The zero value is plain. Only the terminal's own
// colours are used, so that they fit its background.
type Style string

const (
	Plain   Style = ""
	Bold    Style = "1"
	Dim     Style = "2"
	Red     Style = "31"
	Yellow  Style = "33"
	Cyan    Style = "36"
	BoldRed Style = "1;31"
)

// Paint is text in the style. The text must be clean already.
func (s Style) Paint(text string) string {
	if s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
