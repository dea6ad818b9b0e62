package langpkg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dart/packageconfig"
	"github.com/google/osv-scalibr/extractor/filesystem/language/lua/luarocks"
	"github.com/google/osv-scalibr/extractor/filesystem/language/nim/nimble"
	"github.com/google/osv-scalibr/extractor/filesystem/language/perl/cpan"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/condameta"
	"github.com/google/osv-scalibr/extractor/filesystem/misc/vscodeextensions"
	"github.com/google/osv-scalibr/extractor/filesystem/misc/wordpress/plugins"
	"github.com/google/osv-scalibr/extractor/filesystem/os/homebrew"
	"github.com/google/osv-scalibr/extractor/filesystem/os/pacman"
	"github.com/google/osv-scalibr/extractor/filesystem/os/portage"
	"github.com/google/osv-scalibr/extractor/filesystem/os/snap"
	"github.com/google/osv-scalibr/extractor/filesystem/os/spack"
	scalibrlog "github.com/google/osv-scalibr/log"
	"github.com/package-url/packageurl-go"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"

	"github.com/plimsoll/plimsoll"
)

// Scalibr finds the long tail: packages whose formats others read already, in
// osv-scalibr's extractors. Taken are those that read what is installed, from
// one file alone, and cannot be made to take much memory:
//
//	conda        conda-meta/NAME-VERSION-BUILD.json
//	CPAN         META.json, META.yml of the distributions that cpan and cpanm unpacked
//	LuaRocks     rocks-5.x/NAME/VERSION/*.rockspec
//	Nim          pkgs/NAME-VERSION/*.nimble, pkgs2
//	Dart         package_config.json
//	WordPress    wp-content/plugins/NAME/*.php
//	VS Code      extensions/extensions.json, of its servers and kin too
//	pacman       var/lib/pacman/local/*/desc
//	Portage      var/db/pkg/CATEGORY/NAME-VERSION/PF
//	snap         snap/NAME/REVISION/meta/snap.yaml
//	Homebrew     Cellar/NAME/VERSION/INSTALL_RECEIPT.json
//	Spack        .spack/spec.json
//
// Left out are those that read lock files and sources; that read other files
// beside (Chrome extensions); that keep state between files (Nix); that copy
// to a temporary file (.NET executables); that inflate without a limit
// (Chisel); and that mistake the format (opam: its install is a directory).
type Scalibr struct {
	// formats by the file name's extension, or by the whole name when it has
	// none: one look-up tells that an ordinary file is none of them.
	formats map[string][]scalibrFormat
}

// scalibrFormat is one extractor, and what we know better.
type scalibrFormat struct {
	// base is the file's whole name; empty for any with the extension.
	base string
	// inside must stand in the path. It is looked for before the extractor is
	// asked, because that costs an allocation.
	inside string
	// most bytes of such a file. The extractors hold a file, or a tree many
	// times its size, in memory.
	most int64
	// head is how much of the file is shown to the extractor; 0 means all.
	head int64
	// alone: base and inside decide, because the extractor would miss files.
	alone     bool
	extractor filesystem.Extractor
	ecosystem string // as in the OSV schema
	// first: only the first package counts.
	first bool
	// purl names the package. The extractors' own package URLs are not used:
	// some have types that nobody else knows, or take one thing for another.
	purl func(p *extractor.Package, path string) packageurl.PackageURL
}

