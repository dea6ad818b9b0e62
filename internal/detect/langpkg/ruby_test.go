package langpkg_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// rubySummary is a gem in one line, as rubySays prints it.
func rubySummary(c plimsoll.Component) string {
	return strings.Join([]string{c.Paths[0], c.Name, c.Version, strings.Join(c.Licenses, ","), c.Vendor}, "|")
}

// rubySays has RubyGems load every specification in the directories.
func rubySays(t *testing.T, dir string, paths ...string) []string {
	t.Helper()
	const script = `
ARGV.each do |file|
  s = Gem::Specification.load(file) or abort "cannot load #{file}"
  puts [file, s.name, s.version, s.licenses.join(","), s.authors.join(", ")].join("|")
end`
	out := run(t, dir, nil, "ruby", append([]string{"-e", script}, paths...)...)
	list := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	slices.Sort(list)
	return list
}

// TestRubyAgainstRubyGems reads the gems that come with this system's Ruby, and
// some that gem builds and installs here.
func TestRubyAgainstRubyGems(t *testing.T) {
	testenv.Need(t, "ruby", "gem")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": `Gem::Specification.new { |s| s.name = "plain"; s.version = "1.2.3"; s.summary = "x"; s.authors = ["A", "B \"C\""]; s.licenses = ["MIT", "Ruby"]; s.homepage = "https://example.org" }`,
		"native_thing": `Gem::Specification.new { |s| s.name = "native_thing"; s.version = Gem::Version.new("0.1.0.pre1"); s.platform = "x86_64-linux"
			s.summary = "x"; s.authors = "Jörg"; s.license = "GPL-2.0"; s.homepage = "https://example.org"; s.add_dependency "plain", "~> 1.0" }`,
	} {
		write(t, dir, name+".gemspec", text)
		run(t, dir, []string{"LANG=C.UTF-8"}, "gem", "build", "--silent", name+".gemspec")
	}
	gems, err := filepath.Glob(filepath.Join(dir, "*.gem"))
	if err != nil || len(gems) != 2 {
		t.Fatalf("gem build made %q, %v", gems, err)
	}
	run(t, dir, nil, "gem", append([]string{"install", "--local", "--force", "--ignore-dependencies", "--no-document", "--install-dir", filepath.Join(dir, "home")}, gems...)...)

	paths, err := filepath.Glob(filepath.Join(dir, "home/specifications/*.gemspec"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 2 {
		t.Fatalf("gem install wrote %q", paths)
	}
	for _, glob := range []string{"/usr/lib/ruby/gems/*/specifications/default/*.gemspec", "/usr/share/rubygems-integration/*/specifications/*.gemspec"} {
		more, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, more...)
	}
	want := rubySays(t, dir, paths...)
	var got, urls []string
	for _, p := range paths {
		if i, err := os.Lstat(p); err != nil || !i.Mode().IsRegular() {
			t.Fatalf("%s: %v, %v", p, i, err)
		}
		found := mustDetect(t, langpkg.Ruby{}, p, read(t, p))
		for _, c := range found.Components {
			got = append(got, rubySummary(c))
			urls = append(urls, c.PURL)
		}
		if len(found.Gaps) > 0 {
			t.Errorf("%s: %v", p, found.Gaps)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-RubyGems +detected):\n%s", d)
	}
	for _, url := range []string{"pkg:gem/plain@1.2.3", "pkg:gem/native_thing@0.1.0.pre1?platform=x86_64-linux"} {
		if !slices.Contains(urls, url) {
			t.Errorf("no %s in %q", url, urls)
		}
	}
	t.Logf("%d gems, as RubyGems says", len(want))
}

func TestRubySpecification(t *testing.T) {
	const name = "var/lib/gems/specifications/a-1.gemspec"
	for what, c := range map[string]struct{ text, want string }{
		"old quotes":   {"Gem::Specification.new do |s|\n  s.name = %q{rake}\n  s.version = \"0.8.7\"\n  s.authors = [%q{Jim Weirich}]\nend\n", name + "|rake|0.8.7||Jim Weirich"},
		"single":       {"  s.name = 'a'\n  s.version = '1.0'\n", name + "|a|1.0||"},
		"version call": {"  s.name = \"a\".freeze\n  s.version = Gem::Version.new(\"1.0\")\n", name + "|a|1.0||"},
		"stub only":    {"# -*- encoding: utf-8 -*-\n# stub: a 2.0 java lib\n\n  s.version = A::VERSION\n", name + "|a|2.0||"},
		"requirement":  {"  s.name = \"a\"\n  s.version = \"1.0\"\n  s.required_ruby_version = Gem::Requirement.new(\">= 2.0\")\n  s.rubygems_version = \"3.3\"\n", name + "|a|1.0||"},
		"code":         {"  s.name = name\n  s.version = version\n", ""},
		"open":         {"  s.name = \"a\n  s.version = \"1.0\"\n", ""},
	} {
		found := mustDetect(t, langpkg.Ruby{}, name, []byte(c.text))
		var got []string
		for _, f := range found.Components {
			got = append(got, rubySummary(f))
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if (c.want == "") != (len(found.Gaps) > 0) {
			t.Errorf("%s: gaps %v", what, found.Gaps)
		}
	}
}

func FuzzRuby(f *testing.F) {
	f.Add([]byte("# stub: rake 13.0.6 ruby lib\n\nGem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze]\n  s.authors = [%q{x}, 'y\\'z']\n"))
	fuzz(f, langpkg.Ruby{}, "specifications/a.gemspec")
}
