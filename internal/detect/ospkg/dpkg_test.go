package ospkg

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// dpkgQuery asks dpkg itself what is on disk, in the form of describe.
func dpkgQuery(t testing.TB, admindir string) []string {
	t.Helper()
	const format = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\t${Maintainer}\n"
	var out []string
	for _, line := range run(t, "dpkg-query", "--admindir="+admindir, "-W", "-f="+format) {
		status, rest, _ := strings.Cut(line, "\t")
		if status != "not-installed" && status != "config-files" {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

func describe(components []plimsoll.Component) []string {
	var out []string
	for _, c := range components {
		src := plimsoll.SourcePackage{}
		if c.Source != nil {
			src = *c.Source
		}
		out = append(out, strings.Join([]string{c.Name, c.Version, c.Architecture, src.Name, src.Version, c.Vendor}, "\t"))
	}
	slices.Sort(out)
	return out
}

func inDpkg(p string) bool { return strings.HasPrefix(p, dpkgDir) }

// In every layer of the real images that changes dpkg's database, we read
// what dpkg itself reads.
func TestDpkgStatusAsDpkgQuery(t *testing.T) {
	testenv.Need(t, "dpkg-query")
	for _, image := range []string{"deb-slim", "deb-web"} {
		root, compared := t.TempDir(), 0
		for i, l := range layersOf(t, image, inDpkg) {
			unpack(t, l, root)
			content, changed := l.files["var/lib/dpkg/status"]
			if !changed {
				continue
			}
			found := mustDetect(t, Dpkg{}, "var/lib/dpkg/status", content)
			if len(found.Gaps) > 0 {
				t.Errorf("%s layer %d: gaps: %q", image, i, reasons(found))
			}
			want := dpkgQuery(t, filepath.Join(root, "var/lib/dpkg"))
			if diff := cmp.Diff(want, describe(found.Components)); diff != "" {
				t.Errorf("%s layer %d: (-dpkg-query +ours)\n%s", image, i, diff)
			}
			for _, c := range found.Components {
				if c.Detector != "dpkg" || c.Type != plimsoll.Library || len(c.Paths) != 1 || c.Paths[0] != "var/lib/dpkg/status" {
					t.Fatalf("%s: detector %q, type %q, paths %q", c.Name, c.Detector, c.Type, c.Paths)
				}
			}
			compared += len(want)
		}
		if compared < 80 {
			t.Errorf("%s: only %d packages compared", image, compared)
		}
	}
}

// Distroless images hold one paragraph per file and no Status field; made here
// from a real status file.
func TestDpkgStatusDir(t *testing.T) {
	testenv.Need(t, "dpkg-query")
	l := layersOf(t, "deb-slim", inDpkg)[0]
	root := t.TempDir()
	unpack(t, l, root)
	var all []plimsoll.Component
	for paragraph := range bytes.SplitSeq(bytes.TrimSpace(l.files["var/lib/dpkg/status"]), []byte("\n\n")) {
		var lines [][]byte
		for line := range bytes.SplitSeq(paragraph, []byte("\n")) {
			if !bytes.HasPrefix(line, []byte("Status:")) {
				lines = append(lines, line)
			}
		}
		name := bytes.TrimPrefix(lines[0], []byte("Package: "))
		found := mustDetect(t, Dpkg{}, "var/lib/dpkg/status.d/"+string(name), bytes.Join(lines, []byte("\n")))
		if len(found.Gaps) > 0 {
			t.Errorf("%s: gaps: %q", name, reasons(found))
		}
		all = append(all, found.Components...)
	}
	if diff := cmp.Diff(dpkgQuery(t, filepath.Join(root, "var/lib/dpkg")), describe(all)); diff != "" {
		t.Errorf("(-dpkg-query +status.d)\n%s", diff)
	}
}

// Packages in every state that dpkg will bring them into.
func TestDpkgStatesAsDpkgQuery(t *testing.T) {
	testenv.Need(t, "dpkg", "dpkg-deb", "dpkg-query")
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, sub := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), nil)
	build := func(name, fields string) string {
		tree := filepath.Join(dir, name)
		write(t, filepath.Join(tree, "DEBIAN/control"), []byte("Package: "+name+"\nMaintainer: Ann Other <ann@example.org>\nArchitecture: all\nDescription: a test\n of several\n .\n lines\n"+fields))
		write(t, filepath.Join(tree, "DEBIAN/conffiles"), []byte("/etc/"+name+".conf\n"))
		write(t, filepath.Join(tree, "etc", name+".conf"), []byte("x"))
		run(t, "dpkg-deb", "--root-owner-group", "--build", tree, tree+".deb")
		return tree + ".deb"
	}
	dpkg := func(args ...string) {
		run(t, "dpkg", append([]string{"--root=" + root, "--force-not-root,bad-path", "--log=/dev/null"}, args...)...)
	}
	dpkg("-i", build("whole", "Version: 1:2.0-1\n"), build("fromsource", "Source: other\nVersion: 3\n"),
		build("othersource", "Source: other (2:4-5)\nVersion: 4\n"), build("left", "Version: 1\n"), build("purged", "Version: 1\n"), build("held", "Version: 1\n"))
	dpkg("--unpack", build("unpacked", "Version: 0~rc1\n"))
	dpkg("--remove", "left")
	dpkg("--purge", "purged")
	write(t, filepath.Join(dir, "selections"), []byte("held hold\n"))
	run(t, "sh", "-c", "dpkg --admindir="+root+"/var/lib/dpkg --set-selections <"+dir+"/selections")

	states := run(t, "dpkg-query", "--admindir="+root+"/var/lib/dpkg", "-W", "-f=${Package} ${Status}\n")
	wantStates := []string{"fromsource install ok installed", "held hold ok installed", "left deinstall ok config-files",
		"othersource install ok installed", "unpacked install ok unpacked", "whole install ok installed"}
	if diff := cmp.Diff(wantStates, states); diff != "" {
		t.Fatalf("dpkg did not bring the packages into the states that this test is about:\n%s", diff)
	}
	found := mustDetect(t, Dpkg{}, "var/lib/dpkg/status", readFile(t, root, "var/lib/dpkg/status"))
	if diff := cmp.Diff(dpkgQuery(t, root+"/var/lib/dpkg"), describe(found.Components)); diff != "" {
		t.Errorf("(-dpkg-query +ours)\n%s", diff)
	}
	if len(found.Gaps) > 0 {
		t.Errorf("gaps: %q", reasons(found))
	}
}

// A package's list has what dpkg-query -L prints, less the directories.
func TestDpkgListAsDpkgQuery(t *testing.T) {
	testenv.Need(t, "dpkg-query")
	layers := layersOf(t, "deb-slim", inDpkg)
	root := t.TempDir()
	unpack(t, layers[0], root)
	admindir := filepath.Join(root, "var/lib/dpkg")
	packages := 0
	for p, content := range layers[0].files {
		if !strings.HasSuffix(p, ".list") {
			continue
		}
		found := mustDetect(t, Dpkg{}, p, content)
		if len(found.Gaps) > 0 {
			t.Errorf("%s: gaps: %q", p, reasons(found))
		}
		name := strings.TrimSuffix(path.Base(p), ".list")
		var ours []string
		for _, o := range found.Owned {
			if o.Package != name {
				t.Errorf("%s: owned by %q", p, o.Package)
			}
			ours = append(ours, o.Paths...)
		}
		for _, line := range run(t, "dpkg-query", "--admindir="+admindir, "-L", name) {
			want, absolute := strings.CutPrefix(line, "/")
			if !absolute || want == "." {
				continue // a remark on a diversion, or the root
			}
			i := slices.Index(ours, want)
			if i >= 0 {
				ours = slices.Delete(ours, i, i+1)
			} else if kind, ok := layers[0].kinds[want]; ok && kind != '5' && kind != '2' {
				t.Errorf("%s: %s is a file (tar type %c) and was left out", name, want, kind)
			}
		}
		if len(ours) > 0 {
			t.Errorf("%s: not in dpkg-query -L: %q", name, ours)
		}
		packages++
	}
	if packages < 80 {
		t.Errorf("only %d packages compared", packages)
	}
}

// The md5sums files of a real system, in the place where distroless images
// have them: their paths are among those of the package's list.
func TestDpkgMD5Sums(t *testing.T) {
	files := layersOf(t, "deb-slim", inDpkg)[0].files
	paths := 0
	for p, content := range files {
		name, found := strings.CutSuffix(path.Base(p), ".md5sums")
		if !found || len(content) == 0 {
			continue
		}
		sums := mustDetect(t, Dpkg{}, "var/lib/dpkg/status.d/"+name+".md5sums", content)
		if len(sums.Gaps) > 0 || len(sums.Owned) != 1 || sums.Owned[0].Package != name {
			t.Fatalf("%s: %d lists, gaps %q", p, len(sums.Owned), reasons(sums))
		}
		if got, want := len(sums.Owned[0].Paths), bytes.Count(content, []byte("\n")); got != want {
			t.Errorf("%s: %d paths from %d lines", p, got, want)
		}
		list := mustDetect(t, Dpkg{}, "var/lib/dpkg/info/"+name+".list", files["var/lib/dpkg/info/"+name+".list"])
		for _, file := range sums.Owned[0].Paths {
			if !slices.Contains(list.Owned[0].Paths, file) {
				t.Errorf("%s: %s has a sum and is not in the list", name, file)
			}
			paths++
		}
	}
	if paths < 1000 {
		t.Errorf("only %d paths compared", paths)
	}
}

// Wherever a status file was cut off, what is read is true, and the cut does
// not go unnoticed unless it is between two packages.
func TestDpkgTruncated(t *testing.T) {
	whole := layersOf(t, "deb-slim", inDpkg)[0].files["var/lib/dpkg/status"]
	full := describe(mustDetect(t, Dpkg{}, "var/lib/dpkg/status", whole).Components)
	start := bytes.Index(whole, []byte("Package: base-files")) // a paragraph with conffiles and long fields
	for n := range 3000 {
		part := whole[:start+n]
		found := mustDetect(t, Dpkg{}, "var/lib/dpkg/status", part)
		for _, c := range describe(found.Components) {
			if !slices.Contains(full, c) {
				t.Fatalf("cut at %d: %q is not in the whole file", start+n, c)
			}
		}
		inLine := len(part) > 0 && part[len(part)-1] != '\n'
		if inLine && len(found.Gaps) == 0 {
			t.Fatalf("cut at %d, after %q: no gap", start+n, part[max(0, len(part)-30):])
		}
	}
}

func TestDpkgTrouble(t *testing.T) {
	const good = "Package: good\nStatus: install ok installed\nVersion: 1\n\n"
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, path, text string
		want             []string // name version
		gap              string   // in the reason of the only gap
	}{
		{"empty", "status", "", nil, ""},
		{"no version", "status", "Package: a\nStatus: install ok installed\n\n" + good, []string{"good 1"}, "package a: no field Version"},
		{"no package", "status", "Status: install ok installed\nVersion: 1\n\n" + good, []string{"good 1"}, "no field Package"},
		{"no status", "status", "Package: a\nVersion: 1\n\n" + good, []string{"good 1"}, "package a: no field Status"},
		{"odd status", "status", "Package: a\nStatus: install ok sideways\nVersion: 1\n\n" + good, []string{"good 1"}, `unknown status "install ok sideways"`},
		{"removed, without version", "status", "Package: a\nStatus: deinstall ok config-files\n\n" + good, []string{"good 1"}, ""},
		{"half-installed", "status", "Package: a\nStatus: install reinstreq half-installed\nVersion: 2\n\n", []string{"a 2"}, "half-installed"},
		{"triggers", "status", "Package: a\nStatus: install ok triggers-awaited\nVersion: 2\n\nPackage: b\nStatus: install ok triggers-pending\nVersion: 2\n\n", []string{"a 2", "b 2"}, ""},
		{"garbage line", "status", "Package: a\nStatus: install ok installed\n\x00\x01garbage\nVersion: 1\n\n" + good, []string{"a 1", "good 1"}, "line 3 is no field"},
		{"version twice", "status", "Package: a\nStatus: install ok installed\nVersion: 1\nVersion: 2\n\n" + good, []string{"a 1", "good 1"}, "field Version again"},
		{"control characters", "status", "Package: a\x1b[2J\nStatus: install ok installed\nVersion: 1\n\n" + good, []string{"good 1"}, "no proper value"},
		{"version with blanks", "status", "Package: a\nStatus: install ok installed\nVersion: 1 2\n\n" + good, []string{"good 1"}, "no proper value"},
		{"long line of no interest", "status", "Package: a\nStatus: install ok installed\nDepends: " + long + "\nVersion: 1\n\n" + good, []string{"a 1", "good 1"}, ""},
		{"long version", "status", "Package: a\nStatus: install ok installed\nVersion: " + long + "\n\n" + good, []string{"good 1"}, "longer than"},
		{"other case, no blank, CRLF", "status", "package:a\r\nSTATUS:install ok installed\r\nversion:1\r\n\r\n" + good, []string{"a 1", "good 1"}, ""},
		{"blanks between", "status", good + " \n\t\n" + good, []string{"good 1", "good 1"}, ""},
		{"cut in version", "status", good + "Package: a\nStatus: install ok installed\nVersion: 1", []string{"good 1"}, "middle of a line"},
		{"cut before version", "status", good + "Package: a\nStatus: install ok installed\n", []string{"good 1"}, "no field Version"},
		{"distroless, no newline", "status.d/a", "Package: a\nVersion: 1", []string{"a 1"}, ""},
		{"distroless, version cut off", "status.d/a", "Package: a\n", nil, "no field Version"},
		{"interrupted", "status-new", good, nil, "interrupted"},
		{"journal", "updates/0001", good, nil, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := mustDetect(t, Dpkg{}, dpkgDir+c.path, []byte(c.text))
			var got []string
			for _, p := range found.Components {
				got = append(got, p.Name+" "+p.Version)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("packages (-want +got)\n%s", diff)
			}
			checkGap(t, found, dpkgDir+c.path, "dpkg", c.gap)
		})
	}
	for _, empty := range []string{"", "\n\n"} {
		if found, err := detect(t, Dpkg{}, dpkgDir+"status.d/a", []byte(empty)); err == nil {
			t.Errorf("status.d/a with %q: %+v and no error", empty, found)
		}
	}
}

