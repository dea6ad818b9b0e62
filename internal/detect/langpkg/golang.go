package langpkg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"runtime/debug"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/exe"
)

// Go reads the build information that the Go linker leaves in programs and
// shared libraries (ELF, PE, Mach-O): the main module, the modules it was
// built from, where a module was replaced the replacement, and the standard
// library under the name that Go's vulnerability database gives it, "stdlib",
// with its version in semantic form.
//
// It reads the information itself, because debug/buildinfo rests on packages
// that are not made for hostile files. Its contents are parsed by the standard
// library.
type Go struct{}

func (Go) Name() string { return "go" }
func (Go) Version() int { return 1 }

// Wants does not look at the name: a hard link is wanted if its target was.
func (Go) Wants(f *plimsoll.File) bool { return exe.Is(f.Head) }

const (
	mostBuildInfo = 8 << 20  // bytes of the module list; Kubernetes' is 60 KB
	mostSearched  = 64 << 20 // bytes of data that are searched for the information
)

// Detect implements analyze.Detector.
func (Go) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("go", "Go", f)
	program, err := exe.Open(content)
	if err != nil {
		return nil, err
	}
	if isUPX(f.Head) || program.Section("UPX1") != nil {
		b.gap(plimsoll.Unsupported, f.Path, "packed with UPX: what is inside is not known")
		return &b.found, nil
	}
	version, modules, err := readBuildInfo(program)
	switch {
	case errors.Is(err, errNotGo):
		return nil, nil
	case errors.Is(err, errNoBuildInfo):
		b.gap(plimsoll.Unsupported, f.Path, "%v", err)
		return &b.found, nil
	case err != nil:
		return nil, fmt.Errorf("read Go build information: %w", err)
	}
	if v, ok := goVersion(version); ok {
		c := plimsoll.Component{Name: "stdlib", Version: v}
		if !strings.Contains(v, "-") {
			c.CPEs = []string{"cpe:2.3:a:golang:go:" + v + ":*:*:*:*:*:*:*"}
		}
		b.add(c, packageurl.PackageURL{Type: packageurl.TypeGolang, Name: c.Name, Version: v})
	} else {
		b.gap(plimsoll.Unassessed, f.Path, "the standard library is of a Go version that is no release: %.100q", version)
	}
	if modules == "" {
		return &b.found, nil // built without modules
	}
	info, err := debug.ParseBuildInfo(modules)
	if err != nil {
		b.gap(plimsoll.Unreadable, f.Path, "read Go build information: %v", err)
		return &b.found, nil
	}
	if info.Main.Path != "" {
		main := info.Main
		if v := moduleVersion(&main); v == "" {
			main.Version = revision(info)
		}
		b.addModule(&main, plimsoll.Application)
	}
	for _, d := range info.Deps {
		b.addModule(d, plimsoll.Library)
	}
	return &b.found, nil
}

// addModule adds what was compiled under a module's name. A module that was
// replaced by a directory keeps its name and has no version: nothing tells
// which code the directory held.
func (b *builder) addModule(m *debug.Module, kind plimsoll.ComponentType) {
	name, version := m.Path, moduleVersion(m)
	if r := m.Replace; r != nil {
		version = moduleVersion(r)
		if !isDirectory(r.Path) {
			name = r.Path
		}
	}
	if name == "" {
		return
	}
	namespace, last := path.Split(name)
	b.add(plimsoll.Component{Type: kind, Name: name, Version: version}, packageurl.PackageURL{
		Type: packageurl.TypeGolang, Namespace: strings.Trim(namespace, "/"), Name: last, Version: version,
	})
}

func isDirectory(p string) bool {
	return strings.HasPrefix(p, ".") || strings.HasPrefix(p, "/") || len(p) > 1 && p[1] == ':'
}

// moduleVersion is the version, or "" where Go had none to say.
func moduleVersion(m *debug.Module) string {
	if m.Version == "(devel)" {
		return ""
	}
	return m.Version
}

// revision is what version control said of a main module that was built in its
// own directory, by Go before 1.24, which made no version of it.
func revision(info *debug.BuildInfo) string {
	var revision, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + dirty
}

