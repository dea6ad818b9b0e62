package ospkg

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// rpmQuery asks rpm about the database in dir. kind is rpm's name for the
// database's form: sqlite, bdb_ro, ndb.
func rpmQuery(t testing.TB, dir, kind, format string) []string {
	t.Helper()
	return run(t, "rpm", "--dbpath", dir, "--define", "_db_backend "+kind, "-qa", "--qf", format)
}

const rpmFormat = `%{NAME}\t%{EVR}\t%{ARCH}\t%{VENDOR}\t%{LICENSE}\t%{MODULARITYLABEL}\t%{SOURCERPM}\n`

// describeRPM puts components in the form of rpmFormat.
func describeRPM(components []plimsoll.Component) []string {
	none := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	var out []string
	for _, c := range components {
		source := ""
		if c.Source != nil {
			source = c.Source.Name + "-" + c.Source.Version + ".src.rpm"
		}
		out = append(out, strings.Join([]string{c.Name, c.Version, none(c.Architecture), none(c.Vendor),
			none(strings.Join(c.Licenses, "")), none(c.Module), none(source)}, "\t"))
	}
	slices.Sort(out)
	return out
}

// rpmWants is rpm's answer, without the keys that it keeps as packages.
func rpmWants(t testing.TB, dir, kind, format string) []string {
	t.Helper()
	return slices.DeleteFunc(rpmQuery(t, dir, kind, format), func(line string) bool {
		return strings.HasPrefix(line, "gpg-pubkey\t")
	})
}

// rpmFiles is rpm's answer to which regular files that are no ghosts belong to
// which package.
func rpmFiles(t testing.TB, dir, kind string) []string {
	t.Helper()
	var out []string
	for _, line := range rpmQuery(t, dir, kind, `[%{=NAME}\t%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEFLAGS:fflags}\n]`) {
		field := strings.Split(line, "\t")
		if len(field) == 4 && strings.HasPrefix(field[2], "-") && !strings.Contains(field[3], "g") {
			out = append(out, field[0]+"\t"+strings.TrimPrefix(field[1], "/"))
		}
	}
	slices.Sort(out)
	return out
}

// We read in a database what rpm itself reads there.
func checkRPM(t *testing.T, dir, base, kind string, least int) *plimsoll.Found {
	t.Helper()
	found := mustDetect(t, RPM{}, "var/lib/rpm/"+base, readFile(t, dir, base))
	if len(found.Gaps) > 0 {
		t.Errorf("%s: gaps: %q", base, reasons(found))
	}
	want := rpmWants(t, dir, kind, rpmFormat)
	if diff := cmp.Diff(want, describeRPM(found.Components)); diff != "" {
		t.Errorf("%s: (-rpm +ours)\n%s", base, diff)
	}
	var owned []string
	for _, o := range found.Owned {
		for _, p := range o.Paths {
			owned = append(owned, o.Package+"\t"+p)
		}
	}
	slices.Sort(owned)
	if diff := cmp.Diff(rpmFiles(t, dir, kind), owned); diff != "" {
		t.Errorf("%s: owned files (-rpm +ours)\n%s", base, diff)
	}
	if len(want) < least {
		t.Errorf("%s: only %d packages compared", base, len(want))
	}
	t.Logf("%s: %d packages, %d files", base, len(want), len(owned))
	return found
}

// Databases of real distributions, which osv-scalibr brings for its own tests.
func TestRPMOfDistributions(t *testing.T) {
	testenv.Need(t, "rpm")
	data := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/os/rpm/testdata")
	for base, kind := range map[string]string{"Packages": "bdb_ro", "rpmdb.sqlite": "sqlite"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, base), readFile(t, data, base))
		checkRPM(t, dir, base, kind, 100)
	}
	// Debian's rpm reads no NDB, so this one has no witness here; rpmdb's own
	// tests have.
	found := mustDetect(t, RPM{}, "usr/lib/sysimage/rpm/Packages.db", readFile(t, data, "Packages.db"))
	if len(found.Components) < 20 || len(found.Gaps) > 0 {
		t.Errorf("Packages.db: %d packages, gaps %q", len(found.Components), reasons(found))
	}
}