// checkGap wants exactly one gap, whose reason contains reason; none when
// reason is empty.
func checkGap(t *testing.T, found *plimsoll.Found, path, detector, reason string) {
	t.Helper()
	switch {
	case reason == "" && len(found.Gaps) > 0:
		t.Errorf("gaps: %q", reasons(found))
	case reason == "":
	case len(found.Gaps) != 1 || !strings.Contains(found.Gaps[0].Reason, reason):
		t.Errorf("gaps: %q, want one about %q", reasons(found), reason)
	case found.Gaps[0].Path != path || found.Gaps[0].Detector != detector || found.Gaps[0].Kind == "":
		t.Errorf("gap %+v, want path %q, detector %q and a kind", found.Gaps[0], path, detector)
	}
}

func TestDpkgListTrouble(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want             []string
		gap              string
	}{
		{"directories", "info/a.list", "/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/bin/ab\n/usr/share\n/usr/share/doc\n", []string{"usr/bin/a", "usr/bin/ab", "usr/share/doc"}, ""},
		{"empty", "info/a.list", "", nil, ""},
		{"metapackage", "info/a.list", "/.\n", nil, ""},
		{"cut off", "info/a.list", "/bin/a\n/bin/b", []string{"bin/a"}, "middle of a line"},
		{"relative", "info/a.list", "/bin/a\nbin/b\n/bin/c\n", []string{"bin/a", "bin/c"}, "line 2"},
		{"endless line", "info/a.list", "/bin/a\n/" + strings.Repeat("x", 1<<20) + "\n/bin/c\n", []string{"bin/a", "bin/c"}, "line 2"},
		{"sums", "status.d/a.md5sums", strings.Repeat("0", 32) + "  usr/bin/a\n" + strings.Repeat("0", 32) + "  ./.b c\n", []string{"usr/bin/a", ".b c"}, ""},
		{"broken sum", "status.d/a.md5sums", strings.Repeat("0", 32) + "  a\n0000  b\n", []string{"a"}, "line 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := mustDetect(t, Dpkg{}, dpkgDir+c.file, []byte(c.text))
			var got []string
			for _, o := range found.Owned {
				got = append(got, o.Paths...)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("paths (-want +got)\n%s", diff)
			}
			checkGap(t, found, dpkgDir+c.file, "dpkg", c.gap)
		})
	}
}

