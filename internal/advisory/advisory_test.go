package advisory

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/plimsoll/plimsoll"
)

func day(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 123456789, time.UTC) }

// example has something in every field.
func example() plimsoll.Advisory {
	return plimsoll.Advisory{
		ID: "GHSA-aaaa-bbbb-cccc", Feed: "osv",
		Aliases: []string{"CVE-2026-1"}, Upstream: []string{"CVE-2026-2"}, Related: []string{"GO-2026-3"},
		Summary: "Bad <thing> & worse", Details: "It is bad.\nReally.",
		Published: day(1), Modified: day(2),
		Severity:   []plimsoll.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}, {Type: "GHSA", Score: "CRITICAL"}},
		References: []plimsoll.Reference{{Type: "ADVISORY", URL: "https://example.org/a?b=c&d"}},
		Affected: []plimsoll.Affected{
			{Ecosystem: "npm", Package: "@scope/left-pad", Ranges: []plimsoll.Range{
				{Type: "SEMVER", Events: []plimsoll.Event{{Introduced: "0"}, {Fixed: "1.2.3"}, {Introduced: "2.0.0-0"}, {LastAffected: "2.1.0"}}},
				{Type: "ECOSYSTEM", Events: []plimsoll.Event{{Introduced: "3.0.0"}, {Limit: "3.1.0"}}},
			}},
			{Ecosystem: "npm", Package: "@scope/left-pad", Versions: []string{"9.9.9", "ü"}},
			{Ecosystem: "PyPI", Package: "Left.Pad_py", Versions: []string{"1.0"}, Severity: []plimsoll.Severity{{Type: "CVSS_V2", Score: "AV:N/AC:L/Au:N/C:P/I:P/A:P"}}},
			{Ecosystem: "Debian:12", Package: "left-pad", Ranges: []plimsoll.Range{{Type: "ECOSYSTEM", Events: []plimsoll.Event{{Introduced: "0"}}}}},
		},
	}
}

