package ospkg

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

type detector interface {
	Name() string
	Version() int
	Wants(*plimsoll.File) bool
	Detect(context.Context, *plimsoll.File, *io.SectionReader) (*plimsoll.Found, error)
}

var detectors = []detector{Release{}, Dpkg{}, Apk{}, RPM{}}

func fileAt(name string, content []byte) *plimsoll.File {
	return &plimsoll.File{Path: name, Base: path.Base(name), Size: int64(len(content)), Mode: 0o644,
		Head: content[:min(len(content), plimsoll.HeadSize)]}
}

// detect gives a file to a detector as analyze would.
func detect(t testing.TB, d detector, name string, content []byte) (*plimsoll.Found, error) {
	t.Helper()
	f := fileAt(name, content)
	if !d.Wants(f) {
		t.Fatalf("%s does not want %s", d.Name(), name)
	}
	return d.Detect(t.Context(), f, io.NewSectionReader(bytes.NewReader(content), 0, f.Size))
}

func mustDetect(t testing.TB, d detector, name string, content []byte) *plimsoll.Found {
	t.Helper()
	found, err := detect(t, d, name, content)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return found
}

func reasons(found *plimsoll.Found) []string {
	var out []string
	for _, g := range found.Gaps {
		out = append(out, g.Reason)
	}
	return out
}

// layer is the part of one layer that a test asks for.
type layer struct {
	files map[string][]byte // regular files, by path
	kinds map[string]byte   // tar type of every entry, by path
}

// layersOf reads the layers of one of the real images, lowest first. Files
// for which keep says true are read.
func layersOf(t testing.TB, image string, keep func(path string) bool) []layer {
	t.Helper()
	f, err := os.Open(testenv.Image(t, image))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	blobs := map[string]*io.SectionReader{}
	eachEntry(t, f, func(h *tar.Header, _ io.Reader) {
		// archive/tar reads no further than the header, so the content
		// starts where the file is now.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		blobs[h.Name] = io.NewSectionReader(f, at, h.Size)
	})
	var manifest []struct{ Layers []string }
	if err := json.NewDecoder(blobs["manifest.json"]).Decode(&manifest); err != nil {
		t.Fatal(err)
	}
	var layers []layer
	for _, name := range manifest[0].Layers {
		l := layer{files: map[string][]byte{}, kinds: map[string]byte{}}
		eachEntry(t, blobs[name], func(h *tar.Header, r io.Reader) {
			p := strings.Trim(path.Clean(h.Name), "./")
			l.kinds[p] = h.Typeflag
			if h.Typeflag == tar.TypeReg && keep(p) {
				content, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				l.files[p] = content
			}
		})
		layers = append(layers, l)
	}
	return layers
}

func eachEntry(t testing.TB, r io.Reader, do func(*tar.Header, io.Reader)) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(h, tr)
	}
}

