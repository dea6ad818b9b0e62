package langpkg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/inventory"
	"github.com/google/osv-scalibr/plugin"
	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// samples are where each format lies in an image, and an example of it from
// osv-scalibr's own test data ("" for formats that are all in the path).
var samples = []struct {
	path, sample string
	want         []string // purls
	name         string   // and ecosystem, of the first
}{
	{"opt/conda/conda-meta/jupyterlab-3.1.12-py39.json", "language/python/condameta/testdata/valid", []string{"pkg:conda/jupyterlab@3.1.12"}, "jupyterlab "},
	{"opt/conda/envs/a/conda-meta/jupyterlab-3.1.12-py39.json", "language/python/condameta/testdata/valid", []string{"pkg:conda/jupyterlab@3.1.12"}, "jupyterlab "},
	{"root/.cpan/build/ExtUtils-Helpers-0.028-0/META.json", "language/perl/cpan/testdata/META_correct1.json", []string{"pkg:cpan/ExtUtils-Helpers@0.028"}, "ExtUtils-Helpers "},
	{"root/.cpanm/work/1/ExtUtils-Helpers-0.028/META.yml", "language/perl/cpan/testdata/META_correct1.yml", []string{"pkg:cpan/ExtUtils-Helpers@0.028"}, "ExtUtils-Helpers "},
	{"usr/local/lib/luarocks/rocks-5.3/luasocket/3.1.0-1/luasocket-3.1.0-1.rockspec", "", []string{"pkg:luarocks/luasocket@3.1.0-1"}, "luasocket "},
	{"root/.nimble/pkgs2/libp2p-1.0.0-2b26a9e0fc79638dbb9272fb4ab5a1d79264f938/libp2p.nimble", "", []string{"pkg:nim/libp2p@1.0.0"}, "libp2p "},
	{"app/.dart_tool/package_config.json", "language/dart/packageconfig/testdata/package_config.json", []string{"pkg:pub/async@2.11.0", "pkg:pub/boolean_selector@2.1.1"}, "async Pub"},
	{"var/www/html/wp-content/plugins/akismet/akismet.php", "misc/wordpress/plugins/testdata/valid", []string{"pkg:wordpress/akismet@5.3"}, "akismet "},
	{"root/.vscode-server/extensions/extensions.json", "misc/vscodeextensions/testdata/one-extension.json", []string{"pkg:vscode-extension/ms-vscode/cpptools@1.23.6"}, "ms-vscode.cpptools VSCode"},
	{"var/lib/pacman/local/gawk-5.3.1-1/desc", "os/pacman/testdata/valid", []string{"pkg:alpm/arch/gawk@5.3.1-1"}, "gawk "},
	{"var/db/pkg/dev-perl/Getopt-Long-2.580.0/PF", "os/portage/testdata/valid", []string{"pkg:ebuild/dev-perl/Getopt-Long@2.580.0"}, "dev-perl/Getopt-Long "},
	{"snap/core/16928/meta/snap.yaml", "os/snap/testdata/single-arch.yaml", []string{"pkg:snap/core@16-2.61.4-20240607"}, "core "},
	{"home/linuxbrew/.linuxbrew/Cellar/rclone/1.67.0/INSTALL_RECEIPT.json", "os/homebrew/testdata/Cellar/rclone/1.67.0/INSTALL_RECEIPT.json", []string{"pkg:brew/rclone@1.67.0"}, "rclone "},
	{"opt/spack/linux/libelf-0.8.13-abc/.spack/spec.json", "os/spack/testdata/validspec.json", []string{"pkg:spack/libelf@0.8.13"}, "libelf "},
}

