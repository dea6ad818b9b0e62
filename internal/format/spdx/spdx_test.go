package spdx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	toolsjson "github.com/spdx/tools-golang/json"
	tools "github.com/spdx/tools-golang/spdx"
	"pgregory.net/rapid"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

func encode(t interface{ Fatal(...any) }, bom *plimsoll.BOM, o Options) []byte {
	var out bytes.Buffer
	if err := Encode(&out, bom, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// check is the property that both fixed and made-up BOMs have to keep: the
// output follows the official schema, references and licence expressions hold,
// and Decode gives the BOM back.
func check(t interface{ Fatal(...any) }, schema *jsonschema.Schema, bom *plimsoll.BOM) {
	text := encode(t, bom, Options{Version: "0.1.0", AllLayers: true})
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Fatal(err, string(text))
	}
	checkReferences(t, text)
	got, err := Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err, string(text))
	}
	if diff := cmp.Diff(bom, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff, string(text))
	}
}

// checkReferences reads the document with the library of the format's makers.
func checkReferences(t interface{ Fatal(...any) }, text []byte) {
	doc, err := toolsjson.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err, string(text))
	}
	licenses := map[string]bool{}
	for _, l := range doc.OtherLicenses {
		if licenses[l.LicenseIdentifier] || l.ExtractedText == "" {
			t.Fatal("licence without text, or twice: ", l.LicenseIdentifier)
		}
		licenses[l.LicenseIdentifier] = true
	}
	ids := map[tools.ElementID]bool{"DOCUMENT": true}
	for _, p := range doc.Packages {
		if ids[p.PackageSPDXIdentifier] || strings.Trim(string(p.PackageSPDXIdentifier), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Fatal("id is not unique, or not well formed: ", p.PackageSPDXIdentifier)
		}
		ids[p.PackageSPDXIdentifier] = true
		if p.PackageLicenseDeclared == "" || p.PackageLicenseDeclared == noAssertion {
			continue
		}
		license, ok := format.ParseLicense(p.PackageLicenseDeclared)
		if !ok {
			t.Fatal("declared licence is no expression: ", p.PackageLicenseDeclared)
		}
		for _, ref := range license.Refs {
			if !licenses[ref] {
				t.Fatal("no text for licence ", ref)
			}
		}
	}
	related := map[tools.ElementID]bool{"DOCUMENT": true}
	for _, r := range doc.Relationships {
		for _, end := range []tools.ElementID{r.RefA.ElementRefID, r.RefB.ElementRefID} {
			if !ids[end] {
				t.Fatal("relationship with an unknown element: ", end)
			}
			related[end] = true
		}
	}
	if len(related) != len(ids) {
		t.Fatal("a package is related to nothing")
	}
}

func TestRoundTrip(t *testing.T) {
	schema := testenv.Schema(t, "spdx-2.3")
	t.Run("sample", func(t *testing.T) { check(t, schema, testenv.BOM()) })
	t.Run("empty", func(t *testing.T) { check(t, schema, &plimsoll.BOM{}) })
	t.Run("drawn", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { check(t, schema, testenv.DrawBOM(t)) })
	})
}

func TestEncode(t *testing.T) {
	bom := testenv.BOM()
	doc, err := toolsjson.Read(bytes.NewReader(encode(t, bom, Options{Version: "0.1.0"})))
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]*tools.Package{}
	for _, p := range doc.Packages {
		packages[p.PackageName] = p
	}
	if got := doc.CreationInfo.Created; got != "2026-03-04T05:06:07Z" {
		t.Errorf("created %s, want the image's time", got)
	}
	if got := packages[bom.Image.Name]; got == nil || got.PrimaryPackagePurpose != "CONTAINER" || got.PackageVersion != string(bom.Image.Digest) {
		t.Errorf("the image is %+v", got)
	}
	if _, ok := packages["pip"]; ok {
		t.Error("history is written without AllLayers")
	}
	for name, want := range map[string]string{
		"libssl3":         "Apache-2.0 AND LicenseRef-Artistic-# AND LicenseRef-GPL-1--#",
		"nginx":           "LicenseRef-BSD-and-MIT-#",
		"example.com/app": "Unicode-3.0",
		"thing":           "(GPL-2.0-or-later WITH Classpath-exception-2.0) AND LicenseRef-own AND LicenseRef-see-the-file-COPYING-#",
	} {
		got := packages[name].PackageLicenseDeclared
		if hashes.ReplaceAllString(got, "-#") != want {
			t.Errorf("licence of %s: %s, want %s", name, got, want)
		}
	}
	libssl := packages["libssl3"]
	want := []*tools.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: bom.Components[0].PURL}}
	if diff := cmp.Diff(want, libssl.PackageExternalReferences); diff != "" {
		t.Error(diff)
	}
	if got := libssl.PackageSupplier; got.SupplierType != "Organization" || got.Supplier != bom.Components[0].Vendor {
		t.Errorf("supplier %+v", got)
	}
	var owned int
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID == packages["nginx"].PackageSPDXIdentifier && r.Relationship == "CONTAINS" {
			owned++
		}
	}
	if owned != 1 {
		t.Errorf("nginx owns %d components, want 1", owned)
	}
}

