package ospkg

import (
	"archive/zip"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

func TestCompletePURL(t *testing.T) {
	debian := &plimsoll.Distro{ID: "debian", Version: "12"}
	rhel := &plimsoll.Distro{ID: "rhel", Version: "9.4"}
	src := func(name, version string) *plimsoll.SourcePackage {
		return &plimsoll.SourcePackage{Name: name, Version: version}
	}
	for _, c := range []struct {
		c    plimsoll.Component
		d    *plimsoll.Distro
		want string
	}{
		{plimsoll.Component{Detector: "dpkg", Name: "libc6", Version: "2.36-9", Architecture: "amd64", Source: src("glibc", "2.36-9")}, debian,
			"pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc"},
		{plimsoll.Component{Detector: "dpkg", Name: "bash", Version: "5.2.15-2+b2", Architecture: "amd64", Source: src("bash", "5.2.15-2")}, debian,
			"pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12&upstream=bash%405.2.15-2"},
		{plimsoll.Component{Detector: "dpkg", Name: "libstdc++6", Version: "1:2~3", Source: src("libstdc++6", "1:2~3")}, &plimsoll.Distro{ID: "debian", Codename: "sid"},
			"pkg:deb/debian/libstdc%2B%2B6@1:2~3?distro=debian-sid"},
		{plimsoll.Component{Detector: "dpkg", Name: "a", Version: "1"}, nil, "pkg:deb/a@1"},
		{plimsoll.Component{Detector: "dpkg", Name: "ubus", Version: "1", Paths: []string{"usr/lib/opkg/status"}}, &plimsoll.Distro{ID: "openwrt", Version: "23.05"},
			"pkg:opkg/openwrt/ubus@1?distro=openwrt-23.05"},
		{plimsoll.Component{Detector: "apk", Name: "ssl_client", Version: "1.36.1-r29", Architecture: "x86_64", Source: src("busybox", "1.36.1-r29")}, &plimsoll.Distro{ID: "alpine", Version: "3.21.0"},
			"pkg:apk/alpine/ssl_client@1.36.1-r29?arch=x86_64&distro=alpine-3.21.0&upstream=busybox"},
		{plimsoll.Component{Detector: "rpm", Name: "bash", Version: "5.1.8-6.el9", Architecture: "x86_64", Source: src("bash", "5.1.8-6.el9")}, rhel,
			"pkg:rpm/redhat/bash@5.1.8-6.el9?arch=x86_64&distro=rhel-9.4&upstream=bash-5.1.8-6.el9.src.rpm"},
		{plimsoll.Component{Detector: "rpm", Name: "nodejs", Version: "1:16.20.2-4.el9", Architecture: "x86_64", Module: "nodejs:16:9030020231214:rhel9"}, rhel,
			"pkg:rpm/redhat/nodejs@16.20.2-4.el9?arch=x86_64&distro=rhel-9.4&epoch=1&rpmmod=nodejs:16:9030020231214:rhel9"},
		{plimsoll.Component{Detector: "rpm", Name: "NetworkManager", Version: "0:1.2-3"}, &plimsoll.Distro{ID: "opensuse-leap", Version: "15.5"},
			"pkg:rpm/opensuse/NetworkManager@1.2-3?distro=opensuse-leap-15.5"},
		{plimsoll.Component{Detector: "npm", Name: "x", Version: "1", PURL: "pkg:npm/x@1", Ecosystem: "npm"}, debian, "pkg:npm/x@1"},
	} {
		Complete(&c.c, c.d)
		if c.c.PURL != c.want {
			t.Errorf("got  %s\nwant %s", c.c.PURL, c.want)
		}
		p, err := packageurl.FromString(c.c.PURL)
		if err != nil {
			t.Errorf("%s: %v", c.c.PURL, err)
		} else if p.Name != c.c.Name || p.ToString() != c.c.PURL {
			t.Errorf("%s reads back as %s, name %q", c.c.PURL, p.ToString(), p.Name)
		}
	}
}

func TestCompleteEcosystem(t *testing.T) {
	for _, c := range []struct {
		detector string
		d        plimsoll.Distro
		want     string
	}{
		{"dpkg", plimsoll.Distro{ID: "debian", Version: "12"}, "Debian:12"},
		{"dpkg", plimsoll.Distro{ID: "debian", Codename: "forky"}, "Debian:14"}, // testing
		{"dpkg", plimsoll.Distro{ID: "debian"}, ""},
		{"dpkg", plimsoll.Distro{ID: "ubuntu", Version: "22.04"}, "Ubuntu:22.04:LTS"},
		{"dpkg", plimsoll.Distro{ID: "ubuntu", Version: "22.10"}, "Ubuntu:22.10"},
		{"dpkg", plimsoll.Distro{ID: "ubuntu", Version: "25.04"}, "Ubuntu:25.04"},
		{"dpkg", plimsoll.Distro{ID: "ubuntu", Version: ".04"}, ""},
		{"dpkg", plimsoll.Distro{ID: "kali", IDLike: "debian", Version: "2024.1"}, ""},
		{"apk", plimsoll.Distro{ID: "alpine", Version: "3.21.0"}, "Alpine:v3.21"},
		{"apk", plimsoll.Distro{ID: "alpine", Version: "3.22_alpha20250108"}, "Alpine:edge"},
		{"apk", plimsoll.Distro{ID: "wolfi", Version: "20230201"}, "Wolfi"},
		{"apk", plimsoll.Distro{ID: "chainguard", Version: "20230214"}, "Chainguard"},
		{"apk", plimsoll.Distro{ID: "postmarketos", IDLike: "alpine", Version: "v24.06"}, ""},
		{"rpm", plimsoll.Distro{ID: "almalinux", Version: "9.2"}, "AlmaLinux:9"},
		{"rpm", plimsoll.Distro{ID: "rocky", Version: "9.3"}, "Rocky Linux:9"},
		{"rpm", plimsoll.Distro{ID: "rhel", Version: "9.4", CPE: "cpe:/o:redhat:enterprise_linux:9::baseos"}, "Red Hat"},
		{"rpm", plimsoll.Distro{ID: "centos", Version: "7"}, ""},
		{"rpm", plimsoll.Distro{ID: "opensuse-leap", Version: "15.5", PrettyName: "openSUSE Leap 15.5"}, "openSUSE:Leap 15.5"},
		{"rpm", plimsoll.Distro{ID: "opensuse-tumbleweed", Version: "20240115", PrettyName: "openSUSE Tumbleweed"}, "openSUSE:Tumbleweed"},
		{"rpm", plimsoll.Distro{ID: "sles", Version: "15.5", PrettyName: "SUSE Linux Enterprise Server 15 SP5"}, "SUSE:Linux Enterprise Server 15 SP5"},
		{"rpm", plimsoll.Distro{ID: "openeuler", Version: "22.03", PrettyName: "openEuler 22.03 (LTS-SP3)"}, "openEuler:22.03-LTS-SP3"},
		{"rpm", plimsoll.Distro{ID: "azurelinux", Version: "3.0"}, "Azure Linux:3"},
		{"rpm", plimsoll.Distro{ID: "mariner", Version: "2.0"}, "Azure Linux:2"},
		{"rpm", plimsoll.Distro{ID: "photon", Version: "4.0"}, "Photon OS:4.0"},
		{"rpm", plimsoll.Distro{ID: "fedora", Version: "40"}, ""},
		{"rpm", plimsoll.Distro{ID: "debian", Version: "12"}, ""}, // rpm itself can be installed on Debian
	} {
		p := plimsoll.Component{Detector: c.detector, Name: "a", Version: "1"}
		Complete(&p, &c.d)
		if p.Ecosystem != c.want {
			t.Errorf("%s on %s %s: ecosystem %q, want %q", c.detector, c.d.ID, c.d.Version, p.Ecosystem, c.want)
		}
	}
}

// The names are those that real OSV records carry: every release in the shared
// records is reached from the VERSION_ID that it has in os-release.
func TestCompleteEcosystemsOfOSV(t *testing.T) {
	for _, c := range []struct{ osv, detector, id string }{
		{"Debian", "dpkg", "debian"}, {"Ubuntu", "dpkg", "ubuntu"}, {"Alpine", "apk", "alpine"},
		{"AlmaLinux", "rpm", "almalinux"}, {"Rocky Linux", "rpm", "rocky"},
	} {
		names := osvEcosystems(t, filepath.Join(testenv.Shared(t, "advisories", "osv", c.osv), "all.zip"))
		reached := 0
		for name := range names {
			suffix, _ := strings.CutPrefix(name, c.osv+":")
			if suffix == name || strings.HasPrefix(suffix, "Pro:") {
				continue // of another distribution, or for subscribers
			}
			version := strings.TrimSuffix(strings.TrimPrefix(suffix, "v"), ":LTS")
			p := plimsoll.Component{Detector: c.detector, Name: "a", Version: "1"}
			Complete(&p, &plimsoll.Distro{ID: c.id, Version: version})
			if p.Ecosystem != name {
				t.Errorf("%s %s: ecosystem %q, want %q", c.id, version, p.Ecosystem, name)
			}
			reached++
		}
		if reached < 3 {
			t.Errorf("%s: only %d releases in the records: %v", c.osv, reached, names)
		}
	}
}

func osvEcosystems(t *testing.T, name string) map[string]bool {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	names := map[string]bool{}
	for i := 0; i < len(z.File); i += 1 + len(z.File)/1000 {
		f := z.File[i]
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Affected []struct{ Package struct{ Ecosystem string } }
		}
		if strings.HasSuffix(f.Name, ".json") {
			if err := json.NewDecoder(r).Decode(&record); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		for _, a := range record.Affected {
			names[a.Package.Ecosystem] = true
		}
	}
	return names
}
