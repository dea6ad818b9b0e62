package langpkg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// Java reads Java archives: jar, war, ear and their kin, and those inside them
// to Limits.Nesting. Every pom.properties that Maven left in an archive is a
// component, so that shaded jars show what they swallowed; when none describes
// the archive itself, its manifest and file name do (see identify).
//
// An archive that can be read and says nothing of what it is gives nothing; it
// is no Gap, for most of them are an application's own classes. One that
// cannot be read is a Gap. Limits start from plimsoll.DefaultLimits: a zero
// field allows nothing.
type Java struct {
	Limits plimsoll.Limits
}

func (Java) Name() string { return "java" }
func (Java) Version() int { return 1 }

func (Java) Wants(f *plimsoll.File) bool {
	switch archiveName(f.Base) {
	case always:
		return f.Size > 0
	case whenZip:
		return len(f.Head) == 0 || isZip(f.Head)
	}
	// The jar tool writes META-INF first, whatever the archive is called.
	const name = 30
	return len(f.Head) > name && f.Head[0] == 'P' && isZip(f.Head) && bytes.HasPrefix(f.Head[name:], []byte("META-INF/"))
}

func isZip(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) }

type named uint8

const (
	never   named = iota
	whenZip       // a name that other formats have too
	always        // a Java archive, or a damaged one
)

// archiveName tells from its name whether a file is a Java archive.
func archiveName[T string | []byte](name T) named {
	i := len(name) - 4
	if i < 0 || name[i] != '.' {
		return never
	}
	switch string(name[i+1:]) {
	case "jar", "war", "ear", "JAR", "WAR", "EAR":
		return always
	case "par", "hpi", "jpi", "rar", "sar", "kar", "nbm":
		return whenZip
	}
	return never
}

const (
	// mostPOM is the largest pom.properties, mostManifest the largest
	// manifest, in bytes.
	mostPOM, mostManifest = 64 << 10, 4 << 20
	// inMemory is how much of one file's inner archives is held in memory;
	// those beyond it go to temporary files.
	inMemory = 8 << 20
	// mostOpened entries of one file are opened, in all its archives together:
	// entries may share their bytes, so that a small file can have millions.
	mostOpened = 50_000
	// ratioAfter is when Limits.Ratio begins to count.
	ratioAfter = 64 << 20
)

// Detect implements analyze.Detector.
func (d Java) Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	s := &jarScan{
		builder:  newBuilder("java", "Maven", f),
		ctx:      ctx,
		limits:   d.Limits,
		entries:  d.Limits.Entries,
		inflate:  d.Limits.Spool,
		memory:   inMemory,
		reader:   bufio.NewReaderSize(nil, 16<<10),
		manifest: bufio.NewReaderSize(nil, 1<<10),
	}
	if err := s.archive(content, f.Path, f.Base, 1); err != nil {
		if !errors.Is(err, errLimit) {
			return nil, fmt.Errorf("read Java archive: %w", err)
		}
		s.gap(plimsoll.Limited, f.Path, "read Java archive: %v", err)
	}
	return &s.found, nil
}

// jarScan is the reading of one file with all that is inside.
type jarScan struct {
	*builder
	ctx    context.Context
	limits plimsoll.Limits
	// What is left of the file's allowance: entries of all its archives, bytes
	// inflated out of them, bytes of memory to hold them in.
	entries, inflate, memory int64
	opened                   int
	reader, manifest         *bufio.Reader
	unzipper                 unzipper
	buffers                  []*bytes.Buffer // by nesting, to be used again
}

// innerEntry is an entry that is looked at after the directory was walked.
type innerEntry struct {
	name string
	zipEntry
}

