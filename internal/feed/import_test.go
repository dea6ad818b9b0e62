package feed

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/advisory"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

const good = `{"id":"X-1","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"left-pad"},` +
	`"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.3"}]}]}]}`

func record(id string) string { return strings.Replace(good, "X-1", id, 1) }

// writeZip makes a zip of name, content, name, content…
func writeZip(t testing.TB, path string, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, path, b.String())
}

func write(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *advisory.DB {
	t.Helper()
	db, err := advisory.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// holds are the ids of the records that name the package.
func holds(t testing.TB, db *advisory.DB, ecosystem, pkg string) string {
	t.Helper()
	entries, err := db.Affected(t.Context(), ecosystem, pkg)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return strings.Join(slices.Compact(ids), " ")
}

// TestRealFeeds imports every zip of shared/advisories/osv and holds the counts
// against MANIFEST.md. Whole feeds there: AlmaLinux, Bitnami, the GO records of
// Go, the PYSEC records of PyPI (rebuilt from YAML). Chainguard is samples, all
// others are partial.
func TestRealFeeds(t *testing.T) {
	dir := testenv.Shared(t, "advisories", "osv")
	path := filepath.Join(t.TempDir(), "advisories.db")
	feeds, err := ImportOSV(t.Context(), path, []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	type counts struct {
		Read, Withdrawn, Older, Rejected int
		Notes                            map[string]int
	}
	want := map[string]counts{
		"AlmaLinux":   {Read: 5637},
		"Alpine":      {Read: 204, Withdrawn: 1},
		"Bitnami":     {Read: 7444},
		"Chainguard":  {Read: 3},
		"Debian":      {Read: 120},
		"Go":          {Read: 4657, Withdrawn: 31, Notes: map[string]int{noteNoDate: 4291, noteBound: 1}},
		"Hex":         {Read: 45, Notes: map[string]int{noteGit: 4, noteNoPackage: 4}},
		"Linux":       {Read: 400, Notes: map[string]int{noteGit: 578, noteNoPackage: 400}},
		"Maven":       {Read: 516, Withdrawn: 7, Older: 1, Notes: map[string]int{noteBound: 37}}, // GHSA-77rm-9x9h-xj3g is newer in Go
		"NuGet":       {Read: 182, Withdrawn: 10, Notes: map[string]int{noteBound: 4}},
		"Packagist":   {Read: 154, Withdrawn: 3},
		"Pub":         {Read: 12, Withdrawn: 2},
		"PyPI":        {Read: 7251, Withdrawn: 280, Notes: map[string]int{noteGit: 1554, noteNothing: 20, noteFuture: 2, noteBound: 1}},
		"Rocky Linux": {Read: 119},
		"RubyGems":    {Read: 155, Withdrawn: 17, Notes: map[string]int{noteBound: 1}},
		"Ubuntu":      {Read: 139, Withdrawn: 5},
		"crates.io":   {Read: 1899, Withdrawn: 38, Notes: map[string]int{noteBound: 4}},
		"npm":         {Read: 1000, Withdrawn: 14, Notes: map[string]int{noteBound: 4}},
	}
	got := map[string]counts{}
	for _, f := range feeds {
		c := counts{f.Read, f.Withdrawn, f.Older, f.Rejected, f.Notes}
		if len(c.Notes) == 0 {
			c.Notes = nil
		}
		got[filepath.Base(filepath.Dir(f.Source))] = c
		if f.Read != f.Kept+f.Older+f.Rejected {
			t.Errorf("%s: read %d, but kept %d, older %d, rejected %d", f.Source, f.Read, f.Kept, f.Older, f.Rejected)
		}
		if f.Data.IsZero() || f.Data.After(f.Imported) || len(f.Licences) == 0 {
			t.Errorf("%s: data of %v, licences %v", f.Source, f.Data, f.Licences)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-MANIFEST +import)\n%s", diff)
	}

	db := open(t, path)
	stored, err := db.Feeds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(feeds, func(a, b advisory.Feed) int { return strings.Compare(a.Source, b.Source) })
	if diff := cmp.Diff(feeds, stored, cmp.Transformer("", func(m map[string]int) map[string]int {
		if len(m) == 0 {
			return nil
		}
		return m
	})); diff != "" {
		t.Errorf("what the file says of its feeds: (-import +file)\n%s", diff)
	}

	// Keyed by affected[].package, not by the zip: a GitHub record of the npm
	// zip is found under NuGet, RubyGems and Maven, too.
	for ecosystem, pkg := range map[string]string{"npm": "jquery", "NuGet": "jQuery", "RubyGems": "jquery-rails", "Maven": "org.webjars.npm:jquery"} {
		if got := holds(t, db, ecosystem, pkg); !strings.Contains(got, "GHSA-579v-mp3v-rrw5") {
			t.Errorf("%s of %s: %s, want GHSA-579v-mp3v-rrw5 among them", pkg, ecosystem, got)
		}
	}
	// GHSA-85q9-7467-r53q: "< 0.7.3" stands only in last_known_affected_version_range.
	records, err := db.Named(t.Context(), "GHSA-85q9-7467-r53q")
	if err != nil || len(records) != 1 {
		t.Fatalf("GHSA-85q9-7467-r53q: %v, %v", records, err)
	}
	a := records[0].Affected[0]
	if diff := cmp.Diff([]plimsoll.Event{{Introduced: "0"}, {Limit: "0.7.3"}}, a.Ranges[0].Events); diff != "" || slices.Contains(a.Versions, "0.9.2") || !slices.Contains(a.Versions, "0.0.1") {
		t.Errorf("%v, versions %v", a.Ranges, a.Versions)
	}

	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(45 << 20); info.Size() > most {
		t.Errorf("the file has %d bytes, more than %d", info.Size(), most)
	}
	t.Logf("%d bytes", info.Size())

	// The same again changes nothing. What is older now has its newer copy in
	// a zip that came later.
	byName := map[string]advisory.Feed{}
	for _, f := range feeds {
		byName[f.Source] = f
	}
	var some []string
	for _, ecosystem := range []string{"Go", "Maven", "NuGet", "npm"} {
		some = append(some, filepath.Join(dir, ecosystem))
	}
	again, err := ImportOSV(t.Context(), path, some, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again {
		first := byName[f.Source]
		if f.Read != first.Read || f.Kept+f.Older != first.Kept+first.Older || f.Rejected != 0 {
			t.Errorf("%s, the second time: read %d, kept %d, older %d, rejected %d", f.Source, f.Read, f.Kept, f.Older, f.Rejected)
		}
	}
	if second, err := os.Stat(path); err != nil || second.Size() != info.Size() {
		t.Errorf("the second time the file has %d bytes (%v), not %d", second.Size(), err, info.Size())
	}
}

// TestMemory: an import of everything stays under 100 MiB.
func TestMemory(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" }) {
		t.Skip("the race detector's own memory counts")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestImporter$")
	cmd.Env = append(os.Environ(), "PLIMSOLL_TEST_IMPORT="+testenv.Shared(t, "advisories", "osv"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Skip("no resource usage here")
	}
	t.Logf("peak memory %d MiB, %v of CPU", usage.Maxrss>>10, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if usage.Maxrss > 100<<10 {
		t.Errorf("peak memory was %d KiB, more than 100 MiB", usage.Maxrss)
	}
}

// TestImporter is the process of TestMemory.
func TestImporter(t *testing.T) {
	source := os.Getenv("PLIMSOLL_TEST_IMPORT")
	if source == "" {
		return
	}
	if _, err := ImportOSV(t.Context(), filepath.Join(t.TempDir(), "advisories.db"), []string{source}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	writeZip(t, filepath.Join(tree, "b", "all.zip"), "Z-1.json", record("Z-1"), "folder/", "", "README", "text")
	write(t, filepath.Join(tree, "a", "A-1.json"), record("A-1"))
	write(t, filepath.Join(tree, "a", "A-2.json"), record("A-2"))
	write(t, filepath.Join(tree, "a", "notes.txt"), "not read")
	write(t, filepath.Join(tree, "a", "deep", "D-1.json"), record("D-1"))
	unnamed := writeZip(t, filepath.Join(dir, "download"), "U-1.json", record("U-1"))
	single := write(t, filepath.Join(dir, "record"), record("S-1"))
	path := filepath.Join(dir, "advisories.db")
	var seen []Progress
	feeds, err := ImportOSV(t.Context(), path, []string{tree, unnamed, single, tree}, func(p Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range feeds {
		name, err := filepath.Rel(dir, f.Source)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d/%d %v", filepath.ToSlash(name), f.Kept, f.Read, slices.Collect(maps.Values(f.Notes))))
	}
	want := []string{"tree/a 2/2 []", "tree/a/deep 1/1 []", "tree/b/all.zip 1/1 [2]", "download 1/1 []", "record 1/1 []"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := holds(t, open(t, path), "npm", "left-pad"); got != "A-1 A-2 D-1 Z-1 U-1 S-1" {
		t.Errorf("the file holds %s", got)
	}
	if len(seen) < len(feeds) || seen[0].Total != 2 || seen[0].Read != 2 {
		t.Errorf("progress was %v", seen)
	}
}

// Rejected records are counted and named, the rest is kept.
func TestRejected(t *testing.T) {
	dir := t.TempDir()
	huge := `{"id":"H","details":"` + strings.Repeat("x", maxRecord) + `"}`
	file := writeZip(t, filepath.Join(dir, "all.zip"),
		"ok.json", good,
		"html.json", "<!DOCTYPE html>",
		"bom.json", "\xef\xbb\xbf"+record("B-1"),
		"trailing.json", record("T-1")+"x",
		"two.json", record("T-2")+record("T-3"),
		"cut.json", good[:100],
		"empty.json", "",
		"list.json", "["+good+"]",
		"huge.json", huge,
	)
	path := filepath.Join(dir, "advisories.db")
	feeds, err := ImportOSV(t.Context(), path, []string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := feeds[0]
	if f.Read != 9 || f.Kept != 1 || f.Rejected != 8 {
		t.Errorf("read %d, kept %d, rejected %d", f.Read, f.Kept, f.Rejected)
	}
	for i, want := range []string{
		"html.json: HTML or XML instead of JSON", "bom.json: starts with a byte order mark", "trailing.json: not JSON",
		"two.json: not JSON", "cut.json: not JSON", "empty.json: empty", "list.json: not a JSON object", "huge.json: larger than 16 MiB",
	} {
		if i >= len(f.Reasons) || !strings.HasPrefix(f.Reasons[i], want) {
			t.Errorf("reason %d is %q, want %q…", i, f.Reasons[min(i, len(f.Reasons)-1)], want)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	dir := t.TempDir()
	files := []string{"ok.json", good}
	for i := range 100 {
		files = append(files, fmt.Sprintf("bad%d.json", i), "{}")
	}
	feeds, err := ImportOSV(t.Context(), filepath.Join(dir, "a.db"), []string{writeZip(t, filepath.Join(dir, "all.zip"), files...)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := feeds[0]; f.Rejected != 100 || len(f.Reasons) != maxReasons {
		t.Errorf("rejected %d, %d reasons", f.Rejected, len(f.Reasons))
	}
}

// TestFailures: a source that cannot be read ends the import with an error that
// names it, and the file stays as it was.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "advisories.db")
	if _, err := ImportOSV(t.Context(), path, []string{write(t, filepath.Join(dir, "good.json"), good)}, nil); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{}
	for i := range 50 {
		files = append(files, fmt.Sprintf("R-%d.json", i), record(fmt.Sprintf("R-%d", i)))
	}
	whole := writeZip(t, filepath.Join(dir, "whole.zip"), files...)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	bomb := writeZip(t, filepath.Join(dir, "bomb.zip"), bombFiles()...)
	for _, tt := range []struct {
		name, source, want string
	}{
		{"missing", filepath.Join(dir, "none.zip"), "no such file"},
		{"truncated zip", write(t, filepath.Join(dir, "truncated.zip"), string(data[:len(data)/2])), "not a whole zip"},
		{"zip without its end", write(t, filepath.Join(dir, "end.zip"), string(data[:len(data)-10])), "not a whole zip"},
		{"html for a zip", write(t, filepath.Join(dir, "html.zip"), "\n<html><body>404"), "HTML or XML instead of a zip"},
		{"empty zip file", write(t, filepath.Join(dir, "nothing.zip"), ""), "not a whole zip"},
		{"zip of nothing", writeZip(t, filepath.Join(dir, "none.zip2")), "it holds no OSV records"},
		{"zip of rubbish", writeZip(t, filepath.Join(dir, "bad.zip"), "a.json", "{}", "b.json", "[]"), "none of its 2 records can be used; the first: a.json: id is empty or missing"},
		{"html for a record", write(t, filepath.Join(dir, "record.json"), "<html>"), "record.json: HTML or XML instead of JSON"},
		{"zip bomb", bomb, "unpacks to more than 200 times its size"},
		{"empty directory", t.TempDir(), "no .zip or .json file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ImportOSV(t.Context(), path, []string{whole, tt.source}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Base(tt.source)) {
				t.Errorf("error %v, want %q and the file's name in it", err, tt.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the advisory file changed (%v)", err)
			}
			if leftover, err := filepath.Glob(filepath.Join(dir, ".*")); len(leftover) > 0 || err != nil {
				t.Errorf("left behind: %v, %v", leftover, err)
			}
		})
	}
}

// bombFiles unpack to 160 MiB of blanks out of 160 KiB.
func bombFiles() []string {
	var files []string
	blanks := strings.Repeat(" ", maxRecord-len(good)) + good
	for i := range 10 {
		files = append(files, fmt.Sprint(i, ".json"), blanks)
	}
	return files
}

// Damage to one record inside a zip concerns that record only.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	file := writeZip(t, filepath.Join(dir, "all.zip"), "A-1.json", record("A-1"), "A-2.json", record("A-2"))
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[50] ^= 0xff // in the packed bytes of A-1
	write(t, file, string(data))
	path := filepath.Join(dir, "a.db")
	feeds, err := ImportOSV(t.Context(), path, []string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := feeds[0]; f.Kept != 1 || f.Rejected != 1 || !strings.HasPrefix(f.Reasons[0], "A-1.json: ") {
		t.Errorf("kept %d, rejected %d: %v", f.Kept, f.Rejected, f.Reasons)
	}
}

func TestZipDirectoryLimit(t *testing.T) {
	var files []string
	for i := range 1000 {
		files = append(files, fmt.Sprint("R-", i, ".json"), good)
	}
	file := writeZip(t, filepath.Join(t.TempDir(), "all.zip"), files...)
	if _, err := openZip(file, 10_000); err == nil || !strings.Contains(err.Error(), "directory is larger") {
		t.Errorf("a directory over the limit: %v", err)
	}
	d, err := openZip(file, maxDirectory)
	if err != nil || d.len != 1000 {
		t.Fatalf("a directory under the limit: %v", err)
	}
	d.close()
}

func TestImportIsCancelled(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for i := range 2000 {
		files = append(files, fmt.Sprint("R-", i, ".json"), record(fmt.Sprint("R-", i)))
	}
	file := writeZip(t, filepath.Join(dir, "all.zip"), files...)
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(dir, "advisories.db")
	_, err := ImportOSV(ctx, path, []string{file}, func(Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if files, err := os.ReadDir(dir); len(files) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// The later import may withdraw what an earlier one brought.
func TestUpdate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "advisories.db")
	for _, step := range []struct{ record, want string }{
		{good, "X-1"},
		{strings.Replace(good, `"modified":"2026-01-02`, `"withdrawn":"2026-01-03T00:00:00Z","modified":"2026-01-03`, 1), ""},
		{good, ""}, // an old download does not bring it back
		{strings.Replace(good, "2026-01-02", "2026-01-04", 1), "X-1"},
	} {
		if _, err := ImportOSV(t.Context(), path, []string{write(t, filepath.Join(dir, "r.json"), step.record)}, nil); err != nil {
			t.Fatal(err)
		}
		if got := holds(t, open(t, path), "npm", "left-pad"); got != step.want {
			t.Errorf("after %s: %q, want %q", step.record, got, step.want)
		}
	}
}

func BenchmarkImport(b *testing.B) {
	for _, ecosystem := range []string{"PyPI", "AlmaLinux", "."} {
		b.Run(ecosystem, func(b *testing.B) {
			source := testenv.Shared(b, "advisories", "osv", ecosystem)
			records := 0
			start := cpu(b)
			for b.Loop() {
				feeds, err := ImportOSV(b.Context(), filepath.Join(b.TempDir(), "a.db"), []string{source}, nil)
				if err != nil {
					b.Fatal(err)
				}
				for _, f := range feeds {
					records += f.Read
				}
			}
			b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(records), "cpu-µs/record")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