// goVersion is a toolchain's version in semantic form: go1.22.3 is 1.22.3,
// go1.23rc1 is 1.23.0-rc.1, go1.20 is 1.20.0. What vendors and experiments add
// is dropped: "go1.22.7 (Red Hat 1.22.7-1.el9)", "go1.26.1 X:nodwarf5".
func goVersion(s string) (version string, ok bool) {
	word := s
	if rest, ok := strings.CutPrefix(s, "devel "); ok {
		word = rest
	}
	word, _, _ = strings.Cut(word, " ")
	word, ok = strings.CutPrefix(word, "go")
	if !ok {
		return "", false
	}
	number := func() string {
		i := 0
		for i < len(word) && i < 9 && word[i] >= '0' && word[i] <= '9' {
			i++
		}
		n := word[:i]
		word = word[i:]
		return n
	}
	parts := [3]string{number(), "", "0"}
	for i := 1; i < 3 && strings.HasPrefix(word, "."); i++ {
		word = word[1:]
		parts[i] = number()
	}
	for _, p := range parts {
		if p == "" {
			return "", false
		}
	}
	version = strings.Join(parts[:], ".")
	for _, kind := range []string{"rc", "beta"} {
		if rest, ok := strings.CutPrefix(word, kind); ok {
			word = rest
			if n := number(); n != "" {
				return version + "-" + kind + "." + n, true
			}
		}
	}
	if strings.HasPrefix(s, "devel ") || strings.HasPrefix(word, "-devel") {
		version += "-devel" // on the way to that version
	}
	return version, true
}

// isUPX tells an ELF file that the packer UPX made: its mark stands behind the
// program headers.
func isUPX(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x7fELF")) && bytes.Contains(head, []byte("UPX!"))
}

var (
	errNotGo       = errors.New("not a Go program")
	errNoBuildInfo = errors.New("a Go program without build information, as Go before 1.13 made them")
)

var buildInfoMagic = []byte("\xff Go buildinf:")

// readBuildInfo reads the version of Go and the module list, which is empty
// for a program built without modules. The format is described in
// debug/buildinfo and made by cmd/link (Link.buildinfo).
func readBuildInfo(f *exe.File) (version, modules string, err error) {
	at, err := findBuildInfo(f)
	if err != nil {
		return "", "", err
	}
	const size = 32
	header := make([]byte, size)
	if err := readFull(f, header, at); err != nil {
		return "", "", err
	}
	const inline, bigEndian = 2, 1
	if flags := header[15]; flags&inline != 0 {
		if version, at, err = inlineString(f, at+size); err == nil {
			modules, _, err = inlineString(f, at)
		}
	} else {
		// Before Go 1.18: pointers to two Go strings.
		p := pointers{File: f, size: int(header[14]), order: binary.LittleEndian}
		if flags&bigEndian != 0 {
			p.order = binary.BigEndian
		}
		if p.size != 4 && p.size != 8 {
			return "", "", fmt.Errorf("pointers of %d bytes", p.size)
		}
		if version, err = p.str(header[16:]); err == nil {
			modules, err = p.str(header[16+p.size:])
		}
	}
	if err != nil {
		return "", "", err
	}
	if version == "" {
		return "", "", errors.New("it names no version of Go")
	}
	// The list stands between two marks of 16 bytes.
	if n := len(modules); n >= 33 && modules[n-17] == '\n' {
		return version, modules[16 : n-16], nil
	}
	return version, "", nil
}

