package tarstream_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// layer makes a tar stream; content starts with "-> " for a symbolic link,
// "=> " for a hard link, and a name that ends with a slash is a directory.
func layer(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f[1]))}
		switch {
		case strings.HasSuffix(f[0], "/"):
			h.Typeflag, h.Size = tar.TypeDir, 0
		case strings.HasPrefix(f[1], "-> "):
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f[1][3:], 0
		case strings.HasPrefix(f[1], "=> "):
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f[1][3:], 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// read gives every entry in a line of its own.
func read(s *tarstream.Stream) (lines []string, err error) {
	for {
		e, err := s.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		line := fmt.Sprintf("%s %q", [...]string{"file", "dir", "symlink", "hardlink", "other", "whiteout", "opaque"}[e.Kind], e.Path)
		if e.Link != "" {
			line += " -> " + e.Link
		}
		if e.Escapes {
			line += " escapes"
		}
		if e.Kind == tarstream.Regular {
			content, err := io.ReadAll(s)
			if err != nil {
				return lines, err
			}
			if len(content) > 40 {
				content = fmt.Appendf(nil, "%d bytes", len(content))
			}
			line += " " + string(content)
		}
		lines = append(lines, line)
	}
}

func scan(t testing.TB, b []byte, o tarstream.Options) ([]string, *tarstream.Stream, error) {
	t.Helper()
	if o.Limits == (plimsoll.Limits{}) {
		o.Limits = plimsoll.DefaultLimits()
	}
	o.Label = "layer 7"
	s, err := tarstream.Open(t.Context(), bytes.NewReader(b), o)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(s.Close)
	lines, err := read(s)
	return lines, s, err
}

func TestEntries(t *testing.T) {
	long := strings.Repeat("d/", 120) + "file"
	tarball := layer(t,
		[2]string{"./", ""}, [2]string{"./etc/", ""}, [2]string{"./etc/os-release", "ID=x"},
		[2]string{"/abs", "1"}, [2]string{"a//b/./c", "2"}, [2]string{"../../up", "3"}, [2]string{"x/../../up2", "4"},
		[2]string{"lib", "-> usr/lib"}, [2]string{"hard", "=> ./etc/os-release"}, [2]string{"hard2", "=> /etc/../etc/os-release"},
		[2]string{"etc/.wh.passwd", ""}, [2]string{"var/.wh..wh..opq", ""}, [2]string{".wh.top", ""}, [2]string{".wh..wh..opq", ""},
		[2]string{".wh..wh.aufs", ""}, [2]string{"etc/.wh...", ""}, [2]string{"etc/.wh.", ""}, [2]string{"dir/.wh.gone/", ""},
		[2]string{long, "5"}, [2]string{"caf\xe9", "6"}, [2]string{"etc/os-release", "twice"}, [2]string{"empty", ""},
		[2]string{"big", strings.Repeat("x", 100_000)},
	)
	want := []string{
		`dir "etc"`, `file "etc/os-release" ID=x`,
		`file "abs" 1`, `file "a/b/c" 2`, `file "up" escapes 3`, `file "up2" escapes 4`,
		`symlink "lib" -> usr/lib`, `hardlink "hard" -> etc/os-release`, `hardlink "hard2" -> etc/os-release`,
		`whiteout "etc/passwd"`, `opaque "var"`, `whiteout "top"`, `opaque ""`,
		`other "etc/.wh..." escapes`, `other "etc/.wh." escapes`, `whiteout "dir/gone"`,
		`file "` + long + `" 5`, `file "caf\xe9" 6`, `file "etc/os-release" twice`, `file "empty" `,
		`file "big" 100000 bytes`,
	}
	for name, stored := range map[string][]byte{"plain": tarball, "gzip": gzipped(t, tarball), "zstd": zstded(t, tarball),
		"two gzip members": append(gzipped(t, tarball[:1000]), gzipped(t, tarball[1000:])...)} {
		t.Run(name, func(t *testing.T) {
			got, s, err := scan(t, stored, tarstream.Options{Digest: plimsoll.SHA256(stored), DiffID: plimsoll.SHA256(tarball), At: bytes.NewReader(stored)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if s.DiffID() != plimsoll.SHA256(tarball) || s.Digest() != plimsoll.SHA256(stored) || s.Size() != int64(len(stored)) {
				t.Errorf("sums: %s %s %d", s.DiffID(), s.Digest(), s.Size())
			}
		})
	}
}

// A file's content read at random is that of the stream, also after the head.
func TestSection(t *testing.T) {
	tarball := layer(t, [2]string{"a", "first"}, [2]string{"b", strings.Repeat("0123456789", 1000)})
	s, err := tarstream.Open(t.Context(), bytes.NewReader(tarball), tarstream.Options{At: bytes.NewReader(tarball), Limits: plimsoll.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		e, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		atRandom, err := io.ReadAll(s.Section())
		if err != nil {
			t.Fatal(err)
		}
		streamed, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(atRandom, streamed) || int64(len(streamed)) != e.Size {
			t.Errorf("%s: %d bytes at random, %d streamed", e.Path, len(atRandom), len(streamed))
		}
	}
}

func TestAltered(t *testing.T) {
	tarball := layer(t, [2]string{"var/lib/dpkg/status", strings.Repeat("Package: bash\nVersion: 5.2\n\n", 5000)})
	altered := bytes.Replace(tarball, []byte("5.2"), []byte("5.1"), 1)
	truncated := tarball[:len(tarball)/2]
	for _, c := range []struct {
		name           string
		stored         []byte
		digest, diffID plimsoll.Digest
		want           string
	}{
		{"plain, diff ID", altered, "", plimsoll.SHA256(tarball), "was altered"},
		{"plain, digest", altered, plimsoll.SHA256(tarball), "", "was altered"},
		{"gzip, digest", gzipped(t, altered), plimsoll.SHA256(gzipped(t, tarball)), plimsoll.SHA256(tarball), "was altered"},
		{"gzip, right digest, wrong diff ID", gzipped(t, altered), plimsoll.SHA256(gzipped(t, altered)), plimsoll.SHA256(tarball), "has the diff ID"},
		{"zstd, diff ID", zstded(t, altered), "", plimsoll.SHA256(tarball), "was altered"},
		{"plain, truncated", truncated, "", plimsoll.SHA256(tarball), "was altered"},
		{"plain, truncated, no digest", truncated, "", "", "unexpected EOF"},
		{"gzip, truncated, no digest", gzipped(t, tarball)[:200], "", "", "unexpected EOF"},
		{"gzip, truncated", gzipped(t, tarball)[:200], plimsoll.SHA256(gzipped(t, tarball)), "", "was altered"},
		{"zstd, truncated", zstded(t, tarball)[:100], "", "", "unexpected EOF"},
		{"gzip, garbage after it", append(gzipped(t, tarball), "garbage after the end"...), "", "", "gzip: invalid header"},
		{"gzip header only", []byte{0x1f, 0x8b, 8}, "", "", "truncated"},
		{"no tar", []byte(strings.Repeat("this is no tar stream ", 100)), "", "", "invalid tar header"},
		{"gzip of no tar", gzipped(t, []byte(strings.Repeat("no", 1000))), "", "", "invalid tar header"},
		{"bzip2", []byte("BZh91AY&SY"), "", "", "bzip2"},
		{"xz", []byte("\xfd7zXZ\x00\x00"), "", "", "xz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := scan(t, c.stored, tarstream.Options{Digest: c.digest, DiffID: c.diffID})
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), "layer 7") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not name the layer and %q", err, c.want)
			}
		})
	}
}

