package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// seen is an entry as a test remembers it.
type seen struct {
	Path, Base, Link string
	Kind             tarstream.Kind
	Size             int64
	Head, Content    string
}

// entriesOf reads every entry and its content, alternately by Read and by
// Section.
func entriesOf(t testing.TB, files tarstream.Files) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	for n := 0; ; n++ {
		e, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		s := seen{Path: e.Path, Base: e.Base, Link: e.Link, Kind: e.Kind, Size: e.Size, Head: string(e.Head)}
		if e.Kind == tarstream.Regular {
			var content []byte
			if section := files.Section(); section != nil && n%2 == 0 {
				content, err = io.ReadAll(section)
			} else {
				content, err = io.ReadAll(files)
			}
			if err != nil {
				s.Content = "error: " + err.Error()
			} else {
				s.Content = string(plimsoll.SHA256(content))
			}
		}
		all[e.Path] = s
	}
}

// walkOf reads a directory through Open.
func walkOf(t testing.TB, dir string) (map[string]seen, []plimsoll.Gap) {
	t.Helper()
	var all map[string]seen
	var gaps []plimsoll.Gap
	facts, err := open(t, "dir:"+dir, Options{}).Read(t.Context(), Reader{Parallel: 1, Layer: func(_ context.Context, l *Layer) (plimsoll.Digest, error) {
		all = entriesOf(t, l.Files)
		gaps = l.Gaps()
		return "", nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if facts.Source != "dir" || facts.Name != dir || len(facts.Layers) != 1 || facts.Layers[0].DiffID != "" {
		t.Errorf("facts: %+v", facts)
	}
	return all, gaps
}

// A directory gives the entries that GNU tar finds in it.
func TestDirectoryAgainstTar(t *testing.T) {
	testenv.Need(t, "tar")
	dir := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", "ID=debian\n")
	write("etc/empty", "")
	write("usr/bin/exactly", strings.Repeat("h", plimsoll.HeadSize))
	write("usr/bin/longer", strings.Repeat("abcdefgh", 10_000))
	write("usr/share/not\xffutf8", "x")
	write("usr/share/new\nline", "x")
	write("a/.wh.kept", "no whiteout: this is a merged tree")
	for link, target := range map[string]string{"lib": "usr/lib", "out": "../../../../etc/passwd", "absolute": "/etc/passwd", "loop": "loop", "up": "..", "usr/dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "usr/bin/longer"), filepath.Join(dir, "usr/bin/same")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "void"), 0o755); err != nil {
		t.Fatal(err)
	}

	got, gaps := walkOf(t, dir)
	if len(gaps) > 0 {
		t.Errorf("gaps: %+v", gaps)
	}
	archive := filepath.Join(t.TempDir(), "tree.tar")
	testenv.Run(t, "tar", "-C", dir, "--hard-dereference", "-cf", archive, ".")
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := tarstream.Open(t.Context(), f, tarstream.Options{Label: "tree", Limits: plimsoll.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := entriesOf(t, s)
	// tarstream takes it for a whiteout, which only a layer has.
	delete(want, "a/kept")
	want["a/.wh.kept"] = got["a/.wh.kept"]
	if got["a/.wh.kept"].Kind != tarstream.Regular {
		t.Errorf("a/.wh.kept: %+v", got["a/.wh.kept"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tar (-), directory (+):\n%s", diff)
	}
}

func TestDirectoryOrder(t *testing.T) {
	dir := inDir(t, []file{{name: "b/z"}, {name: "b/a/x"}, {name: "a"}, {name: "b-/y"}, {name: "c"}})
	w, err := newWalk(t.Context(), dir, plimsoll.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var got []string
	for e, err := w.Next(); !errors.Is(err, io.EOF); e, err = w.Next() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Path)
	}
	if want := []string{"a", "b", "b/a", "b/a/x", "b/z", "b-", "b-/y", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDirectoryLimits(t *testing.T) {
	dir := inDir(t, []file{{name: "a"}, {name: "b/c"}, {name: "b/d"}})
	limits := plimsoll.DefaultLimits()
	limits.Entries = 3
	_, err := openAndRead(t.Context(), "dir:"+dir, Options{Limits: limits})
	wantError(t, err, "more than 3 entries", "--max-entries")

	deep := t.TempDir()
	path := deep + strings.Repeat("/d", deepest+5)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	all, gaps := walkOf(t, deep)
	if len(all) != deepest || len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "within one another") {
		t.Errorf("%d entries, gaps %+v", len(all), gaps)
	}
}

// What may not be read is told: by Read to who wants to read it, else as gap.
// Root may read everything, so this test runs itself as somebody else.
func TestDirectoryUnreadable(t *testing.T) {
	if dir := os.Getenv("PLIMSOLL_TEST_UNREADABLE"); dir != "" {
		unreadable(t, dir)
		return
	}
	dir := inDir(t, []file{{name: "open", body: []byte("x")}, {name: "secret", body: []byte("x")}, {name: "hidden", body: []byte("x")}, {name: "closed/x"}, {name: "zzz", body: []byte("x")}})
	for name, mode := range map[string]os.FileMode{".": 0o755, "open": 0o644, "secret": 0, "hidden": 0, "closed": 0, "zzz": 0o644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(dir, "closed"), 0o755)
	if os.Getuid() != 0 {
		unreadable(t, dir)
		return
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(dir), "self")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestDirectoryUnreadable$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PLIMSOLL_TEST_UNREADABLE="+dir, "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func unreadable(t *testing.T, dir string) {
	w, err := newWalk(t.Context(), dir, plimsoll.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var got []string
	for {
		e, err := w.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Path)
		if e.Path != "secret" {
			continue // nobody asks for hidden
		}
		if _, err := w.Read(make([]byte, 10)); !errors.Is(err, os.ErrPermission) || w.Section() != nil {
			t.Errorf("reading secret: %v", err)
		}
	}
	if want := []string{"closed", "hidden", "open", "secret", "zzz"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want := []plimsoll.Gap{
		{Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer, Path: "closed", Reason: "permission denied"},
		{Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer, Path: "hidden", Reason: "permission denied"},
	}
	if diff := cmp.Diff(want, w.allGaps()); diff != "" {
		t.Error(diff)
	}
}

func TestManyGaps(t *testing.T) {
	w := &walk{}
	for i := range mostGaps + 5 {
		w.gap(fmt.Sprint(i), os.ErrPermission)
	}
	gaps := w.allGaps()
	if len(gaps) != mostGaps+1 || !strings.HasPrefix(gaps[mostGaps].Reason, "5 more") {
		t.Errorf("%d gaps, the last: %+v", len(gaps), gaps[len(gaps)-1])
	}
}
