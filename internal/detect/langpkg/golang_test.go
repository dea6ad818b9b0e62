package langpkg_test

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// moduleProxy writes modules, each of one package, as a Go module proxy
// directory and gives its URL.
func moduleProxy(t testing.TB, modules map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for id, source := range modules {
		name, version, _ := strings.Cut(id, "@")
		mod := "module " + name + "\n\ngo 1.21\n"
		var buf bytes.Buffer
		z := zip.NewWriter(&buf)
		for file, text := range map[string]string{"go.mod": mod, "lib.go": source} {
			w, err := z.Create(id + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		var escaped strings.Builder // capitals are written !c in a proxy
		for _, c := range name {
			if c >= 'A' && c <= 'Z' {
				escaped.WriteByte('!')
				c += 'a' - 'A'
			}
			escaped.WriteRune(c)
		}
		at := escaped.String() + "/@v/" + version
		write(t, dir, at+".info", `{"Version":"`+version+`"}`)
		write(t, dir, at+".mod", mod)
		write(t, dir, at+".zip", buf.String())
	}
	return "file://" + filepath.ToSlash(dir)
}

// buildGo builds a program of one main module with dependencies of every kind.
func buildGo(t testing.TB, env ...string) string {
	t.Helper()
	testenv.Need(t, "go")
	proxy := moduleProxy(t, map[string]string{
		"example.com/Plain/dep@v1.2.3":         "package dep\nfunc F() int { return 1 }\n",
		"example.com/forked@v1.0.0":            "package forked\nfunc F() int { return 2 }\n",
		"example.com/fork@v1.9.1-patched":      "package forked\nfunc F() int { return 3 }\n",
		"example.com/local@v0.5.0":             "package local\nfunc F() int { return 4 }\n",
		"example.com/unused@v1.0.0":            "package unused\n",
		"example.com/old@v2.0.0+incompatible":  "package old\nfunc F() int { return 5 }\n",
		"example.com/subs/sub/pkg/v3@v3.0.0":   "package pkg\nfunc F() int { return 6 }\n",
		"example.com/forked/never/used@v1.0.0": "package used\n",
	})
	dir := t.TempDir()
	write(t, dir, "go.mod", `module example.com/Main/program

go 1.21

require (
	example.com/Plain/dep v1.2.3
	example.com/forked v1.0.0
	example.com/local v0.5.0
	example.com/unused v1.0.0
	example.com/subs/sub/pkg/v3 v3.0.0
)

replace example.com/forked => example.com/fork v1.9.1-patched

replace example.com/local => ./localcopy
`)
	write(t, dir, "localcopy/go.mod", "module example.com/local\n")
	write(t, dir, "localcopy/lib.go", "package local\nfunc F() int { return 7 }\n")
	write(t, dir, "main.go", `package main

import (
	dep "example.com/Plain/dep"
	"example.com/forked"
	"example.com/local"
	pkg "example.com/subs/sub/pkg/v3"
)

func main() { println(dep.F() + forked.F() + local.F() + pkg.F()) }
`)
	out := filepath.Join(dir, "program.bin")
	env = append([]string{
		"GOPROXY=" + proxy, "GONOSUMDB=*", "GONOSUMCHECK=1", "GOFLAGS=-mod=mod -modcacherw", "GOWORK=off", "GOTOOLCHAIN=local",
		"GOMODCACHE=" + filepath.Join(dir, "modules"), "CGO_ENABLED=0",
	}, env...)
	run(t, dir, env, "go", "build", "-o", out, ".")
	return out
}

// release is the version of the toolchain that runs this test, without "go".
func release(t *testing.T) string {
	t.Helper()
	v, _, _ := strings.Cut(runtime.Version(), " ")
	v = strings.TrimPrefix(v, "go")
	if strings.Trim(v, "0123456789.") != "" {
		testenv.Skip(t, "needs a released Go, not "+runtime.Version())
	}
	return v
}

// TestGoModules builds real programs for each format and says what is in them.
func TestGoModules(t *testing.T) {
	for name, env := range map[string][]string{
		"ELF":            {"GOOS=linux", "GOARCH=amd64"},
		"ELF big endian": {"GOOS=linux", "GOARCH=s390x"},
		"ELF 32 bit":     {"GOOS=linux", "GOARCH=386"},
		"ELF stripped":   {"GOOS=linux", "GOARCH=amd64", "GOFLAGS=-mod=mod -modcacherw -trimpath -ldflags=-s"},
		"ELF PIE":        {"GOOS=linux", "GOARCH=amd64", "GOFLAGS=-mod=mod -modcacherw -buildmode=pie"},
		"PE":             {"GOOS=windows", "GOARCH=amd64"},
		"Mach-O":         {"GOOS=darwin", "GOARCH=arm64"},
	} {
		t.Run(name, func(t *testing.T) {
			program := buildGo(t, env...)
			found := mustDetect(t, langpkg.Go{}, "usr/bin/program", read(t, program))
			var got []string
			for _, c := range found.Components {
				got = append(got, string(c.Type)+" "+c.Name+" "+c.Version+" "+c.PURL)
			}
			v := release(t)
			want := []string{
				"library stdlib " + v + " pkg:golang/stdlib@" + v,
				"application example.com/Main/program  pkg:golang/example.com/main/program",
				"library example.com/Plain/dep v1.2.3 pkg:golang/example.com/plain/dep@v1.2.3",
				"library example.com/fork v1.9.1-patched pkg:golang/example.com/fork@v1.9.1-patched",
				"library example.com/local  pkg:golang/example.com/local",
				"library example.com/subs/sub/pkg/v3 v3.0.0 pkg:golang/example.com/subs/sub/pkg/v3@v3.0.0",
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if cpes := found.Components[0].CPEs; !slices.Equal(cpes, []string{"cpe:2.3:a:golang:go:" + v + ":*:*:*:*:*:*:*"}) {
				t.Errorf("standard library's CPEs: %q", cpes)
			}
			if len(found.Gaps) > 0 {
				t.Errorf("gaps: %v", found.Gaps)
			}
		})
	}
}

// TestGoStripped removes what strip and its worse cousins remove.
func TestGoStripped(t *testing.T) {
	testenv.Need(t, "strip")
	program := buildGo(t, "GOOS=linux", "GOARCH="+runtime.GOARCH)
	want := purls(mustDetect(t, langpkg.Go{}, "usr/bin/program", read(t, program)))
	run(t, "", nil, "strip", program)
	b := read(t, program)
	if got := purls(mustDetect(t, langpkg.Go{}, "usr/bin/program", b)); !slices.Equal(got, want) {
		t.Errorf("after strip: %q, before %q", got, want)
	}
	clear(b[40:48]) // e_shoff
	clear(b[60:64]) // e_shnum, e_shstrndx
	if got := purls(mustDetect(t, langpkg.Go{}, "usr/bin/program", b)); !slices.Equal(got, want) {
		t.Errorf("without section headers: %q, before %q", got, want)
	}
}

// TestGoVersionControl: what is known of a main module built in its repository.
func TestGoVersionControl(t *testing.T) {
	testenv.Need(t, "go", "git")
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example.com/tagged\n\ngo 1.21\n")
	write(t, dir, "main.go", "package main\nfunc main() {}\n")
	env := []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GOFLAGS=-buildvcs=true", "GOWORK=off", "GOTOOLCHAIN=local",
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "first"}, {"tag", "v1.4.0"}} {
		run(t, dir, env, "git", args...)
	}
	out := filepath.Join(t.TempDir(), "program")
	run(t, dir, env, "go", "build", "-o", out, ".")
	b := read(t, out)
	found := mustDetect(t, langpkg.Go{}, "p", b)
	if got := purls(found)[0]; got != "pkg:golang/example.com/tagged@v1.4.0" {
		t.Errorf("main module built at its tag: %s", got)
	}
	// Go before 1.24 did not make a version of the tag.
	rev := strings.TrimSpace(string(run(t, dir, env, "git", "rev-parse", "HEAD")))
	old := bytes.ReplaceAll(b, []byte("\tv1.4.0\t\n"), []byte("\t(devel)\n"))
	if got := purls(mustDetect(t, langpkg.Go{}, "p", old))[0]; got != "pkg:golang/example.com/tagged@"+rev {
		t.Errorf("main module of old Go: %s, want revision %s", got, rev)
	}
}

// TestGoAgainstBuildinfo reads every program that this system has with
// debug/buildinfo too: the same modules, and the same answer to whether it is a
// Go program at all.
func TestGoAgainstBuildinfo(t *testing.T) {
	testenv.Need(t, "go")
	var names []string
	for _, glob := range []string{"/usr/bin/*", "/usr/sbin/*", "/usr/local/bin/*", "/usr/lib/*-linux-gnu/*.so*", filepath.Join(strings.TrimSpace(string(run(t, "", nil, "go", "env", "GOROOT"))), "pkg/tool/*/*")} {
		list, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, list[:min(len(list), 400)]...)
	}
	programs, others := 0, 0
	for _, name := range names {
		i, err := os.Lstat(name)
		if err != nil || !i.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		head := make([]byte, plimsoll.HeadSize)
		n, _ := f.ReadAt(head, 0)
		fl := &plimsoll.File{Path: name[1:], Base: filepath.Base(name), Size: i.Size(), Head: head[:n]}
		if !(langpkg.Go{}).Wants(fl) {
			f.Close()
			continue
		}
		found, err := langpkg.Go{}.Detect(context.Background(), fl, io.NewSectionReader(f, 0, i.Size()))
		info, infoErr := buildinfo.Read(f)
		f.Close()
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case infoErr != nil && found == nil:
			others++
		case infoErr != nil:
			t.Errorf("%s: found %v; debug/buildinfo: %v", name, lines(found), infoErr)
		case found == nil:
			t.Errorf("%s: found nothing; debug/buildinfo: %v", name, info)
		default:
			check(t, found)
			programs++
			want := len(info.Deps) + 1
			if info.Main.Path != "" {
				want++
			}
			if len(found.Components) != want {
				t.Errorf("%s: %d components, debug/buildinfo gives %d", name, len(found.Components), want)
			}
		}
	}
	t.Logf("%d Go programs, %d others", programs, others)
	if programs == 0 || others == 0 {
		t.Errorf("%d Go programs and %d others: nothing to compare with", programs, others)
	}
}