// The limits hold and say so.
func TestDpkgLimits(t *testing.T) {
	var many bytes.Buffer
	for i := range maxPackages + 10 {
		fmt.Fprintf(&many, "Package: p%d\nStatus: install ok installed\nVersion: 1\n\n", i)
	}
	found := mustDetect(t, Dpkg{}, "var/lib/dpkg/status", many.Bytes())
	if len(found.Components) != maxPackages || len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited {
		t.Errorf("%d packages, gaps %+v; want %d and one of kind limit", len(found.Components), found.Gaps, maxPackages)
	}

	var fat bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&fat, "Package: p%d\nStatus: install ok installed\nVersion: 1\nMaintainer: %d%s\n\n", i, i, strings.Repeat("m", 4000))
	}
	found = mustDetect(t, Dpkg{}, "var/lib/dpkg/status", fat.Bytes())
	if len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited || len(found.Components) > maxText/4000+2 {
		t.Errorf("%d packages of 4 KB, gaps %q; want a limit at %d bytes", len(found.Components), reasons(found), maxText)
	}

	list := bytes.Repeat([]byte("/"+strings.Repeat("d", 1000)+"\n"), maxPaths/1000+10)
	found = mustDetect(t, Dpkg{}, "var/lib/dpkg/info/a.list", list)
	if len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited || len(found.Owned) != 1 || len(found.Owned[0].Paths) > maxPaths/1000 {
		t.Errorf("%d lists, gaps %q; want a limit", len(found.Owned), reasons(found))
	}

	// Lines of two bytes would cost far more memory than they have bytes.
	found = mustDetect(t, Dpkg{}, "var/lib/dpkg/info/a.list", bytes.Repeat([]byte("/x\n"), maxPaths/8))
	if len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited || len(found.Owned[0].Paths) > maxPaths/pathHeader {
		t.Errorf("short lines: gaps %q; want a limit", reasons(found))
	}

	found = mustDetect(t, Dpkg{}, "var/lib/dpkg/status", bytes.Repeat([]byte(" no field of interest to anybody\n"), maxFile/32+1))
	if len(found.Gaps) == 0 || !strings.Contains(found.Gaps[0].Reason, "only the first 64 MiB were read") {
		t.Errorf("a huge file: gaps %q; want a limit", reasons(found))
	}

	found = mustDetect(t, Dpkg{}, "var/lib/dpkg/status", bytes.Repeat([]byte("junk\n\n"), 1000))
	if len(found.Gaps) != maxGaps+1 || !strings.Contains(found.Gaps[maxGaps].Reason, "980 more") {
		t.Errorf("1000 broken paragraphs: %d gaps, the last %+v", len(found.Gaps), found.Gaps[len(found.Gaps)-1])
	}
}

