package format

import (
	"fmt"
	"strings"

	"github.com/package-url/packageurl-go"
)

// Package is what a package URL says about a component, in Plimsoll's words:
// see plimsoll.Component for the fields of the same names.
type Package struct {
	PURL                    string // canonical
	Type                    string // "deb", "npm"
	Name, Version           string
	Ecosystem               string // empty for OS packages
	Architecture            string
	Source, SourceVersion   string // from the qualifier "upstream"
	DistroID, DistroVersion string // from the qualifier "distro", or the namespace
	Detector                string // "dpkg", "apk" and "rpm" for OS packages, otherwise ""
	Container               bool   // it names an image, not a package
}

// ParsePURL reads a package URL as any tool may have written it.
func ParsePURL(s string) (Package, error) {
	u, err := packageurl.FromString(s)
	if err != nil {
		return Package{}, fmt.Errorf("package URL: %w", err)
	}
	p := Package{PURL: u.String(), Type: u.Type, Name: u.Name, Version: u.Version}
	qualifiers := map[string]string{}
	for _, q := range u.Qualifiers {
		qualifiers[q.Key] = q.Value
	}
	switch u.Type {
	case "deb", "apk", "rpm":
		p.Detector = map[string]string{"deb": "dpkg", "apk": "apk", "rpm": "rpm"}[u.Type]
		p.Architecture = qualifiers["arch"]
		if epoch := qualifiers["epoch"]; epoch != "" && epoch != "0" && !strings.Contains(p.Version, ":") {
			p.Version = epoch + ":" + p.Version
		}
		p.Source, p.SourceVersion = upstream(u.Type, qualifiers["upstream"])
		// syft writes "alpine-3.15", trivy "3.15.5" with the namespace alpine.
		distro := qualifiers["distro"]
		if i := strings.LastIndexByte(distro, '-'); i > 0 {
			p.DistroID, p.DistroVersion = distro[:i], distro[i+1:]
		} else {
			p.DistroID, p.DistroVersion = u.Namespace, distro
		}
	case "oci", "docker":
		p.Container = true
	default:
		p.Ecosystem = ecosystem(u.Type)
		if u.Namespace != "" {
			separator := "/"
			if u.Type == "maven" {
				separator = ":"
			}
			p.Name = u.Namespace + separator + u.Name
		}
	}
	return p, nil
}

// upstream reads the qualifier in which syft names the source package:
// "name", "name@version", and for rpm the source rpm's file name.
func upstream(kind, s string) (name, version string) {
	if kind != "rpm" {
		name, version, _ = strings.Cut(s, "@")
		return name, version
	}
	return SourceRPM(s)
}

// SourceRPM takes the name of a source rpm apart, "bash-5.1.8-6.el9.src.rpm",
// into the package's name and its version with the release.
func SourceRPM(s string) (name, version string) {
	s = strings.TrimSuffix(strings.TrimSuffix(s, ".rpm"), ".src")
	release := strings.LastIndexByte(s, '-')
	if release <= 0 {
		return s, ""
	}
	split := strings.LastIndexByte(s[:release], '-')
	if split <= 0 {
		return s, ""
	}
	return s[:split], s[split+1:]
}

// ecosystem is the OSV schema's name for a type of package URL.
func ecosystem(kind string) string {
	switch kind {
	case "npm":
		return "npm"
	case "pypi":
		return "PyPI"
	case "golang":
		return "Go"
	case "maven":
		return "Maven"
	case "gem":
		return "RubyGems"
	case "nuget":
		return "NuGet"
	case "cargo":
		return "crates.io"
	case "composer":
		return "Packagist"
	case "hex":
		return "Hex"
	case "pub":
		return "Pub"
	case "hackage":
		return "Hackage"
	case "cran":
		return "CRAN"
	case "conan":
		return "ConanCenter"
	case "swift":
		return "SwiftURL"
	case "julia":
		return "Julia"
	case "opam":
		return "opam"
	case "bitnami":
		return "Bitnami"
	case "githubactions":
		return "GitHub Actions"
	}
	return ""
}

// GenericPURL names a component of which nothing but a name is known.
func GenericPURL(name, version string) string {
	u := packageurl.PackageURL{Type: "generic", Name: name, Version: version}
	return u.String()
}

// ImagePURL names an image by its manifest's digest: pkg:oci/NAME@DIGEST. ref
// is the image as it was asked for ("registry.example/team/app:1.2", "debian",
// "/tmp/app.tar"); a registry in it goes into repository_url. Empty when there
// is no digest, because that is an oci package URL's version.
func ImagePURL(ref, digest, architecture string) string {
	if digest == "" {
		return ""
	}
	repository, _, _ := strings.Cut(ref, "@")
	slash := strings.LastIndexByte(repository, '/')
	tag := ""
	if colon := strings.LastIndexByte(repository, ':'); colon > slash {
		repository, tag = repository[:colon], repository[colon+1:]
	}
	name := strings.ToLower(repository[slash+1:])
	if name == "" {
		name = "image"
	}
	u := packageurl.PackageURL{Type: "oci", Name: name, Version: digest}
	add := func(key, value string) {
		if value != "" {
			u.Qualifiers = append(u.Qualifiers, packageurl.Qualifier{Key: key, Value: value})
		}
	}
	add("arch", architecture)
	// The first part is a registry's host by the rule of the distribution
	// reference grammar: it has a dot or a port, or is localhost.
	if host, _, ok := strings.Cut(repository, "/"); ok && (host == "localhost" || strings.ContainsAny(host, ".:")) && strings.Trim(host, ".") != "" {
		add("repository_url", repository)
	}
	add("tag", tag)
	return u.String()
}
