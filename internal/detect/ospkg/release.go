package ospkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// Release reads which distribution the image says it is: os-release(5) and the
// files that came before it.
type Release struct{}

// Name is "os-release".
func (Release) Name() string { return "os-release" }

// Version changes when the same file would give another result.
func (Release) Version() int { return 1 }

// Wants os-release and its older cousins.
func (Release) Wants(f *plimsoll.File) bool { return releaseRank(f.Path) > 0 }

// releaseRank orders the files by how much they are to be believed, 1 the
// most; 0 is none of them.
func releaseRank(path string) int {
	switch path {
	case "etc/os-release":
		return 1
	case "usr/lib/os-release":
		return 2
	// Files of one distribution, before those that its children keep unchanged.
	case "etc/centos-release", "etc/rocky-release", "etc/almalinux-release", "etc/fedora-release",
		"etc/oracle-release", "etc/mariner-release", "etc/azurelinux-release", "etc/photon-release", "etc/openEuler-release",
		"etc/mageia-release", "etc/gentoo-release":
		return 3
	case "etc/openwrt_release", "etc/lsb-release":
		return 4
	case "etc/redhat-release", "etc/system-release", "etc/SuSE-release", "etc/alpine-release", "etc/arch-release":
		return 5
	case "etc/debian_version":
		return 6
	}
	return 0
}

// Detect reads one of the files.
func (r Release) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	const most = 64 << 10
	if content.Size() > most {
		return nil, fmt.Errorf("reading the distribution's name: the file has %d bytes; %d are allowed", content.Size(), most)
	}
	text, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	var d *plimsoll.Distro
	switch f.Path {
	case "etc/os-release", "usr/lib/os-release":
		d = osRelease(text)
	case "etc/lsb-release", "etc/openwrt_release":
		d = lsbRelease(text)
		if d == nil && bytes.Contains(text, []byte("LSB_VERSION")) {
			// The file of the LSB package names no distribution.
			return &plimsoll.Found{}, nil
		}
	case "etc/SuSE-release":
		d = suseRelease(text)
	case "etc/debian_version":
		d = debianVersion(text)
	case "etc/alpine-release":
		d = alpineRelease(text)
	case "etc/arch-release":
		d = &plimsoll.Distro{ID: "arch", Name: "Arch Linux"} // the file is empty
	default:
		d = releaseLine(text)
	}
	if d == nil {
		return nil, errors.New("reading the distribution's name: there is none")
	}
	d.Path = f.Path
	return &plimsoll.Found{Distro: d}, nil
}

// BestDistro is the most trustworthy of what the files of an image say, with
// what it leaves out filled in from the others, as far as they speak of the
// same distribution. The given ones are not changed; nil when there are none.
func BestDistro(all []*plimsoll.Distro) *plimsoll.Distro {
	all = slices.DeleteFunc(slices.Clone(all), func(d *plimsoll.Distro) bool { return d == nil })
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b *plimsoll.Distro) int {
		if c := releaseRank(a.Path) - releaseRank(b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	best := *all[0]
	for _, d := range all[1:] {
		if d.ID != best.ID {
			continue
		}
		fill(&best.IDLike, d.IDLike)
		fill(&best.Name, d.Name)
		fill(&best.Version, d.Version)
		fill(&best.Codename, d.Codename)
		fill(&best.PrettyName, d.PrettyName)
		fill(&best.CPE, d.CPE)
		fill(&best.Variant, d.Variant)
	}
	return &best
}

func fill(to *string, from string) {
	if *to == "" {
		*to = from
	}
}

// assignments reads shell-like lines, KEY=value, the value bare or in quotes.
func assignments(text []byte, yield func(key, value string)) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		key, value, ok := bytes.Cut(line, []byte("="))
		if ok && len(key) > 0 && key[0] != '#' {
			yield(string(bytes.TrimSpace(key)), clean(unquote(bytes.TrimSpace(value))))
		}
	}
}

// unquote takes the quotes off a shell value: in double quotes a backslash
// escapes, in single quotes nothing does.
func unquote(v []byte) string {
	if len(v) < 2 || v[0] != '"' && v[0] != '\'' {
		return string(v)
	}
	quote, rest := v[0], v[1:]
	out := make([]byte, 0, len(rest))
	for i := 0; i < len(rest) && rest[i] != quote; i++ {
		if rest[i] == '\\' && quote == '"' && i+1 < len(rest) {
			i++
		}
		out = append(out, rest[i])
	}
	return string(out)
}

