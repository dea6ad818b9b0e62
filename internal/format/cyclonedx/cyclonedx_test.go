package cyclonedx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
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
// output follows the official schema, references hold, and Decode gives the
// BOM back.
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
	var doc cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{doc.Metadata.Component.BOMRef: true}
	for _, c := range *doc.Components {
		if refs[c.BOMRef] {
			t.Fatal("bom-ref is not unique: ", c.BOMRef)
		}
		refs[c.BOMRef] = true
	}
	for _, d := range *doc.Dependencies {
		if !refs[d.Ref] {
			t.Fatal("dependency of an unknown component: ", d.Ref)
		}
		if d.Dependencies != nil {
			for _, on := range *d.Dependencies {
				if !refs[on] {
					t.Fatal("dependency on an unknown component: ", on)
				}
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	schema := testenv.Schema(t, "cyclonedx-1.6")
	t.Run("sample", func(t *testing.T) { check(t, schema, testenv.BOM()) })
	t.Run("empty", func(t *testing.T) { check(t, schema, &plimsoll.BOM{}) })
	t.Run("drawn", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { check(t, schema, testenv.DrawBOM(t)) })
	})
}

func TestEncode(t *testing.T) {
	bom := testenv.BOM()
	text := encode(t, bom, Options{Version: "0.1.0"})
	var doc cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if got, want := doc.Metadata.Component.PackageURL, "pkg:oci/app@"+string(bom.Image.Digest)+"?arch=arm64&repository_url=registry.example:5000%2Fteam%2Fapp&tag=1.2"; got != want {
		t.Errorf("the image's purl is %s, want %s", got, want)
	}
	if got := doc.Metadata.Timestamp; got != "2026-03-04T05:06:07Z" {
		t.Errorf("timestamp %s, want the image's", got)
	}
	if got := (*doc.Compositions)[0].Aggregate; got != cdx.CompositionAggregateIncomplete {
		t.Errorf("a BOM with gaps is %q", got)
	}
	components := map[string]cdx.Component{}
	for _, c := range *doc.Components {
		components[c.Name] = c
	}
	if _, ok := components["pip"]; ok {
		t.Error("history is written without AllLayers")
	}
	for name, want := range map[string]cdx.Licenses{
		"libssl3":         {{License: &cdx.License{ID: "Apache-2.0"}}, {License: &cdx.License{Name: "Artistic"}}, {License: &cdx.License{Name: "GPL-1+"}}},
		"nginx":           {{License: &cdx.License{Name: "BSD and MIT"}}},
		"example.com/app": {{Expression: "Unicode-3.0"}},
		"thing":           {{License: &cdx.License{Name: "GPL-2.0-or-later WITH Classpath-exception-2.0"}}, {License: &cdx.License{Name: "LicenseRef-own"}}, {License: &cdx.License{Name: "see the file COPYING"}}},
	} {
		if diff := cmp.Diff(want, *components[name].Licenses); diff != "" {
			t.Errorf("licences of %s: %s", name, diff)
		}
	}
	// Another tool that knows nothing of us must see the essentials.
	want := cdx.Component{
		BOMRef: bom.Components[0].PURL, Type: "library", Name: "libssl3", Version: "3.0.17-1~deb12u2",
		Supplier:   &cdx.OrganizationalEntity{Name: bom.Components[0].Vendor},
		PackageURL: bom.Components[0].PURL, Licenses: components["libssl3"].Licenses,
		Properties: &[]cdx.Property{
			{Name: "plimsoll:detector", Value: "dpkg"},
			{Name: "plimsoll:ecosystem", Value: "Debian:12"},
			{Name: "plimsoll:architecture", Value: "amd64"},
			{Name: "plimsoll:source:name", Value: "openssl"},
			{Name: "plimsoll:source:version", Value: "3.0.17-1~deb12u2"},
			{Name: "plimsoll:path", Value: "var/lib/dpkg/status"},
			{Name: "plimsoll:layer:index", Value: "1"},
			{Name: "plimsoll:layer:diffID", Value: string(bom.Image.Layers[1].DiffID)},
			{Name: "plimsoll:layer:step", Value: bom.Image.Layers[1].Step},
		},
	}
	if diff := cmp.Diff(want, components["libssl3"]); diff != "" {
		t.Error(diff)
	}
	owner := bom.Components[1].PURL
	for _, d := range *doc.Dependencies {
		if d.Ref == owner && len(*d.Dependencies) != 1 {
			t.Errorf("%s owns %v, want one component", owner, *d.Dependencies)
		}
	}
}