// A descriptor's digest may be of another algorithm than the diff ID, also of
// a layer that is not compressed.
func TestTwoAlgorithms(t *testing.T) {
	tarball := layer(t, [2]string{"a", "content"})
	long := func(b []byte) plimsoll.Digest { return plimsoll.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(b))) }
	diffID := plimsoll.SHA256(tarball)
	for _, stored := range [][]byte{tarball, gzipped(t, tarball)} {
		_, s, err := scan(t, stored, tarstream.Options{Digest: long(stored), DiffID: diffID})
		if err != nil {
			t.Fatal(err)
		}
		if s.DiffID() != diffID || s.Digest() != long(stored) {
			t.Errorf("diff ID %s, digest %s", s.DiffID(), s.Digest())
		}
		for _, o := range []tarstream.Options{{Digest: long(stored), DiffID: plimsoll.SHA256(nil)}, {Digest: long(nil), DiffID: diffID}} {
			if _, _, err := scan(t, stored, o); err == nil || !strings.Contains(err.Error(), "was altered") {
				t.Errorf("error %v", err)
			}
		}
	}
}

// The error stays: nobody can read past it and take the rest for the layer.
func TestErrorStays(t *testing.T) {
	tarball := layer(t, [2]string{"a", "1"})
	s, err := tarstream.Open(t.Context(), bytes.NewReader(tarball), tarstream.Options{DiffID: plimsoll.SHA256(nil), Limits: plimsoll.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, first := read(s)
	_, second := s.Next()
	var altered *tarstream.DigestError
	if !errors.As(first, &altered) || !errors.Is(second, first) {
		t.Errorf("first %v, then %v", first, second)
	}
}

func TestLimits(t *testing.T) {
	many := make([][2]string, 101)
	for i := range many {
		many[i] = [2]string{fmt.Sprintf("f%d", i), ""}
	}
	l := plimsoll.DefaultLimits()
	l.Entries = 100
	if _, _, err := scan(t, layer(t, many...), tarstream.Options{Limits: l}); err == nil || !strings.Contains(err.Error(), "--max-entries") {
		t.Errorf("101 entries: %v", err)
	}
	if _, _, err := scan(t, layer(t, many[:100]...), tarstream.Options{Limits: l}); err != nil {
		t.Errorf("100 entries: %v", err)
	}

	// 80 MiB of zeros: gzip makes a thousandth of it, zstd much less.
	zeros := layer(t, [2]string{"zeros", strings.Repeat("\x00", 80<<20)})
	for name, bomb := range map[string][]byte{"gzip": gzipped(t, zeros), "zstd": zstded(t, zeros)} {
		_, _, err := scan(t, bomb, tarstream.Options{})
		if err == nil || !strings.Contains(err.Error(), "--max-ratio") {
			t.Errorf("%s bomb of %d bytes: %v", name, len(bomb), err)
		}
		l := plimsoll.DefaultLimits()
		l.Ratio = 1 << 30
		if _, _, err := scan(t, bomb, tarstream.Options{Limits: l}); err != nil {
			t.Errorf("%s bomb with the limit raised: %v", name, err)
		}
	}
}

// GNU tar's own archives: sparse files of three formats, long names, PAX.
func TestGNUTar(t *testing.T) {
	testenv.Need(t, "tar", "truncate")
	dir := t.TempDir()
	name := strings.Repeat("long", 40)
	if err := os.WriteFile(filepath.Join(dir, name), []byte("long name"), 0o644); err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hole.WriteAt([]byte("middle"), 3<<20); err != nil {
		t.Fatal(err)
	}
	if err := hole.Truncate(5 << 20); err != nil {
		t.Fatal(err)
	}
	hole.Close()
	want := append(append(make([]byte, 3<<20), "middle"...), make([]byte, 2<<20-6)...)
	for _, args := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			tarball, err := exec.Command("tar", append(append([]string{"-C", dir, "-S"}, args...), "-cf", "-", "holes", name)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			s, err := tarstream.Open(t.Context(), bytes.NewReader(tarball), tarstream.Options{At: bytes.NewReader(tarball), Limits: plimsoll.DefaultLimits()})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := map[string][]byte{}
			for {
				e, err := s.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if e.Path == "holes" && s.Section() != nil {
					t.Error("a sparse file is not in one piece, yet it was offered at random")
				}
				if got[e.Path], err = io.ReadAll(s); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got["holes"], want) {
				t.Errorf("holes: %d bytes", len(got["holes"]))
			}
			if string(got[name]) != "long name" {
				t.Errorf("long name: %q", got[name])
			}
		})
	}
}

