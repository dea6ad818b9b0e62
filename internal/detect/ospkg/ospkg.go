// Package ospkg detects the packages of the operating system, in the databases
// that the package managers leave in the image: dpkg and opkg, apk, rpm; and
// which distribution the image says it is. A detector reads one file; what
// only the whole image knows (the distribution that a package belongs to) is
// added by Complete.
package ospkg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/plimsoll/plimsoll"
)

// What one file may add to a report. The largest distributions have 70,000
// packages in all, a large image has 3,000; a database beyond these numbers
// was made to be a burden.
const (
	maxPackages = 50_000
	maxText     = 16 << 20 // bytes of names, versions, maintainers ...
	maxOwned    = 32 << 20 // bytes of owned paths, with their string headers
	maxPaths    = 16 << 20 // the same of one package; the largest have 100,000 files
	maxFile     = 64 << 20 // bytes of a text that are read
	maxLine     = 64 << 10 // longer lines are passed over
	maxField    = 4 << 10  // bytes of one value that is kept
	maxGaps     = 20       // broken packages that are named one by one
)

// lines reads a file line by line through one buffer, so that neither a large
// file nor a long line costs memory.
type lines struct {
	ctx context.Context
	r   *bufio.Reader
	// number of the line that next returned, from 1.
	number int
	// long: the line is longer than maxLine and was cut off.
	long bool
	// cut: the line is the last one and has no newline.
	cut bool
}

func newLines(ctx context.Context, content *io.SectionReader) *lines {
	size := min(max(content.Size(), 512), maxLine)
	return &lines{ctx: ctx, r: bufio.NewReaderSize(content, int(size))}
}

// next returns the next line without its end; it is valid until the next call.
// At the end of the file the error is io.EOF.
func (l *lines) next() ([]byte, error) {
	l.long, l.cut = false, false
	if l.number&0xfff == 0 && l.ctx.Err() != nil {
		return nil, l.ctx.Err()
	}
	line, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		line = line[:len(line)-1]
	case errors.Is(err, bufio.ErrBufferFull):
		l.long = true
		// ReadSlice reuses the buffer, so what is kept must be copied first.
		line = bytes.Clone(line[:min(len(line), maxField)])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
		l.cut = err != nil
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	case errors.Is(err, io.EOF) && len(line) > 0:
		l.cut = true
	default:
		return nil, err
	}
	l.number++
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// report gathers what a detector reads out of one file, within the limits.
type report struct {
	plimsoll.Found
	detector string
	// paths is the one element slice that all components share.
	paths []string
	// seen holds the texts that come again and again: maintainers, licences.
	seen  map[string]string
	text  int // bytes kept
	owned int // bytes of owned paths kept
	gaps  int
	full  bool
}

func newReport(detector string, f *plimsoll.File) *report {
	return &report{detector: detector, paths: []string{f.Path}, seen: map[string]string{}}
}

// bounded is as much of content as is read at all. The databases in text form
// have 100 KB to 10 MB.
func (r *report) bounded(content *io.SectionReader) *io.SectionReader {
	if content.Size() <= maxFile {
		return content
	}
	r.gap(plimsoll.Limited, "the file has %d bytes; only the first %d MiB were read", content.Size(), maxFile>>20)
	return io.NewSectionReader(content, 0, maxFile)
}

// found is the result.
func (r *report) found() *plimsoll.Found {
	if more := r.gaps - maxGaps; more > 0 {
		r.Gaps = append(r.Gaps, plimsoll.Gap{Kind: plimsoll.Unreadable, Path: r.paths[0], Detector: r.detector,
			Reason: fmt.Sprintf("%d more of the same sort", more)})
	}
	return &r.Found
}

// gap records something that could not be read, and goes on.
func (r *report) gap(kind plimsoll.GapKind, format string, args ...any) {
	if kind != plimsoll.Limited {
		if r.gaps++; r.gaps > maxGaps {
			return
		}
	}
	r.Gaps = append(r.Gaps, plimsoll.Gap{Kind: kind, Path: r.paths[0], Detector: r.detector,
		Reason: fmt.Sprintf(format, args...)})
}

// keep turns bytes of the file into a string that the report may hold. Control
// characters and broken UTF-8 go no further than here.
func (r *report) keep(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) > maxField {
		b = b[:maxField]
	}
	if s, ok := r.seen[string(b)]; ok {
		return s
	}
	s := string(b)
	if !printable(s) {
		s = strings.Map(func(c rune) rune {
			if c < ' ' || c == 0x7f {
				return -1
			}
			return c
		}, strings.ToValidUTF8(s, "\uFFFD"))
	}
	r.text += len(s)
	return s
}

// keepShared is keep for a text that many packages have in common.
func (r *report) keepShared(b []byte) string {
	s := r.keep(b)
	if len(r.seen) < 10_000 {
		r.seen[s] = s
	}
	return s
}

// add takes a component into the report. It says false when the report is
// full: the rest of the file need not be read.
func (r *report) add(c plimsoll.Component) bool {
	if len(r.Components) >= maxPackages || r.text > maxText {
		if !r.full {
			r.gap(plimsoll.Limited, "more than %d packages or %d MiB of text in one database; the rest was not read", maxPackages, maxText>>20)
		}
		r.full = true
		return false
	}
	c.Type = plimsoll.Library
	c.Detector = r.detector
	c.Paths = r.paths[:1:1]
	r.Components = append(r.Components, c)
	return true
}

// own takes the files of a package into the report.
func (r *report) own(name string, paths []string) {
	for i, p := range paths {
		r.owned += len(p) + pathHeader
		if r.owned > maxOwned {
			r.tooManyPaths(maxOwned)
			paths = paths[:i]
			break
		}
	}
	if len(paths) > 0 {
		r.Owned = append(r.Owned, plimsoll.OwnedFiles{Package: name, Paths: paths})
	}
}

func (r *report) tooManyPaths(most int) {
	if !r.full {
		r.gap(plimsoll.Limited, "more than %d MiB of file names; the owners of the rest are not known", most>>20)
	}
	r.full = true
}

// pathHeader is what a path costs in memory beside its text, at least.
const pathHeader = 16

// pathList collects the paths of one package in few allocations.
type pathList struct {
	text []byte
	ends []int
	full bool // more than maxPaths were given
}

// newPathList makes room for the paths of a list of so many bytes, which is
// not to be believed without end.
func newPathList(size int64) *pathList {
	size = min(size, 1<<20)
	return &pathList{text: make([]byte, 0, size), ends: make([]int, 0, size/48)}
}

// add takes in the path that the parts make when joined as they are.
func (p *pathList) add(parts ...[]byte) {
	if len(p.text)+pathHeader*len(p.ends) > maxPaths {
		p.full = true
		return
	}
	for _, part := range parts {
		p.text = append(p.text, part...)
	}
	p.ends = append(p.ends, len(p.text))
}

// give hands the paths to the report as those of the named package, and leaves
// the list empty.
func (p *pathList) give(r *report, name string) {
	text, paths, from := string(p.text), make([]string, len(p.ends)), 0
	for i, end := range p.ends {
		paths[i] = text[from:end]
		from = end
	}
	r.own(name, paths)
	if p.full {
		r.tooManyPaths(maxPaths)
	}
	p.drop()
}

func (p *pathList) drop() { p.text, p.ends, p.full = p.text[:0], p.ends[:0], false }

// printable says whether s is UTF-8 without control characters.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// word says whether s can be a name or a version: something printable,
// without blanks.
func word(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxField && utf8.Valid(s)
}

// clip keeps hostile text short in reasons.
func clip(s []byte) string {
	return string(s[:min(len(s), 80)])
}
