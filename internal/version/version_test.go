package version

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// one name of each family.
var representatives = []string{
	"Debian", "Red Hat", "Alpine", "npm", "CRAN", "Hackage", "Maven", "NuGet", "Packagist", "Pub", "PyPI", "RubyGems",
}

// TestVectors holds the order against vectors that osv-scanner's authors made
// with the ecosystems' own tools (testdata of osv-scalibr/semantic).
func TestVectors(t *testing.T) {
	// By file name: the ecosystem, how many comparisons it holds.
	files := map[string]struct {
		ecosystem string
		count     int
	}{
		"alpine-versions-generated.txt":    {"Alpine", 13979},
		"alpine-versions.txt":              {"Alpine", 778},
		"cran-versions-generated.txt":      {"CRAN", 57},
		"cran-versions.txt":                {"CRAN", 21},
		"debian-versions-generated.txt":    {"Debian", 14442},
		"debian-versions.txt":              {"Debian", 30},
		"hackage-versions.txt":             {"Hackage", 11},
		"maven-versions-generated.txt":     {"Maven", 14752},
		"maven-versions.txt":               {"Maven", 102},
		"nuget-versions.txt":               {"NuGet", 35},
		"packagist-versions-generated.txt": {"Packagist", 10630},
		"packagist-versions.txt":           {"Packagist", 95},
		"pub-versions.txt":                 {"Pub", 100},
		"pypi-versions-generated.txt":      {"PyPI", 12375},
		"pypi-versions.txt":                {"PyPI", 37},
		"redhat-versions.txt":              {"Red Hat", 165},
		"rubygems-versions-generated.txt":  {"RubyGems", 4098},
		"rubygems-versions.txt":            {"RubyGems", 25},
		"semver-versions.txt":              {"npm", 86},
	}
	seen := 0
	eachFile(t, testenv.Shared(t, "advisories", "match-labels", "version-comparison-vectors.tar.zst"), func(name string, r io.Reader) {
		file, known := files[path.Base(name)]
		if !known {
			t.Errorf("%s: a file of vectors that this test does not know", name)
			return
		}
		seen++
		count := 0
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			line := lines.Text()
			if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") {
				continue
			}
			a, rest, _ := strings.Cut(line, " ")
			op, b, ok := strings.Cut(rest, " ")
			want, known := map[string]int{"<": -1, "=": 0, ">": 1}[op]
			if !ok || !known {
				t.Errorf("%s: %q is no comparison", name, line)
				continue
			}
			count++
			if got, err := Compare(file.ecosystem, a, b); err != nil || got != want {
				t.Errorf("%s: %s: Compare = %d, %v", name, line, got, err)
			}
			if got, err := Compare(file.ecosystem, b, a); err != nil || got != -want {
				t.Errorf("%s: %s, turned round: Compare = %d, %v", name, line, got, err)
			}
		}
		if err := lines.Err(); err != nil {
			t.Error(err)
		}
		if count != file.count {
			t.Errorf("%s: %d comparisons, want %d", name, count, file.count)
		}
	})
	if seen != len(files) {
		t.Errorf("found %d files of vectors, want %d", seen, len(files))
	}
}

func TestUnsupported(t *testing.T) {
	for _, ecosystem := range []string{"", "GIT", "Arch Linux", "Debianish", "debian", ":Debian"} {
		if _, err := Compare(ecosystem, "1", "2"); !errors.Is(err, ErrUnsupported) {
			t.Errorf("Compare in ecosystem %q: %v, want ErrUnsupported", ecosystem, err)
		}
		if Supported(ecosystem) {
			t.Errorf("Supported(%q)", ecosystem)
		}
	}
}

func TestInvalid(t *testing.T) {
	for _, ecosystem := range representatives {
		for _, text := range []string{"", strings.Repeat("1", MaxLength+1)} {
			if _, err := Parse(ecosystem, text); !errors.Is(err, ErrInvalid) {
				t.Errorf("Parse(%s, %.10q…): %v, want ErrInvalid", ecosystem, text, err)
			}
		}
		if _, err := Parse(ecosystem, strings.Repeat("1", MaxLength)); err != nil {
			t.Errorf("%s: a version of %d bytes: %v", ecosystem, MaxLength, err)
		}
	}
	for _, tt := range []struct{ ecosystem, text string }{
		{"Debian", "one:2.3-4"},
		{"CRAN", "1.x"},
		{"Hackage", "1.2-beta"},
	} {
		if _, err := Parse(tt.ecosystem, tt.text); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%s, %q): %v, want ErrInvalid", tt.ecosystem, tt.text, err)
		}
	}
	npm, _ := Parse("npm", "1.0.0")
	pypi, _ := Parse("PyPI", "1.0.0")
	if _, err := npm.Compare(pypi); err == nil {
		t.Error("an npm and a PyPI version were compared")
	}
	if _, err := (Version{}).Compare(Version{}); err == nil {
		t.Error("two zero Versions were compared")
	}
}

// TestFamilies: an order of each kind, under every name it goes by.
func TestFamilies(t *testing.T) {
	for _, tt := range []struct {
		ecosystems string // comma separated
		a, b       string // a before b
	}{
		{"Debian,Debian:12,Ubuntu:22.04:LTS,Ubuntu:Pro:20.04:LTS,Echo", "1:1.0~rc1-1", "1:1.0-1+b1"},
		{"Red Hat:enterprise_linux:9::baseos,AlmaLinux:9,Rocky Linux:8,Oracle Linux:8,Amazon Linux:2023,Azure Linux:3,CBL-Mariner:2.0," +
			"Photon OS:3.0,SUSE:Linux Enterprise Server 15 SP5,openSUSE:Leap 15.5,openEuler:22.03-LTS,Mageia:9,Fedora:36,CentOS:7",
			"0:1.0~rc1-1.el9", "1.0-1.el9_2"},
		{"Alpine:v3.21,Wolfi,Chainguard,MinimOS,Alpaquita:stream,BellSoft Hardened Containers:25", "1.2_rc1-r3", "1.2-r0"},
		{"npm,Go,crates.io,Hex,Bitnami,Linux,SwiftURL,GitHub Actions,SEMVER", "1.2.0-rc.9", "1.2.0"},
		{"PyPI", "1.0.dev3", "1.0a1"},
		{"PyPI", "2025.1", "1!0.1"},
		{"Maven", "1.0-SNAPSHOT", "1.0"},
		{"RubyGems", "1.0.a", "1.0"},
		{"NuGet", "1.0.0.1-beta", "1.0.0.1"},
		{"Packagist", "1.0-beta", "1.0-RC1"},
		{"Pub", "1.0.0", "1.0.0+1"},
		{"CRAN", "0.1-0", "0.1-1"},
		{"Hackage", "1.0", "1.0.0"},
	} {
		for ecosystem := range strings.SplitSeq(tt.ecosystems, ",") {
			if c, err := Compare(ecosystem, tt.a, tt.b); c != -1 || err != nil {
				t.Errorf("%s: Compare(%q, %q) = %d, %v, want -1", ecosystem, tt.a, tt.b, c, err)
			}
		}
	}
}

// eachFile hands out the files of a tar.zst.
func eachFile(t *testing.T, archive string, do func(name string, r io.Reader)) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for tr := tar.NewReader(z); ; {
		header, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			do(header.Name, tr)
		}
	}
}
