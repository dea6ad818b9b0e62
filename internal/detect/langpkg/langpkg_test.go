package langpkg_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// detector is what internal/analyze asks of each type here.
type detector interface {
	Name() string
	Version() int
	Wants(f *plimsoll.File) bool
	Detect(ctx context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error)
}

var java = langpkg.Java{Limits: plimsoll.DefaultLimits()}

func detectors() []detector {
	return []detector{
		langpkg.NPM{}, langpkg.Python{}, langpkg.Go{}, java, langpkg.Ruby{}, langpkg.PHP{}, langpkg.DotNet{}, langpkg.Rust{},
	}
}

func file(name string, content []byte) *plimsoll.File {
	return &plimsoll.File{
		Path: name, Base: path.Base(name), Size: int64(len(content)), Mode: 0o644,
		Head: content[:min(len(content), plimsoll.HeadSize)],
	}
}

// detect shows content to d as the file name.
func detect(d detector, name string, content []byte) (*plimsoll.Found, error) {
	f := file(name, content)
	if !d.Wants(f) {
		return nil, fmt.Errorf("%s does not want %s", d.Name(), name)
	}
	found, err := d.Detect(context.Background(), f, io.NewSectionReader(bytes.NewReader(content), 0, f.Size))
	if found == nil {
		found = &plimsoll.Found{}
	}
	return found, err
}

func mustDetect(t testing.TB, d detector, name string, content []byte) *plimsoll.Found {
	t.Helper()
	found, err := detect(d, name, content)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	check(t, found)
	return found
}

// check holds what is true of every result.
func check(t testing.TB, found *plimsoll.Found) {
	t.Helper()
	for _, c := range found.Components {
		if c.Name == "" || c.Type == "" || c.Detector == "" || c.Ecosystem == "" || len(c.Paths) == 0 {
			t.Errorf("incomplete component: %+v", c)
		}
		url, err := packageurl.FromString(c.PURL)
		if err != nil {
			t.Errorf("%s %s: purl %q: %v", c.Name, c.Version, c.PURL, err)
		} else if url.String() != c.PURL {
			t.Errorf("purl %q is not canonical: %q", c.PURL, url.String())
		} else if url.Version != c.Version {
			t.Errorf("purl %q is not of version %q", c.PURL, c.Version)
		}
	}
	for _, g := range found.Gaps {
		if g.Kind == "" || g.Reason == "" || g.Path == "" {
			t.Errorf("incomplete gap: %+v", g)
		}
	}
	if len(found.Components) > 20_000 || len(found.Gaps) > 101 {
		t.Errorf("%d components and %d gaps from one file", len(found.Components), len(found.Gaps))
	}
}

// summary is one component in a line, and gap one gap.
func summary(c plimsoll.Component) string {
	return c.Paths[0] + " " + c.Name + " " + c.Version
}

func lines(found *plimsoll.Found) []string {
	var l []string
	for _, c := range found.Components {
		l = append(l, summary(c))
	}
	for _, g := range found.Gaps {
		l = append(l, "gap "+string(g.Kind)+" "+g.Path+": "+g.Reason)
	}
	slices.Sort(l)
	return l
}

func purls(found *plimsoll.Found) []string {
	var l []string
	for _, c := range found.Components {
		l = append(l, c.PURL)
	}
	slices.Sort(l)
	return l
}

