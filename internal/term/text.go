package term

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// mostMarks are the combining marks that one character may carry; no script
// needs more, and without a limit a name could cover the lines around it.
const mostMarks = 4

// Clean makes text that an image chose harmless to show: control characters,
// bytes that are no UTF-8, and characters that turn the direction of writing or
// cannot be seen are written as escapes (\n, \x1b, \u202e). What is left can
// neither move the cursor nor look like another line of output.
func Clean(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if isMark(r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case isVisible(r) && marks <= mostMarks:
			b.WriteString(s[i : i+size])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// isPlain reports whether s is of printable ASCII characters, as nearly all
// text is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func isVisible(r rune) bool {
	// The two joiners make up emoji and letters of several scripts.
	return unicode.IsGraphic(r) || r == zeroWidthJoiner || r == zeroWidthNonJoiner
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

func isMark(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me) }

// Columns that clean text takes on a terminal: two for East Asian wide
// characters and emoji (Unicode annex 11), none for combining marks.
func Columns(s string) int {
	if isPlain(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += columns(r)
	}
	return n
}

func columns(r rune) int {
	switch {
	case isMark(r), r == zeroWidthJoiner, r == zeroWidthNonJoiner:
		return 0
	case 0x1160 <= r && r <= 0x11ff:
		return 0 // Hangul vowels and finals: drawn into the initial before them
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

const ellipsis = "…"

// Cut shortens clean text to most columns, with an ellipsis at its end.
func Cut(s string, most int) string {
	if Columns(s) <= most {
		return s
	}
	if most <= 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += columns(r); n > most-1 {
			return s[:i] + ellipsis
		}
	}
	return s
}

// CutStart shortens clean text to most columns, with an ellipsis at its start:
// for paths, whose end tells more.
func CutStart(s string, most int) string {
	if Columns(s) <= most {
		return s
	}
	if most <= 0 {
		return ""
	}
	n, start := 0, len(s)
	for start > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:start])
		if n += columns(r); n > most-1 {
			break
		}
		start -= size
	}
	// Marks whose letter was cut off go with it.
	for start < len(s) {
		r, size := utf8.DecodeRuneInString(s[start:])
		if columns(r) > 0 {
			break
		}
		start += size
	}
	return ellipsis + s[start:]
}
