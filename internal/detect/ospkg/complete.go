package ospkg

import (
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// Complete gives an OS package what its own file does not know: PURL and
// Ecosystem, which depend on the distribution of the whole image. d may be nil
// when that is not known; then the purl has no namespace and the ecosystem is
// empty. Other components stay as they are.
//
// The purl follows the types deb, apk and rpm of the purl specification; its
// qualifiers are arch, distro (ID-VERSION_ID), epoch (rpm, not in the version
// there), rpmmod and upstream (the source package where it has another name or
// version: name, name@version, or the source rpm's file name).
func Complete(c *plimsoll.Component, d *plimsoll.Distro) {
	if !c.IsOS() {
		return
	}
	purlType := map[string]string{"dpkg": "deb", "apk": "apk", "rpm": "rpm"}[c.Detector]
	if len(c.Paths) > 0 && isOpkg(c.Paths[0]) {
		purlType = "opkg"
	}
	version, qualifiers := c.Version, map[string]string{}
	set := func(key, value string) {
		if value != "" {
			qualifiers[key] = value
		}
	}
	set("arch", c.Architecture)
	set("upstream", upstream(c))
	if purlType == "rpm" {
		if epoch, rest, found := strings.Cut(version, ":"); found {
			version = rest
			if epoch != "0" {
				set("epoch", epoch)
			}
		}
		set("rpmmod", c.Module)
	}
	namespace := ""
	if d != nil {
		namespace = vendor(d)
		set("distro", release(d))
		c.Ecosystem = ecosystem(purlType, d)
	}
	p := packageurl.NewPackageURL(purlType, namespace, c.Name, version, packageurl.QualifiersFromMap(qualifiers), "")
	// The only thing that Normalize refuses is an empty name or type, which
	// the detectors do not let through.
	_ = p.Normalize()
	c.PURL = p.ToString()
}

// vendor is the purl namespace: the distribution's ID, except where the purl
// specification's examples have another word.
func vendor(d *plimsoll.Distro) string {
	switch {
	case d.ID == "rhel":
		return "redhat"
	case strings.HasPrefix(d.ID, "opensuse"):
		return "opensuse"
	}
	return d.ID
}

// release is the qualifier distro.
func release(d *plimsoll.Distro) string {
	switch {
	case d.Version != "":
		return d.ID + "-" + d.Version
	case d.Codename != "":
		return d.ID + "-" + d.Codename
	}
	return d.ID
}

func upstream(c *plimsoll.Component) string {
	s := c.Source
	if s == nil || s.Name == "" {
		return ""
	}
	if c.Detector == "rpm" {
		if s.Version == "" {
			return s.Name
		}
		return s.Name + "-" + s.Version + ".src.rpm"
	}
	switch {
	case s.Version != "" && s.Version != c.Version:
		return s.Name + "@" + s.Version
	case s.Name != c.Name:
		return s.Name
	}
	return ""
}

// ecosystem is the name that the OSV schema gives to a distribution's
// advisories ("Defined ecosystems" of ossf.github.io/osv-schema), or "" where
// it has none. A package of another kind than the distribution's own, such as
// an rpm on Debian, has none either.
func ecosystem(purlType string, d *plimsoll.Distro) string {
	major, _, _ := strings.Cut(d.Version, ".")
	with := func(name, suffix string) string {
		if suffix == "" {
			return ""
		}
		return name + ":" + suffix
	}
	switch purlType {
	case "deb":
		switch d.ID {
		case "debian":
			if major == "" {
				major = debianReleases[d.Codename]
			}
			return with("Debian", major)
		case "ubuntu":
			return with("Ubuntu", ubuntuRelease(d.Version))
		}
	case "apk":
		switch d.ID {
		case "alpine":
			return with("Alpine", alpineBranch(d.Version))
		case "wolfi":
			return "Wolfi"
		case "chainguard":
			return "Chainguard"
		case "minimos":
			return "MinimOS"
		case "alpaquita":
			return with("Alpaquita", d.Version)
		case "bellsoft-hardened-containers":
			return with("BellSoft Hardened Containers", d.Version)
		}
	case "rpm":
		switch d.ID {
		case "almalinux":
			return with("AlmaLinux", major)
		case "rocky":
			return with("Rocky Linux", major)
		case "rhel":
			// The suffix is the CPE of the repository that each package came
			// from, which the image does not say.
			return "Red Hat"
		case "azurelinux", "mariner":
			return with("Azure Linux", major)
		case "photon":
			return with("Photon OS", d.Version)
		case "mageia":
			return with("Mageia", d.Version)
		case "openeuler":
			return with("openEuler", openEulerRelease(d))
		}
		// SUSE's suffix is the rest of PRETTY_NAME.
		if name, found := strings.CutPrefix(d.PrettyName, "openSUSE "); found {
			return with("openSUSE", name)
		}
		if name, found := strings.CutPrefix(d.PrettyName, "SUSE "); found {
			return with("SUSE", name)
		}
	}
	return ""
}

// debianReleases numbers the releases by their code names: testing and
// unstable have no VERSION_ID. Source: distro-info-data's debian.csv.
var debianReleases = map[string]string{
	"jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11",
	"bookworm": "12", "trixie": "13", "forky": "14", "duke": "15", "sid": "sid",
}

// ubuntuRelease is "22.04:LTS" or "23.10". Long term support is for April of
// every even year.
func ubuntuRelease(version string) string {
	year, month, _ := strings.Cut(version, ".")
	if year == "" || len(month) != 2 {
		return ""
	}
	if month == "04" && strings.IndexByte("02468", year[len(year)-1]) >= 0 {
		return version + ":LTS"
	}
	return version
}

// alpineBranch is "v3.21" for 3.21.0, and "edge" for the development branch,
// whose versions are those of a day: 3.22_alpha20250108.
func alpineBranch(version string) string {
	if strings.Contains(version, "_") {
		return "edge"
	}
	major, rest, found := strings.Cut(version, ".")
	if !found {
		return ""
	}
	minor, _, _ := strings.Cut(rest, ".")
	return "v" + major + "." + minor
}

// openEulerRelease is "22.03-LTS-SP3", of VERSION_ID 22.03 and PRETTY_NAME
// "openEuler 22.03 (LTS-SP3)".
func openEulerRelease(d *plimsoll.Distro) string {
	_, rest, found := strings.Cut(d.PrettyName, "(")
	edition, _, closed := strings.Cut(rest, ")")
	if !found || !closed || d.Version == "" {
		return d.Version
	}
	return d.Version + "-" + edition
}