// walkImage calls visit for every regular file of every layer, lowest first.
func walkImage(t testing.TB, image string, visit func(layer int, f *plimsoll.File, content *io.SectionReader)) {
	t.Helper()
	archive, err := os.Open(testenv.Image(t, image))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	offsets := map[string][2]int64{}
	var manifest []struct{ Layers []string }
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at, _ := archive.Seek(0, io.SeekCurrent)
		offsets[h.Name] = [2]int64{at, h.Size}
		if h.Name == "manifest.json" {
			if err := json.NewDecoder(r).Decode(&manifest); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, name := range manifest[0].Layers {
		layer := io.NewSectionReader(archive, offsets[name][0], offsets[name][1])
		for r := tar.NewReader(layer); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			at, _ := layer.Seek(0, io.SeekCurrent)
			content := io.NewSectionReader(layer, at, h.Size)
			head := make([]byte, min(h.Size, plimsoll.HeadSize))
			if _, err := content.ReadAt(head, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(path.Clean(h.Name), "/")
			visit(i, &plimsoll.File{Path: name, Base: path.Base(name), Size: h.Size, Mode: h.FileInfo().Mode(), Head: head}, content)
		}
	}
}

// run runs a program and gives what it prints.
func run(t testing.TB, dir string, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.Bytes())
	}
	return out
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// walkTree shows every regular file below dir to d.
func walkTree(t testing.TB, d detector, dir string) *plimsoll.Found {
	t.Helper()
	all := &plimsoll.Found{}
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		b := read(t, name)
		if !d.Wants(file(rel, b)) {
			return nil
		}
		found := mustDetect(t, d, rel, b)
		all.Components = append(all.Components, found.Components...)
		all.Gaps = append(all.Gaps, found.Gaps...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fuzz holds a detector to what is true of every input.
func fuzz(f *testing.F, d detector, name string) {
	f.Fuzz(func(t *testing.T, b []byte) {
		fl := file(name, b)
		d.Wants(fl)
		found, err := d.Detect(context.Background(), fl, io.NewSectionReader(bytes.NewReader(b), 0, fl.Size))
		if err == nil && found != nil {
			check(t, found)
		}
	})
}

// TestWants gives each kind of file to its detector and to no other.
func TestWants(t *testing.T) {
	elf := append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00"), make([]byte, 200)...)
	object := bytes.Clone(elf)
	object[16] = 1
	zip := []byte("PK\x03\x04" + strings.Repeat("\x00", 26) + "some/file.txt")
	jar := []byte("PK\x03\x04" + strings.Repeat("\x00", 26) + "META-INF/MANIFEST.MF")
	text := []byte("text")
	for _, c := range []struct {
		path string
		head []byte
		want string
	}{
		{"srv/app/package.json", text, "npm"},
		{"package.json", text, "npm"},
		{"srv/node_modules/a/package.json", text, "npm"},
		{"node_modules/@scope/a/package.json", text, "npm"},
		{"srv/node_modules/.pnpm/a@1.0.0/node_modules/a/package.json", text, "npm"},
		{"srv/node_modules/a/node_modules/b/package.json", text, "npm"},
		{"srv/my_node_modules/a/test/package.json", text, "npm"},
		{"srv/node_modules/a/dist/esm/package.json", text, ""},
		{"srv/node_modules/@scope/package.json", text, ""},
		{"srv/node_modules/.cache/package.json", text, ""},
		{"srv/node_modules/package.json", text, ""},
		{"srv/app/package-lock.json", text, ""},
		{"usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO", text, "python"},
		{"usr/lib/python3/dist-packages/six.egg-info", text, "python"},
		{"usr/lib/python3.11/site-packages/x-1.dist-info/METADATA", text, "python"},
		{"usr/lib/python3.11/site-packages/x-1.egg/EGG-INFO/PKG-INFO", text, "python"},
		{"usr/lib/python3.11/site-packages/x-1.egg", zip, "python"},
		{"usr/lib/python3.11/site-packages/x-1.egg", text, ""},
		{"src/x-1/PKG-INFO", text, ""},
		{"METADATA", text, ""},
		{"root/x-1-py3-none-any.whl", zip, ""},
		{"usr/bin/tool", elf, "go rust"},
		{"usr/lib/libx.so.1", elf, "go rust"},
		{"usr/lib/modules/x.ko", object, ""},
		{"app.jar", text, "java"},
		{"srv/a.war", zip, "java"},
		{"srv/a.hpi", zip, "java"},
		{"srv/a.par", text, ""},
		{"srv/application", jar, "java"},
		{"srv/a.zip", zip, ""},
		{"usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec", text, "ruby"},
		{"usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec", text, "ruby"},
		{"srv/mygem/mygem.gemspec", text, ""},
		{"usr/lib/ruby/gems/3.1.0/gems/rake-13.0.6/rake.gemspec", text, ""},
		{"srv/vendor/composer/installed.json", text, "php"},
		{"srv/vendor/installed.json", text, ""},
		{"app/App.deps.json", text, "dotnet"},
		{"app/deps.json", text, ""},
	} {
		var got []string
		for _, d := range detectors() {
			if d.Wants(file(c.path, c.head)) {
				got = append(got, d.Name())
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: wanted by %q, want %q", c.path, got, c.want)
		}
	}
	// Of a hard link the name alone may be known. Who looks at names only
	// says the same; who looks at content only leaves it to the target.
	for _, c := range []struct{ path, want string }{
		{"srv/a.par", "java"}, {"usr/lib/x.egg", "python"}, {"srv/app/package.json", "npm"}, {"usr/bin/tool", ""},
	} {
		var got []string
		for _, d := range detectors() {
			if d.Wants(&plimsoll.File{Path: c.path, Base: path.Base(c.path), Size: 1}) {
				got = append(got, d.Name())
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s without content: wanted by %q, want %q", c.path, got, c.want)
		}
	}
}

// BenchmarkWants asks all detectors about typical files.
func BenchmarkWants(b *testing.B) {
	elf := append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00"), make([]byte, 492)...)
	text := bytes.Repeat([]byte("const a = 1;\n"), 40)[:plimsoll.HeadSize]
	files := make([]plimsoll.File, 100_000)
	for i := range files {
		name := []string{
			"srv/app/node_modules/pkg%d/lib/index.js", "srv/app/node_modules/pkg%d/README.md", "srv/app/node_modules/pkg%d/package.json",
			"usr/share/doc/pkg%d/copyright", "usr/lib/python3/dist-packages/pkg%d/__init__.py", "usr/share/locale/%d/LC_MESSAGES/x.mo",
			"usr/lib/x86_64-linux-gnu/lib%d.so.1", "usr/include/linux/h%d.h", "usr/share/zoneinfo/Region/City%d", "var/lib/dpkg/info/pkg%d.list",
		}[i%10]
		name = fmt.Sprintf(name, i)
		files[i] = plimsoll.File{Path: name, Base: path.Base(name), Size: 5000, Head: text}
		if i%10 == 6 {
			files[i].Head = elf
		}
	}
	all := detectors()
	wanted := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := &files[i%len(files)]
		for _, d := range all {
			if d.Wants(f) {
				wanted++
			}
		}
	}
	if wanted == 0 {
		b.Error("nothing was wanted")
	}
}