// findBuildInfo gives the offset of the information in the file.
func findBuildInfo(f *exe.File) (int64, error) {
	if s := f.Section(".go.buildinfo", "__go_buildinfo"); s != nil {
		if at, ok, err := search(f, s.Offset, min(s.Size, mostSearched)); ok || err != nil {
			return at, err
		}
		return 0, errors.New("the section made for it does not hold it")
	}
	if f.Format == exe.ELF && len(f.Sections) > 0 {
		if f.Section(".gopclntab", ".data.rel.ro.gopclntab") != nil {
			return 0, errNoBuildInfo
		}
		return 0, errNotGo
	}
	// PE has no such section, and section names can be stripped: it lies in
	// the data that the program may write.
	segments, err := f.Segments()
	if err != nil {
		return 0, err
	}
	left := int64(mostSearched)
	for _, s := range segments {
		if !s.Writable || left <= 0 {
			continue
		}
		size := min(s.Size, left)
		left -= size
		if at, ok, err := search(f, s.Offset, size); ok || err != nil {
			return at, err
		}
	}
	return 0, errNotGo
}

// search looks for the information, which is aligned to 16 bytes in memory and
// so in the file.
func search(f *exe.File, offset, size int64) (at int64, ok bool, err error) {
	const align, chunk = 16, 64 << 10
	if skip := -offset & (align - 1); skip < size {
		offset, size = offset+skip, size-skip
	}
	buf := make([]byte, min(size, chunk))
	for size > 0 {
		b := buf[:min(size, chunk)]
		if err := readFull(f, b, offset); err != nil {
			return 0, false, err
		}
		for i := 0; i < len(b); {
			j := bytes.Index(b[i:], buildInfoMagic)
			if j < 0 {
				break
			}
			if i += j; i%align == 0 {
				return offset + int64(i), true, nil
			}
			i++
		}
		offset, size = offset+int64(len(b)), size-int64(len(b))
	}
	return 0, false, nil
}

func readFull(f *exe.File, b []byte, at int64) error {
	_, err := f.Data(at, int64(len(b))).ReadAt(b, 0)
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case len(b) == 0:
		return nil
	default:
		return io.ErrUnexpectedEOF
	}
}

// readString reads length bytes at an offset.
func readString(f *exe.File, at int64, length uint64) (string, error) {
	if length > mostBuildInfo {
		return "", fmt.Errorf("a string of %d bytes, more than %d", length, mostBuildInfo)
	}
	// Read as it comes: the length may be a lie.
	var s strings.Builder
	n, err := io.Copy(&s, f.Data(at, int64(length)))
	if err == nil && n < int64(length) {
		err = io.ErrUnexpectedEOF
	}
	return s.String(), err
}

// inlineString reads a string with its length before it, as a varint, and
// gives the offset behind it.
func inlineString(f *exe.File, at int64) (string, int64, error) {
	var b [binary.MaxVarintLen64]byte
	n, err := f.Data(at, int64(len(b))).ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	length, size := binary.Uvarint(b[:n])
	if size <= 0 {
		return "", 0, errors.New("a string without a length")
	}
	at += int64(size)
	s, err := readString(f, at, length)
	return s, at + int64(len(s)), err
}

// pointers follows a program's own pointers.
type pointers struct {
	*exe.File
	size  int
	order binary.ByteOrder
}

func (p pointers) word(b []byte) uint64 {
	if p.size == 4 {
		return uint64(p.order.Uint32(b))
	}
	return p.order.Uint64(b)
}

// str reads the Go string that b points to: an address and a length.
func (p pointers) str(b []byte) (string, error) {
	addr := p.word(b)
	if addr == 0 {
		return "", nil
	}
	at, err := p.offset(addr)
	if err != nil {
		return "", err
	}
	header := make([]byte, 2*p.size)
	if err := readFull(p.File, header, at); err != nil {
		return "", err
	}
	length := p.word(header[p.size:])
	if length == 0 {
		return "", nil
	}
	if at, err = p.offset(p.word(header)); err != nil {
		return "", err
	}
	return readString(p.File, at, length)
}

// offset of an address in the file.
func (p pointers) offset(addr uint64) (int64, error) {
	segments, err := p.Segments()
	if err != nil {
		return 0, err
	}
	for _, s := range segments {
		if addr >= s.Addr && addr-s.Addr < uint64(s.Size) && addr-s.Addr <= math.MaxInt64 {
			return s.Offset + int64(addr-s.Addr), nil
		}
	}
	return 0, fmt.Errorf("a pointer to %#x, which is not in the file", addr)
}