// build makes a file of the advisories, or extends the one at path.
func build(t testing.TB, path string, advisories ...plimsoll.Advisory) {
	t.Helper()
	b, err := Extend(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	for i := range advisories {
		if _, err := b.Add(t.Context(), &advisories[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func named(t testing.TB, db *DB, name string) []plimsoll.Advisory {
	t.Helper()
	all, err := db.Named(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// affected are the entries of a package without their Ref, which means nothing
// outside the file.
func affected(t testing.TB, db *DB, ecosystem, pkg string) []Entry {
	t.Helper()
	all, err := db.Affected(t.Context(), ecosystem, pkg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].Ref = 0
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new directory", "advisories.db")
	want := example()
	build(t, path, want)
	db := open(t, path)

	got := named(t, db, want.ID)
	want.Affected[2].Package = "left-pad-py" // as Key gives it
	if diff := cmp.Diff([]plimsoll.Advisory{want}, got); diff != "" {
		t.Errorf("Named: (-want +got)\n%s", diff)
	}
	for _, name := range []string{"CVE-2026-1", "CVE-2026-2", "GO-2026-3"} {
		if got := named(t, db, name); len(got) != 1 || got[0].ID != want.ID {
			t.Errorf("Named(%s) = %v", name, got)
		}
	}
	if got := named(t, db, "CVE-2026-4"); got != nil {
		t.Errorf("Named of an unknown name = %v", got)
	}

	entries := affected(t, db, "npm", "@scope/left-pad")
	if diff := cmp.Diff([]Entry{{ID: want.ID, Affected: want.Affected[0]}, {ID: want.ID, Affected: want.Affected[1]}}, entries); diff != "" {
		t.Errorf("Affected: (-want +got)\n%s", diff)
	}
	whole, err := db.Affected(t.Context(), "npm", "@scope/left-pad")
	if err != nil {
		t.Fatal(err)
	}
	adv, err := db.Advisory(t.Context(), whole[0].Ref)
	if err != nil {
		t.Fatal(err)
	}
	want.Affected = nil
	if diff := cmp.Diff(want, adv); diff != "" {
		t.Errorf("Advisory: (-want +got)\n%s", diff)
	}
}

// The ecosystem is exact, the package's name is as its registry takes it.
func TestLookup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	adv := example()
	adv.Affected = append(adv.Affected,
		plimsoll.Affected{Ecosystem: "NuGet", Package: "jQuery", Versions: []string{"1"}},
		plimsoll.Affected{Ecosystem: "Go", Package: "github.com/Masterminds/goutils", Versions: []string{"1"}})
	build(t, path, adv)
	db := open(t, path)
	for _, tt := range []struct {
		ecosystem, name string
		entries         int
		covered         bool
	}{
		{"npm", "@scope/left-pad", 2, true},
		{"npm", "@SCOPE/left-pad", 0, true}, // npm tells old names apart by case
		{"NPM", "@scope/left-pad", 0, false},
		{"PyPI", "left_pad.PY", 1, true},
		{"PyPI", "left-pad--py", 1, true},
		{"PyPI", "leftpadpy", 0, true},
		{"Debian:12", "left-pad", 1, true},
		{"Debian:1", "left-pad", 0, false},
		{"Debian", "left-pad", 0, false},
		{"Debian:13", "left-pad", 0, false},
		{"NuGet", "JQUERY", 1, true},
		{"Go", "github.com/Masterminds/goutils", 1, true},
		{"Go", "github.com/masterminds/goutils", 1, true},
		{"", "", 0, false},
	} {
		if got := affected(t, db, tt.ecosystem, tt.name); len(got) != tt.entries {
			t.Errorf("Affected(%s, %s): %d entries, want %d", tt.ecosystem, tt.name, len(got), tt.entries)
		}
		if got, err := db.Covers(t.Context(), tt.ecosystem); got != tt.covered || err != nil {
			t.Errorf("Covers(%s) = %v, %v, want %v", tt.ecosystem, got, err, tt.covered)
		}
	}
}

func TestWithdrawn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	adv := example()
	build(t, path, adv)
	adv.Withdrawn, adv.Modified = day(5), day(5)
	build(t, path, adv)
	db := open(t, path)
	if got := affected(t, db, "npm", "@scope/left-pad"); got != nil {
		t.Errorf("a withdrawn advisory affects %v", got)
	}
	if covered, err := db.Covers(t.Context(), "npm"); covered || err != nil {
		t.Errorf("Covers = %v, %v, with nothing but a withdrawn advisory", covered, err)
	}
	if got := named(t, db, adv.ID); len(got) != 1 || !got[0].Withdrawn.Equal(day(5)) || len(got[0].Affected) != 4 {
		t.Errorf("the withdrawn advisory is not kept whole: %v", got)
	}
	adv.Withdrawn, adv.Modified = time.Time{}, day(6)
	build(t, path, adv)
	if got := affected(t, open(t, path), "npm", "@scope/left-pad"); len(got) != 2 {
		t.Errorf("an advisory that is back in force affects %v", got)
	}
}

// TestReplace: which of two records with one id stays.
func TestReplace(t *testing.T) {
	future := time.Now().Add(365 * 24 * time.Hour)
	of := func(modified time.Time, fixed ...string) plimsoll.Advisory {
		adv := plimsoll.Advisory{ID: "X-1", Feed: "osv", Modified: modified, Summary: "as of " + strings.Join(fixed, " ")}
		for _, v := range fixed {
			adv.Affected = append(adv.Affected, plimsoll.Affected{Ecosystem: "npm", Package: "p" + v[:1], Ranges: []plimsoll.Range{
				{Type: "SEMVER", Events: []plimsoll.Event{{Introduced: "0"}, {Fixed: v}}}}})
		}
		return adv
	}
	for _, tt := range []struct {
		name          string
		first, second plimsoll.Advisory
		kept          bool // the second
		p1, p2        string
	}{
		{"newer", of(day(1), "1.1"), of(day(2), "2.1"), true, "", "2.1"},
		{"older", of(day(2), "1.1"), of(day(1), "2.1"), false, "1.1", ""},
		{"same date, other packages", of(day(1), "1.1"), of(day(1), "2.1"), true, "1.1", "2.1"},
		{"same date, in part the same", of(day(1), "1.1"), of(day(1), "1.1", "2.1"), true, "1.1", "2.1"},
		{"same date, another range", of(day(1), "1.1"), of(day(1), "1.2"), true, "1.2 1.1", ""},
		{"no date at all", of(time.Time{}, "1.1"), of(time.Time{}, "2.1"), true, "", "2.1"},
		{"a date after none", of(time.Time{}, "1.1"), of(day(1), "2.1"), true, "", "2.1"},
		{"none after a date", of(day(1), "1.1"), of(time.Time{}, "2.1"), true, "", "2.1"},
		{"a date after one from the future", of(future, "1.1"), of(day(1), "2.1"), true, "", "2.1"},
		{"one from the future after a date", of(day(1), "1.1"), of(future, "2.1"), true, "", "2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, both := range []bool{false, true} { // in one import, in two
				path := filepath.Join(t.TempDir(), "advisories.db")
				b, err := Extend(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				if kept, err := b.Add(t.Context(), &tt.first); !kept || err != nil {
					t.Fatalf("Add of the first: %v, %v", kept, err)
				}
				if both {
					if err := b.Commit(); err != nil {
						t.Fatal(err)
					}
					if b, err = Extend(t.Context(), path); err != nil {
						t.Fatal(err)
					}
				}
				if kept, err := b.Add(t.Context(), &tt.second); kept != tt.kept || err != nil {
					t.Errorf("Add of the second: %v, %v, want %v", kept, err, tt.kept)
				}
				if err := b.Commit(); err != nil {
					t.Fatal(err)
				}
				db := open(t, path)
				for pkg, want := range map[string]string{"p1": tt.p1, "p2": tt.p2} {
					var got []string
					for _, e := range affected(t, db, "npm", pkg) {
						got = append(got, e.Ranges[0].Events[1].Fixed)
					}
					if strings.Join(got, " ") != want {
						t.Errorf("%s is fixed in %q, want %q", pkg, got, want)
					}
				}
			}
		})
	}
}

// Names that a newer record no longer has must not lead to it.
func TestReplaceForgetsNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	adv := example()
	build(t, path, adv)
	adv.Modified, adv.Aliases = day(9), []string{"CVE-2026-99"}
	build(t, path, adv)
	db := open(t, path)
	if got := named(t, db, "CVE-2026-1"); got != nil {
		t.Errorf("the old alias still leads to %v", got)
	}
	if got := named(t, db, "CVE-2026-99"); len(got) != 1 {
		t.Errorf("the new alias leads to %v", got)
	}
}

func TestFeeds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	feed := func(source string, read int) Feed {
		return Feed{Name: "osv", Source: source, Licences: []string{"CC0-1.0"}, Imported: day(3), Data: day(2), Read: read, Kept: read - 1,
			Rejected: 1, Reasons: []string{"x.json: not JSON"}, Notes: map[string]int{"left out": 2}}
	}
	for _, read := range []int{10, 20} {
		b, err := Extend(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []Feed{feed("npm/all.zip", read), feed("Go/all.zip", 5)} {
			if err := b.AddFeed(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := open(t, path).Feeds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Feed{feed("Go/all.zip", 5), feed("npm/all.zip", 20)}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestCut: long prose and long lists of links are cut, whole characters kept.
func TestCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	adv := example()
	adv.Details = strings.Repeat("ä", 2*maxDetails)
	adv.References = nil
	for i := range 30 {
		adv.References = append(adv.References, plimsoll.Reference{Type: "WEB", URL: fmt.Sprint("https://example.org/", i)})
	}
	adv.References = append(adv.References, plimsoll.Reference{Type: "ADVISORY", URL: "https://example.org/advisory"})
	build(t, path, adv)
	got := named(t, open(t, path), adv.ID)[0]
	if want := strings.Repeat("ä", maxDetails/2) + "…"; got.Details != want {
		t.Errorf("details are %d bytes: %.20q…", len(got.Details), got.Details)
	}
	if len(got.References) != maxReferences || got.References[0].Type != "ADVISORY" || got.References[1].URL != "https://example.org/0" {
		t.Errorf("references are %v", got.References)
	}
}

// A reader keeps the file that it opened; the next one gets the new one.
func TestSwap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	first, second := example(), example()
	second.Summary, second.Modified = "second", day(9)
	build(t, path, first)
	before := open(t, path)
	build(t, path, second)
	after := open(t, path)
	if got := named(t, before, first.ID)[0].Summary; got != first.Summary {
		t.Errorf("the old file now says %q", got)
	}
	if got := named(t, after, first.ID)[0].Summary; got != "second" {
		t.Errorf("the new file says %q", got)
	}
	if leftover, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(leftover) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", leftover, err)
	}
}

func TestCreateForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	build(t, path, example())
	b, err := Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := named(t, open(t, path), example().ID); got != nil {
		t.Errorf("a created file holds %v", got)
	}
}

func TestAbort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	build(t, path, example())
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Extend(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	other := example()
	other.ID = "other"
	if _, err := b.Add(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	b.Abort()
	if got, err := os.ReadFile(path); !bytes.Equal(got, want) || err != nil {
		t.Errorf("an aborted build changed the file (%v)", err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); len(files) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// Two imports at once: the second to end must not drop what the first added.
func TestExtendAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	for _, exists := range []bool{false, true} {
		one, err := Extend(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		two, err := Extend(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := two.Commit(); err == nil || plimsoll.HintOf(err) == "" {
			t.Errorf("file there before: %v: the second of two imports ended with %v", exists, err)
		}
		if leftover, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(leftover) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", leftover, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	build(t, good, example())
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE x (y)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(whole)
	newer[63]++ // user_version
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not an advisory file"},
		{"html", []byte("<html>" + strings.Repeat("x", 200)), "not an advisory file"},
		{"short", whole[:50], "not an advisory file"},
		{"truncated", whole[:len(whole)-4096], "bytes long instead of"},
		{"cut", whole[:len(whole)-1], "bytes long instead of"},
		{"longer", append(bytes.Clone(whole), 0), "bytes long instead of"},
		{"foreign", other, "another program"},
		{"newer", newer, "schema 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, tt.data, 0o644); err != nil {
				t.Fatal(err)
			}
			for what, open := range map[string]func() error{
				"Open":   func() error { _, err := Open(path); return err },
				"Extend": func() error { _, err := Extend(t.Context(), path); return err },
			} {
				err := open()
				if err == nil || !strings.Contains(err.Error(), tt.want) || plimsoll.HintOf(err) == "" {
					t.Errorf("%s: %v (hint %q), want an error with %q and a hint", what, err, plimsoll.HintOf(err), tt.want)
				}
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, tt.data) {
				t.Errorf("the refused file was changed (%v)", err)
			}
		})
	}
	_, err = Open(filepath.Join(dir, "none.db"))
	if !errors.Is(err, ErrNone) || !strings.Contains(plimsoll.HintOf(err), "plimsoll db import") {
		t.Errorf("no file: %v (hint %q)", err, plimsoll.HintOf(err))
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory was opened")
	}
}

// Damage inside the file gives errors, never a crash.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	var many []plimsoll.Advisory
	for i := range 60 {
		adv := example()
		adv.ID = fmt.Sprint("X-", i)
		many = append(many, adv)
	}
	build(t, path, many...)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for at := 100; at < len(whole); at += 2003 {
		data := bytes.Clone(whole)
		for i := at; i < min(at+40, len(data)); i++ {
			data[i] ^= 0x5a
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		db, err := Open(path)
		if err != nil {
			failed++
			continue
		}
		_, err1 := db.Affected(t.Context(), "npm", "@scope/left-pad")
		_, err2 := db.Named(t.Context(), "CVE-2026-1")
		_, err3 := db.Feeds(t.Context())
		if err := errors.Join(err1, err2, err3); err != nil {
			failed++
		}
		db.Close()
	}
	if failed == 0 {
		t.Error("no damage was noticed at all")
	}
}

func TestPathWithOddCharacters(t *testing.T) {
	names := []string{"a b.db", "q?x=1.db", "h#h.db", "p%41.db", "ümlaut.db", "semi;colon&amp.db"}
	for _, name := range names {
		if runtime.GOOS == "windows" && strings.ContainsAny(name, "?") {
			continue
		}
		path := filepath.Join(t.TempDir(), name)
		build(t, path, example())
		if got := named(t, open(t, path), example().ID); len(got) != 1 {
			t.Errorf("%s: holds %d advisories", name, len(got))
		}
	}
}

// TestProcesses: other processes read while the file is replaced.
func TestProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advisories.db")
	adv := example()
	build(t, path, adv)
	var readers []*exec.Cmd
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReader$")
		cmd.Env = append(os.Environ(), "PLIMSOLL_TEST_READ="+path)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, cmd)
	}
	for i := range 10 {
		adv.Modified = day(3 + i)
		build(t, path, adv)
	}
	for _, cmd := range readers {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a reader ended with %v", err)
		}
	}
}

// TestReader is one of the processes of TestProcesses.
func TestReader(t *testing.T) {
	path := os.Getenv("PLIMSOLL_TEST_READ")
	if path == "" {
		return
	}
	for range 100 {
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := affected(t, db, "npm", "@scope/left-pad"); len(got) != 2 {
			t.Fatalf("read %v", got)
		}
		db.Close()
	}
}

// TestLayoutIsPinned: files of one schema number must be readable by every
// program that knows the number.
func TestLayoutIsPinned(t *testing.T) {
	const want = "d13a8c4fbf07a350"
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(schema+dictionary)))[:16]; got != want {
		t.Errorf("tables or dictionary changed (%s, was %s): raise Schema, then change this sum", got, want)
	}
}

