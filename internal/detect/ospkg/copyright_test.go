package ospkg

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopyright(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"machine-readable", "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n\n" +
			"Files: b\nLicense:\tGPL-1+ or Artistic\n\nLicense: GPL-2+\n On Debian see /usr/share/common-licenses/GPL-2.\n", []string{"GPL-1+ or Artistic", "GPL-2+"}},
		{"text in the name's place", "Format: x\n\nFiles: *\nLicense: Permission to use, copy, modify, and distribute this software and its\n documentation\n\nLicense:\n text\n", nil},
		{"prose", "It was downloaded from somewhere.\n\nOn Debian systems, see `/usr/share/common-licenses/GPL-3' and\n/usr/share/common-licenses/LGPL-2.1.\n", []string{"GPL-3", "LGPL-2.1"}},
		{"prose that says nothing", "All rights reserved.\nLicense: none\n", nil},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := mustDetect(t, Dpkg{}, "usr/share/doc/libfoo1/copyright", []byte(c.text))
			var got []string
			for _, l := range found.Licenses {
				if l.Package != "libfoo1" {
					t.Errorf("licences of %q", l.Package)
				}
				got = append(got, l.Licenses...)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || len(found.Gaps)+len(found.Components) > 0 {
				t.Errorf("(-want +got)\n%s%+v", diff, found)
			}
		})
	}
	for _, other := range []string{"usr/share/doc/copyright", "usr/share/doc/a/b/copyright", "srv/copyright"} {
		if (Dpkg{}).Wants(fileAt(other, nil)) {
			t.Errorf("%s is wanted", other)
		}
	}
}

// Nearly every package of a real system gets a licence, and in a
// machine-readable file all that grep finds are there.
func TestCopyrightOfRealPackages(t *testing.T) {
	files, licensed := 0, 0
	layer := layersOf(t, "deb-slim", func(p string) bool { return path.Base(p) == "copyright" })[0]
	for p, content := range layer.files {
		if !(Dpkg{}).Wants(fileAt(p, content)) {
			continue
		}
		files++
		found := mustDetect(t, Dpkg{}, p, content)
		if len(found.Licenses) == 0 {
			t.Logf("%s: no licence", p)
			continue
		}
		licensed++
		if got := found.Licenses[0].Licenses; bytes.HasPrefix(content, []byte("Format:")) {
			for line := range strings.Lines(string(content)) {
				if value, ok := strings.CutPrefix(line, "License: GPL"); ok && !slices.Contains(got, "GPL"+strings.TrimRight(value, " \n")) {
					t.Errorf("%s: %q is not in %q", p, line, got)
				}
			}
		}
	}
	if files < 60 || licensed*10 < files*9 {
		t.Errorf("%d of %d copyright files name a licence", licensed, files)
	}
}

func FuzzCopyright(f *testing.F) {
	f.Add([]byte("Format: x\n\nFiles: *\nLicense: GPL-2+\n text\n"))
	f.Add([]byte("Format\nLicense:\x7f"))
	f.Add([]byte("see /usr/share/common-licenses/GPL-3.\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		found := mustDetect(t, Dpkg{}, "usr/share/doc/a/copyright", content)
		for _, l := range found.Licenses {
			for _, name := range l.Licenses {
				if name == "" || len(name) > 400 || !printable(name) {
					t.Errorf("licence %q", name)
				}
			}
		}
	})
}