// Every property that Encode writes is explained to the reader.
func TestPropertiesAreDocumented(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "bom.md"))
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(encode(t, testenv.BOM(), Options{AllLayers: true}), &doc); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if name, ok := v["name"].(string); ok && strings.HasPrefix(name, "plimsoll:") {
				if strings.HasPrefix(name, propImageLabel) {
					name = propImageLabel
				}
				seen++
				if !strings.Contains(string(docs), "`"+name) {
					t.Errorf("docs/bom.md does not explain %s", name)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	if seen < 30 {
		t.Errorf("found %d properties in the sample", seen)
	}
}

func TestSameBytes(t *testing.T) {
	first := encode(t, testenv.BOM(), Options{Version: "1", Seed: "a", AllLayers: true})
	for range 5 {
		if again := encode(t, testenv.BOM(), Options{Version: "1", Seed: "a", AllLayers: true}); !bytes.Equal(first, again) {
			t.Fatal(cmp.Diff(string(first), string(again)))
		}
	}
	serial := func(bom *plimsoll.BOM, o Options) string {
		var doc cdx.BOM
		if err := json.Unmarshal(encode(t, bom, o), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.SerialNumber
	}
	changed := testenv.BOM()
	changed.Components[0].Version = "4"
	base := serial(testenv.BOM(), Options{})
	for what, other := range map[string]string{
		"seed":       serial(testenv.BOM(), Options{Seed: "b"}),
		"components": serial(changed, Options{}),
		"history":    serial(testenv.BOM(), Options{AllLayers: true}),
	} {
		if other == base {
			t.Errorf("another %s has the same serial number", what)
		}
	}
	if other := serial(testenv.BOM(), Options{Timestamp: time.Unix(0, 0)}); other != base {
		t.Error("the time changes the serial number")
	}
}

func decodeFile(t *testing.T, path string) *plimsoll.BOM {
	t.Helper()
	f, err := os.Open(path)
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

// What other tools write, taken from them.

func TestDecodeSyft(t *testing.T) {
	dir := filepath.Join(testenv.Module(t, "github.com/anchore/syft@v1.57.0"), "syft", "format", "cyclonedxjson", "testdata", "snapshot")
	bom := decodeFile(t, filepath.Join(dir, "TestCycloneDxImageEncoder.golden"))
	if got, want := bom.Image.Name, "user-image-input"; got != want {
		t.Errorf("image %q, want %q", got, want)
	}
	if got := bom.Distro; got == nil || got.ID != "debian" || got.Version != "1.2.3" {
		t.Errorf("distribution %+v, want debian 1.2.3", got)
	}
	type row struct{ PURL, Name, Version, Path string }
	var got []row
	for _, c := range bom.Components {
		got = append(got, row{c.PURL, c.Name, c.Version, strings.Join(c.Paths, " ")})
		if !strings.HasPrefix(string(c.DiffID), "sha256:") {
			t.Errorf("%s: layer %q", c.PURL, c.DiffID)
		}
	}
	want := []row{
		{"a-purl-1", "package-1", "1.0.1", "somefile-1.txt"},
		{"pkg:deb/debian/package-2@2.0.1", "package-2", "2.0.1", "somefile-2.txt"},
	}
	want[0].PURL = "pkg:generic/package-1@1.0.1" // the test data's purl is none
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(bom.Gaps) != 1 || !strings.Contains(bom.Gaps[0].Reason, "package-1 1.0.1: package URL") {
		t.Errorf("gaps %+v, want one for the purl that is none", bom.Gaps)
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
	cmd := exec.Command("npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	bom, err := Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range bom.Components {
		got = append(got, fmt.Sprint(c.PURL, " ", c.Name, " ", c.Version, " ", c.Ecosystem, " ", c.Licenses))
	}
	want := []string{"pkg:npm/%40s/a@1.2.3 @s/a 1.2.3 npm [MIT]", "pkg:npm/b@4.5.6 b 4.5.6 npm []"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff, string(out))
	}
	if want := filepath.Base(dir); bom.Image.Name != want { // npm's name for it
		t.Errorf("named %q, want %q", bom.Image.Name, want)
	}
}

// In the shape of trivy (layers known, epochs in the purl only, headings) and
// of cdxgen (nested components, evidence).
func TestDecodeOthers(t *testing.T) {
	const text = `{
  "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5",
  "components": [
    {"bom-ref": "1", "type": "operating-system", "name": "centos", "version": "8.3.2011", "properties": [{"name": "aquasecurity:trivy:Type", "value": "centos"}, {"name": "aquasecurity:trivy:Class", "value": "os-pkgs"}]},
    {"bom-ref": "2", "type": "application", "name": "app/Gemfile.lock", "properties": [{"name": "aquasecurity:trivy:Class", "value": "lang-pkgs"}]},
    {"bom-ref": "3", "type": "library", "name": "acl", "version": "2.2.53-1.el8", "purl": "pkg:rpm/centos/acl@2.2.53-1.el8?arch=aarch64&epoch=1&distro=centos-8.3.2011",
     "licenses": [{"license": {"name": "GPLv2+"}}], "supplier": {"name": "CentOS"},
     "properties": [{"name": "aquasecurity:trivy:LayerDiffID", "value": "sha256:bb"}, {"name": "aquasecurity:trivy:SrcEpoch", "value": "1"}, {"name": "aquasecurity:trivy:SrcName", "value": "acl-src"},
       {"name": "aquasecurity:trivy:SrcRelease", "value": "1.el8"}, {"name": "aquasecurity:trivy:SrcVersion", "value": "2.2.53"}]},
    {"type": "file", "name": "/etc/passwd"},
    {"type": "framework", "group": "org.acme", "name": "outer", "version": "1", "components": [
      {"type": "library", "name": "inner", "version": "2", "purl": "pkg:maven/org.acme/inner@2?type=jar", "licenses": [{"expression": "MIT OR 0BSD"}],
       "evidence": {"occurrences": [{"location": "/app/inner.jar"}]}}]},
    {"type": "library", "name": "far", "purl": "pkg:npm/far@1", "properties": [{"name": "plimsoll:layer:index", "value": "99"}]}
  ],
  "vulnerabilities": [{"id": "CVE-1", "affects": [{"ref": "3"}]}],
  "metadata": {
    "timestamp": "2026-01-01T00:00:00+00:00", "tools": [{"vendor": "aquasecurity", "name": "trivy", "version": "0.1"}],
    "component": {"bom-ref": "0", "type": "container", "name": "centos:8", "purl": "pkg:oci/centos@sha256%3Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?repository_url=index.docker.io%2Flibrary%2Fcentos",
      "properties": [{"name": "aquasecurity:trivy:DiffID", "value": "sha256:aa"}, {"name": "aquasecurity:trivy:DiffID", "value": "sha256:bb"}, {"name": "aquasecurity:trivy:ImageID", "value": "sha256:cc"}, {"name": "aquasecurity:trivy:RepoTag", "value": "centos:8"}]}}
}`
	got, err := Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &plimsoll.BOM{
		Image: plimsoll.Image{
			Name: "centos:8", Source: "sbom", Digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ID: "sha256:cc",
			Tags: []string{"centos:8"}, Layers: []plimsoll.Layer{{Index: 0, DiffID: "sha256:aa"}, {Index: 1, DiffID: "sha256:bb"}},
		},
		Distro: &plimsoll.Distro{ID: "centos", Version: "8.3.2011"},
		Components: []plimsoll.Component{
			{
				PURL: "pkg:rpm/centos/acl@2.2.53-1.el8?arch=aarch64&distro=centos-8.3.2011&epoch=1", Type: "library", Name: "acl", Version: "1:2.2.53-1.el8",
				Architecture: "aarch64", Source: &plimsoll.SourcePackage{Name: "acl-src", Version: "1:2.2.53-1.el8"}, Vendor: "CentOS", Licenses: []string{"GPLv2+"},
				Detector: "rpm", Layer: 1, DiffID: "sha256:bb",
			},
			{PURL: "pkg:generic/org.acme%2Fouter@1", Type: "library", Name: "org.acme/outer", Version: "1", Detector: "sbom", Layer: plimsoll.NoLayer},
			{
				PURL: "pkg:maven/org.acme/inner@2?type=jar", Type: "library", Name: "org.acme:inner", Version: "2", Ecosystem: "Maven",
				Licenses: []string{"MIT OR 0BSD"}, Detector: "sbom", Paths: []string{"app/inner.jar"}, Layer: plimsoll.NoLayer,
			},
			{PURL: "pkg:npm/far@1", Type: "library", Name: "far", Version: "1", Ecosystem: "npm", Detector: "sbom", Layer: plimsoll.NoLayer},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"type":"library","name":"a","components":[`, format.MaxNesting+2) + strings.Repeat("]}", format.MaxNesting+2)
	const head = `{"bomFormat":"CycloneDX","components":`
	for name, c := range map[string]struct{ text, want string }{
		"empty":       {"", "unexpected EOF"},
		"XML":         {`<?xml version="1.0"?>`, "invalid character '<'"},
		"SPDX":        {`{"spdxVersion":"SPDX-2.3"}`, `no "bomFormat"`},
		"cut":         {head + `[{"type":"library"`, `"components": element 0: unexpected EOF`},
		"type":        {head + `[{"type":"library","name":7}]}`, "cannot unmarshal number"},
		"no list":     {head + `{}}`, "not an array"},
		"deep":        {head + "[" + deep + "]}", "nested more than 64 deep"},
		"very deep":   {head + strings.Repeat(`[{"components":`, 1_000_000), "exceeded max depth"},
		"layer":       {head + `[{"properties":[{"name":"plimsoll:layer:index","value":"x"}]}]}`, "plimsoll:layer:index: strconv.Atoi"},
		"gap":         {`{"bomFormat":"CycloneDX","properties":[{"name":"plimsoll:gap","value":"x"}]}`, "plimsoll:gap: invalid character"},
		"many":        {head + "[" + strings.Repeat(`{"name":"a"},`, format.MaxComponents) + `{"name":"a"}]}`, "more than 100000 components"},
		"many within": {head + `[{"components":[` + strings.Repeat(`{"name":"a"},`, format.MaxComponents) + `{"name":"a"}]}]}`, "more than 100000 components"},
	} {
		_, err := Decode(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "reading CycloneDX: ") {
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
	f.Add([]byte(`{"bomFormat":"CycloneDX","components":[{"type":"library","name":"a","purl":"pkg:deb/debian/a@1?distro=debian-12&upstream=b","components":[{"name":"c"}]}]}`))
	f.Add([]byte(`{"metadata":{"component":{"purl":"pkg:oci/a@sha256:00","properties":[{"name":"aquasecurity:trivy:DiffID","value":"x"}]}},"bomFormat":"CycloneDX"}`))
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
	if &format.EscapeAll(bom).Components[0] != &bom.Components[0] {
		panic("a BOM without hostile text is copied")
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

// A document far larger than what may be kept costs no more memory than its
// components.
func TestDecodeMemory(t *testing.T) {
	var text bytes.Buffer
	text.WriteString(`{"bomFormat":"CycloneDX","components":[`)
	file := `{"type":"file","name":"` + strings.Repeat("x", 1000) + `"},`
	for text.Len() < 100<<20 {
		text.WriteString(file)
	}
	text.WriteString(`{"type":"library","name":"a"}]}`)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	bom, err := Decode(bytes.NewReader(text.Bytes()))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(bom.Components) != 1 {
		t.Fatal(err, len(bom.Components))
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 16<<20 {
		t.Errorf("reading 100 MiB took %d MiB of heap", grown>>20)
	}
}