func TestEncode(t *testing.T) {
	text := rapid.StringN(1, 20, 60)
	event := rapid.Custom(func(t *rapid.T) plimsoll.Event {
		v := text.Draw(t, "version")
		return []plimsoll.Event{{Introduced: v}, {Fixed: v}, {LastAffected: v}, {Limit: v}}[rapid.IntRange(0, 3).Draw(t, "kind")]
	})
	entry := rapid.Custom(func(t *rapid.T) plimsoll.Affected {
		a := plimsoll.Affected{Ecosystem: "npm", Package: "p"}
		for range rapid.IntRange(0, 3).Draw(t, "ranges") {
			a.Ranges = append(a.Ranges, plimsoll.Range{Type: "SEMVER", Events: rapid.SliceOfN(event, 1, 5).Draw(t, "events")})
		}
		for range rapid.IntRange(0, 5).Draw(t, "versions") {
			a.Versions = append(a.Versions, text.Draw(t, "version"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "ratings") {
			a.Severity = append(a.Severity, plimsoll.Severity{Type: text.Draw(t, "type"), Score: text.Draw(t, "score")})
		}
		return a
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(entry, 1, 4).Draw(t, "entries")
		data := encodeAffected(want)
		got, err := decodeAffected(string(data), "npm", "p")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut"); true {
			if _, err := decodeAffected(string(data[:cut]), "npm", "p"); err == nil {
				t.Fatalf("%d of %d bytes were read without an error", cut, len(data))
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeAffected(example().Affected[:2]))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decodeAffected(string(data), "npm", "p")
		if err != nil {
			return
		}
		again, err := decodeAffected(string(encodeAffected(entries)), "npm", "p")
		if err != nil || !cmp.Equal(entries, again) {
			t.Errorf("what was read is not what was written: %v\n%s", err, cmp.Diff(entries, again))
		}
	})
}

func BenchmarkAffected(b *testing.B) {
	path := filepath.Join(b.TempDir(), "advisories.db")
	var many []plimsoll.Advisory
	for i := range 2000 {
		adv := example()
		adv.ID = fmt.Sprint("X-", i)
		adv.Affected[0].Package = fmt.Sprint("p", i/4)
		many = append(many, adv)
	}
	build(b, path, many...)
	db := open(b, path)
	i := 0
	for b.Loop() {
		if entries, err := db.Affected(b.Context(), "npm", fmt.Sprint("p", i%500)); err != nil || len(entries) != 4 {
			b.Fatal(len(entries), err)
		}
		i++
	}
}
