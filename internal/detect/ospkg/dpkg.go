package ospkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// Dpkg reads the database of dpkg (Debian, Ubuntu and their children): the
// status file, its split form status.d that distroless images have, and the
// lists of the files that packages own, and the copyright files that say under
// which licences they are. The status file of opkg (OpenWrt,
// Yocto) has the same form and is read too. Formats: dpkg(1), deb822(5),
// deb-control(5).
type Dpkg struct{}

// Name is "dpkg".
func (Dpkg) Name() string { return "dpkg" }

// Version changes when the same file would give another result.
func (Dpkg) Version() int { return 1 }

const dpkgDir = "var/lib/dpkg/"

// Wants the status files, the lists of owned files, and what dpkg leaves when
// it is interrupted.
func (Dpkg) Wants(f *plimsoll.File) bool {
	switch {
	case f.Base == "copyright":
		return wantsCopyright(f)
	case !strings.HasPrefix(f.Path, dpkgDir):
		return f.Base == "status" && isOpkg(f.Path)
	}
	switch name := f.Path[len(dpkgDir):]; {
	case f.Base == "" || f.Base[0] == '.': // the name of no package
		return false
	case name == "status", name == "status-new":
		return true
	case strings.HasPrefix(name, "info/"):
		return len(name) == len("info/")+len(f.Base) && strings.HasSuffix(name, ".list")
	case strings.HasPrefix(name, "status.d/"):
		return len(name) == len("status.d/")+len(f.Base) && !script(f.Base)
	case strings.HasPrefix(name, "updates/"):
		return f.Size > 0 && number(f.Base)
	}
	return false
}

// Detect reads one of the files.
func (d Dpkg) Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	r := newReport(d.Name(), f)
	content = r.bounded(content)
	var err error
	switch name, dir := f.Base, strings.TrimSuffix(f.Path, f.Base); {
	case name == "copyright":
		err = licensed(ctx, r, path.Base(dir), content)
	case dir == dpkgDir && name == "status-new":
		// dpkg renames it to status as the last step of a change.
		r.gap(plimsoll.Unreadable, "dpkg was interrupted while it wrote its database; the file status may be older than what is installed")
	case dir == dpkgDir+"updates/":
		r.gap(plimsoll.Unreadable, "dpkg was interrupted: this change is not yet in its file status")
	case strings.HasSuffix(name, ".list"):
		err = listed(ctx, r, strings.TrimSuffix(name, ".list"), content)
	case strings.HasSuffix(name, ".md5sums"):
		err = summed(ctx, r, strings.TrimSuffix(name, ".md5sums"), content)
	default:
		s := status{r: r, single: dir == dpkgDir+"status.d/", strict: dir == dpkgDir}
		err = s.read(newLines(ctx, content))
	}
	if err != nil {
		return nil, err
	}
	return r.found(), nil
}

// isOpkg tells opkg's status file: OpenWrt has it below usr/lib, Yocto below
// var/lib.
func isOpkg(path string) bool {
	return path == "usr/lib/opkg/status" || path == "var/lib/opkg/status"
}

// script tells the other parts of a package's control archive, which some
// builders of distroless images put into status.d as PACKAGE.PART.
func script(name string) bool {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "preinst", "postinst", "prerm", "postrm", "config", "templates",
		"conffiles", "triggers", "shlibs", "symbols":
		return true
	}
	return false
}

func number(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// status reads paragraphs of deb822 fields.
type status struct {
	r *report
	// single: a file of status.d, where a paragraph has no Status field: what
	// is there is installed.
	single bool
	// strict: dpkg itself wrote the file and ends every line.
	strict bool

	// The paragraph being read.
	first                                int // number of its first line; 0: none yet
	name, version, arch, source, contact string
	state                                state
	broken                               string
	cut                                  bool // the paragraph has no end, which was said already
	packages                             int  // paragraphs with a package, installed or not
}

// state is the third word of the Status field.
type state uint8

const (
	unstated state = iota
	gone           // not installed, or only its configuration files are left
	half           // half-installed: some of its files are there
	present        // its files are there, configured or not
	odd            // none of dpkg's words
)

func stateOf(value []byte) state {
	if string(value) == "install ok installed" { // of nearly every package
		return present
	}
	words := bytes.Fields(value[:min(len(value), 256)])
	if len(words) != 3 {
		return odd
	}
	switch string(words[2]) {
	case "installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending":
		return present
	case "half-installed":
		return half
	case "not-installed", "config-files":
		return gone
	}
	return odd
}

func (s *status) read(l *lines) error {
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if l.cut && s.strict {
			s.r.gap(plimsoll.Unreadable, "line %d: the file ends in the middle of a line; packages after it are not known", l.number)
			s.cut = true
			break
		}
		if blank(line) {
			if !s.end() {
				return nil
			}
			continue
		}
		if s.first == 0 {
			s.first = l.number
		}
		switch line[0] {
		case ' ', '\t': // goes on with a field that has several lines; none of ours
		case 'P', 'p', 'V', 'v', 'A', 'a', 'S', 's', 'M', 'm':
			s.field(line, l)
		default:
			if bytes.IndexByte(line, ':') < 1 {
				s.fail("line %d is no field", l.number)
			}
		}
	}
	s.end()
	if s.single && s.packages == 0 && s.r.gaps == 0 {
		return errors.New("reading the package's fields: there are none")
	}
	return nil
}

func (s *status) fail(format string, args ...any) {
	if s.broken == "" {
		s.broken = fmt.Sprintf(format, args...)
	}
}