// unpack puts the regular files of a layer over dir, whiteouts applied.
func unpack(t testing.TB, l layer, dir string) {
	t.Helper()
	for p := range l.kinds {
		if base, found := strings.CutPrefix(path.Base(p), ".wh."); found {
			if err := os.RemoveAll(filepath.Join(dir, path.Dir(p), base)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p, content := range l.files {
		write(t, filepath.Join(dir, p), content)
	}
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run returns the sorted lines that a program prints.
func run(t testing.TB, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	var sorted []string
	for line := range strings.Lines(string(out)) {
		sorted = append(sorted, strings.TrimSuffix(line, "\n"))
	}
	slices.Sort(sorted)
	return sorted
}

// moduleDir is the directory of a module in the module cache: scalibr and its
// dependencies carry real databases as test data.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	var m struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	if err == nil {
		_, err = os.Stat(m.Dir)
	}
	if err != nil {
		testenv.Skip(t, "no module "+module+": "+err.Error())
	}
	return m.Dir
}

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every file of an image is offered to every detector.
func TestWantsCostsNothing(t *testing.T) {
	files := []*plimsoll.File{
		fileAt("usr/lib/x86_64-linux-gnu/libc.so.6", nil),
		fileAt("srv/app/node_modules/express/package.json", nil),
		fileAt("var/lib/dpkg/info/libc6:amd64.list", nil),
		fileAt("var/lib/dpkg/status.d/libc6.postinst", nil),
	}
	for _, d := range detectors {
		if n := testing.AllocsPerRun(100, func() {
			for _, f := range files {
				d.Wants(f)
			}
		}); n != 0 {
			t.Errorf("%s: Wants allocates %v times", d.Name(), n)
		}
	}
}

func BenchmarkWants(b *testing.B) {
	f := fileAt("srv/app/node_modules/express/lib/router/index.js", nil)
	for _, d := range detectors {
		b.Run(d.Name(), func(b *testing.B) {
			for b.Loop() {
				d.Wants(f)
			}
		})
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"etc/os-release", "os-release"},
		{"usr/lib/os-release", "os-release"},
		{"etc/debian_version", "os-release"},
		{"rootfs/etc/os-release", ""},
		{"var/lib/dpkg/status", "dpkg"},
		{"var/lib/dpkg/status-new", "dpkg"},
		{"var/lib/dpkg/status-old", ""}, // always there, always the state before the last change
		{"var/lib/dpkg/available", ""},
		{"var/lib/dpkg/status.d/libc6", "dpkg"},
		{"var/lib/dpkg/status.d/libc6.md5sums", "dpkg"},
		{"var/lib/dpkg/status.d/libc6.postinst", ""},
		{"var/lib/dpkg/status.d/python3.11", "dpkg"},
		{"var/lib/dpkg/status.d/a/b", ""},
		{"var/lib/dpkg/info/libc6:amd64.list", "dpkg"},
		{"var/lib/dpkg/info/libc6:amd64.md5sums", ""},
		{"var/lib/dpkg/updates/0001", "dpkg"},
		{"var/lib/dpkg/updates/tmp.i", ""},
		{"var/lib/dpkg.status", ""},
		{"usr/lib/opkg/status", "dpkg"},
		{"var/lib/opkg/status", "dpkg"},
		{"status", ""},
		{"lib/apk/db/installed", "apk"},
		{"usr/lib/apk/db/installed", "apk"},
		{"lib/apk/db/scripts.tar", ""},
		{"var/lib/rpm/Packages", "rpm"},
		{"var/lib/rpm/Packages.db", "rpm"},
		{"usr/lib/sysimage/rpm/rpmdb.sqlite", "rpm"},
		{"usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "rpm"},
		{"usr/share/rpm/rpmdb.sqlite", "rpm"},
		{"usr/lib/sysimage/rpm/rpmdb.sqlite-shm", ""},
		{"home/me/Packages", ""},
		{"var/lib/rpmmanifest/container-manifest-2", "rpm"},
		{"var/lib/rpmmanifest/container-manifest-1", ""},
	} {
		var got []string
		for _, d := range detectors {
			if d.Wants(fileAt(c.path, []byte("x"))) {
				got = append(got, d.Name())
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: wanted by %q, want %q", c.path, got, c.want)
		}
	}
}

// A reader that fails is an error of every detector, never an empty result.
func TestUnreadableFileIsAnError(t *testing.T) {
	for _, c := range []struct {
		d    detector
		path string
	}{
		{Release{}, "etc/os-release"},
		{Dpkg{}, "var/lib/dpkg/status"},
		{Dpkg{}, "var/lib/dpkg/info/a.list"},
		{Dpkg{}, "var/lib/dpkg/status.d/a.md5sums"},
		{Apk{}, "lib/apk/db/installed"},
		{RPM{}, "var/lib/rpm/rpmdb.sqlite"},
		{RPM{}, "var/lib/rpm/rpmdb.sqlite-wal"},
		{RPM{}, rpmManifest},
	} {
		f := fileAt(c.path, nil)
		f.Size = 1000
		found, err := c.d.Detect(t.Context(), f, io.NewSectionReader(broken{}, 0, f.Size))
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got %+v, %v; want the reader's error", c.path, found, err)
		}
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	content := []byte("Package: a\nStatus: install ok installed\nVersion: 1\n\n")
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/dpkg/info/a.list"} {
		_, err := Dpkg{}.Detect(ctx, fileAt(name, content), io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want %v", name, err, context.Canceled)
		}
	}
}
