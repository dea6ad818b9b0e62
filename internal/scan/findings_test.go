package scan_test

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/internal/advisory"
	"github.com/plimsoll/plimsoll/internal/feed"
	"github.com/plimsoll/plimsoll/internal/scan"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// record is what these tests read of an OSV record, apart from the importer.
type record struct {
	ID, Withdrawn string
	Affected      []struct {
		Package  struct{ Ecosystem, Name string }
		Versions []string
		Ranges   []struct {
			Type   string
			Events []struct {
				Introduced, Fixed string
				LastAffected      string `json:"last_affected"`
			}
		}
		DatabaseSpecific struct {
			LastKnown string `json:"last_known_affected_version_range"`
		} `json:"database_specific"`
	}
}

func records(t *testing.T, ecosystem string) (all []record) {
	t.Helper()
	z, err := zip.OpenReader(testenv.Shared(t, "advisories", "osv", ecosystem, "all.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		var rec record
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

// The findings in real images are those that the ecosystems' own tools give
// when they compare the versions: dpkg for Debian's records, node's semver for
// npm's. (Both feeds are partial copies; that they are is no matter here.)
func TestFindingsByNativeComparison(t *testing.T) {
	testenv.Need(t, "dpkg", "node", "npm")
	osv := testenv.Shared(t, "advisories", "osv")
	path := filepath.Join(t.TempDir(), "advisories.db")
	if _, err := feed.ImportOSV(t.Context(), path, []string{filepath.Join(osv, "Debian", "all.zip"), filepath.Join(osv, "npm", "all.zip")}, nil); err != nil {
		t.Fatal(err)
	}
	db, err := advisory.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	debian, npm := records(t, "Debian"), records(t, "npm")
	for _, name := range realImages {
		t.Run(name, func(t *testing.T) {
			b := bomOf(t, newScanner(), "archive:"+testenv.Image(t, name))
			result, err := scan.Match(t.Context(), db, b)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, f := range result.Findings {
				for _, a := range f.Advisories {
					got = append(got, a+" "+f.PURL)
				}
			}
			var questions []question
			for _, c := range b.Components {
				switch {
				case c.IsOS():
					for _, r := range debian {
						if affectedByDpkg(t, r, c.Source.Name, c.Source.Version) {
							want = append(want, r.ID+" "+c.PURL)
						}
					}
				case c.Ecosystem == "npm" && c.Owner == "":
					for _, r := range npm {
						if r.Withdrawn == "" {
							questions = append(questions, ask(r, c.Name, c.Version, r.ID+" "+c.PURL)...)
						}
					}
				}
			}
			want = append(want, answers(t, questions)...)
			slices.Sort(got)
			slices.Sort(want)
			got, want = slices.Compact(got), slices.Compact(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-native tools +findings):\n%s", diff)
			}
			t.Logf("%d findings", len(got))
			if len(got) == 0 {
				t.Error("nothing found: this compares nothing")
			}
		})
	}
}

// affectedByDpkg asks dpkg whether a record of Debian 12 concerns a version.
func affectedByDpkg(t *testing.T, r record, source, version string) bool {
	t.Helper()
	for _, a := range r.Affected {
		if a.Package.Ecosystem != "Debian:12" || a.Package.Name != source || r.Withdrawn != "" {
			continue
		}
		for _, rng := range a.Ranges {
			introduced, fixed := false, false
			for _, e := range rng.Events {
				introduced = introduced || e.Introduced == "0" || e.Introduced != "" && dpkg(t, version, "ge", e.Introduced)
				fixed = fixed || e.Fixed != "" && dpkg(t, version, "ge", e.Fixed)
			}
			if introduced && !fixed {
				return true
			}
		}
	}
	return false
}

func dpkg(t *testing.T, a, op, b string) bool {
	t.Helper()
	err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err == nil
}

// question: is the version in the semver range, or in the list?
type question struct{ Version, Range, Answer string }

// ask turns a record into ranges as node's semver reads them. Events are in
// order in the records that are asked about.
func ask(r record, name, version, answer string) (list []question) {
	for _, a := range r.Affected {
		if a.Package.Ecosystem != "npm" || a.Package.Name != name {
			continue
		}
		if slices.Contains(a.Versions, version) {
			list = append(list, question{version, "*", answer})
		}
		for _, rng := range a.Ranges {
			from := ""
			close := func(to string) {
				if from != "" {
					list = append(list, question{version, strings.TrimSpace(from + " " + to), answer})
				}
				from = ""
			}
			for _, e := range rng.Events {
				switch {
				case e.Introduced == "0":
					from = ">=0.0.0-0"
				case e.Introduced != "":
					from = ">=" + e.Introduced
				case e.Fixed != "":
					close("<" + e.Fixed)
				case e.LastAffected != "":
					close("<=" + e.LastAffected)
				}
			}
			close(strings.ReplaceAll(a.DatabaseSpecific.LastKnown, " ", ""))
		}
	}
	return list
}

// answers has node decide all questions at once.
func answers(t *testing.T, questions []question) (yes []string) {
	t.Helper()
	if len(questions) == 0 {
		return nil
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "questions.json")
	if err := os.WriteFile(file, in, 0o644); err != nil {
		t.Fatal(err)
	}
	semver := filepath.Join(strings.TrimSpace(testenv.Run(t, "npm", "root", "-g")), "npm", "node_modules", "semver")
	out := testenv.Run(t, "node", "-e", fmt.Sprintf(`
let semver; // beside npm, or where Debian has it
try { semver = require(%q); } catch { semver = require("/usr/share/nodejs/semver"); }
for (const q of JSON.parse(require("fs").readFileSync(%q)))
  if (semver.satisfies(q.Version, q.Range, {includePrerelease: true, loose: true})) console.log(q.Answer);
`, semver, file))
	for line := range strings.Lines(out) {
		yes = append(yes, strings.TrimSpace(line))
	}
	return yes
}
