package testenv

import (
	"fmt"
	"time"

	"github.com/plimsoll/plimsoll"
	"pgregory.net/rapid"
)

// BOM is a small bill of materials with something in every field.
func BOM() *plimsoll.BOM {
	digest := func(s string) plimsoll.Digest { return plimsoll.SHA256([]byte(s)) }
	layers := []plimsoll.Layer{
		{Index: 0, DiffID: digest("0"), Digest: digest("stored 0"), Size: 29_150_000, MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Step: "# debian.sh --arch 'amd64' out/ 'bookworm'", Comment: "Imported from -"},
		{Index: 1, DiffID: digest("1"), Size: 1, Step: "RUN apt-get update \\\n && apt-get install -y libssl3"},
		{Index: 2, DiffID: digest("2"), Step: "COPY app /srv # buildkit"},
	}
	at := func(c plimsoll.Component, layer int) plimsoll.Component {
		c.Layer, c.DiffID, c.Step = layer, layers[layer].DiffID, layers[layer].Step
		return c
	}
	libssl := plimsoll.Component{
		PURL: "pkg:deb/debian/libssl3@3.0.17-1~deb12u2?arch=amd64&distro=debian-12", Type: plimsoll.Library,
		Name: "libssl3", Version: "3.0.17-1~deb12u2", Ecosystem: "Debian:12", Architecture: "amd64",
		Source: &plimsoll.SourcePackage{Name: "openssl", Version: "3.0.17-1~deb12u2"},
		Vendor: "Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>", Licenses: []string{"Apache-2.0", "Artistic", "GPL-1+"},
		Detector: "dpkg", Paths: []string{"var/lib/dpkg/status"},
	}
	old := at(libssl, 0)
	old.PURL, old.Version = "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=amd64&distro=debian-12", "3.0.15-1~deb12u1"
	old.Source = &plimsoll.SourcePackage{Name: "openssl", Version: "3.0.15-1~deb12u1"}
	old.Removed = &plimsoll.Removal{Layer: 1, DiffID: layers[1].DiffID, Step: layers[1].Step, By: libssl.PURL}
	deleted := at(plimsoll.Component{
		PURL: "pkg:pypi/pip@23.0", Type: plimsoll.Library, Name: "pip", Version: "23.0", Ecosystem: "PyPI",
		Detector: "python", Paths: []string{"usr/lib/python3/dist-packages/pip-23.0.dist-info/METADATA"},
	}, 0)
	deleted.Removed = &plimsoll.Removal{Layer: 2, DiffID: layers[2].DiffID, Step: layers[2].Step}
	return &plimsoll.BOM{
		Image: plimsoll.Image{
			Name: "registry.example:5000/team/app:1.2", Source: "registry",
			Digest: digest("manifest"), ID: digest("config"),
			Platform: plimsoll.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
			Tags:     []string{"registry.example:5000/team/app:latest"},
			Labels:   map[string]string{"org.opencontainers.image.title": "app", "a=b:c": "", "": "empty key"},
			Created:  time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC),
			Layers:   layers,
		},
		Distro: &plimsoll.Distro{
			ID: "debian", IDLike: "a b", Name: "Debian GNU/Linux", Version: "12", Codename: "bookworm",
			PrettyName: "Debian GNU/Linux 12 (bookworm)", CPE: "cpe:/o:debian:debian_linux:12", Variant: "slim", Path: "usr/lib/os-release",
		},
		Components: []plimsoll.Component{
			at(libssl, 1),
			at(plimsoll.Component{
				PURL: "pkg:rpm/rocky/nginx@1%3A1.24.0-1.module%2Bel9?arch=x86_64&distro=rocky-9.4", Type: plimsoll.Library,
				Name: "nginx", Version: "1:1.24.0-1.module+el9", Module: "nginx:1.24:9040:rhel9", Vendor: "Rocky",
				Licenses: []string{"BSD and MIT"}, CPEs: []string{"cpe:2.3:a:f5:nginx:1.24.0:*:*:*:*:*:*:*", "cpe:2.3:a:nginx:nginx:1.24.0:*:*:*:*:*:*:*"},
				Detector: "rpm", Paths: []string{"var/lib/rpm/rpmdb.sqlite"},
			}, 1),
			at(plimsoll.Component{
				PURL: "pkg:npm/%40scope/left-pad@1.3.0", Type: plimsoll.Library, Name: "@scope/left-pad", Version: "1.3.0", Ecosystem: "npm",
				Licenses: []string{"(MIT OR WTFPL)"}, Detector: "npm",
				Paths: []string{"srv/node_modules/@scope/left-pad/package.json", "srv/x/node_modules/@scope/left-pad/package.json"},
			}, 2),
			at(plimsoll.Component{
				PURL: "pkg:npm/%40scope/left-pad@1.3.0", Type: plimsoll.Library, Name: "@scope/left-pad", Version: "1.3.0", Ecosystem: "npm",
				Licenses: []string{"MIT"}, Detector: "npm", Paths: []string{"opt/\xffbad\x00\x1b[31m/package.json", `opt/\xffbad`},
				Owner: "pkg:rpm/rocky/nginx@1%3A1.24.0-1.module%2Bel9?arch=x86_64&distro=rocky-9.4",
			}, 2),
			at(plimsoll.Component{
				PURL: "pkg:golang/example.com/app@v1.0.0", Type: plimsoll.Application, Name: "example.com/app", Version: "v1.0.0", Ecosystem: "Go",
				Licenses: []string{"Unicode-3.0"}, Detector: "go", Paths: []string{"srv/app"},
			}, 2),
			at(plimsoll.Component{
				PURL: "pkg:generic/thing", Type: plimsoll.Library, Name: "thing",
				Licenses: []string{"GPL-2.0-or-later WITH Classpath-exception-2.0", "LicenseRef-own", "see the file COPYING"}, Detector: "scalibr", Paths: []string{"x"},
			}, 2),
		},
		History: []plimsoll.Component{old, deleted},
		Gaps: []plimsoll.Gap{
			{Kind: plimsoll.Unreadable, Layer: 2, DiffID: layers[2].DiffID, Path: "srv/\xe9.jar", Detector: "java", Reason: "zip: not a valid zip file"},
			{Kind: plimsoll.Unassessed, Layer: plimsoll.NoLayer, Reason: "no advisories for debian 12"},
		},
	}
}