func scalibrSample(t testing.TB, name string) []byte {
	t.Helper()
	if name == "" {
		return []byte("package")
	}
	content, err := os.ReadFile(filepath.Join(testenv.Module(t, "github.com/google/osv-scalibr"), "extractor", "filesystem", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func scalibrDetect(s *Scalibr, name string, content []byte) (*plimsoll.Found, error) {
	f := &plimsoll.File{Path: name, Base: filepath.Base(name), Size: int64(len(content)), Head: content[:min(len(content), plimsoll.HeadSize)]}
	if !s.Wants(f) {
		return nil, errors.New("not wanted")
	}
	return s.Detect(context.Background(), f, io.NewSectionReader(strings.NewReader(string(content)), 0, int64(len(content))))
}

func scalibrCheck(t testing.TB, found *plimsoll.Found) {
	t.Helper()
	for _, c := range found.Components {
		u, err := packageurl.FromString(c.PURL)
		if err != nil || u.String() != c.PURL || c.Name == "" || c.Version == "" || c.Detector != "scalibr" || len(c.Paths) != 1 {
			t.Errorf("component %+v: %v", c, err)
		}
	}
}

func TestScalibr(t *testing.T) {
	s := NewScalibr()
	for _, c := range samples {
		t.Run(c.path, func(t *testing.T) {
			found, err := scalibrDetect(s, c.path, scalibrSample(t, c.sample))
			if err != nil {
				t.Fatal(err)
			}
			scalibrCheck(t, found)
			if len(found.Gaps) > 0 {
				t.Errorf("gaps %+v", found.Gaps)
			}
			var got []string
			for _, c := range found.Components {
				got = append(got, c.PURL)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if first := found.Components[0]; c.name != "" && first.Name+" "+first.Ecosystem != c.name {
				t.Errorf("name and ecosystem %q %q, want %q", first.Name, first.Ecosystem, c.name)
			}
		})
	}
}

// Files of other things with such names, and the same elsewhere, are not read.
func TestScalibrLeavesAlone(t *testing.T) {
	s := NewScalibr()
	for _, name := range []string{
		"etc/passwd", "desc", "usr/share/doc/desc", "PF", "var/db/pkg/PF.txt", "usr/lib/node_modules/a/package.json",
		"srv/META.json", "META.yml", "srv/extensions.json", "app/x.php", "wp-content/plugins/a/b/c.php", "x.rockspec", "x.nimble",
		"snap/snap.yaml", "INSTALL_RECEIPT.json", "spec.json", ".json", ".spack/spec.json", "conda-meta/history", "",
	} {
		if s.Wants(&plimsoll.File{Path: name, Base: filepath.Base(name)}) {
			t.Errorf("wants %q", name)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { s.Wants(&plimsoll.File{Path: "usr/share/doc/package.json", Base: "package.json"}) }); allocs != 0 {
		t.Errorf("Wants of an ordinary file allocates %v times", allocs)
	}
}

func TestScalibrBadContent(t *testing.T) {
	s := NewScalibr()
	for name, content := range map[string]string{
		"opt/conda/conda-meta/a.json":             "{",
		"root/.cpan/build/a/META.json":            "null",
		"root/.cpan/build/a/META.yml":             "a: [",
		"app/.dart_tool/package_config.json":      "not json",
		"root/.vscode/extensions/extensions.json": `[{"version":"1"}]`,
		"var/lib/pacman/local/a/desc":             "%NAME%\n" + strings.Repeat("a", 100_000),
		"var/db/pkg/a/b/PF":                       "nothing",
		"snap/a/1/meta/snap.yaml":                 "name: a",
		"opt/a/.spack/spec.json":                  "[]",
	} {
		if found, err := scalibrDetect(s, name, []byte(content)); err == nil {
			t.Errorf("%s: %+v, want an error", name, found)
		}
	}
	// The header of a WordPress plugin is looked for in the first 8 KiB only,
	// so that code in long lines is no trouble.
	found, err := scalibrDetect(s, "wp-content/plugins/a/a.php", []byte("<?php\n/* Plugin Name: A\nVersion: 1.2 */\n"+strings.Repeat("x", 1<<20)))
	if err != nil || len(found.Components) != 1 {
		t.Errorf("WordPress: %+v, %v", found, err)
	}
}

// Every limit on a file's size becomes a gap, not silence.
func TestScalibrTooLarge(t *testing.T) {
	s := NewScalibr()
	seen := 0
	for _, c := range samples {
		f := &plimsoll.File{Path: c.path, Base: filepath.Base(c.path)}
		x := s.format(f)
		if x.head > 0 {
			continue
		}
		seen++
		f.Size = x.most + 1
		if !s.Wants(f) {
			t.Errorf("%s of %d bytes is passed over", c.path, f.Size)
		}
		found, err := s.Detect(context.Background(), f, io.NewSectionReader(zeros{}, 0, f.Size))
		if err != nil || len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited {
			t.Errorf("%s: %+v, %v, want a gap", c.path, found, err)
		}
	}
	if seen < 10 {
		t.Errorf("%d formats have a limit", seen)
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

type panicking struct{ filesystem.Extractor }

func (panicking) Name() string                         { return "panicking" }
func (panicking) Version() int                         { return 0 }
func (panicking) Requirements() *plugin.Capabilities   { return nil }
func (panicking) FileRequired(filesystem.FileAPI) bool { return true }
func (panicking) Extract(context.Context, *filesystem.ScanInput) (inventory.Inventory, error) {
	var p *extractor.Package
	return inventory.Inventory{}, errors.New(p.Name)
}

func TestScalibrPanic(t *testing.T) {
	s := &Scalibr{formats: map[string][]scalibrFormat{".x": {{most: 10, extractor: panicking{}}}}}
	found, err := scalibrDetect(s, "a.x", nil)
	if found != nil || err == nil || !strings.Contains(err.Error(), "panicking: the extractor panicked") {
		t.Errorf("%+v, %v", found, err)
	}
}

func FuzzScalibr(f *testing.F) {
	s := NewScalibr()
	for i, c := range samples {
		f.Add(i, scalibrSample(f, c.sample))
	}
	f.Fuzz(func(t *testing.T, i int, content []byte) {
		c := samples[uint(i)%uint(len(samples))]
		found, err := scalibrDetect(s, c.path, content)
		if err != nil {
			if strings.Contains(err.Error(), "panicked") {
				t.Log(err) // not ours to repair, and the scan survives
			}
			return
		}
		scalibrCheck(t, found)
	})
}

// ordinaryPaths are as they lie in images.
func ordinaryPaths() []plimsoll.File {
	var files []plimsoll.File
	for i := range 100_000 {
		p := fmt.Sprintf([]string{
			"usr/lib/x86_64-linux-gnu/lib%d.so.6", "usr/share/doc/package-%d/copyright", "usr/lib/node_modules/p%d/package.json",
			"usr/lib/node_modules/p%d/index.js", "usr/lib/python3/dist-packages/m%d/__init__.py", "usr/share/zoneinfo/Europe/City%d",
			"usr/bin/tool%d", "var/www/html/p%d/index.php", "usr/share/man/man1/page%d.1.gz", "etc/conf.d/c%d.yaml",
		}[i%10], i)
		files = append(files, plimsoll.File{Path: p, Base: filepath.Base(p), Size: 1000})
	}
	return files
}

// The two benchmarks ask the same 100,000 ordinary paths. When this was
// written: 80 ns a file and no allocation by name first; 4,000 ns and 13
// allocations when the 13 extractors are asked instead; 43,500 ns and 97
// allocations with all 92 of osv-scalibr that read a language's, a system's or
// a tool's packages.

func BenchmarkScalibrWants(b *testing.B) {
	s, files := NewScalibr(), ordinaryPaths()
	b.ReportAllocs()
	for b.Loop() {
		for i := range files {
			if s.Wants(&files[i]) {
				b.Fatal(files[i].Path)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(files)), "ns/file")
}

func BenchmarkScalibrFileRequired(b *testing.B) {
	var all []filesystem.Extractor
	for _, formats := range NewScalibr().formats {
		for _, x := range formats {
			all = append(all, x.extractor)
		}
	}
	files := ordinaryPaths()
	b.ReportAllocs()
	for b.Loop() {
		for i := range files {
			for _, e := range all {
				e.FileRequired(scalibrFile{path: files[i].Path})
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(files)), "ns/file")
}