// buildRPMs makes a database with packages that have what real ones have.
func buildRPMs(t *testing.T) (dir string) {
	t.Helper()
	testenv.Need(t, "rpm", "rpmbuild")
	top := t.TempDir()
	root := filepath.Join(top, "root")
	for name, fields := range map[string]string{
		"plain":   "Version: 1.0\nRelease: 1.el9\nLicense: MIT and (GPLv2+ or ASL 2.0)\nVendor: Vendor, Inc.\n",
		"epoch":   "Version: 2.0~rc1\nRelease: 3.module_el9+1\nEpoch: 2\nLicense: MIT\nModularityLabel: nodejs:16:9030020231214:rhel9\n",
		"zero":    "Version: 3\nRelease: 1\nEpoch: 0\nLicense: Public Domain\n",
		"a-b-c_d": "Version: 1^git1\nRelease: 0.1.fc40\nLicense: MIT\n",
	} {
		spec := "Name: " + name + "\n" + fields + `Summary: a test
BuildArch: noarch
%description
A test.
%install
mkdir -p %{buildroot}/usr/share/` + name + `/sub
echo x >%{buildroot}/usr/share/` + name + `/file
ln -s file %{buildroot}/usr/share/` + name + `/link
%files
%dir /usr/share/` + name + `
/usr/share/` + name + `/sub
/usr/share/` + name + `/file
/usr/share/` + name + `/link
%ghost /usr/share/` + name + `/ghost
`
		spec = strings.Replace(spec, "ln -s", "touch %{buildroot}/usr/share/"+name+"/ghost\nln -s", 1)
		file := filepath.Join(top, name+".spec")
		write(t, file, []byte(spec))
		run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, file)
	}
	rpms, err := filepath.Glob(filepath.Join(top, "RPMS/noarch/*.rpm"))
	if err != nil || len(rpms) != 4 {
		t.Fatalf("rpmbuild made %q, %v", rpms, err)
	}
	dir = filepath.Join(root, "var/lib/rpm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "rpm", append([]string{"--root", root, "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "-i", "--nodeps", "--nosignature", "--justdb"}, rpms...)...)
	return dir
}

func TestRPMBuilt(t *testing.T) {
	dir := buildRPMs(t)
	found := checkRPM(t, dir, "rpmdb.sqlite", "sqlite", 4)
	for _, c := range found.Components {
		want := map[string]string{"plain": "1.0-1.el9", "epoch": "2:2.0~rc1-3.module_el9+1", "zero": "0:3-1", "a-b-c_d": "1^git1-0.1.fc40"}[c.Name]
		if c.Version != want {
			t.Errorf("%s: version %q, want %q", c.Name, c.Version, want)
		}
		if c.Source == nil || c.Source.Name != c.Name {
			t.Errorf("%s: source %+v", c.Name, c.Source)
		}
		if (c.Module == "nodejs:16:9030020231214:rhel9") != (c.Name == "epoch") {
			t.Errorf("%s: module %q", c.Name, c.Module)
		}
	}
	for _, o := range found.Owned {
		if want := []string{"usr/share/" + o.Package + "/file"}; !slices.Equal(o.Paths, want) {
			t.Errorf("%s owns %q, want %q", o.Package, o.Paths, want)
		}
	}
}

// The manifest of distroless images, written by rpm itself with the format
// that Azure Linux's builder uses, says the same as the database.
func TestRPMManifest(t *testing.T) {
	const format = `%{NAME}\t%{VERSION}-%{RELEASE}\t%{INSTALLTIME}\t%{BUILDTIME}\t%{VENDOR}\t%{EPOCH}\t%{SIZE}\t%{ARCH}\t%{EPOCHNUM}\t%{SOURCERPM}\n`
	dir := buildRPMs(t)
	text := strings.Join(rpmQuery(t, dir, "sqlite", format), "\n") + "\n"
	found := mustDetect(t, RPM{}, rpmManifest, []byte(text))
	if len(found.Gaps) > 0 {
		t.Errorf("gaps: %q", reasons(found))
	}
	database := mustDetect(t, RPM{}, "var/lib/rpm/rpmdb.sqlite", readFile(t, dir, "rpmdb.sqlite"))
	for i := range database.Components { // not in the manifest
		database.Components[i].Licenses, database.Components[i].Module = nil, ""
	}
	if diff := cmp.Diff(describeRPM(database.Components), describeRPM(found.Components)); diff != "" {
		t.Errorf("(-database +manifest)\n%s", diff)
	}
}

