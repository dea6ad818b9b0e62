package ospkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/rpmdb"
)

// RPM reads the database of rpm in its three forms, and the list that
// distroless images of Azure Linux and CBL-Mariner have in its place.
type RPM struct{}

// Name is "rpm".
func (RPM) Name() string { return "rpm" }

// Version changes when the same file would give another result.
func (RPM) Version() int { return 1 }

const rpmManifest = "var/lib/rpmmanifest/container-manifest-2"

// Wants the databases, the journal of the SQLite one, and the manifest.
func (RPM) Wants(f *plimsoll.File) bool {
	switch f.Base {
	case "Packages", "Packages.db", "rpmdb.sqlite", "rpmdb.sqlite-wal":
		switch f.Path[:len(f.Path)-len(f.Base)] {
		case "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/":
			return true
		}
	case "container-manifest-2":
		return f.Path == rpmManifest
	}
	return false
}

// Detect reads one of the files.
func (d RPM) Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	r := newReport(d.Name(), f)
	var err error
	switch {
	case f.Path == rpmManifest:
		err = manifest(ctx, r, content)
	case f.Base == "rpmdb.sqlite-wal":
		err = journal(r, content)
	default:
		err = database(ctx, r, content)
	}
	if err != nil {
		return nil, err
	}
	return r.found(), nil
}

// errFull ends the reading of a database when the report is full.
var errFull = errors.New("report is full")

func database(ctx context.Context, r *report, content *io.SectionReader) error {
	err := rpmdb.Each(content, content.Size(), func(p *rpmdb.Package) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return installed(r, p)
	})
	switch {
	case err == nil, errors.Is(err, errFull):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case len(r.Components) > 0:
		r.gap(plimsoll.Unreadable, "the database could not be read to its end: %v", err)
		return nil
	}
	return fmt.Errorf("reading the rpm database: %w", err)
}

// installed takes one package into the report.
func installed(r *report, p *rpmdb.Package) error {
	if p.Name == "gpg-pubkey" {
		return nil // a key that rpm trusts, kept in the form of a package
	}
	version := p.Version + "-" + p.Release
	if !word([]byte(p.Name)) || !word([]byte(version)) || p.Version == "" || p.Release == "" {
		r.gap(plimsoll.Unreadable, "package %q: no proper name, version and release: %q", clip([]byte(p.Name)), clip([]byte(version)))
		return nil
	}
	if p.Epoch >= 0 {
		version = strconv.Itoa(p.Epoch) + ":" + version
	}
	c := plimsoll.Component{
		Name:         r.keep([]byte(p.Name)),
		Version:      r.keep([]byte(version)),
		Architecture: r.keepShared([]byte(p.Arch)),
		Vendor:       r.keepShared([]byte(p.Vendor)),
		Module:       r.keepShared([]byte(p.Modularity)),
		Source:       sourceRPM(r.keepShared([]byte(p.SourceRPM))),
	}
	if license := r.keepShared([]byte(p.License)); license != "" {
		c.Licenses = []string{license}
	}
	paths := make([]string, 0, len(p.Files))
	for _, f := range p.Files {
		if ownedFile(&f) {
			paths = append(paths, strings.TrimPrefix(f.Path, "/"))
		}
	}
	r.own(c.Name, paths)
	if !r.add(c) {
		return errFull
	}
	return nil
}

// ownedFile says whether the content of a file came out of the package: a
// regular file, and not one that the package only lays claim to (ghost).
func ownedFile(f *rpmdb.File) bool {
	const typeBits, regular, ghost = 0o170000, 0o100000, 1 << 6
	return f.Mode&typeBits == regular && f.Flags&ghost == 0
}

// sourceRPM splits a source package's file name: name-version-release.src.rpm.
// It has no epoch.
func sourceRPM(file string) *plimsoll.SourcePackage {
	nvr, found := strings.CutSuffix(file, ".src.rpm")
	if !found {
		nvr, found = strings.CutSuffix(file, ".nosrc.rpm") // built from sources that may not be passed on
	}
	release := strings.LastIndexByte(nvr, '-')
	if !found || release < 1 {
		return nil
	}
	version := strings.LastIndexByte(nvr[:release], '-')
	if version < 1 {
		return nil
	}
	return &plimsoll.SourcePackage{Name: nvr[:version], Version: nvr[version+1:]}
}

// journal looks into SQLite's write-ahead log: committed changes in it are part
// of the database, but not yet in its file.
func journal(r *report, content *io.SectionReader) error {
	frames, err := rpmdb.WALFrames(content, content.Size())
	if err != nil {
		return fmt.Errorf("reading the journal of rpmdb.sqlite: %w", err)
	}
	if frames > 0 {
		r.gap(plimsoll.Unreadable, "rpmdb.sqlite has changes that are only in this journal (%d pages); packages may be missing or of another version", frames)
	}
	return nil
}

// manifest reads the list of packages in distroless images of Azure Linux and
// CBL-Mariner, one a line, which the image's builder wrote with rpm's query
// format NAME VERSION-RELEASE INSTALLTIME BUILDTIME VENDOR EPOCH SIZE ARCH
// EPOCHNUM SOURCERPM, separated by tabs.
func manifest(ctx context.Context, r *report, content *io.SectionReader) error {
	l := newLines(ctx, r.bounded(content))
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if blank(line) && !l.long {
			continue
		}
		field := bytes.Split(line, []byte("\t"))
		if l.long || len(field) < 10 {
			r.gap(plimsoll.Unreadable, "line %d: %d fields, want 10: %q", l.number, len(field), clip(line))
			continue
		}
		for i, f := range field {
			if string(f) == "(none)" {
				field[i] = nil
			}
		}
		name, version, epoch := field[0], field[1], field[8]
		if string(name) == "gpg-pubkey" {
			continue
		}
		if !word(name) || !word(version) || !number(string(epoch)) || len(epoch) > 9 {
			r.gap(plimsoll.Unreadable, "line %d: no proper name, version and epoch: %q", l.number, clip(line))
			continue
		}
		// EPOCHNUM is 0 where the package has none; EPOCH tells.
		if len(field[5]) > 0 || string(epoch) != "0" {
			version = bytes.Join([][]byte{epoch, version}, []byte(":"))
		}
		if !r.add(plimsoll.Component{
			Name:         r.keep(name),
			Version:      r.keep(version),
			Architecture: r.keepShared(field[7]),
			Vendor:       r.keepShared(field[4]),
			Source:       sourceRPM(r.keepShared(field[9])),
		}) {
			break
		}
	}
	if len(r.Components) == 0 && r.gaps == 0 {
		return errors.New("reading the list of packages: there are none")
	}
	return nil
}