// clean keeps what a person may read: no control characters, nothing endless.
func clean(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most]
	}
	if printable(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// osRelease reads os-release(5). Where ID is missing the manual says "linux".
func osRelease(text []byte) *plimsoll.Distro {
	var d plimsoll.Distro
	known := false
	assignments(text, func(key, value string) {
		var to *string
		switch key {
		case "ID":
			to, value = &d.ID, strings.ToLower(value)
		case "ID_LIKE":
			to, value = &d.IDLike, strings.ToLower(value)
		case "NAME":
			to = &d.Name
		case "VERSION_ID":
			to = &d.Version
		case "VERSION_CODENAME":
			to = &d.Codename
		case "PRETTY_NAME":
			to = &d.PrettyName
		case "CPE_NAME":
			to = &d.CPE
		case "VARIANT_ID":
			to = &d.Variant
		default:
			return
		}
		*to, known = value, true // the last one counts, as in a shell
	})
	if !known {
		return nil
	}
	if d.ID == "" {
		d.ID = "linux"
	}
	return &d
}

// lsbRelease reads the DISTRIB_ variables of lsb-release and openwrt_release.
func lsbRelease(text []byte) *plimsoll.Distro {
	var d plimsoll.Distro
	assignments(text, func(key, value string) {
		switch key {
		case "DISTRIB_ID":
			d.Name, d.ID = value, strings.ToLower(strings.ReplaceAll(value, " ", ""))
		case "DISTRIB_RELEASE":
			d.Version = value
		case "DISTRIB_CODENAME":
			d.Codename = value
		case "DISTRIB_DESCRIPTION":
			d.PrettyName = value
		}
	})
	if d.ID == "" {
		return nil
	}
	return &d
}

// suseRelease reads SUSE's file: the name in the first line, then VERSION and
// PATCHLEVEL.
func suseRelease(text []byte) *plimsoll.Distro {
	name := firstLine(text)
	d := plimsoll.Distro{ID: "opensuse", Name: name, PrettyName: name}
	if strings.HasPrefix(name, "SUSE Linux Enterprise") {
		d.ID = "sles"
	} else if !strings.HasPrefix(strings.ToLower(name), "opensuse") {
		return nil
	}
	assignments(text, func(key, value string) {
		switch key {
		case "VERSION":
			d.Version = value
		case "PATCHLEVEL":
			if value != "0" {
				d.Version += "." + value
			}
		case "CODENAME":
			d.Codename = value
		}
	})
	return &d
}

// debianVersion reads "12.5", or "trixie/sid" in testing and unstable. The
// children of Debian keep the file as it is.
func debianVersion(text []byte) *plimsoll.Distro {
	line := firstLine(text)
	d := &plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux"}
	if line == "" {
		return nil
	}
	if line[0] >= '0' && line[0] <= '9' {
		d.Version, _, _ = strings.Cut(line, ".") // VERSION_ID has no point release
	} else {
		d.Codename, _, _ = strings.Cut(line, "/")
	}
	return d
}

func alpineRelease(text []byte) *plimsoll.Distro {
	line := firstLine(text)
	if line == "" || line[0] < '0' || line[0] > '9' {
		return nil
	}
	return &plimsoll.Distro{ID: "alpine", Name: "Alpine Linux", Version: line}
}

// releaseWords splits "CentOS Linux release 7.9.2009 (Core)"; "release" is
// missing in "CBL-Mariner 2.0.20240112" and "VMware Photon OS 3.0".
var releaseWords = regexp.MustCompile(`^(.*?)(?: release)? v?([0-9][0-9A-Za-z._-]*)[^(]*(?:\(([^)]*)\))?`)

// releaseLine reads the one line of Red Hat's relations.
func releaseLine(text []byte) *plimsoll.Distro {
	line := firstLine(text)
	m := releaseWords.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	d := &plimsoll.Distro{Name: m[1], Version: m[2], Codename: m[3], PrettyName: line}
	for _, known := range [...]struct{ begin, id string }{
		{"CentOS", "centos"},
		{"Red Hat Enterprise Linux", "rhel"},
		{"Rocky Linux", "rocky"},
		{"AlmaLinux", "almalinux"},
		{"Fedora", "fedora"},
		{"Oracle Linux", "ol"},
		{"Amazon Linux", "amzn"},
		{"VMware Photon", "photon"},
		{"CBL-Mariner", "mariner"},
		{"Microsoft Azure Linux", "azurelinux"},
		{"Azure Linux", "azurelinux"},
		{"openEuler", "openeuler"},
		{"Mageia", "mageia"},
		{"Gentoo", "gentoo"},
	} {
		if strings.HasPrefix(d.Name, known.begin) {
			d.ID = known.id
			return d
		}
	}
	word, _, _ := strings.Cut(strings.ToLower(d.Name), " ")
	if word == "" {
		return nil
	}
	d.ID = word
	return d
}

// firstLine is the first line that is not empty.
func firstLine(text []byte) string {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return clean(string(line))
		}
	}
	return ""
}