// NewScalibr returns the detector. It also ends osv-scalibr's logging to
// standard error, which is for the whole process: what matters of it comes as
// an error too.
func NewScalibr() *Scalibr {
	silenceScalibr()
	s := &Scalibr{formats: map[string][]scalibrFormat{}}
	add := func(key string, f scalibrFormat, newExtractor func(*cpb.PluginConfig) (filesystem.Extractor, error)) {
		e, err := newExtractor(&cpb.PluginConfig{})
		if err != nil {
			panic(err) // an empty configuration is a valid one
		}
		f.extractor = e
		s.formats[key] = append(s.formats[key], f)
	}
	add(".json", scalibrFormat{
		// The extractor wants them in envs/, where the base environment is
		// not, and calls them PyPI's: conda's openssl is not PyPI's.
		inside: "conda-meta/", alone: true, most: 8 << 20, purl: plainPURL("conda"),
	}, condameta.New)
	add(".json", scalibrFormat{base: "META.json", inside: "/.cpan", most: 8 << 20, purl: plainPURL(packageurl.TypeCpan)}, cpan.New)
	add(".yml", scalibrFormat{base: "META.yml", inside: "/.cpan", most: 256 << 10, purl: plainPURL(packageurl.TypeCpan)}, cpan.New)
	add(".rockspec", scalibrFormat{inside: "rocks-", most: 8 << 20, purl: plainPURL("luarocks")}, luarocks.New)
	add(".nimble", scalibrFormat{inside: "/pkgs", most: 8 << 20, purl: plainPURL("nim")}, nimble.New)
	add(".json", scalibrFormat{base: "package_config.json", most: 1 << 20, ecosystem: "Pub", purl: plainPURL(packageurl.TypePub)}, packageconfig.New)
	add(".php", scalibrFormat{
		// WordPress itself looks for the header in the first 8 KiB
		// (get_file_data), and knows a plugin by its directory.
		inside: "wp-content/plugins/", head: 8 << 10, most: 1 << 30,
		purl: func(p *extractor.Package, file string) packageurl.PackageURL {
			p.Name = path.Base(path.Dir(file))
			return packageurl.PackageURL{Type: "wordpress", Name: p.Name, Version: p.Version}
		},
	}, plugins.New)
	add(".json", scalibrFormat{
		// The extractor knows .vscode only: not .vscode-server of development
		// containers, nor code-server.
		base: "extensions.json", inside: "/extensions/", alone: true, most: 512 << 10, ecosystem: "VSCode",
		purl: func(p *extractor.Package, _ string) packageurl.PackageURL {
			publisher, name, _ := strings.Cut(p.Name, ".")
			return packageurl.PackageURL{Type: "vscode-extension", Namespace: publisher, Name: name, Version: p.Version}
		},
	}, vscodeextensions.New)
	add("desc", scalibrFormat{
		inside: "var/lib/pacman/local/", most: 1 << 20,
		purl: func(p *extractor.Package, _ string) packageurl.PackageURL {
			// The type wants a vendor; all who use pacman in images derive
			// from Arch.
			return packageurl.PackageURL{Type: packageurl.TypeAlpm, Namespace: "arch", Name: p.Name, Version: p.Version}
		},
	}, pacman.New)
	add("PF", scalibrFormat{
		inside: "var/db/pkg/", most: 4 << 10,
		purl: func(p *extractor.Package, file string) packageurl.PackageURL {
			category := path.Base(path.Dir(path.Dir(file)))
			u := packageurl.PackageURL{Type: "ebuild", Namespace: category, Name: p.Name, Version: p.Version}
			p.Name = category + "/" + p.Name
			return u
		},
	}, portage.New)
	add(".yaml", scalibrFormat{base: "snap.yaml", inside: "meta/", most: 256 << 10, purl: plainPURL("snap")}, snap.New)
	add(".json", scalibrFormat{base: "INSTALL_RECEIPT.json", inside: "Cellar/", most: 8 << 20, purl: plainPURL("brew")}, homebrew.New)
	// The first node is what lies there; the others are what it depends on,
	// and have files of their own.
	add(".json", scalibrFormat{base: "spec.json", inside: ".spack/", most: 512 << 10, first: true, purl: plainPURL("spack")}, spack.New)
	return s
}

func plainPURL(kind string) func(*extractor.Package, string) packageurl.PackageURL {
	return func(p *extractor.Package, _ string) packageurl.PackageURL {
		return packageurl.PackageURL{Type: kind, Name: p.Name, Version: p.Version}
	}
}

func (*Scalibr) Name() string { return "scalibr" }

// Version changes with that of osv-scalibr too.
func (*Scalibr) Version() int { return 1 }

// Wants implements analyze.Detector.
func (s *Scalibr) Wants(f *plimsoll.File) bool { return s.format(f) != nil }

