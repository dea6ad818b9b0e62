package ospkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/plimsoll/plimsoll"
)

// Apk reads the database of apk (Alpine, Wolfi, Chainguard): paragraphs of
// fields with one letter, first those of the package, then its directories and
// files. Format: wiki.alpinelinux.org/wiki/Apk_spec, "Installed Database V2".
type Apk struct{}

// Name is "apk".
func (Apk) Name() string { return "apk" }

// Version changes when the same file would give another result.
func (Apk) Version() int { return 1 }

// Wants the database, which newer Alpine keeps below usr.
func (Apk) Wants(f *plimsoll.File) bool {
	switch f.Path {
	case "lib/apk/db/installed", "usr/lib/apk/db/installed",
		"lib/apk/db/installed.new", "usr/lib/apk/db/installed.new":
		return true
	}
	return false
}

// Detect reads the database.
func (a Apk) Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	r := newReport(a.Name(), f)
	if f.Base == "installed.new" {
		// apk renames it to installed as the last step of a change.
		r.gap(plimsoll.Unreadable, "apk was interrupted while it wrote its database; the file installed may be older than what is installed")
		return r.found(), nil
	}
	p := apkParagraph{r: r}
	l := newLines(ctx, r.bounded(content))
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if l.number == 1 && bytes.HasPrefix(line, []byte("ADB")) {
			r.gap(plimsoll.Unsupported, "the database is in apk's binary format")
			return r.found(), nil
		}
		if l.cut {
			r.gap(plimsoll.Unreadable, "line %d: the file ends in the middle of a line; packages after it are not known", l.number)
			p.cut = true
			break
		}
		if blank(line) {
			if !p.end() {
				return r.found(), nil
			}
			continue
		}
		p.field(line, l)
	}
	p.end()
	return r.found(), nil
}

// apkParagraph is the package being read.
type apkParagraph struct {
	r      *report
	first  int // number of its first line; 0: none yet
	broken string
	cut    bool // it has no end, which was said already
	c      plimsoll.Component
	origin string
	dir    []byte
	files  pathList
}

func (p *apkParagraph) fail(format string, args ...any) {
	if p.broken == "" {
		p.broken = fmt.Sprintf(format, args...)
	}
}

func (p *apkParagraph) field(line []byte, l *lines) {
	if p.first == 0 {
		p.first = l.number
	}
	if len(line) < 2 || line[1] != ':' {
		p.fail("line %d is no field", l.number)
		return
	}
	value := line[2:]
	switch line[0] {
	case 'P', 'V', 'A', 'o', 'm', 'L', 'F', 'R':
		if l.long || len(value) > maxField || bytes.IndexByte(value, 0) >= 0 {
			p.fail("line %d: field %c is longer than %d bytes, or binary", l.number, line[0], maxField)
			return
		}
	}
	switch line[0] {
	case 'P':
		p.must(&p.c.Name, value, l)
	case 'V':
		p.must(&p.c.Version, value, l)
	case 'A':
		p.c.Architecture = p.r.keepShared(value)
	case 'o':
		p.origin = p.r.keepShared(value)
	case 'm':
		p.c.Vendor = p.r.keepShared(value)
	case 'L':
		if license := p.r.keepShared(value); license != "" {
			p.c.Licenses = []string{license}
		}
	case 'F':
		p.dir = append(p.dir[:0], value...)
		if len(p.dir) > 0 {
			p.dir = append(p.dir, '/')
		}
	case 'R':
		if len(value) > 0 {
			p.files.add(p.dir, value)
		}
	}
}

// must takes in a name or a version.
func (p *apkParagraph) must(to *string, value []byte, l *lines) {
	switch {
	case *to != "":
		p.fail("line %d: a second field of this letter: %q", l.number, clip(value))
	case !word(value):
		p.fail("line %d has no proper value: %q", l.number, clip(value))
	default:
		*to = p.r.keep(value)
	}
}

// end closes the paragraph. It says false when nothing more is to be read.
func (p *apkParagraph) end() bool {
	if p.first == 0 {
		return true
	}
	c, broken, first := p.c, p.broken, p.first
	if p.origin != "" && c.Version != "" {
		// A package has the version of the source that it was built from.
		c.Source = &plimsoll.SourcePackage{Name: p.origin, Version: c.Version}
	}
	p.c, p.broken, p.first, p.origin, p.dir = plimsoll.Component{}, "", 0, "", p.dir[:0]
	defer p.files.drop()
	switch {
	case broken != "":
	case c.Name == "":
		broken = "no field P, the name"
	case c.Version == "":
		broken = "no field V, the version"
	}
	if broken != "" && !p.cut {
		if c.Name != "" {
			broken = "package " + c.Name + ": " + broken
		}
		p.r.gap(plimsoll.Unreadable, "paragraph at line %d: %s", first, broken)
	}
	if c.Name == "" || c.Version == "" {
		return true
	}
	p.files.give(p.r, c.Name)
	return p.r.add(c)
}
