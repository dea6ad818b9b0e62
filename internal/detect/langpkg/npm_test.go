package langpkg_test

import (
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

// TestNPMAgainstNPM holds what is found in the two trees of the image node-app,
// as their COPY layers have them, against what npm itself says is installed.
func TestNPMAgainstNPM(t *testing.T) {
	testenv.Need(t, "npm")
	dir := t.TempDir()
	got := map[string][]string{}
	walkImage(t, "node-app", func(layer int, f *plimsoll.File, content *io.SectionReader) {
		// The layers after the first COPY of each tree change it.
		tree, _, _ := strings.Cut(f.Path, "/node_modules/")
		tree = strings.TrimSuffix(tree, "/package.json")
		if f.Base != "package.json" || (tree != "srv/app" || layer != 4) && (tree != "opt/tool" || layer != 5) {
			return
		}
		b, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, f.Path, string(b)) // all of them: npm decides which are packages
		if !(langpkg.NPM{}).Wants(f) {
			return
		}
		found := mustDetect(t, langpkg.NPM{}, f.Path, b)
		if len(found.Gaps) > 0 {
			t.Errorf("%s: %v", f.Path, found.Gaps)
		}
		for _, c := range found.Components {
			got[tree] = append(got[tree], summary(c))
		}
	})
	for tree, minimum := range map[string]int{"srv/app": 500, "opt/tool": 3} {
		// Without --omit etc. npm ls fails on what it thinks is missing; what it
		// prints is what is there.
		cmd := exec.Command("npm", "ls", "--all", "--parseable", "--long", "--offline")
		cmd.Dir = filepath.Join(dir, tree)
		out, _ := cmd.Output()
		var want []string
		for line := range strings.Lines(string(out)) {
			// PATH:NAME@VERSION[:REMARK]
			part := strings.Split(strings.TrimSpace(line), ":")
			if len(part) < 2 {
				t.Fatalf("npm ls printed %q", line)
			}
			rel, err := filepath.Rel(dir, part[0])
			if err != nil {
				t.Fatal(err)
			}
			at := strings.LastIndexByte(part[1], '@')
			want = append(want, rel+"/package.json "+part[1][:at]+" "+part[1][at+1:])
		}
		slices.Sort(want)
		slices.Sort(got[tree])
		if len(want) < minimum {
			t.Fatalf("npm lists only %d packages in %s", len(want), tree)
		}
		if d := cmp.Diff(want, got[tree]); d != "" {
			t.Errorf("%s (-npm +detected):\n%s", tree, d)
		}
		t.Logf("%s: %d packages, as npm says", tree, len(want))
	}
}