func TestSameBytes(t *testing.T) {
	o := Options{Version: "1", Seed: "a", AllLayers: true}
	first := encode(t, testenv.BOM(), o)
	for range 5 {
		if again := encode(t, testenv.BOM(), o); !bytes.Equal(first, again) {
			t.Fatal(cmp.Diff(string(first), string(again)))
		}
	}
	namespace := func(bom *plimsoll.BOM, o Options) string {
		var doc struct{ DocumentNamespace string }
		if err := json.Unmarshal(encode(t, bom, o), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.DocumentNamespace
	}
	changed := testenv.BOM()
	changed.Gaps[0].Reason = "other"
	base := namespace(testenv.BOM(), Options{})
	for what, other := range map[string]string{
		"seed":    namespace(testenv.BOM(), Options{Seed: "b"}),
		"gaps":    namespace(changed, Options{}),
		"history": namespace(testenv.BOM(), Options{AllLayers: true}),
	} {
		if other == base {
			t.Errorf("another %s has the same namespace", what)
		}
	}
	if other := namespace(testenv.BOM(), Options{Timestamp: time.Unix(0, 0)}); other != base {
		t.Error("the time changes the namespace")
	}
}

// A package that somebody edited is what it says now, not what we said of it.
func TestDecodeEdited(t *testing.T) {
	text := bytes.Replace(encode(t, testenv.BOM(), Options{}), []byte(`"versionInfo":"3.0.17-1~deb12u2"`), []byte(`"versionInfo":"3.0.18-1~deb12u1"`), 1)
	bom, err := Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := bom.Components[0]; got.Name != "libssl3" || got.Version != "3.0.18-1~deb12u1" || got.Layer != plimsoll.NoLayer {
		t.Errorf("%+v", got)
	}
}

var hashes = regexp.MustCompile(`-[0-9a-f]{12}\b`)

const aaaa = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

type row struct{ PURL, Name, Version, Detector, Source, Path string }

func rows(bom *plimsoll.BOM) (list []row) {
	for _, c := range bom.Components {
		r := row{c.PURL, c.Name, c.Version, c.Detector, "", strings.Join(c.Paths, " ")}
		if c.Source != nil {
			r.Source = c.Source.Name
		}
		list = append(list, r)
	}
	return list
}

// What other tools write, taken from them.

func TestDecodeSyft(t *testing.T) {
	dir := filepath.Join(testenv.Module(t, "github.com/anchore/syft@v1.57.0"), "syft", "format", "spdxjson", "testdata")
	read := func(name string) *plimsoll.BOM {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		bom, err := Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		return bom
	}

	bom := read("snapshot/TestSPDXJSONImageEncoder.golden")
	if bom.Image.Name != "user-image-input" || bom.Image.Digest == "" {
		t.Errorf("image %+v", bom.Image)
	}
	want := []row{
		{"pkg:generic/package-1@1.0.1", "package-1", "1.0.1", "sbom", "", "somefile-1.txt"}, // its purl is none
		{"pkg:deb/debian/package-2@2.0.1", "package-2", "2.0.1", "dpkg", "", "somefile-2.txt"},
	}
	if diff := cmp.Diff(want, rows(bom)); diff != "" {
		t.Error(diff)
	}
	if len(bom.Gaps) != 1 {
		t.Errorf("gaps %+v, want one for the purl that is none", bom.Gaps)
	}

	// SPDX 2.2.
	bom = read("spdx/alpine-3.10.syft.spdx.json")
	if got := bom.Distro; got == nil || got.ID != "alpine" || got.Version != "3.10.9" {
		t.Errorf("distribution %+v, want alpine 3.10.9", got)
	}
	if got := len(bom.Components); got != 3 {
		t.Errorf("%d components, want 3", got)
	}
	got := map[string]row{}
	for _, r := range rows(bom) {
		got[r.Name] = r
	}
	if diff := cmp.Diff(row{"pkg:apk/alpine/ssl_client@1.30.1-r5?arch=x86_64&distro=alpine-3.10.9&upstream=busybox", "ssl_client", "1.30.1-r5", "apk", "busybox", "lib/apk/db/installed"}, got["ssl_client"]); diff != "" {
		t.Error(diff)
	}
}

// npm writes bills of materials itself.
func TestDecodeNPM(t *testing.T) {
	testenv.Need(t, "npm")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("package.json", `{"name":"app","version":"1.0.0","dependencies":{"@s/a":"1.2.3","b":"4.5.6"}}`)
	write("package-lock.json", `{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{
		"":{"name":"app","version":"1.0.0","dependencies":{"@s/a":"1.2.3","b":"4.5.6"}},
		"node_modules/@s/a":{"version":"1.2.3","license":"MIT"},
		"node_modules/b":{"version":"4.5.6"}}}`)
	cmd := exec.Command("npm", "sbom", "--sbom-format", "spdx", "--package-lock-only")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	bom, err := Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range bom.Components {
		got[c.PURL] = fmt.Sprint(c.Name, " ", c.Version, " ", c.Ecosystem, " ", c.Licenses)
	}
	for purl, want := range map[string]string{"pkg:npm/%40s/a@1.2.3": "@s/a 1.2.3 npm [MIT]", "pkg:npm/b@4.5.6": "b 4.5.6 npm []"} {
		if got[purl] != want {
			t.Errorf("%s: %q, want %q\n%s", purl, got[purl], want, out)
		}
	}
}

// In the shape of trivy.
func TestDecodeTrivy(t *testing.T) {
	const text = `{
  "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "centos:8", "documentNamespace": "http://example.com/x",
  "creationInfo": {"creators": ["Organization: aquasecurity", "Tool: trivy-0.1"], "created": "2026-01-01T00:00:00Z"},
  "packages": [
    {"name": "app/Gemfile.lock", "SPDXID": "SPDXRef-Application-9f", "downloadLocation": "NONE", "primaryPackagePurpose": "APPLICATION"},
    {"name": "centos:8", "SPDXID": "SPDXRef-ContainerImage-9", "downloadLocation": "NONE", "primaryPackagePurpose": "CONTAINER",
     "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:oci/centos@sha256%3A` + aaaa + `"}],
     "annotations": [{"annotator": "Tool: trivy", "annotationDate": "2026-01-01T00:00:00Z", "annotationType": "OTHER", "comment": "DiffID: sha256:aa"}],
     "attributionTexts": ["ImageID: sha256:cc", "RepoTag: centos:8"]},
    {"name": "centos", "SPDXID": "SPDXRef-OperatingSystem-7", "versionInfo": "8.3.2011", "downloadLocation": "NONE", "primaryPackagePurpose": "OPERATING-SYSTEM"},
    {"name": "acl", "SPDXID": "SPDXRef-Package-1", "versionInfo": "2.2.53-1.el8", "supplier": "Organization: CentOS", "downloadLocation": "NONE", "filesAnalyzed": false,
     "sourceInfo": "built package from: acl-src 1:2.2.53-1.el8", "licenseConcluded": "NONE", "licenseDeclared": "LicenseRef-abc",
     "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:rpm/centos/acl@2.2.53-1.el8?arch=aarch64&epoch=1&distro=centos-8.3.2011"}],
     "attributionTexts": ["PkgID: acl", "LayerDiffID: sha256:aa"], "primaryPackagePurpose": "LIBRARY"}
  ],
  "files": [{"fileName": "x", "SPDXID": "SPDXRef-File-1", "checksums": []}],
  "hasExtractedLicensingInfos": [{"licenseId": "LicenseRef-abc", "extractedText": "This component is licensed under \"GPLv2+\"", "name": "GPLv2+"}],
  "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-ContainerImage-9", "relationshipType": "DESCRIBES"}]
}`
	got, err := Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &plimsoll.BOM{
		Image: plimsoll.Image{
			Name: "centos:8", Source: "sbom", Digest: "sha256:" + aaaa, ID: "sha256:cc", Tags: []string{"centos:8"},
			Layers: []plimsoll.Layer{{DiffID: "sha256:aa"}},
		},
		Distro: &plimsoll.Distro{ID: "centos", Version: "8.3.2011"},
		Components: []plimsoll.Component{{
			PURL: "pkg:rpm/centos/acl@2.2.53-1.el8?arch=aarch64&distro=centos-8.3.2011&epoch=1", Type: "library", Name: "acl", Version: "1:2.2.53-1.el8",
			Architecture: "aarch64", Source: &plimsoll.SourcePackage{Name: "acl-src", Version: "1:2.2.53-1.el8"}, Vendor: "CentOS",
			Licenses: []string{`This component is licensed under "GPLv2+"`}, Detector: "rpm", Layer: 0, DiffID: "sha256:aa",
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const head = `{"spdxVersion":"SPDX-2.3","packages":`
	for name, c := range map[string]struct{ text, want string }{
		"empty":     {"", "unexpected EOF"},
		"tag-value": {"SPDXVersion: SPDX-2.3", "invalid character 'S'"},
		"CycloneDX": {`{"bomFormat":"CycloneDX"}`, `"spdxVersion" is ""`},
		"SPDX 3":    {`{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[{}]}`, `"spdxVersion" is ""`},
		"cut":       {head + `[{"name":"a"`, `"packages": element 0: unexpected EOF`},
		"type":      {head + `[{"name":7}]}`, "cannot unmarshal number"},
		"no list":   {head + `{}}`, "not an array"},
		"very deep": {head + strings.Repeat(`[{"x":`, 1_000_000), "exceeded max depth"},
		"note":      {head + `[{"name":"a","annotations":[{"comment":"plimsoll:component {"}]}]}`, `"a": plimsoll:component: unexpected end`},
		"gap":       {`{"spdxVersion":"SPDX-2.3","annotations":[{"comment":"plimsoll:gap x"}]}`, "plimsoll:gap: invalid character"},
		"many":      {head + "[" + strings.Repeat(`{"name":"a"},`, format.MaxComponents) + `{"name":"a"}]}`, "more than 100000 packages"},
	} {
		_, err := Decode(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "reading SPDX: ") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var sample bytes.Buffer
	if err := Encode(&sample, testenv.BOM(), Options{AllLayers: true}); err != nil {
		f.Fatal(err)
	}
	f.Add(sample.Bytes())
	f.Add([]byte(`{"spdxVersion":"SPDX-2.2","packages":[{"name":"a","SPDXID":"SPDXRef-1","sourceInfo":"built package from: b 1","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:apk/alpine/a@1?distro=3.15"}],"attributionTexts":["LayerDiffID: x"]}],"documentDescribes":["SPDXRef-1"]}`))
	f.Add([]byte(`{"packages":[{"primaryPackagePurpose":"CONTAINER","versionInfo":"x","attributionTexts":["DiffID: x"]}],"hasExtractedLicensingInfos":[{"licenseId":"LicenseRef-a","name":"a"}],"spdxVersion":"SPDX-2.3"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		bom, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, c := range append(bom.Components, bom.History...) {
			if c.Layer < plimsoll.NoLayer || c.Layer >= len(bom.Image.Layers) {
				t.Fatalf("layer %d of %d", c.Layer, len(bom.Image.Layers))
			}
		}
		// What was read can be written and is then read as the same.
		var out bytes.Buffer
		if err := Encode(&out, bom, Options{AllLayers: true}); err != nil {
			t.Fatal(err)
		}
		again, err := Decode(&out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(bom, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func manyComponents(n int) *plimsoll.BOM {
	bom := testenv.BOM()
	base := append(bom.Components[:3:3], bom.Components[4:]...) // without hostile paths
	bom.Components, bom.Gaps = nil, nil
	for i := range n {
		c := base[i%len(base)]
		c.Paths = []string{fmt.Sprintf("usr/lib/node_modules/package-%d/package.json", i)}
		c.Name = fmt.Sprintf("package-%d", i)
		c.PURL = fmt.Sprintf("pkg:npm/package-%d@1.2.3", i)
		bom.Components = append(bom.Components, c)
	}
	return bom
}

func BenchmarkEncode2000(b *testing.B) {
	bom := manyComponents(2000)
	b.ReportAllocs()
	for b.Loop() {
		if err := Encode(io.Discard, bom, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode2000(b *testing.B) {
	var text bytes.Buffer
	if err := Encode(&text, manyComponents(2000), Options{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
