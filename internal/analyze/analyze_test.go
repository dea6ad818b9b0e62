package analyze_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/analyze"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// noted is a detector for these tests: every line "name version" of a file
// NAME.note is a component; "broken" is an error.
type noted struct{}

func (noted) Name() string                { return "note" }
func (noted) Version() int                { return 1 }
func (noted) Wants(f *plimsoll.File) bool { return strings.HasSuffix(f.Base, ".note") }

func (noted) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	text, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	if int64(len(text)) != f.Size {
		return nil, fmt.Errorf("%d bytes of %d", len(text), f.Size)
	}
	found := &plimsoll.Found{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "broken") {
			return nil, errors.New("it is broken")
		}
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		found.Components = append(found.Components, plimsoll.Component{PURL: "pkg:generic/" + name + "@" + version, Name: name, Version: version})
	}
	return found, nil
}

// file is one entry: content that starts with "-> " or "=> " is a link, a name
// that ends with a slash a directory.
type file struct{ name, content string }

type fataler interface{ Fatal(...any) }

func tarball(t fataler, files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.content))}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag, h.Size = tar.TypeDir, 0
		case strings.HasPrefix(f.content, "-> "):
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.content[3:], 0
		case strings.HasPrefix(f.content, "=> "):
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f.content[3:], 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read analyzes one layer. With reopen the stream can be read twice.
func read(t fataler, l plimsoll.Limits, reopen bool, files ...file) *analyze.Report {
	b := tarball(t, files...)
	open := func() *tarstream.Stream {
		s, err := tarstream.Open(context.Background(), bytes.NewReader(b), tarstream.Options{Label: "layer", Limits: l})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var again func() (tarstream.Files, func(), error)
	if reopen {
		again = func() (tarstream.Files, func(), error) { s := open(); return s, s.Close, nil }
	}
	s := open()
	defer s.Close()
	layers := &analyze.Layers{Detectors: []analyze.Detector{noted{}}, Limits: l, Spool: analyze.NewSpool(l.Spool)}
	r, err := layers.Read(context.Background(), s, again)
	if err != nil {
		t.Fatal(err)
	}
	r.DiffID = s.DiffID()
	stored, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := analyze.DecodeReport(stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, decoded); diff != "" {
		t.Fatal("the cached report differs:\n" + diff)
	}
	return decoded
}

func merge(reports ...*analyze.Report) *plimsoll.BOM {
	img := plimsoll.Image{}
	for i, r := range reports {
		img.Layers = append(img.Layers, plimsoll.Layer{Index: i, DiffID: r.DiffID, Step: fmt.Sprintf("RUN %d", i)})
	}
	return analyze.Merge(img, reports)
}

func bom(t testing.TB, layers ...[]file) *plimsoll.BOM {
	t.Helper()
	var reports []*analyze.Report
	for _, files := range layers {
		reports = append(reports, read(t, plimsoll.DefaultLimits(), true, files...))
	}
	return merge(reports...)
}

// lines are the components, one a line: name, version, layer, paths.
func lines(list []plimsoll.Component) (out []string) {
	for _, c := range list {
		line := fmt.Sprintf("%s %s layer %d %s", c.Name, c.Version, c.Layer, strings.Join(c.Paths, ","))
		if c.Removed != nil {
			line += fmt.Sprintf(" removed %d", c.Removed.Layer)
			if c.Removed.By != "" {
				line += " by " + c.Removed.By
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name          string
		layers        [][]file
		want, history []string
	}{
		{"each layer adds",
			[][]file{{{"a.note", "a 1"}}, {{"d/b.note", "b 1"}}},
			[]string{"a 1 layer 0 a.note", "b 1 layer 1 d/b.note"}, nil},
		{"written again unchanged, it stays the lower layer's",
			[][]file{{{"a.note", "a 1\nb 1"}}, {{"a.note", "b 1\na 1\nc 1"}}},
			[]string{"a 1 layer 0 a.note", "b 1 layer 0 a.note", "c 1 layer 1 a.note"}, nil},
		{"upgraded in place",
			[][]file{{{"a.note", "a 1"}}, {{"a.note", "a 2"}}},
			[]string{"a 2 layer 1 a.note"}, []string{"a 1 layer 0 a.note removed 1 by pkg:generic/a@2"}},
		{"upgraded under another name",
			[][]file{{{"a-1/x.note", "a 1"}}, {{".wh.a-1", ""}, {"a-2/x.note", "a 2"}}},
			[]string{"a 2 layer 1 a-2/x.note"}, []string{"a 1 layer 0 a-1/x.note removed 1 by pkg:generic/a@2"}},
		{"gone and come back",
			[][]file{{{"a.note", "a 1"}}, {{".wh.a.note", ""}}, {{"a.note", "a 1"}}},
			[]string{"a 1 layer 2 a.note"}, []string{"a 1 layer 0 a.note removed 1"}},
		{"whiteout of a directory",
			[][]file{{{"d/e/a.note", "a 1"}, {"de/b.note", "b 1"}}, {{".wh.d", ""}}},
			[]string{"b 1 layer 0 de/b.note"}, []string{"a 1 layer 0 d/e/a.note removed 1"}},
		{"a whiteout does not touch its own layer, in either order",
			[][]file{{{"a.note", "a 1"}, {"b.note", "b 1"}}, {{".wh.a.note", ""}, {"a.note", "a 2"}, {"b.note", "b 2"}, {".wh.b.note", ""}}},
			[]string{"a 2 layer 1 a.note", "b 2 layer 1 b.note"},
			[]string{"a 1 layer 0 a.note removed 1 by pkg:generic/a@2", "b 1 layer 0 b.note removed 1 by pkg:generic/b@2"}},
		{"an opaque directory hides lower layers only",
			[][]file{{{"d/a.note", "a 1"}, {"d/s/b.note", "b 1"}}, {{"d/c.note", "c 1"}, {"d/.wh..wh..opq", ""}, {"d/s/e.note", "e 1"}}},
			[]string{"c 1 layer 1 d/c.note", "e 1 layer 1 d/s/e.note"}, []string{"a 1 layer 0 d/a.note removed 1", "b 1 layer 0 d/s/b.note removed 1"}},
		{"an opaque root",
			[][]file{{{"a.note", "a 1"}}, {{".wh..wh..opq", ""}, {"b.note", "b 1"}}},
			[]string{"b 1 layer 1 b.note"}, []string{"a 1 layer 0 a.note removed 1"}},
		{"a directory hides nothing below it",
			[][]file{{{"d/a.note", "a 1"}}, {{"d/", ""}}},
			[]string{"a 1 layer 0 d/a.note"}, nil},
		{"a file in place of a directory",
			[][]file{{{"d/a.note", "a 1"}}, {{"d", "file"}}},
			nil, []string{"a 1 layer 0 d/a.note removed 1"}},
		{"a link in place of a directory",
			[][]file{{{"d/a.note", "a 1"}}, {{"d", "-> elsewhere"}}},
			nil, []string{"a 1 layer 0 d/a.note removed 1"}},
		{"a directory in place of a file",
			[][]file{{{"x.note", "a 1"}}, {{"x.note/", ""}}},
			nil, []string{"a 1 layer 0 x.note removed 1"}},
		{"a directory that nobody lists in place of a file",
			[][]file{{{"x.note", "a 1"}}, {{"x.note/y/z", ""}}},
			nil, []string{"a 1 layer 0 x.note removed 1"}},
		{"a link in place of an interesting file",
			[][]file{{{"x.note", "a 1"}}, {{"x.note", "-> y"}}},
			nil, []string{"a 1 layer 0 x.note removed 1"}},
		{"the last of duplicate entries counts",
			[][]file{{{"a.note", "a 1"}, {"a.note", "a 2"}, {"d/b.note", "b 1"}, {"d", "now a file"}, {"c.note", "c 1"}, {"c.note/", ""}}},
			[]string{"a 2 layer 0 a.note"}, nil},
		{"a hard link to a file that was read",
			[][]file{{{"a.note", "a 1"}, {"h.note", "=> a.note"}, {"h2.note", "=> h.note"}}},
			[]string{"a 1 layer 0 a.note,h.note,h2.note"}, nil},
		{"a hard link to a file whose name says nothing",
			[][]file{{{"store/0a1b", "a 1"}, {"m/h.note", "=> store/0a1b"}, {"n/h.note", "=> m/h.note"}}},
			[]string{"a 1 layer 0 m/h.note,n/h.note"}, nil},
		{"entries behind a link of the same layer",
			[][]file{{{"lib", "-> usr/lib"}, {"lib/a.note", "a 1"}, {"usr/lib/a.note", "a 2"}, {"abs", "-> /usr/lib/../lib"}, {"abs/b.note", "b 1"}, {"out", "-> ../../usr"}, {"out/c.note", "c 1"}}},
			[]string{"a 2 layer 0 usr/lib/a.note", "b 1 layer 0 usr/lib/b.note", "c 1 layer 0 usr/c.note"}, nil},
		{"link loops stay where they are",
			[][]file{{{"x", "-> y"}, {"y", "-> x"}, {"x/a.note", "a 1"}}},
			[]string{"a 1 layer 0 x/a.note"}, nil},
		{"one component at two places",
			[][]file{{{"m/a.note", "a 1"}, {"n/a.note", "a 1"}}, {{"o/a.note", "a 1"}}},
			[]string{"a 1 layer 0 m/a.note,n/a.note", "a 1 layer 1 o/a.note"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bom(t, c.layers...)
			if diff := cmp.Diff(c.want, lines(b.Components)); diff != "" {
				t.Errorf("components (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.history, lines(b.History)); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			// An image in which nothing is recognised is no clean image.
			if len(b.Gaps) > 0 && (len(c.want) > 0 || len(b.Gaps) > 1 || b.Gaps[0].Reason != "no component was recognised in this image") {
				t.Errorf("gaps: %v", b.Gaps)
			}
			if len(c.want) == 0 && len(b.Gaps) != 1 {
				t.Errorf("gaps of an empty bill: %v", b.Gaps)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	gaps := func(b *plimsoll.BOM) (out []string) {
		for _, g := range b.Gaps {
			out = append(out, fmt.Sprintf("%s layer %d %s: %s", g.Kind, g.Layer, g.Path, g.Reason))
		}
		return out
	}
	if diff := cmp.Diff([]string{
		"unreadable layer 1 a.note: it is broken",
		"unreadable layer 1 h.note: a hard link to a file that the layer does not have: nowhere",
		"unreadable layer 1 up: the entry's name climbs out of the image's root; it was read as if it could not",
	}, gaps(bom(t, []file{{"b.note", "b 1"}, {"a.note", "a 1"}, {"gone.note", "broken"}}, []file{{"a.note", "broken"}, {"h.note", "=> nowhere"}, {"../up", ""}, {".wh.gone.note", ""}}))); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}

	// A stream that can be read only once.
	r := read(t, plimsoll.DefaultLimits(), false, file{"b.note", "b 1"}, file{"store/0a1b", "a 1"}, file{"h.note", "=> store/0a1b"})
	if got := gaps(merge(r)); len(got) != 1 || !strings.Contains(got[0], "passed by in the stream under another name: store/0a1b") {
		t.Errorf("hard link in a stream: %v", got)
	}

	long := file{strings.Repeat("d/", 2100) + "a.note", "a 1"}
	if got := gaps(bom(t, []file{{"b.note", "b 1"}, long})); len(got) != 1 || !strings.Contains(got[0], "longer than any Linux allows") {
		t.Errorf("long name: %v", got)
	}
}

func TestLimits(t *testing.T) {
	big := "a 1" + strings.Repeat(" ", 12<<20) // 12 MiB: more than is held in memory
	for _, c := range []struct {
		name   string
		change func(*plimsoll.Limits)
		want   string
	}{
		{"none", func(*plimsoll.Limits) {}, ""},
		{"file size", func(l *plimsoll.Limits) { l.FileSize = 1 << 20 }, "--max-file-size"},
		{"spool", func(l *plimsoll.Limits) { l.Spool = 1 << 20 }, "--max-spool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := plimsoll.DefaultLimits()
			c.change(&l)
			b := merge(read(t, l, true, file{"big.note", big}, file{"small.note", "b 1"}))
			if c.want == "" {
				if got := lines(b.Components); !slices.Equal(got, []string{"a 1 layer 0 big.note", "b 1 layer 0 small.note"}) || len(b.Gaps) > 0 {
					t.Errorf("components %v, gaps %v", got, b.Gaps)
				}
				return
			}
			if got := lines(b.Components); !slices.Equal(got, []string{"b 1 layer 0 small.note"}) {
				t.Errorf("components %v", got)
			}
			if len(b.Gaps) != 1 || b.Gaps[0].Kind != plimsoll.Limited || b.Gaps[0].Path != "big.note" || !strings.Contains(b.Gaps[0].Reason, c.want) {
				t.Errorf("gaps %v", b.Gaps)
			}
		})
	}
}

// What one layer can make us hold is bounded, however its bytes are spent, and
// what does not fit is told.
func TestHostileNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("d", 99)+"/", 40)
	many := func(link string) []file {
		files := []file{{"a.note", "a 1"}}
		for i := range 2300 {
			files = append(files, file{fmt.Sprintf("%s%d", long, i), link + long})
		}
		return files
	}
	for _, c := range []struct {
		name, want string
		files      []file
	}{
		{"symbolic links", "of them; packages' files behind", many("-> /")},
		{"hard links", "of hard links in one layer", many("=> /")},
		{"long target", "hard link's target is longer", []file{{"a.note", "a 1"}, {"l", "=> " + long + long}}},
		{"deep", "directories deep", []file{{"a.note", "a 1"}, {strings.Repeat("d/", 300) + "b.note", "b 1"}}},
	} {
		r := read(t, plimsoll.DefaultLimits(), true, c.files...)
		if stored, err := r.Encode(); err != nil || len(stored) > 2*mebi*16 {
			t.Errorf("%s: a report of %d bytes, %v", c.name, len(stored), err)
		}
		b := merge(r)
		if got := lines(b.Components); !slices.Equal(got, []string{"a 1 layer 0 a.note"}) {
			t.Errorf("%s: components %v", c.name, got)
		}
		if !slices.ContainsFunc(b.Gaps, func(g plimsoll.Gap) bool { return strings.Contains(g.Reason, c.want) }) {
			t.Errorf("%s: %d gaps, none says %q", c.name, len(b.Gaps), c.want)
		}
	}

	// Directories that are in names only.
	var files []file
	for i := range 100 {
		files = append(files, file{fmt.Sprintf("%d/%sx", i, strings.Repeat("d/", 50)), ""})
	}
	l := plimsoll.DefaultLimits()
	l.Entries = 1000
	s, err := tarstream.Open(context.Background(), bytes.NewReader(tarball(t, files...)), tarstream.Options{Label: "layer", Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	layers := &analyze.Layers{Limits: l, Spool: analyze.NewSpool(l.Spool)}
	if _, err = layers.Read(context.Background(), s, nil); err == nil || !strings.Contains(err.Error(), "--max-entries") {
		t.Errorf("error %v", err)
	}
}

const mebi = 1 << 20

// Trouble with temporary files is no gap of the layer, which would be cached.
func TestNoRoomToSpool(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	b := tarball(t, file{"big.note", "a 1" + strings.Repeat(" ", 12*mebi)})
	s, err := tarstream.Open(context.Background(), bytes.NewReader(b), tarstream.Options{Label: "layer", Limits: plimsoll.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	layers := &analyze.Layers{Detectors: []analyze.Detector{noted{}}, Limits: plimsoll.DefaultLimits(), Spool: analyze.NewSpool(1 << 30)}
	if r, err := layers.Read(context.Background(), s, nil); err == nil || !strings.Contains(plimsoll.HintOf(err), "TMPDIR") {
		t.Errorf("report %v, error %v", r, err)
	}
}

// What is left of a package manager does not stand for its database.
func TestNoDatabase(t *testing.T) {
	os := analyze.FileReport{Path: "etc/os-release", Detector: "release", Found: plimsoll.Found{Distro: &plimsoll.Distro{ID: "debian"}}}
	list := analyze.FileReport{Path: "var/lib/dpkg/info/a.list", Detector: "dpkg", Found: plimsoll.Found{Owned: []plimsoll.OwnedFiles{{Package: "a", Paths: []string{"/a"}}}}}
	found := func(path, detector, purl string) analyze.FileReport {
		return analyze.FileReport{Path: path, Detector: detector, Found: plimsoll.Found{Components: []plimsoll.Component{{PURL: purl, Name: "a", Version: "1", Detector: detector, Paths: []string{path}}}}}
	}
	npm, conda := found("package.json", "npm", "pkg:npm/a@1"), found("conda-meta/a.json", "scalibr", "pkg:conda/a@1")
	for _, c := range []struct {
		name  string
		files []analyze.FileReport
		want  string
	}{
		{"all there", []analyze.FileReport{os, list, found("var/lib/dpkg/status", "dpkg", "")}, ""},
		{"pacman", []analyze.FileReport{os, found("desc", "scalibr", "pkg:alpm/arch/a@1")}, ""},
		{"lists left", []analyze.FileReport{os, list, npm}, "debian without any package database"},
		{"conda is no database", []analyze.FileReport{os, conda}, "debian without any package database"},
		{"lists alone", []analyze.FileReport{list, npm}, "without its database"},
		{"no distribution", []analyze.FileReport{npm}, ""},
	} {
		b := merge(&analyze.Report{Files: c.files})
		if c.want == "" && len(b.Gaps) > 0 || c.want != "" && (len(b.Gaps) != 1 || !strings.Contains(b.Gaps[0].Reason, c.want)) {
			t.Errorf("%s: gaps %v", c.name, b.Gaps)
		}
	}
}

// Merging random layers gives what unpacking them one over the other gives.
func TestMergeLikeUnpacking(t *testing.T) {
	names := []string{"a.note", "d", "d/a.note", "d/e", "d/e/a.note", "d/e/b.note", "f", "f/a.note"}
	rapid.Check(t, func(t *rapid.T) {
		root := map[string]string{} // what a runtime has on disk; "/" is a directory
		removeBelow := func(tree map[string]string, name string) {
			for p := range tree {
				if strings.HasPrefix(p, name+"/") {
					delete(tree, p)
				}
			}
		}
		var reports []*analyze.Report
		for range rapid.IntRange(1, 4).Draw(t, "layers") {
			var files []file
			upper := map[string]string{} // as overlayfs keeps it: the layer on its own
			put := func(name, content string) {
				for d := path.Dir(name); d != "."; d = path.Dir(d) {
					upper[d] = "/"
				}
				if content != "/" {
					removeBelow(upper, name)
				}
				upper[name] = content
			}
			for range rapid.IntRange(0, 6).Draw(t, "entries") {
				name := rapid.SampledFrom(names).Draw(t, "name")
				belowFile := false
				for d := path.Dir(name); d != "."; d = path.Dir(d) {
					belowFile = belowFile || upper[d] != "" && upper[d] != "/"
				}
				if belowFile {
					continue // of the same layer: no runtime unpacks that
				}
				switch rapid.SampledFrom([]string{"file", "file", "file", "dir", "whiteout", "opaque"}).Draw(t, "kind") {
				case "file":
					content := fmt.Sprintf("p%d %d", rapid.IntRange(0, 1).Draw(t, "package"), rapid.IntRange(0, 1).Draw(t, "version"))
					files = append(files, file{name, content})
					put(name, content)
				case "dir":
					files = append(files, file{name + "/", ""})
					put(name, "/")
				case "whiteout":
					files = append(files, file{path.Join(path.Dir(name), ".wh."+path.Base(name)), ""})
					delete(root, name)
					removeBelow(root, name)
				case "opaque":
					files = append(files, file{name + "/.wh..wh..opq", ""})
					removeBelow(root, name)
				}
			}
			reports = append(reports, read(t, plimsoll.DefaultLimits(), true, files...))
			for _, name := range slices.Sorted(maps.Keys(upper)) {
				if upper[name] != "/" || root[name] != "/" {
					removeBelow(root, name)
				}
				root[name] = upper[name]
			}
		}
		var want, got []string
		for name, content := range root {
			if content != "/" && strings.HasSuffix(name, ".note") {
				want = append(want, name+" "+content)
			}
		}
		for _, c := range merge(reports...).Components {
			for _, p := range c.Paths {
				got = append(got, p+" "+c.Name+" "+c.Version)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Fatalf("unpacked: %v\nmerged:   %v", want, got)
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	r := read(f, plimsoll.DefaultLimits(), true, file{"a.note", "a 1"}, file{"l", "-> x"}, file{".wh.y", ""})
	b, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := analyze.DecodeReport(b)
		if err != nil {
			return
		}
		analyze.Merge(plimsoll.Image{Layers: make([]plimsoll.Layer, 2)}, []*analyze.Report{r, r})
	})
}

// A layer with more packages than any real one is bounded, and says so.
func TestMostFound(t *testing.T) {
	var files []file
	for i := range 50_003 {
		files = append(files, file{fmt.Sprintf("%d/%d.note", i/1000, i), fmt.Sprintf("p%d 1", i)})
	}
	b := merge(read(t, plimsoll.DefaultLimits(), true, files...))
	if len(b.Components) != 50_000 {
		t.Errorf("%d components", len(b.Components))
	}
	if len(b.Gaps) != 1 || b.Gaps[0].Kind != plimsoll.Limited || !strings.HasPrefix(b.Gaps[0].Reason, "components in 3 more files") {
		t.Errorf("gaps %v", b.Gaps)
	}
}
