package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for s, want := range map[string]string{
		"usr/lib/libc.so.6":                    "usr/lib/libc.so.6",
		"tab\tand\x00nul":                      "tab\tand\x00nul",
		"caf\xe9":                              `caf\xe9`,
		`caf\xe9`:                              `caf\x5cxe9`,
		"\\\xff":                               `\\xff`,
		`RUN a && \` + "\n b":                  `RUN a && \` + "\n b",
		`system-systemd\x2dcryptsetup.slice`:   `system-systemd\x5cx2dcryptsetup.slice`,
		"\ufffd":                               "\ufffd",
		"\xed\xa0\x80 is a surrogate, no rune": `\xed\xa0\x80 is a surrogate, no rune`,
	} {
		if got := Escape(s); got != want {
			t.Errorf("Escape(%q) = %q, want %q", s, got, want)
		}
	}
}

// Whatever the bytes: JSON carries what Escape makes of them, and Unescape
// gives them back, so no two strings become one.
func TestEscapeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte(`\x5cff`)))).Draw(t, "s"))
		escaped := Escape(s)
		if !utf8.ValidString(escaped) {
			t.Fatalf("Escape(%q) = %q is no UTF-8", s, escaped)
		}
		text, err := json.Marshal(escaped)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if got := Unescape(back); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

func TestEscapeAllLeavesTheOriginalAlone(t *testing.T) {
	type inner struct{ Paths []string }
	type outer struct {
		Name   string
		Inner  *inner
		Labels map[string]string
		Layer  int
	}
	make := func(bad string) outer {
		return outer{"n" + bad, &inner{[]string{"a", bad}}, map[string]string{bad: bad}, 3}
	}
	v := make("\xff")
	got := EscapeAll(v)
	if diff := cmp.Diff(make(`\xff`), got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(make("\xff"), v); diff != "" {
		t.Errorf("the original was changed: %s", diff)
	}
	if diff := cmp.Diff(v, UnescapeAll(got)); diff != "" {
		t.Error(diff)
	}
	if clean := make("ok"); EscapeAll(clean).Inner != clean.Inner {
		t.Error("a value that needs no escaping was copied")
	}
}

func TestParseLicense(t *testing.T) {
	for s, want := range map[string]struct {
		license License
		ok      bool
	}{
		"MIT":                              {License{}, true},
		"GPL-2.0+":                         {License{}, true},
		"Apache-2.0+":                      {License{}, true},
		"Unicode-3.0":                      {License{}, true}, // newer than list 3.17
		"GPL-2.0-only OR MIT":              {License{Compound: true}, true},
		"(MIT AND (BSD-3-Clause OR 0BSD))": {License{Compound: true}, true},
		"GPL-2.0-or-later WITH Classpath-exception-2.0": {License{Compound: true}, true},
		"MIT AND LicenseRef-Fedora-Public-Domain":       {License{true, []string{"LicenseRef-Fedora-Public-Domain"}}, true},
		"":                             {},
		"mit":                          {}, // letters count: the list says MIT
		"GPLv2+":                       {},
		"MIT OR":                       {},
		"MIT Apache-2.0":               {},
		"(MIT":                         {},
		"MIT)":                         {},
		"MIT WITH MIT":                 {},
		"Classpath-exception-2.0":      {},
		"LicenseRef-":                  {},
		"LicenseRef-a_b":               {},
		"DocumentRef-x:LicenseRef-y":   {},
		"see LICENSE":                  {},
		strings.Repeat("(", 1_000_000): {},
		strings.Repeat("(", 33) + "MIT" + strings.Repeat(")", 33): {},
	} {
		got, ok := ParseLicense(s)
		if ok != want.ok || ok && !cmp.Equal(got, want.license) {
			t.Errorf("ParseLicense(%.60q) = %+v, %v, want %+v, %v", s, got, ok, want.license, want.ok)
		}
	}
	if !IsLicenseID("MIT") || IsLicenseID("Unicode-3.0") || IsLicenseID("mit") {
		t.Error("IsLicenseID: want those of list 3.17")
	}
}

func TestParsePURL(t *testing.T) {
	for s, want := range map[string]Package{
		"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl": {
			PURL: "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl",
			Type: "deb", Name: "libssl3", Version: "3.0.11-1~deb12u2", Architecture: "amd64",
			Source: "openssl", DistroID: "debian", DistroVersion: "12", Detector: "dpkg",
		},
		"pkg:rpm/centos/bash@4.4.20-4.el8?arch=x86_64&epoch=2&upstream=bash-4.4.20-4.el8.src.rpm&distro=centos-8": {
			PURL: "pkg:rpm/centos/bash@4.4.20-4.el8?arch=x86_64&distro=centos-8&epoch=2&upstream=bash-4.4.20-4.el8.src.rpm",
			Type: "rpm", Name: "bash", Version: "2:4.4.20-4.el8", Architecture: "x86_64",
			Source: "bash", SourceVersion: "4.4.20-4.el8", DistroID: "centos", DistroVersion: "8", Detector: "rpm",
		},
		"pkg:apk/alpine/alpine-keys@2.4-r1?arch=x86_64&distro=3.15.5": {
			PURL: "pkg:apk/alpine/alpine-keys@2.4-r1?arch=x86_64&distro=3.15.5",
			Type: "apk", Name: "alpine-keys", Version: "2.4-r1", Architecture: "x86_64",
			DistroID: "alpine", DistroVersion: "3.15.5", Detector: "apk",
		},
		"pkg:npm/%40angular/core@12.3.1": {
			PURL: "pkg:npm/%40angular/core@12.3.1", Type: "npm", Name: "@angular/core", Version: "12.3.1", Ecosystem: "npm",
		},
		"pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1": {
			PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Type: "maven",
			Name: "org.apache.logging.log4j:log4j-core", Version: "2.14.1", Ecosystem: "Maven",
		},
		"pkg:golang/golang.org/x/text@v0.3.0": {
			PURL: "pkg:golang/golang.org/x/text@v0.3.0", Type: "golang", Name: "golang.org/x/text", Version: "v0.3.0", Ecosystem: "Go",
		},
		"pkg:PyPI/Django_Rest@3": {
			PURL: "pkg:pypi/django-rest@3", Type: "pypi", Name: "django-rest", Version: "3", Ecosystem: "PyPI",
		},
	} {
		got, err := ParsePURL(s)
		if err != nil {
			t.Errorf("ParsePURL(%q): %v", s, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParsePURL(%q): %s", s, diff)
		}
	}
	for _, bad := range []string{"", "npm/a", "pkg:", "pkg:npm", "pkg:npm/", "pkg:npm/%zz"} {
		if got, err := ParsePURL(bad); err == nil {
			t.Errorf("ParsePURL(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestImagePURL(t *testing.T) {
	const digest = "sha256:2f00"
	for ref, want := range map[string]string{
		"debian":                           "pkg:oci/debian@sha256:2f00?arch=amd64",
		"debian:12":                        "pkg:oci/debian@sha256:2f00?arch=amd64&tag=12",
		"registry.example:5000/team/App:1": "pkg:oci/app@sha256:2f00?arch=amd64&repository_url=registry.example:5000%2Fteam%2FApp&tag=1",
		"registry.example/app@sha256:2f00": "pkg:oci/app@sha256:2f00?arch=amd64&repository_url=registry.example%2Fapp",
		"./out/app.tar":                    "pkg:oci/app.tar@sha256:2f00?arch=amd64",
		"":                                 "pkg:oci/image@sha256:2f00?arch=amd64",
	} {
		got := ImagePURL(ref, digest, "amd64")
		if got != want {
			t.Errorf("ImagePURL(%q) = %q, want %q", ref, got, want)
		}
		if _, err := ParsePURL(got); err != nil {
			t.Errorf("ImagePURL(%q): %v", ref, err)
		}
	}
	if got := ImagePURL("debian", "", "amd64"); got != "" {
		t.Errorf("without a digest: %q", got)
	}
}

func TestUUID(t *testing.T) {
	id := func(seed string, parts ...string) string {
		i := NewID(seed)
		i.Add(parts...)
		return i.UUID()
	}
	if got := id("", "a", "b"); !regexp.MustCompile("^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").MatchString(got) {
		t.Errorf("%s is not a UUID of version 8", got)
	}
	if again := id("", "a", "b"); again != id("", "a", "b") || id("", "ab") == id("", "a", "b") || id("s", "a") == id("t", "a") {
		t.Error("want the same UUID for the same parts only")
	}
}

func TestSniff(t *testing.T) {
	for head, want := range map[string]Kind{
		"\ufeff {\n \"$schema\": \"http://cyclonedx.org/schema/bom-1.6.schema.json\"": CycloneDX,
		`{"bomFormat":"CycloneDX"`:   CycloneDX,
		`{"spdxVersion":"SPDX-2.3"`:  SPDX,
		`{"schema":"plimsoll/bom/1"`: Plimsoll,
		`<?xml version="1.0"?><bom xmlns="http://cyclonedx.org/schema/bom/1.6"`: Foreign,
		"SPDXVersion: SPDX-2.3\n":                                      Foreign,
		`{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld"`: Foreign,
		`{"architecture":"amd64"}`:                                     "",
		"":                                                             "",
		"\x1f\x8b":                                                     "",
	} {
		if got := Sniff([]byte(head)); got != want {
			t.Errorf("Sniff(%.40q) = %q, want %q", head, got, want)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Member("name", "a<b>&c")
	w.Array("empty")
	w.End()
	w.Array("two")
	w.Element(1)
	w.Element(map[string]int{"n": 2})
	w.End()
	w.Member("last", nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := "{\n \"name\": \"a<b>&c\",\n \"empty\": [\n ],\n \"two\": [\n  1,\n  {\"n\":2}\n ],\n \"last\": null\n}\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if err := NewWriter(failing{}).Close(); err == nil {
		t.Error("a failing writer went unnoticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// collect reads the array "keep" and skips everything else.
func collect(r io.Reader) (kept []string, err error) {
	in := NewReader(r)
	err = in.Members(func(name string) error {
		if name != "keep" {
			return in.Skip()
		}
		return in.Each(func() error {
			var s string
			if err := in.Value(&s); err != nil {
				return err
			}
			kept = append(kept, s)
			return in.Keep()
		})
	})
	return kept, err
}

func TestReader(t *testing.T) {
	got, err := collect(strings.NewReader("\ufeff{\"a\": {\"b\": [1, {\"c\": []}], \"d\": null}, \"e\": [[1], {}], \"keep\": [\"x\", \"y\"], \"f\": 1.5, \"keep\": null}\n"))
	if diff := cmp.Diff([]string{"x", "y"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for text, want := range map[string]string{
		"":                           "unexpected EOF",
		"[]":                         "not a JSON object",
		"7":                          "not a JSON object",
		`{"keep": 7}`:                `"keep": not an array`,
		`{"keep": [7]}`:              `"keep": element 0: json: cannot unmarshal number`,
		`{"keep": ["a"`:              `"keep": unexpected EOF`,
		`{"skip": ["a"`:              `"skip": unexpected EOF`,
		`{"skip": {"a": [`:           `"skip": unexpected EOF`,
		`{"keep": ["a`:               `"keep": element 0: unexpected EOF`,
		`{"keep": []`:                "unexpected EOF",
		`{"keep": []} x`:             "text after the end",
		`{"keep": [` + "\x00" + `]}`: `"keep": element 0: invalid character`,
		`{"skip": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}": "exceeded max depth",
		`{"skip": ` + strings.Repeat(`{"a":`, 20_000):                                 "exceeded max depth",
	} {
		if _, err := collect(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
	}
}

// endless gives head, then unit for ever.
type endless struct {
	head string
	unit []byte
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.head != "" {
		n = copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	for n+len(e.unit) <= len(p) {
		n += copy(p[n:], e.unit)
	}
	return n, nil
}

func TestReaderLimits(t *testing.T) {
	long := []byte(`"` + strings.Repeat("a", 60_000) + `",`)
	for name, c := range map[string]struct {
		in   io.Reader
		want string
	}{
		"document": {&endless{`{"skip":[`, []byte(`"` + strings.Repeat("a", 2000) + `",`)}, fmt.Sprintf("document is larger than %d MiB", maxDocument>>20)},
		"blank":    {&endless{`{`, []byte("      ")}, fmt.Sprintf("element is larger than %d MiB", maxElement>>20)},
		"element":  {&endless{`{"keep":["`, []byte("aaaaaa")}, fmt.Sprintf("element is larger than %d MiB", maxElement>>20)},
		"name":     {&endless{`{"`, []byte("aaaaaa")}, fmt.Sprintf("element is larger than %d MiB", maxElement>>20)},
		"kept":     {&endless{`{"keep":[` + string(long), []byte(`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",`)}, fmt.Sprintf("components of more than %d MiB", maxKept>>20)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := collect(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzParsePURL(f *testing.F) {
	f.Add("pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12&upstream=openssl")
	f.Add("pkg:rpm/x@1?upstream=--&epoch=:")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePURL(s)
		if err != nil {
			return
		}
		if again, err := ParsePURL(p.PURL); err != nil || again.Name != p.Name {
			t.Errorf("ParsePURL(%q).PURL = %q, which reads as %+v, %v", s, p.PURL, again, err)
		}
	})
}

func FuzzParseLicense(f *testing.F) {
	f.Add("(GPL-2.0-or-later WITH Classpath-exception-2.0 OR MIT) AND LicenseRef-a+")
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := ParseLicense(s); ok && s == "" {
			t.Error("nothing is no licence")
		}
	})
}
