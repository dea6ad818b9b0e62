package ospkg

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// apkSample has the fields and the order of fields that apk 2.14 writes.
const apkSample = `C:Q1TCc0+MD5sUwGGuEVlr2PA0fQCkI=
P:busybox
V:1.36.1-r29
A:x86_64
S:507831
I:962560
T:Size optimized toolbox of many common UNIX utilities
U:https://busybox.net/
L:GPL-2.0-only
o:busybox
m:Sören Tempel <soeren+alpine@soeren-tempel.net>
t:1718375526
c:1747c01fb96905f101c25609011589d28e01cbb8
D:so:libc.musl-x86_64.so.1
p:cmd:busybox=1.36.1-r29
r:busybox-initscripts
F:bin
R:busybox
a:0:0:755
Z:Q1YfmhKpFw7UYnuDIQXvEAEIYt8Xo=
F:etc
R:securetty
Z:Q1mB95Hq2NUTZ599RDiSsj9w5FrOU=
F:etc/network
F:etc/network/if-up.d
R:dad
a:0:0:775
Z:Q1ORf+lPRKuYgdkBBcKoevR1t60Q4=
F:tmp
M:0:0:1777

C:Q1i+oOFsSvTnlxLqPbmVGVTzKmbQE=
P:ssl_client
V:1.36.1-r29
A:x86_64
T:EXternal ssl_client for busybox wget
L:GPL-2.0-only
o:busybox
m:Sören Tempel <soeren+alpine@soeren-tempel.net>
i:busybox=1.36.1-r29 libcrypto3
F:usr
F:usr/bin
R:ssl_client
a:0:0:755
Z:Q1wyXMdKhkYiB6Ka2fXUgkLu0WSLU=

C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
P:.build-deps
V:20240601.120000
A:noarch
T:virtual meta package
D:gcc

`