// OpenWrt's form of the file: no maintainer, "user" in the status.
func TestOpkg(t *testing.T) {
	text := "Package: busybox\nVersion: 1.36.1-r2\nDepends: libc\nStatus: install user installed\nArchitecture: x86_64\nConffiles:\n /etc/x 00\nInstalled-Time: 1\n\n" +
		"Package: gone\nVersion: 1\nStatus: deinstall ok not-installed\nArchitecture: all\n"
	found := mustDetect(t, Dpkg{}, "usr/lib/opkg/status", []byte(text))
	want := []string{"busybox\t1.36.1-r2\tx86_64\tbusybox\t1.36.1-r2\t"}
	if diff := cmp.Diff(want, describe(found.Components)); diff != "" || len(found.Gaps) > 0 {
		t.Errorf("(-want +got)\n%s gaps %q", diff, reasons(found))
	}
}

func BenchmarkDpkgStatus(b *testing.B) {
	var content []byte
	for _, l := range layersOf(b, "deb-web", inDpkg) {
		if c, ok := l.files["var/lib/dpkg/status"]; ok {
			content = c
		}
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		mustDetect(b, Dpkg{}, "var/lib/dpkg/status", content)
	}
}

func BenchmarkDpkgList(b *testing.B) {
	content := layersOf(b, "deb-slim", inDpkg)[0].files["var/lib/dpkg/info/tzdata.list"]
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		mustDetect(b, Dpkg{}, "var/lib/dpkg/info/tzdata.list", content)
	}
}