// field takes in one of the fields that start with P, V, A, S or M.
func (s *status) field(line []byte, l *lines) {
	i := bytes.IndexByte(line, ':')
	if i < 1 {
		s.fail("line %d is no field", l.number)
		return
	}
	var to *string
	value := bytes.TrimSpace(line[i+1:])
	switch key := line[:i]; {
	case named(key, "Package"):
		to = &s.name
	case named(key, "Version"):
		to = &s.version
	case named(key, "Architecture"):
		to = &s.arch
	case named(key, "Source"):
		to = &s.source
	case named(key, "Maintainer"):
		to = &s.contact
	case named(key, "Status"):
		s.state = stateOf(value)
		if s.state == odd {
			s.fail("line %d: unknown status %q", l.number, clip(value))
		}
		return
	default:
		return
	}
	switch {
	case l.long || len(value) > maxField:
		s.fail("line %d: field %s is longer than %d bytes", l.number, line[:i], maxField)
	case *to != "":
		s.fail("line %d: field %s again", l.number, line[:i])
	case to == &s.name || to == &s.version:
		if !word(value) {
			s.fail("line %d: field %s has no proper value: %q", l.number, line[:i], clip(value))
			return
		}
		*to = s.r.keep(value)
	default:
		*to = s.r.keepShared(value)
	}
}

// end closes the paragraph. It says false when nothing more is to be read.
func (s *status) end() bool {
	if s.first == 0 {
		return true
	}
	p := *s
	*s = status{r: s.r, single: s.single, strict: s.strict, packages: s.packages + 1}
	if p.single && p.state == unstated {
		p.state = present
	}
	switch {
	case p.broken != "":
	case p.name == "":
		p.broken = "no field Package"
	case p.state == unstated:
		p.broken = "no field Status"
	case p.state == gone:
		return true
	case p.version == "":
		p.broken = "no field Version"
	}
	if p.broken != "" {
		if p.name != "" {
			p.broken = "package " + p.name + ": " + p.broken
		}
		if !p.cut {
			s.r.gap(plimsoll.Unreadable, "paragraph at line %d: %s", p.first, p.broken)
		}
		// What is broken may be a field that nobody needs here.
		if p.name == "" || p.version == "" || p.state != present && p.state != half {
			return true
		}
	}
	if p.state == half {
		s.r.gap(plimsoll.Unreadable, "package %s is half-installed: its files may be of another version", p.name)
	}
	return s.r.add(plimsoll.Component{
		Name: p.name, Version: p.version, Architecture: p.arch, Vendor: p.contact,
		Source: sourceOf(p.source, p.name, p.version),
	})
}

// sourceOf reads the field Source: "name" or "name (version)". Without it, and
// without the version, they are those of the package (deb-control(5)).
func sourceOf(field, name, version string) *plimsoll.SourcePackage {
	src := &plimsoll.SourcePackage{Name: name, Version: version}
	if field == "" {
		return src
	}
	of, rest, _ := strings.Cut(field, "(")
	src.Name = strings.TrimSpace(of)
	if v := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), ")")); v != "" {
		src.Version = v
	}
	if src.Name == "" {
		src.Name = name
	}
	return src
}

// named compares a field's name without regard to case, as dpkg does.
func named(key []byte, name string) bool {
	return len(key) == len(name) && (string(key) == name || strings.EqualFold(string(key), name))
}

// blank says whether a line separates paragraphs.
func blank(line []byte) bool {
	if n := len(line); n > 0 && line[n-1] != ' ' && line[n-1] != '\t' {
		return false
	}
	return len(bytes.TrimSpace(line)) == 0
}

// listed reads info/PACKAGE.list: every path that the package has, directories
// too, one a line. A path that the next line goes on from is a directory and
// left out; nobody asks who owns one.
func listed(ctx context.Context, r *report, name string, content *io.SectionReader) error {
	paths := newPathList(content.Size())
	var last []byte
	l := newLines(ctx, content)
	for {
		line, err := l.next()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		// The line before is known now to be a directory, or not.
		inside := len(line) > len(last) && line[len(last)] == '/' && bytes.HasPrefix(line, last)
		if !inside && len(last) > 0 {
			paths.add(last[1:])
		}
		if end {
			break
		}
		last = append(last[:0], line...)
		switch {
		case l.cut:
			// dpkg ends every line, so a name without an end is not whole.
			r.gap(plimsoll.Unreadable, "line %d: the list ends in the middle of a line", l.number)
			last = last[:0]
		case string(line) == "/.":
			last = last[:0]
		case l.long || len(line) < 2 || line[0] != '/' || bytes.IndexByte(line, 0) >= 0:
			r.gap(plimsoll.Unreadable, "line %d is no absolute path: %q", l.number, clip(line))
			last = last[:0]
		}
	}
	paths.give(r, name)
	return nil
}

// summed reads status.d/PACKAGE.md5sums: an MD5 sum, two blanks and a path
// without the leading slash in each line.
func summed(ctx context.Context, r *report, name string, content *io.SectionReader) error {
	const sum = 32
	paths := newPathList(content.Size())
	l := newLines(ctx, content)
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if blank(line) {
			continue
		}
		if l.long || len(line) < sum+3 || line[sum] != ' ' || bytes.IndexByte(line, 0) >= 0 {
			r.gap(plimsoll.Unreadable, "line %d is no MD5 sum with a path: %q", l.number, clip(line))
			continue
		}
		file := bytes.TrimLeft(line[sum:], " *")
		paths.add(bytes.TrimPrefix(bytes.TrimPrefix(file, []byte("./")), []byte("/")))
	}
	paths.give(r, name)
	return nil
}