// oldELF is a minimal program with build information in the form that Go used
// before 1.18, with pointers to Go strings. No such Go runs here; that the form
// is right shows in debug/buildinfo reading the same.
func oldELF(version, modules string) []byte {
	const base, headers, info, strs = 0x400000, 64 + 56, 128, 256
	data := make([]byte, strs)
	put := func(s string) uint64 { // a Go string header, then its bytes
		at := uint64(len(data))
		data = binary.LittleEndian.AppendUint64(data, base+at+16)
		data = binary.LittleEndian.AppendUint64(data, uint64(len(s)))
		data = append(data, s...)
		data = append(data, make([]byte, -len(data)&15)...)
		return base + at
	}
	copy(data[info:], "\xff Go buildinf:\x08\x00")
	versionAt, modulesAt := put(version), put(modules)
	binary.LittleEndian.PutUint64(data[info+16:], versionAt)
	binary.LittleEndian.PutUint64(data[info+24:], modulesAt)
	copy(data, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(data[16:], 2)
	le.PutUint16(data[18:], 62)
	le.PutUint32(data[20:], 1)
	le.PutUint64(data[32:], 64)
	le.PutUint16(data[52:], 64)
	le.PutUint16(data[54:], 56)
	le.PutUint16(data[56:], 1)
	p := data[64:headers]
	le.PutUint32(p, 1)
	le.PutUint32(p[4:], 6)
	le.PutUint64(p[16:], base)
	le.PutUint64(p[32:], uint64(len(data)))
	le.PutUint64(p[40:], uint64(len(data)))
	return data
}

const marks = "0w\xaf\x0c\x92t\b\x02A\xe1\xc1\a\xe6\xd6\x18\xe6"

func TestGoBefore118(t *testing.T) {
	b := oldELF("go1.16.4", marks+"path\texample.com/a\nmod\texample.com/a\tv1.0.0\th1:x=\ndep\texample.com/b\tv0.1.0\th1:y=\n"+"\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2")
	info, err := buildinfo.Read(bytes.NewReader(b))
	if err != nil || info.GoVersion != "go1.16.4" || len(info.Deps) != 1 {
		t.Fatalf("the test's program: debug/buildinfo says %v, %v", info, err)
	}
	got := purls(mustDetect(t, langpkg.Go{}, "usr/bin/a", b))
	want := []string{"pkg:golang/example.com/a@v1.0.0", "pkg:golang/example.com/b@v0.1.0", "pkg:golang/stdlib@1.16.4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestGoTrouble: a Go program that cannot be read is never nothing.
func TestGoTrouble(t *testing.T) {
	testenv.Need(t, "objcopy")
	program := buildGo(t, "GOOS=linux", "GOARCH="+runtime.GOARCH)
	good := read(t, program)
	info := bytes.Index(good, []byte("\xff Go buildinf:"))

	broken := bytes.Clone(good)
	clear(broken[info : info+14])
	if found, err := detect(langpkg.Go{}, "p", broken); err == nil {
		t.Errorf("without the mark: %v and no error", lines(found))
	}
	broken = bytes.Clone(good)
	copy(broken[info+32:], "\xff\xff\xff\xff\xff\xff\xff\x7f")
	if found, err := detect(langpkg.Go{}, "p", broken); err == nil {
		t.Errorf("with an endless version: %v and no error", lines(found))
	}
	if found, err := detect(langpkg.Go{}, "p", good[:len(good)/2]); err == nil && len(found.Components) == 0 {
		t.Error("cut in the middle: nothing and no error")
	}

	removed := filepath.Join(t.TempDir(), "removed")
	run(t, "", nil, "objcopy", "--remove-section", ".go.buildinfo", program, removed)
	found := mustDetect(t, langpkg.Go{}, "p", read(t, removed))
	if l := lines(found); len(l) != 1 || !strings.HasPrefix(l[0], "gap unsupported p: a Go program without build information") {
		t.Errorf("with the section removed: %q", l)
	}
}

// TestGoPacked: UPX leaves program headers, its mark and no sections. Such a
// file is imitated here, by those.
func TestGoPacked(t *testing.T) {
	b := oldELF("", "")
	clear(b[128:])
	copy(b[0xb4:], "UPX!\x0d\x16")
	if l := lines(mustDetect(t, langpkg.Go{}, "p", b)); len(l) != 1 || !strings.HasPrefix(l[0], "gap unsupported p: packed with UPX") {
		t.Errorf("packed: %q", l)
	}
}

// TestGoVersions: versions of toolchains as Go's vulnerability database writes
// them, and those that are no release.
func TestGoVersions(t *testing.T) {
	for in, want := range map[string]string{
		"go1.22.3":                         "1.22.3",
		"go1.21.0":                         "1.21.0",
		"go1.20":                           "1.20.0",
		"go1.23rc1":                        "1.23.0-rc.1",
		"go1.19beta1":                      "1.19.0-beta.1",
		"go1.26.1 X:nodwarf5":              "1.26.1",
		"go1.22.7 (Red Hat 1.22.7-1.el9)":  "1.22.7",
		"go1.18.10b7":                      "1.18.10",
		"go1.21.3-1.el8":                   "1.21.3",
		"devel go1.22-4b1ea5b Tue Nov 14":  "1.22.0-devel",
		"go1.27-devel_4b1ea5b Tue Nov 14":  "1.27.0-devel",
		"devel +4b1ea5b Tue Nov 14":        "",
		"unknown":                          "",
		"go1":                              "",
		"go1.99999999999999999999999999.1": "1.999999999.0", // absurd, but bounded
	} {
		b := oldELF(in, "")
		found := mustDetect(t, langpkg.Go{}, "p", b)
		got := ""
		for _, c := range found.Components {
			got = c.Version
		}
		if got != want {
			t.Errorf("%s: version %q, want %q", in, got, want)
		}
		if got == "" && len(found.Gaps) == 0 {
			t.Errorf("%s: neither version nor gap", in)
		}
	}
}

func FuzzGo(f *testing.F) {
	f.Add(oldELF("go1.16.4", marks+"path\ta\nmod\ta\tv1.0.0\t\ndep\tb\tv1.0.0\n=>\tc\tv1.0.1\th1:x=\nbuild\tvcs.revision=abc\n"+marks))
	inline := []byte("\xff Go buildinf:\x08\x02")
	inline = append(inline, make([]byte, 16)...)
	inline = append(inline, "\x08go1.22.3\x00"...)
	inline = append(inline, make([]byte, 64)...)
	b := oldELF("", "")
	copy(b[128:], inline[:64])
	f.Add(b)
	fuzz(f, langpkg.Go{}, "usr/bin/a")
}

// FuzzGoModules reaches the module list, which the fuzzer hardly finds behind
// the tables.
func FuzzGoModules(f *testing.F) {
	f.Add("go1.22.3", "path\ta\nmod\ta\t(devel)\t\ndep\tb\tv1.0.0\n=>\t./c\t\nbuild\tvcs.revision=abc\nbuild\tvcs.modified=true\n")
	f.Fuzz(func(t *testing.T, version, modules string) {
		found, err := detect(langpkg.Go{}, "p", oldELF(version, marks+modules+"\n"+marks))
		if err != nil {
			return
		}
		check(t, found)
		info, err := debug.ParseBuildInfo(modules + "\n")
		if err != nil {
			return
		}
		if info.Main.Path != "" && len(found.Components) == 0 && len(found.Gaps) == 0 {
			t.Error(errors.New("a main module gave nothing"))
		}
	})
}