// DrawBOM makes up a bill of materials as hostile content could lead to it:
// fields are empty, strange or no UTF-8, and many are the same.
func DrawBOM(t *rapid.T) *plimsoll.BOM {
	text := rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "b", "MIT", "MIT OR 0BSD", "LicenseRef-a", "\xff", `\xff`, "\x00\n\u2028", "<&>\"'", "NOASSERTION", "NONE"}),
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	draw := func(what string) string { return text.Draw(t, what) }
	texts := func(what string) []string { return rapid.SliceOfN(text, 0, 3).Draw(t, what) }
	bom := &plimsoll.BOM{Image: plimsoll.Image{Name: draw("name"), Source: draw("source"), Tags: texts("tags")}}
	bom.Image.Digest = rapid.SampledFrom([]plimsoll.Digest{"", plimsoll.SHA256([]byte("m"))}).Draw(t, "digest")
	if rapid.Bool().Draw(t, "labels") {
		bom.Image.Labels = map[string]string{draw("key"): draw("value"), draw("key"): draw("value")}
	}
	layers := rapid.IntRange(0, 3).Draw(t, "layers")
	for i := range layers {
		bom.Image.Layers = append(bom.Image.Layers, plimsoll.Layer{Index: i, DiffID: plimsoll.SHA256([]byte(fmt.Sprint(i))), Step: draw("step")})
	}
	layer := rapid.IntRange(plimsoll.NoLayer, layers-1)
	if rapid.Bool().Draw(t, "distro") {
		bom.Distro = &plimsoll.Distro{ID: draw("id"), Version: draw("version"), PrettyName: draw("pretty"), Path: draw("path")}
	}
	component := rapid.Custom(func(t *rapid.T) plimsoll.Component {
		c := plimsoll.Component{
			PURL: text.Draw(t, "purl"), Type: rapid.SampledFrom([]plimsoll.ComponentType{plimsoll.Library, plimsoll.Application}).Draw(t, "type"),
			Name: text.Draw(t, "name"), Version: text.Draw(t, "version"), Ecosystem: text.Draw(t, "ecosystem"), Vendor: text.Draw(t, "vendor"),
			Detector: rapid.OneOf(rapid.SampledFrom([]string{"dpkg", "npm"}), text).Draw(t, "detector"),
			Licenses: rapid.SliceOfN(rapid.StringN(1, 9, -1), 0, 2).Draw(t, "licenses"),
			Paths:    rapid.SliceOfN(text, 0, 3).Draw(t, "paths"), Layer: layer.Draw(t, "layer"), Owner: text.Draw(t, "owner"),
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "more licenses") {
			c.Licenses = append(c.Licenses, []string{"MIT", "GPL-2.0-only OR MIT"}[i])
		}
		if c.Layer >= 0 {
			c.DiffID = bom.Image.Layers[c.Layer].DiffID
		}
		if rapid.Bool().Draw(t, "source") {
			c.Source = &plimsoll.SourcePackage{Name: text.Draw(t, "source"), Version: text.Draw(t, "source version")}
		}
		return c
	})
	bom.Components = rapid.SliceOfN(component, 0, 5).Draw(t, "components")
	for _, c := range rapid.SliceOfN(component, 0, 2).Draw(t, "history") {
		c.Removed = &plimsoll.Removal{Layer: layer.Draw(t, "removed"), By: draw("by")}
		bom.History = append(bom.History, c)
	}
	for range rapid.IntRange(0, 2).Draw(t, "gaps") {
		bom.Gaps = append(bom.Gaps, plimsoll.Gap{Kind: plimsoll.Limited, Layer: layer.Draw(t, "gap"), Path: draw("path"), Reason: draw("reason")})
	}
	return bom
}