func FuzzDpkgStatus(f *testing.F) {
	f.Add("status", []byte("Package: libc6\nStatus: install ok installed\nMaintainer: A B <a@example.org>\nArchitecture: amd64\nMulti-Arch: same\nSource: glibc (2.36-9)\nVersion: 2.36-9\nConffiles:\n /etc/ld.so.conf d41d\nDescription: x\n .\n y\n\n"))
	f.Add("status", []byte("Package: a\nStatus: deinstall ok config-files\n\nPackage: b\nStatus: install ok half-installed\nVersion: 1"))
	f.Add("status.d/a", []byte("Package: a\nVersion: 1:2~3-4\n"))
	f.Add("status.d/a.md5sums", []byte("d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n"))
	f.Add("status.d/.md5sums", []byte("d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n"))
	f.Add("info/a:amd64.list", []byte("/.\n/usr\n/usr/bin\n/usr/bin/a\n"))
	f.Add("updates/0000", []byte("Package: a\n"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		fuzz(t, Dpkg{}, dpkgDir+name, content)
	})
}

// fuzz checks what holds for every file: no panic, and nothing in the result
// that the rest of the program could not bear.
func fuzz(t *testing.T, d detector, name string, content []byte) {
	if !d.Wants(fileAt(name, content)) {
		return
	}
	found, err := detect(t, d, name, content)
	if err != nil {
		return
	}
	distro := &plimsoll.Distro{ID: "debian", Version: "12"}
	for _, c := range found.Components {
		if !word([]byte(c.Name)) || !word([]byte(c.Version)) || !printable(c.Vendor) || len(c.Paths) != 1 {
			t.Errorf("component %+v", c)
		}
		if c.Source != nil && !printable(c.Source.Name+c.Source.Version) {
			t.Errorf("source %+v", c.Source)
		}
		Complete(&c, distro)
		if !strings.HasPrefix(c.PURL, "pkg:") {
			t.Errorf("purl %q", c.PURL)
		}
	}
	for _, o := range found.Owned {
		if o.Package == "" || len(o.Paths) == 0 {
			t.Errorf("owned %+v", o)
		}
	}
	for _, g := range found.Gaps {
		if g.Reason == "" || g.Path != name {
			t.Errorf("gap %+v", g)
		}
	}
}