// archive reads one archive. The path is that of the evidence, base the
// archive's file name, depth counts from 1.
func (s *jarScan) archive(r *io.SectionReader, at, base string, depth int) error {
	z, err := openZip(r)
	if err != nil {
		return err
	}
	stem := strings.TrimSuffix(base, path.Ext(base))
	if z.other != "" {
		s.gap(plimsoll.Unreadable, at, "%s", z.other)
	}
	name, nameVersion := splitName(stem)
	group, classes := knownGroup(name)
	confirmed := false // the archive has the group's classes
	var manifests, poms, inner []innerEntry
	var described []coordinates // directories that Maven made, with or without properties
	many := false
	keep := func(to *[]innerEntry, name []byte, e zipEntry) {
		if len(*to) >= mostComponents {
			many = true
			return
		}
		*to = append(*to, innerEntry{string(name), e})
	}
	err = z.each(s.reader, func(name []byte, e zipEntry) error {
		if s.entries--; s.entries < 0 {
			return fmt.Errorf("%w: more than %d entries", errLimit, s.limits.Entries)
		}
		if s.entries%1024 == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		switch {
		case len(name) >= longestEntry:
			s.gap(plimsoll.Unreadable, at, "an entry's name is longer than %d bytes: %.40q", longestEntry, name)
		case len(name) > 0 && name[len(name)-1] == '/':
		case archiveName(name) != never:
			keep(&inner, name, e)
		case bytes.HasSuffix(name, []byte(".class")):
			confirmed = confirmed || classes != "" && bytes.HasPrefix(name, []byte(classes))
		case bytes.HasSuffix(name, []byte("/pom.properties")) && bytes.Contains(name, []byte("META-INF/maven/")):
			keep(&poms, name, e)
		case bytes.HasPrefix(name, []byte("META-INF/maven/")) && bytes.HasSuffix(name, []byte("/pom.xml")):
			if part := strings.Split(string(name), "/"); len(part) == 5 && len(described) < mostComponents {
				described = append(described, coordinates{group: part[2], artifact: part[3]})
			}
		case len(name) == len(manifestName) && strings.EqualFold(string(name), manifestName):
			manifests = append(manifests[:0], innerEntry{string(name), e})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if many {
		s.gap(plimsoll.Limited, at, "more than %d archives or packages in one archive; the others were left out", mostComponents)
	}

	var m manifest
	for _, e := range manifests {
		if text, err := s.text(z, e, mostManifest); err != nil {
			s.trouble(at+"!/"+e.name, err)
		} else {
			m = readManifest(s.manifest, text)
		}
	}
	var packages []coordinates
	for _, e := range poms {
		text, err := s.text(z, e, mostPOM)
		if err != nil {
			s.trouble(at+"!/"+e.name, err)
			continue
		}
		c := readPOMProperties(e.name, text)
		if !c.whole() {
			s.gap(plimsoll.Unreadable, at+"!/"+e.name, "a pom.properties without groupId, artifactId and version")
			continue
		}
		packages = append(packages, c)
	}
	if !confirmed {
		group = ""
	}
	self := identify(coordinates{group, name, nameVersion}, m, packages, described)
	for _, c := range packages {
		s.addJar(c, at, m, c == self)
	}
	if self.artifact != "" && self.version != "" {
		s.addJar(self, at, m, true)
	}
	for _, e := range inner {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		s.nested(z, e, at+"!/"+e.name, depth+1)
	}
	return nil
}

func (s *jarScan) addJar(c coordinates, at string, m manifest, self bool) {
	component := plimsoll.Component{Name: c.artifact, Version: c.version, Paths: []string{at}}
	if c.group != "" {
		component.Name = c.group + ":" + c.artifact
	}
	if self {
		component.Vendor = m.vendor
		component.Licenses = m.licenses
	}
	s.add(component, packageurl.PackageURL{
		Type: packageurl.TypeMaven, Namespace: c.group, Name: c.artifact, Version: c.version,
	})
}

// text reads a small entry, whose bytes count as inflated.
func (s *jarScan) text(z *zipArchive, e innerEntry, most int64) ([]byte, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if e.size > s.inflate {
		return nil, fmt.Errorf("%w: the archives in it are larger than %d bytes together", errLimit, s.limits.Spool)
	}
	text, err := s.unzipper.small(z, e.zipEntry, most)
	s.inflate -= int64(len(text))
	return text, err
}

// open counts an entry that is about to be read.
func (s *jarScan) open() error {
	if s.opened++; s.opened > mostOpened {
		return fmt.Errorf("%w: more than %d entries to read in one file", errLimit, mostOpened)
	}
	return nil
}

// trouble records an entry that could not be read.
func (s *jarScan) trouble(at string, err error) {
	kind := plimsoll.Unreadable
	switch {
	case errors.Is(err, errLimit):
		kind = plimsoll.Limited
	case errors.Is(err, errMethod):
		kind = plimsoll.Unsupported
	}
	s.gap(kind, at, "%v", err)
}

// nested reads an archive inside an archive.
func (s *jarScan) nested(z *zipArchive, e innerEntry, at string, depth int) {
	if depth > s.limits.Nesting {
		s.gap(plimsoll.Limited, at, "an archive nested more than %d deep", s.limits.Nesting)
		return
	}
	if len(at) > longestEntry {
		s.gap(plimsoll.Limited, at[:longest], "the path into the archives is longer than %d bytes", longestEntry)
		return
	}
	r, done, err := s.unpack(z, e.zipEntry, depth)
	if err == nil {
		defer done()
		if archiveName(e.name) != always {
			var head [4]byte
			if _, err := r.ReadAt(head[:], 0); err != nil || !isZip(head[:]) {
				return
			}
		}
		err = s.archive(r, at, path.Base(e.name), depth)
	}
	if err != nil && s.ctx.Err() == nil {
		s.trouble(at, err)
	}
}

// unpack gives random access to an entry: in place if it is stored, otherwise
// inflated into memory or, if it is large, into a temporary file. The content
// is valid until done is called.
func (s *jarScan) unpack(z *zipArchive, e zipEntry, depth int) (r *io.SectionReader, done func(), err error) {
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	data, err := z.data(e)
	if err != nil {
		return nil, nil, err
	}
	if e.method == 0 {
		return data, func() {}, nil
	}
	// No deflated byte gives more than 1032; more is a lie about the size.
	const most = 1032
	switch {
	case e.size > s.limits.FileSize:
		return nil, nil, fmt.Errorf("%w: %d bytes, more than the %d of a single file", errLimit, e.size, s.limits.FileSize)
	case e.size > s.inflate:
		return nil, nil, fmt.Errorf("%w: the archives in it are larger than %d bytes together", errLimit, s.limits.Spool)
	case e.size > ratioAfter && (s.limits.Ratio < 1 || e.size/s.limits.Ratio > e.compressed):
		return nil, nil, fmt.Errorf("%w: %d bytes compressed to %d, more than %d to 1", errLimit, e.size, e.compressed, s.limits.Ratio)
	case e.size/most > e.compressed:
		return nil, nil, fmt.Errorf("%w: %d bytes cannot come of %d", errZip, e.size, e.compressed)
	}
	s.inflate -= e.size
	if e.size <= s.memory {
		for len(s.buffers) <= depth {
			s.buffers = append(s.buffers, new(bytes.Buffer))
		}
		buf := s.buffers[depth]
		buf.Reset()
		buf.Grow(int(e.size))
		s.memory -= e.size
		if err := s.unzipper.unzip(z, e, buf); err != nil {
			s.memory += e.size
			return nil, nil, err
		}
		return io.NewSectionReader(bytes.NewReader(buf.Bytes()), 0, e.size), func() {
			s.memory += e.size
			if buf.Cap() > inMemory/8 {
				s.buffers[depth] = new(bytes.Buffer) // the next level may need the room
			}
		}, nil
	}
	file, err := os.CreateTemp("", "plimsoll-spool-")
	if err != nil {
		return nil, nil, err
	}
	done = func() { file.Close() }
	// Nobody else needs the name, and nothing is left behind by a kill.
	if err = os.Remove(file.Name()); err == nil {
		err = s.unzipper.unzip(z, e, file)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return io.NewSectionReader(file, 0, e.size), done, nil
}
