package ospkg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
)

const docDir = "usr/share/doc/"

// wantsCopyright asks for usr/share/doc/PACKAGE/copyright.
func wantsCopyright(f *plimsoll.File) bool {
	rest, found := strings.CutPrefix(f.Path, docDir)
	slash := strings.IndexByte(rest, '/')
	return found && slash > 0 && rest[slash+1:] == "copyright"
}

// licensed reads a copyright file. In the machine-readable form (DEP-5, the
// copyright-format of the Debian policy) each field License begins with a
// short name or an expression; those are given as they are written, as Debian's
// names are not SPDX's. Of a file in prose only the references to the texts in
// usr/share/common-licenses are understood.
func licensed(ctx context.Context, r *report, name string, content *io.SectionReader) error {
	const mostLicenses = 100
	field, common := []byte("License:"), []byte("usr/share/common-licenses/")
	names := map[string]bool{}
	add := func(name []byte) {
		if s := r.keepShared(name); s != "" {
			names[s] = true
		}
	}
	formal, first := false, true
	for l := newLines(ctx, content); len(names) < mostLicenses; {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first && len(line) > 0 {
			first, formal = false, bytes.HasPrefix(line, []byte("Format"))
		}
		switch {
		case formal && bytes.HasPrefix(line, field):
			if short := bytes.TrimSpace(line[len(field):]); isShortName(short) {
				add(short)
			}
		case !formal:
			for _, rest, found := bytes.Cut(line, common); found; _, rest, found = bytes.Cut(rest, common) {
				add(bytes.TrimRight(rest[:leading(rest)], "."))
			}
		}
	}
	if len(names) > 0 {
		r.Licenses = []plimsoll.PackageLicenses{{Package: name, Licenses: slices.Sorted(maps.Keys(names))}}
	}
	return nil
}

// isShortName tells the name of a licence from a sentence of one, which some
// put where the name belongs.
func isShortName(s []byte) bool {
	return len(s) > 0 && len(s) <= 100 && bytes.Count(s, []byte(" ")) < 8 && s[len(s)-1] != '.'
}

// leading is how many bytes s begins with that may stand in a file name of
// usr/share/common-licenses.
func leading(s []byte) int {
	for i, c := range s {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '.' && c != '-' && c != '+' {
			return min(i, 40)
		}
	}
	return min(len(s), 40)
}
