// Package langpkg detects the packages of programming languages as they are
// installed in images: a file per ecosystem, a small struct type each. Lock
// files and source trees say what somebody meant to install; they are not
// evidence that it is there, and are left alone.
//
// A detector keeps nothing between files and may be used by several goroutines
// at once. Its methods are those that internal/analyze asks for.
package langpkg

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

const (
	// mostComponents of one file. The fattest archives that people build have
	// a few thousand.
	mostComponents = 20_000
	// mostGaps of one file.
	mostGaps = 100
	// longest name, version or other text, in bytes.
	longest = 1024
)

// builder gathers what one detector finds in one file and keeps it bounded.
type builder struct {
	detector  string
	ecosystem string // as in the OSV schema
	path      string // of the file
	found     plimsoll.Found
	seen      map[string]bool
	dropped   bool
}

func newBuilder(detector, ecosystem string, f *plimsoll.File) *builder {
	return &builder{detector: detector, ecosystem: ecosystem, path: f.Path}
}

// add takes c, whose Paths are the file itself unless set, under the name that
// url gives it. A component that came before from the same path is not added
// again.
func (b *builder) add(c plimsoll.Component, url packageurl.PackageURL) {
	if len(c.Paths) == 0 {
		c.Paths = []string{b.path}
	}
	path := c.Paths[0]
	if len(c.Name) > longest || len(c.Version) > longest {
		b.gap(plimsoll.Unreadable, path, "a package's name or version is longer than %d bytes: %.40q", longest, c.Name)
		return
	}
	url.Name, url.Namespace, url.Version = clean(url.Name), clean(url.Namespace), clean(url.Version)
	if err := url.Normalize(); err != nil {
		b.gap(plimsoll.Unreadable, path, "%q is no name for a package: %v", c.Name, err)
		return
	}
	c.PURL = url.ToString()
	key := c.PURL + "\x00" + path
	if b.seen[key] {
		return
	}
	if len(b.found.Components) >= mostComponents {
		if !b.dropped {
			b.dropped = true
			b.gap(plimsoll.Limited, b.path, "more than %d packages in one file; the others were left out", mostComponents)
		}
		return
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[key] = true
	c.Name, c.Version, c.Vendor = clean(c.Name), clean(c.Version), clean(c.Vendor)
	if len(c.Vendor) > longest {
		c.Vendor = ""
	}
	var licenses []string
	for _, l := range c.Licenses {
		if l = clean(l); l != "" && len(l) <= longest && len(licenses) < 100 {
			licenses = append(licenses, l)
		}
	}
	c.Licenses = licenses
	c.Detector = b.detector
	c.Ecosystem = b.ecosystem
	if c.Type == "" {
		c.Type = plimsoll.Library
	}
	b.found.Components = append(b.found.Components, c)
}

// gap records a part of the file that was not read. The path may lead into an
// archive.
func (b *builder) gap(kind plimsoll.GapKind, path, format string, args ...any) {
	switch n := len(b.found.Gaps); {
	case n > mostGaps:
		return
	case n == mostGaps:
		kind, path = plimsoll.Limited, b.path
		format, args = "more than %d parts of the file could not be read", []any{mostGaps}
	}
	b.found.Gaps = append(b.found.Gaps, plimsoll.Gap{
		Kind: kind, Layer: plimsoll.NoLayer, Path: path, Detector: b.detector, Reason: clean(fmt.Sprintf(format, args...)),
	})
}

// tooLarge records that the file is not read because of its size.
func (b *builder) tooLarge(size, most int64) *plimsoll.Found {
	b.gap(plimsoll.Limited, b.path, "%d bytes, more than the %d that are read of such a file", size, most)
	return &b.found
}

// clean is s as valid UTF-8 in one line.
func clean(s string) string {
	s = strings.TrimSpace(s)
	if utf8.ValidString(s) && !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }

// parents are the last two directories above the file: parent is that which
// holds it.
func parents(f *plimsoll.File) (grand, parent string) {
	dir := strings.TrimSuffix(f.Path[:len(f.Path)-len(f.Base)], "/")
	if i := strings.LastIndexByte(dir, '/'); i >= 0 {
		dir, parent = dir[:i], dir[i+1:]
		return dir[strings.LastIndexByte(dir, '/')+1:], parent
	}
	return "", dir
}

// person is somebody's name and address in the form of a mail header.
func person(name, mail string) string {
	name, mail = strings.TrimSpace(name), strings.TrimSpace(mail)
	switch {
	case mail == "":
		return name
	case name == "" || strings.Contains(mail, "<"):
		return mail
	default:
		return name + " <" + mail + ">"
	}
}