// The real layers: what tar lists is what we see.
func TestRealLayers(t *testing.T) {
	testenv.Need(t, "tar")
	archive := testenv.Image(t, "deb-slim")
	blobs, err := filepath.Glob(strings.TrimSuffix(archive, ".tar") + ".oci/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	layers := 0
	for _, blob := range blobs {
		b, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			continue
		}
		layers++
		out, err := exec.Command("tar", "-tzf", blob, "--quoting-style=literal").Output()
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for line := range strings.Lines(string(out)) {
			if strings.TrimSpace(line) != "./" {
				want++
			}
		}
		lines, _, err := scan(t, b, tarstream.Options{Digest: plimsoll.Digest("sha256:" + filepath.Base(blob))})
		if err != nil || len(lines) != want {
			t.Errorf("%s: %d entries, tar lists %d: %v", filepath.Base(blob), len(lines), want, err)
		}
	}
	if layers < 3 {
		t.Errorf("deb-slim has %d gzip layers", layers)
	}
}

// Close ends a stream that nobody read to its end, and one whose source hangs
// once its context is done.
func TestClose(t *testing.T) {
	big := gzipped(t, layer(t, [2]string{"big", strings.Repeat("0123456789abcdef", 1<<20)}))
	ctx, cancel := context.WithCancel(t.Context())
	s, err := tarstream.Open(ctx, bytes.NewReader(big), tarstream.Options{Limits: plimsoll.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan bool)
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	cancel()
}

func FuzzStream(f *testing.F) {
	plain := layer(f, [2]string{"etc/", ""}, [2]string{"etc/.wh.x", ""}, [2]string{"etc/passwd", "root"}, [2]string{"l", "-> etc"}, [2]string{"h", "=> etc/passwd"})
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstded(f, plain))
	f.Add([]byte{})
	limits := plimsoll.DefaultLimits()
	limits.Entries = 1000
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := tarstream.Open(t.Context(), bytes.NewReader(b), tarstream.Options{Label: "layer 7", At: bytes.NewReader(b), Limits: limits})
		if err != nil {
			return
		}
		defer s.Close()
		for {
			e, err := s.Next()
			if err == io.EOF {
				if s.Digest() != plimsoll.SHA256(b) {
					t.Errorf("digest %s of the stored bytes", s.Digest())
				}
				return
			}
			if err != nil {
				if !strings.Contains(err.Error(), "layer 7") {
					t.Errorf("%v does not name the layer", err)
				}
				return
			}
			if strings.HasPrefix(e.Path, "/") || strings.HasSuffix(e.Path, "/") || strings.Contains("/"+e.Path+"/", "/../") || strings.Contains("/"+e.Path+"/", "/./") {
				if e.Path != "" {
					t.Errorf("path %q is not clean", e.Path)
				}
			}
			if e.Kind == tarstream.Regular {
				streamed, err := io.ReadAll(io.LimitReader(s, 1<<20))
				if err == nil && s.Section() != nil && e.Size < 1<<20 {
					atRandom, _ := io.ReadAll(s.Section())
					if !bytes.Equal(streamed, atRandom) {
						t.Errorf("%q: streamed and read at random differ", e.Path)
					}
				}
			}
		}
	})
}