func TestApk(t *testing.T) {
	found := mustDetect(t, Apk{}, "lib/apk/db/installed", []byte(apkSample))
	component := func(name, arch string, version string, origin *plimsoll.SourcePackage, vendor string, licenses ...string) plimsoll.Component {
		return plimsoll.Component{Type: plimsoll.Library, Name: name, Version: version, Architecture: arch, Source: origin,
			Vendor: vendor, Licenses: licenses, Detector: "apk", Paths: []string{"lib/apk/db/installed"}}
	}
	origin := &plimsoll.SourcePackage{Name: "busybox", Version: "1.36.1-r29"}
	const soeren = "Sören Tempel <soeren+alpine@soeren-tempel.net>"
	want := &plimsoll.Found{
		Components: []plimsoll.Component{
			component("busybox", "x86_64", "1.36.1-r29", origin, soeren, "GPL-2.0-only"),
			component("ssl_client", "x86_64", "1.36.1-r29", origin, soeren, "GPL-2.0-only"),
			component(".build-deps", "noarch", "20240601.120000", nil, ""), // apk add --virtual
		},
		Owned: []plimsoll.OwnedFiles{
			{Package: "busybox", Paths: []string{"bin/busybox", "etc/securetty", "etc/network/if-up.d/dad"}},
			{Package: "ssl_client", Paths: []string{"usr/bin/ssl_client"}},
		},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Real databases: the first packages of an Alpine 3.18 that scalibr tests
// with, and whatever PLIMSOLL_APK_DATABASES (a glob) names. awk is the witness.
func TestApkAsAwk(t *testing.T) {
	testenv.Need(t, "awk")
	names := []string{filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/os/apk/testdata/installed")}
	if glob := os.Getenv("PLIMSOLL_APK_DATABASES"); glob != "" {
		more, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, more...)
	}
	const components = `BEGIN { RS = ""; FS = "\n" } {
		split("", f); for (i = 1; i <= NF; i++) { k = substr($i, 1, 1); if (!(k in f)) f[k] = substr($i, 3) }
		print f["P"] "\t" f["V"] "\t" f["A"] "\t" f["o"] "\t" f["V"] "\t" f["m"] }`
	const files = `/^P:/ { p = substr($0, 3) } /^F:/ { d = substr($0, 3); if (d != "") d = d "/" } /^R:/ { print p "\t" d substr($0, 3) }`
	for _, name := range names {
		found := mustDetect(t, Apk{}, "lib/apk/db/installed", readFile(t, name))
		if len(found.Gaps) > 0 {
			t.Errorf("%s: gaps: %q", name, reasons(found))
		}
		if diff := cmp.Diff(run(t, "awk", components, name), describe(found.Components)); diff != "" {
			t.Errorf("%s: (-awk +ours)\n%s", name, diff)
		}
		var owned []string
		for _, o := range found.Owned {
			for _, p := range o.Paths {
				owned = append(owned, o.Package+"\t"+p)
			}
		}
		slices.Sort(owned)
		if diff := cmp.Diff(run(t, "awk", files, name), owned); diff != "" {
			t.Errorf("%s: (-awk +ours)\n%s", name, diff)
		}
		t.Logf("%s: %d packages, %d files", filepath.Base(name), len(found.Components), len(owned))
	}
}

func TestApkTrouble(t *testing.T) {
	const good = "P:good\nV:1-r0\nA:noarch\n\n"
	for _, c := range []struct {
		name, text string
		want       []string
		gap        string
	}{
		{"empty", "", nil, ""},
		{"no version", "P:a\nA:noarch\n\n" + good, []string{"good 1-r0"}, "package a: no field V"},
		{"no name", "V:1-r0\n\n" + good, []string{"good 1-r0"}, "no field P"},
		{"no field", "P:a\nV:1-r0\nrubbish\n\n" + good, []string{"a 1-r0", "good 1-r0"}, "line 3 is no field"},
		{"two names", "P:a\nP:b\nV:1-r0\n\n" + good, []string{"a 1-r0", "good 1-r0"}, "line 2: a second field"},
		{"control characters", "P:a\x1b[0m\nV:1-r0\n\n" + good, []string{"good 1-r0"}, "no proper value"},
		{"endless line", "P:a\nV:1-r0\nD:" + strings.Repeat("x ", 1<<17) + "\n\n" + good, []string{"a 1-r0", "good 1-r0"}, ""},
		{"endless name", "P:" + strings.Repeat("x", 1<<17) + "\nV:1-r0\n\n" + good, []string{"good 1-r0"}, "longer than"},
		{"cut in version", good + "P:a\nV:1.2", []string{"good 1-r0"}, "middle of a line"},
		{"cut at a line's end", good + "P:a\n", []string{"good 1-r0"}, "no field V"},
		{"no blank line at the end", good + "P:a\nV:1-r0\n", []string{"good 1-r0", "a 1-r0"}, ""},
		{"binary", "ADBd\x00\x01\n", nil, "binary format"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := mustDetect(t, Apk{}, "usr/lib/apk/db/installed", []byte(c.text))
			var got []string
			for _, p := range found.Components {
				got = append(got, p.Name+" "+p.Version)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("packages (-want +got)\n%s", diff)
			}
			checkGap(t, found, "usr/lib/apk/db/installed", "apk", c.gap)
		})
	}
	checkGap(t, mustDetect(t, Apk{}, "lib/apk/db/installed.new", []byte(good)), "lib/apk/db/installed.new", "apk", "interrupted")
}

// A cut anywhere leaves only true packages, and inside a line it is told.
func TestApkTruncated(t *testing.T) {
	full := describe(mustDetect(t, Apk{}, "lib/apk/db/installed", []byte(apkSample)).Components)
	for n := range len(apkSample) {
		found := mustDetect(t, Apk{}, "lib/apk/db/installed", []byte(apkSample[:n]))
		for _, c := range found.Components {
			// The fields after the version may be missing.
			if !slices.ContainsFunc(full, func(s string) bool { return strings.HasPrefix(s, c.Name+"\t"+c.Version+"\t") }) {
				t.Fatalf("cut at %d: package %s %s", n, c.Name, c.Version)
			}
		}
		if n > 0 && apkSample[n-1] != '\n' && len(found.Gaps) == 0 {
			t.Fatalf("cut at %d: no gap", n)
		}
	}
}

func TestApkLimits(t *testing.T) {
	var many bytes.Buffer
	for i := range maxPackages + 10 {
		fmt.Fprintf(&many, "P:p%d\nV:1-r0\n\n", i)
	}
	found := mustDetect(t, Apk{}, "lib/apk/db/installed", many.Bytes())
	if len(found.Components) != maxPackages || len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited {
		t.Errorf("%d packages, gaps %+v; want %d and one of kind limit", len(found.Components), found.Gaps, maxPackages)
	}
	// A directory's name counts again for each of its files.
	files := "P:a\nV:1-r0\nF:" + strings.Repeat("d", 4000) + "\n" + strings.Repeat("R:f\n", 100_000) + "\nP:b\nV:2-r0\n\n"
	found = mustDetect(t, Apk{}, "lib/apk/db/installed", []byte(files))
	if len(found.Gaps) != 1 || found.Gaps[0].Kind != plimsoll.Limited || len(found.Components) != 2 {
		t.Errorf("%d packages, gaps %q; want both packages and one limit", len(found.Components), reasons(found))
	}
}

func BenchmarkApk(b *testing.B) {
	content := bytes.Repeat([]byte(apkSample), 100)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		mustDetect(b, Apk{}, "lib/apk/db/installed", content)
	}
}

func FuzzApk(f *testing.F) {
	f.Add([]byte(apkSample))
	f.Add([]byte("P:a\nV:1-r0\nF:\nR:x\nL:MIT AND BSD\n"))
	f.Add([]byte("ADBd"))
	f.Fuzz(func(t *testing.T, content []byte) {
		fuzz(t, Apk{}, "lib/apk/db/installed", content)
	})
}