func TestRPMManifestTrouble(t *testing.T) {
	const good = "bash\t5.2.15-3.azl3\t1\t2\tMicrosoft Corporation\t(none)\t1\tx86_64\t0\tbash-5.2.15-3.azl3.src.rpm\n"
	for _, c := range []struct {
		name, text string
		packages   int
		gap        string
	}{
		{"good", good, 1, ""},
		{"keys", "gpg-pubkey\t1-2\t1\t2\t(none)\t(none)\t0\t(none)\t0\t(none)\n" + good, 1, ""},
		{"few fields", good + "bash\t5\n", 1, "line 2: 2 fields"},
		{"no name", good + "(none)" + good[4:], 1, "line 2: no proper name"},
		{"epoch is no number", good + strings.Replace(good, "\t0\t", "\tx\t", 1), 1, "line 2: no proper name, version and epoch"},
		{"endless line", good + strings.Repeat("\t", 1<<17) + "\n" + good, 2, "line 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := mustDetect(t, RPM{}, rpmManifest, []byte(c.text))
			if len(found.Components) != c.packages {
				t.Errorf("%d packages, want %d", len(found.Components), c.packages)
			}
			checkGap(t, found, rpmManifest, "rpm", c.gap)
		})
	}
	if found, err := detect(t, RPM{}, rpmManifest, nil); err == nil {
		t.Errorf("empty: %+v and no error", found)
	}
}

// SQLite's journal beside the database: only one that has changes matters.
func TestRPMJournal(t *testing.T) {
	testenv.Need(t, "python3")
	dir := t.TempDir()
	// A process that ends without closing leaves the journal behind.
	const script = `import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1] + "/rpmdb.sqlite")
db.execute("PRAGMA journal_mode=WAL"); db.execute("PRAGMA wal_autocheckpoint=0")
db.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"); db.commit()
os._exit(0)`
	if out, err := exec.Command("python3", "-c", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const name = "var/lib/rpm/rpmdb.sqlite-wal"
	checkGap(t, mustDetect(t, RPM{}, name, readFile(t, dir, "rpmdb.sqlite-wal")), name, "rpm", "only in this journal")
	checkGap(t, mustDetect(t, RPM{}, name, nil), name, "rpm", "")
	if found, err := detect(t, RPM{}, name, []byte(strings.Repeat("x", 5000))); err == nil {
		t.Errorf("no journal: %+v and no error", found)
	}
}

// Damage is told, and what can be read is kept.
func TestRPMDamaged(t *testing.T) {
	dir := buildRPMs(t)
	whole := readFile(t, dir, "rpmdb.sqlite")
	if found, err := detect(t, RPM{}, "var/lib/rpm/rpmdb.sqlite", nil); err == nil {
		t.Errorf("empty file: %+v and no error", found)
	}
	if found, err := detect(t, RPM{}, "var/lib/rpm/rpmdb.sqlite", []byte("SQLite format 3\x00")); err == nil {
		t.Errorf("header only: %+v and no error", found)
	}
	for n := 4096; n < len(whole); n += 4096 {
		found, err := detect(t, RPM{}, "var/lib/rpm/rpmdb.sqlite", whole[:n])
		if err == nil && len(found.Components) < 4 && len(found.Gaps) == 0 {
			t.Errorf("cut at %d: %d packages, no error and no gap", n, len(found.Components))
		}
	}
}

func TestSourceRPM(t *testing.T) {
	for file, want := range map[string]*plimsoll.SourcePackage{
		"bash-5.1.8-6.el9.src.rpm":       {Name: "bash", Version: "5.1.8-6.el9"},
		"java-11-openjdk-11.0-1.src.rpm": {Name: "java-11-openjdk", Version: "11.0-1"},
		"kernel-1-2.nosrc.rpm":           {Name: "kernel", Version: "1-2"},
		"bash-5.1.8-6.el9.x86_64.rpm":    nil,
		"a-1.src.rpm":                    nil,
		"-1-2.src.rpm":                   nil,
		".src.rpm":                       nil,
		"":                               nil,
	} {
		if diff := cmp.Diff(want, sourceRPM(file)); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", file, diff)
		}
	}
}

func FuzzRPM(f *testing.F) {
	f.Add("rpmdb.sqlite", []byte("SQLite format 3\x00"))
	f.Add("Packages", []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x61\x15\x06\x00"))
	f.Add("Packages.db", []byte("RpmP\x00\x00\x00\x00"))
	f.Add("rpmdb.sqlite-wal", []byte("\x37\x7f\x06\x82"))
	f.Fuzz(func(t *testing.T, base string, content []byte) {
		fuzz(t, RPM{}, "var/lib/rpm/"+base, content)
	})
}

func FuzzRPMManifest(f *testing.F) {
	f.Add([]byte("bash\t5.2.15-3.azl3\t1\t2\tMicrosoft Corporation\t(none)\t1\tx86_64\t0\tbash-5.2.15-3.azl3.src.rpm\n"))
	f.Add([]byte("a\t1-1\t1\t2\t(none)\t3\t1\tnoarch\t3\t(none)"))
	f.Fuzz(func(t *testing.T, content []byte) {
		fuzz(t, RPM{}, rpmManifest, content)
	})
}