// TestNPMAgainstNode reads every manifest of the image with node as well.
func TestNPMAgainstNode(t *testing.T) {
	testenv.Need(t, "node")
	dir := t.TempDir()
	var got []string
	walkImage(t, "node-app", func(layer int, f *plimsoll.File, content *io.SectionReader) {
		if layer < 3 || !(langpkg.NPM{}).Wants(f) {
			return
		}
		b, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		name := string(rune('0'+layer)) + "/" + f.Path
		write(t, dir, name, string(b))
		for _, c := range mustDetect(t, langpkg.NPM{}, name, b).Components {
			got = append(got, summary(c)+" "+strings.Join(c.Licenses, ","))
		}
	})
	const script = `
const fs = require("fs"), path = require("path")
function license(l) {
  if (Array.isArray(l)) return l.map(license).join(",")
  return l && typeof l == "object" ? l.type : l
}
function walk(dir) {
  for (const e of fs.readdirSync(dir, {withFileTypes: true})) {
    const name = path.join(dir, e.name)
    if (e.isDirectory()) walk(name)
    else {
      const m = JSON.parse(fs.readFileSync(name, "utf8").replace(/^\uFEFF/, ""))
      if (m.name && m.version) console.log([name, m.name, m.version, license(m.license) || license(m.licenses) || ""].join(" "))
    }
  }
}
walk(".")`
	want := strings.Split(strings.TrimRight(string(run(t, dir, nil, "node", "-e", script)), "\n"), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 600 {
		t.Fatalf("node reads only %d manifests", len(want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-node +detected):\n%s", d)
	}
}

func TestNPMManifest(t *testing.T) {
	const inside = "srv/node_modules/alias/package.json"
	for name, c := range map[string]struct {
		path, text string
		want       string // purl, or the beginning of a gap or error
	}{
		"plain":             {inside, `{"name":"lodash","version":"4.17.15"}`, "pkg:npm/lodash@4.17.15"},
		"the file's name":   {inside, `{"name":"@babel/core","version":"7.0.0"}`, "pkg:npm/%40babel/core@7.0.0"},
		"old capitals":      {inside, `{"name":"JSONStream","version":"1.3.5"}`, "pkg:npm/JSONStream@1.3.5"},
		"byte order mark":   {inside, "\ufeff" + `{"name":"a","version":"1.0.0"}`, "pkg:npm/a@1.0.0"},
		"v":                 {inside, `{"name":"a","version":"v1.0.0"}`, "pkg:npm/a@1.0.0"},
		"last key counts":   {inside, `{"name":"a","version":"1.0.0","version":"2.0.0"}`, "pkg:npm/a@2.0.0"},
		"other case is not": {inside, `{"name":"a","version":"1.0.0","Version":"9.9.9"}`, "pkg:npm/a@1.0.0"},
		"build metadata":    {inside, `{"name":"a","version":"1.0.0+x y"}`, "pkg:npm/a@1.0.0%2Bx%20y"},
		"application":       {"srv/package.json", `{"name":"a","version":"1.0.0","private":true}`, "pkg:npm/a@1.0.0"},
		"no version":        {"srv/package.json", `{"name":"a"}`, ""},
		"installed without": {inside, `{"name":"a"}`, "gap unreadable " + inside + ": package.json of an installed package without"},
		"number":            {inside, `{"name":"a","version":1}`, "gap unreadable " + inside + ": package.json: the version is no string: 1"},
		"object":            {inside, `{"name":{"a":1},"version":"1"}`, "gap unreadable " + inside + ": package.json: the name is no string"},
		"long":              {inside, `{"name":"` + strings.Repeat("a", 2000) + `","version":"1"}`, "gap unreadable " + inside + ": a package's name"},
		"large":             {inside, `{"name":"a","version":"1","x":"` + strings.Repeat("a", 4<<20) + `"}`, "gap limit " + inside},
		"no JSON":           {inside, `module.exports = {}`, "error read package.json: invalid character"},
		"cut":               {inside, `{"name":"a","version":"1.0`, "error read package.json: unexpected EOF"},
		"more":              {inside, `{"name":"a","version":"1.0.0"} }`, "error read package.json: invalid character"},
		"array":             {inside, `["a"]`, `error read package.json: "[" where "{" should be`},
		"empty":             {inside, ``, "error read package.json: unexpected EOF"},
		"deep":              {inside, `{"x":` + strings.Repeat("[", 100_000), "error read package.json: invalid character '[' exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := detect(langpkg.NPM{}, c.path, []byte(c.text))
			check(t, found)
			got := strings.Join(append(purls(found), lines(&plimsoll.Found{Gaps: found.Gaps})...), "\n")
			if err != nil {
				got = "error " + err.Error()
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	found := mustDetect(t, langpkg.NPM{}, "srv/package.json", []byte(`{"name":"a","version":"1.0.0","private":true,
		"licenses":[{"type":"MIT","url":"x"},"ISC"],"author":{"name":"A. Nobody","email":"a@example.org","url":"x"}}`))
	want := []plimsoll.Component{{
		PURL: "pkg:npm/a@1.0.0", Type: plimsoll.Application, Name: "a", Version: "1.0.0", Ecosystem: "npm", Detector: "npm",
		Licenses: []string{"MIT", "ISC"}, Vendor: "A. Nobody <a@example.org>", Paths: []string{"srv/package.json"},
	}}
	if d := cmp.Diff(want, found.Components); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func FuzzNPM(f *testing.F) {
	for _, s := range []string{
		`{"name":"lodash","version":"4.17.15","license":"MIT","author":"John-David Dalton <john.david.dalton@gmail.com>"}`,
		`{"name":"@babel/core","version":"7.0.0","licenses":[{"type":"MIT"}],"author":{"name":"x"}}`,
		"\ufeff{}", `{"name":1}`, `[`,
	} {
		f.Add([]byte(s))
	}
	fuzz(f, langpkg.NPM{}, "srv/node_modules/a/package.json")
}
