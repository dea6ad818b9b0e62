package langpkg_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// TestPHPAgainstComposer has Composer install packages from directories and
// say what it installed.
func TestPHPAgainstComposer(t *testing.T) {
	testenv.Need(t, "composer")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"one": `{"name":"acme/one","version":"v1.4.2","license":"MIT","authors":[{"name":"A. Nobody","email":"a@example.org"}],"require":{"acme/two":"^2"}}`,
		"two": `{"name":"acme/two","version":"2.0.0-beta1","license":["GPL-2.0-or-later","MIT"]}`,
		"dev": `{"name":"acme/dev-only","version":"dev-main"}`,
	} {
		write(t, dir, name+"/composer.json", text)
	}
	write(t, dir, "app/composer.json", `{"name":"acme/app","minimum-stability":"dev","require":{"acme/one":"*","acme/two":"*"},"require-dev":{"acme/dev-only":"*"},
		"repositories":[{"type":"path","url":"../one","options":{"symlink":false}},{"type":"path","url":"../two","options":{"symlink":false}},
		{"type":"path","url":"../dev","options":{"symlink":false}},{"packagist.org":false}]}`)
	app := filepath.Join(dir, "app")
	env := []string{"COMPOSER_ALLOW_SUPERUSER=1", "COMPOSER_HOME=" + filepath.Join(dir, "home"), "COMPOSER_DISABLE_NETWORK=1"}
	run(t, app, env, "composer", "install", "--no-interaction", "--quiet")

	var said struct {
		Dependencies map[string]struct {
			Version string
			License []string
		}
	}
	if err := json.Unmarshal(run(t, app, env, "composer", "licenses", "--format=json"), &said); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, p := range said.Dependencies {
		want = append(want, fmt.Sprint(name, " ", p.Version, " ", p.License))
	}
	slices.Sort(want)
	if len(want) != 3 {
		t.Fatalf("composer installed %q", want)
	}

	b := read(t, filepath.Join(app, "vendor/composer/installed.json"))
	const name = "srv/vendor/composer/installed.json"
	got := mustDetect(t, langpkg.PHP{}, name, b)
	compare := func(found *plimsoll.Found) {
		t.Helper()
		var list []string
		for _, c := range found.Components {
			list = append(list, fmt.Sprint(c.Name, " ", c.Version, " ", c.Licenses))
		}
		slices.Sort(list)
		if d := cmp.Diff(want, list); d != "" {
			t.Errorf("(-composer +detected):\n%s", d)
		}
		if len(found.Gaps) > 0 {
			t.Errorf("gaps: %v", found.Gaps)
		}
	}
	compare(got)
	if d := cmp.Diff([]string{"pkg:composer/acme/dev-only@dev-main", "pkg:composer/acme/one@v1.4.2", "pkg:composer/acme/two@2.0.0-beta1"}, purls(got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, c := range got.Components {
		if c.Name == "acme/one" && c.Vendor != "A. Nobody <a@example.org>" {
			t.Errorf("vendor %q", c.Vendor)
		}
	}

	// Composer 1 wrote the bare array.
	var two struct{ Packages json.RawMessage }
	if err := json.Unmarshal(b, &two); err != nil {
		t.Fatal(err)
	}
	compare(mustDetect(t, langpkg.PHP{}, name, two.Packages))
}

func TestPHPTrouble(t *testing.T) {
	const name = "srv/vendor/composer/installed.json"
	for text, want := range map[string]string{
		`{"packages":[{"name":"a/b","version":"1"}]} x`:              "gap unreadable",
		`{"packages":[{"name":"a/b","version":"1"},{"name":"c/d"}]}`: "gap unreadable " + name + ": a package without a name or version: \"c/d\"",
		`{"packages":[{"name":"a/b","version":"1"},{"name":"c/d",`:   "gap unreadable " + name + ": read installed.json",
		`{"dev":true}`: "error read installed.json: no packages in it",
		``:             "error read installed.json: unexpected EOF",
		`[[]]`:         "error read installed.json",
		`[]`:           "",
		`["` + strings.Repeat("x", 16<<20) + `"]`: "gap limit",
	} {
		found, err := detect(langpkg.PHP{}, name, []byte(text))
		check(t, found)
		got := strings.Join(lines(&plimsoll.Found{Gaps: found.Gaps}), "\n")
		if err != nil {
			got = "error " + err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%.60s: got %q, want %q", text, got, want)
		}
	}
	// More packages than anybody installs.
	var b strings.Builder
	b.WriteString("[")
	for i := range 30_000 {
		fmt.Fprintf(&b, `{"name":"a/p%d","version":"1"},`, i)
	}
	found := mustDetect(t, langpkg.PHP{}, name, []byte(strings.TrimSuffix(b.String(), ",")+"]"))
	if len(found.Components) != 20_000 || len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited {
		t.Errorf("of 30,000 packages: %d components, gaps %v", len(found.Components), found.Gaps)
	}
}

func FuzzPHP(f *testing.F) {
	f.Add([]byte(`{"packages":[{"name":"symfony/http-kernel","version":"v4.4.1","license":["MIT"],"authors":[{"name":"x","email":"y"}]}],"dev":true}`))
	f.Add([]byte(`[{"name":"a","version":"1","license":"x"}]`))
	fuzz(f, langpkg.PHP{}, "vendor/composer/installed.json")
}
