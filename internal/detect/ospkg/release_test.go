package ospkg

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
)

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		path, text string
		want       *plimsoll.Distro // nil: an error; empty ID: nothing
	}{
		{"etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n",
			&plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", Version: "12", Codename: "bookworm", PrettyName: "Debian GNU/Linux 12 (bookworm)"}},
		{"usr/lib/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.14.0\nPRETTY_NAME=\"Alpine Linux v3.14\"\n",
			&plimsoll.Distro{ID: "alpine", Name: "Alpine Linux", Version: "3.14.0", PrettyName: "Alpine Linux v3.14"}},
		{"etc/os-release", "NAME=\"AlmaLinux\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.2\"\nPRETTY_NAME=\"AlmaLinux 9.2 (Turquoise Kodkod)\"\nCPE_NAME=\"cpe:/o:almalinux:almalinux:9::baseos\"\n",
			&plimsoll.Distro{ID: "almalinux", IDLike: "rhel centos fedora", Name: "AlmaLinux", Version: "9.2", PrettyName: "AlmaLinux 9.2 (Turquoise Kodkod)", CPE: "cpe:/o:almalinux:almalinux:9::baseos"}},
		{"etc/os-release", "# a remark\r\nID='openEuler'\r\nNAME=\"A \\\"quoted\\\" \\$name\"\r\nVERSION_ID=\r\nVARIANT_ID=container\r\n",
			&plimsoll.Distro{ID: "openeuler", Name: `A "quoted" $name`, Variant: "container"}},
		{"etc/os-release", "NAME=Homemade\n", &plimsoll.Distro{ID: "linux", Name: "Homemade"}},
		{"etc/os-release", "ID=a\nNAME=\"\x1b[2Jx\"\n", &plimsoll.Distro{ID: "a", Name: "[2Jx"}},
		{"etc/os-release", "", nil},
		{"etc/os-release", "\x7fELF\x00\x00", nil},
		{"etc/os-release", strings.Repeat("#", 1<<17), nil},
		{"etc/debian_version", "12.5\n", &plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", Version: "12"}},
		{"etc/debian_version", "forky/sid\n", &plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", Codename: "forky"}},
		{"etc/debian_version", "", nil},
		{"etc/alpine-release", "3.22_alpha20250108\n", &plimsoll.Distro{ID: "alpine", Name: "Alpine Linux", Version: "3.22_alpha20250108"}},
		{"etc/alpine-release", "nonsense\n", nil},
		{"etc/arch-release", "", &plimsoll.Distro{ID: "arch", Name: "Arch Linux"}},
		{"etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_CODENAME=jammy\nDISTRIB_DESCRIPTION=\"Ubuntu 22.04.4 LTS\"\n",
			&plimsoll.Distro{ID: "ubuntu", Name: "Ubuntu", Version: "22.04", Codename: "jammy", PrettyName: "Ubuntu 22.04.4 LTS"}},
		{"etc/lsb-release", "LSB_VERSION=base-4.0-amd64:base-4.0-noarch\n", &plimsoll.Distro{}},
		{"etc/openwrt_release", "DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='23.05.3'\nDISTRIB_DESCRIPTION='OpenWrt 23.05.3 r23809'\n",
			&plimsoll.Distro{ID: "openwrt", Name: "OpenWrt", Version: "23.05.3", PrettyName: "OpenWrt 23.05.3 r23809"}},
		{"etc/centos-release", "CentOS Linux release 7.9.2009 (Core)\n", &plimsoll.Distro{ID: "centos", Name: "CentOS Linux", Version: "7.9.2009", Codename: "Core", PrettyName: "CentOS Linux release 7.9.2009 (Core)"}},
		{"etc/redhat-release", "CentOS release 6.10 (Final)\n", &plimsoll.Distro{ID: "centos", Name: "CentOS", Version: "6.10", Codename: "Final", PrettyName: "CentOS release 6.10 (Final)"}},
		{"etc/redhat-release", "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n", &plimsoll.Distro{ID: "rhel", Name: "Red Hat Enterprise Linux Server", Version: "6.10", Codename: "Santiago", PrettyName: "Red Hat Enterprise Linux Server release 6.10 (Santiago)"}},
		{"etc/rocky-release", "Rocky Linux release 9.3 (Blue Onyx)\n", &plimsoll.Distro{ID: "rocky", Name: "Rocky Linux", Version: "9.3", Codename: "Blue Onyx", PrettyName: "Rocky Linux release 9.3 (Blue Onyx)"}},
		{"etc/fedora-release", "Fedora release 40 (Forty)\n", &plimsoll.Distro{ID: "fedora", Name: "Fedora", Version: "40", Codename: "Forty", PrettyName: "Fedora release 40 (Forty)"}},
		{"etc/oracle-release", "Oracle Linux Server release 8.9\n", &plimsoll.Distro{ID: "ol", Name: "Oracle Linux Server", Version: "8.9", PrettyName: "Oracle Linux Server release 8.9"}},
		{"etc/system-release", "Amazon Linux release 2 (Karoo)\n", &plimsoll.Distro{ID: "amzn", Name: "Amazon Linux", Version: "2", Codename: "Karoo", PrettyName: "Amazon Linux release 2 (Karoo)"}},
		{"etc/system-release", "Amazon Linux AMI release 2018.03\n", &plimsoll.Distro{ID: "amzn", Name: "Amazon Linux AMI", Version: "2018.03", PrettyName: "Amazon Linux AMI release 2018.03"}},
		{"etc/mariner-release", "CBL-Mariner 2.0.20240112\nMARINER_BUILD_NUMBER=1\n", &plimsoll.Distro{ID: "mariner", Name: "CBL-Mariner", Version: "2.0.20240112", PrettyName: "CBL-Mariner 2.0.20240112"}},
		{"etc/photon-release", "VMware Photon OS 4.0\nPHOTON_BUILD_NUMBER=2f5aad892\n", &plimsoll.Distro{ID: "photon", Name: "VMware Photon OS", Version: "4.0", PrettyName: "VMware Photon OS 4.0"}},
		{"etc/redhat-release", "Nobody knows\n", nil},
		{"etc/SuSE-release", "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n",
			&plimsoll.Distro{ID: "sles", Name: "SUSE Linux Enterprise Server 11 (x86_64)", Version: "11.4", PrettyName: "SUSE Linux Enterprise Server 11 (x86_64)"}},
		{"etc/SuSE-release", "openSUSE 13.1 (x86_64)\nVERSION = 13.1\nCODENAME = Bottle\n",
			&plimsoll.Distro{ID: "opensuse", Name: "openSUSE 13.1 (x86_64)", Version: "13.1", Codename: "Bottle", PrettyName: "openSUSE 13.1 (x86_64)"}},
	} {
		found, err := detect(t, Release{}, c.path, []byte(c.text))
		switch {
		case c.want == nil:
			if err == nil {
				t.Errorf("%s %.40q: %+v, want an error", c.path, c.text, found.Distro)
			}
			continue
		case err != nil:
			t.Errorf("%s %.40q: %v", c.path, c.text, err)
			continue
		case c.want.ID == "":
			c.want = nil
		default:
			c.want.Path = c.path
		}
		if diff := cmp.Diff(c.want, found.Distro); diff != "" {
			t.Errorf("%s %.40q: (-want +got)\n%s", c.path, c.text, diff)
		}
	}
}

// The real image, whose etc/os-release is a symbolic link: its files agree.
func TestReleaseOfRealImage(t *testing.T) {
	var all []*plimsoll.Distro
	for p, content := range layersOf(t, "deb-slim", func(p string) bool { return (Release{}).Wants(&plimsoll.File{Path: p}) })[0].files {
		all = append(all, mustDetect(t, Release{}, p, content).Distro)
	}
	if len(all) < 2 {
		t.Fatalf("only %d files", len(all))
	}
	want := &plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", Version: "12", Codename: "bookworm",
		PrettyName: "Debian GNU/Linux 12 (bookworm)", Path: "usr/lib/os-release"}
	if diff := cmp.Diff(want, BestDistro(all)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBestDistro(t *testing.T) {
	testing13 := &plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", PrettyName: "Debian GNU/Linux forky/sid", Path: "usr/lib/os-release"}
	debianVersion := &plimsoll.Distro{ID: "debian", Codename: "forky", Path: "etc/debian_version"}
	ubuntu := &plimsoll.Distro{ID: "ubuntu", Version: "22.04", Path: "etc/os-release"}
	older := &plimsoll.Distro{ID: "ubuntu", Version: "20.04", Codename: "focal", Path: "usr/lib/os-release"}
	for _, c := range []struct {
		name string
		all  []*plimsoll.Distro
		want *plimsoll.Distro
	}{
		{"none", nil, nil},
		{"nil among them", []*plimsoll.Distro{nil, debianVersion}, debianVersion},
		{"filled up", []*plimsoll.Distro{debianVersion, testing13},
			&plimsoll.Distro{ID: "debian", Name: "Debian GNU/Linux", PrettyName: "Debian GNU/Linux forky/sid", Codename: "forky", Path: "usr/lib/os-release"}},
		{"not from the parent's file", []*plimsoll.Distro{debianVersion, ubuntu}, ubuntu},
		{"etc before usr", []*plimsoll.Distro{older, ubuntu}, &plimsoll.Distro{ID: "ubuntu", Version: "22.04", Codename: "focal", Path: "etc/os-release"}},
	} {
		if diff := cmp.Diff(c.want, BestDistro(c.all)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
	if testing13.Codename != "" {
		t.Error("BestDistro changed what it was given")
	}
}

func FuzzRelease(f *testing.F) {
	for _, seed := range [][2]string{
		{"etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='x \\' y'\n# x\n"},
		{"etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n"},
		{"etc/debian_version", "forky/sid\n"},
		{"etc/alpine-release", "3.21.0\n"},
		{"etc/redhat-release", "CentOS Linux release 7.9.2009 (Core)\n"},
		{"etc/SuSE-release", "openSUSE 13.1 (x86_64)\nVERSION = 13.1\n"},
		{"etc/arch-release", ""},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if !(Release{}).Wants(fileAt(name, content)) {
			return
		}
		found, err := detect(t, Release{}, name, content)
		if err != nil || found.Distro == nil {
			return
		}
		d := found.Distro
		if d.ID == "" || d.Path != name || !printable(d.ID+d.Name+d.Version+d.PrettyName+d.Codename) {
			t.Errorf("%+v", d)
		}
		for _, detector := range []string{"dpkg", "apk", "rpm"} {
			c := plimsoll.Component{Name: "a", Version: "1", Detector: detector}
			Complete(&c, BestDistro([]*plimsoll.Distro{d}))
			if !strings.HasPrefix(c.PURL, "pkg:") {
				t.Errorf("purl %q", c.PURL)
			}
		}
	})
}
