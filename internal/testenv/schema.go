package testenv

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The published JSON schemas. No copy of them is kept here, because one of them
// has a licence of its own (the SPDX specification: CC-BY-3.0); they are read
// from Go modules that carry them, and recognized by their hash.
var schemaFiles = map[string][]struct{ url, module, path, sha256 string }{
	// As of tag 1.6 of github.com/CycloneDX/specification, with the licence
	// list (3.17) and the signature schema that it refers to.
	"cyclonedx-1.6": {
		{
			"http://cyclonedx.org/schema/bom-1.6.schema.json",
			"github.com/CycloneDX/cyclonedx-go", "schema/bom-1.6.schema.json",
			"3e92dddbc30cf7f6a02b80f0942b1a4cfd4fb1c26f1dfc4310afa9d613cafb93",
		},
		{
			"http://cyclonedx.org/schema/spdx.schema.json",
			"github.com/CycloneDX/cyclonedx-go", "schema/spdx.schema.json",
			"669315cee4265ad6d742e92d7afb062fb4847abe754d3ade544b7c40482d0a48",
		},
		{
			"http://cyclonedx.org/schema/jsf-0.82.schema.json",
			"github.com/CycloneDX/cyclonedx-go", "schema/jsf-0.82.schemax.json",
			"a517f9e483e2252debd23d5c62edb72805b6d3932935a6ebb8196745052d2dc3",
		},
	},
	// The same as schemas/spdx-schema.json in branch support/2.3 of
	// github.com/spdx/spdx-spec but for white space. It differs from tag v2.3
	// by two more enumeration values and by requiring documentNamespace.
	"spdx-2.3": {{
		"http://spdx.org/rdf/terms/2.3",
		"github.com/anchore/syft@v1.57.0", "schema/spdx-json/spdx-schema-2.3.json",
		"c2e139546ef93597d3b1214d1d452369d0b536af6c6d6500dbd25c582034aa7c",
	}},
}

// Schema compiles one of the official JSON schemas: "cyclonedx-1.6" or
// "spdx-2.3". Validate takes what jsonschema.UnmarshalJSON gives. The test is
// skipped where the Go module that carries the schema cannot be had.
func Schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	files, ok := schemaFiles[name]
	if !ok {
		t.Fatalf("testenv: no schema %q", name)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(Module(t, f.module), f.path))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != f.sha256 {
			t.Fatalf("%s of %s is not the schema that was reviewed: sha256 %x", f.path, f.module, sum)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s of %s: %v", f.path, f.module, err)
		}
		if err := compiler.AddResource(f.url, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile(files[0].url)
	if err != nil {
		t.Fatalf("schema %s: %v", name, err)
	}
	return schema
}

// Module is the directory of a Go module, which is downloaded when needed: in
// the version of go.mod, or in the one named after "@". Nothing is added to
// go.mod.
func Module(t testing.TB, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = Root(t)
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &answer); jsonErr != nil || answer.Dir == "" {
		Skip(t, "cannot download the Go module "+module+": "+answer.Error+errorText(err))
	}
	return answer.Dir
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