func (s *Scalibr) format(f *plimsoll.File) *scalibrFormat {
	key := f.Base
	if dot := strings.LastIndexByte(key, '.'); dot > 0 {
		key = key[dot:]
	}
	formats := s.formats[key]
	for i := range formats {
		x := &formats[i]
		if x.base != "" && x.base != f.Base || !strings.Contains(f.Path, x.inside) {
			continue
		}
		if x.alone || x.extractor.FileRequired(scalibrFile{path: f.Path}) {
			return x
		}
	}
	return nil
}

// Detect implements analyze.Detector.
func (s *Scalibr) Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (found *plimsoll.Found, err error) {
	x := s.format(f)
	if x == nil {
		return &plimsoll.Found{}, nil
	}
	b := newBuilder("scalibr", x.ecosystem, f)
	if content.Size() > x.most {
		return b.tooLarge(content.Size(), x.most), nil
	}
	if x.head > 0 {
		content = io.NewSectionReader(content, 0, min(x.head, content.Size()))
	}
	// Foreign code reads hostile bytes here. When it panics, one file is not
	// read; the scan goes on.
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("%s: the extractor panicked: %v", x.extractor.Name(), p)
		}
	}()
	file := scalibrFile{f.Path, content}
	got, err := x.extractor.Extract(ctx, &filesystem.ScanInput{
		FS: scalibrFS{file}, Path: f.Path, Info: scalibrInfo{f.Base, content.Size()}, Reader: content,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.extractor.Name(), err)
	}
	for i, p := range got.Packages {
		if p == nil || x.first && i > 0 {
			continue
		}
		if p.Version == "" {
			// Of all of them only Dart's file lists such: the project itself
			// and what it takes from its own tree.
			continue
		}
		url := x.purl(p, f.Path)
		b.add(plimsoll.Component{Name: p.Name, Version: p.Version, Licenses: p.Licenses}, url)
	}
	return &b.found, nil
}

// scalibrFile is the one file that an extractor gets to see: as what it decides
// on, and as an open file.
type scalibrFile struct {
	path    string
	content *io.SectionReader
}

func (f scalibrFile) Path() string { return f.path }

// Stat gives no size while the extractor decides whether it wants the file: it
// would pass over a large one without a word, and Detect has limits of its own.
func (f scalibrFile) Stat() (fs.FileInfo, error) {
	if f.content == nil {
		return scalibrInfo{path.Base(f.path), 0}, nil
	}
	return scalibrInfo{path.Base(f.path), f.content.Size()}, nil
}

func (f scalibrFile) Read(p []byte) (int, error)              { return f.content.Read(p) }
func (f scalibrFile) ReadAt(p []byte, off int64) (int, error) { return f.content.ReadAt(p, off) }
func (scalibrFile) Close() error                              { return nil }

// scalibrFS is a file system that holds one file. What extractors look for
// beside (os-release, a newer form of the same file) they can do without.
type scalibrFS struct{ file scalibrFile }

func (s scalibrFS) Open(name string) (fs.File, error) {
	if name != s.file.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	content := io.NewSectionReader(s.file.content, 0, s.file.content.Size())
	return scalibrFile{s.file.path, content}, nil
}

func (s scalibrFS) Stat(name string) (fs.FileInfo, error) {
	if name != s.file.path {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return s.file.Stat()
}

func (scalibrFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.ErrUnsupported}
}

type scalibrInfo struct {
	name string
	size int64
}

func (i scalibrInfo) Name() string     { return i.name }
func (i scalibrInfo) Size() int64      { return i.size }
func (scalibrInfo) Mode() fs.FileMode  { return 0o644 }
func (scalibrInfo) ModTime() time.Time { return time.Time{} }
func (scalibrInfo) IsDir() bool        { return false }
func (scalibrInfo) Sys() any           { return nil }

var silenceScalibr = sync.OnceFunc(func() { scalibrlog.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Errorf(string, ...any) {}
func (noLog) Error(...any)          {}
func (noLog) Warnf(string, ...any)  {}
func (noLog) Warn(...any)           {}
func (noLog) Infof(string, ...any)  {}
func (noLog) Info(...any)           {}
func (noLog) Debugf(string, ...any) {}
func (noLog) Debug(...any)          {}
