package langpkg_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// distributions lists what Python itself finds installed below a directory:
// "PATH NAME VERSION", the path being that of the metadata file.
func distributions(t *testing.T, dir string, paths ...string) []string {
	t.Helper()
	const script = `
import sys, os, json, importlib.metadata as m
found = []
for d in m.distributions(path=sys.argv[1:]):
    p = str(d._path)
    for n in ("METADATA", "PKG-INFO"):
        if os.path.isfile(os.path.join(p, n)):
            p = os.path.join(p, n)
            break
    found.append([p, d.metadata["Name"], d.version])
print(json.dumps(found))`
	out := run(t, dir, nil, "python3", append([]string{"-c", script}, paths...)...)
	var found [][3]string
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var list []string
	for _, d := range found {
		list = append(list, strings.Join(d[:], " "))
	}
	slices.Sort(list)
	return list
}

// TestPythonAgainstImportlib holds what is found in the image deb-web against
// what Python's own importlib.metadata finds in the same directories.
func TestPythonAgainstImportlib(t *testing.T) {
	testenv.Need(t, "python3")
	dir := t.TempDir()
	const packages = "usr/lib/python3/dist-packages"
	var got []string
	walkImage(t, "deb-web", func(layer int, f *plimsoll.File, content *io.SectionReader) {
		inside := strings.HasPrefix(f.Path, packages+"/") && (strings.Contains(f.Path, ".egg-info") || strings.Contains(f.Path, ".dist-info"))
		wanted := langpkg.Python{}.Wants(f)
		if !inside && !wanted {
			return
		}
		b, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		name := string(rune('0'+layer)) + "/" + f.Path
		write(t, dir, name, string(b))
		if wanted {
			found := mustDetect(t, langpkg.Python{}, name, b)
			got = append(got, lines(found)...)
		}
	})
	layers, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, l := range layers {
		paths = append(paths, filepath.Base(l)+"/"+packages)
	}
	want := distributions(t, dir, paths...)
	slices.Sort(got)
	if len(want) < 10 {
		t.Fatalf("Python finds only %d distributions", len(want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-importlib.metadata +detected):\n%s", d)
	}
	t.Logf("%d distributions, as importlib.metadata says", len(want))
}

// TestPythonEggs has setuptools install a package in its old ways.
func TestPythonEggs(t *testing.T) {
	testenv.Need(t, "python3")
	dir := t.TempDir()
	write(t, dir, "src/setup.py", `
from setuptools import setup
setup(name="Some_Thing.Old", version="1.0.post1", author="A. Nobody", author_email="a@example.org",
      license="BSD", description="x", packages=["thing"], zip_safe=True,
      long_description="A long\n\nName: not-this\n\ndescription", classifiers=["License :: OSI Approved :: BSD License"])
`)
	write(t, dir, "src/thing/__init__.py", "")
	src := filepath.Join(dir, "src")
	if exec.Command("python3", "-c", "import setuptools").Run() != nil {
		testenv.Skip(t, "needs Python's setuptools (apt-get install python3-setuptools)")
	}
	run(t, src, nil, "python3", "setup.py", "-q", "bdist_egg", "-d", "../site")
	run(t, src, nil, "python3", "setup.py", "-q", "install_egg_info", "-d", "../site")
	found := walkTree(t, langpkg.Python{}, dir)
	var names []string
	for _, c := range found.Components {
		ext := filepath.Ext(c.Paths[0])
		if ext == "" {
			ext = filepath.Ext(filepath.Dir(c.Paths[0]))
		}
		names = append(names, ext+" "+c.PURL)
		want := plimsoll.Component{
			PURL: "pkg:pypi/some-thing-old@1.0.post1", Type: plimsoll.Library, Name: c.Name, Version: "1.0.post1",
			Ecosystem: "PyPI", Detector: "python", Vendor: "A. Nobody <a@example.org>", Licenses: []string{"BSD"}, Paths: c.Paths,
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	want := []string{
		".egg pkg:pypi/some-thing-old@1.0.post1",
		".egg-info pkg:pypi/some-thing-old@1.0.post1",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(found.Gaps) > 0 {
		t.Errorf("gaps: %v", found.Gaps)
	}
}

func TestPythonMetadata(t *testing.T) {
	const name = "site-packages/x.dist-info/METADATA"
	for what, c := range map[string]struct{ text, purl, licenses, vendor, trouble string }{
		"expression":   {"Name: a\nVersion: 1\nLicense: whatever\nLicense-Expression: MIT OR Apache-2.0\n", "pkg:pypi/a@1", "MIT OR Apache-2.0", "", ""},
		"classifiers":  {"Name: a\nVersion: 1\nLicense: UNKNOWN\nClassifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License\nClassifier: License :: Public Domain\n", "pkg:pypi/a@1", "MIT License,Public Domain", "", ""},
		"whole text":   {"Name: a\nVersion: 1\nLicense: Copyright\n  by many\n  people\nClassifier: License :: OSI Approved :: MIT License\n", "pkg:pypi/a@1", "MIT License", "", ""},
		"CRLF":         {"Name: a\r\nVersion: 1.0\r\n\r\nName: b\r\n", "pkg:pypi/a@1.0", "", "", ""},
		"first counts": {"Name: a\nVersion: 1\nName: b\nVersion: 2\n", "pkg:pypi/a@1", "", "", ""},
		"body":         {"Metadata-Version: 2.1\nName: a\nVersion: 1\n\nVersion: 2\nAuthor: none\n", "pkg:pypi/a@1", "", "", ""},
		"maintainer":   {"Name: a\nVersion: 1\nMaintainer-email: B <b@example.org>\n", "pkg:pypi/a@1", "", "B <b@example.org>", ""},
		"latin-1":      {"Name: a\nVersion: 1\nAuthor: J\xf6rg\n", "pkg:pypi/a@1", "", "J\ufffdrg", ""},
		"local":        {"Name: a\nVersion: 1.0+cu118\n", "pkg:pypi/a@1.0%2Bcu118", "", "", ""},
		"description":  {"Name: a\nVersion: 1\nDescription: " + strings.Repeat("x", 10_000) + "\n        more\nLicense: MIT\n", "pkg:pypi/a@1", "MIT", "", ""},
		"no version":   {"Name: a\n", "", "", "", "without a name or version"},
		"empty":        {"", "", "", "", "without a name or version"},
		"binary":       {"\x00\x01\x02", "", "", "", "without a name or version"},
		"long name":    {"Name: " + strings.Repeat("a", 10_000) + "\nVersion: 1\n", "", "", "", "the field Name is longer"},
		"endless":      {"Name: a\nVersion: 1\n" + strings.Repeat("X: y\n", 1<<20), "", "", "", "a header of more than"},
	} {
		t.Run(what, func(t *testing.T) {
			found, err := detect(langpkg.Python{}, name, []byte(c.text))
			check(t, found)
			trouble := strings.Join(lines(&plimsoll.Found{Gaps: found.Gaps}), "\n")
			if err != nil {
				trouble = err.Error()
			}
			if !strings.Contains(trouble, c.trouble) || c.trouble == "" && trouble != "" {
				t.Errorf("trouble %q, want %q", trouble, c.trouble)
			}
			var got [3]string
			for _, d := range found.Components {
				got = [3]string{d.PURL, strings.Join(d.Licenses, ","), d.Vendor}
			}
			if want := [3]string{c.purl, c.licenses, c.vendor}; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if _, err := detect(langpkg.Python{}, "x-1.egg", []byte("PK\x03\x04 cut off")); err == nil {
		t.Error("a damaged egg is read without an error")
	}
}

func FuzzPython(f *testing.F) {
	f.Add([]byte("Metadata-Version: 2.1\nName: requests\nVersion: 2.28.1\nLicense: Apache 2.0\nClassifier: License :: OSI Approved :: MIT License\n\nbody"))
	f.Add([]byte("Name: a\nLicense: x\n  y\r\nAuthor-email: A <a@b>\n"))
	fuzz(f, langpkg.Python{}, "x.dist-info/METADATA")
}
